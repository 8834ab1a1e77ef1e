#!/usr/bin/env python3
"""libslot(3) says what include/slot declares: each function, type, member and constant, none that
isn't there, each explained; its examples compile and print what it shows; all pages render clean.

The last line is "N passed, N failed[, N skipped]". SLOT_BUILD_DIR: where libslot was built.
"""
import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(os.environ.get("SLOT_SOURCE_DIR") or Path(__file__).parents[1]).resolve()
BUILD = Path(os.environ.get("SLOT_BUILD_DIR") or ROOT / "build").resolve()
sys.path.insert(0, str(Path(__file__).resolve().parent / "functional"))

from slottest.daemon import Daemon  # noqa: E402

MAN = ROOT / "man"
PAGE = (MAN / "libslot.3").read_text("utf-8")
HEADERS = sorted((ROOT / "include" / "slot").glob("*.h"))
DEADLINE = 60
ATTEMPTS = 3    # the order of what they print needs a machine that doesn't stand still for so long
SELF_EVIDENT = ("code", "future", "job", "ndone", "npending", "outcome", "outcome_name", "pending",
                "timed_out")

counts = {"passed": 0, "failed": 0, "skipped": 0}


def check(name, wrong):
    """Passed where there is nothing wrong."""
    counts["failed" if wrong else "passed"] += 1
    if wrong:
        print(f"FAILED {name}\n  " + "\n  ".join(map(str, wrong)))


def skip(why):
    counts["skipped"] += 1
    print(f"skipped: {why}")


# ---- declarations ----------------------------------------------------------------------------

def plain(text):
    """A declaration without comments, and however it is laid out."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    return " ".join(re.findall(r"\w+|[^\w\s]", text))


def declarations(text):
    """Functions, types and constants of C code: {what is declared: its plain declaration}."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    found = {}
    for name, value in re.findall(r"^#define (SLOT_\w+) +(\S.*)$", text, re.M):
        found[name] = plain(value)
    text = re.sub(r"^#.*$|extern \"C\" \{", "", text, flags=re.M)
    pattern = r"\s*(?:(struct|enum) (\w+) \{[^}]*\}|typedef [^;]*?\(\*(\w+)\)[^;]*|[^;{}]*?(\w+)\([^;{}]*)\s*;"
    for match in re.finditer(pattern, text):
        kind, tag, typedef, function = match.groups()
        found[f"{kind} {tag}" if kind else typedef or f"{function}()"] = plain(match.group())
    return found


def members(declaration):
    """The members of a struct, the constants of an enum."""
    kind, body = declaration.split(" ", 1)[0], declaration[declaration.index("{") + 1:]
    if kind == "enum":
        return re.findall(r"\bSLOT_\w+", body)
    names = []
    for member in body.rsplit("}", 1)[0].split(";"):
        match = re.search(r"\( \* (\w+)", member) or re.search(r"(\w+)(?: \[ \w+ \])?\s*$", member)
        if match:
            names.append(match.group(1))
    return names


def without_guards(text):
    return re.sub(r"^#define SLOT_\w+_H$", "", text, flags=re.M)


# ---- the page --------------------------------------------------------------------------------

def unroff(rows):
    rows = [row[2:] if row.startswith("\\&") else row for row in rows]
    return "\n".join(rows).replace("\\-", "-").replace("\\e", "\\") + "\n"


def blocks(page):
    """The code of a page, .EX to .EE."""
    return [unroff(row for row in text.splitlines() if not row.startswith("."))
            for text in re.findall(r"^\.EX\n(.*?)^\.EE$", page, re.M | re.S)]


def compare(declared, shown):
    wrong = [f"missing: {name}" for name in declared if name not in shown]
    wrong += [f"there is none: {name}" for name in shown if name not in declared]
    wrong += [f"differs: {shown[name]}\n   header: {declared[name]}" for name in declared
              if shown.get(name, declared[name]) != declared[name]]
    return wrong


def check_page(page, headers):
    """What is wrong with a page, by the names of the checks."""
    body, examples = page.split(".SH EXAMPLES", 1)
    declared = declarations(headers)
    wrong = {"declarations": compare(declared, declarations("".join(blocks(body))))}

    functions = {name[:-2] for name in declared if name.endswith("()")}
    text = re.sub(r"^\.EX\n.*?^\.EE$", "", body, flags=re.M | re.S)
    titles = re.findall(r"^\.TP\n(\.BR .*)$", text, re.M)
    explained = {name for title in titles for name in re.findall(r"\b(slot_\w+)(?= \(| \"\()", title)}
    wrong["functions with an entry"] = sorted(functions ^ explained)

    known = set(re.findall(r"\b(?:slot|SLOT)_\w+", " ".join(declared) + " ".join(declared.values())))
    used = set(re.findall(r"\b(?:slot|SLOT)_[a-zA-Z_]\w*", text))
    wrong["names that aren't there"] = sorted(used - known)

    said = {line.split("/*")[0].strip(): line for block in blocks(body)
            for line in block.splitlines() if "/*" in line}
    commented = " ".join(said)
    wrong["members that nothing is said of"] = [
        f"{name}: {member}" for name, value in declared.items() if name.startswith("struct ")
        for member in members(value) if member != "reserved"
        and not re.search(rf"\b{member}\b", commented)
        and not re.search(rf"^\.[BI]R? .*\b{member}\b", text, re.M)
        and member not in SELF_EVIDENT]
    wrong["examples"] = [] if len(blocks(examples)) == 6 else ["not three of code and output"]
    return wrong


