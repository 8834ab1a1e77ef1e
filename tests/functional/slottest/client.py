"""A client of slot/1 for tests: JSON lines over the Unix socket.

Besides carrying calls it holds the server to the contract at all times: every line is an
ASCII JSON-RPC 2.0 object of at most 1 MiB, `n` of a stream counts from 1 without holes, a
request has exactly one response and nothing follows it.
"""

import asyncio
import base64
import collections
import json
import os
import socket

from .record import Record
from .timing import scaled

MAX_LINE = 1 << 20


class RpcError(Exception):
    """An error response."""

    def __init__(self, error):
        self.code = error["code"]
        self.message = error["message"]
        self.data = error.get("data") or {}
        self.kind = self.data.get("kind")
        super().__init__(f"{self.code} {self.kind}: {self.message} {self.data}")


class Closed(Exception):
    """The server closed the connection."""


class ContractError(AssertionError):
    """The server broke the framing rules."""


def b64(data):
    """Bytes as the protocol's {"b64"} form."""
    return {"b64": base64.b64encode(data).decode("ascii")}


def to_bytes(value):
    """A protocol byte value (string or {"b64"}) as bytes."""
    if isinstance(value, str):
        return value.encode("utf-8")
    return base64.b64decode(value["b64"], validate=True)


def line(method, params=None, request=1):
    """One request line as bytes."""
    message = {"jsonrpc": "2.0", "id": request, "method": method}
    if params is not None:
        message["params"] = params
    return json.dumps(message).encode() + b"\n"


def sh(script, *args, **spec):
    """A job spec that runs a shell script; args become $1, $2, …"""
    return {"argv": ["sh", "-c", script, "sh", *[str(a) for a in args]], **spec}


def _check_line(data):
    if len(data) > MAX_LINE:
        raise ContractError(f"a line of {len(data)} bytes")
    try:
        message = json.loads(data.decode("ascii"))
    except ValueError as exc:
        raise ContractError(f"not an ASCII JSON line: {data[:200]!r}") from exc
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise ContractError(f"not a JSON-RPC 2.0 object: {data[:200]!r}")
    return message


class Stream:
    """A streaming request: an asynchronous iterator of its items' params."""

    def __init__(self, client, request):
        self.client = client
        self.id = request
        self.items = collections.deque()
        self.n = 0
        self.credits = 0
        self.gaps = []
        self.outcome = None
        self._wake = None

    def _changed(self):
        if self._wake and not self._wake.done():
            self._wake.set_result(None)

    def _item(self, params):
        if self.outcome is not None:
            raise ContractError(f"item after the end of stream {self.id}: {params}")
        if params["n"] != self.n + 1:
            raise ContractError(f"stream {self.id}: n {params['n']} follows {self.n}")
        self.n += 1
        self.items.append(params)
        self._changed()

    def _credit(self, n):
        self.credits += n
        self._changed()

    def _gap(self, params):
        self.gaps.append(params)
        self._changed()

    def _end(self, outcome):
        self.outcome = outcome
        self._changed()

    async def until(self, condition, timeout=20.0, what="stream condition"):
        """Wait, event by event, until condition() is true."""
        loop = asyncio.get_running_loop()
        end = loop.time() + scaled(timeout)
        while not condition():
            self._wake = loop.create_future()
            try:
                await asyncio.wait_for(self._wake, end - loop.time())
            except asyncio.TimeoutError as exc:
                raise AssertionError(
                    f"{what}: not within {scaled(timeout):g} s (stream {self.id}, "
                    f"n {self.n}, credits {self.credits}, outcome {self.outcome})") from exc

    async def next(self, timeout=20.0):
        """The next item; StopAsyncIteration at the end, RpcError if it ended in error."""
        await self.until(lambda: self.items or self.outcome is not None, timeout, "next item")
        if self.items:
            return self.items.popleft()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        raise StopAsyncIteration

    def __aiter__(self):
        return self

    async def __anext__(self):
        return await self.next(60)

    async def take(self, count, timeout=20.0):
        return [await self.next(timeout) for _ in range(count)]

    async def collect(self, timeout=60.0):
        """All remaining items up to the end, which must be a result."""
        await self.until(lambda: self.outcome is not None, timeout, "end of stream")
        if isinstance(self.outcome, Exception):
            raise self.outcome
        items, self.items = list(self.items), collections.deque()
        return items

    async def result(self, timeout=20.0):
        """The one response that ends the stream."""
        await self.until(lambda: self.outcome is not None, timeout, "end of stream")
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def error(self, timeout=20.0):
        """The error that ends the stream."""
        try:
            result = await self.result(timeout)
        except RpcError as exc:
            return exc
        raise AssertionError(f"stream {self.id} ended well: {result}")

    def cancel(self):
        self.client.notify("$/cancel", id=self.id)

    def credit(self, n):
        self.client.notify("$/credit", stream=self.id, n=n)


