"""Load under which a daemon is killed: several clients with every kind of job, and a watcher.

A client that lost its connection resubmits by key what was not acknowledged, so in the end all of
it was.  What each job is to become is written down before it is submitted (see oracle.py).
"""

import random
import signal
import threading
import time
import zlib

import oracle
from daemon import Gone, until
from wire import RpcError

SERIAL = "serial"               # the queue of one slot
AGAIN = {"StorageDegraded", "ShuttingDown", "QueueFull", "TooManyInFlight"}
IN_FLIGHT = 12                  # requests of one client that are not answered


class Board:
    """What the threads of one load share."""

    def __init__(self, daemon, ledger_path, jobs_path, program, limit, pruning):
        self.daemon = daemon
        self.ledger = oracle.Ledger(ledger_path)
        self.jobs_path = str(jobs_path)
        self.program = program
        self.limit = limit              # acknowledged jobs that are not done
        self.pruning = pruning          # the daemon forgets jobs while we work
        self.lock = threading.RLock()   # held for every record, and while the machine is cut off
        self.off = False                # nothing that arrives counts
        self.acked = {}                 # key -> job
        self.done = {}                  # job -> completion, from the stream
        self.refused = {}               # error kind -> times
        self.stopping = False           # no new jobs
        self.over = False               # threads end
        self.epoch = 0                  # boots of the machine
        self.problems = []
        self.final = []                 # what the daemon said in the end
        with open(self.jobs_path, "ab"):
            pass

    def problem(self, text):
        with self.lock:
            self.problems.append(text)
            self.ledger.note("problem", text=text)

    def killed(self, what):
        with self.lock:
            self.ledger.note("kill", what=what)

    def still_on(self, epoch):
        """Whether what arrives on a connection of that epoch counts; with the lock held."""
        if self.off or self.epoch != epoch:
            raise Gone("the machine is off")

    def mark(self, word):
        """A line of the harness in the jobs' ledger."""
        with open(self.jobs_path, "ab", buffering=0) as f:
            f.write(word.encode() + b"\n")

    def starts(self):
        with open(self.jobs_path, "r", encoding="ascii", errors="replace") as f:
            return oracle.Starts(f.read())

    def room(self):
        return len(self.acked) - len(self.done) < self.limit


class Op:
    """A request that is sent until it is answered."""

    def __init__(self, method, params, keys=(), job=None, again=True):
        self.method = method
        self.params = params
        self.keys = list(keys)
        self.job = job
        self.again = again      # whether it is sent again after a lost connection


