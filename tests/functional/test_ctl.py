"""slotctl's verbs: what they print and how they exit."""

import asyncio
import json
import os
import signal
import time

from slottest import (Case, alone, descendants, eventually, is_running, limit, scaled, sh,
                      wait_gone)
from slottest.ctl import Ctl
from slottest.daemon import find_binary
from slottest.proc import stat_of


class Submit(Case):
    async def submit(self, *args, **more):
        done = await self.ctl.ok("submit", *args, **more)
        self.assertRegex(done.text, r"\A[0-9]+\n\Z")
        return int(done.text)

    async def out(self, job):
        await self.c.finish(job)
        return (await self.c.output(job)).decode()

    async def test_prints_only_the_id(self):
        done = await self.ctl.run("submit", "--", "true")
        self.assertEqual((done.status, done.err), (0, ""))
        self.assertEqual(done.text, "1\n")
        self.assertEqual((await self.ctl.ok("add", "true")).text, "2\n")

    async def test_json_prints_one_object(self):
        (reply,) = (await self.ctl.ok("submit", "--json", "--", "true")).json
        self.assertEqual((reply["job"], reply["existing"]), (1, False))

    async def test_captures_cwd_umask_and_environment(self):
        job = await self.submit("--", "sh", "-c", "pwd; umask; echo $MARKED", cwd=str(self.tmp),
                                env={"MARKED": "yes"}, preexec_fn=lambda: os.umask(0o027))
        self.assertEqual(await self.out(job), f"{os.path.realpath(self.tmp)}\n0027\nyes\n")

    async def test_flags(self):
        await self.c.call("queue.set", queue="q", max_running=4)
        (self.tmp / "in").write_text("input\n")
        job = await self.submit(
            "-q", "q", "-n", "nom", "-N", "2", "-p", "7", "-C", "/", "-E", "A=1", "-E", "B=2 3",
            "-o", self.tmp / "out", "-e", self.tmp / "err", "--stdin", self.tmp / "in",
            "--tag", '{"t":[1]}', "--timeout", "5s", "--",
            "sh", "-c", "pwd; echo $A $B; cat; echo oops >&2")
        found = await self.c.finish(job)
        self.assertEqual((found["queue"], found["name"], found["slots"], found["priority"],
                          found["cwd"], found["tag"], found["ok"]),
                         ("q", "nom", 2, 7, "/", {"t": [1]}, True))
        self.assertEqual((self.tmp / "out").read_text(), "/\n1 2 3\ninput\n")
        self.assertEqual((self.tmp / "err").read_text(), "oops\n")

    async def test_files_are_relative_to_where_slotctl_stands(self):
        job = await self.submit("-o", "here", "--", "echo", "x", cwd=str(self.tmp))
        await self.c.finish(job)
        self.assertEqual((self.tmp / "here").read_text(), "x\n")

    async def test_timeout_delay_retries_after_and_key(self):
        job = await self.submit("--timeout", "100ms", "--", "sleep", "60")
        self.assertEqual((await self.c.finish(job))["outcome"], "timed_out")
        job = await self.submit("--retries", "2:10ms", "--", "false")
        self.assertEqual((await self.c.finish(job))["attempt"], 3)
        job = await self.submit("--delay", "1h", "--", "true")
        self.assertEqual((await self.c.get(job))["reason"], "delay")
        after = await self.submit("--after", str(job), "--", "true")
        self.assertEqual((await self.c.get(after))["reason"], "after")
        await self.c.cancel_jobs(job)
        first = await self.submit("--key", "k", "--", "true")
        self.assertEqual(await self.submit("--key", "k", "--", "true"), first)

    async def test_what_a_shell_counts_is_no_other_job_under_a_key(self):
        for level in ("1", "2"):
            job = await self.submit("--key", "k", "--", "env", env={
                "SHLVL": level, "_": f"/bin/{level}", "OLDPWD": f"/{level}", "KEPT": "yes"})
            self.assertEqual(job, 1)
        env = (await self.out(job)).splitlines()
        self.assertIn("KEPT=yes", env)
        self.assertFalse([row for row in env if row.startswith(("SHLVL=", "OLDPWD="))])

    async def test_limits_that_somebody_set_are_the_jobs(self):
        limited = ["sh", "-c", 'ulimit -f 1000; ulimit -S -t 77; exec "$0" "$@"',
                   find_binary("slotctl"), "run", "--", "sh", "-c", "ulimit -f; ulimit -t"]
        process = await asyncio.create_subprocess_exec(
            *limited, env=self.ctl.env, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        self.assertEqual(out, b"1000\n77\n")

    async def test_shell(self):
        job = await self.submit("--shell", "--", "echo a; echo b | tr b c")
        self.assertEqual(await self.out(job), "a\nc\n")

    async def test_arguments_pass_unharmed(self):
        words = ["", "a b", "-x", "--help", "$HOME", "*", "é", "\n"]
        job = await self.submit("--", "printf", "%s|", *words)
        self.assertEqual(await self.out(job), "".join(w + "|" for w in words))
        job = await self.submit("--", "printf", "%s", b"\xff\xfe")
        await self.c.finish(job)
        self.assertEqual(await self.c.output(job), b"\xff\xfe")

    async def test_options_after_the_command_belong_to_it(self):
        job = await self.submit("echo", "-n", "--json", "x")
        self.assertEqual(await self.out(job), "--json x")

    async def test_usage_errors(self):
        for args in ((), ("--nope", "--", "true"), ("-q", "absent", "--", "true"),
                     ("-p", "high", "--", "true"), ("--timeout", "soon", "--", "true"),
                     ("--tag", "{", "--", "true"), ("-E", "novalue", "--", "true"),
                     ("--after", "x", "--", "true"), ("--after", "999", "--", "true")):
            done = await self.ctl.run("submit", *args)
            self.assertEqual((done.status, done.text), (125, ""), args)
            self.assertTrue(done.err.startswith("slotctl: "), done.err)
        self.assertEqual((await self.c.call("job.list"))["jobs"], [])

    async def test_block_waits_for_room(self):
        await self.c.call("limits.set", max_running=1, max_pending=1)
        gate = self.gate()
        await self.c.submit(gate.spec())
        await self.c.submit("true")
        done = await self.ctl.run("submit", "--", "true")
        self.assertEqual(done.status, 125)
        process = await self.ctl.start("submit", "-B", "--", "true")

        async def held():
            return (await self.c.call("stats.get"))["held"] == 1
        await eventually(held, 10, "a held submit")
        gate.open()
        out, _ = await asyncio.wait_for(process.communicate(), scaled(20))
        self.assertRegex(out, rb"\A[0-9]+\n\Z")


class Look(Case):
    async def test_list(self):
        await self.c.run("true", name="first")
        await self.c.run("sh", "-c", "exit 3")
        for verb in ("list", "ls", "status"):
            done = await self.ctl.ok(verb)
            self.assertIn("first", done.text)
            self.assertEqual(done.err, "")
        rows = (await self.ctl.ok("list", "--json")).json
        self.assertEqual({r["job"] for r in rows}, {1, 2})
        self.assertEqual({r["exit_code"] for r in rows}, {0, 3})

    async def test_list_shows_no_control_characters(self):
        await self.c.run("echo", "\x1b[31mred\x1b[0m\x07", name="x\x1b]0;t\x07")
        done = await self.ctl.ok("list")
        self.assertNotIn(b"\x1b", done.out)
        self.assertNotIn(b"\x07", done.out)

    async def test_list_of_more_than_a_page(self):
        for _ in range(2):
            await self.c.call("job.submit_batch", jobs=[{"argv": ["true"]}] * 400)
        rows = (await self.ctl.ok("--json", "list")).json
        self.assertGreater(len(rows), 0)
        self.assertEqual(len({r["job"] for r in rows}), len(rows))

    async def test_show(self):
        job = await self.c.run("sh", "-c", "exit 3", name="nom")
        done = await self.ctl.ok("show", 1)
        self.assertIn("nom", done.text)
        (shown,) = (await self.ctl.ok("show", "--json", "1")).json
        self.assertEqual(shown, job)

    async def test_an_unknown_id_is_125(self):
        for args in (("show", 9), ("log", 9), ("cancel", 9), ("signal", "TERM", 9), ("wait", 9),
                     ("gather", 9), ("retry", 9), ("forget", 9), ("show", "x"), ("show",),
                     ("send", 9), ("set", "-p", "1", "9")):
            done = await self.ctl.run(*args)
            self.assertEqual((done.status, done.text), (125, ""), args)
            self.assertTrue(done.err.startswith("slotctl: "), done.err)

    async def test_log(self):
        await self.c.run("sh", "-c", "echo 1; echo 2; echo 3; printf 'e\\377' >&2")
        self.assertEqual((await self.ctl.ok("log", 1)).out, b"1\n2\n3\n")
        self.assertEqual((await self.ctl.ok("log", "--err", 1)).out, b"e\xff")
        self.assertEqual((await self.ctl.ok("log", "-n", 2, 1)).out, b"2\n3\n")

    async def test_log_of_a_large_output(self):
        await self.c.run("sh", "-c", "seq 1 100000", output_limit=1 << 20)
        self.assertEqual((await self.ctl.ok("log", 1)).out,
                         b"".join(b"%d\n" % i for i in range(1, 100001)))

    async def test_log_follows(self):
        gate = self.gate()
        await self.c.submit(sh('echo one; read c <"$1"; echo two', gate.path))
        process = await self.ctl.start("log", "-f", "1")
        row = await asyncio.wait_for(process.stdout.readline(), scaled(20))
        self.assertEqual(row, b"one\n")
        gate.open()
        out, _ = await asyncio.wait_for(process.communicate(), scaled(20))
        self.assertEqual((out, process.returncode), (b"two\n", 0))

    async def test_stats_and_doctor(self):
        await self.c.run("true")
        done = await self.ctl.ok("stats")
        self.assertTrue(done.text)
        (stats,) = (await self.ctl.ok("stats", "--json")).json
        self.assertEqual(stats["completed"], 1)
        done = await self.ctl.run("doctor")
        self.assertEqual(done.status, 0, done)
        self.assertIn(str(self.d.socket), done.text)
        self.assertEqual(len((await self.ctl.ok("doctor", "--json")).json), 1)

    async def test_call(self):
        (reply,) = (await self.ctl.ok("call", "job.submit", '{"argv":["echo","x"]}')).json
        self.assertEqual(reply["job"], 1)
        await self.c.finish(1)
        (reply,) = (await self.ctl.ok("call", "job.get", '{"job":1}')).json
        self.assertEqual(reply["exit_code"], 0)
        self.assertEqual((await self.ctl.ok("call", "limits.get")).json[0]["max_running"], 4)
        done = await self.ctl.run("call", "job.get", '{"job":99}')
        self.assertEqual(done.status, 125)
        self.assertEqual((await self.ctl.run("call", "job.get", "{")).status, 125)
        self.assertEqual((await self.ctl.run("call", "no.such")).status, 125)

    async def test_call_of_a_stream_prints_its_items(self):
        jobs = [(await self.c.run("true"))["job"] for _ in range(3)]
        rows = (await self.ctl.ok("call", "futures.as_completed", json.dumps({"jobs": jobs}))).json
        self.assertEqual([r["job"] for r in rows[:3]], jobs)

    async def test_help_of_every_verb(self):
        done = await self.ctl.ok("--help")
        for verb in ("submit", "run", "map", "wait", "gather", "watch", "list", "show", "log",
                     "cancel", "signal", "limit", "pause", "resume", "stats", "doctor", "call"):
            self.assertIn(verb, done.text)
            own = await self.ctl.ok(verb, "--help")
            self.assertIn(verb, own.text)
            self.assertEqual(own.err, "")

    async def test_usage_errors(self):
        for args in ((), ("no-such-verb",), ("list", "--no-such-option"), ("--socket",)):
            done = await self.ctl.run(*args)
            self.assertEqual((done.status, done.text), (125, ""), args)
            self.assertTrue(done.err)

    async def test_global_options_stand_before_or_after_the_verb(self):
        ctl = self.make_ctl(env={"SLOTD_SOCKET": "/nonexistent/socket"})
        for args in (("--socket", self.d.socket, "--json", "limit"),
                     ("limit", "--socket", self.d.socket, "--json"),
                     (f"--socket={self.d.socket}", "limit", "--json")):
            self.assertEqual(len((await ctl.ok(*args)).json), 1)

    async def test_no_daemon_is_125(self):
        ctl = self.make_ctl(env={"SLOTD_SOCKET": str(self.tmp / "nobody")})
        for verb in (("list",), ("submit", "--", "true"), ("run", "--", "true"), ("doctor",)):
            done = await ctl.run(*verb)
            self.assertEqual(done.status, 125, verb)
            self.assertTrue(done.err or done.text)

    async def test_output_into_a_closed_pipe_ends_quietly(self):
        await self.c.call("job.submit_batch", jobs=[{"argv": ["true"]}] * 500)
        reader, writer = os.pipe()
        os.close(reader)
        done = await self.ctl.run("list", "--json", stdout=writer)
        os.close(writer)
        self.assertNotIn("Sanitizer", done.err)


class Wait(Case):
    max_running = 8

    async def gated(self, count):
        gates = [self.gate() for _ in range(count)]
        return gates, [await self.c.submit(g.spec()) for g in gates]

    async def test_prints_jobs_as_they_finish(self):
        gates, jobs = await self.gated(3)
        process = await self.ctl.start("wait", "--json", *jobs)
        for index in (1, 2, 0):
            gates[index].open()
            row = json.loads(await asyncio.wait_for(process.stdout.readline(), scaled(20)))
            self.assertEqual(row["job"], jobs[index])
        await asyncio.wait_for(process.communicate(), scaled(20))
        self.assertEqual(process.returncode, 0)

    async def test_exit_statuses(self):
        good = (await self.c.run("true"))["job"]
        bad = (await self.c.run("false"))["job"]
        self.assertEqual((await self.ctl.run("wait", good)).status, 0)
        self.assertEqual((await self.ctl.run("wait", good, bad)).status, 1)
        gates, jobs = await self.gated(1)
        done = await self.ctl.run("wait", "--timeout", "100ms", good, jobs[0])
        self.assertEqual(done.status, 124)
        self.assertEqual((await self.c.get(jobs[0]))["phase"], "running")
        gates[0].open()

    async def test_any(self):
        gates, jobs = await self.gated(3)
        gates[1].open()
        rows = (await self.ctl.ok("wait", "--any", "--json", *jobs)).json
        self.assertEqual([r["job"] for r in rows], [jobs[1]])
        for gate in gates:
            gate.open()

    async def test_first_fail(self):
        gates, jobs = await self.gated(3)
        process = await self.ctl.start("wait", "--first-fail", "--json", *jobs)
        gates[0].open()
        await self.c.finish(jobs[0])
        gates[2].open(1)
        out, _ = await asyncio.wait_for(process.communicate(), scaled(20))
        self.assertEqual(process.returncode, 1)
        self.assertEqual({json.loads(r)["job"] for r in out.splitlines()}, {jobs[0], jobs[2]})
        gates[1].open()

    async def test_of_a_queue(self):
        await self.c.call("queue.set", queue="q", max_running=4)
        for _ in range(3):
            await self.c.submit("true", queue="q")
        done = await self.ctl.ok("wait", "-q", "q")
        self.assertLessEqual(len(done.lines), 3)

    async def test_gather_prints_outputs_in_the_order_given(self):
        gate = self.gate()
        jobs = [await self.c.submit(sh('read c <"$1"; echo first', gate.path)),
                await self.c.submit("echo", "second")]
        await self.c.finish(jobs[1])
        process = await self.ctl.start("gather", *jobs)
        gate.open()
        out, err = await asyncio.wait_for(process.communicate(), scaled(20))
        self.assertEqual((out, process.returncode), (b"first\nsecond\n", 0))

    async def test_gather_with_a_failure(self):
        jobs = [await self.c.submit("echo", "ok"), await self.c.submit(sh("echo bad; exit 2"))]
        done = await self.ctl.run("gather", *jobs)
        self.assertEqual(done.status, 1)
        done = await self.ctl.run("gather", "--return-exceptions", *jobs)
        self.assertEqual((done.status, done.out), (1, b"ok\nbad\n"))

    async def test_watch(self):
        first = (await self.c.run("true"))["job"]
        process = await self.ctl.start("watch", "--since", "0", "--json")
        row = json.loads(await asyncio.wait_for(process.stdout.readline(), scaled(20)))
        self.assertEqual(row["job"], first)
        second = await self.c.submit("false")
        row = json.loads(await asyncio.wait_for(process.stdout.readline(), scaled(20)))
        self.assertEqual((row["job"], row["ok"]), (second, False))
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), scaled(20))


