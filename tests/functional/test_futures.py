"""The futures.* methods against asyncio itself.

Each scenario is one coroutine that runs twice: over asyncio futures, and over jobs that end
when told to.  What it returns must be equal.  The scenarios follow CPython's tests of
as_completed, wait and gather as far as they make sense over a socket.
"""

import asyncio

from slottest import Case, Closed, RpcError, eventually, limit, sh


class Failure(Exception):
    """What a failed future of the oracle holds."""


class Oracle:
    """asyncio."""

    def __init__(self, count):
        loop = asyncio.get_running_loop()
        self.futures = [loop.create_future() for _ in range(count)]

    def _indexes(self, futures):
        return sorted(self.futures.index(f) for f in futures)

    async def settle(self, index, how):
        future = self.futures[index]
        if how == "ok":
            future.set_result(index)
        elif how == "fail":
            future.set_exception(Failure(index))
        else:
            future.cancel()
        for _ in range(4):
            await asyncio.sleep(0)

    async def as_completed(self, indexes, timeout, got):
        """Fills got with (index, ok); gives what remained at a timeout, else None."""
        chosen = [self.futures[i] for i in indexes]
        try:
            for step in asyncio.as_completed(chosen, timeout=timeout):
                try:
                    got.append((await step, True))
                except Failure as exc:
                    got.append((exc.args[0], False))
        except asyncio.TimeoutError:
            seen = {index for index, _ in got}
            return sorted(set(indexes) - seen)
        return None

    async def wait(self, indexes, when, timeout=None):
        chosen = {self.futures[i] for i in indexes}
        done, pending = await asyncio.wait(chosen, return_when=when, timeout=timeout)
        return self._indexes(done), self._indexes(pending)

    async def gather(self, indexes, return_exceptions=False):
        chosen = [self.futures[i] for i in indexes]
        try:
            values = await asyncio.gather(*chosen, return_exceptions=return_exceptions)
        except Failure as exc:
            return "failed", exc.args[0]
        except asyncio.CancelledError:
            return "cancelled", None
        return "results", [(v, "ok") if isinstance(v, int) else
                           (v.args[0], "fail") if isinstance(v, Failure) else
                           (None, "cancel") for v in values]

    def done(self, index):
        return self.futures[index].done()

    def close(self):
        for future in self.futures:
            if future.done() and not future.cancelled():
                future.exception()
            future.cancel()


class Jobs:
    """The daemon."""

    def __init__(self, case, jobs, gates):
        self.case, self.c, self.jobs, self.gates = case, case.c, jobs, gates

    @classmethod
    async def make(cls, case, count):
        gates = [case.gate() for _ in range(count)]
        jobs = [await case.c.submit(g.spec(ok_codes=[0])) for g in gates]
        return cls(case, jobs, gates)

    async def settle(self, index, how):
        if how == "cancel":
            await self.c.cancel_jobs(self.jobs[index])
        else:
            self.gates[index].open(0 if how == "ok" else 7)
        await self.c.finish(self.jobs[index])

    async def as_completed(self, indexes, timeout, got):
        params = {"jobs": [self.jobs[i] for i in indexes]}
        if timeout is not None:
            params["timeout_ms"] = int(timeout * 1000)
        stream = self.c.stream("futures.as_completed", **params)
        try:
            async for item in stream:
                got.append((self.jobs.index(item["job"]), item["ok"]))
        except RpcError as exc:
            self.case.assertKind(exc, "Timeout", 1005)
            return sorted(self.jobs.index(j) for j in exc.data["remaining"])
        self.case.assertEqual(stream.outcome, {"done": len(got)})
        return None

    async def wait(self, indexes, when, timeout=None):
        params = {"jobs": [self.jobs[i] for i in indexes], "return_when": when}
        if timeout is not None:
            params["timeout_ms"] = int(timeout * 1000)
        reply = await self.c.call("futures.wait", **params)
        self.case.assertEqual(set(reply), {"done", "pending"})
        return (sorted(self.jobs.index(d["job"]) for d in reply["done"]),
                sorted(self.jobs.index(j) for j in reply["pending"]))

    async def gather(self, indexes, return_exceptions=False):
        try:
            reply = await self.c.call("futures.gather", jobs=[self.jobs[i] for i in indexes],
                                      return_exceptions=return_exceptions)
        except RpcError as exc:
            if exc.kind == "JobFailed":
                self.case.assertEqual(exc.code, 1013)
                index = self.jobs.index(exc.data["job"])
                self.case.assertEqual(indexes[exc.data["index"]], index)
                self.case.assertEqual(exc.data["outcome"], "exited")
                self.case.assertEqual(exc.data["exit_code"], 7)
                return "failed", index
            self.case.assertKind(exc, "JobCancelled", 1014)
            return "cancelled", None
        return "results", [(None if r["outcome"] == "cancelled" else self.jobs.index(r["job"]),
                            "ok" if r["ok"] else
                            "cancel" if r["outcome"] == "cancelled" else "fail")
                           for r in reply["results"]]

    async def close(self):
        await self.c.cancel_jobs(*self.jobs, grace_ms=0)


