"""What a job is given, what it leaves behind, and what is told about it."""

import os
import re
import signal
import stat
import time

from slottest import (Case, b64, children, eventually, is_running, limit, scaled, sh, to_bytes,
                      wait_gone)
from slottest.client import fd_count

FIELDS = {"job", "phase", "outcome", "ok", "exit_code", "signal", "error", "seq", "name", "tag",
          "queue", "priority", "slots", "uid", "argv", "cwd", "attempt", "reason",
          "submitted_us", "started_us", "finished_us", "usage", "output"}
CLEAN = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG"}
OURS = {"SLOT_JOB", "SLOT_ATTEMPT", "SLOT_QUEUE"}


def environ(data, sep=b"\0"):
    return dict(item.split(b"=", 1) for item in data.split(sep) if item)


class Submit(Case):
    async def test_reply_has_job_phase_and_existing(self):
        reply = await self.c.call("job.submit", argv=["true"])
        self.assertEqual(set(reply), {"job", "phase", "existing"})
        self.assertIs(type(reply["job"]), int)
        self.assertGreaterEqual(reply["job"], 1)
        self.assertEqual(reply["phase"], "running")
        self.assertIs(reply["existing"], False)

    async def test_ids_start_at_1_and_grow(self):
        ids = [await self.c.submit("true") for _ in range(5)]
        self.assertEqual(ids[0], 1)
        self.assertEqual(ids, sorted(set(ids)))

    async def test_submit_without_a_free_slot_replies_pending(self):
        await self.c.call("limits.set", max_running=1)
        gate = self.gate()
        await self.c.submit(gate.spec())
        reply = await self.c.call("job.submit", argv=["true"])
        self.assertEqual(reply["phase"], "pending")
        job = await self.c.get(reply["job"])
        self.assertEqual(job["reason"], "slots")
        gate.open()
        self.assertTrue((await self.c.finish(reply["job"]))["ok"])

    async def test_a_done_job_has_every_field(self):
        before = time.time_ns() // 1000
        job = await self.c.run("sh", "-c", "echo out; echo err >&2", name="full", cwd="/tmp",
                               tag={"a": 1})
        after = time.time_ns() // 1000
        self.assertLessEqual(FIELDS, set(job))
        self.assertEqual(job["phase"], "done")
        self.assertEqual(job["outcome"], "exited")
        self.assertIs(job["ok"], True)
        self.assertEqual(job["exit_code"], 0)
        self.assertIsNone(job["signal"])
        self.assertIsNone(job["error"])
        self.assertGreaterEqual(job["seq"], 1)
        self.assertEqual(job["name"], "full")
        self.assertEqual(job["tag"], {"a": 1})
        self.assertEqual(job["queue"], "default")
        self.assertEqual(job["priority"], 0)
        self.assertEqual(job["slots"], 1)
        self.assertEqual(job["uid"], os.getuid())
        self.assertEqual(job["argv"], ["sh", "-c", "echo out; echo err >&2"])
        self.assertEqual(job["cwd"], "/tmp")
        self.assertEqual(job["attempt"], 1)
        self.assertIsNone(job["reason"])
        slack = 1_000_000
        self.assertLessEqual(before - slack, job["submitted_us"])
        self.assertLessEqual(job["submitted_us"], job["started_us"])
        self.assertLessEqual(job["started_us"], job["finished_us"])
        self.assertLessEqual(job["finished_us"], after + slack)
        self.assertEqual(set(job["usage"]), {"user_us", "system_us", "max_rss_kib"})
        self.assertGreater(job["usage"]["max_rss_kib"], 0)
        self.assertEqual(job["output"], {"stdout": 4, "stderr": 4, "truncated": False})

    async def test_what_is_not_known_yet_is_null(self):
        await self.c.call("limits.set", max_running=0)
        job = await self.c.get(await self.c.submit("true"))
        self.assertLessEqual(FIELDS, set(job))
        self.assertEqual(job["phase"], "pending")
        for field in ("outcome", "ok", "exit_code", "signal", "error", "seq", "started_us",
                      "finished_us"):
            self.assertIsNone(job[field], field)

    async def test_usage_counts_the_processor_time(self):
        job = await self.c.run("sh", "-c", "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done")
        usage = job["usage"]
        self.assertGreater(usage["user_us"] + usage["system_us"], 5_000)

    async def test_result_is_invalid_state_while_running(self):
        gate = self.gate()
        job = await self.c.submit(gate.spec())
        self.assertKind(await self.c.error("job.result", job=job), "InvalidState", 1007)
        self.assertKind(await self.c.error("job.result", job=job, wait_ms=30), "Timeout", 1005)
        waiting = self.c.start("job.result", {"job": job, "wait_ms": 20000})
        gate.open(4)
        self.assertEqual((await waiting)["exit_code"], 4)
        self.assertEqual((await self.c.call("job.result", job=job))["exit_code"], 4)

    async def test_result_with_output(self):
        job = await self.c.submit("sh", "-c", "echo out; echo err >&2")
        done = await self.c.call("job.result", job=job, wait_ms=20000, with_output=100)
        self.assertEqual((done["stdout"], done["stderr"]), ("out\n", "err\n"))
        self.assertNotIn("stdout", await self.c.call("job.result", job=job))

    async def test_tag_comes_back_verbatim(self):
        tags = [None, True, 0, -1, 2**53 - 1, -(2**53 - 1), 0.5, 1e-7, "", "é\u2028\U0001f600\x7f",
                "quote\" back\\ \n\t", [], {}, [[1, [2, [3]]]], {"z": 1, "a": {"b": None}}]
        jobs = [await self.c.submit("true", tag=tag) for tag in tags]
        stream = self.c.stream("futures.as_completed", jobs=jobs)
        got = {item["job"]: item["tag"] for item in await stream.collect()}
        for job, tag in zip(jobs, tags):
            self.assertEqual((await self.c.get(job))["tag"], tag)
            self.assertEqual(got[job], tag)
            self.assertIs(type(got[job]), type(tag))

    async def test_tag_of_more_than_4_kib_is_refused(self):
        self.assertTrue((await self.c.run("true", tag="x" * 4000))["ok"])
        error = await self.c.error("job.submit", argv=["true"], tag="x" * 4200)
        self.assertIn(error.kind, ("InvalidParams", "LimitExceeded"))

    async def test_two_hundred_jobs_leave_no_descriptor(self):
        await self.c.run("true")
        before = self.d.fds()
        jobs = (await self.c.call("job.submit_batch",
                                  jobs=[sh("echo x; echo y >&2")] * 200))["jobs"]
        await self.c.stream("futures.as_completed", jobs=jobs).collect()
        await eventually(lambda: self.d.fds() <= before + 1, 10, "descriptors closed again")

    async def test_batch_is_all_or_none(self):
        error = await self.c.error("job.submit_batch", jobs=[{"argv": ["true"]}, {"argv": []}])
        self.assertKind(error, "InvalidParams", -32602)
        self.assertEqual((await self.c.call("job.list"))["jobs"], [])

    async def test_what_is_wrong_in_a_batch_is_found(self):
        good = {"argv": ["true"]}
        keyed = [{**good, "key": "a"}, {**good, "argv": ["false"], "key": "a"}]
        for jobs, kind, path in (
                ([good, {"argv": [1]}], "InvalidParams", "jobs[1].argv[0]"),
                ([good, {**good, "queue": "none"}], "InvalidParams", "jobs[1].queue"),
                ([{**good, "queue": "none"}], "InvalidParams", "jobs[0].queue"),
                ([good, {**good, "after": [77]}], "NoSuchJob", "jobs[1].after"),
                (keyed, "KeyConflict", "jobs[1]")):
            error = await self.c.error("job.submit_batch", jobs=jobs)
            self.assertEqual((error.kind, error.data.get("path")), (kind, path))
        error = await self.c.error("job.submit", **good, queue="none")
        self.assertEqual(error.data, {"kind": "InvalidParams", "param": "queue"})

    async def test_batch_defaults_are_overridden_by_each_spec(self):
        reply = await self.c.call("job.submit_batch", defaults={"cwd": "/tmp", "name": "both"},
                                  jobs=[{"argv": ["pwd"]}, {"argv": ["pwd"], "cwd": "/"}])
        self.assertEqual(set(reply), {"jobs"})
        for job, want in zip(reply["jobs"], (b"/tmp\n", b"/\n")):
            self.assertEqual((await self.c.finish(job))["name"], "both")
            self.assertEqual(await self.c.output(job), want)

    async def test_batch_of_1025_is_refused(self):
        error = await self.c.error("job.submit_batch", jobs=[{"argv": ["true"]}] * 1025)
        self.assertIn(error.kind, ("InvalidParams", "LimitExceeded"))

    async def test_bytes_that_are_not_utf8_travel_as_base64(self):
        raw = b"a\xff\xfe\x80z"
        job, out = await self.c.run_out(argv=["printf", "%s", b64(raw)])
        self.assertEqual(out, raw)
        self.assertEqual([to_bytes(a) for a in job["argv"]], [b"printf", b"%s", raw])
        self.assertIsInstance(job["argv"][2], dict)
        reply = await self.c.call("output.read", job=job["job"], fd=1)
        self.assertIsInstance(reply["data"], dict)

    async def test_text_arguments_survive_any_character(self):
        text = "é ü \U0001f600 \t\n\r \x01\x1f\x7f \" \\ ' $x `y` \u2028"
        job, out = await self.c.run_out("printf", "%s", text, "")
        self.assertEqual(out.decode(), text)
        self.assertEqual([to_bytes(a).decode() for a in job["argv"]], ["printf", "%s", text, ""])

    async def test_argv_of_600_kib_reaches_the_job(self):
        job, out = await self.c.run_out("sh", "-c", "echo $# ${#6}", "sh", *["y" * 100_000] * 6)
        self.assertEqual(out, b"6 100000\n")

    async def test_argv_and_env_over_768_kib_are_refused(self):
        error = await self.c.error("job.submit", argv=["true", *["y" * 100_000] * 8])
        self.assertKind(error, "LimitExceeded", 1008)
        error = await self.c.error("job.submit", argv=["true", *["y" * 100_000] * 4],
                                   env={f"K{i}": "v" * 100_000 for i in range(4)})
        self.assertKind(error, "LimitExceeded", 1008)


