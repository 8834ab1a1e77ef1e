"""A durable daemon across its own end: what was acknowledged is there again, what ran runs on."""

import asyncio
import os
import signal
import socket
import sqlite3
import stat
import subprocess

from slottest import Case, eventually, find_binary, sh, to_bytes, wait_gone
from slottest.daemon import wait_exit


class Durable(Case):
    """`self.d` keeps a journal."""

    max_running = 2
    durability = "full"

    async def again(self, number=signal.SIGKILL):
        """Ends the engine and connects to the next one."""
        await self.d.restart(number)
        self.c = await self.d.connect()
        return self.c

    async def hold(self):
        """Nothing starts from here on."""
        await self.c.call("limits.set", max_running=0)

    async def release(self):
        await self.c.call("limits.set", reset=True)

    async def so_far(self, job, fd=1):
        """What a running job has written."""
        got = b""
        while True:
            reply = await self.c.call("output.read", job=job, fd=fd, off=len(got), max=262144)
            data = to_bytes(reply["data"])
            if not data:
                return got
            got += data


class Pending(Durable):
    async def test_acknowledged_jobs_are_there_after_kill(self):
        await self.hold()
        jobs = [await self.c.submit("true", name=f"n{i}", tag={"i": i}) for i in range(20)]
        instance = (await self.c.call("hello"))["instance"]
        await self.again()
        self.assertEqual((await self.c.call("hello"))["instance"], instance)
        listed = (await self.c.call("job.list", phase="pending", order="asc"))["jobs"]
        self.assertEqual([j["job"] for j in listed], jobs)
        self.assertEqual([j["tag"] for j in listed], [{"i": i} for i in range(20)])
        await self.release()
        for job in jobs:
            self.assertTrue((await self.c.finish(job))["ok"])
        self.assertGreater(await self.c.submit("true"), jobs[-1])

    async def test_the_order_of_starting_is_kept(self):
        mark = self.mark("order")
        await self.c.call("limits.set", max_running=0)
        jobs = []
        for i in range(30):
            jobs.append(await self.c.submit(sh('echo $SLOT_JOB >>"$1"', mark.path),
                                            priority=(0, 5, -5)[i % 3]))
        await self.again()
        await self.c.call("limits.set", max_running=1)
        for job in jobs:
            await self.c.finish(job)
        want = jobs[1::3] + jobs[0::3] + jobs[2::3]
        self.assertEqual([int(row) for row in mark.lines()], want)

    async def test_what_was_changed_stays_changed(self):
        await self.hold()
        await self.c.call("queue.set", queue="gpu", max_running=1)
        a = await self.c.submit("true")
        b = await self.c.submit("true")
        await self.c.call("job.set", job=a, priority=7, queue="gpu")
        await self.c.call("job.set", job=b, hold=True)
        await self.again()
        row = await self.c.get(a)
        self.assertEqual((row["priority"], row["queue"]), (7, "gpu"))
        self.assertEqual((await self.c.get(b))["reason"], "hold")
        await self.release()
        self.assertTrue((await self.c.finish(a))["ok"])
        self.assertEqual((await self.c.get(b))["phase"], "pending")
        await self.c.call("job.set", job=b, hold=False)
        self.assertTrue((await self.c.finish(b))["ok"])

    async def test_the_environment_and_everything_of_the_spec(self):
        await self.hold()
        job = await self.c.submit(
            sh('printf "%s %s " "$A" "$PWD"; umask; cat'), env={"A": "x y"}, cwd="/usr",
            umask=0o027, stdin={"data": "in"})
        await self.again()
        await self.release()
        await self.c.finish(job)
        self.assertEqual(await self.c.output(job), b"x y /usr 0027\nin")
        again = (await self.c.call("job.retry", job=job))["job"]
        await self.c.finish(again)
        self.assertEqual(await self.c.output(again), b"x y /usr 0027\nin")

    async def test_after_and_delay(self):
        await self.hold()
        first = await self.c.submit("false")
        needs = await self.c.submit("true", after=[first])
        anyway = await self.c.submit("true", after=[first], after_policy="any")
        late = await self.c.submit("true", delay_ms=700)
        await self.again()
        self.assertEqual((await self.c.get(needs))["reason"], "after")
        await self.release()
        self.assertEqual((await self.c.finish(needs))["outcome"], "dependency_failed")
        self.assertTrue((await self.c.finish(anyway))["ok"])
        done = await self.c.finish(late)
        self.assertGreaterEqual(done["started_us"] - done["submitted_us"], 690_000)

    async def test_after_a_job_that_ended_before_the_restart(self):
        first = await self.c.submit("true")
        await self.c.finish(first)
        await self.again()
        job = await self.c.submit("true", after=[first])
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_keys(self):
        spec = {"argv": ["true"], "key": "k"}
        job = (await self.c.call("job.submit", **spec))["job"]
        await self.c.finish(job)
        await self.again()
        self.assertEqual(await self.c.call("job.submit", **spec),
                         {"job": job, "phase": "done", "existing": True})
        error = await self.c.error("job.submit", argv=["false"], key="k")
        self.assertKind(error, "KeyConflict", 1015, job=job)

    async def test_many_more_than_are_kept_in_memory(self):
        await self.hold()
        jobs = []
        for _ in range(6):
            jobs += (await self.c.call("job.submit_batch",
                                       jobs=[{"argv": ["true"]}] * 500))["jobs"]
        await self.c.call("job.cancel", jobs=jobs[1000:1100])
        await self.c.call("job.set", job=jobs[2500], priority=50)
        self.assertEqual((await self.c.get(jobs[2000]))["phase"], "pending")
        await self.again()
        self.assertEqual((await self.c.call("stats.get"))["pending"], 2900)
        await self.release()
        stream = self.c.stream("completions.subscribe", since_seq=0)
        seen = [(await stream.next(60))["job"] for _ in jobs]
        self.assertEqual(sorted(seen), jobs)
        # It is the first to start, or beside the first; either may be told of late.
        others = [(await self.c.get(job))["started_us"] for job in seen[100:120]
                  if job != jobs[2500]]
        first = (await self.c.get(jobs[2500]))["started_us"]
        self.assertLess(first, sorted(others)[1])


