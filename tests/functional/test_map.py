"""map.*: limited_as_completed over the socket, its credit counted exactly."""

import asyncio

from slottest import Case, RpcError, eventually, limit, sh


class Map(Case):
    max_running = 16

    def open(self, limit=4, client=None, **params):
        return (client or self.c).stream("map.open", limit=limit, **params)

    async def push(self, stream, *jobs):
        jobs = [job if isinstance(job, dict) else {"argv": [job]} for job in jobs]
        return (await stream.client.call("map.push", stream=stream.id, jobs=jobs))["jobs"]

    async def end(self, stream):
        return await stream.client.call("map.end", stream=stream.id)

    async def credits(self, stream, n, timeout=20):
        await stream.until(lambda: stream.credits >= n, timeout, f"credit {n}")
        self.assertEqual(stream.credits, n)

    async def test_first_comes_credit_for_the_limit(self):
        order = []
        self.c.on_message = lambda m: order.append(m)
        stream = self.open(limit=3)
        await self.credits(stream, 3)
        self.assertEqual(order[0]["method"], "$/credit")
        self.assertEqual(order[0]["params"], {"stream": stream.id, "n": 3})

    async def test_an_empty_map_ends_at_once(self):
        stream = self.open()
        self.assertEqual(await self.end(stream), {})
        self.assertEqual(await stream.result(),
                         {"submitted": 0, "ok": 0, "failed": 0, "cancelled": 0})

    async def test_results_come_in_finish_order(self):
        stream = self.open(limit=3)
        gates = [self.gate() for _ in range(3)]
        jobs = await self.push(stream, *[g.spec() for g in gates])
        await self.end(stream)
        got = []
        for index in (1, 2, 0):
            gates[index].open(index)
            got.append(await stream.next())
        self.assertEqual([i["job"] for i in got], [jobs[1], jobs[2], jobs[0]])
        self.assertEqual([i["exit_code"] for i in got], [1, 2, 0])
        self.assertEqual(await stream.result(),
                         {"submitted": 3, "ok": 1, "failed": 2, "cancelled": 0})

    async def test_a_delivered_item_returns_one_credit(self):
        stream = self.open(limit=2)
        await self.credits(stream, 2)
        gates = [self.gate() for _ in range(2)]
        await self.push(stream, *[g.spec() for g in gates])
        gates[0].open()
        await stream.next()
        await self.credits(stream, 3)
        gates[1].open()
        await stream.next()
        await self.credits(stream, 4)

    async def test_credit_exceeded_spends_nothing(self):
        stream = self.open(limit=2)
        await self.credits(stream, 2)
        error = await self.c.error("map.push", stream=stream.id, jobs=[{"argv": ["true"]}] * 3)
        self.assertKind(error, "CreditExceeded", 1012)
        gate = self.gate()
        self.assertEqual(len(await self.push(stream, gate.spec(), "true")), 2)
        await stream.next()
        await self.credits(stream, 3)
        error = await self.c.error("map.push", stream=stream.id, jobs=[{"argv": ["true"]}] * 2)
        self.assertKind(error, "CreditExceeded", 1012)
        await self.push(stream, "true")
        gate.open()
        await self.end(stream)
        self.assertEqual((await stream.result())["submitted"], 3)
        self.assertEqual(len((await self.c.call("job.list"))["jobs"]), 3)

    async def test_a_push_with_a_bad_job_is_refused_whole_and_spends_nothing(self):
        stream = self.open(limit=2)
        for bad in ({"argv": []}, {"argv": ["true"], "nope": 1},
                    {"argv": ["x"], "queue": "absent"}):
            error = await self.c.error("map.push", stream=stream.id, jobs=[{"argv": ["true"]}, bad])
            self.assertKind(error, "InvalidParams", -32602)
        await self.push(stream, "true", "true")
        await self.end(stream)
        self.assertEqual(await stream.result(),
                         {"submitted": 2, "ok": 2, "failed": 0, "cancelled": 0})

    async def test_a_push_on_no_open_map_is_refused(self):
        for number in (999, "x"):
            error = await self.c.error("map.push", stream=number, jobs=[{"argv": ["true"]}])
            self.assertIn(error.kind, ("InvalidParams", "InvalidState"))
        stream = self.open()
        await self.end(stream)
        await stream.result()
        for method, params in (("map.push", {"jobs": [{"argv": ["true"]}]}), ("map.end", {})):
            error = await self.c.error(method, stream=stream.id, **params)
            self.assertIn(error.kind, ("InvalidParams", "InvalidState"))

    async def test_a_push_after_the_end_is_refused(self):
        stream = self.open()
        gate = self.gate()
        await self.push(stream, gate.spec())
        await self.end(stream)
        error = await self.c.error("map.push", stream=stream.id, jobs=[{"argv": ["true"]}])
        self.assertIn(error.kind, ("InvalidParams", "InvalidState"))
        gate.open()
        self.assertEqual((await stream.result())["submitted"], 1)

    async def test_a_map_of_another_connection_is_unknown(self):
        stream = self.open()
        await self.credits(stream, 4)
        other = await self.d.connect()
        error = await other.error("map.push", stream=stream.id, jobs=[{"argv": ["true"]}])
        self.assertIn(error.kind, ("InvalidParams", "InvalidState"))

    async def test_limit_below_one_is_refused(self):
        for number in (0, -1):
            self.assertKind(await self.c.error("map.open", limit=number), "InvalidParams", -32602,
                            param="limit")

    async def test_defaults_apply_and_yield(self):
        stream = self.open(defaults={"cwd": "/tmp", "tag": "d"}, with_output=100)
        await self.push(stream, {"argv": ["pwd"]}, {"argv": ["pwd"], "cwd": "/", "tag": "own"})
        await self.end(stream)
        got = {i["tag"]: i["stdout"] for i in await stream.collect()}
        self.assertEqual(got, {"d": "/tmp\n", "own": "/\n"})

    async def test_with_output_brings_both_streams(self):
        stream = self.open(with_output=5)
        await self.push(stream, sh("printf 123; printf abcdefgh >&2; exit 1"))
        item = await stream.next()
        self.assertEqual(item["stdout"], "123")
        self.assertEqual(len(item["stderr"]), 5)

    async def test_an_item_never_precedes_the_reply_to_its_push(self):
        stream = self.open(limit=50)
        seen, bad = set(), []

        def look(message):
            if message.get("method") == "$/item" and message["params"]["job"] not in seen:
                bad.append(message)
            elif "jobs" in (message.get("result") or {}):
                seen.update(message["result"]["jobs"])
        self.c.on_message = look
        for _ in range(10):
            await self.push(stream, *["true"] * 5)
        await self.end(stream)
        self.assertEqual((await stream.result())["ok"], 50)
        self.assertEqual(bad, [])

    @limit(120)
    async def test_submitted_minus_consumed_never_exceeds_the_limit(self):
        bound, total = 7, 300
        stream = self.open(limit=bound)
        submitted = consumed = spent = 0
        while consumed < total:
            await stream.until(lambda: stream.items or (stream.credits > spent
                                                        and submitted < total))
            room = stream.credits - spent
            # Credit granted so far is the limit plus what the server handed over.
            self.assertLessEqual(stream.credits, bound + stream.n)
            if room and submitted < total:
                count = min(room, total - submitted, 3)
                await self.push(stream, *["true" if (submitted + k) % 3 else "false"
                                          for k in range(count)])
                spent += count
                submitted += count
                self.assertLessEqual(submitted - stream.n, bound)
            while stream.items:
                stream.items.popleft()
                consumed += 1
        await self.end(stream)
        result = await stream.result()
        self.assertEqual(result, {"submitted": 300, "ok": 200, "failed": 100, "cancelled": 0})
        stats = await self.c.call("stats.get")
        self.assertLessEqual(stats["peak_running"], bound)

    async def test_a_window_makes_the_client_say_what_it_consumed(self):
        stream = self.open(limit=4, window=2)
        await self.credits(stream, 4)
        jobs = await self.push(stream, *["true"] * 4)
        await self.c.call("futures.wait", jobs=jobs)
        await stream.until(lambda: stream.n == 2)
        await self.c.call("stats.get")
        self.assertEqual((stream.n, stream.credits), (2, 4))
        error = await self.c.error("map.push", stream=stream.id, jobs=[{"argv": ["true"]}])
        self.assertKind(error, "CreditExceeded", 1012)
        stream.credit(1)
        await stream.until(lambda: stream.n == 3)
        await self.credits(stream, 5)
        await self.push(stream, "true")
        stream.credit(2)
        await stream.until(lambda: stream.n == 5)
        await self.credits(stream, 7)
        await self.end(stream)
        self.assertEqual((await stream.result())["submitted"], 5)

    async def test_credit_for_what_was_never_sent_is_no_gain(self):
        stream = self.open(limit=2, window=2)
        await self.credits(stream, 2)
        stream.credit(1000)
        await self.c.call("stats.get")
        error = await self.c.error("map.push", stream=stream.id, jobs=[{"argv": ["true"]}] * 3)
        self.assertKind(error, "CreditExceeded", 1012)

    async def test_on_error_continue_goes_on(self):
        stream = self.open(limit=3, on_error="continue")
        await self.push(stream, "false", "/nonexistent", "true")
        await self.end(stream)
        self.assertEqual(await stream.result(),
                         {"submitted": 3, "ok": 1, "failed": 2, "cancelled": 0})

    async def test_on_error_cancel_cancels_the_rest(self):
        stream = self.open(limit=4, on_error="cancel")
        gate = self.gate()
        jobs = await self.push(stream, gate.spec(), {"argv": ["sleep", "300"]},
                               {"argv": ["sleep", "300"]})
        await self.end(stream)
        gate.open(1)
        result = await stream.result()
        self.assertEqual(result, {"submitted": 3, "ok": 0, "failed": 1, "cancelled": 2})
        self.assertEqual(sorted(i["job"] for i in stream.items), jobs)
        for job in jobs[1:]:
            self.assertEqual((await self.c.get(job))["outcome"], "cancelled")

    async def test_cancel_ends_the_stream_and_its_jobs(self):
        stream = self.open(limit=4)
        jobs = await self.push(stream, {"argv": ["sleep", "300"]}, {"argv": ["sleep", "300"]})
        stream.cancel()
        self.assertKind(await stream.error(), "RequestCancelled", -32800)
        for job in jobs:
            self.assertEqual((await self.c.finish(job))["outcome"], "cancelled")

    async def test_a_disconnect_cancels_the_jobs(self):
        other = await self.d.connect()
        stream = self.open(limit=4, client=other)
        jobs = await self.push(stream, {"argv": ["sleep", "300"]}, {"argv": ["sleep", "300"]})
        other.close()
        for job in jobs:
            done = await self.c.finish(job)
            self.assertEqual((done["outcome"], done["reason"]), ("cancelled", "session_ended"))

    async def test_a_half_close_after_the_end_lets_the_map_finish(self):
        other = await self.d.connect()
        stream = self.open(limit=4, client=other)
        gate = self.gate()
        await self.push(stream, gate.spec(), "true")
        await self.end(stream)
        other.half_close()
        gate.open()
        self.assertEqual(await stream.result(),
                         {"submitted": 2, "ok": 2, "failed": 0, "cancelled": 0})

    async def test_two_maps_on_one_connection_do_not_mix(self):
        first, second = self.open(limit=2), self.open(limit=3)
        a = await self.push(first, "true", "false")
        b = await self.push(second, "true", "true", "true")
        await self.end(first)
        await self.end(second)
        self.assertEqual(sorted(i["job"] for i in await first.collect()), a)
        self.assertEqual(sorted(i["job"] for i in await second.collect()), b)
        self.assertEqual((first.outcome["submitted"], second.outcome["ok"]), (2, 3))

    async def test_a_cancelled_job_of_a_map_is_an_item(self):
        stream = self.open(limit=2)
        (job,) = await self.push(stream, {"argv": ["sleep", "300"]})
        await self.c.cancel_jobs(job)
        item = await stream.next()
        self.assertEqual((item["job"], item["outcome"]), (job, "cancelled"))
        await self.end(stream)
        self.assertEqual(await stream.result(),
                         {"submitted": 1, "ok": 0, "failed": 0, "cancelled": 1})

    async def test_a_retried_job_returns_credit_once(self):
        stream = self.open(limit=2)
        await self.credits(stream, 2)
        await self.push(stream, sh("exit 1", retries={"max": 2, "backoff_ms": 10}))
        await stream.next()
        await self.credits(stream, 3)
        await self.end(stream)
        self.assertEqual(await stream.result(),
                         {"submitted": 1, "ok": 0, "failed": 1, "cancelled": 0})

    async def test_a_reader_that_stops_holds_only_its_own_map(self):
        slow = await self.d.connect()
        stream = self.open(limit=1000, client=slow, with_output=60000)
        await self.credits(stream, 1000)
        slow.pause_reading()
        for _ in range(2):
            slow.start("map.push", {"stream": stream.id, "jobs": [
                sh("head -c 30000 /dev/zero | tr '\\0' x")] * 100})

        async def finished():
            return (await self.c.call("stats.get"))["completed"] >= 200
        await eventually(finished, 60, "the jobs of the stopped reader")
        self.assertTrue((await self.c.run("true"))["ok"])
        slow.resume_reading()
        items = await stream.take(200, 60)
        self.assertTrue(all(len(i["stdout"]) == 30000 for i in items))
        await self.end(stream)
        self.assertEqual((await stream.result())["ok"], 200)

    async def test_cancel_while_a_push_is_on_its_way(self):
        stream = self.open(limit=4)
        await self.credits(stream, 4)
        stream.cancel()
        push = self.c.start("map.push", {"stream": stream.id, "jobs": [{"argv": ["true"]}]})
        with self.assertRaises(RpcError):
            await asyncio.wait_for(push, 20)
        self.assertKind(await stream.error(), "RequestCancelled", -32800)
