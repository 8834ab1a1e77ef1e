"""Named queues, limits, pause, drain."""

import asyncio

from slottest import Case, RpcError, eventually


class Queues(Case):
    async def listed(self):
        return {q["queue"]: q for q in (await self.c.call("queue.list"))["queues"]}

    async def test_the_default_queue_is_there(self):
        queue = (await self.listed())["default"]
        self.assertEqual(set(queue), {"queue", "max_running", "paused", "running", "pending"})
        self.assertEqual((queue["paused"], queue["running"], queue["pending"]), (False, 0, 0))

    async def test_set_creates_and_changes(self):
        await self.c.call("queue.set", queue="build", max_running=2)
        self.assertEqual((await self.listed())["build"]["max_running"], 2)
        await self.c.call("queue.set", queue="build", max_running=3, paused=True)
        queue = (await self.listed())["build"]
        self.assertEqual((queue["max_running"], queue["paused"]), (3, True))

    async def test_a_queue_has_its_own_limit(self):
        await self.c.call("queue.set", queue="one", max_running=1)
        gates = [self.gate() for _ in range(2)]
        jobs = [await self.c.submit(g.spec(queue="one")) for g in gates]
        await self.phase(jobs[0])
        second = await self.c.get(jobs[1])
        self.assertEqual((second["phase"], second["reason"]), ("pending", "queue"))
        self.assertTrue((await self.c.run("true"))["ok"])
        queue = (await self.listed())["one"]
        self.assertEqual((queue["running"], queue["pending"]), (1, 1))
        gates[0].open()
        await self.phase(jobs[1])
        gates[1].open()
        await self.c.finish(jobs[1])

    async def test_raising_a_queues_limit_starts_jobs(self):
        await self.c.call("queue.set", queue="zero", max_running=0)
        job = await self.c.submit("true", queue="zero")
        self.assertEqual((await self.c.get(job))["phase"], "pending")
        await self.c.call("queue.set", queue="zero", max_running=1)
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_an_unknown_queue_is_invalid_params(self):
        for method, params in (("job.submit", {"argv": ["true"]}), ("queue.remove", {}),
                               ("queue.pause", {}), ("queue.resume", {}), ("job.list", {})):
            error = await self.c.error(method, queue="absent", **params)
            self.assertKind(error, "InvalidParams", -32602, param="queue")

    async def test_remove_takes_an_empty_queue_only(self):
        await self.c.call("queue.set", queue="temp", max_running=0)
        job = await self.c.submit("true", queue="temp")
        error = await self.c.error("queue.remove", queue="temp")
        self.assertIn(error.kind, ("InvalidState", "InvalidParams"))
        await self.c.cancel_jobs(job)
        await self.c.call("queue.remove", queue="temp")
        self.assertNotIn("temp", await self.listed())
        self.assertKind(await self.c.error("job.submit", argv=["true"], queue="temp"),
                        "InvalidParams", -32602, param="queue")

    async def test_the_default_queue_cannot_be_removed(self):
        await self.c.error("queue.remove", queue="default")
        self.assertIn("default", await self.listed())

    async def test_pause_and_resume_of_one_queue(self):
        await self.c.call("queue.set", queue="q", max_running=4)
        await self.c.call("queue.pause", queue="q")
        job = await self.c.submit("true", queue="q")
        found = await self.c.get(job)
        self.assertEqual((found["phase"], found["reason"]), ("pending", "paused"))
        self.assertTrue((await self.listed())["q"]["paused"])
        self.assertTrue((await self.c.run("true"))["ok"])
        await self.c.call("queue.resume", queue="q")
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_pause_and_resume_of_all(self):
        await self.c.call("queue.pause")
        job = await self.c.submit("true")
        found = await self.c.get(job)
        self.assertEqual((found["phase"], found["reason"]), ("pending", "paused"))
        await self.c.call("queue.resume")
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_pause_leaves_running_jobs_alone(self):
        gate = self.gate()
        job = await self.c.submit(gate.spec())
        await self.c.call("queue.pause")
        gate.open()
        self.assertTrue((await self.c.finish(job))["ok"])
        await self.c.call("queue.resume")

    async def test_a_bad_queue_name_is_refused(self):
        for name in ("", "a b", "x" * 300, "new\nline", "ü", "a/b"):
            error = await self.c.error("queue.set", queue=name, max_running=1)
            self.assertKind(error, "InvalidParams", -32602, param="queue")

    async def test_queues_of_the_configuration(self):
        other = await self.start(settings=["queue.conf.max_running=1"])
        client = await other.connect()
        queues = {q["queue"]: q for q in (await client.call("queue.list"))["queues"]}
        self.assertEqual(queues["conf"]["max_running"], 1)
        self.assertTrue((await client.run("true", queue="conf"))["ok"])

    async def test_a_retry_stays_where_its_job_was_moved_to(self):
        for queue in ("a", "b"):
            await self.c.call("queue.set", queue=queue, max_running=None)
        await self.c.call("limits.set", max_running=0)
        job = await self.c.submit("true", queue="a")
        await self.c.call("job.set", job=job, queue="b")
        await self.c.call("limits.set", reset=True)
        await self.c.finish(job)
        await self.c.call("queue.remove", queue="a")
        again = (await self.c.call("job.retry", job=job))["job"]
        self.assertEqual((await self.c.finish(again))["queue"], "b")


