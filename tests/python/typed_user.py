"""A program as users write them, for mypy --strict; it is run, too: typed_user.py SOCKET."""

import asyncio
import concurrent.futures
import sys
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import slotd
import slotd.aio


def blocking(socket: str) -> List[bytes]:
    with slotd.SlotExecutor(Path(socket), queue="default") as executor:
        future: "concurrent.futures.Future[slotd.Completion]" = executor.submit(["echo", "a"], tag=1)
        done, _ = concurrent.futures.wait([future], timeout=60)
        completion: slotd.Completion = done.pop().result()
        job: Optional[int] = executor.submit(["true"]).job
        assert job is None or job > 0
        mapped: Iterator[slotd.Completion] = executor.map(["echo"], "bc", timeout=60)
        return [completion.stdout, *(item.stdout for item in mapped)]


async def asynchronous(socket: str) -> Tuple[Dict[int, bytes], List[Optional[int]]]:
    def commands() -> Iterator[Sequence[str]]:
        for n in range(3):
            yield ["sh", "-c", f"exit {n}"]

    async with slotd.aio.Client(socket, reconnect=5, with_output=100) as client:
        future: slotd.aio.JobFuture = client.submit(["echo", b"x"], stdin=b"", timeout_ms=60000)
        for first in asyncio.as_completed([future]):
            completion: slotd.Completion = await first
        both: Tuple[slotd.Completion, slotd.Completion] = await asyncio.gather(
            client.submit(["true"]), client.run(["true"]))
        assert both[0].ok and both[1].returncode == 0
        codes = sorted([item.exit_code or 0 async for item in client.map(commands(), limit=2)])
        pieces: Dict[int, bytes] = {}
        async for fd, data in client.follow(completion.job):
            pieces[fd] = pieces.get(fd, b"") + data
        try:
            await client.submit(["false"])
        except slotd.JobFailed as failed:
            code: Optional[int] = failed.completion.exit_code
        return pieces, [*codes, code]


if __name__ == "__main__":
    assert blocking(sys.argv[1]) == [b"a\n", b"b\n", b"c\n"]
    assert asyncio.run(asynchronous(sys.argv[1])) == ({1: b"x\n"}, [0, 1, 2, 1])
