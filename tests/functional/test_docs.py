"""What the documentation shows is true: its examples are executed against a live daemon.

Dialogues (docs/PROTOCOL.md).  A fenced block marked `jsonl` is a dialogue:

    → {json}    a line that the client sends; one that is no JSON object is sent as it stands
    ← {json}    a line that the server must send
      …         an indented line continues the one before
    A×          the client closes connection A
    # text      a comment for the reader

A letter before the arrow (`A→`) names the connection, for examples with several; without one
it is always the same.  Each block runs on connections of its own to a daemon of its own,
whose max_running is 4; ``<!-- daemon: SECTION.KEY=VALUE -->`` before the fence adds settings.
A fence marked `jsonl no-run` is not executed.

Values.  Everything in a `←` line must be equal to what came, except what no document can
know; that is bound at first sight and must then be the same wherever it appears in the block,
in `→` lines too:
  - job ids (members job, jobs, pending, remaining, oldest_job, next, cursor, after, forgotten
    ids), seq, since_seq, oldest, instance, session;
  - times (…_us): bound likewise, but 0 and null are literal.
Only the type must fit: uid, pid, usage, server, features, limits, retry_after_ms, uptime_ms,
message, and other measures (names in LOOSE).  The string "…" stands for any value, a member
"…": "…" for any further members, and an array element "…" for any further elements.

Order.  `←` lines that stand together may arrive in any order among themselves, except that a
stream's items count up by themselves; all have arrived before the next `→` is sent.  Nothing
else may arrive.  A line `← …` takes any further lines up to there.

Shell sessions (both pages).  A fenced block marked `console` is a session of bash: `$ command`,
continued by `> more`, then what it prints, stdout and stderr.  `…` in a line of output stands
for anything, a line `…` for any number of lines.  All blocks of a page are one session, with
one daemon on $SLOTD_SOCKET.  A block that needs a tool which isn't installed (nc, jq) is left
out.

The `c` block of README.md is compiled, linked with libslot and run, its `python` block is run; what
they print is the block that follows.
"""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

from slottest import SANITIZE, Case, limit, scaled
from slottest.daemon import BUILD, ROOT, find_binary

PAGE = ROOT / "docs" / "PROTOCOL.md"
README = ROOT / "README.md"
TOOLS = ("nc", "jq")
FENCE = re.compile(r"^(`{3,}|~{3,})\s*([A-Za-z]*)(.*)$")
HEADING = re.compile(r"^(#+)\s+(.*)$")
ARROW = re.compile(r"^([A-Z]?)\s*(→|←|×)\s*(.*)$")
SETTING = re.compile(r"<!--\s*daemon:\s*(.*?)\s*-->")
BOUND = {"job", "jobs", "pending", "remaining", "oldest_job", "next", "cursor", "after", "seq",
         "since_seq", "oldest", "instance", "session"}
LOOSE = {"uid", "pid", "usage", "server", "features", "limits", "retry_after_ms", "uptime_ms",
         "message", "turns", "max_rss_kib", "wait_us", "run_us", "bytes_in", "bytes_out",
         "connections", "user_us", "system_us", "bytes", "wal_bytes", "commits"}


class Mismatch(Exception):
    pass


class Bindings:
    """Document value ↔ live value, per sort of value."""

    def __init__(self):
        self.live = {}
        self.doc = {}

    @staticmethod
    def sort(key):
        if key in ("instance", "session"):
            return key
        if key in ("seq", "since_seq", "oldest"):
            return "seq"
        return "time" if key.endswith("_us") else "job"

    def bind(self, key, doc, live):
        sort = self.sort(key)
        known = self.live.get((sort, doc))
        if known is not None and known != live:
            raise Mismatch(f"{key}: {doc} was {known} before, now {live}")
        back = self.doc.get((sort, live))
        if sort != "time" and back is not None and back != doc:
            raise Mismatch(f"{key}: {live} was written {back} before, now {doc}")
        self.live[sort, doc] = live
        self.doc[sort, live] = doc

    def substitute(self, node, key=""):
        """A sent message with live values in place of the document's."""
        if isinstance(node, dict):
            return {k: self.substitute(v, k) for k, v in node.items()}
        if isinstance(node, list):
            return [self.substitute(v, key) for v in node]
        if isinstance(node, bool) or node is None:
            return node
        if key in BOUND or key.endswith("_us"):
            return self.live.get((self.sort(key), node), node)
        return node

    def copy(self):
        other = Bindings()
        other.live, other.doc = dict(self.live), dict(self.doc)
        return other