class Environment(Case):
    async def test_absent_env_is_a_clean_one(self):
        _, out = await self.c.run_out("cat", "/proc/self/environ")
        env = environ(out)
        self.assertEqual({k.decode() for k in env}, CLEAN | OURS)
        self.assertTrue(env[b"PATH"])
        self.assertTrue(os.path.isabs(env[b"HOME"]))

    async def test_given_env_is_the_whole_environment(self):
        _, out = await self.c.run_out("/bin/cat", "/proc/self/environ", env={"A": "1", "B": ""})
        env = environ(out)
        self.assertEqual({k.decode() for k in env}, {"A", "B"} | OURS)
        self.assertEqual((env[b"A"], env[b"B"]), (b"1", b""))

    async def test_env_as_a_list_of_bytes(self):
        _, out = await self.c.run_out(argv=["/bin/cat", "/proc/self/environ"],
                                      env=["A=x=y", b64(b"B=\xff\xfe")])
        env = environ(out)
        self.assertEqual((env[b"A"], env[b"B"]), (b"x=y", b"\xff\xfe"))

    async def test_an_empty_env_holds_only_the_job_variables(self):
        _, out = await self.c.run_out("/bin/cat", "/proc/self/environ", env={})
        self.assertEqual({k.decode() for k in environ(out)}, OURS)

    async def test_nothing_of_the_daemons_environment_reaches_a_job(self):
        other = await self.start(env={"SECRET_OF_DAEMON": "1", "LD_DEBUG_OUTPUT": "/nowhere"})
        client = await other.connect()
        _, out = await client.run_out("cat", "/proc/self/environ")
        self.assertNotIn(b"SECRET_OF_DAEMON", out)
        self.assertNotIn(b"LD_DEBUG_OUTPUT", out)

    async def test_job_attempt_and_queue_are_told(self):
        await self.c.call("queue.set", queue="side", max_running=1)
        job, out = await self.c.run_out("/bin/cat", "/proc/self/environ", queue="side",
                                        env={"SLOT_JOB": "forged", "X": "1"})
        rows = [r for r in out.split(b"\0") if r.startswith(b"SLOT_JOB=")]
        self.assertEqual(rows, [b"SLOT_JOB=%d" % job["job"]])
        env = environ(out)
        self.assertEqual(env[b"SLOT_ATTEMPT"], b"1")
        self.assertEqual(env[b"SLOT_QUEUE"], b"side")

    async def test_environment_is_never_echoed(self):
        seen = []
        self.c.on_message = lambda m: seen.append(str(m))
        events = self.c.stream("events.subscribe")
        job = await self.c.run("true", env={"TOKEN": "hunter2", "PATH": "/usr/bin:/bin"})
        await self.c.get(job["job"])
        await self.c.call("job.list")
        await events.next()
        self.assertNotIn("hunter2", "".join(seen))
        self.assertNotIn("hunter2", self.d.log())

    async def test_command_is_looked_up_in_the_jobs_path(self):
        own = self.tmp / "bin"
        own.mkdir()
        tool = own / "only-here"
        tool.write_text("#!/bin/sh\necho found\n")
        tool.chmod(0o755)
        _, out = await self.c.run_out("only-here", env={"PATH": f"{own}:/usr/bin:/bin"})
        self.assertEqual(out, b"found\n")


