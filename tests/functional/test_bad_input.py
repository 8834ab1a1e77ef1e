"""Bad input is a clear error to its sender and disturbs nobody else."""

import asyncio
import json
import socket

from slottest import Case, alone, eventually, limit, line, scaled
from slottest.client import MAX_LINE


class Lines(Case):
    """Malformed lines over a raw connection; self.c is the other client."""

    async def undisturbed(self):
        self.assertTrue((await self.c.run("true"))["ok"])

    async def answer(self, data, raw=None):
        """Send bytes, read one message; the connection must still work afterwards."""
        own = raw or await self.d.raw()
        await own.send(data)
        message = await own.recv()
        self.assertIsNotNone(message, f"connection ended after {data[:80]!r}")
        await own.send(line("stats.get", {}, "still-there"))
        self.assertIn("result", await own.recv_id("still-there"))
        if raw is None:
            own.close()
        return message

    async def expect(self, data, code, kind, request=None, **members):
        message = await self.answer(data)
        self.assertIn("error", message, data[:200])
        error = message["error"]
        self.assertEqual((error["code"], error["data"]["kind"], message["id"]),
                         (code, kind, request), f"{data[:200]!r}: {message}")
        for key, value in members.items():
            self.assertEqual(error["data"].get(key), value, f"{data[:200]!r}: {message}")
        return error

    async def test_malformed_json(self):
        for text in (b"{", b"}", b"nonsense", b'{"jsonrpc":"2.0",}', b'{"a":1 "b":2}', b'"',
                     b"{'a':1}", b'{"jsonrpc":"2.0","id":1,"method":"stats.get"', b"\x00", b"\xff",
                     b'{"a":"\xff"}', b'{"a":01}', b'{"a":1}{"b":2}', b'{"a":NaN}', b"nul",
                     b'{"a":"\\ud800"}', b'{"a":"\x01"}', b"[1,2",
                     b'{"jsonrpc":"2.0","a":1,"a":2}'):
            with self.subTest(text):
                await self.expect(text + b"\n", -32700, "ParseError")
        await self.undisturbed()

    async def test_not_a_request(self):
        for text in (b"{}", b"3", b'"text"', b"null", b'{"id":1,"method":"stats.get"}',
                     b'{"jsonrpc":"1.0","id":1,"method":"stats.get"}',
                     b'{"jsonrpc":2.0,"id":1,"method":"stats.get"}'):
            with self.subTest(text):
                message = await self.answer(text + b"\n")
                self.assertEqual((message["error"]["code"], message["error"]["data"]["kind"]),
                                 (-32600, "InvalidRequest"), message)
        await self.undisturbed()

    async def test_a_nul_in_a_members_name(self):
        text = (b'{"jsonrpc":"2.0","id":1,"method":"job.submit","params":'
                b'{"argv":["true"],"env":{"a\\u0000b":"1"}}}\n')
        message = await self.answer(text)
        self.assertIn(message["id"], (None, 1))
        self.assertEqual((message["error"]["code"], message["error"]["data"]["kind"]),
                         (-32602, "InvalidParams"))

    async def test_method_is_a_string(self):
        for text in (b'{"jsonrpc":"2.0","id":1}', b'{"jsonrpc":"2.0","id":1,"method":5}',
                     b'{"jsonrpc":"2.0","id":1,"method":null}'):
            with self.subTest(text):
                await self.expect(text + b"\n", -32600, "InvalidRequest", 1)

    async def test_ids_are_strings_or_integers(self):
        for value in ("null", "1.5", "true", "{}", "[]"):
            with self.subTest(value):
                await self.expect(b'{"jsonrpc":"2.0","id":%s,"method":"stats.get"}\n'
                                  % value.encode(), -32600, "InvalidRequest")
        for value in (0, -5, "", "x" * 100, 2**53 - 1, "ünï"):
            with self.subTest(value):
                message = await self.answer(line("stats.get", {}, value))
                self.assertEqual(message["id"], value)

    async def test_a_call_without_id_is_answered_with_id_null(self):
        await self.expect(b'{"jsonrpc":"2.0","method":"stats.get"}\n', -32600, "InvalidRequest")

    async def test_batches_and_positional_params_are_refused(self):
        await self.expect(b'[{"jsonrpc":"2.0","id":1,"method":"stats.get"}]\n', -32600,
                          "InvalidRequest")
        await self.expect(b"[]\n", -32600, "InvalidRequest")
        await self.expect(b'{"jsonrpc":"2.0","id":1,"method":"job.get","params":[1]}\n', -32602,
                          "InvalidParams", 1)
        for value in (b"3", b'"x"', b"null", b"true"):
            message = await self.answer(
                b'{"jsonrpc":"2.0","id":1,"method":"job.get","params":' + value + b"}\n")
            self.assertIn(message["error"]["code"], (-32600, -32602))

    async def test_unknown_methods(self):
        for name in ("job.explode", "", "job", "JOB.SUBMIT", "rpc.nothing", "x" * 1000, "a\nb"):
            with self.subTest(name):
                await self.expect(line(name, {}), -32601, "MethodNotFound", 1)
        await self.undisturbed()

    async def test_unknown_notifications_are_ignored(self):
        raw = await self.d.raw()
        await raw.send(b'{"jsonrpc":"2.0","method":"$/unheard","params":{"a":1}}\n'
                       b'{"jsonrpc":"2.0","method":"$/cancel","params":{"id":99}}\n'
                       b'{"jsonrpc":"2.0","method":"$/credit","params":{"stream":99,"n":1}}\n'
                       b'{"jsonrpc":"2.0","method":"$/cancel","params":{"id":{}}}\n'
                       b'{"jsonrpc":"2.0","method":"$/cancel"}\n'
                       b'{"jsonrpc":"2.0","method":"$/credit","params":{"stream":1,"n":-5}}\n'
                       + line("stats.get", {}, 7))
        while True:
            message = await raw.recv()
            if message.get("id") == 7:
                break
            self.assertIsNone(message["id"])
        self.assertIn("result", message)

    async def test_crlf_and_blank_lines_are_accepted(self):
        raw = await self.d.raw()
        await raw.send(b"\n\r\n\n" + line("stats.get", {}, 1).replace(b"\n", b"\r\n") + b"\r\n")
        self.assertIn("result", await raw.recv())

    async def test_params_may_be_absent(self):
        message = await self.answer(b'{"jsonrpc":"2.0","id":1,"method":"limits.get"}\n')
        self.assertIn("result", message)

    async def test_a_2_mib_line_is_drained_and_refused(self):
        raw = await self.d.raw()
        await raw.send(line("job.submit", {"argv": ["true", "x" * (2 << 20)]}))
        message = await raw.recv()
        self.assertEqual((message["id"], message["error"]["code"],
                          message["error"]["data"]["kind"]), (None, -32001, "FrameTooLarge"))
        await raw.send(line("stats.get", {}, 2))
        self.assertIn("result", await raw.recv_id(2))
        await self.undisturbed()

    async def test_the_limit_of_a_line_is_1_mib(self):
        base = len(line("job.submit", {"argv": ["true", ""]}))
        fits = line("job.submit", {"argv": ["true", "x" * (MAX_LINE - base - 1)]})
        self.assertLess(len(fits), MAX_LINE + 1)
        message = await self.answer(fits)
        self.assertEqual(message["error"]["data"]["kind"], "LimitExceeded")
        over = line("job.submit", {"argv": ["true", "x" * (MAX_LINE - base + 16)]})
        await self.expect(over, -32001, "FrameTooLarge")

    async def test_depth_is_bounded(self):
        for depth in (33, 1000, 100_000):
            with self.subTest(depth):
                text = (b'{"jsonrpc":"2.0","id":1,"method":"job.submit","params":{"tag":'
                        + b"[" * depth + b"]" * depth + b"}}\n")
                message = await self.answer(text)
                self.assertIn(message["error"]["data"]["kind"],
                              ("ParseError", "InvalidRequest", "LimitExceeded"))
        tag = []
        for _ in range(26):
            tag = [tag]
        job = await self.c.run("true", tag=tag)
        self.assertEqual(job["tag"], tag)

    async def test_a_mebibyte_of_tokens_costs_little(self):
        await self.c.run("true")
        before = self.d.rss_kib()
        text = (b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":['
                + b"{}," * 300_000 + b"{}]}}\n")
        self.assertLess(len(text), MAX_LINE)
        message = await self.answer(text)
        self.assertIn(message["error"]["data"]["kind"],
                      ("ParseError", "InvalidRequest", "LimitExceeded"))
        self.assertLess(self.d.rss_kib() - before, 16 * 1024 * (4 if scaled(1) > 1 else 1))

    async def test_eight_malformed_lines_in_a_row_end_the_connection(self):
        raw = await self.d.raw()
        await raw.send(b"{\n" * 8)
        messages = await raw.recv_eof()
        self.assertIn(len(messages), (7, 8))
        for message in messages:
            self.assertEqual(message["error"]["data"]["kind"], "ParseError")
        await self.undisturbed()

    async def test_a_good_line_between_malformed_ones_starts_the_count_again(self):
        raw = await self.d.raw()
        for _ in range(3):
            await raw.send(b"{\n" * 7 + line("stats.get", {}, 5))
            for _ in range(7):
                self.assertEqual((await raw.recv())["error"]["code"], -32700)
            self.assertIn("result", await raw.recv())

    async def test_refused_requests_are_not_malformed_lines(self):
        raw = await self.d.raw()
        for index in range(20):
            await raw.send(line("job.get", {"job": 12345}, index))
            self.assertEqual((await raw.recv())["id"], index)

    async def test_an_id_in_flight_may_not_be_used_again(self):
        gate = self.gate()
        job = await self.c.submit(gate.spec())
        raw = await self.d.raw()
        await raw.send(line("futures.wait", {"jobs": [job]}, 1) + line("stats.get", {}, 1))
        refused = await raw.recv()
        self.assertEqual(refused["error"]["code"], -32600)
        gate.open()
        while True:
            message = await raw.recv()
            if "result" in message:
                break
        self.assertEqual(len(message["result"]["done"]), 1)
        await raw.send(line("stats.get", {}, 1))
        self.assertIn("uptime_ms", (await raw.recv())["result"])

    async def test_string_and_integer_ids_are_different(self):
        gate = self.gate()
        job = await self.c.submit(gate.spec())
        raw = await self.d.raw()
        await raw.send(line("futures.wait", {"jobs": [job]}, 1) + line("stats.get", {}, "1"))
        self.assertEqual((await raw.recv())["id"], "1")
        gate.open()
        self.assertEqual((await raw.recv())["id"], 1)

    async def test_a_request_in_many_pieces(self):
        raw = await self.d.raw()
        text = line("job.submit", {"argv": ["echo", "slow"]}, 1)
        for index in range(len(text) - 1):
            await raw.send(text[index:index + 1])
            if index % 16 == 0:
                await self.c.call("stats.get")
        await self.undisturbed()
        await raw.send(text[-1:])
        self.assertIn("result", await raw.recv())

    async def test_many_requests_in_one_piece(self):
        raw = await self.d.raw()
        await raw.send(b"".join(line("stats.get", {}, i) for i in range(500)))
        for index in range(500):
            self.assertEqual((await raw.recv())["id"], index)

    async def test_every_prefix_and_mutation_of_a_request_is_survived(self):
        text = line("job.submit", {"argv": ["true"], "env": {"A": "1"}, "stdin": {"data": "x"},
                                   "tag": [1, {"b": None}], "retries": {"max": 1}}, 1)
        raw = await self.d.raw()
        count = 0
        for index in range(len(text) - 1):
            for data in (text[:index] + b"\n", text[:index] + b"\x00" + text[index + 1:],
                         text[:index] + b"[" + text[index:], text[:index] + text[index + 1:]):
                # A good line after each keeps the connection.
                await raw.send(data + line("stats.get", {}, "sync"))
                while True:
                    message = await raw.recv()
                    if message.get("id") == "sync":
                        break
                count += 1
        self.assertGreater(count, 400)
        await self.undisturbed()


