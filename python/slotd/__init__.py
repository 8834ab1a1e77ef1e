"""slotd from Python: a bounded, durable executor of commands, as futures.

``SlotExecutor`` is a ``concurrent.futures.Executor`` whose ``submit(["command", ...])`` gives real
``concurrent.futures.Future`` objects; ``slotd.aio.Client`` does the same with ``asyncio.Future``.
Standard library only.
"""

from .completion import Completion
from .errors import (ConnectionLost, InstanceChanged, JobFailed, ProtocolError, RemoteError,
                     SlotdError, UnknownOutcome)
from .executor import SlotExecutor
from .paths import default_socket

__all__ = ["Completion", "ConnectionLost", "InstanceChanged", "JobFailed", "ProtocolError",
           "RemoteError", "SlotExecutor", "SlotdError", "UnknownOutcome", "default_socket"]
__version__ = "0.1.0"