class Running(Durable):
    async def test_a_running_job_goes_on_and_tells_its_exit(self):
        gate = self.gate()
        job = await self.c.submit(gate.spec())
        await self.phase(job)
        await self.again()
        self.assertEqual((await self.c.get(job))["phase"], "running")
        gate.open(7)
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["exit_code"], done["attempt"]),
                         ("exited", 7, 1))
        self.assertIsNotNone(done["usage"]["user_us"])

    async def test_one_that_ended_while_no_engine_was_there(self):
        gate = self.gate()
        mark = self.mark("ended")
        job = await self.c.submit(sh('read code <"$1"; echo late; echo x >"$2"; exit 5',
                                     gate.path, mark.path))
        await self.phase(job)
        await self.d.kill()
        gate.open(0)
        await mark.line()
        await self.d.start()
        self.d.expect_dead = False
        self.c = await self.d.connect()
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["exit_code"]), ("exited", 5))
        self.assertEqual(await self.c.output(job), b"late\n")

    async def test_slots_of_running_jobs_stay_taken(self):
        gates = [self.gate() for _ in range(2)]
        running = [await self.c.submit(g.spec()) for g in gates]
        for job in running:
            await self.phase(job)
        waiting = await self.c.submit("true")
        await self.again()
        self.assertEqual((await self.c.call("stats.get"))["running"], 2)
        self.assertEqual((await self.c.get(waiting))["phase"], "pending")
        gates[0].open()
        self.assertTrue((await self.c.finish(waiting))["ok"])
        gates[1].open()
        await self.c.finish(running[1])

    async def test_output_before_and_after(self):
        gate = self.gate()
        job = await self.c.submit(sh('echo before; echo err >&2; read c <"$1"; echo after',
                                     gate.path))

        async def there():
            return await self.so_far(job) == b"before\n"
        await eventually(there, 10, "first output")
        await self.again()
        self.assertEqual(await self.so_far(job), b"before\n")
        stream = self.c.stream("output.follow", job=job, fds=[1])
        self.assertEqual((await stream.next())["data"], "before\n")
        gate.open()
        await self.c.finish(job)
        self.assertEqual((await stream.next())["data"], "after\n")
        self.assertEqual(await self.c.output(job), b"before\nafter\n")
        await self.again()
        self.assertEqual(await self.c.output(job), b"before\nafter\n")
        self.assertEqual(await self.c.output(job, 2), b"err\n")

    async def test_output_beyond_what_memory_holds(self):
        gate = self.gate()
        job = await self.c.submit(sh('seq 100000; read c <"$1"; seq 100000', gate.path),
                                  output_limit=4 << 20)
        once = "".join(f"{i}\n" for i in range(1, 100001)).encode()

        async def there():
            return len(await self.so_far(job)) == len(once)
        await eventually(there, 20, "first half")
        await self.again()
        gate.open()
        await self.c.finish(job)
        self.assertEqual(await self.c.output(job), once + once)
        await self.again()
        self.assertEqual(await self.c.output(job), once + once)

    async def test_cancel_and_signal_after_a_restart(self):
        mark = self.mark("pid")
        job = await self.c.submit(sh('echo $$ >"$1"; exec sleep 300', mark.path))
        pid = await mark.pid()
        await self.again()
        reply = await self.c.call("job.cancel", jobs=[job], wait=True)
        self.assertTrue(reply["results"][0]["accepted"])
        await wait_gone(pid)
        self.assertEqual((await self.c.get(job))["outcome"], "cancelled")

    async def test_an_accepted_cancel_is_one_though_the_engine_dies(self):
        mark = self.mark("pid")
        job = await self.c.submit(
            sh('trap "sleep 0.3; exit 3" TERM; echo $$ >"$1"; while :; do sleep 0.01; done',
               mark.path), retries={"max": 3, "on": ["exited", "signaled"], "backoff_ms": 1})
        await mark.pid()
        reply = await self.c.call("job.cancel", jobs=[job], wait=False)
        self.assertTrue(reply["results"][0]["accepted"])
        await self.again()
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["reason"], done["attempt"]),
                         ("cancelled", "client", 1))

    async def test_an_accepted_cancel_of_what_the_launcher_has_not_begun(self):
        mark = self.mark("ran")
        launcher = await self.d.launcher_pid()
        os.kill(launcher, signal.SIGSTOP)
        try:
            job = await self.c.submit(sh('echo x >"$1"', mark.path))
            reply = await self.c.call("job.cancel", jobs=[job])
            self.assertTrue(reply["results"][0]["accepted"])
            await self.d.kill()
        finally:
            os.kill(launcher, signal.SIGCONT)
        await self.d.start()
        self.d.expect_dead = False
        self.c = await self.d.connect()
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["reason"]), ("cancelled", "client"))
        self.assertFalse(mark.exists())

    async def test_a_launcher_that_is_told_to_leave_cancels_what_ran(self):
        mark = self.mark("pid")
        job = await self.c.submit(sh('echo $$ >"$1"; exec sleep 300', mark.path))
        await mark.pid()
        old = await self.d.launcher_pid()
        os.kill(old, signal.SIGTERM)
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["reason"]), ("cancelled", "shutdown"))
        await eventually(lambda: self.d.launcher() not in (None, old), 10, "another launcher")
        self.assertTrue((await self.c.run("true"))["ok"])

    async def test_a_timeout_goes_on_without_an_engine(self):
        job = await self.c.submit("sleep", "300", timeout_ms=1500)
        await self.phase(job)
        await self.again()
        self.assertEqual((await self.c.finish(job))["outcome"], "timed_out")

    async def test_retries_count_over_a_restart(self):
        mark = self.mark("attempts")
        gate = self.gate()
        job = await self.c.submit(sh('echo $SLOT_ATTEMPT >>"$2"; read c <"$1"; exit $c',
                                     gate.path, mark.path),
                                  retries={"max": 2, "backoff_ms": 1})
        await mark.line(0)
        await self.again()
        gate.open(1)
        await mark.line(1)
        await self.again()
        gate.open(0)
        done = await self.c.finish(job)
        self.assertEqual((done["ok"], done["attempt"]), (True, 2))
        self.assertEqual(mark.lines(), ["1", "2"])

    async def test_term_leaves_jobs_running_and_says_so(self):
        gate = self.gate()
        job = await self.c.submit(gate.spec())
        await self.phase(job)
        launcher = await self.d.launcher_pid()
        await self.d.stop()
        self.assertIn("jobs run on", self.d.log())
        self.assertIn(str(launcher), self.d.log())
        await self.d.start()
        self.d.expect_dead = False
        self.c = await self.d.connect()
        gate.open()
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_a_launcher_that_dies_loses_what_ran(self):
        mark = self.mark("runs")
        job = await self.c.submit(sh('echo 1 >>"$1"; exec sleep 300', mark.path))
        twice = await self.c.submit(
            sh('echo $SLOT_ATTEMPT >>"$1"; [ $SLOT_ATTEMPT = 2 ] || exec sleep 300',
               self.mark("again").path), retries={"max": 1, "on": ["lost"], "backoff_ms": 1})
        await mark.line()
        await self.mark("again").line()
        os.kill(await self.d.launcher_pid(), signal.SIGKILL)
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["reason"]), ("lost", "launcher_died"))
        self.assertTrue((await self.c.finish(twice))["ok"])
        self.assertEqual(self.mark("again").lines(), ["1", "2"])
        self.assertEqual(mark.lines(), ["1"])

    async def test_engine_and_launcher_die_together(self):
        mark = self.mark("runs")
        job = await self.c.submit(sh('echo 1 >>"$1"; exec sleep 300', mark.path))
        await mark.line()
        os.kill(await self.d.launcher_pid(), signal.SIGKILL)
        await self.again()
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["reason"]), ("lost", "launcher_died"))
        self.assertEqual(mark.lines(), ["1"])

    async def test_the_launcher_upgrades_itself_under_running_jobs(self):
        gate = self.gate()
        job = await self.c.submit(sh('echo a; read c <"$1"; echo b; exit $c', gate.path))
        await self.phase(job)
        launcher = await self.d.launcher_pid()
        os.kill(launcher, signal.SIGHUP)
        await self.c.run("true")
        self.assertEqual(await self.d.launcher_pid(), launcher)
        gate.open(3)
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["exit_code"]), ("exited", 3))
        self.assertEqual(await self.c.output(job), b"a\nb\n")

    async def test_the_launcher_leaves_when_nothing_is_left(self):
        await self.c.run("true")
        launcher = await self.d.launcher_pid()
        await self.d.stop()
        await wait_gone(launcher, 20)


