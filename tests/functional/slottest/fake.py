"""A scripted daemon: plays slot/1 as far as a test needs it, and the restart of an engine.

What it remembers (jobs, completions, keys, sessions) outlives `stop` and `start`, as a journal
would.  Requests that it has no answer of its own for are left to the test.
"""

import asyncio
import json
import os

from .timing import eventually


class Connection:
    """One client, from the daemon's side."""

    def __init__(self, fake, reader, writer):
        self.fake, self.reader, self.writer = fake, reader, writer
        self.open = {}  # streams: id -> (method, params)
        self.token = f"token-{len(fake.connections)}"

    def send(self, message):
        self.writer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def reply(self, request, result):
        self.send({"id": request, "result": result})

    def error(self, request, code, kind, **data):
        self.send({"id": request, "error": {"code": code, "message": kind,
                                            "data": {"kind": kind, **data}}})

    def item(self, stream, **params):
        count = self.fake.counts.setdefault((id(self), stream), 0) + 1
        self.fake.counts[id(self), stream] = count
        self.send({"method": "$/item", "params": {"stream": stream, "n": count, **params}})

    async def run(self):
        while True:
            row = await self.reader.readline()
            if not row:
                return
            await self.fake.take(self, json.loads(row))


class Fake:
    """`handlers[method](connection, id, params)` answers; `log` is all that was asked."""

    def __init__(self, path, instance="one", features=("durable",)):
        self.path, self.instance, self.features = str(path), instance, list(features)
        self.handlers = {"hello": self._hello, "job.submit": self._submit,
                         "stats.get": lambda c, i, p: c.reply(i, {"seq": self.seq}),
                         "completions.subscribe": self._subscribe,
                         "futures.as_completed": self._as_completed,
                         "job.result": self._result, "output.follow": self._follow,
                         "map.open": self._map_open, "map.push": self._map_push,
                         "map.end": self._map_end, "$/credit": self._credit}
        self.log, self.connections, self.counts, self.waiting = [], [], {}, []
        self.jobs, self.keys, self.tags, self.output = {}, {}, {}, {}
        self.seq = 0
        self.mute = set()  # methods that are done and not answered
        self.server = None

    # -- life ----------------------------------------------------------------------------

    async def start(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.server = await asyncio.start_unix_server(self._on_client, self.path,
                                                      limit=1 << 21)
        return self

    async def stop(self):
        """As kill -9 does: the connections break, and nobody listens any more."""
        self.server.close()
        for connection in self.connections:
            connection.writer.close()
        self.connections, self.waiting = [], []
        for task in [t for t in asyncio.all_tasks() if t.get_name() == f"fake {self.path}"]:
            task.cancel()

    async def restart(self, instance=None):
        await self.stop()
        self.instance = instance or self.instance
        return await self.start()

    async def _on_client(self, reader, writer):
        connection = Connection(self, reader, writer)
        self.connections.append(connection)
        task = asyncio.current_task()
        task.set_name(f"fake {self.path}")
        try:
            await connection.run()
        except (ConnectionError, asyncio.CancelledError):
            pass

    # -- what is asked -------------------------------------------------------------------

    async def take(self, connection, message):
        method = message["method"]
        self.log.append((method, message.get("params", {})))
        if method in self.handlers:
            self.handlers[method](connection, message.get("id"), message.get("params", {}))

    def asked(self, method):
        return [params for name, params in self.log if name == method]

    async def until_asked(self, method, times=1):
        await eventually(lambda: len(self.asked(method)) >= times, 20, f"{times} x {method}")
        return self.asked(method)[-1]

    def _hello(self, connection, request, params):
        connection.reply(request, {
            "protocol": 1, "server": "fake/1", "instance": self.instance, "uid": os.getuid(),
            "session": params.get("session") or connection.token, "features": self.features,
            "limits": {"max_running": 4}, "seq": self.seq})

    def _submit(self, connection, request, params):
        existing = params.get("key") in self.keys
        job = self.keys[params["key"]] if existing else len(self.jobs) + 1
        if not existing:
            self.jobs[job] = None
            self.keys[params.get("key")] = job
        if "job.submit" not in self.mute:
            connection.reply(request, {"job": job, "existing": existing,
                                       "phase": "done" if self.jobs[job] else "running"})

    def _completion(self, job, stream=True):
        done = self.jobs[job]
        return dict(done) if stream else {**done, "phase": "done", "argv": ["fake"]}

    def _subscribe(self, connection, request, params):
        connection.open[request] = params
        for done in sorted((d for d in self.jobs.values() if d), key=lambda d: d["seq"]):
            if "since_seq" in params and done["seq"] > params["since_seq"]:
                connection.item(request, **done)
        self.waiting.append((connection, request, None))

    def _as_completed(self, connection, request, params):
        left = set(params["jobs"])
        self.waiting.append((connection, request, left))
        self._tell()

    def _result(self, connection, request, params):
        self.waiting.append((connection, request, params["job"]))
        self._tell()

    def _follow(self, connection, request, params):
        self.waiting.append((connection, request, ("follow", params)))
        for fd in params.get("fds", [1, 2]):
            data = self.output.get((params["job"], fd), b"")[params.get("off", 0):]
            if data:
                connection.item(request, fd=fd, off=params.get("off", 0), data=data.decode())

    def _map_open(self, connection, request, params):
        connection.open[request] = set()
        connection.send({"method": "$/credit", "params": {"stream": request,
                                                          "n": params["limit"]}})

    def _map_push(self, connection, request, params):
        ids = []
        for spec in params["jobs"]:
            job = self.keys.get(spec.get("key")) or len(self.jobs) + 1
            if job not in self.jobs:
                self.jobs[job] = None
                self.keys[spec.get("key")] = job
                self.tags[job] = spec["tag"]
            ids.append(job)
        if "map.push" in self.mute:
            return
        connection.reply(request, {"jobs": ids})
        self.waiting.append((connection, params["stream"], ("map", set(ids))))
        self._tell()

    def _map_end(self, connection, request, params):
        connection.reply(request, {})
        connection.reply(params["stream"], {"submitted": 0, "ok": 0, "failed": 0, "cancelled": 0})

    def _credit(self, connection, request, params):
        if connection.open.get(params["stream"]) == set():
            connection.send({"method": "$/credit", "params": params})

    def _tell(self):
        for entry in list(self.waiting):
            connection, request, what = entry
            if isinstance(what, tuple) and what[0] == "map":
                for job in sorted(what[1]):
                    if self.jobs.get(job):
                        what[1].discard(job)
                        connection.item(request, **{**self._completion(job),
                                                    "tag": self.tags[job]})
            elif isinstance(what, set):
                for job in sorted(what):
                    if self.jobs.get(job):
                        what.discard(job)
                        connection.item(request, **self._completion(job))
                if not what:
                    connection.reply(request, {"done": 1})
                    self.waiting.remove(entry)
            elif isinstance(what, int) and self.jobs.get(what):
                connection.reply(request, self._completion(what, False))
                self.waiting.remove(entry)

    # -- what happens --------------------------------------------------------------------

    def write(self, job, fd, data):
        """The job writes: followers hear of it."""
        before = self.output.get((job, fd), b"")
        self.output[job, fd] = before + data
        for connection, request, what in self.waiting:
            if isinstance(what, tuple) and what[0] == "follow" and what[1]["job"] == job:
                connection.item(request, fd=fd, off=len(before), data=data.decode())

    def finish(self, job, exit_code=0, outcome="exited", **more):
        """The job ends: everybody hears of it."""
        self.seq += 1
        self.jobs[job] = {"job": job, "seq": self.seq, "ok": outcome == "exited" and not exit_code,
                          "outcome": outcome, "signal": None, "tag": None,
                          "exit_code": exit_code if outcome == "exited" else None, **more}
        for connection, request, what in list(self.waiting):
            if what is None:
                connection.item(request, **self.jobs[job])
            elif isinstance(what, tuple) and what[0] == "follow" and what[1]["job"] == job:
                connection.reply(request, {"next": 0})
                self.waiting.remove((connection, request, what))
        self._tell()