class AgainstAsyncio(Case):
    max_running = 16

    async def both(self, count, scenario):
        """Run the scenario over asyncio and over slotd; both must tell the same."""
        oracle = Oracle(count)
        want = await scenario(oracle)
        oracle.close()
        jobs = await Jobs.make(self, count)
        got = await scenario(jobs)
        self.assertEqual(got, want)
        await jobs.close()
        return want

    # -- as_completed --------------------------------------------------------------------

    async def consume(self, b, indexes, settles, timeout=None):
        """Settle one by one, each seen by the consumer before the next."""
        got = []
        task = asyncio.ensure_future(b.as_completed(indexes, timeout, got))
        await asyncio.sleep(0)
        for index, how in settles:
            before = len(got)
            await b.settle(index, how)
            if index in indexes and not task.done():
                await eventually(lambda: len(got) > before or task.done(), 10, "item")
        remaining = await asyncio.wait_for(task, 30)
        return got, remaining

    async def test_as_completed_yields_in_order_of_finish(self):
        async def scenario(b):
            return await self.consume(b, [0, 1, 2, 3],
                                      [(2, "ok"), (0, "ok"), (3, "ok"), (1, "ok")])
        self.assertEqual((await self.both(4, scenario))[0],
                         [(2, True), (0, True), (3, True), (1, True)])

    async def test_as_completed_delivers_a_failure_as_an_item(self):
        async def scenario(b):
            return await self.consume(b, [0, 1, 2], [(2, "ok"), (1, "fail"), (0, "ok")])
        await self.both(3, scenario)

    async def test_as_completed_gives_done_ones_first(self):
        async def scenario(b):
            await b.settle(3, "ok")
            return await self.consume(b, [0, 1, 2, 3], [(1, "ok"), (0, "fail"), (2, "ok")])
        self.assertEqual((await self.both(4, scenario))[0][0], (3, True))

    async def test_as_completed_when_all_are_done(self):
        async def scenario(b):
            for index in (0, 1, 2):
                await b.settle(index, "ok")
            got, remaining = await self.consume(b, [0, 1, 2], [])
            return sorted(got), remaining
        await self.both(3, scenario)

    async def test_as_completed_counts_duplicates_once(self):
        async def scenario(b):
            return await self.consume(b, [0, 1, 0, 1, 1], [(1, "ok"), (0, "ok")])
        self.assertEqual(len((await self.both(2, scenario))[0]), 2)

    async def test_as_completed_times_out_with_what_remains(self):
        async def scenario(b):
            await b.settle(1, "ok")
            return await self.consume(b, [0, 1, 2], [], timeout=0.25)
        self.assertEqual(await self.both(3, scenario), ([(1, True)], [0, 2]))

    async def test_as_completed_with_a_timeout_that_is_not_reached(self):
        async def scenario(b):
            return await self.consume(b, [0, 1], [(1, "ok"), (0, "ok")], timeout=60)
        await self.both(2, scenario)

    async def test_two_as_completed_over_the_same_futures(self):
        async def scenario(b):
            first, second = [], []
            tasks = [asyncio.ensure_future(b.as_completed([0, 1, 2], None, first)),
                     asyncio.ensure_future(b.as_completed([2, 1], None, second))]
            await asyncio.sleep(0)
            for index in (1, 0, 2):
                await b.settle(index, "ok")
            await asyncio.wait_for(asyncio.gather(*tasks), 30)
            return first, second
        await self.both(3, scenario)

    # -- wait ----------------------------------------------------------------------------

    async def waiting(self, b, indexes, when, settles, timeout=None):
        task = asyncio.ensure_future(b.wait(indexes, when, timeout))
        for _ in range(4):
            await asyncio.sleep(0)
        for index, how in settles:
            await b.settle(index, how)
        return await asyncio.wait_for(task, 30)

    async def test_wait_all_completed(self):
        async def scenario(b):
            return await self.waiting(b, [0, 1, 2], "ALL_COMPLETED",
                                      [(1, "fail"), (0, "ok"), (2, "cancel")])
        self.assertEqual(await self.both(3, scenario), ([0, 1, 2], []))

    async def test_wait_first_completed(self):
        async def scenario(b):
            return await self.waiting(b, [0, 1, 2], "FIRST_COMPLETED", [(1, "ok")])
        self.assertEqual(await self.both(3, scenario), ([1], [0, 2]))

    async def test_wait_first_completed_by_a_failure(self):
        async def scenario(b):
            return await self.waiting(b, [0, 1], "FIRST_COMPLETED", [(0, "fail")])
        await self.both(2, scenario)

    async def test_wait_first_completed_by_a_cancel(self):
        async def scenario(b):
            return await self.waiting(b, [0, 1], "FIRST_COMPLETED", [(0, "cancel")])
        await self.both(2, scenario)

    async def test_wait_first_completed_with_some_done_already(self):
        async def scenario(b):
            await b.settle(0, "ok")
            await b.settle(2, "fail")
            return await self.waiting(b, [0, 1, 2, 3], "FIRST_COMPLETED", [])
        self.assertEqual(await self.both(4, scenario), ([0, 2], [1, 3]))

    async def test_wait_first_exception(self):
        async def scenario(b):
            return await self.waiting(b, [0, 1, 2, 3], "FIRST_EXCEPTION",
                                      [(3, "ok"), (1, "fail")])
        self.assertEqual(await self.both(4, scenario), ([1, 3], [0, 2]))

    async def test_wait_first_exception_is_not_tripped_by_a_cancel(self):
        async def scenario(b):
            return await self.waiting(b, [0, 1, 2], "FIRST_EXCEPTION",
                                      [(0, "cancel"), (1, "fail")])
        self.assertEqual(await self.both(3, scenario), ([0, 1], [2]))

    async def test_wait_first_exception_with_none(self):
        async def scenario(b):
            return await self.waiting(b, [0, 1, 2], "FIRST_EXCEPTION",
                                      [(0, "ok"), (1, "cancel"), (2, "ok")])
        self.assertEqual(await self.both(3, scenario), ([0, 1, 2], []))

    async def test_wait_first_exception_that_happened_before(self):
        async def scenario(b):
            await b.settle(1, "fail")
            return await self.waiting(b, [0, 1, 2], "FIRST_EXCEPTION", [])
        self.assertEqual(await self.both(3, scenario), ([1], [0, 2]))

    async def test_wait_first_exception_with_one_cancelled_before(self):
        async def scenario(b):
            await b.settle(1, "cancel")
            return await self.waiting(b, [0, 1, 2], "FIRST_EXCEPTION", [(2, "fail")])
        self.assertEqual(await self.both(3, scenario), ([1, 2], [0]))

    async def test_wait_timeout_is_no_error(self):
        async def scenario(b):
            await b.settle(0, "ok")
            return await self.waiting(b, [0, 1], "ALL_COMPLETED", [], timeout=0.1)
        self.assertEqual(await self.both(2, scenario), ([0], [1]))

    async def test_wait_timeout_with_nothing_done(self):
        async def scenario(b):
            return await self.waiting(b, [0, 1], "FIRST_COMPLETED", [], timeout=0.05)
        self.assertEqual(await self.both(2, scenario), ([], [0, 1]))

    async def test_wait_timeout_zero_only_looks(self):
        async def scenario(b):
            await b.settle(1, "ok")
            return await self.waiting(b, [0, 1], "ALL_COMPLETED", [], timeout=0)
        self.assertEqual(await self.both(2, scenario), ([1], [0]))

    async def test_wait_counts_duplicates_once(self):
        async def scenario(b):
            await b.settle(1, "ok")
            return await self.waiting(b, [0, 1, 1, 0, 1], "FIRST_COMPLETED", [])
        self.assertEqual(await self.both(2, scenario), ([1], [0]))

    async def test_wait_all_done_before(self):
        async def scenario(b):
            await b.settle(0, "ok")
            await b.settle(1, "fail")
            found = []
            for when in ("ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"):
                found.append(await b.wait([0, 1], when))
            return found
        await self.both(2, scenario)

    async def test_loop_over_wait_first_completed(self):
        async def scenario(b):
            order, left = [], [0, 1, 2, 3]
            settles = iter([(2, "ok"), (0, "fail"), (3, "ok"), (1, "ok")])
            while left:
                done, left = await self.waiting(b, left, "FIRST_COMPLETED", [next(settles)])
                order.append(done)
            return order
        self.assertEqual(await self.both(4, scenario), [[2], [0], [3], [1]])

    # -- gather --------------------------------------------------------------------------

    async def gathering(self, b, indexes, settles, return_exceptions=False):
        task = asyncio.ensure_future(b.gather(indexes, return_exceptions))
        for _ in range(4):
            await asyncio.sleep(0)
        for index, how in settles:
            await b.settle(index, how)
        return await asyncio.wait_for(task, 30)

    async def test_gather_keeps_the_order_given(self):
        async def scenario(b):
            return await self.gathering(b, [2, 0, 1], [(1, "ok"), (2, "ok"), (0, "ok")])
        self.assertEqual(await self.both(3, scenario),
                         ("results", [(2, "ok"), (0, "ok"), (1, "ok")]))

    async def test_gather_repeats_duplicates(self):
        async def scenario(b):
            return await self.gathering(b, [0, 1, 0, 0], [(1, "ok"), (0, "ok")])
        self.assertEqual(len((await self.both(2, scenario))[1]), 4)

    async def test_gather_fails_with_the_first_failure_and_leaves_the_rest_running(self):
        async def scenario(b):
            found = await self.gathering(b, [0, 1, 2], [(2, "ok"), (1, "fail")])
            rest = await b.wait([0], "ALL_COMPLETED", 0)
            await b.settle(0, "ok")
            return found, rest
        self.assertEqual(await self.both(3, scenario), (("failed", 1), ([], [0])))

    async def test_gather_fails_with_the_first_to_finish_not_the_first_in_the_list(self):
        async def scenario(b):
            return await self.gathering(b, [0, 1, 2], [(2, "fail"), (0, "fail")])
        self.assertEqual(await self.both(3, scenario), ("failed", 2))

    async def test_gather_over_failures_of_the_past_takes_the_first_in_the_list(self):
        async def scenario(b):
            for index in (2, 1, 0):
                await b.settle(index, "ok" if index == 0 else "fail")
            return await self.gathering(b, [0, 1, 2], [])
        self.assertEqual(await self.both(3, scenario), ("failed", 1))

    async def test_gather_return_exceptions(self):
        async def scenario(b):
            return await self.gathering(b, [0, 1, 2, 3], [(3, "fail"), (1, "ok"), (0, "cancel"),
                                                          (2, "ok")], True)
        self.assertEqual(await self.both(4, scenario),
                         ("results", [(None, "cancel"), (1, "ok"), (2, "ok"), (3, "fail")]))

    async def test_gather_with_a_cancelled_member(self):
        async def scenario(b):
            return await self.gathering(b, [0, 1], [(0, "ok"), (1, "cancel")])
        self.assertEqual(await self.both(2, scenario), ("cancelled", None))

    async def test_gather_of_done_futures(self):
        async def scenario(b):
            await b.settle(1, "ok")
            await b.settle(0, "ok")
            return await self.gathering(b, [0, 1], [])
        await self.both(2, scenario)