class Maker:
    """Makes specs and writes their plans down."""

    KINDS = (("quick", 30), ("fail", 8), ("signal", 5), ("long", 6), ("timeout", 3), ("retry", 6),
             ("retry_lost", 6), ("spawn", 3), ("after", 10), ("delay", 5), ("serial", 12),
             ("wide", 4), ("output", 4), ("bound", 5), ("pipe", 3), ("unkeyed", 4))

    def __init__(self, board, rng, name, kinds=None, longest_ms=900):
        self.board = board
        self.rng = rng
        self.name = name
        self.count = 0
        self.longest_ms = longest_ms
        rows = [row for row in self.KINDS if kinds is None or row[0] in kinds]
        self.kinds = [row[0] for row in rows]
        self.weights = [row[1] for row in rows]

    def spec(self, batch=False):
        kind = self.rng.choices(self.kinds, self.weights)[0]
        if batch and kind in ("bound", "unkeyed", "after"):
            kind = "quick"
        self.count += 1
        key = f"{self.name}-{self.count}"
        plan = {"key": key, "kind": kind, "outcome": "exited", "exit_code": 0}
        spec = {"name": key, "key": key, "stdin": "null"}
        self.work = {"ms": self.rng.randrange(20), "until": 0, "code": 0, "bytes": 0}
        getattr(self, "_" + kind)(plan, spec)
        w = self.work
        plan.setdefault("stdout", len(key) + 1 + w["bytes"])
        spec.setdefault("argv", [self.board.program, self.board.jobs_path, key, str(w["ms"]),
                                 str(w["until"]), str(w["code"]), str(w["bytes"])])
        with self.board.lock:
            self.board.ledger.note("plan", **plan)
        return spec

    def _quick(self, plan, spec):
        pass

    def _fail(self, plan, spec):
        self.work["code"] = plan["exit_code"] = self.rng.randrange(1, 100)

    def _signal(self, plan, spec):
        number = self.rng.choice([signal.SIGUSR1, signal.SIGKILL, signal.SIGTERM])
        self.work["code"] = -number
        plan.update(outcome="signaled", exit_code=None, signal=int(number))

    def _long(self, plan, spec):
        self.work["ms"] = self.rng.randrange(self.longest_ms // 6, self.longest_ms)

    def _timeout(self, plan, spec):
        self.work["ms"] = 60000
        spec.update(timeout_ms=self.rng.randrange(10, 150), kill_grace_ms=200)
        plan["outcome"] = "timed_out"

    def _retry(self, plan, spec):
        plan["attempt"] = self.work["until"] = self.rng.randrange(2, 4)
        # A launcher that dies in an attempt ends the job as lost, for `on` doesn't name it.
        spec["retries"] = {"max": 5, "backoff_ms": self.rng.randrange(1, 20), "on": ["exited"]}

    def _retry_lost(self, plan, spec):
        self.work["ms"] = self.rng.randrange(100)
        plan["retry_lost"] = True
        spec["retries"] = {"max": 1000, "backoff_ms": 0, "on": ["lost"]}

    def _spawn(self, plan, spec):
        spec["argv"] = ["/nonexistent/program"]
        plan.update(outcome="spawn_failed", exit_code=None)

    def _after(self, plan, spec):
        with self.board.lock:
            known = list(self.board.acked.items())[-60:]
        deps = self.rng.sample(known, min(len(known), self.rng.randrange(1, 4)))
        if deps:
            policy = self.rng.choice(["ok", "any"])
            spec.update(after=[job for _, job in deps], after_policy=policy)
            plan.update(after=[key for key, _ in deps], policy=policy)

    def _delay(self, plan, spec):
        spec["delay_ms"] = self.rng.randrange(10, 300)

    def _serial(self, plan, spec):
        self.work["ms"] = self.rng.randrange(6)
        spec["queue"] = plan["queue"] = SERIAL

    def _wide(self, plan, spec):
        spec["slots"] = self.rng.randrange(2, 4)

    def _output(self, plan, spec):
        self.work.update(bytes=self.rng.randrange(1000, 200000), ms=self.rng.randrange(60))

    def _bound(self, plan, spec):
        self.work["ms"] = self.rng.randrange(200)
        spec["lifetime"] = "bound"
        plan["bound"] = True

    def _pipe(self, plan, spec):
        self.work["ms"] = self.rng.randrange(100)
        spec["stdin"] = "pipe"
        plan["pipe"] = True

    def _unkeyed(self, plan, spec):
        del spec["key"]
        plan["keyed"] = False


class Client(threading.Thread):
    """Submits, cancels and waits, over as many connections as it takes."""

    def __init__(self, board, maker, rng, batch=20):
        super().__init__(daemon=True)
        self.board = board
        self.maker = maker
        self.rng = rng
        self.batch = batch
        self.token = None
        self.todo = []          # to be sent again, oldest first
        self.flying = {}        # id -> Op
        self.mine = []          # (key, job), acknowledged to us
        self.waits = 0          # job.result in flight
        self.idle = False
        self.not_before = 0.0

    def run(self):
        while not self.board.over:
            try:
                with self.board.daemon.connect() as conn:
                    self.session(conn)
            except Gone:
                self.put_back()
                time.sleep(0.003)
            except Exception as exc:    # must not end a thread silently
                self.board.problem(f"client {self.name}: {type(exc).__name__}: {exc}")
                self.put_back()
                time.sleep(0.1)

    def put_back(self):
        self.todo = [op for op in self.flying.values() if op.again] + self.todo
        self.flying.clear()
        self.waits = 0
        self.idle = False

    def session(self, conn):
        self.epoch = self.board.epoch
        self.token = conn.call("hello", {"session": self.token} if self.token else {})["session"]
        while not self.board.over:
            self.fill(conn)
            message = conn.recv(0.02)
            while message is not None:
                self.answer(message)
                message = conn.recv(0)
            self.idle = self.board.stopping and not self.flying and not self.todo

    def fill(self, conn):
        if time.monotonic() < self.not_before:
            return
        while len(self.flying) < IN_FLIGHT:
            if self.todo:
                op = self.todo.pop(0)
            elif not self.board.stopping and self.board.room():
                op = self.invent()
            else:
                return
            # Put down first: what is sent and breaks must be put back.
            self.flying[conn.next_id + 1] = op
            conn.send(op.method, op.params)

    def invent(self):
        dice = self.rng.random()
        if dice < 0.08 and self.mine:
            return self.cancel()
        if dice < 0.16 and self.mine and self.waits < 4:
            self.waits += 1
            return Op("job.result", {"job": self.rng.choice(self.mine[-40:])[1], "wait_ms": 3000},
                      again=False)
        if dice < 0.28 and self.batch > 1:
            specs = [self.maker.spec(batch=True) for _ in range(self.rng.randrange(2, self.batch))]
            keys = [spec["key"] for spec in specs]
            with self.board.lock:
                self.board.ledger.note("batch", keys=keys)
            return Op("job.submit_batch", {"jobs": specs}, keys)
        spec = self.maker.spec()
        return Op("job.submit", spec, [spec["name"]], again="key" in spec)

    def cancel(self):
        # Once for each job, or a refusal could mean that an earlier one was accepted.
        key, job = self.mine.pop(self.rng.randrange(max(0, len(self.mine) - 40), len(self.mine)))
        with self.board.lock:
            self.board.ledger.note("cancel_sent", job=job, key=key)
        return Op("job.cancel", {"jobs": [job], "grace_ms": 50}, job=job, again=False)

    def answer(self, message):
        op = self.flying.get(message.get("id"))
        if op is None:
            return
        with self.board.lock:
            self.board.still_on(self.epoch)
            del self.flying[message["id"]]
            if op.method == "job.result":
                self.waits -= 1
            if "error" in message:
                self.refused(op, RpcError(message["error"]))
            else:
                self.accepted(op, message["result"])

    def refused(self, op, error):
        self.board.refused[error.kind] = self.board.refused.get(error.kind, 0) + 1
        if error.kind in AGAIN:
            if op.again:
                self.todo.append(op)
            self.not_before = time.monotonic() + 0.03
        elif self.board.pruning and error.kind == "NoSuchJob" and not op.keys:
            pass
        elif op.method != "job.result" or error.kind != "Timeout":
            self.board.problem(f"{op.method} {op.keys or op.params} was refused: {error}")

    def accepted(self, op, result):
        ledger = self.board.ledger
        if op.keys:
            jobs = result["jobs"] if "jobs" in result else [result["job"]]
            pairs = list(zip(op.keys, jobs))
            ledger.ack(pairs)
            self.board.acked.update(pairs)
            self.mine += pairs
        elif op.method == "job.cancel":
            ledger.note("cancel", job=op.job, accepted=result["results"][0]["accepted"])
        elif op.method == "job.result":
            ledger.note("saw", **{name: result.get(name) for name in
                                  ("job", "seq", "outcome", "ok", "exit_code", "signal")})


class Watcher(threading.Thread):
    """Follows the completions from the first, over all restarts, by since_seq."""

    def __init__(self, board, rng):
        super().__init__(daemon=True)
        self.board = board
        self.rng = rng
        self.seq = 0
        self.instance = None
        board.ledger.note("watched")

    def run(self):
        while not self.board.over:
            try:
                with self.board.daemon.connect() as conn:
                    self.follow(conn)
            except Gone:
                time.sleep(0.003)
            except Exception as exc:
                self.board.problem(f"watcher: {type(exc).__name__}: {exc}")
                return

    def follow(self, conn):
        epoch = self.board.epoch
        hello = conn.call("hello")
        if self.instance is None:
            self.instance = hello["instance"]
        elif hello["instance"] != self.instance:
            raise AssertionError(f"instance {self.instance} became {hello['instance']}")
        conn.send("completions.subscribe", {"since_seq": self.seq, "instance": self.instance})
        while not self.board.over:
            message = conn.recv(0.05)
            if message is None:
                continue
            with self.board.lock:
                self.board.still_on(epoch)
                if "error" in message:
                    kind = (message["error"].get("data") or {}).get("kind")
                    if kind in AGAIN:
                        raise Gone(kind)
                    raise RpcError(message["error"])
                if message.get("method") == "$/item":
                    self.item(message["params"])
            if self.rng.random() < 0.01:
                return      # and on from there, over another connection

    def item(self, item):
        self.board.ledger.note("done", **{name: item[name] for name in
                                          ("job", "seq", "outcome", "ok", "exit_code", "signal")})
        self.seq = item["seq"]
        self.board.done[item["job"]] = item


class Load:
    """Clients and a watcher against one daemon."""

    def __init__(self, tmp, daemon, program, seed, *, clients=3, limit=150, kinds=None, batch=20,
                 longest_ms=900, pruning=False):
        self.daemon = daemon
        self.board = Board(daemon, tmp / "acks", tmp / "jobs", program, limit, pruning)
        self.clients = []
        for number in range(clients):
            rng = random.Random(f"{seed}/{number}")
            name = f"{zlib.crc32(str(seed).encode()):08x}.{number}"
            maker = Maker(self.board, rng, name, kinds, longest_ms)
            self.clients.append(Client(self.board, maker, rng, batch))
        self.watcher = Watcher(self.board, random.Random(f"{seed}/watcher"))

    def start(self):
        for thread in [self.watcher, *self.clients]:
            thread.start()
        return self

    def warm(self, more=5):
        """Waits until so many more jobs are done."""
        board = self.board
        wanted = len(board.done) + more
        until(lambda: board.problems or len(board.done) >= wanted, 20, f"{more} completions")
        if board.problems:
            raise AssertionError("; ".join(board.problems[:5]))

    def settle(self, seconds=60):
        """No more submits; waits until all is acknowledged and done."""
        board = self.board
        board.stopping = True
        until(lambda: board.problems or all(c.idle for c in self.clients), seconds,
              "every submit is acknowledged")
        until(lambda: board.problems or set(board.acked.values()) <= board.done.keys(), seconds,
              "every acknowledged job is done")
        with self.daemon.connect() as conn:
            until(lambda: board.problems or not any(
                conn.all_jobs(phase=phase) for phase in ("pending", "running")), seconds,
                "nothing is pending or running")

    def stop(self):
        """Ends the threads."""
        self.board.stopping = self.board.over = True
        for thread in [self.watcher, *self.clients]:
            if thread.ident:
                thread.join(30)

    def verdict(self, max_running=None):
        """The oracle's violations, with the daemon's final word asked for here."""
        with self.daemon.connect() as conn:
            final = self.board.final = conn.all_jobs()
            last = max((job["seq"] or 0 for job in final), default=0)
            until(lambda: self.board.problems or self.watcher.seq >= last or self.board.over, 30,
                  "the stream has come to the newest seq")
        return oracle.check(self.board.ledger.records, self.board.starts(), final,
                            max_running=max_running or self.daemon.max_running,
                            queue_limits={SERIAL: 1}, pruned=self.board.pruning,
                            cut=self.daemon.cut_jobs())
