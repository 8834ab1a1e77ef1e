"""slotd.aio.Client: jobs as asyncio futures."""

import asyncio
import os
import unittest
import warnings
from unittest import mock

from support import Case, scaled

import slotd
from slotd.aio import Client, JobFuture


def sh(script, *args):
    return ["sh", "-c", script, "sh", *args]


class Futures(Case):
    """What asyncio does with futures it does with jobs."""

    async def test_as_completed_gives_finish_order_with_tags(self):
        async with Client(self.path) as client:
            gates = [self.file(f"gate{n}") for n in range(3)]
            for gate in gates:
                os.mkfifo(gate)
            futures = [client.submit(sh('read x <"$1"; echo "$x"', gate), tag=n)
                       for n, gate in enumerate(gates)]
            seen = []
            for n, future in zip((2, 0, 1), asyncio.as_completed(futures)):
                await self.open_gate(gates[n], "go\n")
                completion = await future
                seen.append((completion.tag, completion.stdout, completion.ok))
            self.assertEqual(seen, [(2, b"go\n", True), (0, b"go\n", True), (1, b"go\n", True)])

    async def test_futures_are_asyncio_futures(self):
        async with Client(self.path) as client:
            future = client.submit(["true"])
            self.assertIsInstance(future, asyncio.Future)
            completion = await future
            self.assertEqual((completion.job, completion.exit_code, completion.returncode),
                             (future.job, 0, 0))
            self.assertIs(future.completion, completion)

    async def test_gather_keeps_order_and_gives_exceptions(self):
        async with Client(self.path) as client:
            futures = [client.submit(sh(f"exit {n}")) for n in (0, 3, 0)]
            results = await asyncio.gather(*futures, return_exceptions=True)
            self.assertIsInstance(results[1], slotd.JobFailed)
            self.assertEqual(results[1].completion.exit_code, 3)
            self.assertEqual([r.ok for r in (results[0], results[2])], [True, True])

    async def test_wait_first_completed(self):
        async with Client(self.path) as client:
            slow, quick = client.submit(["sleep", "60"]), client.submit(["true"])
            done, pending = await asyncio.wait([slow, quick], return_when=asyncio.FIRST_COMPLETED)
            self.assertEqual((done, pending), ({quick}, {slow}))
            slow.cancel()

    async def test_timeout_ends_the_job(self):
        async with Client(self.path) as client:
            future = client.submit(["sleep", "60"])
            job = await future.submitted()
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(future, 0.01)
            result = await client.call("job.result", {"job": job, "wait_ms": 20000})
            self.assertEqual((result["outcome"], result["reason"]), ("cancelled", "client"))

    async def test_cancel_in_the_same_turn_makes_no_job(self):
        async with Client(self.path) as client:
            future = client.submit(["sleep", "60"], name="early")
            self.assertTrue(future.cancel())
            self.assertFalse(future.cancel())
            with self.assertRaises(asyncio.CancelledError):
                await future.submitted()
            self.assertTrue((await client.submit(["true"])).ok)
            self.assertEqual((await client.call("job.list", {"name": "early"}))["jobs"], [])

    async def test_cancel_before_the_answer_ends_the_job(self):
        async with Client(self.path) as client:
            future = client.submit(["sleep", "60"], name="early")
            await asyncio.sleep(0)  # it is sent in the turn after
            self.assertTrue(future.cancel())
            self.assertIsNone(future.job)
            job = await future.submitted()
            result = await client.call("job.result", {"job": job, "wait_ms": 20000})
            self.assertEqual(result["outcome"], "cancelled")

    async def test_cancel_and_close_at_once_ends_the_jobs(self):
        async with Client(self.path) as client:
            known, unknown = client.submit(["sleep", "60"], name="gone"), None
            await known.submitted()
            unknown = client.submit(["sleep", "60"], name="gone")
            await asyncio.sleep(0)
            known.cancel()
            unknown.cancel()
        async with Client(self.path) as client:
            for job in (known.job, unknown.job):
                result = await client.call("job.result", {"job": job, "wait_ms": 20000})
                self.assertEqual(result["outcome"], "cancelled")

    async def test_cancel_job_leaves_the_end_to_the_daemon(self):
        async with Client(self.path) as client:
            future = client.submit(["sleep", "60"])
            await future.submitted()
            future.cancel_job()
            self.assertFalse(future.done())
            with self.assertRaises(asyncio.CancelledError):
                await future
            self.assertEqual(future.completion.outcome, "cancelled")

    async def test_a_cancel_that_comes_too_late_keeps_the_completion(self):
        async with Client(self.path) as client:
            gate = self.file("gate")
            os.mkfifo(gate)
            future = client.submit(sh('read x <"$1"; true', gate))
            job = await future.submitted()
            async with Client(self.path) as other:  # the line that tells of it is on its way
                await self.open_gate(gate)
                self.assertEqual((await other.attach(job)).outcome, "exited")
            if not future.done():
                self.assertTrue(future.cancel())
                await self.until(lambda: future.completion, "the completion of a cancelled future")
            self.assertEqual(future.completion.outcome, "exited")
            self.assertTrue((await client.submit(["true"])).ok)

    async def test_a_job_that_somebody_cancels_is_a_cancelled_future(self):
        async with Client(self.path) as client, Client(self.path) as other:
            future = client.submit(["sleep", "60"])
            await other.cancel(await future.submitted(), wait=True)
            with self.assertRaises(asyncio.CancelledError):
                await future
            self.assertEqual(future.completion.outcome, "cancelled")

    @unittest.skipUnless(hasattr(asyncio, "TaskGroup"), "TaskGroup came with Python 3.11")
    async def test_a_failure_in_a_task_group_ends_the_others(self):
        async with Client(self.path) as client:
            slow = client.submit(["sleep", "60"])

            async def wait_for(future):
                return await future

            job = await slow.submitted()
            with self.assertRaises(BaseExceptionGroup) as caught:
                async with asyncio.TaskGroup() as group:
                    group.create_task(wait_for(slow))
                    group.create_task(client.run(["false"]))
            self.assertIsInstance(caught.exception.exceptions[0], slotd.JobFailed)
            result = await client.call("job.result", {"job": job, "wait_ms": 20000})
            self.assertEqual(result["outcome"], "cancelled")

    async def test_outcomes(self):
        async with Client(self.path) as client:
            cases = [(sh("kill -9 $$"), {}, "signaled", -9),
                     (["/nonesuch"], {}, "spawn_failed", None),
                     (["sleep", "60"], {"timeout_ms": 10, "kill_grace_ms": 0}, "timed_out", None)]
            for argv, options, outcome, code in cases:
                with self.assertRaises(slotd.JobFailed) as caught:
                    await client.submit(argv, **options)
                completion = caught.exception.completion
                self.assertEqual(completion.outcome, outcome)
                if code is not None:
                    self.assertEqual(completion.returncode, code)

    async def test_attach_to_what_runs_and_to_what_is_done(self):
        async with Client(self.path) as client, Client(self.path) as other:
            gate = self.file("gate")
            os.mkfifo(gate)
            first = client.submit(sh('read x <"$1"', gate))
            attached = other.attach(await first.submitted())
            await self.open_gate(gate, "go\n")
            self.assertEqual((await attached).job, (await first).job)
            self.assertEqual((await other.attach(first.job)).job, first.job)
            with self.assertRaises(slotd.RemoteError) as caught:
                await other.attach(4711)
            self.assertEqual(caught.exception.kind, "NoSuchJob")

    async def test_one_key_is_one_job(self):
        async with Client(self.path) as client:
            a = await client.submit(["true"], key="k")
            b = await client.submit(["true"], key="k")
            self.assertEqual(a.job, b.job)
            with self.assertRaises(slotd.RemoteError) as caught:
                await client.submit(["false"], key="k")
            self.assertEqual(caught.exception.kind, "KeyConflict")


