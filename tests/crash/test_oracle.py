"""The oracle must find each violation in a history that has just that one, and nothing in a good
one."""

import copy
import unittest

import oracle


def job(number, name, seq, **more):
    return {"job": number, "name": name, "phase": "done", "outcome": "exited", "ok": True,
            "exit_code": 0, "signal": None, "seq": seq, "attempt": 1, "slots": 1, "reason": None,
            "queue": "default", "output": {"stdout": 2, "stderr": 0, "truncated": False}, **more}


def plan(key, **more):
    return {"t": "plan", "key": key, "kind": "quick", "outcome": "exited", "exit_code": 0, **more}


class OracleTest(unittest.TestCase):
    """Four jobs: a and b in the queue `serial`, c after b, d fails and is retried once."""

    def setUp(self):
        self.records = [
            {"t": "watched"},
            plan("a", queue="serial"), plan("b", queue="serial"),
            plan("c", after=["b"], policy="ok"),
            plan("d", exit_code=3, attempt=2),
            {"t": "batch", "keys": ["a", "b"]},
        ]
        self.final = [job(1, "a", 1, queue="serial"), job(2, "b", 2, queue="serial"),
                      job(3, "c", 3), job(4, "d", 4, exit_code=3, ok=False, attempt=2)]
        for one in self.final:
            self.records.append({"t": "ack", "key": one["name"], "job": one["job"]})
        for one in self.final:
            self.records.append({"t": "done", **{k: one[k] for k in (
                "job", "seq", "outcome", "ok", "exit_code", "signal")}})
        self.lines = ["b a 1 1 10", "e a 1 1", "b b 2 1 20", "e b 2 1", "b c 3 1 30",
                      "b d 4 1 31", "e c 3 1", "e d 4 1", "b d 4 2 40", "e d 4 2"]

    def verdict(self, **options):
        starts = oracle.Starts("\n".join(self.lines) + "\n")
        return oracle.check(self.records, starts, self.final,
                            **{"max_running": 2, "queue_limits": {"serial": 1}, **options})

    def finds(self, part, **options):
        bad = self.verdict(**options)
        self.assertTrue(any(part in text for text in bad), f"{part!r} is not in {bad}")

    def plan_of(self, key):
        return next(r for r in self.records if r["t"] == "plan" and r["key"] == key)

    def done_of(self, number):
        return next(r for r in self.records if r["t"] == "done" and r["job"] == number)

    def test_a_good_history_has_no_violation(self):
        self.assertEqual(self.verdict(), [])

    def test_an_acked_job_that_is_gone(self):
        del self.final[2]
        self.finds("acked job 3 (c) is lost")

    def test_an_acked_job_that_never_ends(self):
        self.final[3].update(phase="running", outcome=None, seq=None)
        self.finds("is running for ever")

    def test_a_job_that_is_listed_twice(self):
        self.final.append(copy.deepcopy(self.final[0]))
        self.finds("listed twice")

    def test_two_jobs_of_one_key(self):
        self.final.append(job(5, "a", 5))
        self.finds("key a is several jobs: [1, 5]")

    def test_two_jobs_of_one_key_seen_only_in_the_jobs_ledger(self):
        self.lines += ["b a 9 1 90", "e a 9 1"]
        self.finds("key a is several jobs: [1, 9]")

    def test_an_id_that_was_used_again(self):
        self.records.append({"t": "ack", "key": "c", "job": 1})
        self.finds("job 1 is several keys")

    def test_a_job_that_nobody_submitted(self):
        self.final.append(job(5, "z", 5))
        self.finds("nobody submitted 'z'")

    def test_an_attempt_that_started_twice(self):
        self.lines += ["b a 1 1 99"]
        self.finds("job 1 attempt 1 started 2 times")

    def test_what_a_job_did_after_the_power_cut_never_happened(self):
        self.lines[0:0] = ["cut", "b a 1 1 5", "e a 1 1", "up"]
        self.assertEqual(self.verdict(), [])

    def test_an_exit_without_a_start(self):
        del self.lines[0:2]
        self.finds("exited in attempt 1, which never started")

    def test_a_spawn_failure_that_started(self):
        self.plan_of("a").update(outcome="spawn_failed", exit_code=None)
        self.final[0].update(outcome="spawn_failed", exit_code=None, ok=False)
        self.finds("is spawn_failed but started")

    def test_a_wrong_exit_code(self):
        self.final[3]["exit_code"] = 4
        self.done_of(4)["exit_code"] = 4
        self.finds("ended as ('exited', 4, None), planned was ('exited', 3, None)")

    def test_an_end_that_changed_after_it_was_seen(self):
        self.done_of(4)["exit_code"] = 0
        self.finds("job 4 was seen done as")

    def test_an_end_that_changed_after_a_wait(self):
        self.records.append({"t": "saw", "job": 4, "seq": 9, "outcome": "exited", "ok": False,
                             "exit_code": 3, "signal": None})
        self.finds("job 4 was seen done as (9,")

    def test_a_seq_that_goes_back(self):
        self.records.append(dict(self.done_of(1)))
        self.finds("seq 1 (job 1) came after 4")
        self.finds("job 1 completed twice")

    def test_a_completion_that_the_stream_lost(self):
        self.records.remove(self.done_of(2))
        self.finds("job 2 (seq 2) never came in the stream")

    def test_a_seq_of_two_jobs(self):
        self.final[1]["seq"] = 1
        self.finds("seq 1 is that of 2 jobs")

    def test_lost_without_a_reason(self):
        self.final[0].update(outcome="lost", ok=False, exit_code=None, reason="launcher_died")
        self.finds("is lost, and the launcher was never killed")

    def test_lost_for_another_reason_than_what_happened(self):
        self.records.append({"t": "kill", "what": "reboot"})
        self.final[0].update(outcome="lost", ok=False, exit_code=None, reason="launcher_died")
        self.finds("launcher's death, which never was")
        self.final[0]["reason"] = None
        self.finds("is lost for the reason None")

    def test_lost_though_it_was_to_be_retried(self):
        self.records.append({"t": "kill", "what": "launcher"})
        self.plan_of("a")["retry_lost"] = True
        self.final[0].update(outcome="lost", ok=False, exit_code=None, reason="launcher_died")
        self.finds("was to be retried when lost")

    def test_cancelled_by_nobody(self):
        self.final[0].update(outcome="cancelled", ok=False, exit_code=None, reason="client")
        self.finds("nobody asked for it")

    def test_a_stdin_that_was_lost(self):
        self.final[0].update(outcome="cancelled", ok=False, exit_code=None, reason="stdin_lost")
        self.done_of(1).update(outcome="cancelled", ok=False, exit_code=None)
        self.plan_of("c").pop("after")
        self.plan_of("a")["pipe"] = True
        self.finds("nobody asked for it")
        self.records.append({"t": "kill", "what": "engine"})
        self.assertEqual(self.verdict(), [])

    def test_a_cancel_that_was_accepted_and_forgotten(self):
        self.records += [{"t": "cancel_sent", "job": 1},
                         {"t": "cancel", "job": 1, "accepted": True}]
        self.finds("cancel was accepted, but it is exited")

    def test_a_cancel_that_was_refused_and_done(self):
        self.records += [{"t": "cancel_sent", "job": 1},
                         {"t": "cancel", "job": 1, "accepted": False}]
        self.final[0].update(outcome="cancelled", ok=False, exit_code=None, reason="client")
        self.finds("cancel was refused, but it is cancelled")

    def test_too_many_at_once(self):
        self.finds("2 slots in use when job 4 began, allowed are 1", max_running=1)

    def test_slots_count(self):
        self.final[3]["slots"] = 2
        self.finds("3 slots in use when job 4 began, allowed are 2")

    def test_too_many_in_a_queue(self):
        self.lines[1], self.lines[2] = self.lines[2], self.lines[1]
        self.finds("2 slots of queue serial in use when job 2 began")

    def test_out_of_order_in_a_queue_of_one_slot(self):
        self.lines[0:4] = self.lines[2:4] + self.lines[0:2]
        self.finds("queue serial: job 1 began after 2")

    def test_a_start_before_what_it_waits_for(self):
        self.lines.insert(3, self.lines.pop(4))
        self.finds("job 3 began before 2 had ended")

    def test_a_start_after_a_failure(self):
        self.plan_of("c")["after"] = ["b", "d"]
        self.finds("job 3 is exited, but [4] failed before it")

    def test_a_dependency_that_failed_for_nothing(self):
        self.final[2].update(outcome="dependency_failed", ok=False, exit_code=None)
        self.finds("job 3 is dependency_failed, but all it needs is ok")

    def test_a_batch_in_pieces(self):
        self.records.append({"t": "batch", "keys": ["a", "c"]})
        self.finds("a batch was made in pieces: [1, 3]")

    def test_output_that_is_not_all_there(self):
        self.plan_of("a")["stdout"] = 5
        self.records.append({"t": "kill", "what": "engine"})
        self.finds("wrote 5 bytes, kept are 2")

    def test_output_that_an_error_of_the_disk_has_cut(self):
        self.plan_of("a")["stdout"] = 5
        self.final[0]["output"]["truncated"] = True
        self.finds("wrote 5 bytes, kept are 2")
        self.assertEqual(self.verdict(cut={self.final[0]["job"]}), [])  # slotd has said so

    def test_output_that_is_there_twice(self):
        self.plan_of("a")["stdout"] = 1
        self.records.append({"t": "kill", "what": "engine"})
        self.finds("wrote 1 bytes, kept are 2")

    def test_an_attempt_too_many(self):
        self.final[0]["attempt"] = 2
        self.lines += ["b a 1 2 99"]
        self.finds("needed 2 attempts, planned were 1")

    def test_a_torn_line(self):
        self.lines[3] = "e b"
        self.finds("not a line of ours")

    def test_what_the_harness_met_with_is_a_violation(self):
        self.records.append({"t": "problem", "text": "refused"})
        self.finds("refused")

    def test_jobs_of_the_harness_itself_are_left_out(self):
        self.final.append(job(5, oracle.HARNESS, 5))
        self.records.append({"t": "done", "job": 5, "seq": 5, "outcome": "exited", "ok": True,
                             "exit_code": 0, "signal": None})
        self.assertEqual(self.verdict(), [])


if __name__ == "__main__":
    unittest.main()
