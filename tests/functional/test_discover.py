"""rpc.discover describes exactly what the daemon does."""

import json

from slottest import Case, openrpc

METHODS = {
    "hello", "job.submit", "job.submit_batch", "map.open", "map.push", "map.end",
    "futures.as_completed", "futures.wait", "futures.gather", "job.result", "job.cancel",
    "job.signal", "job.get", "job.list", "job.set", "job.retry", "job.forget", "output.read",
    "output.follow", "stdin.write", "completions.subscribe", "events.subscribe", "queue.list",
    "queue.set", "queue.remove", "queue.pause", "queue.resume", "drain", "limits.get",
    "limits.set", "stats.get", "metrics.get", "admin.reload", "rpc.discover", "$/cancel",
    "$/credit",
}
SPEC = {
    "argv", "cwd", "env", "umask", "nice", "rlimits", "stdin", "stdout", "stderr", "tty",
    "output_limit", "timeout_ms", "kill_grace_ms", "ok_codes", "queue", "priority", "slots",
    "after", "after_policy", "delay_ms", "not_before_us", "retries", "name", "tag", "key",
    "lifetime", "on_full", "leftovers", "jobserver", "memory_max", "pids_max",
}
KINDS = {
    "ParseError": -32700, "InvalidRequest": -32600, "MethodNotFound": -32601,
    "InvalidParams": -32602, "InternalError": -32603, "ShuttingDown": -32000,
    "FrameTooLarge": -32001, "TooManyInFlight": -32002, "RequestCancelled": -32800,
    "NoSuchJob": 1001, "PermissionDenied": 1002, "QueueFull": 1003, "Draining": 1004,
    "Timeout": 1005, "InvalidState": 1007, "LimitExceeded": 1008, "HistoryTruncated": 1009,
    "NotSupported": 1010, "StorageDegraded": 1011, "CreditExceeded": 1012, "JobFailed": 1013,
    "JobCancelled": 1014, "KeyConflict": 1015,
}
OWN_ERRORS = {
    "job.submit": {"QueueFull", "Draining", "LimitExceeded", "KeyConflict"},
    "job.submit_batch": {"QueueFull", "Draining", "LimitExceeded", "KeyConflict"},
    "map.push": {"CreditExceeded"}, "futures.as_completed": {"Timeout"},
    "futures.gather": {"JobFailed", "JobCancelled"}, "job.result": {"InvalidState", "Timeout"},
    "job.signal": {"InvalidState"}, "job.set": {"InvalidState"}, "job.retry": {"InvalidState"},
    "job.forget": {"InvalidState"}, "stdin.write": {"InvalidState"},
    "completions.subscribe": {"HistoryTruncated"}, "queue.set": {"PermissionDenied"},
    "queue.remove": {"PermissionDenied"}, "queue.pause": {"PermissionDenied"},
    "queue.resume": {"PermissionDenied"}, "drain": {"PermissionDenied"},
    "limits.set": {"PermissionDenied"},
}