class OverASocket(Case):
    """What asyncio has no word for: requests, connections, ids."""

    max_running = 16

    async def jobs(self, count):
        gates = [self.gate() for _ in range(count)]
        return gates, [await self.c.submit(g.spec()) for g in gates]

    async def test_an_empty_list_is_refused(self):
        for method in ("futures.as_completed", "futures.wait", "futures.gather"):
            error = await self.c.error(method, jobs=[])
            self.assertKind(error, "InvalidParams", -32602, param="jobs")

    async def test_a_single_id_in_place_of_a_list_is_refused(self):
        job = await self.c.submit("true")
        for method in ("futures.as_completed", "futures.wait", "futures.gather"):
            self.assertKind(await self.c.error(method, jobs=job), "InvalidParams", -32602,
                            param="jobs")

    async def test_an_unknown_id_refuses_the_whole_request(self):
        job = (await self.c.run("true"))["job"]
        for method in ("futures.as_completed", "futures.wait", "futures.gather"):
            self.assertKind(await self.c.error(method, jobs=[job, 4711]), "NoSuchJob", 1001)

    async def test_return_when_is_checked(self):
        job = await self.c.submit("true")
        error = await self.c.error("futures.wait", jobs=[job], return_when="SOMETIME")
        self.assertKind(error, "InvalidParams", -32602, param="return_when")

    async def test_wait_and_gather_take_at_most_2048_ids(self):
        jobs = (await self.c.call("job.submit_batch", jobs=[{"argv": ["true"]}] * 1024))["jobs"]
        reply = await self.c.call("futures.wait", jobs=jobs * 2)
        self.assertEqual(len(reply["done"]), 1024)
        for method in ("futures.wait", "futures.gather"):
            error = await self.c.error(method, jobs=jobs * 2 + jobs[:1])
            self.assertIn(error.kind, ("InvalidParams", "LimitExceeded"))

    async def test_after_a_timeout_nothing_more_is_delivered(self):
        gates, jobs = await self.jobs(3)
        gates[1].open()
        stream = self.c.stream("futures.as_completed", jobs=jobs, timeout_ms=200)
        error = await stream.error()
        self.assertKind(error, "Timeout", 1005)
        self.assertEqual(sorted(error.data["remaining"]), [jobs[0], jobs[2]])
        self.assertEqual([i["job"] for i in stream.items], [jobs[1]])
        gates[0].open()
        gates[2].open()
        # The client fails the test when an item follows the end of its stream.
        again = self.c.stream("futures.as_completed", jobs=error.data["remaining"])
        self.assertEqual(sorted(i["job"] for i in await again.collect()), [jobs[0], jobs[2]])
        await self.c.call("stats.get")
        self.assertEqual(stream.n, 1)

    async def test_cancel_of_as_completed_leaves_the_jobs_alone(self):
        gates, jobs = await self.jobs(2)
        stream = self.c.stream("futures.as_completed", jobs=jobs)
        gates[0].open()
        await stream.next()
        stream.cancel()
        self.assertKind(await stream.error(), "RequestCancelled", -32800)
        self.assertEqual((await self.c.get(jobs[1]))["phase"], "running")
        gates[1].open()
        self.assertTrue((await self.c.finish(jobs[1]))["ok"])

    async def test_cancel_of_wait_leaves_the_jobs_alone(self):
        gates, jobs = await self.jobs(1)
        waiting = self.c.start("futures.wait", {"jobs": jobs})
        self.c.cancel(waiting)
        with self.assertRaises(RpcError) as caught:
            await waiting
        self.assertKind(caught.exception, "RequestCancelled", -32800)
        self.assertEqual((await self.c.get(jobs[0]))["phase"], "running")
        gates[0].open()
        self.assertTrue((await self.c.finish(jobs[0]))["ok"])

    async def test_cancel_of_gather_cancels_its_jobs(self):
        gates, jobs = await self.jobs(3)
        gates[0].open()
        await self.c.finish(jobs[0])
        gathering = self.c.start("futures.gather", {"jobs": jobs})
        self.c.cancel(gathering)
        with self.assertRaises(RpcError) as caught:
            await gathering
        self.assertKind(caught.exception, "RequestCancelled", -32800)
        self.assertEqual((await self.c.get(jobs[0]))["outcome"], "exited")
        for job in jobs[1:]:
            self.assertEqual((await self.c.finish(job))["outcome"], "cancelled")

    async def test_closing_the_connection_of_a_gather_cancels_nothing(self):
        gates, jobs = await self.jobs(1)
        other = await self.d.connect()
        other.start("futures.gather", {"jobs": jobs})
        await other.call("stats.get")
        other.close()
        await self.c.run("true")
        self.assertEqual((await self.c.get(jobs[0]))["phase"], "running")
        gates[0].open()
        self.assertTrue((await self.c.finish(jobs[0]))["ok"])

    async def test_cancel_of_an_unknown_request_is_ignored(self):
        self.c.notify("$/cancel", id=123456)
        self.c.notify("$/cancel", id="never")
        self.assertTrue((await self.c.run("true"))["ok"])

    async def test_a_window_holds_items_back_until_credit_comes(self):
        jobs = [await self.c.submit("true") for _ in range(6)]
        await self.c.call("futures.wait", jobs=jobs)
        stream = self.c.stream("futures.as_completed", jobs=jobs, window=2)
        await stream.until(lambda: stream.n == 2)
        await self.c.run("true")
        self.assertEqual((stream.n, stream.outcome), (2, None))
        stream.credit(3)
        await stream.until(lambda: stream.n == 5)
        await self.c.run("true")
        self.assertEqual((stream.n, stream.outcome), (5, None))
        stream.credit(1)
        self.assertEqual(await stream.result(), {"done": 6})

    async def test_completions_have_the_documented_members(self):
        jobs = [(await self.c.run(sh("echo out; echo err >&2; exit 2"), tag="t"))["job"]]
        bare = {"job", "seq", "ok", "outcome", "exit_code", "signal", "tag"}
        (item,) = await self.c.stream("futures.as_completed", jobs=jobs).collect()
        self.assertEqual(set(item), bare | {"stream", "n"})
        self.assertEqual((item["job"], item["ok"], item["outcome"], item["exit_code"],
                          item["signal"], item["tag"]), (jobs[0], False, "exited", 2, None, "t"))
        reply = await self.c.call("futures.wait", jobs=jobs)
        self.assertEqual(set(reply["done"][0]), bare)
        reply = await self.c.call("futures.gather", jobs=jobs, return_exceptions=True,
                                  with_output=100)
        self.assertEqual(set(reply["results"][0]), bare | {"stdout", "stderr"})
        self.assertEqual(reply["results"][0]["stdout"], "out\n")
        self.assertEqual(reply["results"][0]["stderr"], "err\n")

    async def test_with_output_is_cut_at_its_length(self):
        job = (await self.c.run("printf", "0123456789"))["job"]
        (item,) = await self.c.stream("futures.as_completed", jobs=[job], with_output=4).collect()
        self.assertIn(item["stdout"], ("0123", "6789"))
        error = await self.c.error("futures.wait", jobs=[job], with_output=65537)
        self.assertIn(error.kind, ("InvalidParams", "LimitExceeded"))

    async def test_job_failed_carries_the_completion(self):
        job = await self.c.submit(sh("exit 9"), tag=[7])
        error = await self.c.error("futures.gather", jobs=[job])
        self.assertKind(error, "JobFailed", 1013, index=0, job=job, ok=False, outcome="exited",
                        exit_code=9, tag=[7])

    @limit(120)
    async def test_a_thousand_jobs_come_in_seq_order(self):
        await self.c.call("limits.set", max_running=8)
        jobs = []
        for _ in range(2):
            jobs += (await self.c.call("job.submit_batch",
                                       jobs=[{"argv": ["true"]}] * 500))["jobs"]
        items = await self.c.stream("futures.as_completed", jobs=jobs).collect(100)
        self.assertEqual(sorted(i["job"] for i in items), jobs)
        seqs = [i["seq"] for i in items]
        self.assertEqual(seqs, sorted(set(seqs)))

    async def test_job_states_as_a_future(self):
        gates, (job,) = await self.jobs(1)
        self.assertKind(await self.c.error("job.result", job=job), "InvalidState", 1007)
        gates[0].open()
        self.assertTrue((await self.c.finish(job))["ok"])
        self.assertEqual((await self.c.call("job.result", job=job))["phase"], "done")

    async def test_requests_end_with_the_connection(self):
        gates, jobs = await self.jobs(1)
        other = await self.d.connect()
        waiting = other.start("futures.wait", {"jobs": jobs})
        other.close()
        with self.assertRaises(Closed):
            await waiting
        gates[0].open()
        await self.c.finish(jobs[0])

    async def test_half_close_still_answers(self):
        gates, jobs = await self.jobs(2)
        other = await self.d.connect()
        stream = other.stream("futures.as_completed", jobs=jobs)
        waiting = other.start("futures.wait", {"jobs": jobs})
        other.half_close()
        gates[0].open()
        await stream.next()
        gates[1].open()
        self.assertEqual(await stream.result(), {"done": 2})
        self.assertEqual(len((await waiting)["done"]), 2)
        await asyncio.wait_for(asyncio.shield(other.eof), 20)


