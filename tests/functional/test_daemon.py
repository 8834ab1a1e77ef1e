"""The daemon around the engine: reload, a passed socket, running out of descriptors, a launcher
that died, what it leaves behind."""

import os
import resource
import signal
import socket
import subprocess
import unittest

from slottest import (Case, RpcError, SANITIZE, Client, eventually, find_binary, is_running,
                      limit, scaled)
from slottest.daemon import clean_environ


class Reload(Case):
    autostart = False

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.conf = self.tmp / "slotd.conf"
        self.write("[executor]\nmax_running = 2\n")
        self.d = await self.start(max_running=None, args=["--config", str(self.conf)])
        self.c = await self.d.connect()

    def write(self, text):
        self.conf.write_text(text)

    async def max_running(self):
        return (await self.c.call("limits.get"))["max_running"]

    async def test_hup_takes_over_new_limits(self):
        self.write("[executor]\nmax_running = 7\n[queue.build]\nmax_running = 3\n")
        self.d.signal(signal.SIGHUP)

        async def changed():
            return await self.max_running() == 7
        await eventually(changed, 10)
        queues = {q["queue"]: q for q in (await self.c.call("queue.list"))["queues"]}
        self.assertEqual(queues["build"]["max_running"], 3)

    async def test_admin_reload_names_what_changed(self):
        self.write("[executor]\nmax_running = 5\n[client]\nstall_timeout = 1m\n")
        result = await self.c.call("admin.reload")
        self.assertEqual(sorted(result["changed"]),
                         ["client.stall_timeout", "executor.max_running"])
        self.assertEqual(await self.max_running(), 5)
        self.assertEqual(await self.c.call("admin.reload"), {"changed": []})

    async def test_a_higher_limit_starts_what_waits(self):
        jobs = [await self.c.submit("sleep", "60") for _ in range(3)]
        self.assertEqual((await self.c.get(jobs[2]))["phase"], "pending")
        self.write("[executor]\nmax_running = 3\n")
        self.d.signal(signal.SIGHUP)
        await self.phase(jobs[2])
        await self.c.cancel_jobs(*jobs)

    async def test_a_wrong_file_changes_nothing_and_is_explained(self):
        self.write("[executor]\nmax_running = 9\nmax_pending = lots\n")
        with self.assertRaises(RpcError) as caught:
            await self.c.call("admin.reload")
        self.assertIn("slotd.conf:3", caught.exception.message)
        self.assertIn("max_pending", caught.exception.message)
        self.assertEqual(await self.max_running(), 2)
        self.assertIn("slotd.conf:3", self.d.log())

    async def test_what_needs_a_restart_is_named(self):
        self.write("[executor]\nmax_running = 3\n[socket]\nmode = 0660\n[store]\n"
                   "keep_env = no\n")
        result = await self.c.call("admin.reload")
        self.assertEqual(result["changed"], ["executor.max_running"])
        for name in ("socket.mode", "store.keep_env"):
            self.assertIn(f"setting needs a restart name={name}", self.d.log())
        self.assertEqual(os.stat(self.d.socket).st_mode & 0o777, 0o600)