class Steer(Case):
    async def test_cancel(self):
        jobs = [await self.c.submit("sleep", "300") for _ in range(2)]
        done = await self.ctl.run("cancel", *jobs)
        self.assertEqual(done.status, 0, done)
        for job in jobs:
            self.assertEqual((await self.c.get(job))["outcome"], "cancelled")

    async def test_cancel_with_grace_and_without_waiting(self):
        mark = self.mark("pid")
        job = await self.c.submit(sh('trap "" TERM; echo $$ >"$1"; while :; do sleep 0.1; done',
                                     mark.path))
        pid = await mark.pid()
        await self.ctl.ok("kill", "--no-wait", "--grace", "1h", job)
        self.assertTrue(is_running(pid))
        await self.ctl.ok("cancel", "--grace", "100ms", job)
        self.assertFalse(is_running(pid))

    async def test_signal(self):
        mark = self.mark("pid")
        job = await self.c.submit(sh('trap "exit 9" USR1; echo $$ >"$1"; '
                                     'while :; do sleep 0.02; done', mark.path))
        await mark.pid()
        await self.ctl.ok("signal", "USR1", job)
        self.assertEqual((await self.c.finish(job))["exit_code"], 9)

    async def test_limit(self):
        self.assertIn("4", (await self.ctl.ok("limit")).text)
        await self.ctl.ok("limit", 7)
        self.assertEqual((await self.c.call("limits.get"))["max_running"], 7)
        await self.c.call("queue.set", queue="q", max_running=1)
        await self.ctl.ok("limit", "-q", "q", 3)
        queues = {q["queue"]: q for q in (await self.c.call("queue.list"))["queues"]}
        self.assertEqual(queues["q"]["max_running"], 3)
        self.assertEqual((await self.ctl.run("limit", "many")).status, 125)
        self.assertEqual((await self.ctl.run("limit", "-1")).status, 125)

    async def test_limit_zero_pauses_starts(self):
        await self.ctl.ok("limit", 0)
        job = await self.c.submit("true")
        self.assertEqual((await self.c.get(job))["phase"], "pending")
        await self.ctl.ok("limit", 1)
        await self.c.finish(job)

    async def test_pause_and_resume(self):
        await self.ctl.ok("pause")
        job = await self.c.submit("true")
        self.assertEqual((await self.c.get(job))["reason"], "paused")
        await self.ctl.ok("resume")
        self.assertTrue((await self.c.finish(job))["ok"])

    async def test_retry_set_forget_queue_and_drain(self):
        first = (await self.c.run("false"))["job"]
        again = int((await self.ctl.ok("retry", first)).text)
        self.assertEqual((await self.c.finish(again))["exit_code"], 1)
        await self.ctl.ok("limit", 0)
        job = await self.c.submit("true")
        await self.ctl.ok("set", "-p", "5", job)
        self.assertEqual((await self.c.get(job))["priority"], 5)
        await self.ctl.ok("limit", 1)
        await self.c.finish(job)
        await self.ctl.ok("forget", first)
        self.assertKind(await self.c.error("job.get", job=first), "NoSuchJob")
        self.assertIn("default", (await self.ctl.ok("queue")).text)
        await self.ctl.ok("drain")
        self.assertKind(await self.c.error("job.submit", argv=["true"]), "Draining")
        await self.ctl.ok("drain", "--off")
        self.assertTrue((await self.c.run("true"))["ok"])

    async def test_send_feeds_stdin(self):
        job = await self.c.submit("cat", stdin="pipe")
        await self.ctl.ok("send", job, input=b"through\n" * 10000)
        self.assertTrue((await self.c.finish(job))["ok"])
        self.assertEqual(await self.c.output(job), b"through\n" * 10000)


