"""AsyncExecutor: max_running, and submit(...) which gives out a future. slotd is one: here its
queue "async_executor" runs four of eleven jobs at a time, each printed as it ends, then all of them
gathered. One fails, and its slot goes to the next like any other. Then what the pattern usually
lacks: a limit that changes while jobs run, cancel, and drain - for which slotd takes no jobs from
anybody for a moment: try it with one of your own.

    PYTHONPATH=python python3 python/examples/async_executor.py [MILLISECONDS OF A SECOND]
"""

import asyncio

import slotd
import slotd.aio
from sleeps import outcome, show, sleep

QUEUE = "async_executor"
HUNDREDTHS = (25, 8, 13, 21, 25, 4, 20, 23, 4, 19, 25)  # no two end at the same time
MORE = [("1", 0.2), ("2", 0.04), ("3", 0.15, True), ("4", 60), ("5", 0.15)]


class Executor:
    """The pattern, as one queue of the daemon: what waits for a slot waits there."""

    def __init__(self, client):
        self.client = client

    async def set_max_running(self, n):
        await self.client.call("queue.set", {"queue": QUEUE, "max_running": n})

    def submit(self, *job):
        future = sleep(self.client, *job, queue=QUEUE)
        future.add_done_callback(lambda _: show("end", job[0], outcome(future)))
        return future

    async def running(self):
        queues = (await self.client.call("queue.list"))["queues"]
        (queue,) = (q for q in queues if q["queue"] == QUEUE)
        return "running", queue["running"], "pending", queue["pending"]


async def eleven_jobs(executor):
    await executor.set_max_running(4)
    futures = [executor.submit(str(i), h / 100, i == 3) for i, h in enumerate(HUNDREDTHS, 1)]
    await asyncio.gather(*futures, return_exceptions=True)
    show("gather", *(f"{i}:{outcome(future)}" for i, future in enumerate(futures, 1)))
    show(*await executor.running())


async def what_it_usually_lacks(executor, client):
    await executor.set_max_running(1)
    futures = [executor.submit(*job) for job in MORE]
    await futures[1].submitted()
    futures[1].cancel()  # waits for a slot yet: it never starts
    await futures[0]
    await executor.set_max_running(2)
    drained = asyncio.ensure_future(client.call("drain"))
    await asyncio.sleep(0)  # the task has sent it
    try:
        await sleep(client, *MORE[0])
    except slotd.RemoteError as error:
        assert error.kind == "Draining"
        show("submit refused")
    await asyncio.wait(futures[2:3])
    futures[3].cancel()  # runs: it is ended
    await drained
    await asyncio.wait(futures)
    show("drained", *await executor.running())
    await client.call("drain", {"mode": "off"})


async def main():
    async with slotd.aio.Client() as client:
        executor = Executor(client)
        await eleven_jobs(executor)
        await what_it_usually_lacks(executor, client)
        await client.call("queue.remove", {"queue": QUEUE})


asyncio.run(main())