class Owners(Durable):
    """Bound jobs, stdin pipes and passed descriptors."""

    settings = ("client.bound_grace=1s",)

    async def test_a_session_takes_its_bound_jobs_over(self):
        gate = self.gate()
        token = (await self.c.call("hello"))["session"]
        job = await self.c.submit(gate.spec(lifetime="bound"))
        await self.phase(job)
        await self.again()
        self.assertEqual((await self.c.call("hello", session=token))["session"], token)
        await asyncio.sleep(1.5)  # the grace of those that nobody takes over
        self.assertEqual((await self.c.get(job))["phase"], "running")
        gate.open()
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_bound_jobs_that_nobody_takes_over_are_cancelled(self):
        gate = self.gate()
        running = await self.c.submit(gate.spec(lifetime="bound"))
        other = await self.c.submit(gate.spec(lifetime="bound"))
        pending = await self.c.submit("true", lifetime="bound")
        await self.phase(running)
        await self.phase(other)
        await self.again()
        for job in (running, other, pending):
            done = await self.c.finish(job)
            self.assertEqual((done["outcome"], done["reason"]), ("cancelled", "session_ended"))

    async def test_a_session_that_ends_after_the_take_over_ends_its_jobs(self):
        token = (await self.c.call("hello"))["session"]
        job = await self.c.submit("sleep", "300", lifetime="bound")
        await self.phase(job)
        await self.again()
        other = await self.d.connect()
        await other.call("hello", session=token)
        other.close()
        self.assertEqual((await self.c.finish(job))["reason"], "session_ended")

    async def test_an_open_stdin_pipe_is_lost(self):
        job = await self.c.submit("cat", stdin="pipe")
        await self.phase(job)
        await self.c.call("stdin.write", job=job, data="x")
        await self.again()
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["reason"]), ("cancelled", "stdin_lost"))

    async def test_a_stdin_pipe_at_its_end_is_no_loss(self):
        gate = self.gate()
        job = await self.c.submit(sh('cat; read c <"$1"', gate.path), stdin="pipe")
        await self.phase(job)
        await self.c.call("stdin.write", job=job, data="x", eof=True)
        await eventually(lambda: self.has(job, b"x"), 10, "input read")
        await self.again()
        gate.open()
        self.assertTrue((await self.c.finish(job))["ok"])

    async def has(self, job, data):
        return await self.so_far(job) == data