class Memory(Futures):
    durability = "memory"


class Specs(Case):
    async def test_directory_and_environment_are_the_callers(self):
        os.environ["SLOTD_TEST_GREETING"] = "hello"
        self.addCleanup(os.environ.pop, "SLOTD_TEST_GREETING")
        async with Client(self.path) as client:
            done = await client.submit(sh("pwd; echo $SLOTD_TEST_GREETING"))
            self.assertEqual(done.stdout, os.fsencode(os.getcwd()) + b"\nhello\n")
            done = await client.submit(["/bin/pwd"], cwd=self.dir, env={})
            self.assertEqual(done.stdout, os.fsencode(self.dir) + b"\n")

    async def test_bytes_that_are_not_text_arrive_as_they_are(self):
        async with Client(self.path) as client:
            done = await client.submit(["printf", "%s", b"a\xff\nb"])
            self.assertEqual(done.stdout, b"a\xff\nb")
            done = await client.submit(["cat"], stdin=b"\x00\xfe")
            self.assertEqual(done.stdout, b"\x00\xfe")

    async def test_what_is_wrong_is_told_at_once(self):
        async with Client(self.path) as client:
            for argv in ("ls -l", b"ls", []):
                with self.assertRaises(TypeError):
                    client.submit(argv)
            with self.assertRaises(slotd.RemoteError) as caught:
                await client.submit(["ls"], quue="x")
            self.assertEqual((caught.exception.kind, caught.exception.data["param"]),
                             ("InvalidParams", "quue"))
            with self.assertRaises(ValueError):
                client.submit(["x" * (1 << 20)])
            self.assertTrue((await client.submit(["true"])).ok)

    async def test_nobody_listens(self):
        with self.assertRaises(slotd.ConnectionLost) as caught:
            async with Client(self.file("nobody")):
                pass
        self.assertIn(self.file("nobody"), str(caught.exception))

    async def test_options_that_are_none_are_refused(self):
        for options, error in (({"reconnect": "x"}, TypeError), ({"reconnect": None}, TypeError),
                               ({"reconnect": True}, TypeError), ({"reconnect": -1}, ValueError),
                               ({"reconnect": float("nan")}, ValueError),
                               ({"with_output": "x"}, TypeError), ({"with_output": None}, TypeError),
                               ({"with_output": 1.0}, TypeError), ({"with_output": -1}, ValueError),
                               ({"with_output": 65537}, ValueError), ({"name": 7}, TypeError)):
            (name,) = options
            with self.assertRaisesRegex(error, name):
                Client(self.path, **options)
            with self.assertRaisesRegex(error, name):
                await self.in_thread(lambda: slotd.SlotExecutor(self.path, **options))
        async with Client(self.path, reconnect=float("inf"), with_output=0) as client:
            self.assertEqual((await client.submit(["echo", "x"])).stdout, b"")

    async def test_a_client_that_was_not_connected_says_so(self):
        with self.assertRaises(slotd.ConnectionLost):
            Client(self.path).submit(["true"])


