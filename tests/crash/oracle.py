"""What must hold after any crash.

The oracle sees three things, none of which the daemon under test can have lost:

- the client's ledger, written and fsynced by the harness (`Ledger`): what each submit was to
  become (`plan`), which were acknowledged (`ack`), what was cancelled, what was seen done, and
  what was killed when;
- the jobs' ledger, one file to which every job appends `b KEY JOB ATTEMPT TIME` when it begins
  and `e KEY JOB ATTEMPT` when it ends, with one O_APPEND write each; the harness adds `cut` and
  `up` where it stopped and restarted the machine: what began between them may never have been;
- what the daemon says in the end: every job object (`final`).

`check` is a pure function of these and returns the violations in words.
"""

import collections
import json
import os

HARNESS = "harness"             # name of jobs that belong to no plan
LOST_REASONS = {"launcher_died", "reboot"}


class Ledger:
    """The client's ledger.  What `ack` was told is on the disk before it returns."""

    def __init__(self, path):
        self.records = []
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(self, what, /, **fields):
        record = {"t": what, **fields}
        self.records.append(record)
        os.write(self.fd, json.dumps(record).encode() + b"\n")

    def ack(self, pairs, **fields):
        for key, job in pairs:
            self.note("ack", key=key, job=job, **fields)
        os.fdatasync(self.fd)

    def close(self):
        os.close(self.fd)


class Starts:
    """The jobs' ledger, read."""

    def __init__(self, text):
        self.begins = []    # (key, job, attempt, microseconds) in order
        self.ended = {}     # (job, attempt) -> line number of its end
        self.began = {}     # (job, attempt) -> line number of its beginning
        self.events = []    # (+1 or -1, job, attempt) in order, only of attempts that have both
        self.maybe = set()  # (job, attempt) that began as the machine went off
        self.torn = []
        off = False
        open_now = {}
        rows = text.split("\n")
        if rows[-1]:
            self.torn.append(rows[-1])
        order = []
        for number, row in enumerate(rows[:-1]):
            part = row.split(" ")
            if part == ["cut"]:
                off = True
                open_now.clear()
            elif part == ["up"]:
                off = False
            elif off:
                if part[0] == "b" and len(part) == 5:
                    self.maybe.add((int(part[2]), int(part[3])))
            elif part[0] == "b" and len(part) == 5:
                key, job, attempt = part[1], int(part[2]), int(part[3])
                self.begins.append((key, job, attempt, int(part[4])))
                self.began.setdefault((job, attempt), number)
                open_now[job, attempt] = number
                order.append((number, job, attempt))
            elif part[0] == "e" and len(part) == 4:
                job, attempt = int(part[2]), int(part[3])
                if (job, attempt) in open_now:
                    self.ended[job, attempt] = number
                    order.append((number, job, attempt))
            else:
                self.torn.append(row)
        for number, job, attempt in order:
            if (job, attempt) in self.ended:
                self.events.append(
                    (-1 if number == self.ended[job, attempt] else 1, job, attempt))


def completion(item):
    """What of a job's end may never change once somebody saw it."""
    return tuple(item.get(name) for name in ("seq", "outcome", "ok", "exit_code", "signal"))


def check(records, starts, final, *, max_running, queue_limits=None, pruned=False, cut=()):
    """The violations, as a list of strings.

    records: the client ledger's records; starts: Starts; final: job objects of the daemon; cut:
    jobs of which slotd has said that their output couldn't be kept whole.
    """
    return Check(records, starts, final, max_running, queue_limits or {}, pruned, cut).run()