class Params(Case):
    async def refused(self, method, params, name=None, kinds=("InvalidParams",)):
        error = await self.c.error(method, **params)
        self.assertIn(error.kind, kinds, f"{method} {str(params)[:200]}: {error}")
        if error.kind == "InvalidParams":
            self.assertEqual(error.code, -32602)
            if name:
                # An unknown member of a member is named itself; `path` says where it stands.
                self.assertIn(name, error.data.get("path", "") + error.data.get("param", ""),
                              f"{method} {str(params)[:200]}: {error}")

    async def test_wrong_values_in_a_spec_are_refused_by_name(self):
        nul = "a\0b"
        table = [
            ({}, "argv"), ({"argv": []}, "argv"), ({"argv": "true"}, "argv"),
            ({"argv": None}, "argv"), ({"argv": [1]}, "argv"), ({"argv": [None]}, "argv"),
            ({"argv": ["true", nul]}, "argv"), ({"argv": [{"b64": "AGE="}]}, "argv"),
            ({"argv": [{"b64": "!!"}]}, "argv"), ({"argv": [{"b64": "YQ"}]}, "argv"),
            ({"argv": [{"b64": 5}]}, "argv"), ({"argv": [{}]}, "argv"),
            ({"argv": [{"b64": "YQ==", "x": 1}]}, "argv"),
        ]
        for key, values in {
            "cwd": [5, nul, [], "", "relative"],
            "env": [5, "A=1", {"A": 1}, {"A": nul}, {"A=B": "1"},
                                             {"": "1"}, ["novalue"], ["=x"], [5]],
            "umask": ["022", -1, 512 + 512, 1.5], "nice": ["5", 20, -21, 1.5],
            "rlimits": [5, {"nope": 1}, {"nofile": "many"}, {"nofile": -5}, {"nofile": [2, 1]},
                        {"nofile": [1]}],
            "stdin": [5, "nope", {}, {"data": 5}, {"file": 5}, {"file": nul}, {"fd": "x"},
                      {"data": "x", "file": "y"}, "capture", "stdout", {"append": True}],
            "stdout": [5, "nope", {}, {"file": 5}, "stdout", "pipe", {"data": "x"},
                       {"file": "/x", "append": "yes"}],
            "stderr": [5, "nope", "stderr", "pipe"],
            "output_limit": [-1, "1", 1.5], "timeout_ms": [-1, "1", 1.5, 2**53],
            "kill_grace_ms": [-1, "1"], "ok_codes": [0, ["0"], [256], [-1], [1.5]],
            "queue": [5, "", "absent"], "priority": [101, -101, "high", 0.5],
            "slots": [0, -1, "2", 1.5], "after": ["x", 5, ["1"], [1.5], [0]],
            "after_policy": ["never", 1], "delay_ms": [-1, "1"], "not_before_us": [-1, "now"],
            "retries": [3, {"max": -1}, {"max": "x"}, {"max": 1, "on": ["success"]}, {"nope": 1},
                        {"max": 1, "backoff_ms": -1}],
            "name": [5, nul], "key": [5, "k" * 129], "lifetime": ["forever", 1],
            "on_full": ["maybe", True], "leftovers": ["eat"], "tty": ["yes"],
        }.items():
            table += [({"argv": ["true"], key: value}, key) for value in values]
        for params, name in table:
            with self.subTest(str(params)[:100]):
                kinds = ("InvalidParams", "NoSuchJob") if name == "after" else ("InvalidParams",)
                await self.refused("job.submit", params, name, kinds)
        self.assertEqual((await self.c.call("job.list"))["jobs"], [])

    async def test_unknown_parameters_are_refused_by_name(self):
        for method, params in (("job.submit", {"argv": ["true"]}), ("job.list", {}),
                               ("stats.get", {}), ("hello", {}), ("futures.wait", {"jobs": [1]}),
                               ("limits.set", {}), ("map.open", {"limit": 1})):
            error = await self.c.error(method, colour="red", **params)
            self.assertKind(error, "InvalidParams", -32602, param="colour")

    async def test_vendor_parameters_with_a_dot_are_accepted(self):
        params = {"argv": ["true"], "acme.colour": "red", "x.y.z": {"a": [1]}}
        job = (await self.c.call("job.submit", **params))["job"]
        self.assertTrue((await self.c.finish(job))["ok"])
        await self.c.call("stats.get", **{"acme.trace": True})

    async def test_what_is_not_supported_says_so(self):
        for key, value in (("jobserver", True), ("memory_max", 1 << 20), ("pids_max", 10)):
            error = await self.c.error("job.submit", argv=["true"], **{key: value})
            self.assertKind(error, "NotSupported", 1010)

    async def test_unknown_ids(self):
        for method, params in (("job.get", {}), ("job.result", {}), ("job.retry", {}),
                               ("job.set", {"priority": 1}), ("job.signal", {"signal": "TERM"}),
                               ("output.read", {"fd": 1}), ("output.follow", {}),
                               ("stdin.write", {"data": "x"})):
            for job in (999, 2**53 - 1):
                with self.subTest(f"{method} {job}"):
                    error = await self.c.error(method, job=job, **params)
                    self.assertKind(error, "NoSuchJob", 1001)
        for method in ("job.cancel", "job.forget", "futures.wait", "futures.gather",
                       "futures.as_completed"):
            self.assertKind(await self.c.error(method, jobs=[999]), "NoSuchJob", 1001)

    async def test_bad_ids(self):
        for job in (0, -1, "1", 1.5, None, True, [1], 2**53, 2**63, 1e300):
            # Beyond 64 bits the number alone is refused, whatever parameter it stands in.
            name = "job" if not isinstance(job, int) or job < 2**63 else None
            for method in ("job.get", "output.read"):
                with self.subTest(f"{method} {job}"):
                    extra = {"fd": 1} if method == "output.read" else {}
                    await self.refused(method, {"job": job, **extra}, name,
                                       ("InvalidParams", "NoSuchJob", "ParseError"))
        for jobs in ([0], ["1"], [1.5], [None], [[1]], {}, "1"):
            for method in ("job.cancel", "futures.wait"):
                await self.refused(method, {"jobs": jobs}, "jobs", ("InvalidParams", "NoSuchJob"))

    async def test_other_methods_check_their_parameters(self):
        job = (await self.c.run("true"))["job"]
        for method, params, name in (
                ("job.get", {}, "job"), ("job.cancel", {}, "jobs"),
                ("job.cancel", {"jobs": []}, "jobs"),
                ("job.cancel", {"jobs": [job], "grace_ms": -1}, "grace_ms"),
                ("job.cancel", {"jobs": [job], "wait": "yes"}, "wait"),
                ("job.signal", {"job": job}, "signal"),
                ("job.signal", {"job": job, "signal": "NOPE"}, "signal"),
                ("job.signal", {"job": job, "signal": 0}, "signal"),
                ("job.signal", {"job": job, "signal": 1000}, "signal"),
                ("job.signal", {"job": job, "signal": "HUP", "scope": "world"}, "scope"),
                ("job.list", {"phase": "gone"}, "phase"), ("job.list", {"limit": 0}, "limit"),
                ("job.list", {"order": "random"}, "order"), ("job.list", {"ok": "yes"}, "ok"),
                ("job.result", {"job": job, "wait_ms": -1}, "wait_ms"),
                ("futures.as_completed", {"jobs": [job], "timeout_ms": -1}, "timeout_ms"),
                ("futures.as_completed", {"jobs": [job], "window": 0}, "window"),
                ("futures.gather", {"jobs": [job], "return_exceptions": 1}, "return_exceptions"),
                ("map.open", {}, "limit"), ("map.open", {"limit": "4"}, "limit"),
                ("map.open", {"limit": 1, "on_error": "panic"}, "on_error"),
                ("map.open", {"limit": 1, "defaults": {"cwd": 5}}, "cwd"),
                ("map.push", {"jobs": [{"argv": ["true"]}]}, "stream"), ("map.end", {}, "stream"),
                ("completions.subscribe", {"since_seq": -1}, "since_seq"),
                ("completions.subscribe", {"filter": {"nope": 1}}, "nope"),
                ("events.subscribe", {"kinds": ["nope"]}, "kinds"),
                ("queue.set", {}, "queue"),
                ("queue.set", {"queue": "q", "max_running": -1}, "max_running"),
                ("job.submit_batch", {"jobs": []}, "jobs"), ("job.submit_batch", {}, "jobs"),
                ("job.submit_batch", {"jobs": [5]}, "jobs"), ("drain", {"mode": 5}, "mode"),
                ("stdin.write", {"job": job, "data": 5}, "data"),
                ("hello", {"protocol": 1}, "protocol")):
            with self.subTest(f"{method} {params}"):
                await self.refused(method, params, name)