class Socket(Case):
    autostart = False

    @limit(90)
    async def test_a_passed_socket_is_used_and_left_alone(self):
        path = self.tmp / "passed.sock"
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen(16)
        # The pid has to be that of the process that is slotd in the end.
        script = ('exec 3<&"$1"; shift; export LISTEN_FDS=1 LISTEN_PID=$$; '
                  'exec "$@" 2>"$LOG"')
        env = {**clean_environ(self.tmp), "LOG": str(self.tmp / "log")}
        popen = subprocess.Popen(
            ["bash", "-c", script, "bash", str(listening.fileno()), find_binary("slotd"),
             "--socket", str(self.tmp / "unused")],
            stdin=subprocess.DEVNULL, env=env, pass_fds=[listening.fileno()])
        listening.close()
        try:
            client = await Client.open(path)  # the backlog holds us until slotd is there
            self.assertTrue((await client.run("true"))["ok"])
            client.close()
            self.assertFalse((self.tmp / "unused").exists())
            self.assertFalse((self.tmp / "passed.sock.lock").exists())
        finally:
            popen.terminate()
            status = popen.wait(scaled(20))
            (self.tmp / "state/slotd/launcher.sock").unlink()  # its launcher need not linger
        self.assertEqual(status, 0, (self.tmp / "log").read_text())
        self.assertTrue(path.exists())

    async def test_something_else_passed_is_refused(self):
        done = subprocess.run(
            ["bash", "-c", 'exec 3</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"',
             "bash", find_binary("slotd"), "--socket", str(self.tmp / "s")],
            stdin=subprocess.DEVNULL, env=clean_environ(self.tmp), capture_output=True,
            text=True, timeout=scaled(20))
        self.assertEqual(done.returncode, 1)
        self.assertIn("LISTEN_FDS", done.stderr)

    async def test_a_file_in_the_way_is_not_removed(self):
        path = self.tmp / "taken"
        path.write_text("mine")
        daemon = self.make_daemon(socket_path=path)
        daemon.spawn()
        daemon.expect_dead = True
        self.assertEqual(await daemon.wait(), 1)
        self.assertEqual(path.read_text(), "mine")
        self.assertIn(str(path), daemon.log())

    async def test_nothing_is_left_behind(self):
        daemon = await self.start()
        before = {"log", "run", "state", "config"}
        self.assertEqual(set(os.listdir(daemon.dir)), before | {"sock", "sock.lock"})
        await daemon.stop()
        self.assertEqual(set(os.listdir(daemon.dir)), before)


class Descriptors(Case):
    autostart = False

    def cpu(self, pid):
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @unittest.skipIf(SANITIZE, "the sanitizer needs descriptors of its own")
    @limit(90)
    async def test_running_out_of_them_does_not_spin_and_passes(self):
        few = 40

        def lower():
            resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
        daemon = await self.start(preexec_fn=lower)
        client = await daemon.connect()
        crowd = []
        for _ in range(few + 20):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(daemon.socket))
            crowd.append(sock)
        await eventually(lambda: "accept paused" in daemon.log(), 20)
        before = self.cpu(daemon.pid)
        # A request every now and then: who is connected is served all the time.
        for _ in range(3):
            job = await client.submit("sleep", "0.5", stdout="null", stderr="null")
            self.assertTrue((await client.finish(job))["ok"])
        # One whose output needs pipes waits for descriptors.
        waiting = await client.submit("echo", "x")
        self.assertLess(self.cpu(daemon.pid) - before, 0.3)
        self.assertEqual(daemon.log().count("accept paused"), 1)
        for sock in crowd:
            sock.close()
        late = await daemon.connect()
        self.assertTrue((await late.run("true"))["ok"])
        self.assertTrue((await late.finish(waiting))["ok"])
        self.assertEqual(await late.output(waiting), b"x\n")


class Launcher(Case):
    @limit(90)
    async def test_a_new_one_is_started_when_it_died(self):
        first = await self.d.launcher_pid()
        job = await self.c.submit("sleep", "300")
        await self.phase(job)
        crowd = [await self.c.submit("true", after=[job], after_policy="any") for _ in range(50)]
        os.kill(first, signal.SIGKILL)
        self.assertEqual((await self.c.finish(job))["outcome"], "lost")
        for waiting in crowd:  # what hadn't started is run by the next one
            self.assertTrue((await self.c.finish(waiting))["ok"])
        self.assertNotEqual(await self.d.launcher_pid(), first)
        self.assertFalse(is_running(first))

    async def test_without_one_the_daemon_does_not_start(self):
        daemon = self.make_daemon(args=["--launcher", str(self.tmp / "nowhere")])
        daemon.spawn()
        daemon.expect_dead = True
        self.assertEqual(await daemon.wait(), 1)
        self.assertIn("nowhere", daemon.log())
        self.assertFalse(daemon.socket.exists())
