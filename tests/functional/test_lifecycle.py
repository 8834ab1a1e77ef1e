"""The daemon's own life: start, refusal of a second one, crash, TERM, idleness."""

import asyncio
import os
import re
import signal
import subprocess
import time

from slottest import (Case, RpcError, Closed, alone, eventually, find_binary, is_running, limit,
                      scaled, sh, switches, wait_gone)
from slottest.daemon import clean_environ

STUBBORN = 'trap "" TERM; echo $$ >"$1"; while :; do sleep 0.1; done'


class MemoryCrash(Case):
    """In memory nothing outlives the engine."""

    durability = "memory"

    async def test_kill_9_of_the_engine_ends_jobs_and_launcher(self):
        marks = [self.mark(f"pid{i}") for i in range(3)]
        await self.c.submit(sh('echo $$ >"$1"; exec sleep 300', marks[0].path))
        await self.c.submit(sh('setsid sh -c "echo \\$\\$ >$1; exec sleep 300" & wait',
                               marks[1].path))
        await self.c.submit(sh(STUBBORN, marks[2].path), kill_grace_ms=500)
        pids = [await mark.pid() for mark in marks]
        launcher = await self.d.launcher_pid()
        await self.d.kill()
        for pid in (*pids, launcher):
            await wait_gone(pid, 15)

    async def test_a_new_daemon_starts_on_the_same_socket(self):
        await self.c.submit("sleep", "300")
        before = (await self.c.call("hello"))["instance"]
        launcher = await self.d.launcher_pid()
        await self.d.kill()
        self.assertTrue(self.d.socket.exists())
        again = await self.start(socket_path=self.d.socket)
        client = await again.connect()
        self.assertTrue((await client.run("true"))["ok"])
        self.assertNotEqual((await client.call("hello"))["instance"], before)
        await wait_gone(launcher, 15)


class DurableCrash(Case):
    """Over a journal the launcher and what it started do."""

    durability = "full"

    async def test_kill_9_of_the_engine_ends_neither_jobs_nor_launcher(self):
        marks = [self.mark(f"pid{i}") for i in range(2)]
        jobs = [await self.c.submit(sh('echo $$ >"$1"; exec sleep 300', marks[0].path)),
                await self.c.submit(sh(STUBBORN, marks[1].path), kill_grace_ms=100)]
        pids = [await mark.pid() for mark in marks]
        launcher = await self.d.launcher_pid()
        await self.d.restart()
        client = await self.d.connect()
        self.assertEqual(await self.d.launcher_pid(), launcher)
        for job, pid in zip(jobs, pids):
            await self.phase(job, client=client)
            self.assertTrue(is_running(pid))
        await client.call("job.cancel", jobs=jobs, wait=True)
        for pid in pids:
            await wait_gone(pid)

    async def test_a_new_daemon_starts_on_the_same_socket(self):
        job = await self.c.submit("sleep", "300")
        before = (await self.c.call("hello"))["instance"]
        await self.d.kill()
        self.assertTrue(self.d.socket.exists())
        again = await self.start(socket_path=self.d.socket, state=self.d.state)
        client = await again.connect()
        self.assertTrue((await client.run("true"))["ok"])
        self.assertEqual((await client.call("hello"))["instance"], before)
        await self.phase(job, client=client)

    async def test_a_new_daemon_over_another_state_knows_nothing_of_it(self):
        await self.c.submit("sleep", "300")
        before = (await self.c.call("hello"))["instance"]
        await self.d.kill()
        again = await self.start(socket_path=self.d.socket)
        client = await again.connect()
        self.assertEqual((await client.call("job.list"))["jobs"], [])
        self.assertNotEqual((await client.call("hello"))["instance"], before)


