"""Where the daemon listens when nobody says so: the same rules as slotctl's."""

from __future__ import annotations

import os
import socket
import stat
import struct

SYSTEM_SOCKET = "/run/slotd/slotd.sock"


def _is_own(path: str, forbidden: int) -> bool:
    """A directory of ours that nobody else may write to (or, with 077, look into)."""
    try:
        st = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISDIR(st.st_mode) and st.st_uid == os.geteuid() and not st.st_mode & forbidden


def default_socket(system: bool = False) -> str:
    """The socket's path: ``$SLOTD_SOCKET``; else the system daemon's, if asked for; else the
    user's own, in the runtime directory.

    Raises PermissionError where the directory that would hold it is somebody else's: whoever
    listens there isn't the user's daemon.
    """
    named = os.environ.get("SLOTD_SOCKET")
    if named:
        return named
    if system:
        return SYSTEM_SOCKET
    uid, forbidden = os.geteuid(), 0o022
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # After su or sudo the variable may still name somebody else's directory.
    if not (runtime.startswith("/") and _is_own(runtime, 0o022)):
        runtime = f"/run/user/{uid}"
    directory = os.path.join(runtime, "slotd")
    if not _is_own(runtime, 0o022):
        directory, forbidden = f"/tmp/slotd-{uid}", 0o077
    if os.path.lexists(directory) and not _is_own(directory, forbidden):
        raise PermissionError(f"{directory} is not a directory of yours alone")
    return os.path.join(directory, "slotd.sock")


def is_user_socket(path: str) -> bool:
    """Whether ``path`` is one of the user's own places: nobody else has any business to listen
    there."""
    uid = os.geteuid()
    own = [f"/run/user/{uid}", os.environ.get("XDG_RUNTIME_DIR", "")]
    return path == f"/tmp/slotd-{uid}/slotd.sock" or \
        any(runtime and path == f"{runtime}/slotd/slotd.sock" for runtime in own)


def peer_uid(sock: socket.socket) -> int:
    """Who listened at the other end."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("iIi", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)