def is_bound(key, value):
    if isinstance(value, bool) or value is None or isinstance(value, (dict, list)):
        return False
    if key.endswith("_us"):
        return value != 0
    return key in BOUND and (isinstance(value, int) or key in ("instance", "session"))


def match(want, got, bindings, key="", path="$"):
    """Raises Mismatch unless got is what the document says."""
    if want == "…":
        return
    if key in LOOSE:
        if (want is None) != (got is None) or not isinstance(got, type(want)):
            raise Mismatch(f"{path}: {got!r} is not like {want!r}")
        return
    if isinstance(want, dict) and isinstance(got, dict):
        more = "…" in want
        names = set(want) - {"…"}
        if names - set(got) or (set(got) - names and not more):
            raise Mismatch(f"{path}: members {sorted(set(got) ^ names)} differ")
        for name in sorted(names):
            match(want[name], got[name], bindings, name, f"{path}.{name}")
    elif isinstance(want, list) and isinstance(got, list):
        more = bool(want) and want[-1] == "…"
        fixed = want[:-1] if more else want
        if len(got) < len(fixed) or (len(got) > len(fixed) and not more):
            raise Mismatch(f"{path}: {len(got)} elements, not {len(fixed)}")
        for index, (a, b) in enumerate(zip(fixed, got)):
            match(a, b, bindings, key, f"{path}[{index}]")
    elif is_bound(key, want):
        if type(want) is not type(got):
            raise Mismatch(f"{path}: {got!r} is not like {want!r}")
        bindings.bind(key, want, got)
    elif type(want) is not type(got) or want != got:
        raise Mismatch(f"{path}: {got!r}, not {want!r}")


class Block:
    """One fenced dialogue."""

    def __init__(self, number, settings):
        self.number = number
        self.settings = settings
        self.steps = []

    def add(self, number, text):
        found = ARROW.match(text)
        if not found:
            raise ValueError(f"line {number}: neither →, ←, × nor #: {text}")
        name, arrow, body = found.groups()
        if arrow == "×":
            self.steps.append((number, name, "close", None))
        elif arrow == "←" and body.strip() == "…":
            self.steps.append((number, name, "rest", None))
        else:
            kind = "send" if arrow == "→" else "want"
            self.steps.append((number, name, kind, self.message(number, kind, body)))

    @staticmethod
    def message(number, kind, body):
        try:
            return json.loads(body)
        except ValueError as exc:
            if kind == "send":
                return body
            raise ValueError(f"line {number}: {exc}: {body}") from exc


class Fence:
    """A fenced block of a page."""

    def __init__(self, number, kind, rest, settings, section):
        self.number, self.kind, self.rest = number, kind, rest
        self.settings, self.section = settings, section
        self.rows = []

    def dialogue(self):
        """As a Block; None if it is none, or not to be executed."""
        if self.kind != "jsonl" or "no-run" in self.rest:
            return None
        block, whole = Block(self.number, self.settings), []
        for number, row in enumerate(self.rows, self.number + 1):
            if row[:1].isspace() and whole:
                whole[-1][1] += row.strip()
            elif row.strip() and not row.startswith("#"):
                whole.append([number, row.strip()])
        for number, row in whole:
            block.add(number, row)
        return block


def fences(text):
    """All fenced blocks of a page."""
    found, open_fence, mark, settings, section = [], None, None, [], ""
    for number, row in enumerate(text.splitlines(), 1):
        if open_fence:
            if row.strip() == mark:
                open_fence = None
            else:
                open_fence.rows.append(row)
            continue
        fence, heading = FENCE.match(row), HEADING.match(row)
        if fence:
            mark = fence.group(1)
            open_fence = Fence(number, fence.group(2), fence.group(3), settings, section)
            found.append(open_fence)
            settings = []
        elif heading:
            section = heading.group(2)
        elif row.strip():
            settings = [s for part in SETTING.findall(row) for s in part.split()]
    return found


