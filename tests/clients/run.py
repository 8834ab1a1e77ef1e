#!/usr/bin/env python3
"""Runs the clients of docs/CLIENTS.md as they stand there: what the page shows, and what it doesn't.

The last line is "N passed, N failed[, N skipped]". SLOT_BUILD_DIR: where slotd was built.
"""
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "functional"))

from slottest.daemon import Daemon  # noqa: E402

LINES_MAX = 80
PAGE = (ROOT / "docs" / "CLIENTS.md").read_text(encoding="utf-8")

counts = {"passed": 0, "failed": 0, "skipped": 0}


def check(name, ours, expected):
    good = ours == expected
    counts["passed" if good else "failed"] += 1
    if not good:
        print(f"FAILED {name}\n  ours:     {ours!r}\n  expected: {expected!r}")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


def run(argv, directory, socket, text=None):
    p = subprocess.run(argv, cwd=directory, input=text, capture_output=True, timeout=120,
                       env={**os.environ, "SLOTD_SOCKET": socket})
    return p.returncode, p.stdout, p.stderr.decode()


def shell(directory, socket, interpreter):
    def sh(script):
        return run([interpreter, "-c", ". ./slotd.sh\n" + script], directory, socket)

    # What the page shows: a prompt's line, and what comes of it.
    (console,) = blocks("console")
    commands = [line[2:] for line in console.splitlines() if line.startswith("$ ")]
    said = [line for line in console.splitlines() if not line.startswith("$ ")]
    status, out, err = sh("\n".join(commands[1:]))
    check(f"{interpreter}: the page's example", (status, out.decode().splitlines(), err),
          (0, said, ""))
    status, out, err = sh('slotd_output "$(slotd_submit "{}" printf "\\377\\n\\n")"')
    check(f"{interpreter}: output byte for byte", (status, out, err), (0, b"\xff\n\n", ""))
    status, out, err = sh('a=$(slotd_submit "{}" sh -c "head -c 200000 /dev/zero | tr \'\\0\' x"); '
                          'slotd_result $a >/dev/null; slotd_output $a | wc -c')
    check(f"{interpreter}: output in several pieces", (status, int(out or 0), err), (0, 200000, ""))
    status, out, err = sh("slotd_submit '{}' printf '%s|' '' \"it's\" '\"\\' | { read -r a; "
                          "slotd_result $a >/dev/null; slotd_output $a; }")
    check(f"{interpreter}: quotes are kept", (status, out, err), (0, b"|it's|\"\\|", ""))
    status, out, err = sh("slotd_call job.get '{\"job\":4711}'")
    check(f"{interpreter}: an error", (status, out, err.startswith("NoSuchJob: no job 4711")),
          (1, b"", True))
    for call in ("slotd_submit '{\"queue\":\"no\"}' true", "slotd_result 4711", "slotd_output 4711",
                 "slotd_as_completed 4711"):
        status, out, err = sh(call)
        check(f"{interpreter}: the status of {call} tells of an error", (status != 0, out), (True, b""))
        status, out, err = sh("SLOTD_SOCKET=$SLOTD_SOCKET.nobody; " + call)
        check(f"{interpreter}: so it does without a daemon", (status != 0, out), (True, b""))


def node(directory, socket):
    client, example = blocks("js")
    (Path(directory) / "slotd.mjs").write_text(client, encoding="utf-8")
    (Path(directory) / "example.mjs").write_text(example, encoding="utf-8")
    status, out, err = run(["node", "example.mjs"], directory, socket)
    check("node: the page's example", (status, out.decode().splitlines(), err),
          (0, ["0.2 true", "0.5 true", "1 true", "hi", ""], ""))
    more = """
import { connect } from "./slotd.mjs";
const slotd = await connect();
await slotd.call("job.get", { job: 4711 }).catch((e) => console.log(e.kind, e.data.job));
const { job } = await slotd.call("job.submit", { argv: ["sh", "-c", "head -c 300000 /dev/zero; sleep 60"] });
let bytes = 0;
for await (const item of slotd.stream("output.follow", { job })) {
  bytes += item.data.b64 === undefined ? Buffer.byteLength(item.data) : Buffer.from(item.data.b64, "base64").length;
  if (bytes === 300000) break;
}
await slotd.call("job.cancel", { jobs: [job], wait: true });
console.log(bytes, (await slotd.call("job.result", { job })).outcome);
const some = await Promise.all(Array.from({ length: 100 }, (_, n) =>
  slotd.call("job.submit", { argv: ["true"], tag: "\\u00e9\\u20ac".repeat(n) })));
let seen = 0;
for await (const item of slotd.stream("futures.as_completed", { jobs: some.map((s) => s.job) }))
  seen += item.ok && item.tag.length % 2 === 0;
console.log(seen);
slotd.close();
"""
    (Path(directory) / "more.mjs").write_text(more, encoding="utf-8")
    status, out, err = run(["node", "more.mjs"], directory, socket)
    check("node: errors, a stream left early, many at once", (status, out.decode().splitlines(), err),
          (0, ["NoSuchJob 4711", "300000 cancelled", "100"], ""))
    status, out, err = run(["node", "example.mjs"], directory, socket + ".nobody")
    check("node: nobody listens", (status != 0, "ENOENT" in err), (True, True))


async def main():
    for language in ("sh", "js"):
        check(f"{language}: under {LINES_MAX} lines", blocks(language)[0].count("\n") < LINES_MAX, True)
    directory = tempfile.mkdtemp(prefix="slotd-clients-")
    daemon = Daemon(directory)
    await daemon.start()
    loop = asyncio.get_running_loop()
    (Path(directory) / "slotd.sh").write_text(blocks("sh")[0], encoding="utf-8")
    try:
        if shutil.which("jq") and shutil.which("nc"):
            for interpreter in ("dash", "bash"):
                if shutil.which(interpreter):
                    await loop.run_in_executor(None, shell, directory, str(daemon.socket), interpreter)
        else:
            print("skipped: the shell's client needs jq and nc (netcat-openbsd)")
            counts["skipped"] += 1
        if shutil.which("node"):
            await loop.run_in_executor(None, node, directory, str(daemon.socket))
        else:
            print("skipped: there is no node")
            counts["skipped"] += 1
    finally:
        await daemon.stop()
        daemon.end_launcher()
        shutil.rmtree(directory, ignore_errors=True)
    print("{passed} passed, {failed} failed".format(**counts) +
          (f", {counts['skipped']} skipped" if counts["skipped"] else ""))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