class Attributes(Case):
    async def test_umask(self):
        path = self.tmp / "made"
        await self.c.run("touch", str(path), umask=0o027)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o640)

    async def test_nice(self):
        _, out = await self.c.run_out("nice", nice=7)
        self.assertEqual(out, b"7\n")

    async def test_rlimits(self):
        _, out = await self.c.run_out("sh", "-c", "ulimit -n; ulimit -c; ulimit -H -n",
                                      rlimits={"nofile": 77, "core": [0, 0]})
        self.assertEqual(out, b"77\n0\n77\n")

    async def test_cwd(self):
        _, out = await self.c.run_out("pwd", cwd=str(self.tmp))
        self.assertEqual(out.decode().strip(), os.path.realpath(self.tmp))

    async def test_open_descriptors_are_0_1_2_only(self):
        await self.c.submit("sleep", "30")
        _, out = await self.c.run_out("sh", "-c", "ls /proc/$$/fd; :")
        self.assertEqual(out.split(), [b"0", b"1", b"2"])
        (self.tmp / "in").write_text("")
        _, out = await self.c.run_out(
            "sh", "-c", "ls /proc/$$/fd; :", stdin={"file": str(self.tmp / "in")},
            stderr={"file": str(self.tmp / "err")}, cwd=str(self.tmp))
        self.assertEqual(out.split(), [b"0", b"1", b"2"])
        await self.c.cancel_jobs(1)

    async def test_signal_dispositions_and_mask_are_default(self):
        def spoil():
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE, signal.SIGCHLD):
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGALRM])
        other = await self.start(preexec_fn=spoil, restore_signals=False)
        client = await other.connect()
        _, out = await client.run_out("cat", "/proc/self/status")
        status = dict(row.split(b":\t") for row in out.splitlines() if b":\t" in row)
        for field in (b"SigBlk", b"SigIgn", b"SigCgt"):
            self.assertEqual(int(status[field], 16), 0, field)

    async def test_a_job_leads_a_session_of_its_own(self):
        _, out = await self.c.run_out("cat", "/proc/self/stat")
        fields = out.rpartition(b")")[2].split()
        pid = int(out.split()[0])
        self.assertEqual((int(fields[2]), int(fields[3])), (pid, pid))
        self.assertEqual(int(fields[4]), 0, "no controlling terminal")

    async def test_name_and_list_filter_by_name(self):
        job = await self.c.submit("true", name="nightly")
        await self.c.submit("true", name="other")
        found = (await self.c.call("job.list", name="nightly"))["jobs"]
        self.assertEqual([j["job"] for j in found], [job])


