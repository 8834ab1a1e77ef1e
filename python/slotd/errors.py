"""What can go wrong, each with its own class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, Optional

if TYPE_CHECKING:
    from .completion import Completion


class SlotdError(Exception):
    """The base of all errors of this package."""


class ConnectionLost(SlotdError):
    """The daemon can't be reached, or went away and did not come back in time."""


class InstanceChanged(SlotdError):
    """Another daemon, or one that lost its history, answered after a reconnect: the ids and
    completions that were waited for mean nothing to it."""


class UnknownOutcome(SlotdError):
    """The connection was lost after a request that may not be sent twice: it may have been done."""


class ProtocolError(SlotdError):
    """The other end sent what is no slot/1."""


class RemoteError(SlotdError):
    """An error that the daemon answered with. Switch on ``kind``, never on the message.

    Attributes: ``code`` (int), ``kind`` (str, e.g. ``"NoSuchJob"``), ``message`` (one English
    sentence) and ``data`` (a mapping; the members depend on the kind).
    """

    def __init__(self, code: int, message: str, data: Optional[Mapping[str, Any]] = None) -> None:
        self.data: Mapping[str, Any] = data or {}
        self.code = code
        self.kind: str = str(self.data.get("kind", ""))
        self.message = message
        super().__init__(f"{self.kind or code}: {message}")


class JobFailed(SlotdError):
    """A job that was not ok; ``completion`` says how it ended."""

    def __init__(self, completion: "Completion") -> None:
        self.completion = completion
        super().__init__(str(completion))
