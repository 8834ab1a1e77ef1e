"""A full queue: refusal, or a held submit."""

import asyncio

from slottest import Case, RpcError, limit


class Full(Case):
    max_running = 1
    settings = ("executor.max_pending=3",)

    async def fill(self):
        """One running job behind a gate, three pending."""
        gate = self.gate()
        await self.c.submit(gate.spec())
        jobs = [await self.c.submit("true") for _ in range(3)]
        return gate, jobs

    async def test_a_full_queue_refuses_and_says_when_to_try_again(self):
        gate, jobs = await self.fill()
        error = await self.c.error("job.submit", argv=["true"])
        self.assertKind(error, "QueueFull", 1003)
        self.assertIsInstance(error.data["retry_after_ms"], int)
        self.assertGreaterEqual(error.data["retry_after_ms"], 0)
        gate.open()
        await self.c.call("futures.wait", jobs=jobs)
        self.assertTrue((await self.c.run("true"))["ok"])

    async def test_a_batch_that_does_not_fit_is_refused_whole(self):
        gate = self.gate()
        await self.c.submit(gate.spec())
        error = await self.c.error("job.submit_batch", jobs=[{"argv": ["true"]}] * 4)
        self.assertIn(error.kind, ("QueueFull", "LimitExceeded"))
        self.assertEqual(len((await self.c.call("job.list"))["jobs"]), 1)
        jobs = (await self.c.call("job.submit_batch", jobs=[{"argv": ["true"]}] * 3))["jobs"]
        gate.open()
        await self.c.call("futures.wait", jobs=jobs)

    async def test_on_full_wait_holds_the_reply(self):
        gate, jobs = await self.fill()
        held = self.c.start("job.submit", {"argv": ["true"], "on_full": "wait"})
        await self.c.call("stats.get")
        self.assertFalse(held.done())
        gate.open()
        job = (await held)["job"]
        self.assertGreater(job, jobs[-1])
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_held_submits_are_served_first_come_first_served(self):
        gate, _ = await self.fill()
        held = [self.c.start("job.submit", {"argv": ["true"], "on_full": "wait", "tag": i})
                for i in range(8)]
        await self.c.call("stats.get")
        gate.open()
        ids = [(await h)["job"] for h in held]
        self.assertEqual(ids, sorted(ids))
        items = await self.c.stream("futures.as_completed", jobs=ids).collect()
        self.assertEqual([i["tag"] for i in items], list(range(8)))

    async def test_held_submits_of_two_connections_are_served_in_order(self):
        gate, _ = await self.fill()
        other = await self.d.connect()
        held = []
        for index in range(6):
            client = (self.c, other)[index % 2]
            held.append(client.start("job.submit", {"argv": ["true"], "on_full": "wait"}))
            await client.call("stats.get")
        gate.open()
        ids = [(await h)["job"] for h in held]
        self.assertEqual(ids, sorted(ids))

    async def test_cancel_of_a_held_submit_makes_no_job(self):
        gate, jobs = await self.fill()
        held = self.c.start("job.submit", {"argv": ["true"], "on_full": "wait", "name": "held"})
        self.c.cancel(held)
        with self.assertRaises(RpcError) as caught:
            await held
        self.assertKind(caught.exception, "RequestCancelled", -32800)
        gate.open()
        await self.c.call("futures.wait", jobs=jobs)
        self.assertEqual((await self.c.call("job.list", name="held"))["jobs"], [])
        self.assertEqual(len((await self.c.call("job.list"))["jobs"]), 4)

    async def test_a_disconnect_drops_held_submits(self):
        gate, jobs = await self.fill()
        other = await self.d.connect()
        other.start("job.submit", {"argv": ["true"], "on_full": "wait", "name": "gone"})
        await other.call("stats.get")
        other.close()
        gate.open()
        await self.c.call("futures.wait", jobs=jobs)
        await self.c.run("true")
        self.assertEqual((await self.c.call("job.list", name="gone"))["jobs"], [])

    async def test_at_most_16_are_held_per_connection(self):
        gate, _ = await self.fill()
        held = [self.c.start("job.submit", {"argv": ["true"], "on_full": "wait"})
                for _ in range(16)]
        error = await self.c.error("job.submit", argv=["true"], on_full="wait")
        self.assertKind(error, "TooManyInFlight", -32002)
        other = await self.d.connect()
        more = other.start("job.submit", {"argv": ["true"], "on_full": "wait"})
        await other.call("stats.get")
        gate.open()
        for future in (*held, more):
            self.assertGreater((await future)["job"], 0)

    async def test_other_requests_go_on_while_a_submit_is_held(self):
        gate, jobs = await self.fill()
        held = self.c.start("job.submit", {"argv": ["true"], "on_full": "wait"})
        self.assertEqual((await self.c.get(jobs[0]))["phase"], "pending")
        await self.c.cancel_jobs(jobs[0])
        self.assertGreater((await held)["job"], jobs[-1])
        gate.open()

    async def test_a_held_batch(self):
        gate, _ = await self.fill()
        held = self.c.start("job.submit_batch",
                            {"jobs": [{"argv": ["true"]}] * 2, "on_full": "wait"})
        await self.c.call("stats.get")
        self.assertFalse(held.done())
        gate.open()
        self.assertEqual(len((await held)["jobs"]), 2)

    async def test_raising_max_pending_lets_held_ones_in(self):
        gate, _ = await self.fill()
        held = self.c.start("job.submit", {"argv": ["true"], "on_full": "wait"})
        await self.c.call("stats.get")
        await self.c.call("limits.set", max_pending=100)
        self.assertGreater((await held)["job"], 0)
        gate.open()

    async def test_a_map_push_waits_for_room_or_is_refused_without_losing_credit(self):
        gate, _ = await self.fill()
        stream = self.c.stream("map.open", limit=4)
        push = self.c.start("map.push", {"stream": stream.id, "jobs": [{"argv": ["true"]}] * 2})
        await self.c.call("stats.get")
        gate.open()
        try:
            await asyncio.wait_for(push, 20)
        except RpcError as exc:
            self.assertKind(exc, "QueueFull", 1003)
            await self.c.run("true", on_full="wait")
            await self.c.call("map.push", stream=stream.id, jobs=[{"argv": ["true"]}] * 2)
        await self.c.call("map.end", stream=stream.id)
        self.assertEqual((await stream.result())["ok"], 2)


class InFlight(Case):
    settings = ("client.max_in_flight=8",)

    @limit(60)
    async def test_too_many_requests_that_wait(self):
        gate = self.gate()
        job = await self.c.submit(gate.spec())
        waits = [self.c.start("futures.wait", {"jobs": [job]}) for _ in range(8)]
        error = await self.c.error("futures.wait", jobs=[job])
        self.assertKind(error, "TooManyInFlight", -32002)
        self.assertEqual((await self.c.get(job))["phase"], "running")
        other = await self.d.connect()
        ninth = other.start("futures.wait", {"jobs": [job]})
        self.c.cancel(waits[0])
        with self.assertRaises(RpcError):
            await waits[0]
        again = self.c.start("futures.wait", {"jobs": [job]})
        await self.c.call("stats.get")
        gate.open()
        for future in (*waits[1:], ninth, again):
            self.assertEqual(len((await future)["done"]), 1)

    async def test_short_requests_do_not_count(self):
        futures = [self.c.start("stats.get") for _ in range(300)]
        await asyncio.gather(*futures)
        futures = [self.c.start("job.submit", {"argv": ["true"]}) for _ in range(300)]
        await asyncio.gather(*futures)