class Pinned(Case):
    """A completion that an open request names is not pruned."""

    max_running = 8
    settings = ("store.history_jobs=5",)

    async def others_push_it_out(self):
        before = (await self.c.call("stats.get"))["completed"]
        await self.c.call("job.submit_batch", jobs=[{"argv": ["true"]}] * 50)

        async def done():
            return (await self.c.call("stats.get"))["completed"] >= before + 50
        await eventually(done, 20, "50 other jobs")

    async def test_wait_and_gather_tell_of_jobs_that_ended_long_before_the_last(self):
        gate = self.gate()
        await self.c.call("limits.set", max_running=0)  # none may end before it is named
        jobs = (await self.c.call("job.submit_batch", jobs=[
            gate.spec(), *[sh(f"echo {i}") for i in range(20)]]))["jobs"]
        waiting = self.c.start("futures.wait", {"jobs": jobs})
        gathering = self.c.start("futures.gather", {"jobs": jobs, "with_output": 10})
        await self.c.call("limits.set", reset=True)
        await self.others_push_it_out()
        gate.open()
        self.assertEqual(sorted(d["job"] for d in (await waiting)["done"]), jobs)
        results = (await gathering)["results"]
        self.assertEqual([r["stdout"] for r in results], ["", *[f"{i}\n" for i in range(20)]])

    async def test_as_completed_with_a_slow_consumer_loses_nothing(self):
        await self.c.call("limits.set", max_running=0)  # none may end before it is named
        jobs = (await self.c.call("job.submit_batch",
                                  jobs=[sh(f"echo {i}") for i in range(20)]))["jobs"]
        stream = self.c.stream("futures.as_completed", jobs=jobs, window=1, with_output=10)
        await self.c.call("limits.set", reset=True)
        await stream.until(lambda: stream.n == 1)
        await self.others_push_it_out()
        got = []
        while len(got) < 20:
            got.append(await stream.next())
            stream.credit(1)
        self.assertEqual(sorted(i["job"] for i in got), jobs)
        self.assertEqual({i["job"]: i["stdout"] for i in got},
                         {job: f"{i}\n" for i, job in enumerate(jobs)})
        self.assertEqual(await stream.result(), {"done": 20})

    async def test_an_item_of_a_map_is_readable_until_it_is_consumed(self):
        stream = self.c.stream("map.open", limit=10, window=10)
        await stream.until(lambda: stream.credits == 10)
        jobs = (await self.c.call("map.push", stream=stream.id,
                                  jobs=[sh(f"echo {i}") for i in range(10)]))["jobs"]
        await stream.until(lambda: stream.n == 10)
        await self.others_push_it_out()
        for index, job in enumerate(jobs):
            self.assertEqual(await self.c.output(job), b"%d\n" % index)
        stream.credit(10)
        await self.c.call("map.end", stream=stream.id)
        self.assertEqual((await stream.result())["ok"], 10)

    async def test_what_nobody_names_is_pruned(self):
        first = (await self.c.run("true"))["job"]
        await self.others_push_it_out()

        async def pruned():
            try:
                await self.c.get(first)
            except RpcError as exc:
                return exc
            return None
        self.assertKind(await eventually(pruned, 10, "the first job pruned"), "NoSuchJob", 1001)
