"""Behaviour that once was wrong, in the corners where requests, limits and deaths meet."""

import asyncio
import os
import select
import signal

from slottest import (Case, RpcError, SANITIZE, alone, eventually, limit, line, sh, to_bytes,
                      within)


def notification(method, **params):
    return line(method, params).replace(b'"id": 1, ', b"")


class Regressions(Case):
    """What the classes below have in common."""

    async def outcome(self, future, timeout=20):
        """The result of a started call, or its error as a value."""
        try:
            return await within(asyncio.shield(future), timeout)
        except RpcError as exc:
            return exc

    async def failure(self, future, timeout=20):
        found = await self.outcome(future, timeout)
        self.assertIsInstance(found, RpcError)
        return found

    async def kill_launcher(self, daemon=None):
        daemon = daemon or self.d
        pid = await daemon.launcher_pid()
        os.kill(pid, signal.SIGKILL)
        return pid

    async def held(self, count, client=None):
        """Wait until so many submits wait for room."""
        async def so_many():
            return (await (client or self.c).call("stats.get"))["held"] == count
        await eventually(so_many, 10, f"{count} held")


class Held(Regressions):
    """Submits that wait for room."""

    max_running = 1
    settings = ("executor.max_pending=1",)

    async def full(self):
        """Nothing starts, and one pending job fills the queue."""
        await self.c.call("limits.set", max_running=0)
        return await self.c.submit("true")

    async def test_a_held_push_is_answered_when_its_map_is_cancelled(self):
        blocker = await self.full()
        raw = await self.d.raw()
        defaults = {"argv": ["echo", "A" * 200], "cwd": "/tmp", "env": ["SECRET=" + "s" * 400],
                    "on_full": "wait"}
        await raw.send(line("map.open", {"limit": 4, "defaults": defaults}, "m")
                       + line("map.push", {"stream": "m", "jobs": [{}]}, "p"))
        await self.held(1)
        await raw.send(notification("$/cancel", id="m"))
        answers = {}
        while len(answers) < 2:
            message = await raw.recv()
            if "id" in message:
                answers[message["id"]] = message
        self.assertEqual(answers["m"]["error"]["code"], -32800)
        self.assertIn("error", answers["p"])
        await self.held(0)

        # The same id again is another map: nothing of the old one comes to it.
        await raw.send(line("map.open", {"limit": 4, "defaults": {"on_full": "wait"}}, "m"))
        credit = await raw.recv()
        self.assertEqual((credit["method"], credit["params"]["n"]), ("$/credit", 4))
        await self.c.cancel_jobs(blocker)
        await self.c.call("limits.set", max_running=1)
        await raw.send(line("map.push", {"stream": "m", "jobs": [{"argv": ["true"]}]}, "p"))
        pushed = (await raw.recv_id("p"))["result"]["jobs"]
        await raw.send(line("map.end", {"stream": "m"}, "e"))
        end = await raw.recv_id("m")
        self.assertEqual(end["result"], {"submitted": 1, "ok": 1, "failed": 0, "cancelled": 0})
        listed = (await self.c.call("job.list"))["jobs"]
        self.assertEqual(sorted(j["job"] for j in listed), sorted([blocker, *pushed]))

    async def test_an_end_right_after_a_held_push_does_not_lose_the_push(self):
        blocker = await self.full()
        raw = await self.d.raw()
        await raw.send(
            line("map.open", {"limit": 4, "defaults": {"on_full": "wait"}}, "m")
            + line("map.push", {"stream": "m", "jobs": [{"argv": ["true"]}]}, "p")
            + line("map.end", {"stream": "m"}, "e"))
        await self.held(1)
        await self.c.cancel_jobs(blocker)
        await self.c.call("limits.set", max_running=1)
        messages = []
        while not messages or messages[-1].get("id") != "m":
            messages.append(await raw.recv())
        answers = {m["id"]: m for m in messages if "id" in m}
        job = answers["p"]["result"]["jobs"][0]
        self.assertEqual(answers["e"]["result"], {})
        items = [m["params"]["job"] for m in messages if m.get("method") == "$/item"]
        self.assertEqual(items, [job])
        self.assertEqual(answers["m"]["result"],
                         {"submitted": 1, "ok": 1, "failed": 0, "cancelled": 0})

    async def test_a_batch_that_can_never_fit_is_refused_at_once(self):
        await self.c.call("limits.set", max_running=0, max_pending=3)
        error = await self.c.error("job.submit_batch", jobs=[{"argv": ["true"]}] * 5,
                                   on_full="wait")
        self.assertKind(error, "LimitExceeded", 1008)
        jobs = [await self.c.submit("true", on_full="wait") for _ in range(3)]
        error = await self.c.error("job.submit_batch", jobs=[{"argv": ["true"]}] * 5,
                                   on_full="wait")
        self.assertKind(error, "LimitExceeded", 1008)
        waiting = self.c.start("job.submit", {"argv": ["true"], "on_full": "wait"})
        await self.held(1)
        await self.c.cancel_jobs(jobs[0])
        self.assertGreater((await within(waiting))["job"], jobs[-1])

    async def test_held_submits_of_a_uid_are_admitted_in_their_order(self):
        await self.c.call("limits.set", max_running=0, max_pending=3)
        jobs = [await self.c.submit("true") for _ in range(3)]
        other = await self.d.connect()
        batch = self.c.start("job.submit_batch",
                             {"jobs": [{"argv": ["true"]}] * 2, "on_full": "wait"})
        await self.held(1)
        second = other.start("job.submit", {"argv": ["true"], "on_full": "wait"})
        await self.held(2)
        await self.c.cancel_jobs(jobs[0])  # room for one, but a batch of two stands before it
        third = self.c.start("job.submit", {"argv": ["true"], "on_full": "wait"})
        await self.held(3)
        self.assertFalse(batch.done() or second.done() or third.done())
        await self.c.cancel_jobs(jobs[1])
        first = (await within(batch))["jobs"]
        await self.held(2)
        self.assertFalse(second.done() or third.done())
        await self.c.cancel_jobs(jobs[2], first[0])
        after = (await within(second))["job"]
        last = (await within(third))["job"]
        self.assertEqual(sorted([*first, after, last]), [*first, after, last])


