"""Every example of docs/PROTOCOL.md is executed against a live daemon.

The convention.  A fenced block marked `jsonl` or `slot` is a dialogue:

    → {json}    a line that the client sends
    ← {json}    a line that the server must send
    # text      a comment for the reader

(`->` and `<-` do as well.)  A letter before the arrow (`A→`) names the connection, for
examples with several; without one it is always the same.  Each block runs on connections of
its own to a daemon of its own, whose max_running is 4; ``<!-- daemon: SECTION.KEY=VALUE -->``
on the line before the fence adds settings.  A fence marked `jsonl no-run` is not executed.

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
"""

import asyncio
import json
import re

from slottest import Case, limit
from slottest.daemon import ROOT

PAGE = ROOT / "docs" / "PROTOCOL.md"
FENCE = re.compile(r"^(`{3,}|~{3,})\s*([A-Za-z]*)(.*)$")
ARROW = re.compile(r"^([A-Z]?)\s*(→|←|->|<-)\s*(.*)$")
SETTING = re.compile(r"<!--\s*daemon:\s*(.*?)\s*-->")
BOUND = {"job", "jobs", "pending", "remaining", "oldest_job", "next", "cursor", "after", "seq",
         "since_seq", "oldest", "instance", "session"}
LOOSE = {"uid", "pid", "usage", "server", "features", "limits", "retry_after_ms", "uptime_ms",
         "message", "turns", "max_rss_kib", "wait_us", "run_us", "bytes_in", "bytes_out",
         "connections", "user_us", "system_us"}
# The stand-in until there is a document: the protocol's own "By hand" example in shape.
BY_HAND = """
```jsonl
→ {"jsonrpc":"2.0","id":1,"method":"job.submit","params":{"argv":["sh","-c","sleep 1; echo hi"]}}
← {"jsonrpc":"2.0","id":1,"result":{"job":118,"phase":"running","existing":false}}
→ {"jsonrpc":"2.0","id":11,"method":"job.submit","params":{"argv":["true"]}}
← {"jsonrpc":"2.0","id":11,"result":{"job":119,"phase":"running","existing":false}}
→ {"jsonrpc":"2.0","id":2,"method":"futures.as_completed","params":{"jobs":[118,119],"timeout_ms":500}}
← {"jsonrpc":"2.0","method":"$/item","params":{"stream":2,"n":1,"job":119,"seq":42,"ok":true,"outcome":"exited","exit_code":0,"signal":null,"tag":null}}
← {"jsonrpc":"2.0","id":2,"error":{"code":1005,"message":"timed out","data":{"kind":"Timeout","remaining":[118]}}}
→ {"jsonrpc":"2.0","id":3,"method":"map.open","params":{"limit":2,"defaults":{"cwd":"/tmp"}}}
← {"jsonrpc":"2.0","method":"$/credit","params":{"stream":3,"n":2}}
→ {"jsonrpc":"2.0","id":4,"method":"map.push","params":{"stream":3,"jobs":[{"argv":["sleep","1"]},{"argv":["false"]}]}}
← {"jsonrpc":"2.0","id":4,"result":{"jobs":[120,121]}}
← {"jsonrpc":"2.0","method":"$/item","params":{"stream":3,"n":1,"job":121,"seq":43,"ok":false,"outcome":"exited","exit_code":1,"signal":null,"tag":null}}
← {"jsonrpc":"2.0","method":"$/credit","params":{"stream":3,"n":1}}
→ {"jsonrpc":"2.0","id":5,"method":"map.end","params":{"stream":3}}
← {"jsonrpc":"2.0","id":5,"result":{}}
← {"jsonrpc":"2.0","method":"$/item","params":{"stream":3,"n":2,"job":120,"seq":44,"ok":true,"outcome":"exited","exit_code":0,"signal":null,"tag":null}}
← {"jsonrpc":"2.0","id":3,"result":{"submitted":2,"ok":1,"failed":1,"cancelled":0}}
```
"""


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
            raise ValueError(f"line {number}: neither →, ← nor #: {text}")
        name, arrow, body = found.groups()
        kind = "send" if arrow in ("→", "->") else "want"
        if kind == "want" and body.strip() == "…":
            self.steps.append((number, name, "rest", None))
            return
        try:
            self.steps.append((number, name, kind, json.loads(body)))
        except ValueError as exc:
            raise ValueError(f"line {number}: {exc}: {body}") from exc


def parse(text):
    """All dialogues of a page."""
    blocks, block, fence, settings = [], None, None, []
    for number, row in enumerate(text.splitlines(), 1):
        if fence:
            if row.strip() == fence:
                fence, block = None, None
            elif block is not None and row.strip() and not row.startswith("#"):
                block.add(number, row.strip())
            continue
        found = FENCE.match(row)
        if found:
            fence = found.group(1)
            if found.group(2) in ("jsonl", "slot") and "no-run" not in found.group(3):
                block = Block(number, settings)
                blocks.append(block)
            settings = []
        elif row.strip():
            settings = [s for part in SETTING.findall(row) for s in part.split()]
    return blocks


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
            if kind == "send":
                raw = await self.connection(name)
                live = self.bindings.substitute(message)
                await raw.send(json.dumps(live, ensure_ascii=False).encode() + b"\n")
                continue
            group = [(number, name, kind, message)]
            while steps and steps[0][2] != "send":
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


class Docs(Case):
    autostart = False

    async def run_page(self, text):
        blocks = parse(text)
        problems = []
        for index, block in enumerate(blocks):
            daemon = await self.start(max_running=4, settings=block.settings)
            try:
                await Dialogue(self, daemon, block).run()
            except AssertionError as exc:
                problems.append(f"example at line {block.number}: {exc}")
            daemon.close_clients()
            await daemon.stop()
        self.assertEqual(problems, [], "\n".join(problems))
        return len(blocks)

    @limit(300)
    async def test_every_example_of_the_protocol_page_is_true(self):
        if not PAGE.exists():
            self.skipTest("no docs/PROTOCOL.md")
        count = await self.run_page(PAGE.read_text("utf-8"))
        self.assertGreater(count, 0, "no executable example in docs/PROTOCOL.md")

    async def test_the_protocols_own_example(self):
        self.assertEqual(await self.run_page(BY_HAND), 1)

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
