"""What the examples share: jobs that sleep and then end, well or badly; and how they ended."""

import asyncio
import sys
from typing import Tuple

import slotd
import slotd.aio

#: How long a "second" is, in seconds: the first argument is it in milliseconds.
SECOND = float(sys.argv[1]) / 1000 if len(sys.argv) > 1 else 1.0


def argv_of(seconds: float, fails: bool = False) -> list:
    """The command that sleeps."""
    script = "sleep $0; exit 1" if fails else "exec sleep $0"
    return ["sh", "-c", script, str(seconds * SECOND)]


def sleep(client: slotd.aio.Client, name: str, seconds: float, fails: bool = False,
          **options: object) -> slotd.aio.JobFuture:
    """A job whose tag is its name: the tag comes back with the completion."""
    return client.submit(argv_of(seconds, fails), tag=name, **options)


async def ended(awaitable: "asyncio.Future[slotd.Completion]") -> Tuple[str, str]:
    """Awaits a job and gives (name, outcome), whatever that is."""
    try:
        return (await awaitable).tag, "result"
    except slotd.JobFailed as error:
        return error.completion.tag, "exception"


def outcome(future: "asyncio.Future[slotd.Completion]") -> str:
    """Of a job that is done."""
    if future.cancelled():
        return "cancelled"
    return "exception" if future.exception() else "result"


def name(future: slotd.aio.JobFuture) -> str:
    """Of a job that has ended: the future has its completion also where it failed."""
    assert future.completion is not None
    return future.completion.tag


def show(*words: object) -> None:
    print(*words, flush=True)
