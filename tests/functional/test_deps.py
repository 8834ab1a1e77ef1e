"""after, delay_ms and not_before_us."""

import time

from slottest import Case, limit, scaled


class After(Case):
    async def test_a_job_waits_for_those_before_it(self):
        gates = [self.gate() for _ in range(2)]
        first = [await self.c.submit(g.spec()) for g in gates]
        last = await self.c.submit("true", after=first)
        job = await self.c.get(last)
        self.assertEqual((job["phase"], job["reason"]), ("pending", "after"))
        gates[0].open()
        await self.c.finish(first[0])
        self.assertEqual((await self.c.get(last))["phase"], "pending")
        gates[1].open()
        done = await self.c.finish(last)
        self.assertTrue(done["ok"])
        self.assertGreater(done["seq"], (await self.c.get(first[1]))["seq"])

    async def test_policy_ok_fails_with_its_dependency(self):
        gate = self.gate()
        first = await self.c.submit(gate.spec())
        second = await self.c.submit("true", after=[first])
        gate.open(1)
        job = await self.c.finish(second)
        self.assertEqual((job["outcome"], job["ok"]), ("dependency_failed", False))
        self.assertIsNone(job["started_us"])

    async def test_policy_any_runs_whatever_came_of_it(self):
        gate = self.gate()
        first = await self.c.submit(gate.spec())
        second = await self.c.submit("true", after=[first], after_policy="any")
        gate.open(1)
        self.assertTrue((await self.c.finish(second))["ok"])

    async def test_cancelled_counts_as_not_ok(self):
        gate = self.gate()
        first = await self.c.submit(gate.spec())
        strict = await self.c.submit("true", after=[first])
        loose = await self.c.submit("true", after=[first], after_policy="any")
        await self.c.cancel_jobs(first)
        self.assertEqual((await self.c.finish(strict))["outcome"], "dependency_failed")
        self.assertTrue((await self.c.finish(loose))["ok"])

    async def test_a_done_dependency_decides_at_once(self):
        good = (await self.c.run("true"))["job"]
        bad = (await self.c.run("false"))["job"]
        self.assertTrue((await self.c.run("true", after=[good]))["ok"])
        job = await self.c.run("true", after=[good, bad])
        self.assertEqual(job["outcome"], "dependency_failed")
        self.assertTrue((await self.c.run("true", after=[bad], after_policy="any"))["ok"])

    async def test_ok_codes_decide_what_ok_is(self):
        first = await self.c.submit("sh", "-c", "exit 4", ok_codes=[4])
        self.assertTrue((await self.c.run("true", after=[first]))["ok"])

    async def test_unknown_and_forgotten_ids_are_no_such_job(self):
        self.assertKind(await self.c.error("job.submit", argv=["true"], after=[77]),
                        "NoSuchJob", 1001)
        job = (await self.c.run("true"))["job"]
        await self.c.call("job.forget", jobs=[job])
        self.assertKind(await self.c.error("job.submit", argv=["true"], after=[job]),
                        "NoSuchJob", 1001)

    async def test_duplicates_count_once(self):
        gate = self.gate()
        first = await self.c.submit(gate.spec())
        second = await self.c.submit("true", after=[first, first, first])
        gate.open()
        self.assertTrue((await self.c.finish(second))["ok"])

    async def test_at_most_256_ids(self):
        jobs = (await self.c.call("job.submit_batch", jobs=[{"argv": ["true"]}] * 257))["jobs"]
        await self.c.call("futures.wait", jobs=jobs)
        self.assertTrue((await self.c.run("true", after=jobs[:256]))["ok"])
        error = await self.c.error("job.submit", argv=["true"], after=jobs)
        self.assertIn(error.kind, ("InvalidParams", "LimitExceeded"))

    async def test_minus_k_names_the_kth_job_of_the_batch(self):
        gate = self.gate()
        jobs = (await self.c.call("job.submit_batch", jobs=[
            gate.spec(), {"argv": ["true"]}, {"argv": ["true"], "after": [-1]},
            {"argv": ["true"], "after": [-3, -2]}]))["jobs"]
        self.assertTrue((await self.c.finish(jobs[1]))["ok"])
        self.assertEqual((await self.c.get(jobs[2]))["reason"], "after")
        gate.open()
        self.assertTrue((await self.c.finish(jobs[3]))["ok"])
        seqs = [(await self.c.get(j))["seq"] for j in jobs]
        self.assertLess(seqs[0], seqs[2])
        self.assertLess(seqs[2], seqs[3])

    async def test_minus_k_of_itself_a_later_one_or_outside_a_batch_is_refused(self):
        for after in ([-1], [-2], [-9], [0]):
            error = await self.c.error("job.submit_batch", jobs=[{"argv": ["true"], "after": after},
                                                                 {"argv": ["true"]}])
            self.assertIn(error.kind, ("InvalidParams", "NoSuchJob"))
        error = await self.c.error("job.submit", argv=["true"], after=[-1])
        self.assertIn(error.kind, ("InvalidParams", "NoSuchJob"))

    @limit(120)
    async def test_a_cascade_of_a_thousand(self):
        gate = self.gate()
        specs = [gate.spec()] + [{"argv": ["true"], "after": [-k]} for k in range(1, 1000)]
        jobs = (await self.c.call("job.submit_batch", jobs=specs))["jobs"]
        gate.open(1)
        items = await self.c.stream("futures.as_completed", jobs=jobs).collect()
        self.assertEqual(len(items), 1000)
        self.assertEqual({i["outcome"] for i in items[1:]}, {"dependency_failed"})

    async def test_a_fan_of_a_thousand(self):
        gate = self.gate()
        specs = [gate.spec()] + [{"argv": ["true"], "after": [-1]}] * 999
        jobs = (await self.c.call("job.submit_batch", jobs=specs))["jobs"]
        gate.open(1)
        items = await self.c.stream("futures.as_completed", jobs=jobs).collect()
        self.assertEqual({i["outcome"] for i in items[1:]}, {"dependency_failed"})

    async def test_only_the_last_attempt_releases(self):
        mark = self.mark("tries")
        first = await self.c.submit("sh", "-c",
                                    'echo x >>"$0"; [ "$SLOT_ATTEMPT" = 2 ]', mark.path,
                                    retries={"max": 2, "backoff_ms": 20})
        second = await self.c.run("true", after=[first])
        self.assertTrue(second["ok"])
        self.assertEqual(len(mark.lines()), 2)

    async def test_a_waiting_job_can_be_cancelled(self):
        gate = self.gate()
        first = await self.c.submit(gate.spec())
        second = await self.c.submit("true", after=[first])
        third = await self.c.submit("true", after=[second])
        await self.c.cancel_jobs(second)
        self.assertEqual((await self.c.finish(second))["outcome"], "cancelled")
        self.assertEqual((await self.c.finish(third))["outcome"], "dependency_failed")
        gate.open()
        await self.c.finish(first)


