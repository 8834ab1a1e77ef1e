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
        self._at: Dict[int, int] = dict.fromkeys(fds, 0)  # the byte to hand out next …
        self._attempt = 0  # … of this attempt; each begins at 0 (0: not known yet)

    def params(self) -> Params:
        params: Params = {"job": self._job, "fds": self._fds,
                          "off": min(self._at.values(), default=0)}
        return {**params, "attempt": self._attempt} if self._attempt else params

    @staticmethod
    def weigh(item: Params) -> int:
        return len(wire.to_bytes(item["data"]))

    def take(self, item: Params) -> Optional[Tuple[int, bytes]]:
        fd, off, data = int(item["fd"]), int(item["off"]), wire.to_bytes(item["data"])
        attempt = int(item.get("attempt", 1))
        if self._attempt not in (0, attempt):
            self._at = dict.fromkeys(self._at, 0)
        self._attempt = attempt
        end = off + len(data)
        data = data[max(0, self._at[fd] - off):]
        if not data:
            return None
        self._at[fd] = end
        return fd, data
