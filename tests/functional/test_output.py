"""output.read, output.follow and a job that writes without end."""

import asyncio
import time

from slottest import Case, SANITIZE, alone, eventually, limit, scaled, sh, to_bytes


class Read(Case):
    async def test_in_pieces_up_to_eof(self):
        job = (await self.c.run("seq", "1", "2000"))["job"]
        whole = b"".join(b"%d\n" % i for i in range(1, 2001))
        off, parts = 0, []
        while True:
            reply = await self.c.call("output.read", job=job, fd=1, off=off, max=700)
            self.assertEqual(set(reply), {"off", "data", "eof", "dropped_before"})
            data = to_bytes(reply["data"])
            self.assertEqual((reply["off"], reply["dropped_before"]), (off, 0))
            self.assertLessEqual(len(data), 700)
            parts.append(data)
            off += len(data)
            if reply["eof"]:
                break
        self.assertEqual(b"".join(parts), whole)

    async def test_defaults_are_off_0_and_64_kib(self):
        job = (await self.c.run(sh("head -c 100000 /dev/zero | tr '\\0' x")))["job"]
        reply = await self.c.call("output.read", job=job, fd=1)
        self.assertEqual((reply["off"], reply["eof"]), (0, False))
        self.assertEqual(len(to_bytes(reply["data"])), 65536)

    async def test_of_a_running_job_it_gives_what_there_is(self):
        gate = self.gate()
        job = await self.c.submit(sh('echo early; read c <"$1"; echo late', gate.path))

        async def early():
            reply = await self.c.call("output.read", job=job, fd=1)
            return reply["data"] == "early\n" and not reply["eof"]
        await eventually(early, 10, "early output")
        reply = await self.c.call("output.read", job=job, fd=1, off=6)
        self.assertEqual((reply["data"], reply["eof"]), ("", False))
        gate.open()
        await self.c.finish(job)
        reply = await self.c.call("output.read", job=job, fd=1, off=6)
        self.assertEqual((reply["data"], reply["eof"]), ("late\n", True))

    async def test_past_the_end(self):
        job = (await self.c.run("echo", "x"))["job"]
        reply = await self.c.call("output.read", job=job, fd=1, off=2)
        self.assertEqual((reply["data"], reply["eof"]), ("", True))

    async def test_of_a_pending_job_it_is_empty(self):
        await self.c.call("limits.set", max_running=0)
        job = await self.c.submit("true")
        reply = await self.c.call("output.read", job=job, fd=1)
        self.assertEqual((reply["data"], reply["eof"]), ("", False))

    async def test_parameters_are_checked(self):
        job = (await self.c.run("true"))["job"]
        for params, name in (({"fd": 3}, "fd"), ({"fd": 0}, "fd"), ({"fd": 1, "off": -1}, "off"),
                             ({"fd": 1, "max": 262145}, "max")):
            error = await self.c.error("output.read", job=job, **params)
            self.assertKind(error, "InvalidParams", -32602, param=name)
        self.assertKind(await self.c.error("output.read", job=99, fd=1), "NoSuchJob", 1001)


