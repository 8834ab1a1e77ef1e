#!/usr/bin/env python3
"""How many actions that do nothing the AsyncExecutor pattern of asyncio programs runs in a second:
at most four run at once, the others wait in a list, each has a future. COUNT are submitted before
the first one starts. As core_executor does it twice and counts the second time, so does this.

        asyncio_executor.py COUNT

The list is a deque: pop(0) of a plain list, as this is often written, is quadratic.
"""
import asyncio
import collections
import sys
import time

LIMIT = 4


class AsyncExecutor:
    def __init__(self, max_running_actions):
        self.max_running_actions = max_running_actions
        self.running_actions = 0
        self.pending_actions = collections.deque()

    def submit(self, action, *args):
        future = asyncio.get_running_loop().create_future()
        if self.running_actions < self.max_running_actions:
            self.start(future, action, args)
        else:
            self.pending_actions.append((future, action, args))
        return future

    def start(self, future, action, args):
        self.running_actions += 1
        asyncio.ensure_future(self.run(future, action, args))

    async def run(self, future, action, args):
        try:
            future.set_result(await action(*args))
        except Exception as error:
            future.set_exception(error)
        self.running_actions -= 1
        if self.pending_actions:
            self.start(*self.pending_actions.popleft())


async def action():
    pass


async def measure(count):
    done = 0
    ended = asyncio.Event()

    def on_done(_):
        nonlocal done
        done += 1
        if done == count:
            ended.set()

    executor = AsyncExecutor(LIMIT)
    begun = time.monotonic()
    for _ in range(count):
        executor.submit(action).add_done_callback(on_done)
    await ended.wait()
    return time.monotonic() - begun


async def main(count):
    first = await measure(count)
    seconds = await measure(count)
    print(f'{{"count":{count},"seconds":{seconds:.6f},"per_s":{count / seconds:.1f},'
          f'"first_per_s":{count / first:.1f}}}')


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
