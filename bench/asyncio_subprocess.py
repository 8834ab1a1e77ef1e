#!/usr/bin/env python3
"""The AsyncExecutor pattern as asyncio programs have it, each action a subprocess: how many
/bin/true it runs in a second, at most four at once, with the event loop's own child watcher.

        asyncio_subprocess.py COUNT
"""
import asyncio
import collections
import json
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


async def action(command):
    process = await asyncio.create_subprocess_exec(command)
    if await process.wait() != 0:
        raise RuntimeError(f"{command} failed")


async def main(count):
    executor = AsyncExecutor(LIMIT)
    begun = time.monotonic()
    await asyncio.gather(*[executor.submit(action, "/bin/true") for _ in range(count)])
    seconds = time.monotonic() - begun
    print(json.dumps({"count": count, "seconds": seconds, "per_s": count / seconds}))


asyncio.run(main(int(sys.argv[1])))
