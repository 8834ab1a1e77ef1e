"""When jobs start and in which order they end."""

import asyncio
import random

from slottest import Case, alone, eventually, limit, scaled, sh

JOB = 'echo "start $SLOT_JOB" >>"$1"; sleep "$2"; echo "stop $SLOT_JOB" >>"$1"'


class LimitMoves(Case):
    """2,000 jobs of random durations while the limit goes up and down."""

    max_running = 4
    TOTAL = 2000

    def check_marks(self, rows):
        """The jobs' own marks: never more between start and stop than the limit then in force."""
        running, bound, peak = set(), self.max_running, 0
        for row in rows:
            what, value = row.split()
            if what == "limit":
                bound = int(value)
            elif what == "start":
                self.assertNotIn(value, running)
                running.add(value)
                peak = max(peak, len(running))
                self.assertLessEqual(len(running), bound, f"at start of job {value}")
            else:
                running.discard(value)
        self.assertEqual(running, set())
        return peak

    def check_events(self, events, top):
        running, peak = set(), 0
        for event in events:
            if event["phase"] == "running" and event["kind"] == "running":
                running.add(event["job"])
            elif event["phase"] == "done":
                running.discard(event["job"])
            peak = max(peak, len(running))
            self.assertLessEqual(len(running), top)
        return peak

    async def move_limit(self, trace, finished):
        """Change the limit again and again; note it in the jobs' own file when it is in force."""
        random_limit = random.Random(7)
        now = self.max_running
        while not finished():
            new = random_limit.choice([1, 2, 3, 5, 8, 12])
            if new > now:
                trace.write(f"limit {new}\n")
                trace.flush()
            await self.c.call("limits.set", max_running=new)
            if new < now:
                async def sunk():
                    return finished() or (await self.c.call("stats.get"))["running"] <= new
                await eventually(sunk, 20, "running jobs sink to the new limit")
                trace.write(f"limit {new}\n")
                trace.flush()
            now = new
            target = self.progress() + 60
            await eventually(lambda: finished() or self.progress() >= target, 60, "progress")

    @limit(300)
    async def test_limit_is_never_exceeded_and_each_job_ends_once(self):
        mark = self.mark("trace")
        trace = open(mark.path, "a", encoding="utf-8")
        watchers = [await self.d.connect() for _ in range(2)]
        streams = [w.stream("completions.subscribe") for w in watchers]
        eventer = await self.d.connect()
        events = eventer.stream("events.subscribe")
        for client in (*watchers, eventer):
            await client.call("stats.get")
        self.progress = lambda: streams[0].n
        rng = random.Random(42)
        jobs = []
        for _ in range(4):
            specs = [sh(JOB, mark.path, f"{rng.uniform(0, 0.03):.4f}")
                     for _ in range(self.TOTAL // 4)]
            jobs += (await self.c.call("job.submit_batch", jobs=specs))["jobs"]
        chosen = self.c.stream("futures.as_completed", jobs=jobs)

        def finished():
            return streams[0].n >= self.TOTAL
        mover = asyncio.ensure_future(self.move_limit(trace, finished))
        orders = []
        for stream in streams:
            items = await stream.take(self.TOTAL, 240)
            orders.append([(i["seq"], i["job"]) for i in items])
        await asyncio.wait_for(mover, scaled(60))
        trace.close()
        self.assertEqual(orders[0], orders[1])
        self.assertEqual(orders[0], sorted(orders[0]))
        self.assertEqual(len({seq for seq, _ in orders[0]}), self.TOTAL)
        self.assertEqual(sorted(job for _, job in orders[0]), sorted(jobs))
        third = [(i["seq"], i["job"]) for i in await chosen.collect()]
        self.assertEqual(third, orders[0])
        peak = self.check_marks(mark.lines())
        self.assertGreater(peak, 4)
        if not events.gaps:
            def all_told():
                return sum(e["kind"] == "done" for e in events.items) >= self.TOTAL
            await events.until(all_told, 20, "events")
            self.check_events(events.items, 12)
            done = [e["job"] for e in events.items if e["kind"] == "done"]
            self.assertEqual(sorted(done), sorted(jobs))
        stats = await self.c.call("stats.get")
        self.assertEqual((stats["running"], stats["pending"]), (0, 0))
        self.assertEqual(stats["completed"], self.TOTAL)
        self.assertLessEqual(stats["peak_running"], 12)


class Order(Case):
    max_running = 1

    async def blocked(self, client=None):
        """Take the only slot; returns the gate that gives it back."""
        gate = self.gate()
        await (client or self.c).submit(gate.spec())
        return gate

    async def finish_order(self, jobs, gate):
        stream = self.c.stream("futures.as_completed", jobs=jobs)
        gate.open()
        return [i["job"] for i in await stream.collect()]

    async def test_jobs_of_one_priority_start_first_come_first_served(self):
        gate = await self.blocked()
        jobs = [await self.c.submit("true") for _ in range(20)]
        self.assertEqual(await self.finish_order(jobs, gate), jobs)

    async def test_higher_priority_starts_first(self):
        gate = await self.blocked()
        priorities = [0, -100, 5, 100, 5, -1, 0]
        jobs = [await self.c.submit("true", priority=p) for p in priorities]
        want = [job for _, job in sorted(zip([-p for p in priorities], jobs))]
        self.assertEqual(await self.finish_order(jobs, gate), want)

    async def test_finish_order_is_seq_order(self):
        await self.c.call("limits.set", max_running=8)
        gates = [self.gate() for _ in range(5)]
        jobs = [await self.c.submit(g.spec()) for g in gates]
        for index in (3, 0, 4, 2, 1):
            gates[index].open()
            await self.c.finish(jobs[index])
        seqs = [(await self.c.get(job))["seq"] for job in jobs]
        self.assertEqual(sorted(range(5), key=lambda i: seqs[i]), [3, 0, 4, 2, 1])

    async def test_replies_keep_request_order(self):
        futures = []
        for index in range(60):
            futures.append(self.c.start(*[("job.submit", {"argv": ["true"]}),
                                          ("stats.get", {}), ("job.list", {"limit": 5}),
                                          ("limits.get", {})][index % 4]))
        order = []
        self.c.on_message = lambda m: order.append(m["id"]) if "id" in m else None
        await asyncio.gather(*futures)
        self.assertEqual(order, sorted(order))

    async def test_a_stream_item_never_precedes_the_reply_to_its_submit(self):
        await self.c.call("limits.set", max_running=8)
        seen, bad = set(), []
        stream = self.c.stream("completions.subscribe")

        def look(message):
            if message.get("method") == "$/item" and message["params"]["job"] not in seen:
                bad.append(message)
            elif "job" in (message.get("result") or {}):
                seen.add(message["result"]["job"])
        self.c.on_message = look
        futures = [self.c.start("job.submit", {"argv": ["true"]}) for _ in range(100)]
        await asyncio.gather(*futures)
        await stream.take(100)
        self.assertEqual(bad, [])


class Slots(Case):
    max_running = 4

    async def test_max_running_counts_slots(self):
        gates = [self.gate() for _ in range(3)]
        jobs = [await self.c.submit(g.spec(slots=2)) for g in gates]
        await self.phase(jobs[1])
        third = await self.c.get(jobs[2])
        self.assertEqual((third["phase"], third["reason"], third["slots"]), ("pending", "slots", 2))
        self.assertEqual((await self.c.call("stats.get"))["running"], 4)
        gates[0].open()
        await self.phase(jobs[2])
        for gate in gates[1:]:
            gate.open()
        await self.c.call("futures.wait", jobs=jobs)

    async def test_a_head_that_does_not_fit_holds_back_those_behind_it(self):
        gates = [self.gate() for _ in range(3)]
        first = await self.c.submit(gates[0].spec(slots=2))
        wide = await self.c.submit(gates[1].spec(slots=4))
        behind = await self.c.submit("true")
        reply = await self.c.get(behind)
        self.assertEqual(reply["phase"], "pending")
        gates[0].open()
        await self.c.finish(first)
        await self.phase(wide)
        self.assertEqual((await self.c.get(behind))["phase"], "pending")
        gates[1].open()
        self.assertTrue((await self.c.finish(behind))["ok"])

    async def test_a_head_of_one_queue_does_not_hold_back_another(self):
        await self.c.call("queue.set", queue="other", max_running=4)
        gate, wide_gate = self.gate(), self.gate()
        first = await self.c.submit(gate.spec(slots=2))
        wide = await self.c.submit(wide_gate.spec(slots=4))
        self.assertTrue((await self.c.run("true", queue="other"))["ok"])
        self.assertEqual((await self.c.get(wide))["phase"], "pending")
        gate.open()
        await self.phase(wide)
        wide_gate.open()
        await self.c.call("futures.wait", jobs=[first, wide])

    @limit(120)
    async def test_a_wide_job_is_not_overtaken_for_ever(self):
        await self.c.call("queue.set", queue="narrow", max_running=4)
        narrow = [await self.c.submit("sleep", "0.01", queue="narrow") for _ in range(8)]
        wide = await self.c.submit("true", slots=4)
        stop = asyncio.Event()

        async def feed():
            while not stop.is_set():
                narrow.append(await self.c.submit("sleep", "0.01", queue="narrow"))
        feeder = asyncio.ensure_future(feed())
        done = await self.c.finish(wide, 60)
        stop.set()
        await feeder
        self.assertTrue(done["ok"])

    async def test_slots_above_the_limit_are_refused(self):
        error = await self.c.error("job.submit", argv=["true"], slots=5)
        self.assertKind(error, "LimitExceeded", 1008)
        await self.c.call("queue.set", queue="small", max_running=2)
        error = await self.c.error("job.submit", argv=["true"], slots=3, queue="small")
        self.assertKind(error, "LimitExceeded", 1008)

    async def test_a_limit_of_zero_refuses_no_submit(self):
        await self.c.call("limits.set", max_running=0)
        job = await self.c.submit("true", slots=3)
        self.assertEqual((await self.c.get(job))["phase"], "pending")
        await self.c.call("limits.set", max_running=4)
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_a_job_made_impossible_by_a_lower_limit_waits_and_holds_nobody_up(self):
        gate = self.gate()
        first = await self.c.submit(gate.spec(slots=4))
        wide = await self.c.submit("true", slots=4)
        await self.c.call("limits.set", max_running=2)
        gate.open()
        await self.c.finish(first)
        self.assertTrue((await self.c.run("true"))["ok"])
        job = await self.c.get(wide)
        self.assertEqual((job["phase"], job["reason"]), ("pending", "slots"))
        await self.c.call("limits.set", max_running=4)
        self.assertTrue((await self.c.finish(wide))["ok"])


class Throughput(Case):
    max_running = 8

    @alone
    @limit(120)
    async def test_a_submit_does_not_wait_for_those_before_it(self):
        """5,000 pending jobs: a submit of high priority still runs next."""
        gate = self.gate()
        await self.c.call("limits.set", max_running=1)
        await self.c.submit(gate.spec())
        for _ in range(5):
            await self.c.call("job.submit_batch", jobs=[{"argv": ["true"]}] * 1000)
        urgent = await self.c.submit("true", priority=100)
        stream = self.c.stream("completions.subscribe")
        gate.open()
        items = await stream.take(2)
        self.assertEqual(items[1]["job"], urgent)
        await self.c.call("drain", mode="cancel")
        stats = await self.c.call("stats.get")
        self.assertEqual((stats["pending"], stats["running"]), (0, 0))