class Run(Case):
    async def test_streams_go_through(self):
        done = await self.ctl.run("run", "--", "sh", "-c", "cat; echo err >&2",
                                  input=b"in \xff\x00")
        self.assertEqual((done.status, done.out, done.err), (0, b"in \xff\x00", "err\n"))

    async def test_exit_statuses(self):
        (self.tmp / "plain").write_text("text")
        for args, status in ((("true",), 0), (("sh", "-c", "exit 3"), 3),
                             (("sh", "-c", "exit 255"), 255), (("sh", "-c", "kill -9 $$"), 137),
                             (("sh", "-c", "kill -TERM $$"), 143),
                             (("sh", "-c", "kill -SEGV $$"), 139),
                             (("no-such-command-anywhere",), 127), (("/no/such/file",), 127),
                             ((str(self.tmp / "plain"),), 126), (("/",), 126)):
            done = await self.ctl.run("run", "--", *args)
            self.assertEqual(done.status, status, (args, done))
        done = await self.ctl.run("run", "--timeout", "100ms", "--", "sleep", "60")
        self.assertEqual(done.status, 124)

    async def test_a_missing_command_says_so(self):
        done = await self.ctl.run("run", "--", "no-such-command-anywhere")
        self.assertEqual(done.text, "")
        self.assertIn("no-such-command-anywhere", done.err)

    async def test_cancelled_by_others_is_125(self):
        process = await self.ctl.start("run", "--", "sleep", "300")
        await self.job_runs()
        await self.c.cancel_jobs(1)
        _, err = await asyncio.wait_for(process.communicate(), scaled(20))
        self.assertEqual(process.returncode, 125)
        self.assertTrue(err)

    async def test_dependency_failed_is_125(self):
        bad = (await self.c.run("false"))["job"]
        done = await self.ctl.run("run", "--after", bad, "--", "true")
        self.assertEqual(done.status, 125)

    async def job_runs(self, job=1):
        async def running():
            found = await self.c.call("job.list", phase="running")
            return [j for j in found["jobs"] if j["job"] == job]
        await eventually(running, 10, f"job {job} runs")

    async def test_environment_cwd_and_umask(self):
        done = await self.ctl.ok("run", "--", "sh", "-c", "pwd; umask; echo $MARKED", cwd="/tmp",
                                 env={"MARKED": "yes"}, preexec_fn=lambda: os.umask(0o077))
        self.assertEqual(done.text, "/tmp\n0077\nyes\n")

    async def test_its_own_descriptors_are_the_jobs(self):
        out = self.tmp / "out"
        with open(out, "wb") as f:
            await self.ctl.ok("run", "--", "sh", "-c", "readlink /proc/self/fd/1", stdout=f)
        self.assertEqual(out.read_text().strip(), os.path.realpath(out))

    async def test_open_descriptors(self):
        done = await self.ctl.ok("run", "--", "sh", "-c", "ls /proc/$$/fd; :")
        self.assertEqual(done.text.split(), ["0", "1", "2"])

    async def test_ten_megabytes_through_stdin_and_stdout(self):
        data = os.urandom(1 << 20) * 10
        done = await self.ctl.ok("run", "--", "cat", input=data)
        self.assertTrue(done.out == data)

    async def test_closed_descriptors(self):
        process = await self.ctl.start("run", "--", "sh", "-c", "exit 4", stdin=None,
                                       preexec_fn=lambda: os.close(0))
        self.assertEqual(await asyncio.wait_for(process.wait(), scaled(20)), 4)

    async def interrupted(self, number, status):
        mark = self.mark("pids")
        process = await self.ctl.start(
            "run", "--", "sh", "-c",
            'echo $$ >>"$1"; setsid sh -c "echo \\$\\$ >>$1; exec sleep 300" & '
            'sleep 300 & echo $! >>"$1"; wait', "sh", mark.path)
        pids = [await mark.pid(i) for i in range(3)]
        process.send_signal(number)
        await asyncio.wait_for(process.communicate(), scaled(20))
        for pid in pids:
            await wait_gone(pid)
        if status is not None:
            self.assertEqual(process.returncode, status)
        self.assertEqual((await self.c.finish(1))["outcome"], "cancelled")

    async def test_ctrl_c_cancels_the_job_and_its_setsid_grandchildren(self):
        await self.interrupted(signal.SIGINT, 130)

    async def test_term_cancels_the_job(self):
        await self.interrupted(signal.SIGTERM, 143)

    async def test_a_killed_slotctl_takes_its_job_with_it(self):
        await self.interrupted(signal.SIGKILL, None)

    async def test_a_hung_up_slotctl_takes_its_job_with_it(self):
        await self.interrupted(signal.SIGHUP, None)

    async def test_ctrl_c_of_a_pending_job(self):
        await self.c.call("limits.set", max_running=0)
        process = await self.ctl.start("run", "--", "true")

        async def submitted():
            return (await self.c.call("job.list"))["jobs"]
        await eventually(submitted, 10)
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), scaled(20))
        self.assertEqual(process.returncode, 130)
        self.assertEqual((await self.c.get(1))["outcome"], "cancelled")

    async def test_a_job_that_ignores_term_dies_after_ctrl_c_and_grace(self):
        mark = self.mark("pid")
        process = await self.ctl.start("run", "--", "sh", "-c",
                                       'trap "" TERM INT; echo $$ >"$1"; '
                                       'while :; do sleep 0.1; done',
                                       "sh", mark.path)
        pid = await mark.pid()
        process.send_signal(signal.SIGINT)
        await wait_gone(pid, 15)
        await asyncio.wait_for(process.communicate(), scaled(20))
        self.assertEqual(process.returncode, 130)

    async def test_the_daemons_end_is_told(self):
        # No pipes: the job of a durable daemon goes on, and would hold them open.
        said = self.tmp / "stderr"
        with open(said, "wb") as err:
            process = await self.ctl.start("run", "--", "sleep", "300", stderr=err,
                                           stdin=asyncio.subprocess.DEVNULL,
                                           stdout=asyncio.subprocess.DEVNULL)
        await self.job_runs()
        await self.d.kill()
        self.assertEqual(await asyncio.wait_for(process.wait(), scaled(25)), 125)
        self.assertTrue(said.read_text())

    async def test_a_background_child_that_holds_stdout_does_not_hold_run(self):
        began = time.monotonic()
        reader, writer = os.pipe()
        done = await self.ctl.run("run", "--", "sh", "-c", "sleep 60 & exit 3", stdout=writer)
        os.close(writer)
        os.close(reader)
        self.assertEqual(done.status, 3)
        self.assertLess(time.monotonic() - began, scaled(10))

    @alone
    async def test_many_at_once(self):
        dones = await asyncio.gather(*[self.ctl.run("run", "--", "sh", "-c", f"echo {i}; exit {i}")
                                       for i in range(20)])
        self.assertEqual([d.status for d in dones], list(range(20)))
        self.assertEqual([d.text for d in dones], [f"{i}\n" for i in range(20)])