def sections(text):
    """The text below each heading, up to the next of any level."""
    found, title = {}, ""
    fenced = None
    for row in text.splitlines():
        fence, heading = FENCE.match(row), HEADING.match(row)
        if fence:
            fenced = None if row.strip() == fenced else fenced or fence.group(1)
        if heading and not fenced:
            title = heading.group(2).strip("`")
        found[title] = found.get(title, "") + row + "\n"
    return found


class Dialogue:
    """A block in execution."""

    def __init__(self, case, daemon, block):
        self.case, self.daemon, self.block = case, daemon, block
        self.connections = {}
        self.bindings = Bindings()

    async def connection(self, name):
        if name not in self.connections:
            self.connections[name] = await self.daemon.raw()
        return self.connections[name]

    async def run(self):
        steps = list(self.block.steps)
        while steps:
            number, name, kind, message = steps.pop(0)
            if kind == "close":
                self.connections.pop(name).close()
                continue
            if kind == "send":
                raw = await self.connection(name)
                if isinstance(message, dict):
                    live = self.bindings.substitute(message)
                    message = json.dumps(live, ensure_ascii=False)
                elif not isinstance(message, str):
                    message = json.dumps(message)
                await raw.send(message.encode() + b"\n")
                continue
            group = [(number, name, kind, message)]
            while steps and steps[0][2] in ("want", "rest"):
                group.append(steps.pop(0))
            for own in sorted({g[1] for g in group}):
                await self.receive(own, [g for g in group if g[1] == own])
        for name, raw in self.connections.items():
            await self.silent(name, raw)

    async def receive(self, name, group):
        raw = await self.connection(name)
        any_more = any(g[2] == "rest" for g in group)
        wanted = [g for g in group if g[2] == "want"]
        while wanted:
            number = wanted[0][0]
            try:
                got = await raw.recv(10)
            except AssertionError:
                raise AssertionError(f"line {number}: {json.dumps(wanted[0][3])} never came")
            if got is None:
                raise AssertionError(f"line {number}: the connection ended")
            problems = []
            for step in wanted:
                trial = self.bindings.copy()
                try:
                    match(step[3], got, trial)
                except Mismatch as exc:
                    problems.append(f"  line {step[0]}: {exc}")
                    continue
                self.bindings = trial
                wanted.remove(step)
                break
            else:
                if not any_more:
                    raise AssertionError(f"{json.dumps(got)} came, which is none of\n"
                                         + "\n".join(problems))

    async def silent(self, name, raw):
        """Nothing that the document doesn't show may follow."""
        await raw.send(b'{"jsonrpc":"2.0","id":"the end","method":"limits.get"}\n')
        while True:
            message = await raw.recv()
            if message is None or message.get("id") == "the end":
                return
            raise AssertionError(f"after the last line: {json.dumps(message)}")


def is_installed(tool):
    """Whether it is there, and for nc: the one that knows -N (netcat-openbsd)."""
    if shutil.which(tool) is None:
        return False
    if tool != "nc":
        return True
    said = subprocess.run(["nc", "-h"], capture_output=True, text=True, errors="replace",
                          stdin=subprocess.DEVNULL, check=False)
    return re.search(r"^\s*-N\b|\[-[A-Za-z0-9]*N", said.stdout + said.stderr, re.M) is not None


