"""completions.subscribe and events.subscribe."""

import asyncio

from slottest import Case, eventually, limit, scaled, sh


class Completions(Case):
    async def test_items_come_in_seq_order_without_loss(self):
        stream = self.c.stream("completions.subscribe")
        jobs = (await self.c.call("job.submit_batch", jobs=[{"argv": ["true"]}] * 200))["jobs"]
        items = await stream.take(200)
        seqs = [i["seq"] for i in items]
        self.assertEqual(seqs, list(range(seqs[0], seqs[0] + 200)))
        self.assertEqual(sorted(i["job"] for i in items), jobs)
        stream.cancel()
        self.assertKind(await stream.error(), "RequestCancelled", -32800)

    async def test_without_since_seq_it_begins_now(self):
        await self.c.run("true")
        stream = self.c.stream("completions.subscribe")
        job = await self.c.submit("true")
        self.assertEqual((await stream.next())["job"], job)

    async def test_since_seq_gives_what_came_later(self):
        jobs = [(await self.c.run("true"))["job"] for _ in range(5)]
        seqs = [(await self.c.get(j))["seq"] for j in jobs]
        for index in range(5):
            stream = self.c.stream("completions.subscribe", since_seq=seqs[index])
            items = await stream.take(4 - index)
            self.assertEqual([i["job"] for i in items], jobs[index + 1:])
            stream.cancel()
            await stream.error()
        stream = self.c.stream("completions.subscribe", since_seq=seqs[0] - 1)
        self.assertEqual([i["job"] for i in await stream.take(5)], jobs)
        live = await self.c.submit("true")
        self.assertEqual((await stream.next())["job"], live)

    async def test_resume_after_a_disconnect_misses_nothing(self):
        first = await self.d.connect()
        hello = await first.call("hello", protocol=[1])
        stream = first.stream("completions.subscribe", since_seq=hello["seq"])
        jobs = [await self.c.submit("true") for _ in range(10)]
        got = await stream.take(4)
        first.close()
        jobs += [await self.c.submit("true") for _ in range(10)]
        second = await self.d.connect()
        stream = second.stream("completions.subscribe", since_seq=got[-1]["seq"],
                               instance=hello["instance"])
        got += await stream.take(16)
        self.assertEqual(sorted(i["job"] for i in got), jobs)
        self.assertEqual([i["seq"] for i in got], sorted({i["seq"] for i in got}))

    async def test_another_instance_or_a_future_seq_is_history_truncated(self):
        hello = await self.c.call("hello")
        error = await self.c.stream("completions.subscribe", since_seq=0, instance="other").error()
        self.assertKind(error, "HistoryTruncated", 1009, instance=hello["instance"])
        self.assertIn("oldest", error.data)
        error = await self.c.stream("completions.subscribe", since_seq=hello["seq"] + 1000).error()
        self.assertKind(error, "HistoryTruncated", 1009, instance=hello["instance"])

    async def test_filters(self):
        await self.c.call("queue.set", queue="side", max_running=4)
        named = self.c.stream("completions.subscribe", filter={"name": "n"})
        failed = self.c.stream("completions.subscribe", filter={"ok": False})
        side = self.c.stream("completions.subscribe", filter={"queue": "side"})
        a = (await self.c.run("true", name="n"))["job"]
        b = (await self.c.run("false"))["job"]
        c = (await self.c.run("false", name="n", queue="side"))["job"]
        self.assertEqual([i["job"] for i in await named.take(2)], [a, c])
        self.assertEqual([i["job"] for i in await failed.take(2)], [b, c])
        self.assertEqual((await side.next())["job"], c)

    async def test_forgotten_jobs_are_skipped(self):
        jobs = [(await self.c.run("true"))["job"] for _ in range(4)]
        first = (await self.c.get(jobs[0]))["seq"]
        await self.c.call("job.forget", jobs=jobs[1:3])
        stream = self.c.stream("completions.subscribe", since_seq=first)
        self.assertEqual((await stream.next())["job"], jobs[3])

    async def test_window(self):
        stream = self.c.stream("completions.subscribe", window=3)
        jobs = [await self.c.submit("true") for _ in range(8)]
        await self.c.call("futures.wait", jobs=jobs)
        await stream.until(lambda: stream.n == 3)
        await self.c.call("stats.get")
        self.assertEqual(stream.n, 3)
        stream.credit(2)
        await stream.until(lambda: stream.n == 5)
        await self.c.call("stats.get")
        self.assertEqual(stream.n, 5)
        stream.credit(100)
        await stream.until(lambda: stream.n == 8)

    async def test_with_output(self):
        stream = self.c.stream("completions.subscribe", with_output=64)
        await self.c.submit(sh("echo out; echo err >&2"))
        item = await stream.next()
        self.assertEqual((item["stdout"], item["stderr"]), ("out\n", "err\n"))

    @limit(120)
    async def test_a_reader_that_stops_gets_all_of_it_later_and_stalls_nobody(self):
        slow = await self.d.connect()
        stream = slow.stream("completions.subscribe")
        await slow.call("stats.get")
        slow.pause_reading()
        before = self.d.rss_kib()
        jobs = []
        tag = "x" * 3000
        for _ in range(10):
            jobs += (await self.c.call("job.submit_batch", jobs=[{"argv": ["true"]}] * 100,
                                       defaults={"tag": tag}))["jobs"]
        items = await self.c.stream("futures.as_completed", jobs=jobs).collect()
        self.assertEqual(len(items), 1000)
        self.assertTrue((await self.c.run("true"))["ok"])
        self.assertLess(self.d.rss_kib() - before, scaled(20 * 1024))
        slow.resume_reading()
        got = await stream.take(1000, 60)
        self.assertEqual([i["job"] for i in got], [i["job"] for i in items])

    async def test_history_that_was_pruned_is_truncated_never_silent(self):
        small = await self.start(settings=["store.history_jobs=20"])
        client = await small.connect()
        instance = (await client.call("hello"))["instance"]
        for _ in range(3):
            jobs = (await client.call("job.submit_batch", jobs=[{"argv": ["true"]}] * 20))["jobs"]
            await client.call("futures.wait", jobs=jobs)

        async def pruned():  # and at rest: what is oldest doesn't move any more
            return (await client.call("stats.get"))["history"] == 20
        await eventually(pruned, 15, "history pruned")

        async def truncated():
            stream = client.stream("completions.subscribe", since_seq=0, instance=instance)
            probe = asyncio.ensure_future(stream.next(2))
            try:
                await probe
            except AssertionError:
                return None
            except Exception as exc:
                return exc
            stream.cancel()
            return None
        error = await eventually(truncated, 15, "history pruned")
        self.assertKind(error, "HistoryTruncated", 1009, instance=instance)
        oldest = error.data["oldest"]
        stream = client.stream("completions.subscribe", since_seq=oldest - 1, instance=instance)
        self.assertEqual((await stream.next())["seq"], oldest)


