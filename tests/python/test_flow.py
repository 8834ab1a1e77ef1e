"""Many jobs at once: memory, order, limits, and consumers that are slow."""

import asyncio
import os
import unittest

from support import Case, scaled

import slotd
from slotd.aio import Client


def rss_kib():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


class Flow(Case):
    max_running = 8

    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)  # it costs more than all that is measured here
        await super().asyncSetUp()

    async def test_ten_thousand_futures_settle_in_finish_order_and_cancel_at_once(self):
        async with Client(self.path) as client:
            await client.call("limits.set", {"max_running": 0})
            futures = [client.submit(["sleep", "60"]) for _ in range(10000)]
            some = [client.submit(["true"], priority=1) for _ in range(200)]
            size = client._connection._wire.transport.get_write_buffer_size()
            self.assertLess(size, 1 << 20)
            await asyncio.gather(*(f.submitted() for f in futures + some))
            settled = []
            for future in some:  # before one is done: then they would be told in this order
                future.add_done_callback(lambda f: settled.append(f.result().seq))
            await client.call("limits.set", {"max_running": 8})
            await asyncio.wait(some)
            self.assertEqual(settled, sorted(settled))
            for future in futures:
                future.cancel()
            await asyncio.gather(*futures, return_exceptions=True)
            await self.until(self.idle, "all jobs ended")

    async def idle(self):
        async with Client(self.path) as client:
            stats = await client.call("stats.get")
            return stats["pending"] == stats["running"] == 0

    async def test_a_map_of_thousands_keeps_to_its_limit_in_flat_memory(self):
        async with Client(self.path, env={}) as client:
            taken, before = 0, 0
            async for completion in client.map((["true"] for _ in range(2500)), limit=5):
                self.assertTrue(completion.ok)
                taken += 1
                if taken == 500:
                    before = rss_kib()
            self.assertEqual(taken, 2500)
            self.assertLess(rss_kib() - before, 4096)
            stats = await client.call("stats.get")
            self.assertLessEqual(stats["peak_running"], 5)

    async def test_a_slow_loop_over_a_map_submits_nothing_ahead_of_it(self):
        async with Client(self.path) as client:
            taken = 0
            async for _ in client.map((["true"] for _ in range(20)), limit=4):
                taken += 1
                await asyncio.sleep(0.01)
                stats = await client.call("stats.get")
                self.assertLessEqual(stats["submitted"], taken + 4)
            self.assertEqual(taken, 20)

    async def test_breaking_out_of_a_map_cancels(self):
        async with Client(self.path) as client:
            async for _ in client.map([["true"], ["sleep", "60"], ["sleep", "60"]], limit=3):
                break
            await self.until(self.idle, "the jobs of a map that was left")

    async def test_leaving_a_map_ends_the_wait_for_its_source(self):
        async with Client(self.path) as client:
            ended = asyncio.Event()

            class Source:
                said = False

                def __aiter__(self):
                    return self

                async def __anext__(self):
                    if self.said:
                        try:
                            await asyncio.sleep(60)
                        finally:
                            ended.set()
                    self.said = True
                    return ["true"]

            items = client.map(Source(), limit=2)
            self.assertTrue((await items.__anext__()).ok)
            await items.aclose()
            await asyncio.wait_for(ended.wait(), scaled(20))

    async def test_a_refused_submit_ends_a_map(self):
        async with Client(self.path) as client:
            with self.assertRaises(slotd.RemoteError):
                async for _ in client.map([["sleep", "60"], {"argv": ["true"], "quue": 1}], limit=2):
                    pass
            with self.assertRaises(TypeError):
                async for _ in client.map([["sleep", "60"], "true"], limit=2):
                    pass
            await self.until(self.idle, "the jobs of maps that ended")

    async def test_held_submits_are_no_error(self):
        async with Client(self.path) as client:
            await client.call("limits.set", {"max_running": 0, "max_pending": 5})
            futures = [client.submit(["true"], on_full="wait") for _ in range(60)]
            await futures[4].submitted()
            self.assertTrue((await client.call("stats.get"))["held"])
            gone = futures.pop()
            held = futures.pop(10)
            held.cancel()
            gone.cancel()
            await client.call("limits.set", {"max_running": 8})
            self.assertTrue(all(c.ok for c in await asyncio.gather(*futures)))

    async def test_waiting_calls_by_the_hundred(self):
        async with Client(self.path) as client:
            await client.call("limits.set", {"max_running": 0})
            future = client.submit(["true"])
            job = await future.submitted()
            calls = [asyncio.ensure_future(client.call("job.result", {"job": job, "wait_ms": 60000}))
                     for _ in range(400)]
            await asyncio.sleep(0)
            await client.call("limits.set", {"max_running": 1})
            self.assertEqual({r["job"] for r in await asyncio.gather(*calls)}, {job})

    async def test_completions_are_told_without_hole_to_a_slow_loop(self):
        async with Client(self.path) as client, Client(self.path) as other:
            told = client.completions(since_seq=0, name="told")
            seqs = []

            async def listen():
                async for completion in told:
                    seqs.append(completion.seq)
                    if len(seqs) % 100 == 0:
                        await asyncio.sleep(0.01)
                    if len(seqs) == 1500:
                        return

            await asyncio.wait_for(asyncio.gather(listen(), *(
                other.submit(["true"], name="told") for _ in range(1500))), scaled(60))
            self.assertEqual(seqs, sorted(set(seqs)))
            await told.aclose()
            with self.assertRaises(slotd.RemoteError) as caught:
                await client.completions(since_seq=10 ** 9).__anext__()
            self.assertEqual(caught.exception.kind, "HistoryTruncated")


