"""A blocking client of slot/1: a line out, lines in.  One thread at a time."""

import json
import select
import socket
import time


class Gone(Exception):
    """The connection is at its end: the daemon died, or closed it."""


class RpcError(Exception):
    def __init__(self, error):
        self.code = error["code"]
        self.kind = (error.get("data") or {}).get("kind")
        self.error = error
        super().__init__(f"{self.code} {self.kind}: {error['message']}")


class Conn:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.connect(str(path))
        except OSError as exc:
            self.sock.close()
            raise Gone(str(exc)) from exc
        self.lines = []
        self.rest = []
        self.next_id = 0

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, method, params=None):
        """Sends a request; returns its id."""
        self.next_id += 1
        self.post({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params or {}})
        return self.next_id

    def post(self, message):
        try:
            self.sock.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        except OSError as exc:
            raise Gone(str(exc)) from exc

    def recv(self, timeout):
        """The next message, or None after timeout seconds."""
        end = time.monotonic() + timeout
        while not self.lines:
            if not select.select([self.sock], [], [], max(0.0, end - time.monotonic()))[0]:
                return None
            try:
                data = self.sock.recv(1 << 18)
            except OSError as exc:
                raise Gone(str(exc)) from exc
            if not data:
                raise Gone("end of file")
            head, newline, tail = data.rpartition(b"\n")
            if newline:
                self.lines = b"".join([*self.rest, head]).split(b"\n")[::-1]
                self.rest = [tail]
            else:
                self.rest.append(data)
        return json.loads(self.lines.pop())

    def reply(self, request, timeout):
        """The result of a request; messages before its response are dropped."""
        end = time.monotonic() + timeout
        while True:
            message = self.recv(max(0.0, end - time.monotonic()))
            if message is None:
                raise TimeoutError(f"no reply to request {request} in {timeout:g} s")
            if message.get("id") == request and "method" not in message:
                if "error" in message:
                    raise RpcError(message["error"])
                return message["result"]

    def call(self, method, params=None, timeout=30.0):
        return self.reply(self.send(method, params), timeout)

    def all_jobs(self, timeout=30.0, **filters):
        """Every job object that job.list gives, over all its pages."""
        jobs, cursor = [], None
        while True:
            params = {"limit": 500, **filters}
            if cursor is not None:
                params["cursor"] = cursor
            page = self.call("job.list", params, timeout)
            jobs += page["jobs"]
            cursor = page["next"]
            if cursor is None:
                return jobs
