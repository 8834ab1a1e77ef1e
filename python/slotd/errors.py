"""What can go wrong, each with its own class. All of them can be pickled."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any, Mapping, Optional, Tuple

if TYPE_CHECKING:
    from .completion import Completion


class SlotdError(Exception):
    """The base of all errors of this package."""


class ConnectionLost(SlotdError):
    """The daemon can't be reached, or went away and did not come back in time."""


class BrokenSlotExecutor(ConnectionLost, concurrent.futures.BrokenExecutor):
    """A submit to a SlotExecutor whose daemon is gone for good. ``__cause__`` says how."""


class InstanceChanged(SlotdError):
    """Another daemon, or one that lost its history, answered after a reconnect: the ids and
    completions that were waited for mean nothing to it."""


class UnknownOutcome(SlotdError):
    """The connection was lost after a request that may not be sent twice: it may have been done."""


class ProtocolError(SlotdError):
    """The other end sent what is no slot/1. The connection is closed, and not tried again."""


class RemoteError(SlotdError):
    """An error that the daemon answered with. Switch on ``kind``, never on the message.

    Attributes: ``code`` (int), ``kind`` (str, e.g. ``"NoSuchJob"``), ``message`` (one English
    sentence) and ``data`` (a mapping; its members depend on the kind: ``param`` and ``path`` name
    the culprit of InvalidParams, ``job`` that of NoSuchJob, ``remaining`` the ids of Timeout).
    """

    def __init__(self, code: int, message: str, data: Optional[Mapping[str, Any]] = None) -> None:
        self.data: Mapping[str, Any] = data or {}
        self.code = code
        self.kind: str = str(self.data.get("kind", ""))
        self.message = message
        super().__init__(code, message, data)

    def __str__(self) -> str:
        text = f"{self.kind or self.code}: {self.message}"
        culprit = str(self.data.get("path") or self.data.get("param") or "")
        return text if culprit in text else f"{text} ({culprit})"


class JobFailed(SlotdError):
    """A job that was not ok; ``completion`` says how it ended."""

    def __init__(self, completion: "Completion") -> None:
        self.completion = completion
        super().__init__(str(completion))

    def __reduce__(self) -> Tuple[type, Tuple["Completion"]]:
        return JobFailed, (self.completion,)