class Crash(Case):
    async def test_clients_see_the_end(self):
        waiting = self.c.start("futures.wait", {"jobs": [await self.c.submit("sleep", "300")]})
        await self.d.kill()
        with self.assertRaises(Closed):
            await asyncio.wait_for(waiting, 20)

    async def test_a_dead_launcher_ends_its_jobs_as_lost(self):
        job = await self.c.submit("sleep", "300")
        await self.phase(job)
        os.kill(await self.d.launcher_pid(), signal.SIGKILL)
        self.d.expect_dead = True
        try:
            done = await self.c.finish(job)
            self.assertEqual((done["outcome"], done["ok"]), ("lost", False))
        except Closed:
            pass
        if self.d.alive():
            self.d.popen.terminate()
            await self.d.wait()


class Second(Case):
    async def test_a_second_daemon_on_the_socket_says_who_holds_it(self):
        other = self.make_daemon(socket_path=self.d.socket)
        other.spawn()
        other.expect_dead = True
        self.assertNotEqual(await other.wait(), 0)
        self.assertIn(str(self.d.pid), other.log())
        self.assertTrue((await self.c.run("true"))["ok"])

    async def test_two_at_once_leave_one(self):
        for name in range(3):
            path = self.tmp / f"race{name}"
            pair = [self.make_daemon(socket_path=path) for _ in range(2)]
            for daemon in pair:
                daemon.spawn()
            loser = await eventually(
                lambda: [d for d in pair if d.popen.poll() is not None], 15, "one gave up")
            self.assertEqual(len(loser), 1)
            loser[0].expect_dead = True
            winner = [d for d in pair if d not in loser][0]
            await eventually(path.exists, 10)
            client = await eventually(lambda: self.try_connect(winner), 10)
            self.assertTrue((await client.run("true"))["ok"])

    async def try_connect(self, daemon):
        try:
            return await daemon.connect()
        except OSError:
            return None


