"""How a job ended."""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Optional

from .errors import JobFailed
from .wire import job_id, to_bytes


@dataclasses.dataclass(frozen=True)
class Completion:
    """What the daemon reports of a done job.

    ``seq`` is its place in finish order; ``outcome`` is one of ``exited``, ``signaled``,
    ``timed_out``, ``cancelled``, ``spawn_failed``, ``lost``, ``dependency_failed`` (or a newer
    one). ``stdout`` and ``stderr`` are the first bytes that were kept of each, as many as the
    client asked for with ``with_output``; ``Client.output`` reads all.
    """

    job: int
    seq: int
    ok: bool
    outcome: str
    exit_code: Optional[int]
    signal: Optional[int]
    tag: Any = None
    stdout: bytes = b""
    stderr: bytes = b""

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> "Completion":
        """The members of an ``$/item`` or of a result."""
        return cls(job=job_id(item["job"]), seq=item["seq"], ok=item["ok"], outcome=item["outcome"],
                   exit_code=item["exit_code"], signal=item["signal"], tag=item.get("tag"),
                   stdout=to_bytes(item.get("stdout", "")), stderr=to_bytes(item.get("stderr", "")))

    @property
    def returncode(self) -> Optional[int]:
        """As ``subprocess`` gives it: the exit code, or the negative signal; None if neither."""
        if self.exit_code is not None:
            return self.exit_code
        return None if self.signal is None else -self.signal

    @property
    def cancelled(self) -> bool:
        return self.outcome == "cancelled"

    def check(self) -> "Completion":
        """Itself if the job was ok, else raises JobFailed."""
        if not self.ok:
            raise JobFailed(self)
        return self

    def __str__(self) -> str:
        how = self.outcome
        if self.exit_code is not None:
            how += f" with code {self.exit_code}"
        elif self.signal is not None:
            how += f" by signal {self.signal}"
        return f"job {self.job} {how}"