def check_headers(headers):
    """Functions that no comment stands before; a comment counts for those that follow at once."""
    text = re.sub(r"/\*.*?\*/", "/**/", headers, flags=re.S)
    wrong = []
    for paragraph in re.split(r"\n\s*\n", text):
        first = re.search(r"^[^#\n/]*?\b(slot_\w+)\([^;]*;", paragraph, re.M)
        if first and "/**/" not in paragraph[:first.start() + 1]:
            wrong.append(first.group(1))
    return wrong


# ---- examples --------------------------------------------------------------------------------

def variable(name):
    match = re.search(rf"^{name} = (.*)$", (BUILD / "Makefile").read_text("utf-8"), re.M)
    return shlex.split(match.group(1)) if match else []


def run_example(directory, number, code, expected, socket):
    source, program = directory / f"example{number}.c", directory / f"example{number}"
    source.write_text(code, "utf-8")
    library = BUILD / ".libs" / "libslot.so"
    built = subprocess.run(
        [*variable("CC"), "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o", program, source,
         "-I", ROOT / "include", *variable("EVENT_CFLAGS"), *variable("JANSSON_CFLAGS"), library,
         *variable("EVENT_LIBS"), *variable("JANSSON_LIBS")],
        capture_output=True, text=True, cwd=directory)
    if built.returncode != 0:
        return [built.stderr]
    env = {**os.environ, "SLOTD_SOCKET": socket, "LD_LIBRARY_PATH": str(library.parent)}
    for _ in range(ATTEMPTS):
        try:
            ran = subprocess.run([program], env=env, capture_output=True, text=True,
                                 timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            return [f"still runs after {DEADLINE} s"]
        if (ran.returncode, ran.stdout, ran.stderr) == (0, expected, ""):
            return []
    return [f"status {ran.returncode}, it printed:", ran.stdout, ran.stderr]


async def check_examples():
    code = blocks(PAGE.split(".SH EXAMPLES", 1)[1])
    if "fsanitize" in (BUILD / "Makefile").read_text("utf-8"):
        skip("the examples of libslot(3): an instrumented libslot.so")
        return
    with tempfile.TemporaryDirectory(prefix="slot-manual-") as name:
        directory = Path(name)
        daemon = Daemon(directory, durability="memory")
        await daemon.start()
        loop = asyncio.get_running_loop()
        try:
            for number in range(0, len(code), 2):
                wrong = await loop.run_in_executor(None, run_example, directory, number // 2 + 1,
                                                   code[number], code[number + 1],
                                                   str(daemon.socket))
                check(f"example {number // 2 + 1} of libslot(3)", wrong)
        finally:
            await daemon.stop()
            daemon.end_launcher()


# ---- rendering -------------------------------------------------------------------------------

def check_rendering():
    # No page has a date: it would be wrong by the next change.
    tools = {"groff": (["groff", "-ww", "-man", "-Tutf8", "-z"], ()),
             "mandoc": (["mandoc", "-Tlint", "-Wwarning"], ("missing date",))}
    for tool, (command, allowed) in tools.items():
        if not shutil.which(tool):
            skip(f"pages are not rendered: there is no {tool}")
            continue
        for page in sorted(MAN.glob("*.[1-8]")):
            done = subprocess.run([*command, page], capture_output=True, text=True)
            check(f"{tool}: {page.name}",
                  [row for row in (done.stdout + done.stderr).splitlines()
                   if not any(word in row for word in allowed)])


# ---- the checks themselves -------------------------------------------------------------------

def check_checks():
    headers = without_guards("".join(path.read_text("utf-8") for path in HEADERS))
    changes = {
        "a function left out": ("\\.BR slot_loop_base \\(\\)\n", ".BR x ()\n"),
        "a prototype that differs": ("bool slot_future_done\\(const ", "bool slot_future_done("),
        "a function that isn't there": ("void slot_loop_free", "void slot_loop_release"),
        "a member left out": ("    size_t ndone;\n", ""),
        "a constant left out": ("    SLOT_OUTCOME_LOST,\n", ""),
        "a value that differs": ("SLOT_ECLOSED = 7", "SLOT_ECLOSED = 8"),
        "a limit that differs": ("RECONNECT_MS 30000", "RECONNECT_MS 3000"),
        "a typedef left out": ("typedef int \\(\\*slot_action_start_cb.*\n", ""),
        "a name in the text that isn't there": ("SLOT_EINSTANCE,", "SLOT_EGONE,"),
        "a member that nothing is said of": ("\\.I on_absent\n", ""),
    }
    missed = []
    for name, (old, new) in changes.items():
        page, n = re.subn(old, new, PAGE, count=1)
        if n != 1 or not any(check_page(page, headers).values()):
            missed.append(name)
    if not check_headers(headers + "\n\nint slot_undocumented(void);\n"):
        missed.append("a function of a header without a comment")
    check("the checks see what is wrong", missed)


async def main():
    headers = without_guards("".join(path.read_text("utf-8") for path in HEADERS))
    for name, wrong in check_page(PAGE, headers).items():
        check(f"libslot(3): {name}", wrong)
    check("functions without a comment in include/slot", check_headers(headers))
    check_checks()
    check_rendering()
    await check_examples()
    print("{passed} passed, {failed} failed".format(**counts) +
          (f", {counts['skipped']} skipped" if counts["skipped"] else ""))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
