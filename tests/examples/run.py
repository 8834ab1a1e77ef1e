#!/usr/bin/env python3
"""Runs the five example programs and checks order, results and peak running count.

Beside each stands the same program on asyncio, run on a loop whose time is virtual: it takes no
time, and what it does is the oracle. Where the two differ on purpose, the line says so.
SLOT_BUILD_DIR: where the programs were built.
"""
import asyncio
import collections
import os
import subprocess
import sys

BUILD = os.environ.get("SLOT_BUILD_DIR", ".")
INVALID = "invalid state: still pending, or settled already"


class Broken(Exception):
    """How a job fails; its argument is the job's name."""


# ---- asyncio on virtual time ------------------------------------------------------------------


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that jumps to the next timer instead of sleeping."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        really_select = self._selector.select

        def select(timeout):
            events = really_select(0)
            if not events:
                if timeout is None:
                    raise RuntimeError("nothing would ever happen")
                self.now += timeout
            return events

        self._selector.select = select

    def time(self):
        return self.now


def oracle(program, *args):
    """What the program, a coroutine function, has written: a list of lines."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    lines = []
    try:
        loop.run_until_complete(program(lines.append, *args))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    return lines


async def job(name, seconds, fails=False):
    await asyncio.sleep(seconds)
    if fails:
        raise Broken(name)
    return name


def start(*args):
    return asyncio.get_running_loop().create_task(job(*args))


def outcome(f):
    """(name, outcome) of a done future."""
    if f.cancelled():
        return "?", "cancelled"
    e = f.exception()
    return (e.args[0], "exception") if e else (f.result(), "result")


async def settled(f):
    """Awaits it, and gives its outcome whatever it is."""
    try:
        return await f, "result"
    except Broken as e:
        return e.args[0], "exception"


# ---- the five programs ------------------------------------------------------------------------


def downloads():
    return [start("A", 2), start("B", 1), start("C", 0.1), start("D", 0.5, True)]


async def as_completed(write):
    futures = downloads()
    try:
        futures[0].result()
    except asyncio.InvalidStateError:
        write("too_early A " + INVALID)
    for f in asyncio.as_completed(futures):
        write("as_completed %s %s" % await settled(f))
    pending = set(downloads())
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for f in sorted(done, key=outcome):
            write("wait %s %s" % outcome(f))


def three():
    return [start("a", 3), start("b", 1), start("c", 1)]


async def toolbox(write):
    for args in ("a", 3), ("b", 1), ("c", 1):
        write("sequential %s %s" % await settled(job(*args)))

    futures = three()
    all_done = asyncio.get_running_loop().create_future()
    left = len(futures)

    def count_down(f):
        nonlocal left
        write("by_hand %s %s" % outcome(f))
        left -= 1
        if left == 0:
            all_done.set_result(None)

    for f in futures:
        f.add_done_callback(count_down)
    await all_done

    for f in three():
        write("pre_scheduled %s %s" % await settled(f))
    for f in asyncio.as_completed(three()):
        write("as_completed %s %s" % await settled(f))
    for name in await asyncio.gather(*three()):
        write("gather %s result" % name)

    futures = [start("a", 3), start("b", 1, True), start("c", 1)]
    try:
        await asyncio.gather(*futures)
    except Broken as e:
        write("gather_exception failed 1 %s" % e.args)
    write("gather_exception a %s" % ("result" if futures[0].done() else "pending"))
    futures[0].cancel()
    everything = await asyncio.gather(*futures, return_exceptions=True)
    write("gather_exception a %s" % outcome(futures[0])[1])
    write("gather_exceptions result %s" % " ".join(outcome(f)[1] for f in futures))
    assert len(everything) == 3

    f = [asyncio.get_running_loop().create_future() for _ in range(3)]
    write("future done %d cancelled %d" % (f[0].done(), f[0].cancelled()))
    try:
        f[0].result()
    except asyncio.InvalidStateError:
        write("future result_early " + INVALID)
    f[0].set_result("42")
    write("future result " + f[0].result())
    try:
        f[0].set_result("42")
    except asyncio.InvalidStateError:
        write("future set_twice " + INVALID)
    f[1].set_exception(Broken("broken"))
    write("future exception -1001 " + f[1].exception().args[0])
    write("future cancel %d again %d" % (f[2].cancel(), f[2].cancel()))
    write("future done %d cancelled %d" % (f[2].done(), f[2].cancelled()))
    try:
        f[2].result()
    except asyncio.CancelledError:
        write("future result_cancelled cancelled")

    pending = set(three())
    late = False
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for f in sorted(done, key=outcome):
            write("wait_first %s %s" % outcome(f))
        if not late:
            late = True
            pending.add(start("d", 1))

    pending = set(three())
    while pending:
        done, pending = await asyncio.wait(pending, timeout=0.2)
        for f in sorted(done, key=outcome):
            write("wait_timeout %s %s" % outcome(f))


async def how_as_completed_works(write):
    futures = [start("a", 2), start("b", 0.2, True), start("c", 1.5)]
    write("duplicates following %d" % len(set(futures)))
    for f in asyncio.as_completed(futures * 2):
        write("duplicates %s %s" % await settled(f))
    write("duplicates end")
    futures = [start("a", 2), start("b", 0.2, True), start("c", 1.5)]
    write("timeout following 3")
    try:
        for f in asyncio.as_completed(futures, timeout=0.8):
            write("timeout %s %s" % await settled(f))
    except asyncio.TimeoutError:
        write("timeout timeout")
    await asyncio.wait(futures)


class AsyncExecutor:
    """The pattern, mended: an action that fails settles its future and frees its slot."""

    def __init__(self, max_running_actions):
        self.max_running = max_running_actions
        self.running = 0
        self.peak = 0
        self.pending = collections.deque()

    def submit(self, fn, *args):
        f = asyncio.get_running_loop().create_future()
        self.pending.append((f, fn, args))
        self.fill()
        return f

    def fill(self):
        while self.pending and self.running < self.max_running:
            self.running += 1
            self.peak = max(self.peak, self.running)
            asyncio.get_running_loop().create_task(self.run(*self.pending.popleft()))

    async def run(self, f, fn, args):
        try:
            f.set_result(await fn(*args))
        except Exception as e:
            f.set_exception(e)
        finally:
            self.running -= 1
            self.fill()


HUNDREDTHS = (25, 8, 13, 21, 25, 4, 20, 23, 4, 19, 25)


async def async_executor(write):
    executor = AsyncExecutor(4)

    async def action(name, seconds, fails):
        write("start " + name)
        return await job(name, seconds, fails)

    futures = []
    for i, h in enumerate(HUNDREDTHS):
        f = executor.submit(action, str(i + 1), h / 100, i == 2)
        f.add_done_callback(lambda f: write("end %s %s" % outcome(f)))
        futures.append(f)
    await asyncio.gather(*futures, return_exceptions=True)
    write("gather " + " ".join("%s:%s" % outcome(f) for f in futures))
    write("peak %d" % executor.peak)
    write("running %d pending %d" % (executor.running, len(executor.pending)))


async def limited_as_completed(write, second_ms):
    """Writes (when the job ends at best, its name, its outcome)."""
    loop = asyncio.get_running_loop()
    rest = iter(range(1, 101))
    pending = set()
    while True:
        for i in rest:
            pending.add(start(str(i), second_ms // i / 1000, i % 7 == 0))
            if len(pending) == 10:
                break
        if not pending:
            return
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for f in done:
            write((loop.time(),) + outcome(f))


# ---- the checks -------------------------------------------------------------------------------

counts = {"passed": 0, "failed": 0}


def check(name, condition, detail=""):
    counts["passed" if condition else "failed"] += 1
    if not condition:
        print("FAILED %s%s" % (name, "\n" + detail if detail else ""))


def same(name, ours, theirs):
    check(name, ours == theirs, "ours:\n  %s\nexpected:\n  %s" % (
        "\n  ".join(ours), "\n  ".join(theirs)))


def run(name, *args):
    """The lines that the example has written."""
    program = os.path.join(BUILD, "examples", name)
    try:
        p = subprocess.run([program] + [str(a) for a in args], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=120, universal_newlines=True)
    except (OSError, subprocess.TimeoutExpired) as e:
        check("%s runs" % name, False, str(e))
        return []
    check("%s ends well" % name, p.returncode == 0 and not p.stderr,
          "status %d\n%s" % (p.returncode, p.stderr))
    return p.stdout.splitlines()


def check_as_completed():
    same("as_completed: both loops in finish order, the error an item", run("as_completed"),
         oracle(as_completed))


def check_toolbox():
    lines = run("toolbox", 30)
    took = {w[0]: int(w[2]) for w in map(str.split, lines) if w[1:2] == ["took_ms"]}
    looks = [w[2:5:2] for w in map(str.split, lines) if w[:2] == ["wait_timeout", "done"]]
    rest = [x for x in lines if " took_ms " not in x and not x.startswith("wait_timeout done")]
    expected = oracle(toolbox)
    for form in ("sequential", "by_hand", "pre_scheduled", "as_completed", "gather",
                 "gather_exception", "gather_exceptions", "future", "wait_first",
                 "wait_timeout"):
        same("toolbox: " + form, [x for x in rest if x.split()[0] == form],
             [x for x in expected if x.split()[0] == form])
    check("toolbox: one after the other takes 5 seconds", took.get("sequential", 0) >= 5 * 30)
    check("toolbox: together they take 3", all(
        took.get(form, 0) >= 3 * 30 for form in
        ("by_hand", "pre_scheduled", "as_completed", "gather", "wait_first", "wait_timeout")))
    check("toolbox: done may be empty", any(done == "0" for done, _ in looks), str(looks))
    check("toolbox: pending is empty at the end", looks[-1:] and looks[-1][1] == "0", str(looks))


def check_how_as_completed_works():
    lines = run("how_as_completed_works")
    mine = [x.replace(" mine", "") for x in lines if x.split()[1] == "mine"]
    library = [x.replace(" library", "") for x in lines if x.split()[1] == "library"]
    expected = oracle(how_as_completed_works)
    same("how_as_completed_works: rebuilt by hand and the library's own are alike", mine, library)
    for part in "duplicates", "timeout":
        same("how_as_completed_works: " + part, [x for x in library if x.startswith(part)],
             [x for x in expected if x.startswith(part)])
    # asyncio gives those done already in a set's order; ours is the order given.
    same("how_as_completed_works: those done already",
         [x for x in library if x.startswith("done_already")],
         ["done_already following 3", "done_already a result", "done_already b exception",
          "done_already c result", "done_already end"])
    # asyncio takes an empty list for the end; ours refuses it.
    same("how_as_completed_works: an empty list", [x for x in library if x.startswith("empty")],
         ["empty refused"])
    check("how_as_completed_works: nothing is lost by a timeout",
          "later a result" in library and "later end" in library)


def check_async_executor():
    lines = run("async_executor")
    expected = oracle(async_executor)
    same("async_executor: starts, ends, gather and peak", lines[:len(expected)], expected)
    same("async_executor: cancel, a limit that changes, drain", lines[len(expected):],
         ["start 1", "end 2 cancelled", "end 1 result", "start 3", "submit closed", "start 4",
          "end 3 exception", "end 4 result", "drained running 0 pending 0"])


def check_limited_as_completed():
    second_ms = 400
    lines = run("limited_as_completed", second_ms)
    items = [x.split() for x in lines if x.startswith("item ")]
    ideal = oracle(limited_as_completed, second_ms)
    when = {name: at for at, name, _ in ideal}
    check("limited_as_completed: every item once, with its outcome",
          sorted((w[1], w[2]) for w in items) == sorted(x[1:] for x in ideal))
    check("limited_as_completed: asks for the next when there is room, not before",
          [int(w[4]) for w in items] == [min(100, 10 + i) for i in range(100)])
    latest = 0.0
    late = 0.0
    for w in items:
        at = when.get(w[1], 0.0)
        latest = max(latest, at)
        late = max(late, latest - at)
    # Equal times may change places.
    check("limited_as_completed: finish order", late < 1e-6, "out of order by %.6f s" % late)
    same("limited_as_completed: exactly ten at a time, and the end", lines[len(items):],
         ["end result handed_over 100 peak_in_flight 10 peak_running 10",
          "many 100000 peak_in_flight 10", "limit_0 invalid argument"])


def main():
    for f in (check_as_completed, check_toolbox, check_how_as_completed_works,
              check_async_executor, check_limited_as_completed):
        f()
    print("%d passed, %d failed" % (counts["passed"], counts["failed"]))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