class Delay(Case):
    async def test_delay_holds_a_job_back(self):
        began = time.monotonic()
        job = await self.c.submit("true", delay_ms=300)
        found = await self.c.get(job)
        self.assertEqual((found["phase"], found["reason"]), ("pending", "delay"))
        self.assertTrue((await self.c.finish(job))["ok"])
        took = time.monotonic() - began
        self.assertGreaterEqual(took, 0.295)
        self.assertLess(took, scaled(2))

    async def test_not_before_holds_a_job_back_until_a_time(self):
        due = time.time_ns() // 1000 + 300_000
        done = await self.c.run("true", not_before_us=due)
        self.assertGreaterEqual(done["started_us"], due - 2000)
        self.assertTrue((await self.c.run("true", not_before_us=1))["ok"])

    async def test_both_at_once_are_refused(self):
        error = await self.c.error("job.submit", argv=["true"], delay_ms=1, not_before_us=1)
        self.assertKind(error, "InvalidParams", -32602)

    async def test_delays_end_in_order_of_their_time(self):
        delays = [1000, 200, 600, 400, 800]
        jobs = [await self.c.submit("true", delay_ms=d) for d in delays]
        started = [(await self.c.finish(job))["started_us"] for job in jobs]
        self.assertEqual([d for _, d in sorted(zip(started, delays))], sorted(delays))

    async def test_a_delayed_job_can_be_cancelled(self):
        job = await self.c.submit("true", delay_ms=3_600_000)
        await self.c.cancel_jobs(job)
        self.assertEqual((await self.c.finish(job))["outcome"], "cancelled")

    async def test_a_delayed_job_holds_nobody_up(self):
        await self.c.call("limits.set", max_running=1)
        job = await self.c.submit("true", delay_ms=3_600_000, priority=100)
        self.assertTrue((await self.c.run("true"))["ok"])
        await self.c.cancel_jobs(job)

    async def test_delay_zero_is_no_delay(self):
        self.assertTrue((await self.c.run("true", delay_ms=0))["ok"])

    async def test_delay_and_after(self):
        gate = self.gate()
        first = await self.c.submit(gate.spec())
        second = await self.c.submit("true", after=[first], delay_ms=50)
        gate.open()
        self.assertTrue((await self.c.finish(second))["ok"])