class Check:
    def __init__(self, records, starts, final, max_running, queue_limits, pruned, cut):
        self.bad = []
        self.starts = starts
        self.max_running = max_running
        self.queue_limits = queue_limits
        self.pruned = pruned
        self.cut = frozenset(cut)
        by_kind = collections.defaultdict(list)
        for record in records:
            by_kind[record["t"]].append(record)
        self.records = by_kind
        self.plans = {plan["key"]: plan for plan in by_kind["plan"]}
        self.kills = {record["what"] for record in by_kind["kill"]}
        self.final = {}
        ours = {job["job"] for job in final if job["name"] == HARNESS}
        for kind in ("done", "saw"):
            by_kind[kind] = [r for r in by_kind[kind] if r["job"] not in ours]
        for job in final:
            if job["job"] in ours:
                continue
            if job["job"] in self.final:
                self.say(f"job {job['job']} is listed twice")
            self.final[job["job"]] = job
        self.begun = collections.defaultdict(set)   # job -> attempts
        for _, job, attempt, _ in starts.begins:
            self.begun[job].add(attempt)

    def say(self, text):
        self.bad.append(text)

    def run(self):
        for problem in self.records["problem"]:
            self.say(problem["text"])
        for row in self.starts.torn:
            self.say(f"jobs' ledger: not a line of ours: {row!r}")
        self.identities()
        self.acknowledged()
        self.seen()
        self.started_once()
        for job in self.final.values():
            self.ended_as_planned(job)
        self.dependencies()
        self.never_too_many()
        self.in_order()
        self.batches()
        return self.bad

    # -- who is who ------------------------------------------------------------------------

    def identities(self):
        """A key is one job, a job is one key, wherever either is named."""
        jobs_of, keys_of = collections.defaultdict(set), collections.defaultdict(set)

        def pair(key, job):
            jobs_of[key].add(job)
            keys_of[job].add(key)
        for record in self.records["ack"]:
            pair(record["key"], record["job"])
        for key, job, _, _ in self.starts.begins:
            pair(key, job)
        for job in self.final.values():
            pair(job["name"], job["job"])
        for key, jobs in jobs_of.items():
            if key not in self.plans:
                self.say(f"nobody submitted {key!r} (jobs {sorted(jobs)})")
            elif len(jobs) > 1:
                self.say(f"key {key} is several jobs: {sorted(jobs)}")
        for job, keys in keys_of.items():
            if len(keys) > 1:
                self.say(f"job {job} is several keys: {sorted(keys)}")

    def acknowledged(self):
        """acked ⊆ terminal."""
        for record in self.records["ack"]:
            job = self.final.get(record["job"])
            if job is None:
                if not self.pruned:
                    self.say(f"acked job {record['job']} ({record['key']}) is lost")
            elif job["phase"] != "done":
                self.say(f"acked job {record['job']} ({record['key']}) is {job['phase']} for ever")
        for job in self.final.values():
            if job["phase"] != "done":
                self.say(f"job {job['job']} ({job['name']}) is {job['phase']} in the end")
        for job in self.begun:
            if job not in self.final and not self.pruned:
                self.say(f"job {job} started and is unknown")

    # -- ends ------------------------------------------------------------------------------

    def seen(self):
        """The stream of completions: in order, once, without loss; and never taken back."""
        last, told = 0, {}
        for record in self.records["done"]:
            if record["seq"] <= last:
                self.say(f"seq {record['seq']} (job {record['job']}) came after {last}")
            last = max(last, record["seq"])
            if record["job"] in told:
                self.say(f"job {record['job']} completed twice: {told[record['job']]}, {record}")
            told[record["job"]] = record
        for record in self.records["done"] + self.records["saw"]:
            job = self.final.get(record["job"])
            if job is None:
                if not self.pruned:
                    self.say(f"job {record['job']} was seen done and is unknown")
            elif completion(job) != completion(record):
                self.say(f"job {record['job']} was seen done as {completion(record)} "
                         f"and is now {completion(job)}")
        seqs = collections.Counter(j["seq"] for j in self.final.values() if j["phase"] == "done")
        for seq, times in seqs.items():
            if times > 1 or not seq:
                self.say(f"seq {seq} is that of {times} jobs")
        if self.records["watched"]:
            for job in self.final.values():
                if job["phase"] == "done" and job["job"] not in told:
                    self.say(f"job {job['job']} (seq {job['seq']}) never came in the stream")

    def started_once(self):
        counts = collections.Counter((job, attempt) for _, job, attempt, _ in self.starts.begins)
        for (job, attempt), times in counts.items():
            if times > 1:
                self.say(f"job {job} attempt {attempt} started {times} times")

    def ended_as_planned(self, job):
        plan = self.plans.get(job["name"])
        if plan is None or job["phase"] != "done":
            return
        what = f"job {job['job']} ({job['name']}, {plan['kind']})"
        outcome = job["outcome"]
        begun = self.begun[job["job"]]
        if begun and max(begun) > max(job["attempt"], 1):
            self.say(f"{what} began attempt {max(begun)}, but says {job['attempt']}")
        # (A timeout may end an attempt before its first line, on a machine that is busy.)
        if outcome in ("exited", "signaled") and \
                job["attempt"] not in begun and \
                (job["job"], job["attempt"]) not in self.starts.maybe:
            self.say(f"{what} {outcome} in attempt {job['attempt']}, which never started")
        if outcome in ("dependency_failed", "spawn_failed") and begun:
            self.say(f"{what} is {outcome} but started")
        cancelled = self.cancelled(job, what)
        if outcome == "lost":
            self.may_be_lost(job, plan, what)
        elif outcome == "cancelled":
            if not cancelled and not self.may_be_cancelled(job, plan):
                self.say(f"{what} is cancelled ({job['reason']}); nobody asked for it")
        else:
            self.as_planned(job, plan, what)

    def cancelled(self, job, what):
        """Whether a cancel may have hit it; one that was acknowledged must agree with the end."""
        sent = [r for r in self.records["cancel_sent"] if r["job"] == job["job"]]
        replies = [r for r in self.records["cancel"] if r["job"] == job["job"]]
        if any(r["accepted"] for r in replies):
            if job["outcome"] not in ("cancelled", "lost"):
                self.say(f"{what}: cancel was accepted, but it is {job['outcome']}")
        elif sent and len(sent) == len(replies) and job["outcome"] == "cancelled" \
                and job["reason"] == "client":  # (another may have ended it before)
            self.say(f"{what}: cancel was refused, but it is cancelled")
        return bool(sent)

    def may_be_lost(self, job, plan, what):
        if not self.kills & {"launcher", "reboot"}:
            self.say(f"{what} is lost, and the launcher was never killed")
        if job["reason"] not in LOST_REASONS:
            self.say(f"{what} is lost for the reason {job['reason']!r}")
        elif job["reason"] == "reboot" and "reboot" not in self.kills:
            self.say(f"{what} is lost by a reboot that never was")
        elif job["reason"] == "launcher_died" and "launcher" not in self.kills:
            self.say(f"{what} is lost by the launcher's death, which never was")
        if plan.get("retry_lost"):
            self.say(f"{what} was to be retried when lost")

    def may_be_cancelled(self, job, plan):
        """By the engine: a stdin pipe that was open when an engine died can't be written to."""
        return plan.get("pipe") and job["reason"] == "stdin_lost" and bool(self.kills)

    def as_planned(self, job, plan, what):
        outcome = job["outcome"]
        if outcome == "dependency_failed":
            if not plan.get("after") or plan.get("policy") == "any":
                self.say(f"{what} is dependency_failed and depends on nothing that can fail")
            return
        wanted = (plan["outcome"], plan.get("exit_code"), plan.get("signal"))
        got = (outcome, job["exit_code"], job["signal"])
        if plan["outcome"] == "timed_out":
            got, wanted = got[:1], wanted[:1]
        if got != wanted:
            sent = " (a cancel was sent)" if any(
                r["job"] == job["job"] for r in self.records["cancel_sent"]) else ""
            self.say(f"{what} ended as {got}, planned was {wanted}{sent}")
            return
        least = plan.get("attempt", 1)
        if job["attempt"] < least or (not plan.get("retry_lost") and job["attempt"] != least):
            self.say(f"{what} needed {job['attempt']} attempts, planned were {least}")
        if outcome == "exited" and plan.get("stdout") is not None:
            kept = job["output"]["stdout"]
            truncated = job["output"]["truncated"]
            if truncated and kept < plan["stdout"] and job["job"] in self.cut:
                return  # a disk's error, and both the log and the job say so
            if kept != plan["stdout"] or truncated:
                self.say(f"{what} wrote {plan['stdout']} bytes, kept are {kept}")

    # -- order -----------------------------------------------------------------------------

    def dependencies(self):
        by_name = {job["name"]: job for job in self.final.values()}
        for plan in self.plans.values():
            job = by_name.get(plan["key"])
            deps = [by_name.get(key) for key in plan.get("after", ())]
            if job is None or not deps or None in deps or job["phase"] != "done":
                continue
            begin = self.starts.began.get((job["job"], 1))
            failed = [d["job"] for d in deps if not d["ok"]]
            if plan["policy"] == "ok" and failed and \
                    job["outcome"] not in ("dependency_failed", "cancelled"):
                self.say(f"job {job['job']} is {job['outcome']}, but {failed} failed before it")
            if not failed and job["outcome"] == "dependency_failed":
                self.say(f"job {job['job']} is dependency_failed, but all it needs is ok")
            for dep in deps:
                end = self.starts.ended.get((dep["job"], dep["attempt"]))
                if begin is not None and end is not None and begin < end:
                    self.say(f"job {job['job']} began before {dep['job']} had ended")

    def never_too_many(self):
        """Attempts that noted both ends and overlap were certainly running together."""
        running, queues = 0, collections.Counter()
        for step, number, _ in self.starts.events:
            job = self.final.get(number) or {}
            slots, queue = job.get("slots") or 1, job.get("queue") or "default"
            running += step * slots
            queues[queue] += step * slots
            if step > 0 and running > self.max_running:
                self.say(f"{running} slots in use when job {number} began, "
                         f"allowed are {self.max_running}")
            limit = self.queue_limits.get(queue)
            if step > 0 and limit is not None and queues[queue] > limit:
                self.say(f"{queues[queue]} slots of queue {queue} in use when job {number} began, "
                         f"allowed are {limit}")

    def in_order(self):
        """Within a queue of one slot, jobs start in the order of their ids."""
        for queue, limit in self.queue_limits.items():
            if limit != 1:
                continue
            last = 0
            for key, job, attempt, _ in self.starts.begins:
                plan = self.plans.get(key)
                if attempt != 1 or not plan or plan.get("queue") != queue or plan.get("unordered"):
                    continue
                if job < last:
                    self.say(f"queue {queue}: job {job} began after {last}")
                last = max(last, job)

    def batches(self):
        """All or none: a batch is made in one go, so its ids follow each other."""
        ids = {record["key"]: record["job"] for record in self.records["ack"]}
        for record in self.records["batch"]:
            jobs = [ids.get(key) for key in record["keys"]]
            if None not in jobs and jobs != list(range(jobs[0], jobs[0] + len(jobs))):
                self.say(f"a batch was made in pieces: {jobs}")