class AtRunTime(Durable):
    async def test_limits_and_queues(self):
        await self.c.call("limits.set", max_running=5)
        await self.c.call("queue.set", queue="q", max_running=3)
        await self.c.call("queue.pause", queue="q")
        await self.again()
        self.assertEqual((await self.c.call("limits.get"))["max_running"], 5)
        queue = [q for q in (await self.c.call("queue.list"))["queues"] if q["queue"] == "q"]
        self.assertEqual([(q["max_running"], q["paused"]) for q in queue], [(3, True)])
        await self.release()
        await self.c.call("queue.remove", queue="q")
        await self.again()
        self.assertEqual((await self.c.call("limits.get"))["max_running"], 2)
        self.assertNotIn("q", [q["queue"] for q in (await self.c.call("queue.list"))["queues"]])

    async def test_draining_is_not_kept(self):
        await self.c.call("drain", mode="finish")
        await self.again()
        self.assertTrue((await self.c.run("true"))["ok"])


class Streams(Durable):
    async def test_completions_go_on_by_seq(self):
        jobs = [await self.c.submit("true") for _ in range(5)]
        stream = self.c.stream("completions.subscribe", since_seq=0)
        first = await stream.take(3)
        instance = (await self.c.call("hello"))["instance"]
        await self.again()
        jobs += [await self.c.submit("true") for _ in range(5)]
        stream = self.c.stream("completions.subscribe", since_seq=first[-1]["seq"],
                               instance=instance)
        rest = await stream.take(7)
        self.assertEqual(sorted(i["job"] for i in first + rest), jobs)
        seqs = [i["seq"] for i in first + rest]
        self.assertEqual(seqs, sorted(set(seqs)))

    async def test_what_was_pruned_is_said(self):
        await self.d.stop()
        self.d.settings = ("store.history_jobs=10",)
        await self.d.start()
        self.c = await self.d.connect()
        for _ in range(3):
            await self.c.call("job.submit_batch", jobs=[{"argv": ["true"]}] * 20)

        async def pruned():
            stats = await self.c.call("stats.get")
            return stats["completed"] >= 60 and stats["history"] <= 10
        await eventually(pruned, 20, "pruning")
        await self.again()
        stream = self.c.stream("completions.subscribe", since_seq=0)
        error = await stream.error()
        self.assertKind(error, "HistoryTruncated", 1009)
        oldest = error.data["oldest"]
        stream = self.c.stream("completions.subscribe", since_seq=oldest - 1)
        self.assertEqual((await stream.next())["seq"], oldest)
        self.assertKind(await self.c.error("job.get", job=1), "NoSuchJob", 1001)

    async def test_futures_of_jobs_that_ended_before_the_restart(self):
        jobs = [await self.c.submit("sh", "-c", f"echo {i}; exit {i % 2}") for i in range(10)]
        for job in jobs:
            await self.c.finish(job)
        await self.again()
        reply = await self.c.call("futures.wait", jobs=jobs)
        self.assertEqual(sorted(d["job"] for d in reply["done"]), jobs)
        results = (await self.c.call("futures.gather", jobs=jobs, return_exceptions=True,
                                     with_output=100))["results"]
        self.assertEqual([r["stdout"] for r in results], [f"{i}\n" for i in range(10)])
        stream = self.c.stream("futures.as_completed", jobs=jobs)
        self.assertEqual(len(await stream.collect()), 10)

    async def test_lists_of_history(self):
        jobs = (await self.c.call("job.submit_batch", jobs=[
            {"argv": ["sh", "-c", f"exit {i % 3}"], "name": f"n{i % 5}"} for i in range(200)]))["jobs"]
        for job in jobs:
            await self.c.finish(job)
        await self.again()
        got, cursor = [], None
        while True:
            page = await self.c.call("job.list", order="asc", limit=37, phase="done",
                                     **({"cursor": cursor} if cursor else {}))
            got += [j["job"] for j in page["jobs"]]
            cursor = page["next"]
            if cursor is None:
                break
        self.assertEqual(got, jobs)
        failed = await self.c.call("job.list", ok=False, name="n1", limit=500)
        self.assertEqual(sorted(j["job"] for j in failed["jobs"]),
                         [job for i, job in enumerate(jobs) if i % 5 == 1 and i % 3])

    async def test_a_forgotten_job_stays_forgotten(self):
        job = (await self.c.run("true"))["job"]
        self.assertEqual(await self.c.call("job.forget", jobs=[job]), {"forgotten": 1})
        await self.again()
        self.assertKind(await self.c.error("job.get", job=job), "NoSuchJob", 1001)
        self.assertGreater(await self.c.submit("true"), job)


    async def test_output_that_is_followed_is_not_pruned(self):
        await self.d.stop()
        self.d.settings = ("store.history_jobs=2",)
        await self.d.start()
        self.d.expect_dead = False
        self.c = await self.d.connect()
        for size in (50_000, 200_000):
            job = await self.c.submit(sh(f"head -c {size} /dev/zero | tr '\\0' x"))
            await self.c.finish(job)
            stream = self.c.stream("output.follow", job=job, fds=[1], window=1000)
            got = len((await stream.next())["data"])
            for _ in range(5):
                await self.c.run("true")

            async def pruned():
                return (await self.c.call("stats.get"))["history"] <= 2
            await eventually(pruned, 20, "the others pruned")
            stream.credit(1_000_000)
            got += sum(len(i["data"]) for i in await stream.collect())
            self.assertEqual(got, size)

    async def test_output_that_is_followed_and_forgotten_is_no_silence(self):
        job = await self.c.submit(sh("head -c 200000 /dev/zero | tr '\\0' x"))
        await self.c.finish(job)
        stream = self.c.stream("output.follow", job=job, fds=[1], window=1000)
        await stream.next()
        await self.c.call("job.forget", jobs=[job])
        stream.credit(1_000_000)
        self.assertKind(await stream.error(), "NoSuchJob", 1001)