class Limits(Case):
    async def test_get_tells_what_set_changed(self):
        limits = await self.c.call("limits.get")
        self.assertEqual(limits["max_running"], 4)
        reply = await self.c.call("limits.set", max_running=2, max_pending=100)
        self.assertEqual((reply["max_running"], reply["max_pending"]), (2, 100))
        limits = await self.c.call("limits.get")
        self.assertEqual((limits["max_running"], limits["max_pending"]), (2, 100))
        self.assertEqual((await self.c.call("hello"))["limits"]["max_running"], 2)

    async def test_reset_goes_back_to_the_configuration(self):
        await self.c.call("limits.set", max_running=9, max_pending=7)
        await self.c.call("limits.set", reset=True)
        limits = await self.c.call("limits.get")
        self.assertEqual(limits["max_running"], 4)
        self.assertEqual(limits["max_pending"], 1000000)

    async def test_zero_pauses_starts(self):
        gate = self.gate()
        running = await self.c.submit(gate.spec())
        await self.c.call("limits.set", max_running=0)
        job = await self.c.submit("true")
        self.assertEqual((await self.c.get(job))["phase"], "pending")
        self.assertEqual((await self.c.get(running))["phase"], "running")
        gate.open()
        await self.c.finish(running)
        self.assertEqual((await self.c.get(job))["phase"], "pending")
        await self.c.call("limits.set", max_running=1)
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_lowering_kills_nothing(self):
        gates = [self.gate() for _ in range(4)]
        jobs = [await self.c.submit(g.spec()) for g in gates]
        await self.c.call("limits.set", max_running=1)
        for gate in gates:
            gate.open()
        reply = await self.c.call("futures.wait", jobs=jobs)
        self.assertTrue(all(d["ok"] for d in reply["done"]))

    async def test_raising_starts_jobs_at_once(self):
        await self.c.call("limits.set", max_running=0)
        gates = [self.gate() for _ in range(6)]
        jobs = [await self.c.submit(g.spec()) for g in gates]
        await self.c.call("limits.set", max_running=6)
        for job in jobs:
            await self.phase(job)
        for gate in gates:
            gate.open()
        await self.c.call("futures.wait", jobs=jobs)

    async def test_negative_limits_are_refused(self):
        for name in ("max_running", "max_pending"):
            self.assertKind(await self.c.error("limits.set", **{name: -1}), "InvalidParams",
                            -32602, param=name)


class Drain(Case):
    async def test_finish_refuses_new_jobs_and_replies_when_idle(self):
        gate = self.gate()
        await self.c.call("limits.set", max_running=1)
        jobs = [await self.c.submit(gate.spec()), await self.c.submit("true")]
        other = await self.d.connect()
        draining = other.start("drain", {"mode": "finish"})
        await other.call("stats.get")

        async def refused():
            try:
                await self.c.submit("true")
            except RpcError as exc:
                return exc
            return None
        self.assertKind(await eventually(refused, 5, "refusal"), "Draining", 1004)
        self.assertFalse(draining.done())
        gate.open()
        await asyncio.wait_for(draining, 20)
        for job in jobs:
            self.assertEqual((await self.c.get(job))["ok"], True)
        self.assertKind(await self.c.error("job.submit", argv=["true"]), "Draining", 1004)
        self.assertKind(await self.c.error("job.submit_batch", jobs=[{"argv": ["true"]}]),
                        "Draining", 1004)
        await self.c.call("drain", mode="off")
        self.assertTrue((await self.c.run("true"))["ok"])

    async def test_cancel_ends_everything(self):
        await self.c.call("limits.set", max_running=1)
        jobs = [await self.c.submit("sleep", "300"), await self.c.submit("true")]
        await self.c.call("drain", mode="cancel")
        for job in jobs:
            self.assertEqual((await self.c.get(job))["outcome"], "cancelled")
        await self.c.call("drain", mode="off")
        self.assertTrue((await self.c.run("true"))["ok"])

    async def test_of_an_idle_daemon_replies_at_once(self):
        await self.c.call("drain", mode="finish")
        self.assertTrue(self.d.alive())
        await self.c.call("drain", mode="off")

    async def test_a_mode_is_checked(self):
        self.assertKind(await self.c.error("drain", mode="later"), "InvalidParams", -32602,
                        param="mode")