class AutoStart(Case):
    """slotctl starts a user daemon; everything lives under one temporary directory."""

    autostart = False

    async def asyncSetUp(self):
        await super().asyncSetUp()
        for name in ("run", "state", ".config/slotd"):
            (self.tmp / name).mkdir(parents=True, mode=0o700)
        self.ctl = Ctl(None, self.tmp, {
            "XDG_RUNTIME_DIR": str(self.tmp / "run"), "XDG_STATE_HOME": str(self.tmp / "state"),
            "XDG_CONFIG_HOME": str(self.tmp / ".config"), "SLOTCTL_START": "1",
            # No user manager: the fallback is what is tested.
            "DBUS_SESSION_BUS_ADDRESS": "", "SYSTEMD_BUS_TIMEOUT": "1"})
        self.ctls.append(self.ctl)
        self.socket = self.tmp / "run" / "slotd" / "slotd.sock"

    def daemons_alive(self):
        return [pid for pid in descendants(os.getpid())
                if is_running(pid) and (stat_of(pid) or [""])[0] == "slotd"]

    async def asyncTearDown(self):
        for pid in self.daemons_alive():
            os.kill(pid, signal.SIGTERM)
            await wait_gone(pid, 15)
        # A launcher that has something to tell yet waits for the next daemon.
        (self.tmp / "state/slotd/launcher.sock").unlink(missing_ok=True)
        await super().asyncTearDown()

    async def test_the_first_call_starts_a_daemon_and_the_next_ones_use_it(self):
        self.assertEqual((await self.ctl.ok("submit", "--", "true")).text, "1\n")
        self.assertTrue(self.socket.exists())
        (pid,) = self.daemons_alive()
        self.assertEqual((await self.ctl.ok("submit", "--", "true")).text, "2\n")
        self.assertEqual(self.daemons_alive(), [pid])
        stat = stat_of(pid)
        self.assertEqual(stat[4], stat[3], "its own session")
        self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), "/")
        self.assertEqual(os.readlink(f"/proc/{pid}/fd/0"), "/dev/null")
        done = await self.ctl.run("run", "--", "sh", "-c", "cat; exit 5", input=b"x")
        self.assertEqual((done.status, done.out), (5, b"x"))

    async def test_many_at_once_start_one(self):
        dones = await asyncio.gather(*[self.ctl.run("submit", "--", "true") for _ in range(8)])
        self.assertEqual([d.status for d in dones], [0] * 8, dones)
        self.assertEqual(sorted(int(d.text) for d in dones), list(range(1, 9)))

        async def one():
            return len(self.daemons_alive()) == 1
        await eventually(one, 15, "one daemon left")

    async def test_its_state_is_for_its_user_alone(self):
        (self.tmp / "state").rmdir()
        done = await self.ctl.run("submit", "--", "true", preexec_fn=lambda: os.umask(0o022))
        self.assertEqual((done.status, done.text), (0, "1\n"))
        state = self.tmp / "state/slotd"
        self.assertEqual(os.stat(state).st_mode & 0o777, 0o700)
        for path in state.iterdir():
            self.assertEqual(os.stat(path).st_mode & 0o077, 0, path)

    async def test_a_state_directory_that_others_may_enter_is_an_error_that_says_so(self):
        (self.tmp / "state/slotd").mkdir(mode=0o755)
        done = await self.ctl.run("submit", "--", "true")
        self.assertEqual((done.status, done.text), (125, ""))
        self.assertIn("accepted is 0700", done.err)
        self.assertEqual(self.daemons_alive(), [])

    async def test_a_state_directory_that_another_daemon_holds(self):
        """One of another socket: who holds what is told, at once."""
        other = await self.start(state=self.tmp / "state/slotd", durability="full")
        began = time.monotonic()
        done = await self.ctl.run("submit", "--", "true")
        self.assertEqual((done.status, done.text), (125, ""))
        self.assertIn(str(self.tmp / "state/slotd"), done.err)
        self.assertIn(f"held by another slotd, process {other.pid}", done.err)
        self.assertLess(time.monotonic() - began, scaled(5))
        await other.stop()
        self.assertEqual((await self.ctl.ok("submit", "--", "true")).text, "1\n")

    async def test_two_at_once_after_a_kill_start_one(self):
        await self.ctl.ok("submit", "--", "true")
        (pid,) = self.daemons_alive()
        os.kill(pid, signal.SIGKILL)
        await wait_gone(pid)
        dones = await asyncio.gather(*[self.ctl.run("submit", "--", "true") for _ in range(2)])
        self.assertEqual(sorted((d.status, d.text, d.err) for d in dones),
                         [(0, "2\n", ""), (0, "3\n", "")])
        await eventually(lambda: len(self.daemons_alive()) == 1, 15, "one daemon left")

    async def test_no_start(self):
        for args, env in ((("--no-start", "list"), {}), (("list", "--no-start"), {}),
                          (("list",), {"SLOTCTL_START": "0"})):
            done = await self.ctl.run(*args, env=env)
            self.assertEqual(done.status, 125, done)
            self.assertTrue(done.err)
        self.assertEqual(self.daemons_alive(), [])

    async def test_it_leaves_when_idle(self):
        (self.tmp / ".config/slotd/slotd.conf").write_text("[executor]\nidle_exit = 500ms\n")
        await self.ctl.ok("submit", "--", "sleep", "0.5")

        async def gone():
            return not self.daemons_alive()
        await eventually(gone, 20, "idle exit")
        self.assertFalse(self.socket.exists())
        # A user daemon is durable: the next one goes on where this one stopped.
        self.assertEqual((await self.ctl.ok("submit", "--", "true")).text, "2\n")

    async def test_a_daemon_that_cannot_start_is_an_error(self):
        (self.tmp / ".config/slotd/slotd.conf").write_text("[executor]\nnonsense = 1\n")
        done = await self.ctl.run("submit", "--", "true")
        self.assertEqual((done.status, done.text), (125, ""))
        self.assertTrue(done.err)

    @limit(90)
    async def test_a_socket_left_by_a_dead_daemon(self):
        await self.ctl.ok("submit", "--", "true")
        (pid,) = self.daemons_alive()
        os.kill(pid, signal.SIGKILL)
        await wait_gone(pid)
        self.assertTrue(self.socket.exists())
        self.assertEqual((await self.ctl.ok("submit", "--", "true")).text, "2\n")
