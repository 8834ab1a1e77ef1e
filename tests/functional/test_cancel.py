"""job.cancel and job.signal: who is ended, when, and what is said about it."""

import asyncio
import os
import signal
import time

from slottest import Case, eventually, is_running, limit, scaled, sh, wait_gone
from slottest.proc import stat_of

STUBBORN = 'trap "" TERM; echo $$ >"$1"; while :; do sleep 0.1; done'


class Cancel(Case):
    async def test_a_pending_job_never_starts(self):
        await self.c.call("limits.set", max_running=1)
        gate, mark = self.gate(), self.mark("ran")
        first = await self.c.submit(gate.spec())
        second = await self.c.submit(sh('echo x >"$1"', mark.path))
        self.assertEqual(await self.c.cancel_jobs(second),
                         [{"job": second, "accepted": True, "best_effort": False}])
        done = await self.c.finish(second)
        self.assertEqual((done["outcome"], done["reason"], done["started_us"]),
                         ("cancelled", "client", None))
        gate.open()
        await self.c.finish(first)
        await self.c.run("true")
        self.assertFalse(mark.exists())

    async def test_only_pending_leaves_alone_what_runs(self):
        await self.c.call("limits.set", max_running=1)
        gate = self.gate()
        first, second = await self.c.submit(gate.spec()), await self.c.submit("true")
        await self.phase(first)
        for wait in (False, True):
            reply = await self.c.call("job.cancel", jobs=[first, second], only_pending=True, wait=wait)
            self.assertEqual(reply["results"], [
                {"job": first, "accepted": False, "best_effort": False},
                {"job": second, "accepted": not wait, "best_effort": False}])
        self.assertEqual((await self.c.finish(second))["outcome"], "cancelled")
        gate.open(3)
        done = await self.c.finish(first)
        self.assertEqual((done["outcome"], done["exit_code"]), ("exited", 3))

    async def test_a_running_job_gets_term(self):
        mark = self.mark("pid")
        job = await self.c.submit(sh('trap "echo bye; exit 5" TERM; echo $$ >"$1"; '
                                     'while :; do sleep 0.05; done', mark.path))
        await mark.pid()
        (result,) = await self.c.cancel_jobs(job)
        self.assertTrue(result["accepted"])
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["exit_code"], done["signal"], done["ok"]),
                         ("cancelled", 5, None, False))
        self.assertEqual(await self.c.output(job), b"bye\n")

    async def test_the_signal_is_filled_in(self):
        job = await self.c.submit("sleep", "300")
        await self.phase(job)
        await self.c.cancel_jobs(job)
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["exit_code"], done["signal"]),
                         ("cancelled", None, signal.SIGTERM))

    async def test_a_job_that_ignores_term_is_killed_after_the_grace_asked_for(self):
        mark = self.mark("pid")
        job = await self.c.submit(sh(STUBBORN, mark.path), kill_grace_ms=3_600_000)
        pid = await mark.pid()
        began = time.monotonic()
        await self.c.cancel_jobs(job, grace_ms=300)
        took = time.monotonic() - began
        self.assertGreaterEqual(took, 0.29)
        self.assertLess(took, scaled(4))
        self.assertFalse(is_running(pid))
        self.assertEqual((await self.c.finish(job))["signal"], signal.SIGKILL)

    async def test_the_jobs_own_grace_is_the_default(self):
        mark = self.mark("pid")
        job = await self.c.submit(sh(STUBBORN, mark.path), kill_grace_ms=200)
        await mark.pid()
        began = time.monotonic()
        await self.c.cancel_jobs(job)
        self.assertLess(time.monotonic() - began, scaled(4))

    async def test_the_configured_grace_comes_last(self):
        other = await self.start(settings=["launcher.grace=200ms"])
        client = await other.connect()
        mark = self.mark("pid")
        job = await client.submit(sh(STUBBORN, mark.path))
        await mark.pid()
        began = time.monotonic()
        (result,) = await client.cancel_jobs(job)
        self.assertTrue(result["accepted"])
        # kill_grace_ms defaults to 5000 in the spec; either bound is well below this.
        self.assertLess(time.monotonic() - began, scaled(9))

    async def test_grace_zero_kills_at_once(self):
        mark = self.mark("pid")
        job = await self.c.submit(sh(STUBBORN, mark.path))
        pid = await mark.pid()
        await self.c.cancel_jobs(job, grace_ms=0)
        self.assertFalse(is_running(pid))

    async def test_without_wait_the_reply_comes_at_once(self):
        mark = self.mark("pid")
        job = await self.c.submit(sh(STUBBORN, mark.path), kill_grace_ms=1500)
        pid = await mark.pid()
        began = time.monotonic()
        (result,) = await self.c.cancel_jobs(job, wait=False)
        self.assertLess(time.monotonic() - began, 1.4)
        self.assertTrue(result["accepted"])
        self.assertTrue(is_running(pid))
        self.assertEqual((await self.c.get(job))["phase"], "running")
        await self.c.cancel_jobs(job, grace_ms=0)
        await wait_gone(pid)

    async def test_with_wait_no_process_is_left_at_the_reply(self):
        for _ in range(5):
            mark = self.mark("pids")
            job = await self.c.submit(sh(
                'for i in 1 2 3 4 5; do sleep 300 & echo $! >>"$1"; done; '
                'setsid sleep 300 & echo $! >>"$1"; wait', mark.path))
            await mark.line(5)
            (result,) = await self.c.cancel_jobs(job, grace_ms=2000)
            left = [int(p) for p in mark.lines() if is_running(int(p))]
            self.assertEqual(left, [])
            self.assertIn(result["best_effort"], (True, False))
            os.unlink(mark.path)

    async def test_a_done_job_is_not_accepted(self):
        job = (await self.c.run("true"))["job"]
        (result,) = await self.c.cancel_jobs(job)
        self.assertEqual((result["job"], result["accepted"]), (job, False))
        self.assertEqual((await self.c.get(job))["outcome"], "exited")

    async def test_an_unknown_id_refuses_all(self):
        gate = self.gate()
        job = await self.c.submit(gate.spec())
        self.assertKind(await self.c.error("job.cancel", jobs=[job, 999]), "NoSuchJob", 1001)
        self.assertEqual((await self.c.get(job))["phase"], "running")
        gate.open()
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_many_at_once(self):
        jobs = (await self.c.call("job.submit_batch",
                                  jobs=[{"argv": ["sleep", "300"]}] * 100))["jobs"]
        results = await self.c.cancel_jobs(*jobs)
        self.assertEqual([r["job"] for r in results], jobs)
        self.assertTrue(all(r["accepted"] for r in results))
        for job in jobs:
            self.assertEqual((await self.c.get(job))["outcome"], "cancelled")

    async def test_a_second_cancel_may_shorten_the_grace(self):
        mark = self.mark("pid")
        job = await self.c.submit(sh(STUBBORN, mark.path))
        pid = await mark.pid()
        await self.c.cancel_jobs(job, grace_ms=600_000, wait=False)
        self.assertTrue(is_running(pid))
        await self.c.cancel_jobs(job, grace_ms=0)
        self.assertFalse(is_running(pid))
        self.assertEqual((await self.c.finish(job))["outcome"], "cancelled")

    async def test_setsid_and_double_forked_descendants_are_ended(self):
        mark = self.mark("pids")
        job = await self.c.submit(sh(
            'setsid sleep 300 & echo $! >>"$1"; '
            '(setsid sh -c "sleep 300 & echo \\$! >>$1; sleep 300" &) ; '
            '(sleep 300 & echo $! >>"$1"); sleep 300', mark.path))
        await mark.line(2)
        await self.c.cancel_jobs(job, grace_ms=500)
        for pid in [int(p) for p in mark.lines()]:
            await wait_gone(pid)

    async def test_a_job_that_forks_all_the_time_is_ended(self):
        job = await self.c.submit(sh('trap "" TERM; while :; do sleep 300 & sleep 0.001; done'))
        await eventually(lambda: len(self.d.jobs_alive()) > 10, 20, "some children")
        await self.c.cancel_jobs(job, grace_ms=50)
        self.assertEqual(self.d.jobs_alive(), [])

    async def test_a_stopped_job_is_ended(self):
        mark = self.mark("pid")
        job = await self.c.submit(sh('echo $$ >"$1"; kill -STOP $$; sleep 300', mark.path))
        pid = await mark.pid()
        await eventually(lambda: (stat_of(pid) or "  ")[1] == "T", 10, "stopped")
        await self.c.cancel_jobs(job, grace_ms=200)
        self.assertFalse(is_running(pid))
        self.assertEqual((await self.c.finish(job))["outcome"], "cancelled")

    async def test_a_cancel_right_after_the_submit(self):
        for _ in range(30):
            submit = self.c.start("job.submit", {"argv": ["sleep", "300"]})
            job = (await submit)["job"]
            (result,) = await self.c.cancel_jobs(job)
            self.assertTrue(result["accepted"])
            self.assertEqual((await self.c.finish(job))["outcome"], "cancelled")

    async def test_a_cancel_races_the_exit(self):
        """Either the exit came first or the cancel: never both, never neither."""
        for index in range(60):
            job = await self.c.submit("sleep", f"0.0{index % 4}")
            (result,) = await self.c.cancel_jobs(job)
            outcome = (await self.c.finish(job))["outcome"]
            self.assertEqual(outcome, "cancelled" if result["accepted"] else "exited")

    async def test_a_cancelled_job_frees_its_slot(self):
        await self.c.call("limits.set", max_running=1)
        job = await self.c.submit("sleep", "300")
        waiting = await self.c.submit("true")
        await self.c.cancel_jobs(job, wait=False)
        self.assertTrue((await self.c.finish(waiting))["ok"])

    @limit(120)
    async def test_ten_thousand_pending_ones(self):
        await self.c.call("limits.set", max_running=0)
        jobs = []
        for _ in range(10):
            jobs += (await self.c.call("job.submit_batch",
                                       jobs=[{"argv": ["true"]}] * 1000))["jobs"]
        began = time.monotonic()
        for index in range(0, 10000, 2000):
            await self.c.cancel_jobs(*jobs[index:index + 2000])
        self.assertLess(time.monotonic() - began, scaled(5))
        stats = await self.c.call("stats.get")
        self.assertEqual((stats["pending"], stats["cancelled"]), (0, 10000))


