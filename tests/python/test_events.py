"""What happens to jobs, as it happens, and what is said where some of it was left out."""

import asyncio
from unittest import mock

from fake import Fake, line
from support import Case
from test_lies import DURABLE, FakeCase

import slotd
from slotd import connection, events
from slotd.aio import Client


def event(stream, n, **more):
    return line({"method": "$/item", "params": {"stream": stream, "n": n, "kind": "done", **more}})


class Events(Case):
    async def test_they_tell_what_happens_in_order(self):
        async with Client(self.path) as client:
            seen = []

            async def listen():
                async for one in client.events(name="told"):
                    seen.append((one["kind"], one["job"], one["outcome"]))
                    if one["kind"] == "done":
                        return one

            listening = asyncio.ensure_future(listen())
            await asyncio.sleep(0)
            client.submit(["true"], name="untold")
            job = await client.submit(["sh", "-c", "exit 3"], name="told", ok_codes=[3]).submitted()
            last = await asyncio.wait_for(listening, 60)
            self.assertEqual(seen, [("submitted", job, None), ("running", job, None),
                                    ("done", job, "exited")])
            self.assertEqual((last["exit_code"], last["ok"], "stream" in last), (3, True, False))

    async def test_only_some_kinds_and_what_the_daemon_refuses(self):
        async with Client(self.path) as client:
            told = client.events(kinds=["done"])
            first = asyncio.ensure_future(told.__anext__())
            await asyncio.sleep(0)
            await client.submit(["true"])
            self.assertEqual((await asyncio.wait_for(first, 60))["kind"], "done")
            await told.aclose()
            with self.assertRaises(slotd.RemoteError) as caught:
                await client.events(kinds=["nonesuch"]).__anext__()
            self.assertEqual(caught.exception.kind, "InvalidParams")


class Gaps(FakeCase):
    async def told(self, serve, n, **options):
        """The first n, taken only after ``self.sent``."""
        self.sent = asyncio.Event()
        async with Fake(self.path, serve), Client(self.path, **options) as client:
            told = client.events()
            first = asyncio.ensure_future(told.__anext__())
            await self.within(self.sent.wait())
            await self.within(client.call("stats.get"))  # its answer is behind them
            rest = [await self.within(told.__anext__()) for _ in range(n - 1)]
            await told.aclose()
            return [(one["kind"], one.get("job", one.get("dropped"))) for one in [await first] + rest]

    async def answer(self, peer):
        self.sent.set()
        ident = (await peer.until("stats.get"))["id"]
        peer.send(line({"id": ident, "result": {}}))
        await peer.read()

    async def test_the_daemons_gap_is_told_in_its_place(self):
        async def serve(peer):
            await peer.greet()
            sub = (await peer.until("events.subscribe"))["id"]
            peer.send(event(sub, 1, job=1),
                      line({"method": "$/gap", "params": {"stream": sub, "dropped": 7, "resume": 9}}),
                      event(sub, 2, job=9))
            await self.answer(peer)

        self.assertEqual(await self.told(serve, 3), [("done", 1), ("gap", 7), ("done", 9)])

    async def test_a_slow_loop_is_told_how_many_it_missed(self):
        async def serve(peer):
            await peer.greet()
            request = await peer.until("events.subscribe")
            self.assertEqual(request["params"], {"filter": {}})
            sub = request["id"]
            peer.send(*(event(sub, n, job=n) for n in range(1, 10)),
                      line({"method": "$/gap", "params": {"stream": sub, "dropped": 7, "resume": 9}}))
            await self.answer(peer)

        with mock.patch.object(events, "_AHEAD", 3):
            self.assertEqual(await self.told(serve, 4),
                             [("done", 1), ("done", 2), ("done", 3), ("gap", 13)])

    async def test_after_a_reconnect_nobody_knows_how_many(self):
        async def serve(peer):
            await peer.greet(**DURABLE)
            sub = (await peer.until("events.subscribe"))["id"]
            peer.send(event(sub, 1, job=peer.number))
            if peer.number:
                await self.answer(peer)

        with mock.patch.object(connection, "_PAUSE_FIRST", 0.0):
            self.assertEqual(await self.told(serve, 3), [("done", 0), ("gap", None), ("done", 1)])