class LauncherDeath(Regressions):
    """The launcher is killed; the daemon starts another."""

    max_running = 2

    async def test_running_jobs_are_lost_and_pending_ones_run_with_the_next(self):
        await self.c.call("limits.set", max_running=2, max_pending=5000)
        limits = await self.c.call("limits.get")
        running = [await self.c.submit("sleep", "300") for _ in range(2)]
        for job in running:
            await self.phase(job)
        pending = [await self.c.submit("true") for _ in range(4)]
        for job in pending:
            self.assertEqual((await self.c.get(job))["phase"], "pending")
        old = await self.kill_launcher()
        for job in running:
            done = await self.c.finish(job)
            self.assertEqual((done["outcome"], done["ok"], done["attempt"]), ("lost", False, 1))
        for job in pending:
            done = await self.c.finish(job)
            self.assertEqual((done["outcome"], done["ok"], done["attempt"]), ("exited", True, 1))
        self.assertNotEqual(await self.d.launcher_pid(), old)
        self.assertEqual(await self.c.call("limits.get"), limits)
        stats = await self.c.call("stats.get")
        counted = {key: stats[key] for key in (
            "submitted", "completed", "ok", "lost", "failed", "running", "running_jobs",
            "pending", "pending_bytes", "paused")}
        self.assertEqual(counted["failed"] + counted["ok"], 6)
        del counted["failed"]
        self.assertEqual(counted, {
            "submitted": 6, "completed": 6, "ok": 4, "lost": 2, "running": 0,
            "running_jobs": 0, "pending": 0, "pending_bytes": 0, "paused": False})
        # No slot went with the old one.
        gates = [self.gate() for _ in range(2)]
        for gate in gates:
            await self.phase(await self.c.submit(gate.spec()))
        for gate in gates:
            gate.open()

    async def test_what_follows_a_lost_job_ends(self):
        job = await self.c.submit(sh("echo before; exec sleep 300"))
        stream = self.c.stream("output.follow", job=job)
        item = await stream.next()
        self.assertEqual(to_bytes(item["data"]), b"before\n")
        await self.kill_launcher()
        self.assertEqual((await self.c.finish(job))["outcome"], "lost")
        await stream.result()
        late = self.c.stream("output.follow", job=job)
        self.assertEqual(b"".join(to_bytes(i["data"]) for i in await late.collect()), b"before\n")
        reply = await self.c.call("output.read", job=job, fd=1)
        self.assertEqual((to_bytes(reply["data"]), reply["eof"]), (b"before\n", True))
        reply = await self.c.call("output.read", job=job, fd=2)
        self.assertEqual((to_bytes(reply["data"]), reply["eof"]), (b"", True))

    async def test_a_signal_on_its_way_is_answered(self):
        job = await self.c.submit("sleep", "300")
        await self.phase(job)
        launcher = await self.d.launcher_pid()
        os.kill(launcher, signal.SIGSTOP)
        other = await self.d.connect()
        waiting = other.start("job.signal", {"job": job, "signal": "HUP"})
        await other.call("stats.get")
        self.assertFalse(waiting.done())
        os.kill(launcher, signal.SIGKILL)
        self.assertKind(await self.failure(waiting), "InvalidState", 1007)
        self.assertEqual((await self.c.finish(job))["outcome"], "lost")

    async def test_a_lost_job_is_run_again_where_its_spec_asks(self):
        mark = self.mark("runs")
        job = await self.c.submit(
            sh('echo "$SLOT_ATTEMPT" >>"$1"; test "$SLOT_ATTEMPT" = 2 && exit 0; exec sleep 300',
               mark.path, retries={"max": 1, "backoff_ms": 0, "on": ["lost"]}))
        await mark.line(0)
        await self.kill_launcher()
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["ok"], done["attempt"]), ("exited", True, 2))
        self.assertEqual(mark.lines(), ["1", "2"])

    async def second_attempt(self):
        """A job whose first attempt exited with 3 and whose second runs."""
        mark = self.mark("second")
        job = await self.c.submit(
            sh('test "$SLOT_ATTEMPT" = 2 || exit 3; echo x >"$1"; exec sleep 300', mark.path,
               retries={"max": 1, "backoff_ms": 1}))
        await mark.line(0)
        found = await self.c.get(job)
        self.assertEqual((found["phase"], found["attempt"], found["exit_code"]),
                         ("running", 2, None))
        return job

    async def test_a_lost_attempt_has_no_exit_code_of_an_earlier_one(self):
        job = await self.second_attempt()
        await self.kill_launcher()
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["attempt"], done["exit_code"], done["signal"]),
                         ("lost", 2, None, None))

    async def test_a_cancelled_attempt_has_no_exit_code_of_an_earlier_one(self):
        job = await self.second_attempt()
        await self.c.cancel_jobs(job)
        done = await self.c.get(job)
        self.assertEqual((done["outcome"], done["attempt"], done["exit_code"]),
                         ("cancelled", 2, None))
        self.assertIn(done["signal"], (15, "TERM"))


