"""A daemon that lies, dies or dawdles: the client says so, loses nothing and never hangs."""

import asyncio
import collections
import gc
import os
import shutil
import tempfile
import unittest
import warnings
from functools import partial
from unittest import mock

from fake import Fake, error, item, line, result
from support import scaled

import slotd
from slotd import connection, jobs, paths, wire
from slotd.aio import Client

DURABLE = {"features": ["durable"]}


class FakeCase(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="slotd-python-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.path = os.path.join(self.dir, "s")

    async def asyncSetUp(self):
        asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is no news

    def remove_socket(self):  # asyncio does it itself from 3.13 on
        if os.path.exists(self.path):
            os.unlink(self.path)

    async def within(self, awaitable):
        return await asyncio.wait_for(awaitable, scaled(30))


class Elsewhere(FakeCase):
    async def test_at_the_users_own_place_nobody_else_is_spoken_to(self):
        self.path = os.path.join(self.dir, "slotd", "slotd.sock")
        os.mkdir(os.path.dirname(self.path))
        heard = asyncio.get_running_loop().create_future()

        async def serve(peer):
            heard.set_result(await peer.read())

        own = {"XDG_RUNTIME_DIR": self.dir}
        async with Fake(self.path, serve):
            with mock.patch.dict(os.environ, own), \
                    mock.patch("slotd.paths.peer_uid", return_value=os.geteuid() + 1):
                with self.assertRaisesRegex(slotd.ConnectionLost, "somebody else listens there"):
                    await self.within(Client(self.path).connect())
            # Who listens is only of interest there.
            self.assertFalse(paths.is_user_socket(self.path))
            self.assertIsNone(await self.within(heard))

    async def test_who_listens_is_asked_of_the_kernel(self):
        served = asyncio.Event()

        async def serve(peer):
            served.set()
            await peer.read()

        async with Fake(self.path, serve):
            _, writer = await asyncio.open_unix_connection(self.path)
            self.assertEqual(paths.peer_uid(writer.get_extra_info("socket")), os.geteuid())
            await self.within(served.wait())
            writer.close()


class Lies(FakeCase):
    async def lie(self, *lies):
        """What a submit ends with when the answer is a lie; {sub} and {id} are put in."""
        async def serve(peer):
            await peer.greet()
            sub = await peer.subscribed()
            ident = (await peer.until("job.submit"))["id"]
            for lie in lies:
                peer.send(lie.replace(b"{sub}", b"%d" % sub).replace(b"{id}", b"%d" % ident))
            await peer.read()

        async with Fake(self.path, serve):
            async with Client(self.path) as client:
                future = client.submit(["true"])
                with self.assertRaises(slotd.ProtocolError):
                    await self.within(future)
                with self.assertRaises(slotd.ProtocolError):
                    client.submit(["true"])
        self.remove_socket()

    async def test_what_is_no_answer_ends_the_connection(self):
        good = b'{"jsonrpc":"2.0","id":{id},"result":{"job":1,"phase":"running","existing":false}}\n'
        ours = b'{"jsonrpc":"2.0","method":"$/item","params":{"stream":{sub},"n":1,"job":1,"seq":1,'
        for lies in ([b"garbage\n"], [b"[]\n"], [b"17\n"], [b"\xff\xfe\n"], [b"{}\n"], [b"[" * 100000 + b"\n"],
                     [b'{"id":99,"result":{}}\n'], [b'{"id":[],"result":{}}\n'],
                     [b'{"id":{id}}\n'], [b'{"id":{id},"error":7}\n'],
                     [b'{"id":{id},"error":{"code":1}}\n'],
                     [b'{"id":{id},"error":{"code":1,"message":"m","data":3}}\n'],
                     [b'{"id":null,"error":{"code":-32600,"message":"what?"}}\n'],
                     [b'{"id":{id},"result":null}\n'], [b'{"id":{id},"result":{"job":1}}\n'],
                     [b'{"id":{id},"result":{"job":"x","phase":"","existing":false}}\n'],
                     *([b'{"id":{id},"result":{"job":%s,"phase":"","existing":false}}\n' % job]
                       for job in (b"0", b"-1", b'"1"', b"1.5", b"true", b"null")),
                     *([good, ours.replace(b'"job":1', b'"job":%s' % job) + b'"ok":true}}\n']
                       for job in (b"0", b"-1", b'"1"', b"true")),
                     [b'{"id":{sub},"result":{}}\n'],
                     [b'{"method":"$/item","params":{"stream":77,"n":1}}\n'],
                     [b'{"method":"$/item","params":[]}\n'],
                     [b'{"method":"$/item","params":{"stream":{sub},"n":2,"job":9,"seq":1}}\n'],
                     [good, ours + b'"ok":true}}\n'], [good, ours + b"\n"],
                     [good, ours.replace(b'"n":1', b'"n":5') + b'"x":1}}\n'],
                     [good, ours + b'"ok":true,"outcome":"exited","exit_code":0,"signal":null,'
                      b'"stdout":{"b64":"*"}}}\n']):
            with self.subTest(lies=lies[-1][:80]):
                await self.lie(*lies)

    async def test_an_endless_line_is_not_kept(self):
        taken = asyncio.get_running_loop().create_future()

        async def serve(peer):
            await peer.greet()
            sent = 0
            try:
                while sent < 1 << 30:
                    peer.send(b"x" * (1 << 16))
                    await peer.writer.drain()
                    sent += 1 << 16
            except ConnectionError:
                pass
            taken.set_result(sent)

        async with Fake(self.path, serve), Client(self.path) as client:
            with self.assertRaises(slotd.ProtocolError):
                await self.within(client.submit(["true"]))
            self.assertLess(await self.within(taken), 8 << 20)

    async def test_no_answer_to_hello_that_is_one(self):
        full = {"protocol": 1, "instance": "i", "session": "s", "uid": 0, "features": [], "seq": 0,
                "limits": {"max_in_flight": 256}}
        for said in ([b"garbage\n"], [b"[]\n"], [line({"id": 0})], [line({"id": 1, "result": full})],
                     *([line({"id": 0, "result": {**full, name: {}}})]
                       for name in full if name != "limits"),
                     [line({"id": 0, "result": {**full, "limits": {}}})],
                     *([line({"id": 0, "result": {**full, "protocol": n}})] for n in (0, 2, "1", None)),
                     [line({"id": 0, "result": {k: v for k, v in full.items() if k != "protocol"}})],
                     [b"x" * (2 << 20)], [line({"id": 0, "result": full}), b"more\n"]):
            async def serve(peer, said=said):
                await peer.until("hello")
                peer.send(*said)
                await peer.read()

            with self.subTest(said=said[-1][:80]):
                async with Fake(self.path, serve):
                    with self.assertRaises((slotd.ProtocolError, slotd.ConnectionLost)) as caught:
                        await self.within(self.connect_and_submit())
                    self.assertIsInstance(caught.exception, slotd.ProtocolError)
                self.remove_socket()

    async def connect_and_submit(self):
        async with Client(self.path) as client:
            await client.submit(["true"])

    async def test_silence_instead_of_hello(self):
        async def serve(peer):
            await peer.read()
            await peer.read()

        async with Fake(self.path, serve):
            with mock.patch.object(connection, "_HELLO_TIMEOUT", 0.05):
                with self.assertRaisesRegex(slotd.ConnectionLost, "hello in 0.05 s"):
                    await self.within(Client(self.path).connect())

    async def test_a_refusal_instead_of_hello(self):
        async def serve(peer):
            peer.send(error(None, 1008, "LimitExceeded"))
            await peer.read()

        async with Fake(self.path, serve):
            with self.assertRaises(slotd.RemoteError) as caught:
                await self.within(Client(self.path).connect())
            self.assertEqual(caught.exception.kind, "LimitExceeded")

    async def test_lines_in_any_pieces(self):
        async def serve(peer):
            await peer.greet()
            sub = await peer.subscribed()
            ident = (await peer.until("job.submit"))["id"]
            for byte in (b"\r\n\n" + result(ident, {"job": 1, "phase": "running", "existing": False})
                         + item(sub, 1, 1, 1, tag="t")):
                peer.send(bytes([byte]))
                await peer.writer.drain()
            await peer.read()

        async with Fake(self.path, serve), Client(self.path) as client:
            self.assertEqual((await self.within(client.submit(["true"]))).tag, "t")


class Deaths(FakeCase):
    """Connections that end where they shouldn't."""

    async def serve_cut(self, peer, cut):
        """One good conversation, of which the connections before the last see ``cut`` bytes."""
        hello = await peer.greet(**DURABLE)
        sub = await peer.until("completions.subscribe")
        end = item(sub["id"], 1, 7, 5, stdout="out")
        if peer.number > 0:
            self.assertEqual(hello["params"]["session"], "s1")
            if sub["params"]["since_seq"] < 5:
                peer.send(end)
        submit = await peer.until("job.submit")  # not again where its answer arrived
        self.keys.add(submit["params"]["key"])
        said = result(submit["id"], {"job": 7, "phase": "running", "existing": peer.number > 0})
        if peer.number == 0:
            peer.send((said + end)[:cut])
            return
        peer.send(said)
        asked = await peer.until("futures.as_completed")
        peer.send(item(asked["id"], 1, 7, 5, stdout="out"),
                  error(asked["id"], 1005, "Timeout", remaining=[]))
        await peer.read()

    async def test_a_cut_at_any_byte_settles_once(self):
        with mock.patch.object(connection, "_PAUSE_FIRST", 0.0):
            for cut in range(0, 330):
                self.keys = set()
                async with Fake(self.path, lambda peer, cut=cut: self.serve_cut(peer, cut)) as fake:
                    async with Client(self.path) as client:
                        settled = []
                        future = client.submit(["true"])
                        future.add_done_callback(settled.append)
                        done = await self.within(future)
                        self.assertEqual((done.job, done.stdout, len(settled)), (7, b"out", 1))
                        self.assertEqual((len(self.keys), client.lost), (1, None))
                    self.assertLessEqual(len(fake.peers), 2)
                self.remove_socket()

    async def test_without_durability_a_cut_is_the_end(self):
        async def serve(peer):
            await peer.greet()
            await peer.until("job.submit")

        async with Fake(self.path, serve), Client(self.path) as client:
            future = client.submit(["true"])
            with self.assertRaises(slotd.ConnectionLost):
                await self.within(future)
            with self.assertRaises(slotd.ConnectionLost):
                await self.within(future.submitted())
            self.assertIsInstance(client.lost, slotd.ConnectionLost)
            with self.assertRaises(slotd.ConnectionLost):
                await client.call("stats.get")

    async def test_a_daemon_that_only_ever_greets_is_given_up(self):
        async def serve(peer):
            await peer.greet(**DURABLE)

        async with Fake(self.path, serve) as fake, Client(self.path, reconnect=0.3) as client:
            with self.assertRaises(slotd.ConnectionLost):
                await self.within(client.submit(["true"]))
            self.assertLess(len(fake.peers), 20)

    async def test_a_daemon_with_nothing_to_say_may_go_more_than_once(self):
        """While a long job runs there is no line to read, however long that takes."""
        async def serve(peer):
            await peer.greet(**DURABLE)
            sub = await peer.subscribed()
            if peer.number == 0:
                submit = await peer.until("job.submit")
                peer.send(result(submit["id"], {"job": 1, "phase": "running", "existing": False}))
            elif peer.number < 3:
                await asyncio.sleep(0.4)  # longer than reconnect: that is counted anew
            else:
                peer.send(item(sub, 1, 1, 1))
                await peer.read()

        with mock.patch.object(connection, "_GOOD", 0.1):
            async with Fake(self.path, serve) as fake, Client(self.path, reconnect=0.3) as client:
                self.assertTrue((await self.within(client.submit(["true"]))).ok)
                self.assertEqual(len(fake.peers), 4)

    async def test_nothing_is_written_to_a_connection_that_broke_under_a_write(self):
        async def serve(peer):
            await peer.greet(**DURABLE)
            if peer.number == 0:
                return
            for job in range(1, 501):
                submit = await peer.until("job.submit")
                peer.send(result(submit["id"], {"job": job, "phase": "running", "existing": False}))
            await peer.read()

        async with Fake(self.path, serve) as fake, Client(self.path) as client:
            while not fake.peers[0].writer.transport.is_closing():
                await asyncio.sleep(0)
            with mock.patch.object(asyncio.log.logger, "warning") as warning:
                futures = [client.submit(["true"], tag="x" * 4000) for _ in range(500)]
                client._connection._pump()  # before this side has read of the end
                await self.within(asyncio.gather(*(f.submitted() for f in futures)))
            warning.assert_not_called()

    async def test_a_cancel_while_there_is_no_connection_arrives(self):
        cancelled = asyncio.get_running_loop().create_future()
        away = asyncio.Event()

        async def serve(peer):
            await peer.greet(**DURABLE)
            await peer.subscribed()
            if peer.number == 0:
                known = await peer.until("job.submit")
                peer.send(result(known["id"], {"job": 1, "phase": "running", "existing": False}))
                await peer.until("job.submit")
                await peer.writer.drain()
                return
            await away.wait()
            unknown = await peer.until("job.submit")
            peer.send(result(unknown["id"], {"job": 2, "phase": "running", "existing": True}))
            ids = []
            while len(ids) < 2:
                request = await peer.read()
                if request["method"] == "job.cancel":
                    ids += request["params"]["jobs"]
                    peer.send(result(request["id"], {"results": []}))
            cancelled.set_result(sorted(ids))
            await peer.read()

        async with Fake(self.path, serve) as fake, Client(self.path) as client:
            known = client.submit(["sleep", "60"])
            await self.within(known.submitted())
            unknown = client.submit(["sleep", "60"])
            while client._connection._wire is not None:
                await asyncio.sleep(0.001)
            known.cancel()
            unknown.cancel()
            away.set()
            self.assertEqual(await self.within(cancelled), [1, 2])
            self.assertEqual(len(fake.peers), 2)

    async def test_close_gives_up_on_cancels_that_nobody_answers(self):
        async def serve(peer):
            await peer.greet()
            await peer.until("never")

        async with Fake(self.path, serve):
            client = Client(self.path)
            await client.connect()
            future = client.submit(["true"])
            await asyncio.sleep(0)
            future.cancel()
            with mock.patch.object(slotd.aio, "_CLOSE_TIMEOUT", 0.05), \
                    self.assertWarnsRegex(RuntimeWarning, "to cancel 1 job: those may go on") as warned:
                await client.close()
            self.assertEqual(warned.filename, __file__)
            await client.close()

    async def close_with_cancels(self, serve, patience, **options):
        """What is warned of at the close of a client with two cancelled jobs and one that isn't."""
        async with Fake(self.path, serve):
            client = Client(self.path, **options)
            await client.connect()
            futures = [client.submit(["true"]) for _ in range(3)]
            await self.within(asyncio.gather(*(f.submitted() for f in futures)))
            while client._connection._wire is not None:
                await asyncio.sleep(0.001)
            for future in futures[:2]:
                future.cancel()
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                with mock.patch.object(slotd.aio, "_CLOSE_TIMEOUT", patience):
                    await self.within(client.close())
        self.remove_socket()
        return [str(w.message) for w in warned if w.category is RuntimeWarning]

    async def test_close_warns_where_the_daemon_stays_away_or_only_ever_greets(self):
        async def serve(peer, later):
            await peer.greet(**DURABLE)
            if peer.number > 0:
                return await later(peer)
            for job in (1, 2, 3):
                submit = await peer.until("job.submit")
                peer.send(result(submit["id"], {"job": job, "phase": "running", "existing": False}))
            await peer.writer.drain()

        async def leave(peer):
            pass

        async def say_nothing(peer):
            await peer.until("never")

        async def refuse(peer):
            peer.send(error((await peer.until("job.cancel"))["id"], -32603, "InternalError"))
            await peer.until("never")

        async def know_none(peer):
            while True:
                message = await peer.until("job.cancel")
                peer.send(error(message["id"], 1001, "NoSuchJob", job=message["params"]["jobs"][0]))

        for later, reconnect, n in ((leave, 0.2, 1), (say_nothing, 60, 1), (refuse, 60, 1),
                                    (know_none, 60, 0)):
            with self.subTest(later=later.__name__):
                patience = 0.05 if later is say_nothing else scaled(20)
                warned = await self.close_with_cancels(partial(serve, later=later), patience,
                                                       reconnect=reconnect)
                self.assertEqual([w.split(" to cancel ")[1] for w in warned],
                                 ["2 jobs: those may go on"] * n)

    async def test_close_twice_at_a_time_waits_for_the_same_answer(self):
        go = asyncio.Event()

        async def serve(peer):
            await peer.greet()
            submit = await peer.until("job.submit")
            peer.send(result(submit["id"], {"job": 1, "phase": "running", "existing": False}))
            cancel = await peer.until("job.cancel")
            await go.wait()
            peer.send(result(cancel["id"], {"results": []}))
            await peer.read()

        async with Fake(self.path, serve):
            client = Client(self.path)
            await client.connect()
            future = client.submit(["true"])
            await self.within(future.submitted())
            future.cancel()
            with mock.patch.object(slotd.aio, "_CLOSE_TIMEOUT", 3600):
                both = [asyncio.ensure_future(client.close()) for _ in range(2)]
                await asyncio.sleep(0)
                go.set()
                await self.within(asyncio.gather(*both))

    async def test_a_cancel_is_not_for_another_instances_job(self):
        seen, cancelled = [], asyncio.get_running_loop().create_future()

        async def serve(peer):
            await peer.greet(**DURABLE)
            submit = await peer.until("job.submit")
            peer.send(result(submit["id"], {"job": 1, "phase": "running", "existing": False}))
            seen.append((await peer.until("stats.get"))["method"])
            seen.extend(message["method"] for message in peer.seen)
            peer.send(result(peer.seen[-1]["id"], {}))
            cancel = await peer.until("job.cancel")
            self.assertEqual(cancel["params"]["jobs"], [2])
            peer.send(result(cancel["id"], {"results": []}))
            cancelled.set_result(None)
            await peer.read()

        async with Fake(self.path, serve):
            client = Client(self.path)
            await client.connect()
            future = client.submit(["true"])
            await self.within(future.submitted())
            future.cancel()  # it is sent in the next turn; in this one another instance answers
            client._connection._greeted({**client.hello, "instance": "i2"})
            await self.within(client.call("stats.get"))
            self.assertNotIn("job.cancel", seen)
            self.assertFalse(client._jobs._owed)
            other = client.attach(2)  # a cancel for this one goes out
            other.cancel()
            await self.within(cancelled)
            with self.assertWarnsRegex(RuntimeWarning, "to cancel 1 job: "):
                await client.close()


class History(FakeCase):
    async def test_what_history_has_dropped_is_asked_for(self):
        async def serve(peer):
            await peer.greet()
            sub = await peer.subscribed()
            for job in (1, 2, 3):
                submit = await peer.until("job.submit")
                peer.send(result(submit["id"], {"job": job, "phase": "running", "existing": False}))
            peer.send(error(sub, 1009, "HistoryTruncated", oldest=9, instance="i1"))
            again = await peer.until("completions.subscribe")
            self.assertNotIn("since_seq", again["params"])
            asked = await peer.until("futures.as_completed")
            self.assertEqual(asked["params"]["jobs"], [1, 2, 3])
            peer.send(error(asked["id"], 1001, "NoSuchJob", job=2))
            for jobs_ in ([1], [3]):  # the others, in halves
                asked = await peer.until("futures.as_completed")
                self.assertEqual(asked["params"]["jobs"], jobs_)
                self.assertEqual(asked["params"]["timeout_ms"], 0)
                if jobs_ == [1]:
                    peer.send(item(asked["id"], 1, 1, 8))
                peer.send(error(asked["id"], 1005, "Timeout", remaining=jobs_))
            peer.send(item(again["id"], 1, 3, 12))
            await peer.read()

        async with Fake(self.path, serve), Client(self.path) as client:
            futures = [client.submit(["true"]) for _ in range(3)]
            done = await self.within(asyncio.gather(*futures, return_exceptions=True))
            self.assertEqual((done[0].seq, done[2].seq), (8, 12))
            self.assertEqual(done[1].kind, "NoSuchJob")

    async def test_thousands_that_are_gone_are_asked_for_a_few_times_each(self):
        asked = {"job.cancel": 0, "futures.as_completed": 0}
        n, there = 2000, {7, 1500}
        cancelled = []

        async def serve(peer):
            await peer.greet()
            while True:
                message = await peer.read()
                if message is None:
                    return
                method = message["method"]
                if method not in asked:
                    continue
                jobs = message["params"]["jobs"]
                asked[method] += len(jobs)
                missing = [job for job in jobs if job not in there]
                if missing:
                    peer.send(error(message["id"], 1001, "NoSuchJob", job=missing[0]))
                elif method == "job.cancel":
                    cancelled.extend(jobs)
                    peer.send(result(message["id"], {"results": []}))
                else:
                    peer.send(error(message["id"], 1005, "Timeout", remaining=jobs))

        async with Fake(self.path, serve), Client(self.path) as client:
            futures = [client.attach(job) for job in range(1, n + 1)]
            await self.within(asyncio.wait([f for f in futures if f.job not in there]))
            kinds = collections.Counter(f.exception().kind if f.done() else None for f in futures)
            self.assertEqual(kinds, {"NoSuchJob": n - 2, None: 2})
            jobs_ = client._jobs
            for future in futures:
                if not future.cancel():
                    jobs_._cancel_soon(future)  # as if it had been cancelled in time
            await self.within(jobs_.settle_cancels(scaled(30)))
            self.assertFalse(jobs_._owed)
        self.assertEqual(sorted(cancelled), sorted(there))
        for method, ids in asked.items():  # one by one it would be two millions
            self.assertLess(ids, 40 * n, method)

    async def test_an_id_that_is_none_fails_its_own_future(self):
        async def serve(peer):
            await peer.greet()
            while True:
                asked = await peer.until("futures.as_completed")
                if -1 in asked["params"]["jobs"]:
                    peer.send(error(asked["id"], -32602, "InvalidParams", param="jobs"))
                else:
                    peer.send(item(asked["id"], 1, 7, 1), result(asked["id"], {}))

        async with Fake(self.path, serve), Client(self.path) as client:
            ends = await self.within(asyncio.gather(client.attach(-1), client.attach(7),
                                                    return_exceptions=True))
            self.assertEqual((ends[0].kind, ends[1].job), ("InvalidParams", 7))

    async def test_a_key_that_is_none_is_no_default_of_the_clients(self):
        async def serve(peer):
            await peer.greet(**DURABLE)
            await peer.subscribed()
            if peer.number == 0:
                await peer.until("job.submit")
                return
            submit = await peer.until("job.submit")
            self.assertTrue(submit["params"]["key"].startswith("auto-"))
            peer.send(result(submit["id"], {"job": 1, "phase": "running", "existing": False}))
            await peer.read()

        async with Fake(self.path, serve), Client(self.path, key="one") as client:
            self.assertEqual(await self.within(client.submit(["true"], key=None).submitted()), 1)

    async def test_a_stream_that_is_refused_fails_the_futures(self):
        async def serve(peer):
            await peer.greet()
            sub = await peer.subscribed()
            peer.send(error(sub, -32603, "InternalError"))
            await peer.read()

        async with Fake(self.path, serve), Client(self.path) as client:
            with self.assertRaises(slotd.RemoteError):
                await self.within(client.submit(["true"]))

    async def test_completions_of_others_are_not_read(self):
        async def serve(peer):
            await peer.greet()
            sub = await peer.subscribed()
            ident = (await peer.until("job.submit"))["id"]
            for n in range(1, 1001):  # no JSON: whoever parses it will say so
                peer.send(b'{"jsonrpc":"2.0","method":"$/item","params":{"stream":%d,"n":%d,"job":%d,'
                          b'"seq":%d,"ok":!!!}\n' % (sub, n, 1000 + n, n))
            peer.send(result(ident, {"job": 1, "phase": "running", "existing": False}),
                      item(sub, 1001, 1, 1001))
            await peer.read()

        async with Fake(self.path, serve), Client(self.path) as client:
            self.assertEqual((await self.within(client.submit(["true"]))).seq, 1001)

    async def test_an_idle_client_closes_the_stream_and_opens_it_again(self):
        async def serve(peer):
            await peer.greet()
            for job in (1, 2):
                sub = await peer.subscribed()
                submit = await peer.until("job.submit")
                peer.send(result(submit["id"], {"job": job, "phase": "running", "existing": False}),
                          item(sub, 1, job, job))
                if job == 1:
                    cancel = await peer.until("$/cancel")
                    self.assertEqual(cancel["params"]["id"], sub)
                    peer.send(item(sub, 2, 99, 99), error(sub, -32800, "RequestCancelled"))
                    self.idle.set()
            await peer.read()

        self.idle = asyncio.Event()
        with mock.patch.object(jobs, "_IDLE", 0.01):
            async with Fake(self.path, serve), Client(self.path) as client:
                await self.within(client.submit(["true"]))
                await self.within(self.idle.wait())
                await self.within(client.submit(["true"]))


class Pace(FakeCase):
    async def test_a_daemon_that_does_not_answer_is_not_flooded(self):
        most, asked = 0, []

        async def serve(peer):
            nonlocal most
            await peer.greet()
            sub = await peer.subscribed()
            while len(asked) < 5000:
                open_ = []
                try:
                    while True:
                        message = await asyncio.wait_for(peer.read(), 0.2 if not open_ else 0.05)
                        if message["method"] == "job.submit":
                            open_.append(message["id"])
                except asyncio.TimeoutError:
                    most = max(most, len(open_))
                for ident in open_:
                    asked.append(ident)
                    peer.send(result(ident, {"job": len(asked), "phase": "running", "existing": False}),
                              item(sub, len(asked), len(asked), len(asked)))
            await peer.read()

        async with Fake(self.path, serve), Client(self.path) as client:
            done = await self.within(asyncio.gather(*(client.submit(["true"]) for _ in range(5000))))
            self.assertEqual([c.job for c in done], list(range(1, 5001)))
            self.assertLessEqual(most, 1024)

    async def test_a_daemon_that_does_not_read_costs_a_chunk_and_can_be_left(self):
        stopped, go = asyncio.Event(), asyncio.Event()

        async def serve(peer):
            await peer.greet()
            peer.writer.transport.pause_reading()
            stopped.set()
            await go.wait()
            peer.writer.transport.resume_reading()
            while await peer.read():
                pass

        async with Fake(self.path, serve):
            client = Client(self.path)
            await client.connect()
            await self.within(stopped.wait())
            futures = [client.submit(["true"], tag="x" * 4000) for _ in range(3000)]
            transport = client._connection._wire.transport
            while not transport.get_write_buffer_size():
                await asyncio.sleep(0.001)
            self.assertLess(transport.get_write_buffer_size(), 256 << 10)
            closing = asyncio.ensure_future(client.close())
            await asyncio.sleep(0.01)  # what it has written can't leave
            self.assertFalse(closing.done())
            go.set()
            await self.within(closing)
            ends = await asyncio.gather(*futures, return_exceptions=True)
            self.assertEqual({type(end) for end in ends}, {slotd.ConnectionLost})

    async def test_close_does_not_wait_for_ever_for_one_that_does_not_read(self):
        async def serve(peer):
            await peer.greet()
            peer.writer.transport.pause_reading()
            await asyncio.sleep(60)

        async with Fake(self.path, serve):
            client = Client(self.path)
            await client.connect()
            for _ in range(1000):
                client.submit(["true"], tag="x" * 4000)
            await asyncio.sleep(0.01)
            with mock.patch.object(connection, "_CLOSE_TIMEOUT", 0.05):
                await self.within(client.close())

    async def test_calls_that_wait_queue_here(self):
        async def serve(peer):
            await peer.greet(limits={"max_in_flight": 20})
            open_, most, seen = [], 0, 0
            while seen < 30:
                message = await peer.read()
                if message["method"] == "job.result":
                    seen += 1
                    open_.append(message["id"])
                    most = max(most, len(open_))
                if message["method"] == "stats.get":  # what doesn't wait passes them
                    peer.send(result(message["id"], {"seen": seen}))
                    while seen < 30:
                        peer.send(result(open_.pop(0), {}))
                        message = await peer.read()
                        seen += 1
                        open_.append(message["id"])
                        most = max(most, len(open_))
            self.assertLessEqual(most, 19)
            for ident in open_:
                peer.send(result(ident, {}))
            await peer.read()

        async with Fake(self.path, serve), Client(self.path) as client:
            calls = [asyncio.ensure_future(client.call("job.result", {"job": n, "wait_ms": 1}))
                     for n in range(30)]
            await asyncio.sleep(0)
            seen = (await self.within(client.call("stats.get")))["seen"]
            self.assertLess(seen, 30)
            await self.within(asyncio.gather(*calls))


class Noise(FakeCase):
    async def test_a_lost_connection_is_no_noise_and_a_failed_job_as_in_asyncio(self):
        async def serve(peer):
            await peer.greet()
            sub = await peer.subscribed()
            for job in (1, 2):
                submit = await peer.until("job.submit")
                peer.send(result(submit["id"], {"job": job, "phase": "running", "existing": False}))
            peer.send(item(sub, 1, 1, 1, ok=False, exit_code=3))
            await peer.until("job.submit")

        said = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append(context))
        async with Fake(self.path, serve), Client(self.path) as client:
            failed, lost = client.submit(["false"]), client.submit(["true"])
            await self.within(asyncio.wait([failed]))
            unknown = client.submit(["true"])
            call = asyncio.ensure_future(client.call("stats.get"))
            await self.within(asyncio.wait([lost, unknown, call]))
            call.exception()
        del failed, lost, unknown, call
        gc.collect()
        await asyncio.sleep(0)
        self.assertEqual([context["message"] for context in said],
                         ["JobFuture exception was never retrieved"])

    async def test_a_refusal_that_nobody_looked_at_is_told_once(self):
        async def serve(peer):
            await peer.greet()
            for _ in range(3):
                submit = await peer.until("job.submit")
                peer.send(error(submit["id"], 1003, "QueueFull"))
            await peer.read()

        said = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append(context))
        async with Fake(self.path, serve), Client(self.path) as client:
            futures = [client.submit(["true"]) for _ in range(3)]
            with self.assertRaises(slotd.RemoteError):
                await self.within(futures[0].submitted())
            await self.within(asyncio.wait(futures))
            self.assertEqual(futures.pop().exception().kind, "QueueFull")
            del futures
            gc.collect()
            self.assertEqual([context["exception"].kind for context in said], ["QueueFull"])


