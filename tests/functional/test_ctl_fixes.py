"""slotctl and the start and end of slotd: strangers, races and closed descriptors."""

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
import unittest

from slottest import Case, Ctl, descendants, eventually, find_binary, is_running, limit, scaled
from slottest import wait_gone
from slottest.proc import stat_of

STRANGER = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.setgid(65534)
os.setuid(65534)
listener.listen(5)
print("listening", flush=True)
peer, _ = listener.accept()
peer.settimeout(20)
print(len(peer.recv(65536)), flush=True)
"""


class UserSocket(Case):
    """A user's own place below one temporary directory, without a daemon."""

    autostart = False

    async def asyncSetUp(self):
        await super().asyncSetUp()
        for name in ("run/slotd", "state", ".config/slotd"):
            (self.tmp / name).mkdir(parents=True, mode=0o700)
        self.ctl = Ctl(None, self.tmp, {
            "XDG_RUNTIME_DIR": str(self.tmp / "run"), "XDG_STATE_HOME": str(self.tmp / "state"),
            "XDG_CONFIG_HOME": str(self.tmp / ".config"), "SLOTCTL_START": "1",
            "DBUS_SESSION_BUS_ADDRESS": "", "SYSTEMD_BUS_TIMEOUT": "1"})
        self.ctls.append(self.ctl)
        self.socket = self.tmp / "run" / "slotd" / "slotd.sock"

    def daemons_alive(self):
        return [pid for pid in descendants(os.getpid())
                if is_running(pid) and (stat_of(pid) or [""])[0] == "slotd"]

    async def asyncTearDown(self):
        for pid in self.daemons_alive():
            os.kill(pid, signal.SIGTERM)
            await wait_gone(pid, 15)
        # A launcher that has something to tell yet waits for the next daemon.
        (self.tmp / "state/slotd/launcher.sock").unlink(missing_ok=True)
        await super().asyncTearDown()

    async def stranger(self, path):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", STRANGER, str(path), stdout=asyncio.subprocess.PIPE)
        self.assertEqual(await process.stdout.readline(), b"listening\n")
        return process

    async def received(self, stranger):
        out, _ = await asyncio.wait_for(stranger.communicate(), scaled(30))
        return int(out)

    @unittest.skipUnless(os.geteuid() == 0, "needs a second user")
    async def test_another_users_listener_is_told_nothing(self):
        stranger = await self.stranger(self.socket)
        done = await self.ctl.run("submit", "--", "true")
        self.assertEqual((done.status, done.text), (125, ""))
        self.assertIn("another user", done.err)
        self.assertEqual(await self.received(stranger), 0)
        self.assertEqual(self.daemons_alive(), [])

    @unittest.skipUnless(os.geteuid() == 0, "needs a second user")
    async def test_a_socket_that_was_named_may_be_another_users(self):
        path = self.tmp / "named"
        stranger = await self.stranger(path)
        done = await self.ctl.run("--socket", path, "submit", "--", "true")
        self.assertEqual(done.status, 125)
        self.assertGreater(await self.received(stranger), 0)

    async def test_a_directory_that_others_may_write_to_is_refused(self):
        (self.tmp / "run/slotd").chmod(0o777)
        done = await self.ctl.run("submit", "--", "true")
        self.assertEqual((done.status, done.text), (125, ""))
        self.assertIn("others may write to it", done.err)
        self.assertEqual(self.daemons_alive(), [])

    async def test_a_daemon_that_hangs_up_as_it_leaves_is_followed_by_another(self):
        """As one does whose idle time ends just when we connect."""
        hung_up = 0

        def leave(_, writer):
            nonlocal hung_up
            hung_up += 1
            server.close()
            self.socket.unlink()
            writer.close()
        server = await asyncio.start_unix_server(leave, str(self.socket))
        done = await self.ctl.run("submit", "--", "true")
        self.assertEqual((done.status, done.text, done.err, hung_up), (0, "1\n", "", 1))

    async def test_a_hang_up_is_an_error_where_no_daemon_is_to_be_started(self):
        server = await asyncio.start_unix_server(lambda _, writer: writer.close(),
                                                 str(self.socket))
        done = await self.ctl.run("submit", "--no-start", "--", "true")
        server.close()
        self.assertEqual(done.status, 125)
        self.assertTrue(done.err)

    @limit(90)
    async def test_a_daemon_that_still_leaves_is_waited_for(self):
        """It holds the lock and listens no more."""
        log, lock = self.tmp / "state/slotd/slotd.log", self.socket.with_name("slotd.sock.lock")
        with open(lock, "w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            running = asyncio.ensure_future(self.ctl.run("submit", "--", "true"))
            await eventually(lambda: log.exists() and "another slotd" in log.read_text(), 20,
                             "one found the lock held")
            # The time in which one that was started anew would say so as well.
            await eventually(lambda: log.read_text().count("another slotd") > 1, 20)
            lock.unlink()
        done = await running
        self.assertEqual((done.status, done.text, done.err), (0, "1\n", ""))


    async def test_a_daemon_that_died_is_started_again_by_who_waits_for_it(self):
        gate = self.gate()
        process = await self.ctl.start("run", "--", "sh", "-c",
                                       'echo up; read x <"$1"; echo down; exit 4', "sh", gate.path)
        self.assertEqual(await process.stdout.readline(), b"up\n")
        [first] = self.daemons_alive()
        os.kill(first, signal.SIGKILL)
        await wait_gone(first)
        await eventually(self.daemons_alive, 20, "another one")
        gate.open()
        out, err = await asyncio.wait_for(process.communicate(), scaled(20))
        self.assertEqual((process.returncode, out, err), (4, b"down\n", b""))

    async def test_several_that_wait_start_one_daemon(self):
        await self.ctl.ok("limit", "2")
        [first] = self.daemons_alive()
        gates = [self.gate(), self.gate()]
        waiting = [await self.ctl.start("run", "--", "sh", "-c", 'echo up; read x <"$1"', "sh",
                                        gate.path) for gate in gates]
        for process in waiting:
            self.assertEqual(await process.stdout.readline(), b"up\n")
        os.kill(first, signal.SIGKILL)
        await wait_gone(first)
        for gate in gates:
            gate.open()
        for process in waiting:
            out, err = await asyncio.wait_for(process.communicate(), scaled(20))
            self.assertEqual((process.returncode, out, err), (0, b"", b""))
        self.assertEqual(len(self.daemons_alive()), 1)


class ClosedDescriptors(Case):
    autostart = False

    async def test_a_daemon_without_standard_descriptors(self):
        daemon = self.make_daemon()
        (daemon.dir / "state").mkdir(mode=0o700, parents=True)
        daemon.popen = subprocess.Popen(
            ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *daemon.command()],
            env=daemon.environ(), cwd=str(daemon.dir))

        def there():
            peer = socket.socket(socket.AF_UNIX)
            try:
                peer.connect(str(daemon.socket))
                return True
            except OSError:
                return False
            finally:
                peer.close()
        await eventually(there, 20, "it listens")
        for fd in range(3):
            self.assertEqual(os.readlink(f"/proc/{daemon.pid}/fd/{fd}"), "/dev/null")
        client = await daemon.connect()
        self.assertTrue((await client.run("true"))["ok"])