class Terminate(Case):
    async def test_an_idle_daemon_exits_0_on_term_and_on_int(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            daemon = await self.start()
            launcher = await daemon.launcher_pid()
            daemon.expect_dead = True
            daemon.signal(number)
            self.assertEqual(await daemon.wait(), 0)
            await wait_gone(launcher)
            self.assertFalse(daemon.socket.exists(), "socket removed")

    async def test_waiting_requests_are_answered_at_term(self):
        job = await self.c.submit("sleep", "300")
        waiting = self.c.start("futures.wait", {"jobs": [job]})
        await self.c.call("stats.get")
        await self.d.stop()
        try:
            reply = await asyncio.wait_for(waiting, 20)
            self.assertEqual(reply["done"][0]["outcome"], "cancelled")
            self.assertFalse(self.d.durable)
        except RpcError as exc:
            self.assertKind(exc, "ShuttingDown", -32000)

    async def test_pending_jobs_do_not_start_at_term(self):
        await self.c.call("limits.set", max_running=1)
        mark = self.mark("ran")
        await self.c.submit("sleep", "300")
        await self.c.submit(sh('echo x >"$1"', mark.path))
        await self.d.stop()
        self.assertFalse(mark.exists())

    async def test_a_deleted_socket_makes_the_daemon_leave(self):
        launcher = await self.d.launcher_pid()
        self.d.expect_dead = True
        os.unlink(self.d.socket)
        self.assertEqual(await self.d.wait(), 0)
        await wait_gone(launcher)

    async def test_a_socket_that_another_file_replaced_makes_it_leave_too(self):
        self.d.expect_dead = True
        os.rename(self.d.socket, str(self.d.socket) + ".old")
        self.assertEqual(await self.d.wait(), 0)


class MemoryTerminate(Case):
    """In memory TERM ends every job."""

    durability = "memory"

    async def test_term_cancels_all_with_grace_and_exits_0(self):
        mark, said = self.mark("pid"), self.mark("said")
        await self.c.submit(sh('trap "echo bye >$2; exit 0" TERM; echo $$ >"$1"; '
                               'while :; do sleep 0.05; done', mark.path, said.path))
        pid = await mark.pid()
        await self.d.stop()
        self.assertFalse(is_running(pid))
        self.assertEqual(said.text(), "bye\n")

    async def test_term_kills_what_ignores_it_after_its_grace(self):
        mark = self.mark("pid")
        await self.c.submit(sh(STUBBORN, mark.path), kill_grace_ms=700)
        pid = await mark.pid()
        began = time.monotonic()
        await self.d.stop()
        took = time.monotonic() - began
        self.assertGreaterEqual(took, 0.65)
        self.assertLess(took, scaled(5))
        self.assertFalse(is_running(pid))

    async def test_a_second_term_kills_at_once(self):
        mark = self.mark("pid")
        await self.c.submit(sh(STUBBORN, mark.path), kill_grace_ms=3_600_000)
        pid = await mark.pid()
        self.d.expect_dead = True
        self.d.signal(signal.SIGTERM)
        await eventually(lambda: self.refused(), 10, "no new work after the first TERM")
        self.assertTrue(self.d.alive())
        self.assertTrue(is_running(pid))
        began = time.monotonic()
        self.d.signal(signal.SIGTERM)
        await self.d.wait()
        self.assertLess(time.monotonic() - began, scaled(5))
        await wait_gone(pid)

    async def refused(self):
        try:
            await self.c.submit("true", name="late")
        except (RpcError, Closed):
            return True
        return False


class DurableTerminate(Case):
    """Over a journal TERM ends the engine alone."""

    durability = "full"

    async def left_with(self, **spec):
        """TERM with a job that writes bye at its TERM; (job, its pid, the mark, the launcher)."""
        mark, said = self.mark("pid"), self.mark("said")
        job = await self.c.submit(sh('trap "echo bye >>$2; exit 3" TERM; echo $$ >"$1"; '
                                     'while :; do sleep 0.05; done', mark.path, said.path), **spec)
        pid = await mark.pid()
        launcher = await self.d.launcher_pid()
        began = time.monotonic()
        await self.d.stop()
        self.assertLess(time.monotonic() - began, scaled(3))
        return job, pid, said, launcher

    async def come_back(self):
        await self.d.start()
        self.d.expect_dead = False
        self.c = await self.d.connect()

    async def test_jobs_are_told_nothing_and_run_on(self):
        job, pid, said, launcher = await self.left_with()
        self.assertFalse(self.d.socket.exists(), "socket removed")
        self.assertTrue(is_running(pid))
        await self.come_back()
        self.assertEqual(await self.d.launcher_pid(), launcher)
        await self.phase(job)
        self.assertFalse(said.exists())
        await self.c.cancel_jobs(job)
        self.assertEqual((await self.c.finish(job))["outcome"], "cancelled")
        self.assertEqual(said.text(), "bye\n")

    async def test_the_command_that_it_names_ends_them_with_their_grace(self):
        job, pid, said, launcher = await self.left_with()
        told = re.search(r"jobs run on running=1 launcher=(\d+); they end with: kill (\d+)",
                         self.d.log())
        self.assertEqual([int(n) for n in told.groups()], [launcher] * 2)
        os.kill(launcher, signal.SIGTERM)
        await wait_gone(pid)
        self.assertEqual(said.text(), "bye\n")
        await self.come_back()
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["reason"], done["exit_code"], done["ok"]),
                         ("cancelled", "shutdown", 3, False))

    async def test_a_second_engine_names_the_same_launcher(self):
        """It was there before: its pid comes with its greeting."""
        job = await self.c.submit("sleep", "300")
        await self.phase(job)
        launcher = await self.d.launcher_pid()
        await self.d.restart()
        client = await self.d.connect()
        await self.phase(job, client=client)
        await self.d.stop()
        self.assertIn(f"they end with: kill {launcher}\n", self.d.log())

    async def test_a_submit_that_waits_for_room_is_refused(self):
        await self.c.call("limits.set", max_running=0, max_pending=1)
        first = await self.c.submit("true")
        held = self.c.start("job.submit", {"argv": ["true"], "on_full": "wait"})

        async def waits():
            return (await self.c.call("stats.get"))["held"] == 1
        await eventually(waits, 10, "it is held")
        await self.d.stop()
        with self.assertRaises(RpcError) as caught:
            await asyncio.wait_for(held, 20)
        self.assertKind(caught.exception, "ShuttingDown", -32000)
        await self.come_back()
        self.assertEqual([j["job"] for j in (await self.c.call("job.list"))["jobs"]], [first])

    async def test_a_removed_launcher_socket_ends_its_jobs_and_another_one_comes(self):
        mark = self.mark("pid")
        job = await self.c.submit(sh('echo $$ >"$1"; exec sleep 300', mark.path))
        pid = await mark.pid()
        launcher = await self.d.launcher_pid()
        (self.d.state / "launcher.sock").unlink()
        await wait_gone(pid)
        await wait_gone(launcher)
        done = await self.c.finish(job)
        self.assertIn(done["outcome"], ("cancelled", "lost"))
        self.assertTrue((await self.c.run("true"))["ok"])
        self.assertNotEqual(await self.d.launcher_pid(), launcher)

    async def test_without_jobs_it_says_nothing_of_them(self):
        await self.c.run("true")
        await self.d.stop()
        self.assertNotIn("jobs run on", self.d.log())

    async def test_pending_jobs_start_with_the_next_engine(self):
        await self.c.call("limits.set", max_running=0)
        mark = self.mark("ran")
        job = await self.c.submit(sh('echo x >>"$1"', mark.path))
        await self.d.stop()
        self.assertFalse(mark.exists())
        await self.come_back()
        await self.c.call("limits.set", reset=True)
        self.assertTrue((await self.c.finish(job))["ok"])
        self.assertEqual(mark.lines(), ["x"])