class Limits(Regressions):
    async def test_a_lower_limit_right_after_submits_fails_none_of_them(self):
        gates = [self.gate() for _ in range(4)]
        raw = await self.d.raw()
        await raw.send(b"".join(line("job.submit", gate.spec(), i)
                                for i, gate in enumerate(gates))
                       + line("limits.set", {"max_running": 1}, "l"))
        jobs = [(await raw.recv_id(i))["result"]["job"] for i in range(4)]
        self.assertEqual((await raw.recv_id("l"))["result"]["max_running"], 1)
        for gate in gates:
            gate.open()
        for job in jobs:
            done = await self.c.finish(job)
            self.assertEqual((done["outcome"], done["error"]), ("exited", None))

    async def test_more_than_the_launcher_holds_waits_for_it(self):
        self.d = await self.start(max_running=2, settings=["launcher.jobs=2"])
        self.c = await self.d.connect()
        await self.c.call("limits.set", max_running=5)
        gates = [self.gate() for _ in range(5)]
        jobs = [await self.c.submit(gate.spec()) for gate in gates]
        self.assertTrue((await self.c.call("stats.get"))["completed"] == 0)
        for gate in gates:
            gate.open()
        for job in jobs:
            done = await self.c.finish(job)
            self.assertEqual((done["outcome"], done["error"], done["attempt"]),
                             ("exited", None, 1))

    async def test_environments_count_as_pending_bytes(self):
        await self.c.call("limits.set", max_running=0, max_pending_bytes=2_000_000)
        for name in ("A", "B"):
            await self.c.submit("true", env=[name + "=" + "y" * 700_000])
        error = await self.c.error("job.submit", argv=["true"], env=["C=" + "y" * 700_000])
        self.assertKind(error, "QueueFull", 1003)
        # One that is kept already takes no more room.
        await self.c.submit("true", env=["A=" + "y" * 700_000])

    @limit(90)
    async def test_descriptors_of_pending_jobs_are_bounded(self):
        await self.c.run("true")
        before = self.d.fds()
        gate = self.gate()
        first = await self.c.submit(gate.spec())
        await self.phase(first)
        passer = await self.d.connect()
        null = os.open("/dev/null", os.O_RDWR)
        defaults = {"stdin": {"fd": 0}, "stdout": {"fd": 0}, "stderr": {"fd": 0},
                    "lifetime": "bound", "after": [first]}
        made = refused = 0
        try:
            for _ in range(12):
                try:
                    reply = await passer.call_with_fds(
                        [null], "job.submit_batch", jobs=[{"argv": ["true"]}] * 100,
                        defaults=defaults)
                    made += len(reply["jobs"])
                except RpcError as exc:
                    self.assertKind(exc, "LimitExceeded", 1008)
                    refused += 1
        finally:
            os.close(null)
        self.assertEqual((made, refused), (300, 9))
        self.assertLessEqual(self.d.fds(), before + 1024 + 64)
        other = await self.d.connect()
        done, out = await other.run_out("echo", "hello")
        self.assertEqual((done["ok"], out), (True, b"hello\n"))
        passer.close()
        await eventually(lambda: self.d.fds() <= before + 16, 20, "their descriptors closed")
        gate.open()

    async def test_full_of_waits_a_connection_may_still_do_what_does_not_wait(self):
        gate = self.gate()
        done = (await self.c.run("true"))["job"]
        job = await self.c.submit(gate.spec())
        victim = await self.c.submit("sleep", "300")
        waits = [self.c.start("job.result", {"job": job, "wait_ms": 600_000})
                 for _ in range(256)]
        error = await self.c.error("job.result", job=job, wait_ms=600_000)
        self.assertKind(error, "TooManyInFlight", -32002)
        results = (await self.c.call("job.cancel", jobs=[victim]))["results"]
        self.assertEqual([(r["job"], r["accepted"]) for r in results], [(victim, True)])
        more = await self.c.submit("true")
        self.assertEqual((await self.c.call("job.result", job=done, wait_ms=600_000))["job"],
                         done)
        other = await self.d.connect()
        self.assertTrue((await other.finish(more))["ok"])
        self.assertEqual((await other.finish(victim))["outcome"], "cancelled")
        self.assertFalse(any(w.done() for w in waits))
        gate.open()
        for wait in waits:
            self.assertTrue((await within(wait))["ok"])

    async def test_a_job_is_not_moved_to_a_queue_that_is_too_narrow(self):
        await self.c.call("queue.set", queue="narrow", max_running=1)
        await self.c.call("limits.set", max_running=0)
        job = await self.c.submit("true", slots=3)
        error = await self.c.error("job.set", job=job, queue="narrow")
        self.assertKind(error, "LimitExceeded", 1008)
        found = await self.c.get(job)
        self.assertEqual((found["queue"], found["phase"]), ("default", "pending"))
        await self.c.call("limits.set", max_running=4)
        self.assertTrue((await self.c.finish(job))["ok"])


