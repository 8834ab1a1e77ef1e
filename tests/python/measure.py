#!/usr/bin/env python3
"""How fast the Python package is beside slotctl map and asyncio's own subprocesses. No test.

    tests/python/measure.py [N [LIMIT [ROUNDS]]]

Each way runs N times `true`, LIMIT at a time; the ways take turns, in ROUNDS rounds. Printed are the
median of jobs a second, and that as a multiple of asyncio's. SLOT_BUILD_DIR: where slotd was built.
"""
import asyncio
import concurrent.futures
import os
import statistics
import subprocess
import sys
import tempfile
import time

from support import Daemon

import slotd
from slotd.aio import Client

AHEAD = 4  # how many times the slots a map has submitted and not taken, as slotctl's own default
ENV = {"PATH": os.environ["PATH"]}


async def aio_submit(path, n, limit):
    async with Client(path, env=ENV) as client:
        await asyncio.gather(*(client.submit(["true"]) for _ in range(n)))


async def aio_map(path, n, limit):
    async with Client(path, env=ENV) as client:
        async for _ in client.map((["true"] for _ in range(n)), limit=AHEAD * limit):
            pass


def run_executor(path, n, limit):
    with slotd.SlotExecutor(path, env=ENV) as executor:
        futures = [executor.submit(["true"]) for _ in range(n)]
        for future in concurrent.futures.as_completed(futures):
            future.result()


async def executor(path, n, limit):
    await asyncio.get_running_loop().run_in_executor(None, run_executor, path, n, limit)


async def slotctl_map(path, n, limit):
    program = [os.path.join(os.environ["SLOT_BUILD_DIR"], "slotctl"), "--socket", path, "map",
               "-j", str(AHEAD * limit), "--", "true"]
    process = await asyncio.create_subprocess_exec(
        *program, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**os.environ, **ENV})
    await process.communicate(b"\n" * n)
    assert process.returncode == 0


async def asyncio_subprocess(path, n, limit):
    semaphore = asyncio.Semaphore(limit)

    async def one():
        async with semaphore:
            process = await asyncio.create_subprocess_exec(
                "true", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV)
            await process.communicate()

    await asyncio.gather(*(one() for _ in range(n)))


WAYS = (asyncio_subprocess, aio_submit, aio_map, executor, slotctl_map)


async def main(n=2000, limit=4, rounds=3):
    rates = {way: [] for way in WAYS}
    for durability in ("memory", "full"):
        with tempfile.TemporaryDirectory() as directory:
            daemon = Daemon(directory, durability=durability, max_running=limit)
            await daemon.start()
            for way in WAYS * rounds:
                start = time.perf_counter()
                await way(str(daemon.socket), n, limit)
                rates[way].append(n / (time.perf_counter() - start))
            await daemon.stop()
            daemon.end_launcher()
        base = statistics.median(rates[asyncio_subprocess])
        for way in WAYS:
            rate = statistics.median(rates[way])
            print(f"{durability:8}{way.__name__:20}{rate:8.0f} jobs/s {rate / base:6.2f}")
        rates = {way: [] for way in WAYS}


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
