"""Far more pending jobs than an engine keeps live: they start in order all the same."""

import signal

from slottest import Case, eventually, sh

JOBS = 900      # of one user and queue: all but the first 256 are rows of the store alone
BATCH = 300


class Shelf:
    max_running = 1

    async def fill(self, spec, **members):
        """A paused queue with many jobs, every seventh of a higher priority; their order."""
        await self.c.call("queue.pause")
        jobs = []
        for at in range(0, JOBS, BATCH):
            specs = [dict(spec, priority=int(i % 7 == 3), **members)
                     for i in range(at, at + BATCH)]
            jobs += (await self.c.call("job.submit_batch", jobs=specs))["jobs"]
        await self.until_shelved()
        return ([j for i, j in enumerate(jobs) if i % 7 == 3] +
                [j for i, j in enumerate(jobs) if i % 7 != 3])

    async def pending(self):
        return (await self.c.call("stats.get"))["pending"]

    async def started(self, mark):
        await self.c.call("queue.resume")

        async def over():
            stats = await self.c.call("stats.get")
            return stats["pending"] + stats["running_jobs"] == 0
        await eventually(over, timeout=60, what="all of them to end")
        return [int(job) for job in mark.lines()]

    async def test_they_start_in_order(self):
        mark = self.mark("order")
        order = await self.fill(sh('echo $SLOT_JOB >>"$1"', mark.path))
        self.assertEqual(await self.pending(), JOBS)
        queue = (await self.c.call("queue.list"))["queues"][0]
        self.assertEqual(queue["pending"], JOBS)
        self.assertEqual(await self.started(mark), order)

    async def test_a_request_finds_the_job(self):
        mark = self.mark("order")
        order = await self.fill(sh('echo $SLOT_JOB >>"$1"', mark.path), name="far")
        shown, last, gone = order[500], order[-1], order[600:700]
        job = await self.c.get(shown)
        self.assertEqual((job["phase"], job["reason"], job["name"]), ("pending", "paused", "far"))
        self.assertEqual((await self.c.call("job.set", job=last, priority=50))["priority"], 50)
        results = (await self.c.call("job.cancel", jobs=gone))["results"]
        self.assertTrue(all(r["accepted"] for r in results))
        self.assertEqual((await self.c.finish(gone[3]))["outcome"], "cancelled")
        after = await self.c.submit(sh('echo $SLOT_JOB >>"$1"', mark.path, after=[last],
                                       priority=40))
        self.assertEqual((await self.c.get(after))["reason"], "after")
        ran = await self.started(mark)
        self.assertIn(ran.index(after), (1, 2))  # (released when another has the slot already)
        ran.remove(after)
        self.assertEqual(ran, [last] + [j for j in order[:-1] if j not in gone])

    async def test_a_drain_cancels_them(self):
        order = await self.fill({"argv": ["true"]})
        await self.c.call("drain", mode="cancel")
        stats = await self.c.call("stats.get")
        self.assertEqual((stats["pending"], stats["cancelled"], stats["pending_bytes"]),
                         (0, JOBS, 0))
        self.assertEqual((await self.c.get(order[-1]))["outcome"], "cancelled")


class InMemory(Shelf, Case):
    durability = "memory"

    async def until_shelved(self):
        """(They are when the submit is answered.)"""

    async def test_a_shutdown_ends_them(self):
        await self.fill({"argv": ["true"]})
        self.assertEqual(await self.d.stop(), 0)


class InTheJournal(Shelf, Case):
    durability = "full"

    async def shelved(self):
        return (await self.c.call("stats.get"))["journal"]["shelved"]

    async def until_shelved(self):
        await eventually(self.shelved, what="shelved jobs")

    async def test_none_is_shelved_at_the_end(self):
        await self.fill({"argv": ["true"]})
        await self.c.call("drain", mode="cancel")
        self.assertEqual(await self.shelved(), 0)

    async def test_they_start_in_order_after_a_kill(self):
        mark = self.mark("order")
        order = await self.fill(sh('echo $SLOT_JOB >>"$1"', mark.path))
        await self.d.restart(signal.SIGKILL)
        self.c = await self.d.connect()
        self.assertEqual(await self.pending(), JOBS)
        self.assertEqual(await self.started(mark), order)