class Client:
    """One connection."""

    def __init__(self, sock):
        self.sock = sock
        self.loop = asyncio.get_running_loop()
        self.pending = {}
        self.streams = {}
        self.nulls = collections.deque()
        self.trace = collections.deque(maxlen=64)
        self.closed = False
        self.eof = self.loop.create_future()
        self.on_message = None
        self.record = Record()
        self._finished = set()
        self._next = 0
        self._in = bytearray()
        self._out = bytearray()
        self._reading = False
        self.resume_reading()

    @classmethod
    async def open(cls, path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, str(path))
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    # -- bytes ---------------------------------------------------------------------------

    def pause_reading(self):
        """Stop taking bytes from the socket, as a stuck client does."""
        if self._reading:
            self.loop.remove_reader(self.sock)
            self._reading = False

    def resume_reading(self):
        if not self._reading and not self.closed and not self.eof.done():
            self.loop.add_reader(self.sock, self._on_readable)
            self._reading = True

    def _on_readable(self):
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError as exc:
            self._on_eof(exc)
            return
        if not data:
            self._on_eof(None)
            return
        self._in += data
        if len(self._in) > 4 * MAX_LINE and b"\n" not in self._in:
            self._fail(ContractError("an endless line"))
            return
        *lines, rest = self._in.split(b"\n")
        self._in = bytearray(rest)
        for raw in lines:
            try:
                message = _check_line(bytes(raw))
                self.trace.append(("<", message))
                self._dispatch(message)
            except ContractError as exc:
                self._fail(exc)
                return

    def _on_eof(self, exc):
        self.pause_reading()
        if not self.eof.done():
            self.eof.set_result(exc)
        self._fail(Closed(str(exc or "end of file")), quiet=True)

    def _fail(self, exc, quiet=False):
        for future in self.pending.values():
            if not future.done():
                future.set_exception(exc)
                future.exception()
        self.pending.clear()
        for stream in self.streams.values():
            if stream.outcome is None:
                stream._end(exc)
        if not quiet:
            self.pause_reading()
            self.broken = exc

    broken = None

    def _dispatch(self, message):
        self.record.received(message)
        if self.on_message:
            self.on_message(message)
        if "method" in message:
            self._on_notification(message)
            return
        request = message["id"]
        if ("result" in message) == ("error" in message):
            raise ContractError(f"neither result nor error, or both: {message}")
        outcome = RpcError(message["error"]) if "error" in message else message["result"]
        if isinstance(outcome, RpcError) and (not isinstance(outcome.code, int)
                                              or not isinstance(outcome.kind, str)):
            raise ContractError(f"an error without code and kind: {message}")
        if request is None:
            self.nulls.append(outcome)
            return
        if request in self.streams and self.streams[request].outcome is None:
            self.streams[request]._end(outcome)
        elif request in self.pending:
            future = self.pending.pop(request)
            if future.done():
                return
            if isinstance(outcome, RpcError):
                future.set_exception(outcome)
                future.exception()
            else:
                future.set_result(outcome)
        else:
            raise ContractError(f"a response that nothing awaits: {message}")

    def _on_notification(self, message):
        if "id" in message:
            raise ContractError(f"the server sent a request: {message}")
        method, params = message["method"], message.get("params", {})
        stream = self.streams.get(params.get("stream"))
        if method in ("$/item", "$/credit", "$/gap") and stream is None:
            raise ContractError(f"notification for no stream: {message}")
        if method == "$/item":
            stream._item(params)
        elif method == "$/credit":
            stream._credit(params["n"])
        elif method == "$/gap":
            stream._gap(params)

    def write(self, data):
        """Queue bytes; they leave in order, as the socket takes them."""
        self._out += data
        self._flush()

    def _flush(self):
        try:
            while self._out:
                sent = self.sock.send(self._out[:1 << 18])
                del self._out[:sent]
        except BlockingIOError:
            self.loop.add_writer(self.sock, self._flush)
            return
        except OSError:
            self._out.clear()
        self.loop.remove_writer(self.sock)

    @property
    def unsent(self):
        """Bytes that the socket has not taken yet."""
        return len(self._out)

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        if self.closed:
            return
        self.pause_reading()
        self.loop.remove_writer(self.sock)
        self.closed = True
        self.sock.close()
        self._fail(Closed("closed here"), quiet=True)

    # -- calls ---------------------------------------------------------------------------

    def new_id(self):
        self._next += 1
        return self._next

    def _encode(self, request, method, params):
        message = {"jsonrpc": "2.0", "id": request, "method": method}
        if params:
            message["params"] = params
        self.record.sent(request, method)
        self.trace.append((">", message))
        return json.dumps(message, separators=(",", ":")).encode() + b"\n"

    def start(self, method, params=None, request=None):
        """Send a request; the future has its result.  The id is future.request."""
        if self.broken:
            raise self.broken
        if self.eof.done() or self.closed:
            raise Closed("connection is at its end")
        request = self.new_id() if request is None else request
        future = self.loop.create_future()
        future.request = request
        self.pending[request] = future
        self.write(self._encode(request, method, params))
        return future

    async def call(self, method, _timeout=30.0, **params):
        future = self.start(method, params)
        try:
            return await asyncio.wait_for(asyncio.shield(future), scaled(_timeout))
        except asyncio.TimeoutError as exc:
            raise AssertionError(f"no reply in {scaled(_timeout):g} s to {method} "
                                 f"{json.dumps(params)[:300]}") from exc

    async def error(self, method, **params):
        """The error of a call that must fail."""
        try:
            result = await self.call(method, **params)
        except RpcError as exc:
            return exc
        raise AssertionError(f"{method} {json.dumps(params)[:300]} went well: {result}")

    def stream(self, method, **params):
        """Open a stream."""
        if self.broken:
            raise self.broken
        request = self.new_id()
        stream = self.streams[request] = Stream(self, request)
        self.write(self._encode(request, method, params))
        return stream

    def notify(self, method, **params):
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        self.trace.append((">", message))
        self.write(json.dumps(message).encode() + b"\n")

    def cancel(self, future):
        """$/cancel of a started request."""
        self.notify("$/cancel", id=future.request)

    async def call_with_fds(self, fds, method, _timeout=30.0, **params):
        """A call that carries descriptors on its last byte."""
        if self._out:
            raise AssertionError("unsent bytes before a descriptor")
        request = self.new_id()
        future = self.pending[request] = self.loop.create_future()
        data = self._encode(request, method, params)
        sent = socket.send_fds(self.sock, [data], list(fds))
        self.write(data[sent:])
        return await asyncio.wait_for(future, scaled(_timeout))

    async def null_error(self, timeout=20.0):
        """The next response with id null."""
        end = self.loop.time() + scaled(timeout)
        while not self.nulls:
            if self.loop.time() > end:
                raise AssertionError("no response with id null")
            await asyncio.sleep(0.002)
        return self.nulls.popleft()

    # -- jobs ----------------------------------------------------------------------------

    async def submit(self, *argv, **spec):
        """Submit a command or a spec given as keywords; the job's id."""
        if argv and isinstance(argv[0], dict):
            spec = {**argv[0], **spec}
        elif argv:
            spec = {"argv": list(argv), **spec}
        return (await self.call("job.submit", **spec))["job"]

    async def finish(self, job, timeout=20.0):
        """The job object once the job is done."""
        wait_ms = int(scaled(timeout) * 1000)
        return await self.call("job.result", _timeout=timeout + 10, job=job, wait_ms=wait_ms)

    async def run(self, *argv, **spec):
        """Submit, wait, and give the job object."""
        return await self.finish(await self.submit(*argv, **spec))

    async def get(self, job):
        return await self.call("job.get", job=job)

    async def output(self, job, fd=1):
        """All kept bytes of a finished job's stream."""
        parts, off = [], 0
        while True:
            reply = await self.call("output.read", job=job, fd=fd, off=off, max=262144)
            data = to_bytes(reply["data"])
            parts.append(data)
            off = reply["off"] + len(data)
            if reply["eof"]:
                return b"".join(parts)
            if not data:
                raise AssertionError(f"output.read of job {job} stands still: {reply}")

    async def run_out(self, *argv, **spec):
        """Run to the end; (job object, stdout bytes)."""
        job = await self.run(*argv, **spec)
        return job, await self.output(job["job"])

    async def cancel_jobs(self, *jobs, grace_ms=None, wait=True):
        params = {"jobs": list(jobs), "wait": wait}
        if grace_ms is not None:
            params["grace_ms"] = grace_ms
        return (await self.call("job.cancel", **params))["results"]