class Discover(Case):
    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.doc = await self.c.call("rpc.discover")

    def resolve(self, node):
        """Follow local references."""
        while isinstance(node, dict) and set(node) == {"$ref"}:
            found = self.doc
            for part in node["$ref"].lstrip("#/").split("/"):
                found = found[part]
            node = found
        return node

    def methods(self):
        return {m["name"]: m for m in map(self.resolve, self.doc["methods"])}

    async def test_it_is_an_openrpc_document(self):
        self.assertRegex(self.doc["openrpc"], r"^1\.\d+")
        self.assertLessEqual({"title", "version"}, set(self.doc["info"]))
        for name, method in self.methods().items():
            self.assertLessEqual({"name", "params"}, set(method), name)
            self.assertIn(method.get("paramStructure"), (None, "by-name"))
            for param in method["params"]:
                self.assertLessEqual({"name", "schema"}, set(self.resolve(param)), name)

    async def test_it_fits_the_meta_schema(self):
        """And every schema in it that of JSON Schema."""
        lacking = openrpc.why_not()
        if lacking:
            self.skipTest(lacking)
        path = self.tmp / "document.json"
        path.write_text(json.dumps(self.doc), "utf-8")
        well, text = openrpc.check(path)
        self.assertTrue(well, text)

    async def test_the_daemons_own_notifications_are_there(self):
        self.assertEqual([m["name"] for m in self.doc["x-server-notifications"]],
                         ["$/item", "$/credit", "$/gap"])

    async def test_every_reference_leads_somewhere(self):
        def walk(node):
            if isinstance(node, dict):
                if "$ref" in node:
                    self.assertIsNotNone(self.resolve({"$ref": node["$ref"]}))
                for value in node.values():
                    walk(value)
            elif isinstance(node, list):
                for value in node:
                    walk(value)
        walk(self.doc)

    async def test_every_method_is_there_and_no_other(self):
        self.assertEqual(set(self.methods()), METHODS)

    async def test_the_spec_is_the_parameters_of_submit(self):
        params = {self.resolve(p)["name"] for p in self.methods()["job.submit"]["params"]}
        self.assertEqual(params, SPEC)

    async def test_what_is_configured_has_no_default(self):
        params = {p["name"]: p for p in self.methods()["job.submit"]["params"]}
        for name in ("kill_grace_ms", "output_limit"):
            self.assertNotIn("default", params[name]["schema"], name)

    async def test_every_error_kind_is_there_with_its_code(self):
        text = json.dumps(self.doc)
        for kind, code in KINDS.items():
            self.assertIn(f'"{kind}"', text)
            self.assertIn(str(code), text)

    async def test_methods_name_their_own_errors(self):
        methods = self.methods()
        for name, kinds in OWN_ERRORS.items():
            text = json.dumps([self.resolve(e) for e in methods[name].get("errors", [])])
            for kind in kinds:
                self.assertIn(kind, text, name)

    async def test_limits_that_are_seldom_met_are_named(self):
        job = await self.c.submit("sleep", "300")
        for count in (40000, 25536):  # one line can't hold them all
            self.c.stream("futures.as_completed", jobs=[job] * count)
        for method, params in (("map.open", {"limit": 1, "defaults": {"argv": ["a" * 800000]}}),
                               ("job.result", {"job": job, "wait_ms": 1})):
            error = await self.c.error(method, **params)
            self.assertKind(error, "LimitExceeded")
            self.assertIn({"$ref": "#/components/errors/LimitExceeded"},
                          self.methods()[method]["errors"])

    async def test_each_method_listed_answers(self):
        """No method of the document is MethodNotFound."""
        for name in self.methods():
            if name.startswith("$/"):
                continue
            future = self.c.start(name, {"not.a.parameter": 1})
            self.c.cancel(future)
            try:
                await future
            except Exception as exc:
                self.assertNotEqual(exc.kind, "MethodNotFound", name)

    async def test_unknown_parameters_of_each_method_are_refused(self):
        for name in self.methods():
            if name.startswith("$/"):
                continue
            error = await self.c.error(name, surely_not_a_parameter=1)
            self.assertEqual(error.kind, "InvalidParams", name)

    async def test_slotctl_prints_it(self):
        (printed,) = (await self.ctl.ok("call", "rpc.discover")).json
        self.assertEqual(printed, self.doc)

    async def test_the_document_fits_a_line(self):
        self.assertLess(len(json.dumps(self.doc)), 1 << 20)


class Stats(Case):
    async def test_counters_add_up(self):
        await self.c.run("true")
        await self.c.run("false")
        job = await self.c.submit("sleep", "300")
        await self.phase(job)
        stats = await self.c.call("stats.get")
        self.assertEqual((stats["submitted"], stats["completed"], stats["ok"], stats["failed"],
                          stats["running"]), (3, 2, 1, 1, 1))
        await self.c.cancel_jobs(job)
        stats = await self.c.call("stats.get")
        self.assertEqual((stats["cancelled"], stats["running"], stats["pending"]), (1, 0, 0))