class Misbehaviour(Case):
    async def test_a_client_that_sends_one_byte_at_a_time_disturbs_nobody(self):
        slow = [await self.d.raw() for _ in range(20)]
        text = line("stats.get", {}, 1)
        for index in range(len(text) - 1):
            for raw in slow:
                await raw.send(text[index:index + 1])
            if index % 10 == 0:
                self.assertTrue((await self.c.run("true"))["ok"])
        for raw in slow:
            await raw.send(text[-1:])
            self.assertIn("result", await raw.recv())

    async def test_an_idle_connection_with_half_a_line_stays(self):
        raw = await self.d.raw()
        text = line("stats.get", {}, 1)
        await raw.send(text[:10])
        for _ in range(30):
            await self.c.run("true")
        await raw.send(text[10:])
        self.assertIn("result", await raw.recv())

    @limit(120)
    async def test_a_client_that_never_reads_is_bounded_and_disturbs_nobody(self):
        job = await self.c.run(*(["true"] + ["x" * 2000] * 20))
        before = self.d.rss_kib()
        sock = self.d.stream_socket()
        sock.setblocking(False)
        text = b"".join(line("job.get", {"job": job["job"]}, i) for i in range(50))
        sent, stuck = 0, False
        try:
            # 400 MB of replies are asked for; the daemon must stop reading long before.
            while sent < 10_000 * len(text) // 50 and not stuck:
                try:
                    sent += sock.send(text[sent % len(text):])
                except BlockingIOError:
                    stuck = not await self.moves(sock)
            self.assertTrue(stuck, f"{sent} bytes of requests were taken from one that never reads")
            self.assertLess(self.d.rss_kib() - before, 16 * 1024 * (3 if scaled(1) > 1 else 1))
            self.assertTrue((await self.c.run("true"))["ok"])
            await self.reads_all(sock, sent // (len(text) // 50) - 100)
        finally:
            sock.close()
        self.assertTrue((await self.c.run("true"))["ok"])

    async def moves(self, sock):
        """Whether the daemon still takes bytes: some other client's work gets done meanwhile."""
        for _ in range(10):
            await self.c.run("true")
            try:
                sock.send(b"\n")
                return True
            except BlockingIOError:
                pass
        return False

    async def reads_all(self, sock, at_least):
        """Take the replies: the connection was only held, not lost."""
        loop = asyncio.get_running_loop()
        lines = 0
        while lines < at_least:
            data = await asyncio.wait_for(loop.sock_recv(sock, 1 << 20), scaled(20))
            self.assertTrue(data)
            lines += data.count(b"\n")

    async def test_a_client_that_goes_without_reading(self):
        for _ in range(20):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.connect(str(self.d.socket))
            sock.sendall(b"".join(line("rpc.discover", {}, i) for i in range(5)))
            sock.close()
        self.assertTrue((await self.c.run("true"))["ok"])

    async def test_a_thousand_connections_come_and_go(self):
        await self.c.run("true")
        before = self.d.fds()
        for _ in range(5):
            raws = [await self.d.raw() for _ in range(200)]
            await asyncio.gather(*[r.send(line("stats.get", {}, 1)) for r in raws])
            for raw in raws:
                self.assertIn("result", await raw.recv())
                raw.close()
        await eventually(lambda: self.d.fds() <= before, 10, "connections closed")

    async def test_connections_beyond_the_limit_wait_or_are_refused(self):
        small = await self.start(settings=["client.max_connections=5"])
        raws = [await small.raw() for _ in range(5)]
        for raw in raws:
            await raw.send(line("stats.get", {}, 1))
            self.assertIn("result", await raw.recv())
        extra = await small.raw()
        await raws[0].send(line("stats.get", {}, 2))
        self.assertIn("result", await raws[0].recv())
        for raw in (*raws, extra):
            raw.close()

        async def served():
            raw = await small.raw()
            try:
                await raw.send(line("stats.get", {}, 3))
                message = await raw.recv()
                return message is not None and "result" in message
            except OSError:
                return False
            finally:
                raw.close()
        await eventually(served, 10, "room again")

    async def test_a_request_that_ends_while_its_client_goes(self):
        gate = self.gate()
        job = await self.c.submit(gate.spec())
        for _ in range(20):
            other = await self.d.connect()
            other.stream("futures.as_completed", jobs=[job])
            other.stream("events.subscribe")
            other.stream("completions.subscribe")
            other.stream("output.follow", job=job)
            other.start("job.result", {"job": job, "wait_ms": 5000})
            other.start("job.cancel", {"jobs": [await self.c.submit("sleep", "60")], "wait": True})
            other.close()
        gate.open()
        self.assertTrue((await self.c.finish(job))["ok"])

        async def idle():
            return (await self.c.call("stats.get"))["running"] == 0
        await self.c.call("drain", mode="cancel")
        await eventually(idle, 20, "idle")
        stats = await self.c.call("stats.get")
        self.assertEqual((stats["streams"], stats["connections"]), (0, 1), json.dumps(stats))

    @alone
    @limit(120)
    async def test_memory_returns_after_a_storm_of_bad_lines(self):
        await self.c.run("true")
        storm = b"".join([b"{\n" * 7, line("stats.get", {}, 1), line("nope", {"x": "y" * 1000}),
                          line("job.submit", {"argv": []}), b"[" * 5000 + b"\n"])

        async def one_round():
            raw = await self.d.raw()
            for _ in range(20):
                await raw.send(storm + line("stats.get", {}, "end"))
                await raw.recv_id("end")
            raw.close()
        await one_round()
        before = self.d.rss_kib()
        for _ in range(20):
            await one_round()
        self.assertLess(self.d.rss_kib() - before, 4 * 1024 * (6 if scaled(1) > 1 else 1))