class Asyncio(Case):
    """What asyncio does with its own futures."""

    async def test_wait_in_its_three_forms(self):
        async with Client(self.path) as client:
            gate = self.file("gate")
            os.mkfifo(gate)
            slow = client.submit(["sh", "-c", 'read x <"$1"; true', "sh", gate])
            good, bad = client.submit(["true"]), client.submit(["false"], delay_ms=1)
            done, pending = await asyncio.wait([slow, bad], return_when=asyncio.FIRST_EXCEPTION)
            self.assertEqual((done, pending), ({bad}, {slow}))
            self.assertIsInstance(bad.exception(), slotd.JobFailed)
            done, pending = await asyncio.wait([slow, good], return_when=asyncio.FIRST_COMPLETED)
            self.assertEqual((done, pending), ({good}, {slow}))
            done, pending = await asyncio.wait([slow, good, bad], timeout=0)
            self.assertEqual((done, pending), ({good, bad}, {slow}))
            await self.open_gate(gate)
            done, pending = await asyncio.wait([slow, good, bad])
            self.assertEqual((done, pending), ({slow, good, bad}, set()))

    async def test_gather_raises_the_first_and_leaves_the_rest_running(self):
        async with Client(self.path) as client:
            slow, bad = client.submit(["sleep", "60"]), client.submit(["false"])
            with self.assertRaises(slotd.JobFailed):
                await asyncio.gather(slow, bad)
            self.assertFalse(slow.done())
            both = asyncio.gather(slow, client.submit(["sleep", "60"]))
            await slow.submitted()
            both.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await both
            self.assertTrue(slow.cancelled())
            await self.until(lambda: not self.daemon.jobs_alive(), "the jobs of a cancelled gather")

    async def test_a_shielded_job_goes_on(self):
        async with Client(self.path) as client:
            future = client.submit(["sh", "-c", "sleep 0.1; echo on"])
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(future), 0.001)
            self.assertEqual((await future).stdout, b"on\n")

    @unittest.skipUnless(hasattr(asyncio, "timeout"), "timeout came with Python 3.11")
    async def test_timeout_and_timeout_at(self):
        async with Client(self.path) as client:
            for timeout in (asyncio.timeout(0.01),
                            asyncio.timeout_at(asyncio.get_running_loop().time() + 0.01)):
                future = client.submit(["sleep", "60"])
                with self.assertRaises(TimeoutError):
                    async with timeout:
                        await future
            await self.until(lambda: not self.daemon.jobs_alive(), "the ends of the jobs")

    async def test_cancel_while_pending_never_starts(self):
        async with Client(self.path) as client:
            await client.call("limits.set", {"max_running": 0})
            future = client.submit(["sh", "-c", 'echo >"$1"', "sh", self.file("mark")])
            job = await future.submitted()
            future.cancel()
            self.assertEqual((await client.call("job.result", {"job": job, "wait_ms": 20000}))["attempt"], 0)
            await client.call("limits.set", {"max_running": 4})
            self.assertFalse(os.path.exists(self.file("mark")))

    async def test_cancel_after_the_end_is_too_late(self):
        async with Client(self.path) as client:
            future = client.submit(["true"])
            await future
            self.assertFalse(future.cancel())
            future.cancel_job()
            self.assertTrue(future.result().ok)

    async def test_cancelling_an_attached_future_cancels_the_job(self):
        async with Client(self.path) as client, Client(self.path) as other:
            future = client.submit(["sleep", "60"])
            other.attach(await future.submitted()).cancel()
            with self.assertRaises(asyncio.CancelledError):
                await future

    async def test_another_loop_is_told(self):
        async with Client(self.path) as client:
            def elsewhere():
                async def use():
                    client.submit(["true"])

                with self.assertRaisesRegex(RuntimeError, "another event loop"):
                    asyncio.run(use())
                with self.assertRaises(RuntimeError):
                    client.submit(["true"])

            await self.in_thread(elsewhere)
            self.assertTrue((await client.submit(["true"])).ok)

    async def test_several_clients_in_one_loop(self):
        clients = [Client(self.path) for _ in range(5)]
        for client in clients:
            await client.connect()
        done = await asyncio.gather(*(c.submit(["echo", str(n)]) for n, c in enumerate(clients)))
        self.assertEqual([c.stdout for c in done], [b"%d\n" % n for n in range(5)])
        for client in clients:
            await client.close()
        with self.assertRaises(RuntimeError):
            await clients[0].connect()
            await clients[0].connect()
        self.assertTrue((await clients[0].submit(["true"])).ok)
        await clients[0].close()

    async def test_close_while_much_is_under_way(self):
        client = Client(self.path)
        await client.connect()
        futures = [client.submit(["sleep", "60"], lifetime="bound") for _ in range(100)]
        await futures[0].submitted()
        follow = client.follow(futures[0].job)
        waiting = [asyncio.ensure_future(w) for w in (
            follow.__anext__(), client.call("job.result", {"job": futures[0].job, "wait_ms": 60000}),
            futures[99].submitted(), client.map([["sleep", "60"]], limit=1).__anext__())]
        await asyncio.sleep(0)
        await asyncio.gather(client.close(), client.close())
        ends = await asyncio.gather(*futures, *waiting[:2], waiting[3], return_exceptions=True)
        self.assertEqual({type(end) for end in ends}, {slotd.ConnectionLost})
        with self.assertRaises(slotd.ConnectionLost):
            client.submit(["true"])
        await asyncio.wait(waiting)
        waiting[2].exception()
        await self.until(self.no_jobs, "bound jobs end with their client")

    async def no_jobs(self):
        return not self.daemon.jobs_alive()

    async def test_wrong_types_are_named(self):
        async with Client(self.path) as client:
            for argv, options, word in (
                    ([1], {}, "argv[0]"), (["a", None], {}, "argv[1]"), (7, {}, "argv"),
                    ({"argv": ["x"]}, {}, "argv"), (["a"], {"env": {"A": 1}}, "env['A']"),
                    (["a"], {"env": ["A=1"]}, "env"), (["a"], {"cwd": 3}, "cwd"),
                    (["a"], {"tag": object()}, "tag"), (["a"], {"timeout_ms": {1}}, "timeout_ms")):
                with self.assertRaisesRegex(TypeError, word.replace("[", r"\[").replace("]", r"\]")):
                    client.submit(argv, **options)
            with self.assertRaisesRegex(ValueError, "tag"):
                client.submit(["a"], tag=float("nan"))
            with self.assertRaises(ValueError):
                client.submit(["a"], tag="\ud800")
            for options, words in (({"queue": "nonesuch"}, ("InvalidParams", "queue", "nonesuch")),
                                   ({"retries": {"max": -1}}, ("InvalidParams", "retries")),
                                   ({"slots": 99}, ("LimitExceeded", "slots"))):
                with self.assertRaises(slotd.RemoteError) as caught:
                    await client.submit(["true"], **options)
                for word in words:
                    self.assertIn(word, str(caught.exception))

    async def test_an_environment_that_is_not_text(self):
        async with Client(self.path) as client:
            env = {b"A\xff": b"1", "B": "\udcfe", "PATH": "/usr/bin:/bin"}
            out = (await client.submit(["env"], env=env)).stdout
            for row in (b"A\xff=1\n", b"B=\xfe\n"):
                self.assertIn(row, out)

    async def test_defaults_and_what_overrides_them(self):
        async with Client(self.path, tag="t", priority=3, timeout_ms=60000, cwd="/usr") as client:
            async def shown(**options):
                done = await client.submit(["pwd"], **options)
                job = await client.call("job.get", {"job": done.job})
                return done.stdout, job["tag"], job["priority"]

            self.assertEqual(await shown(), (b"/usr\n", "t", 3))
            self.assertEqual(await shown(tag=None, cwd="/"), (b"/\n", None, 3))
            self.assertEqual(await shown(priority=4), (b"/usr\n", "t", 4))
            with self.assertRaises(ValueError):
                Client(self.path, env={"A": "x" * (1 << 20)})


