"""The five programs as asyncio has them, on a loop whose time is virtual: they take no time, and
what they write is what ours must write. Where the two differ on purpose, run.py says so.

Where ours ran real processes, which no machine lets sleep exactly as long as they should, asyncio's
are given the same ends: then the order must be the same, however busy the machine was.
"""
import asyncio
import collections

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
        self.set_exception_handler(lambda *_: None)  # of a failure that nobody asks for

    def time(self):
        return self.now


#: When the jobs of a name end, in the order in which they start; none: when they should.
ends = collections.defaultdict(collections.deque)


def oracle(program, *args, jobs=(), second=1.0):
    """What the program, a coroutine function, has written: a list of lines. ``jobs`` are the
    daemon's records of real ones, ``second`` is how long theirs was."""
    ends.clear()
    ends.update(real_ends(jobs, second))
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    lines = []
    try:
        loop.run_until_complete(program(lines.append, *args))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    return lines


def real_ends(jobs, second):
    """The times of the records, but no two the same, and in the order of seq."""
    begun_us = min((job["submitted_us"] for job in jobs), default=0)
    at, last_us = {}, 0
    for job in sorted(jobs, key=lambda job: job["seq"]):
        last_us = max(job["finished_us"] - begun_us, last_us + 1)
        at[job["job"]] = last_us / 1e6 / second
    result = collections.defaultdict(collections.deque)
    for job in sorted(jobs, key=lambda job: job["job"]):
        result[job["tag"]].append(at[job["job"]])
    return result


async def job(name, seconds, fails=False):
    if ends[name]:
        seconds = ends[name].popleft() - asyncio.get_running_loop().time()
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
    awaitables = iter(asyncio.as_completed(futures, timeout=0.8))
    try:
        for f in awaitables:
            write("timeout %s %s" % await settled(f))
    except asyncio.TimeoutError:
        write("timeout timeout remaining %d" % sum(not f.done() for f in futures))
    await asyncio.wait(futures)
    late = await asyncio.gather(*awaitables, return_exceptions=True)
    if all(isinstance(e, asyncio.TimeoutError) for e in late):
        write("timeout afterwards nothing")
    try:
        list(asyncio.as_completed(futures[0]))
    except TypeError:
        write("single refused")


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


async def limited_as_completed(write, second):
    """Writes (when the job ends at best, its name, its outcome)."""
    loop = asyncio.get_running_loop()
    rest = iter(range(1, 101))
    pending = set()
    while True:
        for i in rest:
            pending.add(start(str(i), second / i, i % 7 == 0))
            if len(pending) == 10:
                break
        if not pending:
            return
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for f in done:
            write((loop.time(),) + outcome(f))
