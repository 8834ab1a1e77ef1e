"""How far the output of a job has been followed, so that no byte comes twice or is left out."""

from __future__ import annotations

from typing import Dict, Optional, Sequence, Tuple

from . import wire
from .connection import Params


class Follow:
    """``output.follow`` of one job. After a reconnect all descriptors begin at one offset, that of
    the one that is furthest behind; what the others then repeat is left out here."""

    def __init__(self, job: int, fds: Sequence[int]) -> None:
        self._job, self._fds = job, list(fds)
        self._at: Dict[int, int] = dict.fromkeys(fds, 0)  # the byte to hand out next
        self._next: Dict[int, int] = {}  # the byte that the daemon will send next

    def params(self) -> Params:
        off = min(self._at.values(), default=0)
        self._next = dict.fromkeys(self._at, off)
        return {"job": self._job, "fds": self._fds, "off": off}

    @staticmethod
    def weigh(item: Params) -> int:
        return len(wire.to_bytes(item["data"]))

    def take(self, item: Params) -> Optional[Tuple[int, bytes]]:
        fd, off, data = int(item["fd"]), int(item["off"]), wire.to_bytes(item["data"])
        if off < self._next[fd]:  # a further attempt of the job begins anew
            self._at[fd] = off
        self._next[fd] = off + len(data)
        data = data[max(0, self._at[fd] - off):]
        if not data:
            return None
        self._at[fd] = self._next[fd]
        return fd, data
