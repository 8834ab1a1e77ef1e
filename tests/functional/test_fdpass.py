"""{"fd": n}: the client's own descriptors become the job's."""

import os
import socket

from slottest import Case, eventually, line


class Pass(Case):
    def temp(self, name, data=b""):
        path = self.tmp / name
        path.write_bytes(data)
        return path

    async def submit_fds(self, fds, client=None, **spec):
        spec.setdefault("lifetime", "bound")
        reply = await (client or self.c).call_with_fds(fds, "job.submit", **spec)
        return reply["job"]

    async def test_stdin_stdout_and_stderr(self):
        source = self.temp("in", b"hello\n")
        out, err = self.temp("out"), self.temp("err")
        files = [open(source, "rb"), open(out, "wb"), open(err, "wb")]
        job = await self.submit_fds([f.fileno() for f in files], stdin={"fd": 0}, stdout={"fd": 1},
                                    stderr={"fd": 2}, argv=["sh", "-c", "cat; echo oops >&2"])
        for f in files:
            f.close()
        self.assertTrue((await self.c.finish(job))["ok"])
        self.assertEqual((out.read_bytes(), err.read_bytes()), (b"hello\n", b"oops\n"))
        self.assertEqual(await self.c.output(job), b"")

    async def test_one_descriptor_twice(self):
        out = self.temp("out")
        with open(out, "wb") as f:
            job = await self.submit_fds([f.fileno()], stdout={"fd": 0}, stderr={"fd": 0},
                                        argv=["sh", "-c", "echo a; echo b >&2"])
        await self.c.finish(job)
        self.assertEqual(out.read_bytes(), b"a\nb\n")

    async def test_a_pipe_reaches_its_end_when_the_job_ends(self):
        await self.c.run("true")
        reader, writer = os.pipe()
        before = self.d.fds()
        job = await self.submit_fds([writer], stdout={"fd": 0}, argv=["echo", "through"])
        os.close(writer)
        await self.c.finish(job)
        os.set_blocking(reader, False)
        data = b""

        def at_end():
            nonlocal data
            try:
                piece = os.read(reader, 4096)
            except BlockingIOError:
                return False
            data += piece
            return piece == b""
        await eventually(at_end, 10, "end of file: nobody kept the write end")
        os.close(reader)
        self.assertEqual(data, b"through\n")
        await eventually(lambda: self.d.fds() <= before, 10, "descriptors closed")

    async def test_the_job_still_has_three_descriptors(self):
        null = os.open("/dev/null", os.O_RDWR)
        job = await self.submit_fds([null], stdin={"fd": 0},
                                    argv=["sh", "-c", "ls /proc/$$/fd; :"])
        os.close(null)
        await self.c.finish(job)
        self.assertEqual((await self.c.output(job)).split(), [b"0", b"1", b"2"])

    async def test_a_number_that_did_not_come_is_refused(self):
        error = await self.c.error("job.submit", argv=["true"], stdin={"fd": 0}, lifetime="bound")
        self.assertKind(error, "InvalidParams", -32602)
        null = os.open("/dev/null", os.O_RDWR)
        try:
            with self.assertRaises(Exception) as caught:
                await self.submit_fds([null], argv=["true"], stdin={"fd": 1})
            self.assertKind(caught.exception, "InvalidParams", -32602)
        finally:
            os.close(null)

    async def test_it_must_be_bound(self):
        null = os.open("/dev/null", os.O_RDWR)
        try:
            with self.assertRaises(Exception) as caught:
                await self.submit_fds([null], argv=["true"], stdin={"fd": 0}, lifetime="detached")
            self.assertKind(caught.exception, "InvalidParams", -32602)
        finally:
            os.close(null)

    async def test_surplus_descriptors_are_closed(self):
        await self.c.run("true")
        before = self.d.fds()
        nulls = [os.open("/dev/null", os.O_RDWR) for _ in range(8)]
        for _ in range(20):
            await self.c.call_with_fds(nulls, "stats.get")
        for fd in nulls:
            os.close(fd)
        await eventually(lambda: self.d.fds() <= before, 10, "surplus descriptors closed")

    async def test_descriptors_of_a_refused_request_are_closed(self):
        await self.c.run("true")
        before = self.d.fds()
        null = os.open("/dev/null", os.O_RDWR)
        for _ in range(20):
            with self.assertRaises(Exception):
                await self.submit_fds([null], argv=[], stdin={"fd": 0})
        os.close(null)
        await eventually(lambda: self.d.fds() <= before, 10, "descriptors closed")

    async def test_descriptors_of_a_closed_connection_are_closed(self):
        await self.c.run("true")
        before = self.d.fds()
        raw = await self.d.raw()
        null = os.open("/dev/null", os.O_RDWR)
        raw.send_fds(b'{"jsonrpc":"2.0",', [null] * 10)
        os.close(null)
        raw.close()
        await eventually(lambda: self.d.fds() <= before, 10, "descriptors closed")

    async def test_descriptors_belong_to_the_request_whose_last_byte_came_with_them(self):
        raw = await self.d.raw()
        out = self.temp("out")
        spec = {"argv": ["echo", "x"], "stdout": {"fd": 0}, "lifetime": "bound"}
        text = line("job.submit", spec, 1)
        with open(out, "wb") as f:
            await raw.send(text[:20])
            raw.send_fds(text[20:], [f.fileno()])
        reply = await raw.recv_id(1)
        job = reply["result"]["job"]
        await self.c.finish(job)
        self.assertEqual(out.read_bytes(), b"x\n")

    async def test_more_than_64_held_descriptors(self):
        """At most 64 are held per connection; the daemon and others live on."""
        await self.c.run("true")
        before = self.d.fds()
        raw = await self.d.raw()
        null = os.open("/dev/null", os.O_RDWR)
        try:
            raw.send_fds(b'{"jsonrpc":', [null] * 60)
            raw.send_fds(b'"2.0",', [null] * 60)
            await self.c.call("stats.get")
            self.assertTrue((await self.c.run("true"))["ok"])
            self.assertLessEqual(self.d.fds(), before + 64 + 4)
        except OSError:
            pass
        finally:
            os.close(null)
            raw.close()
        await eventually(lambda: self.d.fds() <= before, 10, "descriptors closed")

    async def test_retry_of_such_a_job_is_not_supported(self):
        null = os.open("/dev/null", os.O_RDWR)
        job = await self.submit_fds([null], argv=["true"], stdin={"fd": 0})
        os.close(null)
        await self.c.finish(job)
        self.assertKind(await self.c.error("job.retry", job=job), "NotSupported", 1010)

    async def test_a_pending_job_keeps_its_descriptors(self):
        await self.c.call("limits.set", max_running=0)
        out = self.temp("out")
        with open(out, "wb") as f:
            job = await self.submit_fds([f.fileno()], stdout={"fd": 0}, argv=["echo", "late"])
        await self.c.call("limits.set", max_running=1)
        await self.c.finish(job)
        self.assertEqual(out.read_bytes(), b"late\n")

    async def test_in_a_batch_the_numbers_are_the_requests(self):
        outs = [self.temp(f"out{i}") for i in range(2)]
        files = [open(path, "wb") for path in outs]
        jobs = [{"argv": ["echo", str(i)], "stdout": {"fd": i}, "lifetime": "bound"}
                for i in range(2)]
        reply = await self.c.call_with_fds([f.fileno() for f in files], "job.submit_batch",
                                           jobs=jobs)
        for f in files:
            f.close()
        await self.c.call("futures.wait", jobs=reply["jobs"])
        self.assertEqual([p.read_bytes() for p in outs], [b"0\n", b"1\n"])

    async def test_a_socket_as_stdin_and_stdout(self):
        ours, theirs = socket.socketpair()
        job = await self.submit_fds([theirs.fileno()], stdin={"fd": 0}, stdout={"fd": 0},
                                    argv=["sh", "-c", "read x; echo \"$x back\""])
        theirs.close()
        ours.sendall(b"there and\n")
        await self.c.finish(job)
        self.assertEqual(ours.recv(100), b"there and back\n")
        ours.close()

    async def test_a_terminal_becomes_the_jobs_controlling_one(self):
        master, slave = os.openpty()
        job = await self.submit_fds(
            [slave], stdin={"fd": 0}, stdout={"fd": 0}, tty=True,
            argv=["sh", "-c", "echo through >/dev/tty; test -t 0 && test -t 1 && exit 5"])
        self.assertEqual((await self.c.finish(job))["exit_code"], 5)
        self.assertEqual(os.read(master, 100), b"through\r\n")
        os.close(slave)
        os.close(master)

    async def test_tty_without_a_descriptor_is_refused(self):
        error = await self.c.error("job.submit", argv=["true"], tty=True, lifetime="bound")
        self.assertKind(error, "InvalidParams", -32602, param="tty")

    async def test_a_bad_fd_value(self):
        for value in (-1, "0", 1.5, None, 64, 10**9):
            error = await self.c.error("job.submit", argv=["true"], stdin={"fd": value},
                                       lifetime="bound")
            self.assertKind(error, "InvalidParams", -32602)
