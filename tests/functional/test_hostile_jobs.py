"""Jobs that block or stop before or at exec delay no other job."""

import ctypes
import os
import signal
import time
import unittest

from slottest import Case, children, eventually, limit, scaled, sh
from slottest.proc import stat_of


MNT_DETACH = 2


class StalledFuse:
    """A FUSE file system whose server never answers: whoever looks into it waits."""

    def __init__(self, path):
        self.path = os.fsencode(path)
        os.mkdir(path)
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        if self.libc.mount(b"stalled", self.path, b"fuse", 0, options.encode()) != 0:
            error = ctypes.get_errno()
            os.close(self.fd)
            raise unittest.SkipTest(f"no FUSE mount: {os.strerror(error)}")

    def close(self):
        self.libc.umount2(self.path, MNT_DETACH)
        os.close(self.fd)


class Hostile(Case):
    max_running = 8

    def fifo(self, name):
        path = self.tmp / name
        os.mkfifo(path)
        return str(path)

    async def others_run(self, count=20):
        began = time.monotonic()
        for _ in range(count):
            self.assertTrue((await self.c.run("true"))["ok"])
        self.assertLess(time.monotonic() - began, scaled(8))

    async def ends(self, job):
        await self.c.cancel_jobs(job, grace_ms=100)
        self.assertEqual((await self.c.finish(job))["outcome"], "cancelled")

    async def test_stdin_from_a_fifo_that_nobody_writes(self):
        job = await self.c.submit("cat", stdin={"file": self.fifo("in")})
        await self.others_run()
        self.assertEqual((await self.c.get(job))["phase"], "running")
        await self.ends(job)

    async def test_stdin_from_a_fifo_goes_on_when_somebody_writes(self):
        path = self.fifo("in")
        job = await self.c.submit("cat", stdin={"file": path})
        await self.others_run(5)
        fd = os.open(path, os.O_RDWR)
        os.write(fd, b"at last\n")
        await eventually(lambda: children_of(self.d), 10)

        async def arrived():
            return (await self.c.call("output.read", job=job, fd=1))["data"] == "at last\n"
        await eventually(arrived, 10, "data through the FIFO")
        os.close(fd)
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_stdout_into_a_fifo_that_nobody_reads(self):
        job = await self.c.submit("echo", "x", stdout={"file": self.fifo("out")})
        await self.others_run()
        self.assertEqual((await self.c.get(job))["phase"], "running")
        await self.ends(job)

    async def test_a_binary_that_is_a_fifo(self):
        path = self.fifo("binary")
        os.chmod(path, 0o755)
        job = await self.c.submit(path)
        await self.others_run()
        found = await self.c.get(job)
        if found["phase"] == "running":
            await self.ends(job)
        else:
            self.assertEqual(found["outcome"], "spawn_failed")

    def stalled(self, name):
        """A file system of its own for each job: in one, the second would wait in the kernel for
        the first, where not even SIGKILL reaches it."""
        if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
            self.skipTest("needs root and /dev/fuse")
        path = self.tmp / name
        self.addCleanup(StalledFuse(path).close)
        return path / "file"

    async def test_cwd_stdin_and_binary_on_a_stalled_fuse_delay_nobody(self):
        jobs = [await self.c.submit("true", cwd=str(self.stalled("cwd"))),
                await self.c.submit("cat", stdin={"file": str(self.stalled("stdin"))}),
                await self.c.submit(str(self.stalled("binary")))]
        await self.others_run()
        for job in jobs:
            self.assertEqual((await self.c.get(job))["phase"], "running")
            await self.ends(job)

    async def test_a_cwd_that_is_a_fifo(self):
        job = await self.c.run("true", cwd=self.fifo("cwd"))
        self.assertEqual((job["outcome"], job["error"]["errno"]), ("spawn_failed", "ENOTDIR"))
        await self.others_run(5)

    async def test_a_timeout_ends_a_job_that_is_stuck_before_exec(self):
        job = await self.c.run("cat", stdin={"file": self.fifo("in")}, timeout_ms=200)
        self.assertEqual(job["outcome"], "timed_out")

    async def test_a_job_stopped_before_exec(self):
        path = self.fifo("in")
        job = await self.c.submit("cat", stdin={"file": path})
        launcher = self.d.launcher()

        def child():
            found = children(launcher)
            return found[0] if found else None
        pid = await eventually(child, 10, "the job's process")
        os.kill(pid, signal.SIGSTOP)
        await eventually(lambda: (stat_of(pid) or "  ")[1] == "T", 10, "stopped")
        await self.others_run()
        self.assertEqual((await self.c.get(job))["phase"], "running")
        await self.c.cancel_jobs(job, grace_ms=100)
        self.assertEqual((await self.c.finish(job))["outcome"], "cancelled")

    @limit(90)
    async def test_many_stuck_jobs_at_once(self):
        await self.c.call("limits.set", max_running=64)
        path = self.fifo("in")
        jobs = [await self.c.submit("cat", stdin={"file": path}) for _ in range(50)]
        await self.others_run()
        results = await self.c.cancel_jobs(*jobs, grace_ms=100)
        self.assertTrue(all(r["accepted"] for r in results))
        self.assertEqual(self.d.jobs_alive(), [])

    async def test_a_fork_bomb_of_short_children_ends_with_its_job(self):
        job = await self.c.submit(sh("i=0; while [ $i -lt 300 ]; do sleep 300 & "
                                     "i=$((i+1)); done; exit 0"))
        self.assertTrue((await self.c.finish(job, 30))["ok"])
        await eventually(lambda: not self.d.jobs_alive(), 20, "leftovers killed")

    async def test_output_of_a_job_that_nobody_collects(self):
        job = await self.c.submit(sh("exec 1>&2; yes | head -c 5000000"))
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_a_job_that_kills_its_own_group(self):
        job = await self.c.run("sh", "-c", "kill -9 0")
        self.assertEqual((job["outcome"], job["signal"]), ("signaled", 9))
        await self.others_run(5)

    async def test_a_job_that_signals_its_parent(self):
        job = await self.c.run("sh", "-c", "kill -WINCH $PPID; kill -HUP $PPID; kill -USR1 $PPID; "
                                           "kill -PIPE $PPID; kill -CHLD $PPID; exit 0")
        self.assertTrue(job["ok"])
        await self.others_run(5)


def children_of(daemon):
    return children(daemon.launcher())
