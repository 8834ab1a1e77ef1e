"""Harness of the functional tests: a daemon of one's own, a raw client, slotctl.

Standard library only.  Nothing here knows the inside of slotd; it speaks the
protocol and the command line and looks at /proc.
"""

from .case import Case, alone, limit
from .client import Client, Closed, Raw, RpcError, Stream, b64, line, sh, to_bytes
from .ctl import Ctl, Done
from .daemon import Daemon, find_binary
from .gate import Gate, Mark
from .proc import (children, descendants, is_running, proc_status, rss_kib, switches,
                   wait_gone)
from .term import Terminal
from .timing import SANITIZE, SCALE, eventually, read_to_end, scaled, within

__all__ = [
    "Case", "Client", "Closed", "Ctl", "Daemon", "Done", "Gate", "Mark", "Raw", "RpcError",
    "SANITIZE", "SCALE", "Stream", "Terminal", "alone", "b64", "children", "descendants",
    "eventually", "find_binary", "is_running", "limit", "line", "proc_status", "read_to_end",
    "rss_kib", "scaled", "sh", "switches", "to_bytes", "wait_gone", "within",
]