class Session:
    """The console blocks of a page, as one session of bash."""

    MARK = "=-=-= end of step"

    def __init__(self, text):
        self.steps = []   # [line, command, wanted lines]
        self.left_out = []
        for fence in fences(text):
            if fence.kind != "console":
                continue
            missing = [t for t in TOOLS if not is_installed(t)
                       and re.search(rf"\b{t} -", "\n".join(fence.rows))]
            if missing:
                self.left_out.append((fence.number, missing))
            else:
                self.add(fence)

    def add(self, fence):
        for number, row in enumerate(fence.rows, fence.number + 1):
            if row.startswith("$ "):
                self.steps.append([number, row[2:], []])
            elif row.startswith("> ") and not self.steps[-1][2]:
                self.steps[-1][1] += "\n" + row[2:]
            else:
                self.steps[-1][2].append(row)

    def script(self):
        rows = ["exec 2>&1"]
        for _, command, _ in self.steps:
            rows += [command, f'{{ __status=$?; echo; echo "{self.MARK}"; (exit $__status); }}']
        return "\n".join(rows) + "\n"

    @staticmethod
    def pattern(wanted):
        parts = []
        for row in wanted:
            if row.strip() == "…":
                parts.append(r"(?:.*\n)*?")
            else:
                parts.append(".*".join(re.escape(part) for part in row.split("…")) + r"\n")
        return "".join(parts)

    def problems(self, output):
        found = []
        outputs = output.split(f"\n{self.MARK}\n")
        for (number, command, wanted), text in zip(self.steps, outputs):
            text = text if not text or text.endswith("\n") else text + "\n"
            if not re.fullmatch(self.pattern(wanted), text):
                found.append(f"line {number}: $ {command}\nprinted:\n{text}")
        if len(outputs) != len(self.steps) + 1:
            found.append(f"{len(outputs) - 1} of {len(self.steps)} commands were run")
        return found


