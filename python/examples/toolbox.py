"""The toolbox: three jobs of 3, 1 and 1 seconds, handled in eight ways: one after the other, by
hand, awaited in the order of submitting, as_completed, gather, a Future of one's own, wait for the first
with new work coming in, and wait with a timeout in a loop. Each says how long it took.

The jobs are commands that slotd runs; all else is asyncio's.

    PYTHONPATH=python python3 python/examples/toolbox.py [MILLISECONDS OF A SECOND]
"""

import asyncio
import contextlib
import time

import slotd
import slotd.aio
from sleeps import SECOND, ended, name, outcome, show, sleep

JOBS = [("a", 3), ("b", 1), ("c", 1)]


@contextlib.contextmanager
def timed(form):
    begun = time.monotonic()
    yield
    show(form, "took_ms", int((time.monotonic() - begun) * 1000))


def start(client):
    return [sleep(client, *job) for job in JOBS]


async def sequential(client):
    """1. Each starts when the one before has ended: 5 seconds."""
    for job in JOBS:
        show("sequential", *await ended(sleep(client, *job)))


async def by_hand(client):
    """2. With nothing but callbacks and a counter."""
    all_done = asyncio.get_running_loop().create_future()
    left = len(JOBS)

    def count_down(future):
        nonlocal left
        show("by_hand", name(future), outcome(future))
        left -= 1
        if left == 0:
            all_done.set_result(None)

    for future in start(client):
        future.add_done_callback(count_down)
    await all_done


async def pre_scheduled(client):
    """3. All run, but each is handled in the order of submitting: b and c wait behind a."""
    for future in start(client):
        show("pre_scheduled", *await ended(future))


async def as_completed(client):
    """4. As soon as each ends."""
    for future in asyncio.as_completed(start(client)):
        show("as_completed", *await ended(future))


async def gather(client):
    """5. All together, in the order given."""
    for completion in await asyncio.gather(*start(client)):
        show("gather", completion.tag, "result")


async def gather_exception(client):
    """What an exception does to it: gather raises the first one; the rest runs on, and can be
    cancelled. Cancelling a future ends its job."""
    a, b, c = sleep(client, "a", 3), sleep(client, "b", 1, True), sleep(client, "c", 1)
    try:
        await asyncio.gather(a, b, c)
    except slotd.JobFailed as error:
        show("gather_exception failed 1", error.completion.tag)
    show("gather_exception a", "result" if a.done() else "pending")
    a.cancel()
    show("gather_exception a", "cancelled" if a.cancelled() else "pending")
    # Asked for the exceptions as results, it waits for all.
    results = await asyncio.gather(a, b, c, return_exceptions=True)
    names = {asyncio.CancelledError: "cancelled", slotd.JobFailed: "exception"}
    show("gather_exceptions result", *(names.get(type(r), "result") for r in results))


async def future(_):
    """6. A future of one's own."""
    f = [asyncio.get_running_loop().create_future() for _ in range(3)]
    show("future done", int(f[0].done()), "cancelled", int(f[0].cancelled()))
    try:
        f[0].result()
    except asyncio.InvalidStateError:
        show("future result_early InvalidState")
    f[0].set_result("42")
    show("future result", f[0].result())
    try:
        f[0].set_result("42")
    except asyncio.InvalidStateError:
        show("future set_twice InvalidState")
    f[1].set_exception(ValueError("broken"))
    show("future exception", f[1].exception())
    show("future cancel", int(f[2].cancel()), "again", int(f[2].cancel()))
    show("future done", int(f[2].done()), "cancelled", int(f[2].cancelled()))
    try:
        f[2].result()
    except asyncio.CancelledError:
        show("future result_cancelled cancelled")


async def wait_first(client):
    """7. Wait for the first, and take on new work meanwhile."""
    pending, late = set(start(client)), False
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for f in done:
            show("wait_first", name(f), outcome(f))
        if not late:
            late = True
            pending.add(sleep(client, "d", 1))


async def wait_timeout(client):
    """8. Look every fifth of a second; nothing may have ended, or nothing be left."""
    pending = set(start(client))
    while pending:
        done, pending = await asyncio.wait(pending, timeout=SECOND / 5)
        show("wait_timeout done", len(done), "pending", len(pending))
        for f in done:
            show("wait_timeout", name(f), outcome(f))


async def main():
    async with slotd.aio.Client() as client:
        for form in (sequential, by_hand, pre_scheduled, as_completed, gather, gather_exception,
                     future, wait_first, wait_timeout):
            with timed(form.__name__):
                await form(client)


asyncio.run(main())
