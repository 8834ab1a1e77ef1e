"""The bytes of slot/1: lines, bytes as JSON, specs. Knows no sockets."""

from __future__ import annotations

import base64
import json
import os
from typing import Any, Dict, Mapping, Sequence, Union

from .errors import ProtocolError

LINE_MAX = 1 << 20
#: One element of argv, a value of env, a path: text, or bytes that need not be UTF-8.
Text = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]


def from_bytes(value: Text) -> Any:
    """As the protocol wants it: a string where it is UTF-8, else ``{"b64": ...}``."""
    raw = os.fsencode(value)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(raw).decode("ascii")}


def to_bytes(value: Any) -> bytes:
    """The reverse of from_bytes."""
    if isinstance(value, str):
        return value.encode("utf-8")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (TypeError, KeyError, ValueError) as error:
        raise ProtocolError(f"neither text nor base64: {value!r}") from error


def encode(message: Mapping[str, Any]) -> bytes:
    """One line. Raises ValueError where it would be longer than the daemon takes."""
    line = json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    if len(line) > LINE_MAX:
        raise ValueError(f"a request of {len(line)} bytes; the daemon takes {LINE_MAX}")
    return line + b"\n"


def decode(line: bytes) -> Dict[str, Any]:
    """The object of one line. Raises ProtocolError."""
    try:
        message = json.loads(line)
    except ValueError as error:
        raise ProtocolError(f"not JSON: {line[:80]!r}") from error
    if not isinstance(message, dict):
        raise ProtocolError(f"not an object: {line[:80]!r}")
    return message


def spec(argv: Sequence[Text], options: Mapping[str, Any]) -> Dict[str, Any]:
    """The parameters of ``job.submit``. ``options`` are its members as docs/PROTOCOL.md names
    them, but bytes and paths are given as they are: ``cwd``, the values of ``env``, ``stdin``
    (bytes: the data; else as in the protocol), ``stdout`` and ``stderr`` (a path-like object: the
    file)."""
    if isinstance(argv, (str, bytes)) or not argv:
        raise TypeError("argv must be a sequence with at least one element, not "
                        f"{argv!r}: no shell takes it apart")
    params: Dict[str, Any] = {"argv": [from_bytes(arg) for arg in argv]}
    for name, value in options.items():
        if name == "cwd":
            value = from_bytes(os.path.abspath(value))
        elif name == "env":
            value = {key: from_bytes(item) for key, item in value.items()}
        elif name == "stdin" and isinstance(value, (bytes, bytearray)):
            value = {"data": from_bytes(bytes(value))}
        elif name in ("stdin", "stdout", "stderr") and isinstance(value, os.PathLike):
            value = {"file": from_bytes(os.path.abspath(os.fspath(value)))}
        params[name] = value
    return params