class Attempts(Case):
    async def test_a_followed_retry_begins_anew(self):
        async with Client(self.path) as client:
            future = client.submit(["sh", "-c", "printf $SLOT_ATTEMPT; sleep 0.1; exit 1"],
                                   retries={"max": 1, "backoff_ms": 10})
            said = [data async for _, data in client.follow(await future.submitted(), (1,))]
            self.assertEqual(b"".join(said), b"12")
            with self.assertRaises(slotd.JobFailed):
                await future


class MapOverKills(Case):
    async def test_a_map_and_a_follow_go_on_over_kills_byte_for_byte(self):
        rows = b"".join(b"%07d\n" % n for n in range(40000))
        script = "i=0; while [ $i -lt 40 ]; do seq -f %07.0f $((i*1000)) $((i*1000+999)); sleep 0.02; i=$((i+1)); done"
        async with Client(self.path) as client:
            writer = client.submit(["sh", "-c", script])
            job = await writer.submitted()

            async def followed():
                return b"".join([data async for _, data in client.follow(job)])

            async def mapped():
                commands = ({"argv": ["echo", str(n)], "tag": n, "name": "mapped"} for n in range(150))
                return [(c.tag, c.stdout) async for c in client.map(commands, limit=3)]

            tasks = [asyncio.ensure_future(followed()), asyncio.ensure_future(mapped())]
            for _ in range(2):
                await asyncio.sleep(0.15)
                await self.daemon.restart()
            got, seen = await asyncio.wait_for(asyncio.gather(*tasks), scaled(60))
            self.assertEqual(got, rows)
            self.assertEqual(sorted(seen), [(n, b"%d\n" % n) for n in range(150)])
            listed = await client.call("job.list", {"name": "mapped", "limit": 500})
            self.assertEqual(len(listed["jobs"]), 150)
            self.assertTrue((await writer).ok)

    async def test_bound_jobs_stay_bound_over_a_restart(self):
        async with Client(self.path) as client:
            future = client.submit(["sh", "-c", 'read x <"$1"; true', "sh", self.file("gate")],
                                   lifetime="bound")
            os.mkfifo(self.file("gate"))
            await future.submitted()
            await self.daemon.restart()
            await client.call("stats.get", again=True)
            await self.open_gate(self.file("gate"))
            done = (await asyncio.gather(future, return_exceptions=True))[0]
            self.assertIsNone(client.lost)
            self.assertEqual(future.completion.outcome, "exited", done)
