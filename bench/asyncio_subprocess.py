#!/usr/bin/env python3
"""The AsyncExecutor pattern with a subprocess for each action: how many /bin/true it runs in a
second, at most four at once, with the child watcher that the event loop has anyway.

        asyncio_subprocess.py COUNT
"""
import asyncio
import json
import sys
import time

from asyncio_executor import LIMIT, AsyncExecutor


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