class Stdin(Case):
    async def test_default_is_null(self):
        _, out = await self.c.run_out("readlink", "/proc/self/fd/0")
        self.assertEqual(out, b"/dev/null\n")
        _, out = await self.c.run_out("cat", stdin="null")
        self.assertEqual(out, b"")

    async def test_data(self):
        _, out = await self.c.run_out("cat", stdin={"data": "hello\n"})
        self.assertEqual(out, b"hello\n")
        _, out = await self.c.run_out("cat", stdin={"data": b64(b"\x00\xff\n")})
        self.assertEqual(out, b"\x00\xff\n")
        _, out = await self.c.run_out("cat", stdin={"data": ""})
        self.assertEqual(out, b"")

    async def test_600_kib_of_data(self):
        data = os.urandom(450_000)
        job, out = await self.c.run_out("cat", stdin={"data": b64(data)}, output_limit=1 << 20)
        self.assertEqual(out, data)

    async def test_data_that_nobody_reads_hurts_nobody(self):
        job = await self.c.run("true", stdin={"data": "x" * 300_000})
        self.assertTrue(job["ok"])
        self.assertTrue((await self.c.run("true"))["ok"])

    async def test_file(self):
        path = self.tmp / "input"
        path.write_bytes(b"from a file")
        _, out = await self.c.run_out("cat", stdin={"file": str(path)})
        self.assertEqual(out, b"from a file")

    async def test_missing_file_is_spawn_failed(self):
        job = await self.c.run("cat", stdin={"file": str(self.tmp / "absent")})
        self.assertEqual(job["outcome"], "spawn_failed")
        self.assertEqual(job["error"]["errno"], "ENOENT")


class Output(Case):
    async def test_stdout_and_stderr_are_kept_apart(self):
        job = await self.c.run("sh", "-c", "echo out; echo err >&2")
        self.assertEqual(await self.c.output(job["job"], 1), b"out\n")
        self.assertEqual(await self.c.output(job["job"], 2), b"err\n")

    async def test_stderr_into_stdout_keeps_the_order(self):
        job = await self.c.run("sh", "-c", "echo a; echo b >&2; echo c", stderr="stdout")
        self.assertEqual(await self.c.output(job["job"], 1), b"a\nb\nc\n")
        self.assertEqual(await self.c.output(job["job"], 2), b"")

    async def test_writing_to_dev_stdout_keeps_both_lines(self):
        _, out = await self.c.run_out("sh", "-c", "echo a; echo b >/dev/stdout")
        self.assertEqual(out, b"a\nb\n")

    async def test_null(self):
        job = await self.c.run(sh("found=$(readlink /proc/$$/fd/1); echo $found >&2; echo x"),
                               stdout="null")
        self.assertEqual(await self.c.output(job["job"], 2), b"/dev/null\n")
        self.assertEqual(await self.c.output(job["job"], 1), b"")

    async def test_file_truncates_unless_append(self):
        path = self.tmp / "out"
        path.write_text("old\n")
        await self.c.run("echo", "1", stdout={"file": str(path), "append": True})
        self.assertEqual(path.read_text(), "old\n1\n")
        await self.c.run("echo", "2", stdout={"file": str(path)})
        self.assertEqual(path.read_text(), "2\n")

    async def test_file_is_made_with_the_jobs_umask(self):
        path = self.tmp / "fresh"
        await self.c.run("echo", "1", stdout={"file": str(path)}, umask=0o077)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)

    async def test_relative_file_is_relative_to_cwd(self):
        await self.c.run("echo", "1", stdout={"file": "rel"}, cwd=str(self.tmp))
        self.assertEqual((self.tmp / "rel").read_text(), "1\n")

    async def test_both_streams_into_one_file(self):
        path = self.tmp / "both"
        await self.c.run("sh", "-c", "echo a; echo b >&2; echo c", stdout={"file": str(path)},
                         stderr="stdout")
        self.assertEqual(path.read_text(), "a\nb\nc\n")

    async def test_output_limit_keeps_the_newest_bytes(self):
        for limit_bytes in (100, 4096, 100_000, 300_000):
            with self.subTest(limit_bytes):
                script = "i=0; while [ $i -lt 60000 ]; do echo line-$i; i=$((i+1)); done"
                job, out = await self.c.run_out("sh", "-c", script, output_limit=limit_bytes)
                whole = b"".join(b"line-%d\n" % i for i in range(60000))
                self.assertEqual(out, whole[-limit_bytes:])
                self.assertEqual(job["output"]["stdout"], limit_bytes)
                self.assertIs(job["output"]["truncated"], True)
                reply = await self.c.call("output.read", job=job["job"], fd=1, off=0)
                self.assertEqual(reply["dropped_before"], len(whole) - limit_bytes)
                self.assertEqual(reply["off"], len(whole) - limit_bytes)

    async def test_output_of_exactly_the_limit_is_not_truncated(self):
        job, out = await self.c.run_out("printf", "%s", "x" * 1000, output_limit=1000)
        self.assertEqual(len(out), 1000)
        self.assertIs(job["output"]["truncated"], False)

    async def test_one_mebibyte_comes_back_whole(self):
        job, out = await self.c.run_out("sh", "-c", "yes 0123456789abcde | head -c 1048576",
                                        output_limit=2 << 20)
        self.assertEqual(out, b"0123456789abcde\n" * 65536)


