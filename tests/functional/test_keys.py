"""Idempotency keys."""

import asyncio

from slottest import Case


class Keys(Case):
    async def test_the_same_key_makes_one_job(self):
        first = await self.c.call("job.submit", argv=["true"], key="k1")
        self.assertIs(first["existing"], False)
        again = await self.c.call("job.submit", argv=["true"], key="k1")
        self.assertEqual((again["job"], again["existing"]), (first["job"], True))
        await self.c.finish(first["job"])
        later = await self.c.call("job.submit", argv=["true"], key="k1")
        self.assertEqual((later["job"], later["existing"], later["phase"]),
                         (first["job"], True, "done"))
        self.assertEqual(len((await self.c.call("job.list"))["jobs"]), 1)

    async def test_another_connection_too(self):
        first = await self.c.call("job.submit", argv=["true"], key="k")
        other = await self.d.connect()
        again = await other.call("job.submit", argv=["true"], key="k")
        self.assertEqual((again["job"], again["existing"]), (first["job"], True))

    async def test_a_different_spec_under_the_key_is_a_conflict(self):
        first = await self.c.call("job.submit", argv=["true"], key="k")
        for other in ({"argv": ["false"]}, {"argv": ["true"], "cwd": "/tmp"},
                      {"argv": ["true"], "env": {"A": "1"}}, {"argv": ["true"], "priority": 3}):
            error = await self.c.error("job.submit", key="k", **other)
            self.assertKind(error, "KeyConflict", 1015)
        self.assertEqual(len((await self.c.call("job.list"))["jobs"]), 1)
        self.assertTrue((await self.c.finish(first["job"]))["ok"])

    async def test_the_key_is_free_again_when_its_job_is_forgotten(self):
        first = await self.c.run("true", key="k")
        await self.c.call("job.forget", jobs=[first["job"]])
        again = await self.c.call("job.submit", argv=["false"], key="k")
        self.assertIs(again["existing"], False)
        self.assertGreater(again["job"], first["job"])

    async def test_many_at_once_make_one_job(self):
        clients = [await self.d.connect() for _ in range(5)]
        replies = await asyncio.gather(*[c.call("job.submit", argv=["true"], key="race")
                                         for c in clients for _ in range(10)])
        self.assertEqual(len({r["job"] for r in replies}), 1)
        self.assertEqual(sum(not r["existing"] for r in replies), 1)

    async def test_length_is_at_most_128_bytes(self):
        self.assertTrue((await self.c.run("true", key="k" * 128))["ok"])
        error = await self.c.error("job.submit", argv=["true"], key="k" * 129)
        self.assertKind(error, "InvalidParams", -32602, param="key")
        error = await self.c.error("job.submit", argv=["true"], key="é" * 65)
        self.assertKind(error, "InvalidParams", -32602, param="key")

    async def test_different_keys_make_different_jobs(self):
        jobs = {(await self.c.call("job.submit", argv=["true"], key=f"k{i}"))["job"]
                for i in range(20)}
        self.assertEqual(len(jobs), 20)

    async def test_keys_in_a_batch(self):
        first = (await self.c.call("job.submit_batch", jobs=[
            {"argv": ["true"], "key": "a"}, {"argv": ["true"], "key": "b"}]))["jobs"]
        again = (await self.c.call("job.submit_batch", jobs=[
            {"argv": ["true"], "key": "b"}, {"argv": ["true"]}]))["jobs"]
        self.assertEqual(again[0], first[1])
        self.assertNotIn(again[1], first)

    async def test_a_refused_submit_keeps_no_key(self):
        await self.c.error("job.submit", argv=["true"], key="k", queue="absent")
        reply = await self.c.call("job.submit", argv=["true"], key="k")
        self.assertIs(reply["existing"], False)