class State(Durable):
    """The state directory and what is in it."""

    def journal(self):
        return self.d.state / "journal"

    async def test_nobody_else_may_read_it(self):
        await self.c.run("true")
        for path in self.d.state.iterdir():
            if path.is_file():
                self.assertEqual(stat.S_IMODE(path.stat().st_mode) & 0o077, 0, path)

    async def test_history_is_readable_with_plain_sqlite(self):
        await self.c.run("sh", "-c", "exit 3", name="three")
        await self.hold()
        await self.c.submit("true")
        db = sqlite3.connect(f"file:{self.journal()}?mode=ro", uri=True)
        try:
            rows = db.execute("SELECT job, phase, outcome, exit_code, name, command FROM jobs "
                              "ORDER BY job").fetchall()
        finally:
            db.close()
        self.assertEqual(rows[0][:5], (1, "done", "exited", 3, "three"))
        self.assertIn("exit 3", rows[0][5])
        self.assertEqual(rows[1][:3], (2, "pending", None))
        await self.release()
        self.assertTrue((await self.c.finish(2))["ok"])

    async def test_a_directory_that_is_too_open_is_refused(self):
        await self.d.stop()
        self.d.state.chmod(0o755)
        self.d.spawn()
        self.assertEqual(await self.d.wait(), 1)
        self.assertIn("accepted is 0700", self.d.log())
        self.d.state.chmod(0o700)
        await self.d.start()
        self.d.expect_dead = False

    async def test_a_landing_that_can_not_be_had_is_told(self):
        self.assertNotIn("landing", self.d.log())
        await self.d.stop()
        (self.d.state / "landing").unlink()
        (self.d.state / "landing").mkdir()
        await self.d.start()
        self.d.expect_dead = False
        self.assertIn(f'file={self.d.state}/landing error="Is a directory"', self.d.log())
        self.c = await self.d.connect()
        self.assertTrue((await self.c.run("echo", "x"))["ok"])

    async def test_two_daemons_do_not_share_one(self):
        other = self.make_daemon(state=self.d.state)
        other.spawn()
        other.expect_dead = True
        self.assertEqual(await other.wait(), 1)
        self.assertIn(f"held by another slotd, process {self.d.pid}", other.log())
        self.assertTrue((await self.c.run("true"))["ok"])

    async def test_a_damaged_journal_is_set_aside(self):
        await self.c.run("true")
        instance = (await self.c.call("hello"))["instance"]
        await self.d.stop()
        data = bytearray(self.journal().read_bytes())
        data[:4096] = b"\xff" * 4096
        self.journal().write_bytes(data)
        await self.d.start()
        self.d.expect_dead = False
        self.c = await self.d.connect()
        self.assertNotEqual((await self.c.call("hello"))["instance"], instance)
        aside = [p for p in self.d.state.iterdir() if p.name.startswith("journal.damaged-")]
        self.assertEqual([p.read_bytes()[:4096] for p in aside if "-wal" not in p.name
                          and "-shm" not in p.name], [b"\xff" * 4096])
        self.assertIn(min(p.name for p in aside), self.d.log())
        stream = self.c.stream("completions.subscribe", since_seq=0, instance=instance)
        self.assertKind(await stream.error(), "HistoryTruncated", 1009)
        self.assertTrue((await self.c.run("true"))["ok"])

    async def test_an_emptied_journal_is_set_aside_with_its_log(self):
        await self.c.run("true")
        await self.d.kill()
        log = self.d.state.joinpath("journal-wal").read_bytes()
        self.assertGreater(len(log), 0)
        os.truncate(self.journal(), 0)
        await self.d.start()
        self.d.expect_dead = False
        aside = [p for p in self.d.state.iterdir() if p.name.startswith("journal.damaged-")]
        self.assertIn(log, [p.read_bytes() for p in aside])
        self.assertIn("set aside", self.d.log())

    async def test_a_journal_from_the_future_is_set_aside(self):
        await self.c.run("true")
        await self.d.stop()
        db = sqlite3.connect(self.journal())
        db.execute("PRAGMA user_version = 1000")
        db.commit()
        db.close()
        await self.d.start()
        self.d.expect_dead = False
        self.c = await self.d.connect()
        self.assertTrue(any(p.name.startswith("journal.newer-") for p in self.d.state.iterdir()))
        self.assertTrue((await self.c.run("true"))["ok"])

    async def check_state(self):
        popen = subprocess.Popen(
            [find_binary("slotd"), "--check-state", "--state-dir", str(self.d.state),
             "--set", "store.durability=full"], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=self.d.environ(), text=True)
        status = await wait_exit(popen)
        with popen.stdout as out:
            return status, out.read()

    async def test_check_state(self):
        await self.c.run("true")
        status, text = await self.check_state()
        self.assertEqual(status, 0, text)
        await self.d.stop()
        status, text = await self.check_state()
        self.assertEqual(status, 0, text)
        data = bytearray(self.journal().read_bytes())
        data[4096:8192] = b"\xa5" * 4096
        self.journal().write_bytes(data)
        status, text = await self.check_state()
        self.assertEqual(status, 1, text)
        self.d.state.chmod(0o750)
        status, text = await self.check_state()
        self.assertEqual(status, 3, text)
        self.d.state.chmod(0o700)
        self.journal().unlink()
        os.mkfifo(self.journal())
        status, text = await self.check_state()
        self.assertEqual(status, 3, text)
        self.assertIn("not a regular file", text)

    async def test_stats_tell_of_the_journal(self):
        await self.c.run("true")
        journal = (await self.c.call("stats.get"))["journal"]
        self.assertEqual((journal["durability"], journal["degraded"]), ("full", False))
        self.assertGreater(journal["commits"], 0)
        self.assertGreater(journal["bytes"], 0)
        self.assertEqual(journal["oldest_seq"], 1)

    async def test_memory_keeps_nothing(self):
        other = await self.start(durability="memory")
        client = await other.connect()
        await client.run("true")
        self.assertIsNone((await client.call("stats.get"))["journal"])
        self.assertEqual(list(other.state.iterdir()), [])