class Endings(Case):
    async def test_exit_codes(self):
        for code in (0, 1, 3, 127, 255):
            job = await self.c.run("sh", "-c", f"exit {code}")
            self.assertEqual((job["outcome"], job["exit_code"]), ("exited", code))
            self.assertIs(job["ok"], code == 0)

    async def test_ok_codes(self):
        job = await self.c.run("sh", "-c", "exit 3", ok_codes=[0, 3])
        self.assertIs(job["ok"], True)
        job = await self.c.run("true", ok_codes=[3])
        self.assertIs(job["ok"], False)
        self.assertEqual(job["outcome"], "exited")

    async def test_signaled(self):
        job = await self.c.run("sh", "-c", "kill -USR1 $$")
        self.assertEqual(job["outcome"], "signaled")
        self.assertEqual(job["signal"], signal.SIGUSR1)
        self.assertIsNone(job["exit_code"])
        self.assertIs(job["ok"], False)

    async def test_timeout_ends_the_job(self):
        began = time.monotonic()
        job = await self.c.run("sleep", "60", timeout_ms=200)
        took = time.monotonic() - began
        self.assertEqual(job["outcome"], "timed_out")
        self.assertEqual(job["signal"], signal.SIGTERM)
        self.assertIs(job["ok"], False)
        self.assertGreaterEqual(took, 0.2)
        self.assertLess(took, scaled(4))

    async def test_a_job_that_ignores_term_is_killed_after_its_grace(self):
        began = time.monotonic()
        job = await self.c.run("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done",
                               timeout_ms=200, kill_grace_ms=300)
        took = time.monotonic() - began
        self.assertEqual(job["outcome"], "timed_out")
        self.assertEqual(job["signal"], signal.SIGKILL)
        self.assertGreaterEqual(took, 0.5)
        self.assertLess(took, scaled(4))

    async def test_a_job_that_uses_its_grace_well_keeps_its_exit_code(self):
        job = await self.c.run(sh("trap 'echo bye; exit 9' TERM; while :; do sleep 0.05; done"),
                               timeout_ms=300, kill_grace_ms=10000)
        self.assertEqual(job["outcome"], "timed_out")
        self.assertEqual(job["exit_code"], 9)
        self.assertEqual(await self.c.output(job["job"]), b"bye\n")

    async def test_timeout_ends_the_grandchildren_too(self):
        mark = self.mark("pid")
        job = await self.c.submit(sh('setsid sh -c "echo \\$\\$ >$1; exec sleep 300" & '
                                     'wait; sleep 300', mark.path), timeout_ms=400,
                                  kill_grace_ms=200)
        pid = await mark.pid()
        self.assertEqual((await self.c.finish(job))["outcome"], "timed_out")
        await wait_gone(pid)

    async def test_a_background_child_does_not_hold_the_job_up(self):
        began = time.monotonic()
        job = await self.c.run("sh", "-c", "sleep 60 & exit 3")
        self.assertEqual((job["outcome"], job["exit_code"]), ("exited", 3))
        self.assertLess(time.monotonic() - began, scaled(2))

    async def test_leftovers_are_killed(self):
        mark = self.mark("pid")
        await self.c.run(sh('setsid sleep 300 & echo $! >"$1"', mark.path))
        await wait_gone(await mark.pid())

    async def test_kept_leftovers_live_on(self):
        mark = self.mark("pid")
        job = await self.c.run(sh('setsid sleep 300 >/dev/null 2>&1 & echo $! >"$1"', mark.path,
                                  leftovers="keep"))
        self.assertTrue(job["ok"])
        pid = await mark.pid()
        for _ in range(20):
            await self.c.run("true")
        self.assertTrue(is_running(pid))
        os.kill(pid, signal.SIGKILL)
        await wait_gone(pid)

    async def test_output_written_just_before_the_exit_is_kept(self):
        for _ in range(20):
            _, out = await self.c.run_out("sh", "-c", "sleep 60 & printf %65536s x; exit 0")
            self.assertEqual(len(out), 65536)

    async def test_missing_command(self):
        job = await self.c.run("no-such-command-anywhere")
        self.assertEqual(job["outcome"], "spawn_failed")
        self.assertIs(job["ok"], False)
        self.assertEqual(set(job["error"]) & {"step", "errno", "message"},
                         {"step", "errno", "message"})
        self.assertEqual(job["error"]["errno"], "ENOENT")
        self.assertRegex(job["error"]["step"], "exec")
        self.assertTrue(job["error"]["message"])
        self.assertIsNone(job["exit_code"])

    async def test_a_command_that_is_not_executable(self):
        path = self.tmp / "plain"
        path.write_text("text")
        job = await self.c.run(str(path))
        self.assertEqual((job["outcome"], job["error"]["errno"]), ("spawn_failed", "EACCES"))
        job = await self.c.run("/")
        self.assertEqual((job["outcome"], job["error"]["errno"]), ("spawn_failed", "EACCES"))

    async def test_missing_cwd(self):
        job = await self.c.run("true", cwd=str(self.tmp / "absent"))
        self.assertEqual((job["outcome"], job["error"]["errno"]), ("spawn_failed", "ENOENT"))
        self.assertRegex(job["error"]["step"], "c(hdir|wd)")

    async def test_output_file_in_a_missing_directory(self):
        job = await self.c.run("true", stdout={"file": str(self.tmp / "no" / "out")})
        self.assertEqual((job["outcome"], job["error"]["errno"]), ("spawn_failed", "ENOENT"))

    async def test_a_thousand_failed_spawns_leave_no_zombie(self):
        jobs = (await self.c.call("job.submit_batch", jobs=[{"argv": ["/nonexistent"]}] * 1000))
        items = await self.c.stream("futures.as_completed", jobs=jobs["jobs"]).collect()
        self.assertEqual({i["outcome"] for i in items}, {"spawn_failed"})
        launcher = self.d.launcher()
        await eventually(lambda: not children(launcher), 10, "zombies reaped")

    async def test_every_end_leaves_launcher_descriptors_at_baseline(self):
        await self.c.run("true")
        launcher = self.d.launcher()
        before = fd_count(launcher)
        for spec in ({"argv": ["true"]}, {"argv": ["/nonexistent"]},
                     {"argv": ["sleep", "9"], "timeout_ms": 30},
                     {"argv": ["sleep", "9"], "stdin": "pipe", "timeout_ms": 30},
                     {"argv": ["cat"], "stdin": {"data": "x"}}):
            for _ in range(10):
                await self.c.run(spec)
        await eventually(lambda: fd_count(launcher) <= before, 10, "launcher's descriptors")