class Output(Case):
    async def test_output_is_read_whole(self):
        async with Client(self.path) as client:
            done = await client.submit(sh("head -c 700000 /dev/zero; echo no >&2"))
            self.assertEqual(len(done.stdout), 65536)
            self.assertEqual(await client.output(done.job), b"\0" * 700000)
            self.assertEqual(await client.output(done.job, 2), b"no\n")

    async def test_lines_come_as_they_are_written(self):
        async with Client(self.path) as client:
            future = client.submit(sh('while read x; do echo "got $x"; done; printf end'),
                                   stdin="pipe")
            job = await future.submitted()
            lines = client.lines(job)
            for word in ("one", "two"):
                await client.write_stdin(job, word.encode() + b"\n")
                self.assertEqual(await lines.__anext__(), b"got " + word.encode() + b"\n")
            await client.write_stdin(job, eof=True)
            self.assertEqual([line async for line in lines], [b"end"])

    async def test_follow_from_before_the_start_and_both_streams(self):
        async with Client(self.path) as client:
            await client.call("limits.set", {"max_running": 0})
            job = await client.submit(sh("echo out; echo err >&2")).submitted()
            follow = asyncio.ensure_future(_collect(client.follow(job)))
            await client.call("limits.set", {"max_running": 4})
            self.assertEqual(await follow, {1: b"out\n", 2: b"err\n"})

    async def test_stdin_takes_what_is_bytes_and_nothing_else(self):
        async with Client(self.path) as client:
            future = client.submit(["cat"], stdin="pipe")
            job = await future.submitted()
            for data in ("text", 3, None, ["a"], self.path):
                with self.assertRaisesRegex(TypeError, "data must be bytes, .* not "
                                            + type(data).__name__):
                    await client.write_stdin(job, data)
            await client.write_stdin(job, bytearray(b"a\xff"))
            await client.write_stdin(job, memoryview(b"b"))
            await client.write_stdin(job, eof=True)
            self.assertEqual((await future).stdout, b"a\xffb")

    async def test_stdin_of_more_than_a_line_holds(self):
        async with Client(self.path) as client:
            future = client.submit(["wc", "-c"], stdin="pipe")
            await client.write_stdin(await future.submitted(), b"\xff" * 1500000, eof=True)
            self.assertEqual((await future).stdout.strip(), b"1500000")


async def _collect(follow):
    pieces = {}
    async for fd, data in follow:
        pieces[fd] = pieces.get(fd, b"") + data
    return pieces