class Lines(unittest.TestCase):
    def test_they_are_cut_at_every_place(self):
        data = b"one\ntwo\n\nthree\nrest"
        for at in range(len(data) + 1):
            lines = wire.Lines()
            self.assertEqual(lines.feed(data[:at]) + lines.feed(data[at:]),
                             [b"one", b"two", b"", b"three"])
            self.assertEqual(lines.feed(b"\n"), [b"rest"])

    def test_one_of_the_most_bytes_is_taken_and_no_longer_one(self):
        lines = wire.Lines()
        self.assertEqual(lines.feed(b"x" * wire.LINE_MAX + b"\n"), [b"x" * wire.LINE_MAX])
        for data in (b"x" * (wire.LINE_MAX + 1), b"x" * (wire.LINE_MAX + 1) + b"\n"):
            with self.assertRaises(slotd.ProtocolError):
                wire.Lines().feed(data)


class Bytes(unittest.TestCase):
    def test_they_come_back_as_they_were(self):
        for raw in (b"", b"text", "ünï".encode(), b"\xff", b"\x00" * 5, b"\x01" * 5000,
                    b'"' * 5000, b"x" * 5000, bytes(range(256)) * 20):
            value = wire.from_bytes(raw)
            self.assertEqual(wire.to_bytes(value), raw)
            self.assertLess(len(wire.to_json({"v": value})), len(raw) * 1.5 + 64)
