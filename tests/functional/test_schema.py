"""What the document of rpc.discover forbids is InvalidParams, and nothing else is: for each
parameter of each method, and all that stands within it, values at the edges of its schema.

What no schema can say is in `beyond`, each with its reason."""

import json
import re

from slottest import Case, limit
from slottest.schema import Schemas, well_encoded

# Those that change what others of them need come last.
LAST = ["map.push", "map.end", "queue.pause", "queue.resume", "limits.set", "queue.remove", "drain"]
ROUND = 200
MAP = "the map"


class Shot:
    """One request, and what it must give."""

    def __init__(self, method, params, place, forbidden):
        self.method, self.params, self.place, self.forbidden = method, params, place, forbidden

    def __str__(self):
        return f"{self.method} {json.dumps(self.params)[:200]}"


def beyond(shot):
    """Why parameters that their schemas allow are refused all the same; None: they must not be."""
    params = shot.params
    if not well_encoded(params):
        return "what stands in base64 is as limited as a string"
    if shot.method == "hello" and 1 not in params.get("protocol", [1]):
        return "the daemon speaks protocol 1"
    specs = [params] if shot.method == "job.submit" else []
    if shot.method in ("job.submit_batch", "map.push"):
        specs = [{**params.get("defaults", {}), **spec} for spec in params["jobs"]]
    for spec in specs:
        if "argv" not in spec:
            return "argv stands in a spec or in its defaults"
        if any(isinstance(spec.get(name), dict) and "fd" in spec[name]
               for name in ("stdin", "stdout", "stderr")):
            return "no descriptor was passed along, and its job must be bound"
        if spec.get("tty"):
            return "a terminal must be passed along"
        if any(k < 0 for k in spec.get("after", ())):
            return "a negative id stands for an earlier job of the same batch"
    for spec in [*specs, params.get("defaults", {})]:
        if any(is_above(*pair) for pair in spec.get("rlimits", {}).values()
               if isinstance(pair, list)):
            return "a soft limit is not above the hard one"
    return None


def is_above(soft, hard):
    return soft != hard and (soft == "unlimited" or hard != "unlimited" and soft > hard)


def at_fault(place, said):
    """Whether an error names the place, or what is wrong within it."""
    if said is None:
        return False
    whole = place.replace("|", "")
    unions = [place[:m.start()].replace("|", "") for m in re.finditer(r"\|", place)]
    return said == whole or said.startswith((whole + ".", whole + "[")) or said in unions


def queue_names(params):
    """The queues that parameters name: they have to be there."""
    if isinstance(params, list):
        return {name for value in params for name in queue_names(value)}
    if not isinstance(params, dict):
        return set()
    inner = {name for value in params.values() for name in queue_names(value)}
    return inner | ({params["queue"]} if isinstance(params.get("queue"), str) else set())


class Silent:
    """All streams: what comes before the cancel does is let go by."""

    def get(self, request):
        return self

    def __contains__(self, request):
        return False

    def _item(self, params):
        pass

    _credit = _gap = _item

    def values(self):
        return ()