class Raw:
    """A connection without any help: bytes out, lines in."""

    def __init__(self, sock):
        self.sock = sock
        self.loop = asyncio.get_running_loop()
        self.record = Record()
        self._in = bytearray()

    @classmethod
    async def open(cls, path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, str(path))
        return cls(sock)

    async def send(self, data, timeout=20.0):
        self.record.sent_raw(data)
        await asyncio.wait_for(self.loop.sock_sendall(self.sock, data), scaled(timeout))

    def send_fds(self, data, fds):
        self.record.sent_raw(data)
        return socket.send_fds(self.sock, [data], list(fds))

    async def recv(self, timeout=20.0):
        """The next message, or None at end of file."""
        while b"\n" not in self._in:
            try:
                data = await asyncio.wait_for(self.loop.sock_recv(self.sock, 1 << 18),
                                              scaled(timeout))
            except asyncio.TimeoutError as exc:
                raise AssertionError(f"nothing to read in {scaled(timeout):g} s") from exc
            except (ConnectionResetError, BrokenPipeError):
                return None
            if not data:
                return None
            self._in += data
        raw, _, rest = bytes(self._in).partition(b"\n")
        self._in = bytearray(rest)
        message = _check_line(raw)
        self.record.received(message)
        return message

    async def recv_id(self, request, timeout=20.0):
        """The response to one id, passing over everything else."""
        while True:
            message = await self.recv(timeout)
            if message is None:
                raise Closed("end of file")
            if "method" not in message and message["id"] == request:
                return message

    async def recv_eof(self, timeout=20.0):
        """Read up to end of file; the messages before it."""
        messages = []
        while True:
            message = await self.recv(timeout)
            if message is None:
                return messages
            messages.append(message)

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.sock.close()


def fd_count(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))