class Replies(Regressions):
    async def test_a_wait_for_many_large_tags_fits_a_line_or_is_refused(self):
        jobs = []
        for _ in range(2):
            batch = [{"argv": ["true"], "tag": "x" * 4000}] * 240
            jobs += (await self.c.call("job.submit_batch", jobs=batch))["jobs"]
        jobs += [await self.c.submit("true", tag="x" * 4000) for _ in range(20)]
        for method in ("futures.wait", "futures.gather"):
            try:  # the client itself checks the length of each line
                reply = await self.c.call(method, jobs=jobs)
                self.assertEqual(len(reply.get("done") or reply["results"]), len(jobs))
            except RpcError as exc:
                self.assertKind(exc, "LimitExceeded", 1008)
        items = await self.c.stream("futures.as_completed", jobs=jobs).collect()
        self.assertEqual(sorted(i["job"] for i in items), jobs)
        self.assertTrue(all(i["tag"] == "x" * 4000 for i in items))

    async def test_a_job_whose_argv_grows_when_escaped_is_cut_to_fit_a_line(self):
        await self.c.call("limits.set", max_running=0)
        # Two bytes each in the request, six as the escape that an answer has.
        for argument, count in (("éé", 50_000), ("é" * 10, 28_000)):
            argv = ["true"] + [argument] * count
            raw = await self.d.raw()
            request = line("job.submit", {"argv": argv}, "s").replace(b"\\u00e9", "é".encode())
            self.assertLess(len(request), 1 << 20)
            await raw.send(request)
            job = (await raw.recv_id("s"))["result"]["job"]
            found = await self.c.get(job)
            self.assertIs(found["argv_truncated"], True)
            whole = [arg.encode() for arg in argv]
            shown = [to_bytes(arg) for arg in found["argv"]]
            self.assertTrue(1000 < len(shown) < len(whole), len(shown))
            self.assertEqual(shown[:-1], whole[:len(shown) - 1])
            self.assertTrue(whole[len(shown) - 1].startswith(shown[-1]))
        page = await self.c.call("job.list", limit=500)
        self.assertEqual(len(page["jobs"]), 2)
        await self.c.cancel_jobs(job)
        self.assertEqual((await self.c.call("job.result", job=job))["outcome"], "cancelled")

    @alone
    @limit(90)
    async def test_waits_of_a_client_that_does_not_read_take_no_memory(self):
        await self.c.call("limits.set", max_running=0)
        jobs = (await self.c.call("job.submit_batch", jobs=[
            {"argv": ["true"], "tag": "x" * 4000}] * 150))["jobs"]
        slow = await self.d.connect()
        await slow.call("stats.get")
        waits = [slow.start("futures.wait", {"jobs": jobs}) for _ in range(100)]

        async def waiting():
            return (await self.c.call("stats.get"))["in_flight"] >= 100
        await eventually(waiting, 20, "100 waits")
        slow.pause_reading()
        before = self.d.rss_kib()
        await self.c.cancel_jobs(*jobs)
        # All of them are due now: 60 MiB, were they written at once.
        for _ in range(20):
            await self.c.call("stats.get")
        self.assertLess(self.d.rss_kib() - before, (24 if SANITIZE else 8) * 1024)
        slow.resume_reading()
        for wait in waits:
            self.assertEqual(len((await within(wait, 40))["done"]), len(jobs))

    async def test_pipelined_requests_are_answered_in_their_order(self):
        job = (await self.c.run("true"))["job"]
        raw = await self.d.raw()
        methods = [("futures.wait", {"jobs": [job]}), ("job.get", {"job": job}),
                   ("futures.gather", {"jobs": [job]}), ("job.get", {"job": job}),
                   ("job.result", {"job": job, "wait_ms": 1000}), ("stats.get", None),
                   ("job.cancel", {"jobs": [job], "wait": True}), ("limits.get", None)]
        for _ in range(5):
            await raw.send(b"".join(line(m, p, i) for i, (m, p) in enumerate(methods)))
            got = [(await raw.recv())["id"] for _ in methods]
            self.assertEqual(got, list(range(len(methods))))

    async def test_a_timeout_with_the_window_spent_names_what_was_not_sent(self):
        gate = self.gate()
        done = [(await self.c.run("true"))["job"] for _ in range(2)]
        last = await self.c.submit(gate.spec())
        stream = self.c.stream("futures.as_completed", jobs=[*done, last], window=1,
                               timeout_ms=300)
        item = await stream.next()
        self.assertEqual(item["job"], done[0])
        error = await stream.error()
        self.assertKind(error, "Timeout", 1005, remaining=[done[1], last])
        self.assertEqual(stream.n, 1)
        stream.credit(5)  # too late, and harmless
        self.assertEqual((await self.c.get(last))["phase"], "running")
        gate.open()

    async def test_an_unknown_job_in_after_says_how_old_history_is(self):
        first = (await self.c.run("true"))["job"]
        oldest = (await self.c.run("true"))["job"]
        await self.c.call("job.forget", jobs=[first])
        for unknown in (first, 99999):
            error = await self.c.error("job.submit", argv=["true"], after=[unknown])
            self.assertKind(error, "NoSuchJob", 1001, job=unknown, oldest_job=oldest)

    async def test_an_unknown_queue_in_a_filter_is_refused(self):
        for method in ("events.subscribe", "completions.subscribe"):
            error = await self.c.stream(method, filter={"queue": "nope"}).error()
            self.assertKind(error, "InvalidParams", -32602, param="queue", path="filter.queue")
        error = await self.c.error("job.list", queue="nope")
        self.assertKind(error, "InvalidParams", -32602, param="queue")