class ReaderLeaves(Case):
    async def start_map(self, *args, **more):
        reader, writer = os.pipe()
        process = await self.ctl.start("map", *args, stdout=writer, **more)
        os.close(writer)
        return process, reader

    async def end(self, process):
        _, err = await asyncio.wait_for(process.communicate(), scaled(30))
        return process.returncode, err.decode()

    async def test_map_ends_quietly_and_what_is_done_is_in_the_joblog(self):
        log = self.tmp / "joblog"
        process, reader = await self.start_map("--joblog", log, "--", "echo", "{}")
        process.stdin.write(b"a\n")
        await process.stdin.drain()
        loop = asyncio.get_running_loop()
        self.assertEqual(await loop.run_in_executor(None, os.read, reader, 10), b"a\n")
        os.close(reader)
        process.stdin.write(b"b\n")
        self.assertEqual(await self.end(process), (125, ""))
        rows = log.read_text().splitlines()
        self.assertEqual([row.split("\t")[-1] for row in rows], ["Command", "echo a", "echo b"])

    async def test_map_ends_when_the_reader_leaves_while_it_waits_for_it(self):
        process, reader = await self.start_map("-j", "8", "--", "sh", "-c",
                                               "head -c 50000 /dev/zero")
        for _ in range(100):
            process.stdin.write(b"x\n")
        await process.stdin.drain()

        async def full():
            return (await self.c.call("stats.get"))["completed"] >= 4
        await eventually(full, 20, "more is there than a pipe holds")
        os.close(reader)
        self.assertEqual(await self.end(process), (125, ""))
        self.assertLess((await self.c.call("stats.get"))["submitted"], 100)

    async def test_a_dry_run_without_end_ends(self):
        with subprocess.Popen(["yes"], stdout=subprocess.PIPE, restore_signals=True) as yes:
            process, reader = await self.start_map("--dry-run", "--", "echo", stdin=yes.stdout)
            yes.stdout.close()
            os.close(reader)
            self.assertEqual(await self.end(process), (125, ""))


class HaltSoon(Case):
    max_running = 1
    JOBS = 60_000

    @limit(400)
    async def test_halt_soon_holds_more_than_the_way_out_takes_at_once(self):
        """Far more waits than can be asked to be held in one go; none of it may start."""
        gate, mark = self.gate(), self.mark("ran")
        process = await self.ctl.start(
            "map", "-j", str(self.JOBS), "--halt", "soon,fail=1", "--", "sh", "-c",
            'case $1 in first) read c <"$2"; exit 7;; esac; echo $1 >>"$3"; sleep 2', "sh", "{}",
            gate.path, mark.path)
        process.stdin.write(b"first\n" + b"x\n" * (self.JOBS - 1))
        process.stdin.close()

        async def all_wait():
            return (await self.c.call("stats.get"))["pending"] == self.JOBS - 1
        await eventually(all_wait, 90, "all are pushed")
        gate.open()
        _, err = await asyncio.wait_for(process.communicate(), scaled(60))
        self.assertEqual((process.returncode, err.decode()), (7, ""))
        # Two seconds each: holding so many takes its time, and the one slot goes on meanwhile.
        self.assertLess(len(mark.lines()), 200)
