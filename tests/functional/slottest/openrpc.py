"""tests/openrpc/check.js: holds the document of rpc.discover, and recorded answers, against what
they have to be."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

from .daemon import BUILD, ROOT, Daemon

MODULES = BUILD / "openrpc"
CHECK = ROOT / "tests" / "openrpc" / "check.js"


def why_not():
    """What check.js lacks; None if it can run."""
    if shutil.which("node") is None:
        return "there is no node"
    if not (MODULES / "installed").exists():
        return f"no ajv in {MODULES} (script/bootstrap --tests puts it there)"
    return None


def check(*words):
    """(whether all is well, what check.js says)"""
    done = subprocess.run(["node", str(CHECK), str(MODULES), *map(str, words)],
                          encoding="utf-8", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=300, check=False)
    return done.returncode == 0, done.stdout.strip()


async def document(directory):
    """The document of the daemon under test, as a file."""
    daemon = await Daemon(directory, name="document", durability="memory").start()
    try:
        client = await daemon.connect()
        path = Path(directory) / "document.json"
        path.write_text(json.dumps(await client.call("rpc.discover")), "utf-8")
        return path
    finally:
        daemon.close_clients()
        await daemon.stop()


def check_traffic(directory, everything):
    """Holds all that was recorded in a directory against the document; `everything`: of all tests,
    in which each member that may be absent is so in some answers and is there in others."""
    files = sorted(Path(directory).glob("traffic-*"))
    if not files:
        return True, "no answers"
    options = ["--all"] if everything else []
    return check(*options, asyncio.run(document(directory)), *files)
