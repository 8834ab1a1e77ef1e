"""How as_completed works: the same thing once more, small - a todo set, a queue of those done, one
callback for each future, a timer that drains the todo set - and beside it asyncio.as_completed on
the same futures, which are those of jobs that slotd runs.

Each future is handed out once, also where it was given twice; after a timeout what remains is left
alone and may be followed anew; a single future is a TypeError. asyncio takes an empty list for the
end of one; mine refuses it.

    PYTHONPATH=python python3 python/examples/how_as_completed_works.py [MILLISECONDS OF A SECOND]
"""

import asyncio

import slotd.aio
from sleeps import SECOND, ended, show, sleep


def mine(futures, *, timeout=None):
    """Yields awaitables, one for each future, in the order in which they end."""
    if asyncio.isfuture(futures):
        raise TypeError("expected several futures, not one")
    loop = asyncio.get_running_loop()
    todo = set(futures)  # a set: each once
    if not todo:
        raise ValueError("expected at least one future")
    done = asyncio.Queue()

    def on_completion(future):
        todo.discard(future)
        done.put_nowait(future)
        if not todo and timer is not None:
            timer.cancel()

    def on_timeout():
        # Those that end later find no callback any more: nothing is delivered, nothing leaks.
        for future in todo:
            future.remove_done_callback(on_completion)
            done.put_nowait(None)  # whoever waits for it is told so
        todo.clear()

    async def next_one():
        future = await done.get()
        if future is None:
            raise asyncio.TimeoutError
        return future.result()

    for future in dict.fromkeys(futures):
        future.add_done_callback(on_completion)
    timer = loop.call_later(timeout, on_timeout) if timeout is not None else None
    return [next_one() for _ in todo]


async def follow(what, as_completed, futures, timeout=None):
    """Shows what one of the two does with the futures."""
    whose = "mine" if as_completed is mine else "library"
    show(what, whose, "following", len(set(futures)))
    awaitables = iter(as_completed(futures, timeout=timeout))
    try:
        for awaitable in awaitables:
            show(what, whose, *await ended(awaitable))
        show(what, whose, "end")
    except asyncio.TimeoutError:
        show(what, whose, "timeout remaining", sum(not future.done() for future in futures))
        await asyncio.wait(futures)
        late = await asyncio.gather(*awaitables, return_exceptions=True)
        assert all(isinstance(error, asyncio.TimeoutError) for error in late), late
        show(what, whose, "afterwards nothing")


async def show_all(client, as_completed):
    jobs = [("a", 2), ("b", 0.2, True), ("c", 1.5)]
    whose = "mine" if as_completed is mine else "library"
    futures = [sleep(client, *job) for job in jobs]
    await follow("duplicates", as_completed, futures * 2)
    await follow("done_already", as_completed, futures)
    futures = [sleep(client, *job) for job in jobs]
    await follow("timeout", as_completed, futures, timeout=0.8 * SECOND)
    await follow("later", as_completed, futures)  # nothing was lost
    try:
        show("empty", whose, len(list(as_completed([]))))
    except ValueError:
        show("empty", whose, "refused")
    try:
        list(as_completed(futures[0]))
    except TypeError:
        show("single", whose, "refused")


async def main():
    async with slotd.aio.Client() as client:
        await show_all(client, mine)
        await show_all(client, asyncio.as_completed)


asyncio.run(main())