class Schema(Case):
    max_running = 0
    settings = ("executor.max_pending=1000000",)

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.doc = await self.c.call("rpc.discover")
        self.schemas = Schemas(self.doc)
        self.c.streams = Silent()
        self.problems = []
        self.excused = set()

    # -- shots ---------------------------------------------------------------------------

    def least(self, method):
        """Params that have only what they must."""
        params = {p["name"]: self.schemas.sample(p["schema"])
                  for p in method["params"] if p["required"]}
        if "stream" in params:
            params["stream"] = MAP
        return params

    def shots(self, method):
        least, name = self.least(method), method["name"]
        for params in ([1], "a", 1, True, 1.5):
            yield Shot(name, params, None, True)
        yield Shot(name, {**least, "surely_not": 1}, "surely_not", True)
        yield Shot(name, {**least, "": 1}, '""', True)
        yield Shot(name, {**least, "vendor.x": 1}, None, False)
        for missing in least:
            rest = {k: v for k, v in least.items() if k != missing}
            yield Shot(name, rest, missing, True)
        for param in method["params"]:
            schema = param["schema"]
            for place, value in self.schemas.around(schema, param["name"]):
                yield Shot(name, {**least, param["name"]: value}, place,
                           not self.schemas.fits(schema, value))

    def all_shots(self, forbidden):
        calls = [m for m in self.doc["methods"] if "result" in m]
        calls.sort(key=lambda m: LAST.index(m["name"]) if m["name"] in LAST else -1)
        seen = set()
        for method in calls:
            for shot in self.shots(method):
                key = (shot.method, json.dumps(shot.params))
                if shot.forbidden == forbidden and key not in seen:
                    seen.add(key)
                    yield shot

    # -- answers -------------------------------------------------------------------------

    async def fire(self, shots, judge):
        """All of them, many at a time; what waits is cancelled at once."""
        waits = {m["name"] for m in self.doc["methods"] if m.get("x-waits") or "x-stream" in m}
        count = 0
        shots = list(shots)
        for begin in range(0, len(shots), ROUND):
            futures = []
            for shot in shots[begin:begin + ROUND]:
                request = f"{shot.method} {self.c.new_id()}"
                futures.append((shot, self.c.start(shot.method, shot.params, request)))
                if shot.method in waits:
                    self.c.notify("$/cancel", id=futures[-1][1].request)
            for shot, future in futures:
                error = None
                try:
                    await future
                except Exception as exc:
                    error = exc
                judge(shot, error)
                count += 1
        return count

    def judge_forbidden(self, shot, error):
        if error is None or error.kind != "InvalidParams":
            self.problems.append(f"{shot}: {error or 'went well'}")
            return
        said = error.data.get("path") or error.data.get("param")
        if shot.place is not None and not (at_fault(shot.place, said) and error.data.get("param")):
            self.problems.append(f"{shot}: says {said}, not {shot.place}: {error.message}")

    def judge_allowed(self, shot, error):
        reason = beyond(shot)
        refused = error is not None and error.kind == "InvalidParams"
        if refused and "no map with this id" in error.message:
            return
        if reason:
            self.excused.add(reason)
        if refused != bool(reason):
            self.problems.append(f"{shot}: {error or 'went well'}" +
                                 (f", but {reason}" if reason else ""))
        elif error is not None and error.kind in ("ParseError", "InvalidRequest",
                                                  "MethodNotFound", "InternalError"):
            self.problems.append(f"{shot}: {error}")

    def report(self, count):
        shown = "\n  ".join(self.problems[:40])
        self.assertEqual(len(self.problems), 0,
                         f"of {count} requests {len(self.problems)} were judged wrongly:\n  "
                         f"{shown}")

    async def state(self):
        stats = await self.c.call("stats.get")
        return (stats["submitted"], stats["pending"], stats["in_flight"], stats["draining"],
                await self.c.call("limits.get"), await self.c.call("queue.list"),
                await self.c.call("job.list"))

    # -- tests ---------------------------------------------------------------------------

    @limit(120)
    async def test_what_it_forbids_is_invalid_params_and_changes_nothing(self):
        self.c.start("map.open", {"limit": 1000000}, MAP)
        before = await self.state()
        count = await self.fire(self.all_shots(True), self.judge_forbidden)
        self.report(count)
        self.assertGreater(count, 5000)
        self.assertEqual(await self.state(), before)

    @limit(120)
    async def test_what_it_allows_is_not(self):
        shots = list(self.all_shots(False))
        for name in {n for s in shots for n in queue_names(s.params)}:
            await self.c.call("queue.set", queue=name)
        self.c.start("map.open", {"limit": 1000000}, MAP)
        count = await self.fire(shots, self.judge_allowed)
        self.report(count)
        self.assertGreater(count, 2000)
        self.assertEqual(len(self.excused), 7, self.excused)


class Seldom(Case):
    """Members that answers have now and then only: the run's last test looks for each of them."""

    async def test_errors_of_a_batch_say_which_of_its_jobs(self):
        for kind, spec, path in (("NoSuchJob", {"after": [4711]}, "jobs[1].after"),
                                 ("NotSupported", {"pids_max": 1}, "jobs[1].pids_max"),
                                 ("LimitExceeded", {"slots": 5}, "jobs[1]")):
            error = await self.c.error("job.submit_batch",
                                       jobs=[{"argv": ["true"]}, {"argv": ["true"], **spec}])
            self.assertKind(error, kind, path=path)

    async def test_gathers_errors_carry_output(self):
        job = await self.c.submit("sh", "-c", "echo no; exit 3")
        error = await self.c.error("futures.gather", jobs=[job], with_output=9)
        self.assertKind(error, "JobFailed", job=job, index=0, stdout="no\n", stderr="")
        job = await self.c.submit("sleep", "300")
        await self.phase(job)
        await self.c.cancel_jobs(job)
        error = await self.c.error("futures.gather", jobs=[job], with_output=9)
        self.assertKind(error, "JobCancelled", job=job, index=0, stdout="", stderr="")

    async def test_the_end_of_a_followed_stream_names_those_followed(self):
        job = await self.c.submit("sh", "-c", "echo no >&2")
        stream = self.c.stream("output.follow", job=job, fds=[2])
        self.assertEqual(await stream.result(), {"next": {"2": 3}})
