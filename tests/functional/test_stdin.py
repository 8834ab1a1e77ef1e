"""stdin: "pipe" and stdin.write."""

import asyncio
import hashlib
import os

from slottest import Case, RpcError, b64, limit, sh


class Pipe(Case):
    async def write(self, job, data, eof=False, client=None):
        return await (client or self.c).call("stdin.write", job=job, data=data, eof=eof)

    async def test_write_then_eof(self):
        job = await self.c.submit("cat", stdin="pipe")
        self.assertEqual(await self.write(job, "one "), {"written": 4})
        self.assertEqual(await self.write(job, b64(b"\xff\x00")), {"written": 2})
        self.assertEqual(await self.write(job, " two", eof=True), {"written": 4})
        self.assertTrue((await self.c.finish(job))["ok"])
        self.assertEqual(await self.c.output(job), b"one \xff\x00 two")

    async def test_without_eof_the_job_waits_for_more(self):
        job = await self.c.submit(sh('read a; echo "got $a"; read b; echo "got $b"'), stdin="pipe")
        follow = self.c.stream("output.follow", job=job, fds=[1])
        await self.write(job, "1\n")
        self.assertEqual((await follow.next())["data"], "got 1\n")
        self.assertEqual((await self.c.get(job))["phase"], "running")
        await self.write(job, "2\n")
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_eof_alone(self):
        job = await self.c.submit("cat", stdin="pipe")
        await self.write(job, "", eof=True)
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_after_eof_it_is_invalid_state(self):
        gate = self.gate()
        job = await self.c.submit(sh('cat; read c <"$1"', gate.path), stdin="pipe")
        await self.write(job, "x", eof=True)
        self.assertKind(await self.c.error("stdin.write", job=job, data="y"), "InvalidState", 1007)
        gate.open()
        await self.c.finish(job)
        self.assertKind(await self.c.error("stdin.write", job=job, data="y"), "InvalidState", 1007)

    async def test_of_a_job_without_a_pipe_it_is_invalid_state(self):
        gate = self.gate()
        job = await self.c.submit(gate.spec())
        self.assertKind(await self.c.error("stdin.write", job=job, data="y"), "InvalidState", 1007)
        gate.open()
        await self.c.finish(job)

    async def test_the_reply_comes_after_the_write(self):
        """A job that doesn't read holds the reply back once the pipe is full."""
        job = await self.c.submit(sh('read x <"$1"; cat', self.gate().path), stdin="pipe",
                                  output_limit=4 << 20)
        data = "z" * 500_000
        first = self.c.start("stdin.write", {"job": job, "data": data})
        second = self.c.start("stdin.write", {"job": job, "data": data, "eof": True})
        await self.c.run("true")
        self.assertFalse(first.done() and second.done())
        self.gates[0].open()
        self.assertEqual((await first)["written"], 500_000)
        self.assertEqual((await second)["written"], 500_000)
        self.assertTrue((await self.c.finish(job))["ok"])
        self.assertEqual(len(await self.c.output(job)), 1_000_000)

    async def test_a_job_that_ends_without_reading_ends_the_write(self):
        gate = self.gate()
        job = await self.c.submit(gate.spec(stdin="pipe"))
        await self.phase(job)
        write = self.c.start("stdin.write", {"job": job, "data": "z" * 500_000})
        await self.c.call("stats.get")
        gate.open()
        await self.c.finish(job)
        try:
            reply = await asyncio.wait_for(write, 20)
            self.assertLess(reply["written"], 500_000)
        except RpcError as exc:
            self.assertKind(exc, "InvalidState", 1007)

    async def test_a_job_that_closed_its_stdin(self):
        gate = self.gate()
        job = await self.c.submit(sh('exec <&-; echo closed; read c <"$1"', gate.path),
                                  stdin="pipe")
        await self.c.stream("output.follow", job=job, fds=[1]).next()
        try:
            await self.write(job, "z" * 100_000)
        except RpcError as exc:
            self.assertKind(exc, "InvalidState", 1007)
        gate.open()
        await self.c.finish(job)

    @limit(120)
    async def test_ten_megabytes_pass_unharmed(self):
        job = await self.c.submit("sha256sum", stdin="pipe")
        digest = hashlib.sha256()
        for index in range(40):
            piece = os.urandom(262144)
            digest.update(piece)
            await self.write(job, b64(piece), eof=index == 39)
        self.assertTrue((await self.c.finish(job))["ok"])
        self.assertEqual((await self.c.output(job)).split()[0].decode(), digest.hexdigest())

    async def test_to_a_pending_job(self):
        await self.c.call("limits.set", max_running=0)
        job = await self.c.submit("cat", stdin="pipe")
        write = self.c.start("stdin.write", {"job": job, "data": "early", "eof": True})
        await self.c.call("stats.get")
        await self.c.call("limits.set", max_running=1)
        try:
            await asyncio.wait_for(write, 20)
        except RpcError as exc:
            self.assertKind(exc, "InvalidState", 1007)
            await self.phase(job)
            await self.write(job, "early", eof=True)
        self.assertTrue((await self.c.finish(job))["ok"])
        self.assertEqual(await self.c.output(job), b"early")
