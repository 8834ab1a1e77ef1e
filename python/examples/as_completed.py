"""as_completed: four downloads, taking 2, 1 and 0.1 seconds and one that fails after half a second,
are handled as soon as each ends - the failure like the others, it ends nothing. Then the same with
a loop over wait(FIRST_COMPLETED), and then without asyncio. All print C, D (exception), B, A.

The jobs are commands that slotd runs; their futures are asyncio's own, and so is all that is done
with them here.

    PYTHONPATH=python python3 python/examples/as_completed.py [MILLISECONDS OF A SECOND]
"""

import asyncio
import concurrent.futures

import slotd
import slotd.aio
from sleeps import argv_of, name, outcome, show, sleep

DOWNLOADS = [("A", 2), ("B", 1), ("C", 0.1), ("D", 0.5, True)]


async def as_completed(futures):
    """asyncio.as_completed as an asynchronous generator that yields values *or* errors, so that a
    failure doesn't end the loop around it."""
    for future in asyncio.as_completed(futures):
        try:
            yield await future
        except slotd.JobFailed as error:
            yield error


async def main():
    async with slotd.aio.Client() as client:
        futures = [sleep(client, *download) for download in DOWNLOADS]
        try:
            futures[0].result()  # asking too early never blocks
        except asyncio.InvalidStateError:
            show("too_early A InvalidState")
        async for item in as_completed(futures):
            if isinstance(item, Exception):
                show("as_completed", item.completion.tag, "exception")
            else:
                show("as_completed", item.tag, "result")

        pending = {sleep(client, *download) for download in DOWNLOADS}
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                show("wait", name(future), outcome(future))


def without_asyncio():
    with slotd.SlotExecutor() as executor:
        names = {executor.submit(argv_of(*rest), tag=tag): tag for tag, *rest in DOWNLOADS}
        for future in concurrent.futures.as_completed(names):
            show("executor", names[future], outcome(future))


asyncio.run(main())
without_asyncio()