class Follow(Case):
    async def test_it_follows_to_the_end(self):
        gate = self.gate()
        job = await self.c.submit(sh('echo one; echo err >&2; read c <"$1"; echo two', gate.path))
        stream = self.c.stream("output.follow", job=job)

        def text(fd):
            return b"".join(to_bytes(i["data"]) for i in stream.items if i["fd"] == fd)
        await stream.until(lambda: text(1) == b"one\n" and text(2) == b"err\n")
        self.assertIsNone(stream.outcome)
        gate.open()
        end = await stream.result()
        self.assertIn("next", end)
        self.assertEqual((text(1), text(2)), (b"one\ntwo\n", b"err\n"))
        for fd in (1, 2):
            off = 0
            for item in stream.items:
                if item["fd"] == fd:
                    self.assertEqual(item["off"], off)
                    off += len(to_bytes(item["data"]))

    async def test_of_a_done_job(self):
        job = (await self.c.run("seq", "100"))["job"]
        stream = self.c.stream("output.follow", job=job, fds=[1])
        items = await stream.collect()
        self.assertEqual(b"".join(to_bytes(i["data"]) for i in items),
                         b"".join(b"%d\n" % i for i in range(1, 101)))

    async def test_from_an_offset(self):
        job = (await self.c.run("printf", "0123456789"))["job"]
        items = await self.c.stream("output.follow", job=job, fds=[1], off=4).collect()
        self.assertEqual((items[0]["off"], items[0]["data"]), (4, "456789"))

    async def test_an_offset_belongs_to_its_attempt(self):
        """Who goes on after a lost connection misses nothing of an attempt that began meanwhile."""
        failing, gate = self.gate(), self.gate()
        job = await self.c.submit(sh('[ $SLOT_ATTEMPT = 2 ] ||'
                                     ' { echo a long line; read c <"$1"; exit 1; }\n'
                                     'echo b; read c <"$2"; echo c', failing.path, gate.path),
                                  retries={"max": 1, "backoff_ms": 0})

        def told(item):
            return item["off"], item.get("attempt", 1), item["data"]
        whole = self.c.stream("output.follow", job=job, fds=[1])
        self.assertEqual(told(await whole.next()), (0, 1, "a long line\n"))
        failing.open()
        self.assertEqual(told(await whole.next()), (0, 2, "b\n"))
        other = self.c.stream("output.follow", job=job, fds=[1], off=12, attempt=1)
        self.assertEqual(told(await other.next()), (0, 2, "b\n"))
        same = self.c.stream("output.follow", job=job, fds=[1], off=2, attempt=2)
        gate.open()
        for stream in (whole, other, same):
            self.assertEqual(told(await stream.next()), (2, 2, "c\n"))
            self.assertEqual(await stream.result(), {"next": {"1": 4}})
        late = self.c.stream("output.follow", job=job, fds=[1], off=12, attempt=1)
        self.assertEqual(b"".join(to_bytes(i["data"]) for i in await late.collect()), b"b\nc\n")
        plain = self.c.stream("output.follow", job=job, fds=[1], off=12)
        self.assertEqual(await plain.collect(), [])

    async def test_no_attempt_is_passed_over(self):
        """Not even those that end as fast as they can."""
        await self.c.call("limits.set", max_running=0)
        jobs = [await self.c.submit(sh("echo $SLOT_ATTEMPT; exit 1"),
                                    retries={"max": 2, "backoff_ms": 0}) for _ in range(40)]
        streams = [self.c.stream("output.follow", job=job) for job in jobs]
        await self.c.call("limits.set", max_running=4)
        for stream in streams:
            self.assertEqual([(i["off"], i.get("attempt", 1), i["data"])
                              for i in await stream.collect()],
                             [(0, k, f"{k}\n") for k in (1, 2, 3)])

    async def test_one_that_takes_its_time_gets_an_attempt_to_its_end(self):
        gate = self.gate()
        job = await self.c.submit(sh('[ $SLOT_ATTEMPT = 2 ] && exec echo two\n'
                                     'printf abcdef; read c <"$1"; exit 1', gate.path),
                                  retries={"max": 1, "backoff_ms": 0})
        stream = self.c.stream("output.follow", job=job, fds=[1], window=2)
        self.assertEqual((await stream.next())["data"], "ab")
        gate.open()
        await self.c.finish(job)
        self.c.notify("$/credit", stream=stream.id, n=100)
        self.assertEqual([(i["off"], i.get("attempt", 1), i["data"])
                          for i in await stream.collect()], [(2, 1, "cdef"), (0, 2, "two\n")])
        self.assertEqual(await stream.result(), {"next": {"1": 4}})

    async def test_of_a_pending_job_it_waits(self):
        await self.c.call("limits.set", max_running=0)
        job = await self.c.submit("echo", "x")
        stream = self.c.stream("output.follow", job=job, fds=[1])
        await self.c.call("stats.get")
        self.assertEqual((stream.n, stream.outcome), (0, None))
        await self.c.call("limits.set", max_running=1)
        self.assertEqual((await stream.next())["data"], "x\n")

    async def test_window_counts_bytes(self):
        job = (await self.c.run(sh("head -c 50000 /dev/zero | tr '\\0' x")))["job"]
        stream = self.c.stream("output.follow", job=job, fds=[1], window=10000)

        def received():
            return sum(len(to_bytes(i["data"])) for i in stream.items)
        await stream.until(lambda: received() == 10000)
        await self.c.call("stats.get")
        self.assertEqual((received(), stream.outcome), (10000, None))
        stream.credit(15000)
        await stream.until(lambda: received() == 25000)
        await self.c.call("stats.get")
        self.assertEqual(received(), 25000)
        stream.credit(1 << 20)
        await stream.result()
        self.assertEqual(received(), 50000)

    async def test_cancel(self):
        gate = self.gate()
        job = await self.c.submit(gate.spec())
        stream = self.c.stream("output.follow", job=job)
        stream.cancel()
        self.assertKind(await stream.error(), "RequestCancelled", -32800)
        gate.open()
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_offsets_tell_what_the_ring_dropped(self):
        job = (await self.c.run(sh("seq 100000"), output_limit=1000))["job"]
        items = await self.c.stream("output.follow", job=job, fds=[1]).collect()
        whole = b"".join(b"%d\n" % i for i in range(1, 100001))
        self.assertEqual(items[0]["off"], len(whole) - 1000)
        self.assertEqual(b"".join(to_bytes(i["data"]) for i in items), whole[-1000:])

    async def test_a_follower_that_stops_reading_stalls_neither_job_nor_others(self):
        slow = await self.d.connect()
        job = await self.c.submit(sh("head -c 20000000 /dev/zero"), output_limit=100_000)
        slow.stream("output.follow", job=job)
        slow.pause_reading()
        self.assertTrue((await self.c.finish(job, 30))["ok"])
        self.assertTrue((await self.c.run("true"))["ok"])