class Listing(Case):
    async def test_get_of_an_unknown_job(self):
        self.assertKind(await self.c.error("job.get", job=99), "NoSuchJob", 1001)
        first = await self.c.submit("true")
        error = await self.c.error("job.get", job=99)
        self.assertKind(error, "NoSuchJob", oldest_job=first)

    async def test_list_filters(self):
        await self.c.call("queue.set", queue="q2", max_running=4)
        good = (await self.c.run("true"))["job"]
        bad = (await self.c.run("false", queue="q2"))["job"]
        gate = self.gate()
        running = await self.c.submit(gate.spec())

        async def ids(**params):
            return [j["job"] for j in (await self.c.call("job.list", **params))["jobs"]]
        self.assertEqual(sorted(await ids()), [good, bad, running])
        self.assertEqual(await ids(phase="running"), [running])
        self.assertEqual(sorted(await ids(phase="done")), [good, bad])
        self.assertEqual(await ids(queue="q2"), [bad])
        self.assertEqual(await ids(ok=False), [bad])
        self.assertEqual(await ids(ok=True), [good])
        self.assertEqual(sorted(await ids(uid=os.getuid())), [good, bad, running])
        since = (await self.c.get(running))["submitted_us"]
        self.assertEqual(await ids(since_us=since), [running])
        gate.open()
        await self.c.finish(running)

    async def test_list_pages_cover_everything_once(self):
        jobs = (await self.c.call("job.submit_batch", jobs=[{"argv": ["true"]}] * 53))["jobs"]
        seen, cursor = [], None
        while True:
            more = {} if cursor is None else {"cursor": cursor}
            page = await self.c.call("job.list", limit=10, **more)
            self.assertLessEqual(len(page["jobs"]), 10)
            seen += [j["job"] for j in page["jobs"]]
            cursor = page["next"]
            if cursor is None:
                break
        self.assertEqual(sorted(seen), jobs)
        self.assertEqual(len(set(seen)), 53)

    async def test_list_order(self):
        jobs = [await self.c.submit("true") for _ in range(5)]
        for order, want in (("asc", jobs), ("desc", jobs[::-1])):
            seen, cursor = [], None
            while True:
                more = {} if cursor is None else {"cursor": cursor}
                page = await self.c.call("job.list", order=order, limit=2, **more)
                seen += [j["job"] for j in page["jobs"]]
                cursor = page["next"]
                if cursor is None:
                    break
            self.assertEqual(seen, want, order)

    async def test_list_limit_is_at_most_500(self):
        error = await self.c.error("job.list", limit=501)
        self.assertIn(error.kind, ("InvalidParams", "LimitExceeded"))

    async def test_long_argv_is_cut_in_lists_only(self):
        job = await self.c.submit("true", "x" * 5000)
        short = await self.c.submit("true")
        rows = {j["job"]: j for j in (await self.c.call("job.list"))["jobs"]}
        self.assertIs(rows[job]["argv_truncated"], True)
        self.assertLessEqual(sum(len(to_bytes(a)) for a in rows[job]["argv"]), 256)
        self.assertFalse(rows[short].get("argv_truncated"))
        self.assertEqual((await self.c.get(job))["argv"], ["true", "x" * 5000])

    @limit(90)
    async def test_a_page_stays_below_512_kib(self):
        jobs = [{"argv": ["true"], "tag": "t" * 4000} for _ in range(300)]
        for _ in range(2):
            await self.c.call("job.submit_batch", jobs=jobs[:150])
        sizes = []
        self.c.on_message = lambda m: sizes.append(len(str(m)))
        page = await self.c.call("job.list", limit=500)
        self.assertLess(max(sizes), 560 * 1024)
        self.assertLess(len(page["jobs"]), 300)
        self.assertIsNotNone(page["next"])