class Start(Case):
    autostart = False

    def slotd(self, *args):
        return subprocess.run([find_binary("slotd"), *args], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=scaled(20),
                              env=clean_environ(self.tmp))

    async def test_version_and_help(self):
        done = self.slotd("--version")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"^slotd \d+\.\d+")
        done = self.slotd("--help")
        self.assertEqual(done.returncode, 0)
        for option in ("--system", "--user", "--config", "--set", "--socket", "--state-dir",
                       "--max-running", "--ready-fd", "--check-config", "--version", "--help"):
            self.assertIn(option, done.stdout)

    async def test_bad_options_are_refused(self):
        for args in (["--nope"], ["--set"], ["--set", "executor.nope=1"], ["--set", "nonsense"],
                     ["--set", "executor.max_running=lots"], ["--max-running", "-1"],
                     ["extra-word"]):
            with self.subTest(args):
                done = self.slotd(*args, "--socket", str(self.tmp / "never"))
                self.assertNotEqual(done.returncode, 0)
                self.assertTrue(done.stderr)
                self.assertFalse((self.tmp / "never").exists())

    async def test_check_config_names_file_line_and_key(self):
        conf = self.tmp / "slotd.conf"
        conf.write_text("[executor]\nmax_running = 3\n")
        done = self.slotd("--config", str(conf), "--check-config")
        self.assertEqual(done.returncode, 0, done.stderr)
        for text, key, row in (("[executor]\nmax_running = 3\nmax_runing = 4\n", "max_runing", 3),
                               ("[executor]\n\nmax_running = many\n", "max_running", 3),
                               ("[executor]\nmax_running = 1\nmax_running = 2\n", "max_running", 3),
                               ("[nowhere]\nx = 1\n", "nowhere", 2)):
            conf.write_text(text)
            done = self.slotd("--config", str(conf), "--check-config")
            self.assertNotEqual(done.returncode, 0, text)
            for part in (str(conf), key, str(row)):
                self.assertIn(part, done.stderr + done.stdout)

    async def test_a_config_file_is_obeyed(self):
        conf = self.tmp / "slotd.conf"
        conf.write_text("[executor]\nmax_running = 3\nmax_pending = 77\n"
                        "[queue.build]\nmax_running = 2\n")
        daemon = await self.start(max_running=None, args=["--config", str(conf)])
        client = await daemon.connect()
        limits = await client.call("limits.get")
        self.assertEqual((limits["max_running"], limits["max_pending"]), (3, 77))
        queues = {q["queue"]: q for q in (await client.call("queue.list"))["queues"]}
        self.assertEqual(queues["build"]["max_running"], 2)

    async def test_max_running_defaults_to_the_cpus(self):
        daemon = await self.start(max_running=None)
        client = await daemon.connect()
        limits = await client.call("limits.get")
        self.assertEqual(limits["max_running"], len(os.sched_getaffinity(0)))

    async def test_a_socket_path_beyond_107_bytes(self):
        deep = self.tmp / ("x" * 60) / ("y" * 60)
        deep.mkdir(parents=True)
        path = deep / "sock"
        self.assertGreater(len(str(path)), 108)
        daemon = self.make_daemon(socket_path=path)
        await daemon.start()
        fd = os.open(deep, os.O_PATH | os.O_DIRECTORY)
        try:
            from slottest import Client
            client = await Client.open(f"/proc/self/fd/{fd}/sock")
            self.assertTrue((await client.run("true"))["ok"])
            client.close()
        finally:
            os.close(fd)
        done = await self.make_ctl(daemon).ok("submit", "--", "true")
        self.assertRegex(done.text, r"^\d+\n$")

    async def test_nothing_but_its_socket_is_world_accessible(self):
        daemon = await self.start()
        self.assertEqual(os.stat(daemon.socket).st_mode & 0o077, 0)

    async def test_idle_exit(self):
        daemon = await self.start(settings=["executor.idle_exit=300ms"])
        client = await daemon.connect()
        job = await client.submit("sleep", "0.6")
        client.close()
        daemon.expect_dead = True
        began = time.monotonic()
        self.assertEqual(await daemon.wait(), 0)
        self.assertGreaterEqual(time.monotonic() - began, 0.4, f"job {job} ran meanwhile")