class Flood(Case):
    """One job writes 2 GB into a ring of 1 MiB."""

    max_running = 4
    SIZE = (256 << 20) if SANITIZE else (2 << 30)

    async def latencies(self, count):
        took = []
        for _ in range(count):
            began = time.monotonic()
            await self.c.run("true")
            took.append(time.monotonic() - began)
        return sorted(took)

    @alone
    @limit(300)
    async def test_two_gigabytes_from_one_job_do_not_slow_the_others(self):
        calm = await self.latencies(40)
        before = self.d.rss_kib()
        job = await self.c.submit(sh(f"head -c {self.SIZE} /dev/zero; echo end"),
                                  output_limit=1 << 20)
        await self.phase(job)
        busy = []
        other = await self.d.connect()
        done = asyncio.ensure_future(other.finish(job, 240))
        while not done.done():
            busy += await self.latencies(1)
        busy.sort()
        found = await done
        self.assertIs(found["ok"], True)
        self.assertIs(found["output"]["truncated"], True)
        self.assertEqual(found["output"]["stdout"], 1 << 20)
        reply = await self.c.call("output.read", job=job, fd=1, off=self.SIZE - 10)
        self.assertEqual(to_bytes(reply["data"]), b"\0" * 10 + b"end\n")
        self.assertEqual(reply["dropped_before"], self.SIZE + 4 - (1 << 20))
        self.assertGreater(len(busy), 5)
        median = busy[len(busy) // 2]
        self.assertLess(median, max(calm[len(calm) // 2] * 12, scaled(0.15)))
        self.assertLess(busy[len(busy) * 9 // 10], scaled(0.5))
        self.assertLess(self.d.rss_kib() - before, 16 * 1024)
