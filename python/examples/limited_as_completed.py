"""limited_as_completed: a hundred jobs from a lazy sequence, the n-th of 1/n seconds, at most ten
in flight, results as they finish. Nothing polls. Every seventh job fails, and that ends nothing. Then
very many that end at once, in the memory of ten. A limit of 0 is refused.

    PYTHONPATH=python python3 python/examples/limited_as_completed.py [MILLISECONDS OF A SECOND]
"""

import asyncio
import resource

import slotd.aio
from sleeps import argv_of, show

LIMIT, JOBS, VERY_MANY = 10, 100, 2000


class Lazy:
    """An iterable that makes each command when it is asked for it, and counts."""

    def __init__(self, commands):
        self.commands = commands
        self.made = self.handed_over = self.peak = 0

    def __iter__(self):
        for command in self.commands:
            self.made += 1
            self.peak = max(self.peak, self.made - self.handed_over)
            yield command


def rss_kib():
    """The memory that the program takes now."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() // 1024


async def a_hundred(client):
    lazy = Lazy({"argv": argv_of(1 / n, n % 7 == 0), "tag": str(n)} for n in range(1, JOBS + 1))
    async for completion in client.map(lazy, limit=LIMIT):
        lazy.handed_over += 1
        show("item", completion.tag, "result" if completion.ok else "exception", "made", lazy.made)
    show("end result handed_over", lazy.handed_over, "peak_in_flight", lazy.peak)


async def very_many(client):
    lazy = Lazy(["true"] for _ in range(VERY_MANY))
    async for _ in client.map(lazy, limit=LIMIT):
        lazy.handed_over += 1
        if lazy.handed_over % (VERY_MANY // 4) == 0:
            show("many", lazy.handed_over, "rss_kib", rss_kib())
    show("many_end result peak_in_flight", lazy.peak)


async def main():
    async with slotd.aio.Client() as client:
        await a_hundred(client)
        await very_many(client)
        try:
            async for _ in client.map([], limit=0):
                pass
        except ValueError:
            show("limit_0 refused")


asyncio.run(main())