class Sockets(Durable):
    """A listening socket that outlives the daemon refuses nobody."""

    autostart = False

    async def test_connections_wait_for_the_next_engine(self):
        path = self.tmp / "held.sock"
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(path))
        listening.listen(64)
        os.set_inheritable(listening.fileno(), True)
        env = {"LISTEN_FDS": "1"}

        def third():
            os.dup2(listening.fileno(), 3)

        def spawn(daemon):
            argv = ["sh", "-c", 'LISTEN_PID=$$ exec "$0" "$@"', *daemon.command()]
            with open(daemon.log_path, "ab") as log:
                daemon.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log,
                                                stderr=log, env={**daemon.environ(), **env},
                                                pass_fds=[3], preexec_fn=third)
        self.d = self.make_daemon(socket_path=path)
        for sub in ("", "run", "state", "config"):
            (self.d.dir / sub).mkdir(mode=0o700, parents=True, exist_ok=True)
        spawn(self.d)
        client = await self.d.connect()
        job = await client.submit("sh", "-c", "sleep 0.5; exit 4")
        await self.d.kill()
        client = await self.d.connect()          # nobody is there: it waits in the backlog
        reply = client.start("job.result", {"job": job, "wait_ms": 20000})
        self.d.expect_dead = False
        spawn(self.d)
        self.assertEqual((await reply)["exit_code"], 4)
        listening.close()