class Map(Case):
    async def test_takes_no_more_than_the_limit_ahead(self):
        async with Client(self.path) as client:
            asked = 0

            def commands():
                nonlocal asked
                for n in range(40):
                    asked += 1
                    yield ["true"]

            taken = 0
            async for completion in client.map(commands(), limit=3):
                taken += 1
                self.assertTrue(completion.ok)
                self.assertLessEqual(asked - taken, 3)
            self.assertEqual((asked, taken), (40, 40))

    async def test_failures_are_items(self):
        async with Client(self.path) as client:
            codes = [c.exit_code async for c in
                     client.map(({"argv": sh(f"exit {n}"), "tag": n} for n in range(5)), limit=1)]
            self.assertEqual(codes, [0, 1, 2, 3, 4])

    async def test_a_source_that_waits_holds_no_completion_up(self):
        async with Client(self.path) as client:
            seen = asyncio.Event()

            async def commands():
                yield ["echo", "first"]
                await asyncio.wait_for(seen.wait(), scaled(20))
                yield ["echo", "second"]

            said = []
            async for completion in client.map(commands(), limit=2):
                said.append(completion.stdout)
                seen.set()
            self.assertEqual(said, [b"first\n", b"second\n"])

    async def test_leaving_early_cancels_the_rest(self):
        async with Client(self.path) as client:
            commands = [["true"], ["sleep", "60"], ["sleep", "60"]]
            items = client.map(commands, limit=3, name="early")
            self.assertTrue((await items.__anext__()).ok)
            await items.aclose()

            async def cancelled():
                listed = await client.call("job.list", {"name": "early", "ok": False})
                return [job["outcome"] for job in listed["jobs"]] == ["cancelled"] * 2

            for _ in range(400):
                if await cancelled():
                    return
                await asyncio.sleep(0.05)
            self.fail("the jobs of a map that was left go on")

    async def test_a_limit_below_one_is_refused(self):
        async with Client(self.path) as client:
            with self.assertRaises(ValueError):
                await client.map([["true"]], limit=0).__anext__()
            for limit in ("2", None, 1.5, True):
                with self.assertRaisesRegex(TypeError, "limit must be an int"):
                    await client.map([["true"]], limit=limit).__anext__()

    async def test_what_is_no_command_is_told(self):
        async with Client(self.path) as client:
            for commands, words in (("ls", "commands must be an iterable of commands, not 'ls'"),
                                    ({"argv": ["ls"]}, "commands must be an iterable of commands"),
                                    (7, "commands must be an iterable, not int"),
                                    (["ls"], "argv must be a sequence of arguments, not 'ls'"),
                                    ([{"tag": 1}], "must have argv: {'tag': 1}")):
                with self.assertRaisesRegex(TypeError, words):
                    await client.map(commands, limit=1).__anext__()

    async def test_an_asynchronous_source_is_closed(self):
        async with Client(self.path) as client:
            closed = []

            async def source():
                try:
                    yield ["true"]
                    await asyncio.sleep(3600)
                finally:
                    await asyncio.sleep(0)
                    closed.append(True)

            for limit in (1, 9):  # it stands at its yield; it is waited for
                items = client.map(source(), limit=limit)
                self.assertTrue((await items.__anext__()).ok)
                await items.aclose()
                self.assertEqual(closed, [True])
                closed.clear()

    async def test_an_error_of_the_source_is_raised(self):
        async with Client(self.path) as client:
            def commands():
                yield ["true"]
                raise LookupError("mine")

            with self.assertRaises(LookupError):
                async for _ in client.map(commands(), limit=1):
                    pass


