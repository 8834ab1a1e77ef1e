"""The bytes of slot/1: lines, bytes as JSON, specs. Knows no sockets."""

from __future__ import annotations

import base64
import json
import os
from typing import Any, Dict, FrozenSet, List, Mapping, Sequence, Tuple, Union

from .errors import ProtocolError

LINE_MAX = 1 << 20  # bytes of a line without its LF, in either direction
#: One element of argv, a value of env, a path: text, or bytes that need not be UTF-8.
Text = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_ESCAPED = bytes([*range(0x20), *b'"\\'])  # what JSON writes in two to six bytes
_LONG = 1024  # from here on base64 is taken where it is the shorter
_SPARE = 128  # bytes of a request besides its params


class Lines:
    """Cuts what arrives into lines. What is kept of an unfinished one is bounded by LINE_MAX."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> List[bytes]:
        """The lines that ``data`` ends, without their LF. Raises ProtocolError at one too long."""
        lines = data.split(b"\n")
        if len(lines) > 1 and self._rest:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        self._rest += lines.pop()
        if len(self._rest) > LINE_MAX or any(len(line) > LINE_MAX for line in lines):
            raise ProtocolError(f"the daemon sent a line of more than {LINE_MAX} bytes")
        return lines


def from_bytes(value: Text) -> Any:
    """As the protocol wants it: a string where it is UTF-8, else ``{"b64": ...}``."""
    raw = os.fsencode(value)
    try:
        if len(raw) < _LONG or len(raw.translate(None, _ESCAPED)) > len(raw) * 14 // 15:
            return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    return {"b64": base64.b64encode(raw).decode("ascii")}


def to_bytes(value: Any) -> bytes:
    """The reverse of from_bytes. Raises ProtocolError."""
    try:
        if isinstance(value, str):
            return value.encode("utf-8")
        return base64.b64decode(value["b64"], validate=True)
    except (TypeError, KeyError, ValueError) as error:
        raise ProtocolError(f"neither text nor base64: {str(value)[:80]!r}") from error


def job_id(value: Any) -> int:
    """An id that the daemon gave. Raises ProtocolError."""
    if type(value) is not int or value < 1:
        raise ProtocolError(f"{str(value)[:80]!r} is no job's id")
    return value


def to_json(params: Mapping[str, Any]) -> str:
    """The params of a request. Raises TypeError, naming the member that JSON has nothing for."""
    try:
        return _encoder.encode(params)
    except (TypeError, ValueError) as error:
        for name, value in params.items():
            try:
                _encoder.encode(value)
            except (TypeError, ValueError):
                raise type(error)(f"{name}: {error}") from None
        raise


def request(ident: int, method: str, params: str, common: str = "") -> bytes:
    """The line of a request; ``params`` come from to_json, ``common`` are more members of theirs."""
    if common:
        params = f"{params[:-1]},{common}}}"
    return f'{{"jsonrpc":"2.0","id":{ident},"method":"{method}","params":{params}}}\n'.encode()


def notification(method: str, params: Mapping[str, Any]) -> bytes:
    return f'{{"jsonrpc":"2.0","method":"{method}","params":{to_json(params)}}}\n'.encode()


def check_length(params: str, more: int = 0) -> str:
    """``params``. Raises ValueError where their line, with ``more`` bytes, would be longer than the
    daemon takes, and where they hold a lone surrogate, which UTF-8 has nothing for."""
    size = len(params.encode()) + more
    if size > LINE_MAX - _SPARE:
        raise ValueError(f"a request of {size} bytes; the daemon takes {LINE_MAX - _SPARE}")
    return params


def decode(line: bytes) -> Dict[str, Any]:
    """The object of one line. Raises ProtocolError."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {line[:80]!r}") from error
    if not isinstance(message, dict):
        raise ProtocolError(f"not an object: {line[:80]!r}")
    return message


def _named(name: str, value: Any) -> Any:
    """from_bytes, whose TypeError says what was wrong where."""
    try:
        return from_bytes(value)
    except TypeError:
        raise TypeError(f"{name} must be str, bytes or a path, not {type(value).__name__}") from None


def _environment(env: Any) -> Any:
    """An object, or, where a name is not UTF-8, a list of ``K=V``."""
    if not isinstance(env, Mapping):
        raise TypeError(f"env must be a mapping, not {type(env).__name__}")
    names = [_named(f"the name {key!r} in env", key) for key in env]
    values = [_named(f"env[{key!r}]", value) for key, value in env.items()]
    if all(isinstance(name, str) for name in names):
        return dict(zip(names, values))
    return [from_bytes(os.fsencode(key) + b"=" + os.fsencode(value)) for key, value in env.items()]


def members(options: Mapping[str, Any]) -> Dict[str, Any]:
    """Members of a spec as docs/PROTOCOL.md names them, but bytes and paths are given as they are:
    ``cwd``, ``env``, ``stdin`` (bytes: the data; a path-like object: the file; else as in the
    protocol), ``stdout`` and ``stderr`` (a path-like object: the file). Raises TypeError."""
    params: Dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            pass
        elif name == "cwd":
            value = _named(name, value) and from_bytes(os.path.abspath(value))
        elif name == "env":
            value = _environment(value)
        elif name == "stdin" and isinstance(value, (bytes, bytearray, memoryview)):
            value = {"data": from_bytes(bytes(value))}
        elif name in ("stdin", "stdout", "stderr") and isinstance(value, os.PathLike):
            value = {"file": from_bytes(os.path.abspath(os.fspath(value)))}
        params[name] = value
    return params


def words(argv: Sequence[Text]) -> List[Text]:
    """argv as a list. Raises TypeError."""
    if isinstance(argv, (str, bytes, bytearray, Mapping)):
        raise TypeError(f"argv must be a sequence of arguments, not {argv!r}: no shell takes it apart")
    try:
        return list(argv)
    except TypeError:
        raise TypeError(f"argv must be a sequence of arguments, not {type(argv).__name__}") from None


def command(argv: Sequence[Text]) -> List[Any]:
    """argv as the protocol wants it. Raises TypeError."""
    found = words(argv)
    if not found:
        raise TypeError("argv must have at least one element: the command")
    return [_named(f"argv[{n}]", word) for n, word in enumerate(found)]


class Specs:
    """Makes the params of submits. The defaults, with all of the environment among them, are turned
    into JSON once and not for each."""

    _MOST = 64  # kept texts; one for each combination of defaults that submits override

    def __init__(self, defaults: Mapping[str, Any]) -> None:
        self._defaults = {k: v for k, v in members(defaults).items() if v is not None}
        self._texts: Dict[FrozenSet[str], Tuple[str, int]] = {}
        check_length(to_json(self._defaults))

    def text(self, argv: Sequence[Text], options: Mapping[str, Any]) -> Tuple[str, str]:
        """The params in JSON, and the members that the defaults add to them: one string for many.
        Raises TypeError and ValueError."""
        own = {"argv": command(argv), **members(options)}
        text = to_json({k: v for k, v in own.items() if v is not None})
        rest, size = self._rest(own)
        check_length(text, size)
        return text, rest

    def _rest(self, own: Mapping[str, Any]) -> Tuple[str, int]:
        """Of the defaults those that ``own`` doesn't replace, and their bytes."""
        key = frozenset(name for name in own if name in self._defaults)
        rest = self._texts.get(key)
        if rest is None:
            text = to_json({k: v for k, v in self._defaults.items() if k not in key})[1:-1]
            rest = text, len(text.encode())
            if len(self._texts) >= self._MOST:
                self._texts.clear()
            self._texts[key] = rest
        return rest
