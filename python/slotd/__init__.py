"""slotd from Python: a bounded, durable executor of commands, as futures.

``SlotExecutor`` is a ``concurrent.futures.Executor`` whose ``submit(["command", ...])`` gives real
``concurrent.futures.Future`` objects; ``slotd.aio.Client`` does the same with ``asyncio.Future``.
Standard library only. README.md beside this package is the guide.
"""

from ._version import __version__
from .completion import Completion
from .errors import (BrokenSlotExecutor, ConnectionLost, InstanceChanged, JobFailed, ProtocolError,
                     RemoteError, SlotdError, UnknownOutcome)
from .executor import ExecutorFuture, SlotExecutor
from .paths import default_socket

__all__ = ["BrokenSlotExecutor", "Completion", "ConnectionLost", "ExecutorFuture",
           "InstanceChanged", "JobFailed", "ProtocolError", "RemoteError", "SlotExecutor",
           "SlotdError", "UnknownOutcome", "__version__", "default_socket"]