class Restarts(Case):
    async def test_futures_settle_over_a_killed_daemon(self):
        async with Client(self.path) as client:
            gate = self.file("gate")
            os.mkfifo(gate)
            running = client.submit(sh('read x <"$1"; echo "$x"', gate))
            await running.submitted()
            waiting = [client.submit(["echo", str(n)], after=[running.job]) for n in range(20)]
            await asyncio.gather(*(f.submitted() for f in waiting))
            await self.daemon.restart()
            await self.open_gate(gate, "go\n")
            self.assertEqual((await running).stdout, b"go\n")
            done = await asyncio.gather(*waiting)
            self.assertEqual([c.stdout for c in done], [b"%d\n" % n for n in range(20)])

    async def test_submits_on_the_way_make_one_job_each(self):
        async with Client(self.path) as client:
            futures = [client.submit(["echo", str(n)], name="once") for n in range(200)]
            await self.daemon.restart()
            done = await asyncio.gather(*futures)
            self.assertEqual([c.stdout for c in done], [b"%d\n" % n for n in range(200)])
            listed = await client.call("job.list", {"name": "once", "limit": 500})
            self.assertEqual(len(listed["jobs"]), 200)

    async def test_cancels_are_told_to_a_daemon_that_was_away_at_the_close(self):
        async with Client(self.path) as client:
            running = [client.submit(["sleep", "60"]) for _ in range(4)]
            jobs = await asyncio.gather(*(f.submitted() for f in running))
            await self.daemon.kill()
            for future in running:
                future.cancel()
            with mock.patch.object(slotd.aio, "_CLOSE_TIMEOUT", scaled(3)), \
                    warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                closed = asyncio.ensure_future(client.close())
                done, _ = await asyncio.wait([closed], timeout=scaled(3) + 0.3)  # longer than that
                self.assertFalse(done)
                await self.daemon.start()
                await asyncio.wait_for(closed, scaled(30))
            self.assertEqual([str(w.message) for w in warned], [])
        async with Client(self.path) as client:
            for job in jobs:
                result = await client.call("job.result", {"job": job, "wait_ms": 20000})
                self.assertEqual(result["outcome"], "cancelled")

    async def test_completions_from_now_on_begin_there_also_over_a_restart(self):
        async with Client(self.path) as client:
            await client.submit(["true"])
            told = client.completions()
            first = asyncio.ensure_future(told.__anext__())
            for _ in range(3):
                await client.call("stats.get")  # the daemon knows of the subscription
            await self.daemon.restart()
            new = await client.submit(["true"])
            self.assertEqual((await first).job, new.job)
            await told.aclose()

    async def test_what_may_not_be_sent_twice_fails(self):
        async with Client(self.path) as client:
            await client.submit(["sleep", "60"]).submitted()
            drain = asyncio.ensure_future(client.call("drain"))
            await asyncio.sleep(0)  # its turn
            with self.assertRaises(slotd.RemoteError):  # so it has arrived
                await client.submit(["true"])
            await self.daemon.restart()
            with self.assertRaises(slotd.UnknownOutcome):
                await drain
            self.assertTrue((await client.submit(["true"])).ok)

    async def test_follow_goes_on_at_the_next_byte(self):
        async with Client(self.path) as client:
            gate = self.file("gate")
            os.mkfifo(gate)
            future = client.submit(sh('echo one; read x <"$1"; echo "$x"; echo err >&2', gate))
            follow = client.follow(await future.submitted())
            self.assertEqual(await follow.__anext__(), (1, b"one\n"))
            await self.daemon.restart()
            await self.open_gate(gate, "two\n")
            self.assertEqual(await _collect(follow), {1: b"two\n", 2: b"err\n"})

    async def test_follow_tells_a_new_attempt_from_its_first_byte(self):
        async with Client(self.path) as client:
            gate = self.file("gate")
            os.mkfifo(gate)
            future = client.submit(sh('if [ "$SLOT_ATTEMPT" = 2 ]; then echo b; exit; fi; '
                                      'echo a long line; read x <"$1"; exit 1', gate),
                                   retries={"max": 1, "backoff_ms": 0})
            follow = client.follow(await future.submitted(), (1,))
            self.assertEqual(await follow.__anext__(), (1, b"a long line\n"))
            await self.daemon.kill()
            await self.open_gate(gate, "x\n")
            await self.daemon.start()
            self.assertEqual(await _collect(follow), {1: b"b\n"})

    async def test_another_instance_ends_what_was_open(self):
        async with Client(self.path) as client:
            future = client.submit(["sleep", "60"])
            await future.submitted()
            await self.daemon.kill()
            self.daemon.end_launcher()
            for name in os.listdir(self.daemon.state):
                if name.startswith("journal"):
                    os.unlink(os.path.join(self.daemon.state, name))
            self.daemon.expect_dead = False
            await self.daemon.start()
            with self.assertRaises(slotd.InstanceChanged):
                await future
            self.assertTrue((await client.submit(["true"])).ok)


class Gone(Case):
    durability = "memory"

    async def test_the_end_of_a_memory_daemon_is_the_end(self):
        async with Client(self.path) as client:
            future = client.submit(["sleep", "60"])
            await future.submitted()
            await self.daemon.kill()
            with self.assertRaises(slotd.ConnectionLost):
                await future
            with self.assertRaises(slotd.ConnectionLost):
                client.submit(["true"])

    async def test_closing_fails_what_is_open_and_leaves_the_job_alone(self):
        async with Client(self.path) as client:
            future = client.submit(["sleep", "60"])
            job = await future.submitted()
            self.assertIsInstance(future, JobFuture)
        with self.assertRaises(slotd.ConnectionLost):
            await future
        async with Client(self.path) as client:
            self.assertEqual((await client.call("job.get", {"job": job}))["phase"], "running")