class Examples(Case):
    """Over a journal, for that is what a reader gets who sets nothing."""

    autostart = False
    durability = "full"

    async def run_blocks(self, blocks):
        problems = []
        for block in blocks:
            daemon = await self.start(max_running=4, settings=block.settings)
            try:
                await Dialogue(self, daemon, block).run()
            except AssertionError as exc:
                problems.append(f"example at line {block.number}: {exc}")
            daemon.close_clients()
            await daemon.stop()
        self.assertEqual(problems, [], "\n".join(problems))

    async def run_page(self, part, parts):
        found = [f.dialogue() for f in fences(PAGE.read_text("utf-8"))]
        blocks = [b for b in found if b]
        self.assertGreater(len(blocks), 40)
        await self.run_blocks(blocks[part::parts])

    @limit(180)
    async def test_protocol_page_1(self):
        await self.run_page(0, 3)

    @limit(180)
    async def test_protocol_page_2(self):
        await self.run_page(1, 3)

    @limit(180)
    async def test_protocol_page_3(self):
        await self.run_page(2, 3)

    async def run_session(self, page):
        session = Session(page.read_text("utf-8"))
        self.assertTrue(session.steps or session.left_out, f"no console block in {page}")
        daemon = await self.start(max_running=4)
        env = daemon.environ()
        env["PATH"] = os.path.dirname(find_binary("slotctl")) + ":" + env["PATH"]
        env.update(SLOTD_SOCKET=str(daemon.socket), SLOTCTL_START="0", LC_ALL="C.UTF-8")
        home = daemon.dir / "home"
        home.mkdir()
        bash = await asyncio.create_subprocess_exec(
            "bash", "--noprofile", "--norc", "-s", cwd=home, env=env,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        script = home.parent / "script"
        script.write_text(session.script(), "utf-8")
        try:
            output, _ = await asyncio.wait_for(
                bash.communicate(f". {shlex.quote(str(script))}\n".encode()), scaled(90))
        except asyncio.TimeoutError:
            bash.kill()
            raise
        problems = session.problems(output.decode("utf-8", "replace"))
        self.assertEqual(problems, [], "\n".join(problems))

    @limit(120)
    async def test_shell_session_of_the_protocol_page(self):
        await self.run_session(PAGE)

    @limit(120)
    async def test_tour_of_the_readme(self):
        await self.run_session(README)

    @limit(120)
    async def test_c_program_of_the_readme(self):
        compiler = shutil.which(os.environ.get("CC", "cc"))
        library = BUILD / ".libs" / "libslot.so"
        if SANITIZE or not compiler or not library.exists():
            self.skipTest("needs a compiler and an uninstrumented libslot.so")
        found = fences(README.read_text("utf-8"))
        at = next(i for i, f in enumerate(found) if f.kind == "c")
        daemon = await self.start(max_running=4)
        source, program = daemon.dir / "example.c", daemon.dir / "example"
        source.write_text("\n".join(found[at].rows) + "\n", "utf-8")
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libevent", "jansson"],
                               capture_output=True, text=True, check=True).stdout.split()
        built = subprocess.run(
            [compiler, "-Wall", "-Wextra", "-Werror", "-o", program, source,
             "-I", ROOT / "include", library, *flags], capture_output=True, text=True)
        self.assertEqual((built.returncode, built.stderr), (0, ""))
        env = {**daemon.environ(), "SLOTD_SOCKET": str(daemon.socket),
               "LD_LIBRARY_PATH": str(library.parent)}
        await self.prints([program], env, found[at + 1].rows)

    @limit(120)
    async def test_python_program_of_the_readme(self):
        found = fences(README.read_text("utf-8"))
        at = next(i for i, f in enumerate(found) if f.kind == "python")
        daemon = await self.start(max_running=4)
        env = {**daemon.environ(), "SLOTD_SOCKET": str(daemon.socket),
               "PYTHONPATH": str(ROOT / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
        await self.prints([sys.executable, "-c", "\n".join(found[at].rows)], env,
                          found[at + 1].rows)

    async def prints(self, argv, env, rows):
        process = await asyncio.create_subprocess_exec(
            *argv, env=env, stdout=asyncio.subprocess.PIPE)
        output, _ = await asyncio.wait_for(process.communicate(), scaled(30))
        self.assertEqual((process.returncode, output.decode().splitlines()), (0, rows))

    async def test_the_checker_sees_differences(self):
        for want, got in (({"a": 1}, {"a": 2}), ({"a": 1}, {"a": 1, "b": 2}), ([1], [1, 2]),
                          ({"a": 1}, {"a": "1"}), ({"ok": True}, {"ok": 1}),
                          ([{"job": 1}, {"job": 1}], [{"job": 5}, {"job": 6}]),
                          ([{"job": 1}, {"job": 2}], [{"job": 5}, {"job": 5}])):
            with self.assertRaises(Mismatch):
                match(want, got, Bindings())
        for want, got in (({"a": 1, "…": "…"}, {"a": 1, "b": 2}), ([1, "…"], [1, 2, 3]),
                          ([{"job": 1}, {"job": 1}], [{"job": 5}, {"job": 5}]),
                          ({"started_us": 5}, {"started_us": 77}), ({"x": "…"}, {"x": [1]}),
                          ({"jobs": [1, 2]}, {"jobs": [8, 9]})):
            match(want, got, Bindings())

    async def test_the_session_checker_sees_differences(self):
        session = Session("```console\n$ true\na … c\n…\nz\n```\n")
        end = "\n" + session.MARK + "\n"
        self.assertEqual(session.problems("a b c\nz\n" + end), [])
        self.assertEqual(session.problems("a b c\n1\n2\nz\n" + end), [])
        for text in ("a b d\nz\n", "a b c\n", "a b c\nz\nmore\n", ""):
            self.assertEqual(len(session.problems(text + end)), 1, text)
        self.assertEqual(len(session.problems("")), 2)


class Completeness(Case):
    """The protocol page names all that rpc.discover names."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.doc = await self.c.call("rpc.discover")
        self.text = PAGE.read_text("utf-8")
        self.sections = sections(self.text)
        self.methods = {m["name"]: m for m in self.doc["methods"]}

    def resolve(self, node):
        while "$ref" in node:
            found = self.doc
            for part in node["$ref"].lstrip("#/").split("/"):
                found = found[part]
            node = found
        return node

    def missing(self, names, section):
        text = self.sections[section]
        return {n for n in names if not re.search(rf"(?<![\w.]){re.escape(n)}(?![\w.])", text)}

    async def test_each_method_has_a_section_with_an_executed_example(self):
        shown = {}
        for fence in fences(self.text):
            block = fence.dialogue()
            for _, _, kind, message in block.steps if block else ():
                if kind == "send" and isinstance(message, dict):
                    shown.setdefault(fence.section.strip("`"), set()).add(message.get("method"))
        names = set(self.methods)
        self.assertEqual(names - set(self.sections), set(), "methods without a section")
        self.assertEqual({n for n in names if n not in shown.get(n, ())}, set(),
                         "sections without an example of their own")

    async def test_no_section_is_about_a_method_that_is_gone(self):
        titled = {t for t in self.sections if re.fullmatch(r"([a-z]+\.|\$/)[a-z_]+", t)}
        self.assertEqual(titled - set(self.methods), set())

    async def test_each_parameter_is_named_in_its_section(self):
        for name, method in self.methods.items():
            section = "The spec" if name == "job.submit" else name
            params = [self.resolve(p)["name"] for p in method["params"]]
            self.assertEqual(self.missing(params, section), set(), name)

    async def test_each_member_of_a_result_is_named(self):
        for name, method in self.methods.items():
            schema = method.get("result", {"schema": {}})["schema"]
            section = {"#/components/schemas/Job": "The job object",
                       "#/components/schemas/Limits": "limits.get",
                       "#/components/schemas/Queue": "queue.list"}.get(schema.get("$ref"), name)
            members = self.resolve(schema).get("properties", {})
            self.assertEqual(self.missing(members, section), set(), name)

    async def test_no_parameter_is_named_that_is_gone(self):
        """The braces that a section begins with are the parameters, in their order."""
        for name, method in self.methods.items():
            if name == "job.submit":
                rows = re.findall(r"^\| (`.*?) \|", self.sections["The spec"], re.M)
                named = re.findall(r"`(\w+)`", " ".join(rows))
            else:
                braces = re.search(r"`(?:\$/\w+ )?\{(.*?)\}`", self.sections[name], re.S)
                named = [word for word in braces.group(1).split(", ") if word]
            self.assertEqual(named, [p["name"] for p in method["params"]], name)

    async def test_each_method_names_its_own_errors(self):
        """And no others.  What StorageDegraded may befall stands in its row."""
        kinds = set(self.doc["components"]["errors"])
        row = re.search(r"^\|.*StorageDegraded.*$", self.sections["Errors"], re.M).group()
        submit = None
        for name, method in self.methods.items():
            own = {ref["$ref"].rpartition("/")[2] for ref in method.get("errors", [])}
            text = re.search(r"Errors: (.*?)\n\n", self.sections[name] + "\n\n", re.S)
            named = kinds & set(re.findall(r"[A-Z]\w+", text.group(1) if text else ""))
            if text and "those of `job.submit`" in text.group(1).replace("\n", " "):
                named |= submit
            if name == "job.submit":
                submit = named
            self.assertEqual(named, own - {"StorageDegraded"}, name)
            self.assertEqual(f"`{name}`" in row, "StorageDegraded" in own, name)

    async def test_members_of_items_are_named(self):
        for name, method in self.methods.items():
            if "x-stream" not in method:
                continue
            schema = method["x-stream"]["item"]["schema"]
            section = "Completions" if schema.get("$ref", "").endswith("Completion") else name
            members = self.resolve(schema)["properties"]
            self.assertEqual(self.missing(members, section), set(), name)

    async def test_each_kind_of_error_has_its_row(self):
        rows = re.findall(r"^\| (-?\d+) \| (\w+) \|", self.sections["Errors"], re.M)
        kinds = self.doc["components"]["errors"]
        self.assertEqual({kind: int(code) for code, kind in rows},
                         {kind: error["code"] for kind, error in kinds.items()})

    async def test_members_of_an_errors_data_are_named_in_its_row(self):
        completion = set(self.doc["components"]["schemas"]["Completion"]["properties"])
        for kind, error in self.doc["components"]["errors"].items():
            row = re.search(rf"^\|[^|]*\| {kind} \|.*$", self.sections["Errors"], re.M).group()
            members = set(error["data"]["schema"]["properties"]) - {"kind", "param", "path"}
            if "completion" in row or "likewise" in row:
                members -= completion | {"index"}
            self.assertEqual({m for m in members if f"`data.{m}`" not in row}, set(), kind)

    async def test_links_within_the_page_lead_somewhere(self):
        anchors = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in self.sections}
        wanted = set(re.findall(r"\]\(#([^)]+)\)", self.text))
        self.assertEqual(wanted - anchors, set())
