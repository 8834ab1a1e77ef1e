"""lifetime: "bound", half-close and disconnect."""

import os

from slottest import Case, eventually, line, sh, wait_gone


class Bound(Case):
    async def test_a_disconnect_cancels_running_and_pending_ones(self):
        await self.c.call("limits.set", max_running=1)
        other = await self.d.connect()
        mark = self.mark("pid")
        running = await other.submit(sh('echo $$ >"$1"; exec sleep 300', mark.path),
                                     lifetime="bound")
        pending = await other.submit("sleep", "300", lifetime="bound")
        pid = await mark.pid()
        other.close()
        for job in (running, pending):
            done = await self.c.finish(job)
            self.assertEqual((done["outcome"], done["reason"]), ("cancelled", "session_ended"))
        await wait_gone(pid)

    async def test_a_detached_job_outlives_its_connection(self):
        gate = self.gate()
        other = await self.d.connect()
        job = await other.submit(gate.spec())
        other.close()
        await self.c.run("true")
        self.assertEqual((await self.c.get(job))["phase"], "running")
        gate.open()
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_a_half_close_is_no_disconnect(self):
        gate = self.gate()
        other = await self.d.connect()
        job = await other.submit(gate.spec(lifetime="bound"))
        result = other.start("job.result", {"job": job, "wait_ms": 20000})
        other.half_close()
        await self.c.run("true")
        self.assertEqual((await self.c.get(job))["phase"], "running")
        gate.open()
        self.assertTrue((await result)["ok"])

    async def test_requests_before_a_half_close_are_answered(self):
        raw = await self.d.raw()
        await raw.send(line("job.submit", {"argv": ["true"]}, 1) + line("stats.get", {}, 2))
        raw.half_close()
        messages = await raw.recv_eof()
        self.assertEqual([m["id"] for m in messages], [1, 2])
        self.assertTrue((await self.c.finish(messages[0]["result"]["job"]))["ok"])

    async def test_an_unfinished_line_before_a_half_close(self):
        raw = await self.d.raw()
        await raw.send(line("stats.get", {}, 1) + b'{"jsonrpc":"2.0"')
        raw.half_close()
        messages = await raw.recv_eof()
        self.assertEqual(messages[0]["id"], 1)
        self.assertLessEqual(len(messages), 2)

    async def test_a_connection_that_says_nothing_and_goes(self):
        await self.c.run("true")
        before = self.d.fds()
        for _ in range(50):
            raw = await self.d.raw()
            raw.close()
        self.assertTrue((await self.c.run("true"))["ok"])
        await eventually(lambda: self.d.fds() <= before, 10, "connections closed")

    async def test_a_bound_job_that_is_done_stays_in_history(self):
        other = await self.d.connect()
        job = (await other.run("true", lifetime="bound"))["job"]
        other.close()
        self.assertEqual((await self.c.get(job))["outcome"], "exited")

    async def test_grandchildren_of_a_bound_job_go_with_it(self):
        other = await self.d.connect()
        mark = self.mark("pid")
        await other.submit(sh('setsid sh -c "echo \\$\\$ >$1; exec sleep 300" & wait', mark.path),
                           lifetime="bound", kill_grace_ms=200)
        pid = await mark.pid()
        other.close()
        await wait_gone(pid)

    async def test_a_bound_job_that_ignores_term(self):
        other = await self.d.connect()
        mark = self.mark("pid")
        job = await other.submit(sh('trap "" TERM; echo $$ >"$1"; while :; do sleep 1; done',
                                    mark.path), lifetime="bound", kill_grace_ms=200)
        pid = await mark.pid()
        other.close()
        await wait_gone(pid)
        self.assertEqual((await self.c.finish(job))["outcome"], "cancelled")


class Hello(Case):
    async def test_what_it_tells(self):
        reply = await self.c.call("hello", protocol=[1], client="test/1")
        self.assertLessEqual({"protocol", "server", "instance", "session", "uid", "features",
                              "limits", "seq"}, set(reply))
        self.assertEqual(reply["protocol"], 1)
        self.assertRegex(reply["server"], r"^slotd/\d+\.\d+")
        self.assertEqual(reply["uid"], os.getuid())
        self.assertIsInstance(reply["features"], list)
        self.assertGreaterEqual(reply["limits"]["max_in_flight"], 1)
        again = await self.c.call("hello")
        self.assertEqual(again["instance"], reply["instance"])

    async def test_no_common_protocol(self):
        error = await self.c.error("hello", protocol=[2, 3])
        self.assertIn(error.kind, ("InvalidParams", "NotSupported"))
        self.assertEqual((await self.c.call("hello", protocol=[3, 1]))["protocol"], 1)

    async def test_seq_moves_with_completions(self):
        before = (await self.c.call("hello"))["seq"]
        job = await self.c.run("true")
        after = (await self.c.call("hello"))["seq"]
        self.assertGreater(after, before)
        self.assertEqual(after, job["seq"])

    async def test_sessions_differ(self):
        other = await self.d.connect()
        self.assertNotEqual((await self.c.call("hello"))["session"],
                            (await other.call("hello"))["session"])

    async def test_without_hello_all_works(self):
        other = await self.d.connect()
        self.assertTrue((await other.run("true"))["ok"])
