"""Runs a program of the examples, with a daemon of its own, and watches both from outside."""
import asyncio
import os
import re
import sys
from pathlib import Path

from slottest import proc
from slottest.daemon import BUILD, Daemon, sanitizer_report
from slottest.timing import scaled

ROOT = Path(__file__).resolve().parents[2]

IN_PROCESS, REMOTE, PYTHON = "in process", "C and a daemon", "Python and a daemon"
#: How long a second is, in ms.
SECONDS = {
    "as_completed": {IN_PROCESS: 100, REMOTE: 2000, PYTHON: 2000},
    "toolbox": {IN_PROCESS: 100, REMOTE: 500, PYTHON: 500},
    "how_as_completed_works": {IN_PROCESS: 1500, REMOTE: 1500, PYTHON: 1500},
    "async_executor": {IN_PROCESS: 500, REMOTE: 10000, PYTHON: 10000},
    "limited_as_completed": {IN_PROCESS: 400, REMOTE: 2000, PYTHON: 2000},
}
MAX_RUNNING = 64  # of the daemons: what limits is what the programs say


class Watch:
    """Whether the machine keeps time, and how many jobs each launcher has at most."""

    def __init__(self):
        self.late_s = 0.0
        self.peaks = {}

    def follow(self, launcher):
        self.peaks[launcher] = 0

    async def run(self):
        loop = asyncio.get_running_loop()
        turn = 0
        while True:
            due = loop.time() + 0.02
            await asyncio.sleep(0.02)
            self.late_s = max(self.late_s, loop.time() - due)
            turn += 1
            if turn % 5 == 0:
                self.count()

    def count(self):
        """A job's leader is a child of the launcher and leads a session. Who is alive after the
        list of pids was made was there together with all others of the list."""
        alive = dict.fromkeys(self.peaks, 0)
        for pid in proc.all_pids():
            stat = proc.stat_of(pid)
            if stat and stat[1] not in "ZX" and stat[2] in alive and stat[4] == pid:
                alive[stat[2]] += 1
        for launcher, n in alive.items():
            self.peaks[launcher] = max(self.peaks[launcher], n)


class Run:
    """One program: what it has written, and what its daemon knows of its jobs (by id)."""

    def __init__(self, program, kind):
        self.program, self.kind = program, kind
        self.name = f"{program}, {kind}"
        self.second = SECONDS[program][kind] / 1000
        self.daemon = None
        self.lines, self.jobs, self.alive_peak = [], [], 0
        self.wrong = []  # with the program itself, or its daemon

    def argv(self):
        place = BUILD / "examples"
        if self.kind == PYTHON:
            command = [sys.executable, str(ROOT / "python" / "examples" / f"{self.program}.py")]
        else:
            command = [str((place / "remote" if self.kind == REMOTE else place) / self.program)]
        return command + [str(SECONDS[self.program][self.kind])]

    async def execute(self, **env):
        process = await asyncio.create_subprocess_exec(
            *self.argv(), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, env={**os.environ, **env})
        try:
            out, err = await asyncio.wait_for(process.communicate(), scaled(120))
        except asyncio.TimeoutError:
            process.kill()
            out, err = await process.communicate()
        self.lines = out.decode().splitlines()
        if process.returncode != 0 or err:
            self.wrong.append(f"status {process.returncode}\n{err.decode()}")

    async def start_daemon(self, directory):
        if self.kind != IN_PROCESS:
            self.daemon = Daemon(directory, name=re.sub(r"\W", "_", self.name), durability="memory",
                                 max_running=MAX_RUNNING)
            await self.daemon.start()

    async def run(self, watch):
        if self.kind == IN_PROCESS:
            await self.execute()
            return
        launcher = await self.daemon.launcher_pid()
        watch.follow(launcher)
        await self.execute(SLOTD_SOCKET=str(self.daemon.socket), PYTHONDONTWRITEBYTECODE="1",
                           PYTHONPATH=str(ROOT / "python"))
        self.jobs = await all_jobs(await self.daemon.connect())
        self.alive_peak = watch.peaks.pop(launcher)

    async def stop_daemon(self):
        if self.daemon is not None:
            self.daemon.close_clients()
            await self.daemon.stop()
            report = sanitizer_report(self.daemon.log())
            if report is not None:
                self.wrong.append(f"the daemon: {report}")

    def overslept_s(self):
        """How much longer a job took than it was to sleep, at most."""
        return max((took_s(job) - float(job["argv"][3]) for job in self.jobs
                    if job["outcome"] == "exited" and len(job["argv"]) == 4), default=0.0)

    def starting_with(self, *words):
        return [x for x in self.lines if x.split()[:len(words)] == list(words)]


async def all_jobs(client):
    jobs, cursor = [], None
    while cursor is not None or not jobs:
        page = await client.call("job.list", limit=500, cursor=cursor)
        jobs += page["jobs"]
        cursor = page["next"]
        if cursor is None:
            break
    return jobs


def took_s(job):
    return (job["finished_us"] - job["started_us"]) / 1e6


def timeline(jobs):
    """("start" or "end", job) in the order in which it happened. At one instant an end comes first:
    it is what gives the slot free."""
    ran = [job for job in jobs if job["started_us"] is not None]
    return [(what, job) for _, what, _, job in sorted(
        [(job["started_us"], "start", job["job"], job) for job in ran] +
        [(job["finished_us"], "end", job["job"], job) for job in ran], key=lambda row: row[:3])]


def peak(jobs):
    running = most = 0
    for what, _ in timeline(jobs):
        running += 1 if what == "start" else -1
        most = max(most, running)
    return most