class Change(Case):
    max_running = 1

    async def test_set_priority_reorders_pending_jobs(self):
        gate = self.gate()
        await self.c.submit(gate.spec())
        first, second = [await self.c.submit("true") for _ in range(2)]
        job = await self.c.call("job.set", job=second, priority=10)
        self.assertEqual((job["job"], job["priority"]), (second, 10))
        stream = self.c.stream("futures.as_completed", jobs=[first, second])
        gate.open()
        self.assertEqual([i["job"] for i in await stream.collect()], [second, first])

    async def test_set_hold_keeps_a_job_back(self):
        await self.c.call("limits.set", max_running=0)
        held = await self.c.submit("true")
        job = await self.c.call("job.set", job=held, hold=True)
        self.assertEqual((job["phase"], job["reason"]), ("pending", "hold"))
        await self.c.call("limits.set", max_running=1)
        self.assertTrue((await self.c.run("true"))["ok"])
        self.assertEqual((await self.c.get(held))["phase"], "pending")
        await self.c.call("job.set", job=held, hold=False)
        self.assertTrue((await self.c.finish(held))["ok"])

    async def test_set_queue_moves_a_pending_job(self):
        await self.c.call("queue.set", queue="other", max_running=1)
        await self.c.call("limits.set", max_running=0)
        job = await self.c.submit("true")
        self.assertEqual((await self.c.call("job.set", job=job, queue="other"))["queue"], "other")
        await self.c.call("limits.set", max_running=1)
        self.assertEqual((await self.c.finish(job))["queue"], "other")

    async def test_set_on_a_running_or_done_job_is_invalid_state(self):
        gate = self.gate()
        job = await self.c.submit(gate.spec())
        self.assertKind(await self.c.error("job.set", job=job, priority=1), "InvalidState", 1007)
        gate.open()
        await self.c.finish(job)
        self.assertKind(await self.c.error("job.set", job=job, priority=1), "InvalidState", 1007)

    async def test_set_to_an_unknown_queue(self):
        await self.c.call("limits.set", max_running=0)
        job = await self.c.submit("true")
        error = await self.c.error("job.set", job=job, queue="nowhere")
        self.assertKind(error, "InvalidParams", -32602, param="queue")

    async def test_retry_makes_a_new_job_with_the_same_spec(self):
        first = await self.c.run("/bin/sh", "-c", "echo $A; exit 3", env={"A": "kept"}, name="n",
                                 tag=[1])
        again = (await self.c.call("job.retry", job=first["job"]))["job"]
        self.assertGreater(again, first["job"])
        job = await self.c.finish(again)
        for field in ("argv", "exit_code", "name", "tag", "queue"):
            self.assertEqual(job[field], first[field], field)
        self.assertEqual(await self.c.output(again), b"kept\n")

    async def test_retry_of_a_job_that_is_not_done(self):
        gate = self.gate()
        job = await self.c.submit(gate.spec())
        self.assertKind(await self.c.error("job.retry", job=job), "InvalidState", 1007)
        gate.open()
        await self.c.finish(job)

    async def test_forget(self):
        done = (await self.c.run("true"))["job"]
        gate = self.gate()
        running = await self.c.submit(gate.spec())
        error = await self.c.error("job.forget", jobs=[done, running])
        self.assertKind(error, "InvalidState", 1007)
        self.assertEqual((await self.c.get(done))["job"], done)
        self.assertEqual(await self.c.call("job.forget", jobs=[done]), {"forgotten": 1})
        self.assertKind(await self.c.error("job.get", job=done), "NoSuchJob", 1001)
        self.assertKind(await self.c.error("output.read", job=done, fd=1), "NoSuchJob", 1001)
        gate.open()
        await self.c.finish(running)