class Ends(Regressions):
    async def test_a_retry_without_backoff_runs_at_once(self):
        mark = self.mark("runs")
        done = await self.c.run(sh('echo "$SLOT_ATTEMPT" >>"$1"; exit 1', mark.path,
                                   retries={"max": 2, "backoff_ms": 0}))
        self.assertEqual((done["outcome"], done["exit_code"], done["attempt"]), ("exited", 1, 3))
        self.assertEqual(mark.lines(), ["1", "2", "3"])
        self.assertLess(done["finished_us"] - done["submitted_us"], 15_000_000)

    async def watched(self, job):
        """output.follow and stdin.write of a pending job, on a connection of their own."""
        self.assertEqual((await self.c.get(job))["phase"], "pending")
        other = await self.d.connect()
        stream = other.stream("output.follow", job=job)
        write = other.start("stdin.write", {"job": job, "data": "x"})
        await other.call("stats.get")
        self.assertIsNone(stream.outcome)
        self.assertFalse(write.done())
        return stream, write

    async def assert_answered(self, stream, write):
        self.assertKind(await self.failure(write), "InvalidState", 1007)
        await stream.result()
        self.assertEqual(list(stream.items), [])

    async def test_what_waits_on_a_pending_job_is_answered_when_it_is_cancelled(self):
        await self.c.call("limits.set", max_running=0)
        job = await self.c.submit("cat", stdin="pipe")
        watched = await self.watched(job)
        await self.c.cancel_jobs(job)
        await self.assert_answered(*watched)

    async def test_what_waits_on_a_pending_job_is_answered_when_its_dependency_failed(self):
        gate = self.gate()
        first = await self.c.submit(gate.spec())
        job = await self.c.submit("cat", stdin="pipe", after=[first])
        watched = await self.watched(job)
        gate.open(1)
        await self.assert_answered(*watched)
        self.assertEqual((await self.c.finish(job))["outcome"], "dependency_failed")

    async def test_a_half_closed_client_that_leaves_with_unread_replies_is_gone(self):
        connections = (await self.c.call("stats.get"))["connections"]
        sock = self.d.stream_socket()
        sock.sendall(line("job.submit", {"argv": ["sleep", "300"], "lifetime": "bound"}, 1))
        await eventually(lambda: select.select([sock], [], [], 0)[0], 10, "a reply to leave")
        (job,) = [j["job"] for j in (await self.c.call("job.list"))["jobs"]]
        sock.sendall(line("futures.wait", {"jobs": [job]}, 2))
        sock.shutdown(1)
        await self.c.call("stats.get")  # two turns, in which the half-close is seen
        stats = await self.c.call("stats.get")
        self.assertEqual(stats["connections"], connections + 1)
        self.assertEqual((await self.c.get(job))["phase"], "running")
        sock.close()
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["reason"]), ("cancelled", "session_ended"))

        async def gone():
            return (await self.c.call("stats.get"))["connections"] == connections
        await eventually(gone, 10, "the connection gone")

    async def test_one_key_twice_in_a_batch_is_one_job(self):
        jobs = (await self.c.call("job.submit_batch", jobs=[
            {"argv": ["true"], "key": "k"}, {"argv": ["true"]},
            {"argv": ["true"], "key": "k"}]))["jobs"]
        self.assertEqual(jobs[0], jobs[2])
        self.assertNotEqual(jobs[0], jobs[1])
        self.assertEqual(len((await self.c.call("job.list"))["jobs"]), 2)
        again = await self.c.call("job.submit", argv=["true"], key="k")
        self.assertEqual((again["job"], again["existing"]), (jobs[0], True))

    async def test_one_key_with_two_specs_in_a_batch_is_a_conflict(self):
        error = await self.c.error("job.submit_batch", jobs=[
            {"argv": ["true"], "key": "k"}, {"argv": ["false"], "key": "k"}])
        self.assertKind(error, "KeyConflict", 1015)
        self.assertEqual((await self.c.call("job.list"))["jobs"], [])
        await self.c.run("false", key="k")

    async def test_a_known_key_is_answered_while_draining(self):
        known = await self.c.submit("true", key="k")
        await self.c.finish(known)
        gate = self.gate()
        running = await self.c.submit(gate.spec(), key="gate")
        drain = self.c.start("drain", {"mode": "finish"})
        self.assertTrue((await self.c.call("stats.get"))["draining"])
        reply = await self.c.call("job.submit", argv=["true"], key="k")
        self.assertEqual((reply["job"], reply["existing"]), (known, True))
        reply = await self.c.call("job.submit", **gate.spec(), key="gate")
        self.assertEqual((reply["job"], reply["existing"]), (running, True))
        batch = [{"argv": ["true"], "key": "k"}]
        self.assertEqual((await self.c.call("job.submit_batch", jobs=batch))["jobs"], [known])
        self.assertKind(await self.c.error("job.submit", argv=["true"], key="new"), "Draining",
                        1004)
        self.assertFalse(drain.done())
        gate.open()
        await within(drain)
        await self.c.call("drain", mode="off")
        self.assertTrue((await self.c.run("true"))["ok"])

    async def test_history_ages_without_anything_happening(self):
        self.d = await self.start(settings=["store.history_age=2s"])
        self.c = await self.d.connect()
        job = (await self.c.run("true"))["job"]

        async def pruned():  # only looks, so it is no change that makes the daemon tidy up
            return (await self.c.call("stats.get"))["history"] == 0
        await eventually(pruned, 15, "history aged")
        self.assertKind(await self.c.error("job.get", job=job), "NoSuchJob", 1001)