class Signal(Case):
    async def test_the_leader_by_name_and_by_number(self):
        for value, number in (("USR1", 10), ("SIGUSR2", 12), (1, 1)):
            mark = self.mark(f"m{number}")
            job = await self.c.submit(sh(f'trap "exit 1{number}" {number}; echo $$ >"$1"; '
                                         'while :; do sleep 0.02; done', mark.path))
            await mark.pid()
            self.assertEqual(await self.c.call("job.signal", job=job, signal=value), {})
            self.assertEqual((await self.c.finish(job))["exit_code"], int(f"1{number}"))

    async def test_scopes(self):
        script = ('trap "echo leader >>$1" USR1\n'
                  'sh -c \'trap "echo child >>$1" USR1; echo ready >>$2; '
                  'while :; do sleep 0.02; done\' c "$1" "$2" &\n'
                  'setsid sh -c \'trap "echo away >>$1" USR1; echo ready >>$2; '
                  'while :; do sleep 0.02; done\' c "$1" "$2" &\n'
                  'echo ready >>"$2"; while :; do sleep 0.02; done')
        for scope, want in (("leader", {"leader"}), ("group", {"leader", "child"}),
                            ("tree", {"leader", "child", "away"})):
            got, ready = self.mark(f"got-{scope}"), self.mark(f"ready-{scope}")
            job = await self.c.submit(sh(script, got.path, ready.path))
            await ready.line(2)
            await self.c.call("job.signal", job=job, signal="USR1", scope=scope)
            # A second signal that is harmless to all, handled after the first.
            await eventually(lambda: set(got.lines()) >= want, 10, f"scope {scope}")
            await self.c.call("job.signal", job=job, signal="WINCH", scope="tree")
            await self.c.run("true")
            self.assertEqual(set(got.lines()), want, scope)
            await self.c.cancel_jobs(job, grace_ms=0)

    async def test_a_killed_job_is_signaled_not_cancelled(self):
        job = await self.c.submit("sleep", "300")
        await self.phase(job)
        await self.c.call("job.signal", job=job, signal="KILL")
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["signal"]), ("signaled", 9))

    async def test_stop_and_continue(self):
        job = await self.c.submit("sleep", "0.2")
        await self.phase(job)
        await self.c.call("job.signal", job=job, signal="STOP")
        with self.assertRaises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(
                asyncio.ensure_future(self.c.finish(job))), 0.5)
        await self.c.call("job.signal", job=job, signal="CONT")
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_of_a_job_that_does_not_run(self):
        job = (await self.c.run("true"))["job"]
        self.assertKind(await self.c.error("job.signal", job=job, signal="TERM"),
                        "InvalidState", 1007)
        await self.c.call("limits.set", max_running=0)
        job = await self.c.submit("true")
        self.assertKind(await self.c.error("job.signal", job=job, signal="TERM"),
                        "InvalidState", 1007)