class Retries(Case):
    async def test_a_failing_job_is_tried_again(self):
        mark = self.mark("tries")
        job = await self.c.run(sh('echo "$SLOT_ATTEMPT" >>"$1"; [ "$SLOT_ATTEMPT" = 3 ]',
                                  mark.path),
                               retries={"max": 5, "backoff_ms": 20})
        self.assertEqual(mark.lines(), ["1", "2", "3"])
        self.assertIs(job["ok"], True)
        self.assertEqual(job["attempt"], 3)

    async def test_the_last_failure_is_the_outcome(self):
        job = await self.c.run(sh("echo $SLOT_ATTEMPT; exit $((10 + SLOT_ATTEMPT))"),
                               retries={"max": 2, "backoff_ms": 10})
        self.assertEqual((job["exit_code"], job["attempt"]), (13, 3))
        self.assertEqual(await self.c.output(job["job"]), b"3\n")

    async def test_back_off_doubles(self):
        mark = self.mark("times")
        await self.c.run(sh('date +%s.%N >>"$1"; exit 1', mark.path),
                         retries={"max": 3, "backoff_ms": 100})
        times = [float(t) for t in mark.lines()]
        gaps = [b - a for a, b in zip(times, times[1:])]
        for gap, want in zip(gaps, (0.1, 0.2, 0.4)):
            self.assertGreaterEqual(gap, want - 0.005)
            self.assertLess(gap, want + scaled(1.0))

    async def test_one_completion_and_events_for_failed_attempts(self):
        events = self.c.stream("events.subscribe")
        job = await self.c.run(sh("exit 1"), retries={"max": 2, "backoff_ms": 10})
        items = await self.c.stream("futures.as_completed", jobs=[job["job"]]).collect()
        self.assertEqual(len(items), 1)
        await self.c.call("stats.get")
        kinds = []
        await events.until(lambda: sum("attempt_failed" in str(i) for i in events.items) >= 2,
                           10, "two attempt_failed events")
        kinds = [i for i in events.items if "attempt_failed" in str(i)]
        self.assertEqual(len(kinds), 2)
        self.assertTrue(all(i["job"] == job["job"] for i in kinds))

    async def test_only_listed_outcomes_are_retried(self):
        job = await self.c.run(sh("exit 1"),
                               retries={"max": 3, "backoff_ms": 10, "on": ["timed_out"]})
        self.assertEqual(job["attempt"], 1)
        job = await self.c.run("/nonexistent", retries={"max": 3, "backoff_ms": 10})
        self.assertEqual((job["outcome"], job["attempt"]), ("spawn_failed", 1))
        job = await self.c.run("/nonexistent",
                               retries={"max": 1, "backoff_ms": 10, "on": ["spawn_failed"]})
        self.assertEqual((job["outcome"], job["attempt"]), ("spawn_failed", 2))

    async def test_signaled_and_timed_out_are_retried_by_default(self):
        job = await self.c.run(sh("kill -9 $$"), retries={"max": 1, "backoff_ms": 10})
        self.assertEqual((job["outcome"], job["attempt"]), ("signaled", 2))
        job = await self.c.run("sleep", "30", timeout_ms=50, retries={"max": 1, "backoff_ms": 10})
        self.assertEqual((job["outcome"], job["attempt"]), ("timed_out", 2))

    async def test_cancel_in_back_off_ends_the_job(self):
        job = await self.c.submit(sh("exit 1"), retries={"max": 3, "backoff_ms": 60000})

        async def waiting():
            found = await self.c.get(job)
            return found["phase"] == "pending" and found["reason"] == "retry"
        await eventually(waiting, 10, "back-off")
        await self.c.cancel_jobs(job)
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["reason"]), ("cancelled", "client"))

    async def test_a_cancelled_attempt_is_not_retried(self):
        gate = self.gate()
        job = await self.c.submit(gate.spec(retries={"max": 3, "backoff_ms": 10}))
        await self.phase(job)
        await self.c.cancel_jobs(job)
        done = await self.c.finish(job)
        self.assertEqual((done["outcome"], done["attempt"]), ("cancelled", 1))


class Patterns(Case):
    """The message texts are for people; these only keep them printable."""

    async def test_error_messages_are_one_printable_line(self):
        for spec in ({"argv": []}, {"argv": ["x"], "nope": 1}, {"argv": ["x"], "cwd": 7}):
            error = await self.c.error("job.submit", **spec)
            self.assertTrue(re.fullmatch(r"[^\x00-\x1f]+", error.message), error.message)
