"""What else is acknowledged: queues, limits, holds, priorities, forgotten and retried jobs.

After each reply slotd is killed at once; what it said must hold in its next life.
"""

from kills import farewell
from oracle import HARNESS

SLEEP = {"argv": ["/bin/sleep", "60"], "name": HARNESS}
CANCELS = 20
QUICK = {"argv": ["/bin/true"], "name": HARNESS}


class Story:
    """One daemon that is killed after every request."""

    def __init__(self, ctx):
        self.ctx = ctx
        self.daemon = ctx.daemon(ctx.room())
        self.daemon.start()

    def ask(self, method, **params):
        """A request whose reply is the last that slotd does in this life."""
        with self.daemon.connect() as conn:
            reply = conn.call(method, params)
            self.daemon.kill()
        self.daemon.start()
        self.ctx.add("kills")
        return reply

    def look(self, method, **params):
        with self.daemon.connect() as conn:
            return conn.call(method, params)

    def queue(self, name):
        found = [q for q in self.look("queue.list")["queues"] if q["queue"] == name]
        return found[0] if found else None

    def expect(self, got, wanted, what):
        self.ctx.expect(got == wanted, f"{what}: was acknowledged as {wanted!r}, is {got!r}")


def acknowledged_settings(ctx):
    s = Story(ctx)
    instance = s.look("hello")["instance"]

    s.ask("queue.set", queue="q", max_running=3)
    s.expect(s.queue("q")["max_running"], 3, "a queue's limit")
    s.ask("queue.set", queue="q", max_running=2)
    s.expect(s.queue("q")["max_running"], 2, "a queue's new limit")
    s.ask("queue.pause", queue="q")
    s.expect(s.queue("q")["paused"], True, "a paused queue")
    job = s.ask("job.submit", **QUICK, queue="q")["job"]
    s.expect(s.look("job.get", job=job)["reason"], "paused", "why a job waits")
    s.ask("job.set", job=job, priority=7)
    s.expect(s.look("job.get", job=job)["priority"], 7, "a priority")
    s.ask("job.set", job=job, hold=True)
    s.ask("queue.resume", queue="q")
    s.expect(s.queue("q")["paused"], False, "a resumed queue")
    s.expect(s.look("job.get", job=job)["reason"], "hold", "why a job waits")
    s.ask("limits.set", max_running=5)
    s.expect(s.look("limits.get")["max_running"], 5, "max_running")
    s.ask("limits.set", reset=True)
    s.expect(s.look("limits.get")["max_running"], s.daemon.max_running, "max_running after reset")
    s.ask("job.set", job=job, queue="default", hold=False)
    done = s.look("job.result", job=job, wait_ms=10000)
    s.expect((done["outcome"], done["queue"]), ("exited", "default"), "the job's end")
    again = s.ask("job.retry", job=job)["job"]
    s.expect(s.look("job.result", job=again, wait_ms=10000)["outcome"], "exited", "a retried job")
    s.ask("job.forget", jobs=[job])
    s.expect([j["job"] for j in s.look("job.list")["jobs"]], [again], "what is not forgotten")
    s.ask("queue.remove", queue="q")
    s.expect(s.queue("q"), None, "a removed queue")

    running = s.ask("job.submit", **SLEEP)["job"]
    s.expect(s.look("job.get", job=running)["phase"], "running", "a running job")
    s.ask("job.signal", job=running, signal="TERM")
    s.expect(s.look("job.result", job=running, wait_ms=10000)["signal"], 15, "a signal")
    for _ in range(CANCELS):    # what the engine has promised the launcher must have heard
        running = s.ask("job.submit", **SLEEP)["job"]
        s.ask("job.cancel", jobs=[running])
        s.expect(s.look("job.result", job=running, wait_ms=10000)["outcome"], "cancelled",
                 "a cancel")
    late = s.ask("job.submit", **QUICK, delay_ms=400)["job"]
    s.ask("job.cancel", jobs=[late])
    s.expect(s.look("job.get", job=late)["outcome"], "cancelled", "a cancel of a delayed job")
    s.expect(s.look("hello")["instance"], instance, "the instance")
    bad = farewell(s.daemon)
    ctx.expect(not bad, "; ".join(bad))