class Events(Case):
    max_running = 1

    async def test_phase_changes_of_one_job(self):
        stream = self.c.stream("events.subscribe")
        gate = self.gate()
        first = await self.c.submit(gate.spec())
        second = await self.c.submit("true", name="second")
        gate.open()
        await self.c.finish(second)
        await stream.until(lambda: sum(i["kind"] == "done" for i in stream.items) == 2)
        of_second = [i for i in stream.items if i["job"] == second]
        self.assertEqual([i["kind"] for i in of_second], ["submitted", "running", "done"])
        self.assertEqual([i["phase"] for i in of_second], ["pending", "running", "done"])
        done = of_second[-1]
        self.assertEqual((done["outcome"], done["ok"], done["exit_code"]), ("exited", True, 0))
        order = [(i["job"], i["kind"]) for i in stream.items]
        self.assertLess(order.index((first, "done")), order.index((second, "running")))

    async def test_kinds_and_filter(self):
        only = self.c.stream("events.subscribe", kinds=["done"])
        named = self.c.stream("events.subscribe", filter={"name": "n"})
        await self.c.run("true")
        job = (await self.c.run("true", name="n"))["job"]
        self.assertEqual([i["kind"] for i in await only.take(2)], ["done", "done"])
        items = await named.take(3)
        self.assertEqual({i["job"] for i in items}, {job})

    async def test_cancel_ends_it(self):
        stream = self.c.stream("events.subscribe")
        stream.cancel()
        self.assertKind(await stream.error(), "RequestCancelled", -32800)

    @limit(120)
    async def test_a_slow_subscriber_gets_a_gap_or_everything(self):
        slow = await self.d.connect()
        await self.c.call("limits.set", max_running=8)
        stream = slow.stream("events.subscribe")
        await slow.call("stats.get")
        slow.pause_reading()
        for _ in range(4):
            jobs = (await self.c.call("job.submit_batch", jobs=[
                {"argv": ["true"], "tag": "y" * 3000}] * 200))["jobs"]
            await self.c.call("futures.wait", jobs=jobs)
        slow.resume_reading()

        def last_told():
            return any(i["job"] == jobs[-1] and i["kind"] == "done" for i in stream.items)
        await stream.until(lambda: last_told() or stream.gaps, 30, "gap or the last event")
        if stream.gaps:
            self.assertGreater(stream.gaps[0]["dropped"], 0)
            self.assertIn("resume", stream.gaps[0])
        else:
            self.assertEqual(len(stream.items), 3 * 800)
        after = await self.c.submit("true")
        await stream.until(lambda: any(i["job"] == after for i in stream.items), 20, "later event")