class Idle(Case):
    """Measured over an interval: this is the one place where a test lets time pass."""

    SECONDS = 3

    async def measured(self):
        pids = (self.d.pid, await self.d.launcher_pid())

        async def calm():
            before = [switches(p) for p in pids]
            await asyncio.sleep(1.5)
            return before == [switches(p) for p in pids]
        await eventually(calm, 15, "calm after the start")
        before = [switches(p) for p in pids]
        await asyncio.sleep(self.SECONDS)
        return [b - a for a, b in zip(before, [switches(p) for p in pids])]

    @alone
    async def test_an_idle_daemon_makes_no_wakeups(self):
        self.assertEqual(await self.measured(), [0, 0])

    @alone
    async def test_nor_does_one_that_has_worked_and_has_idle_clients(self):
        for _ in range(20):
            await self.c.run("sh", "-c", "echo x")
        clients = [await self.d.connect() for _ in range(5)]
        clients[0].stream("completions.subscribe")
        clients[1].stream("events.subscribe")
        await clients[2].call("hello")
        self.assertEqual(await self.measured(), [0, 0])

    @alone
    async def test_nor_does_one_whose_only_job_sleeps(self):
        gate = self.gate()
        job = await self.c.submit(gate.spec(timeout_ms=3_600_000))
        await self.c.submit("true", delay_ms=3_600_000)
        self.c.start("futures.wait", {"jobs": [job], "timeout_ms": 3_600_000})
        self.assertEqual(await self.measured(), [0, 0])
        gate.open()

    @alone
    @limit(90)
    async def test_nothing_grows_over_ten_thousand_jobs(self):
        # What a sanitizer keeps of freed memory is none of ours.
        d = await self.start(env={"ASAN_OPTIONS": "exitcode=99:detect_leaks=1:quarantine_size_mb=1"},
                             max_running=8)
        c = await d.connect()

        async def burst():
            jobs = (await c.call("job.submit_batch", jobs=[{"argv": ["true"]}] * 1000))["jobs"]
            await c.stream("futures.as_completed", jobs=jobs).collect()
            await c.call("job.forget", jobs=jobs)
        for _ in range(2):
            await burst()
        fds, rss = d.fds(), d.rss_kib()
        for _ in range(8 if scaled(1) == 1 else 3):
            await burst()
        await eventually(lambda: d.fds() <= fds, 10, "descriptors")
        self.assertLess(d.rss_kib() - rss, 3 * 1024 * (8 if scaled(1) > 1 else 1))
