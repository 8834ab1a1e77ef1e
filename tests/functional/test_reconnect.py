"""slotctl while its daemon is restarted: a scripted daemon plays the restarts to the point."""

import asyncio
import json
import os
import signal

from slottest import Case, Ctl, Terminal, eventually, find_binary, limit, scaled, wait_gone
from slottest.fake import Fake


class Scripted(Case):
    autostart = False

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.fake = await Fake(self.tmp / "sock").start()
        self.addAsyncCleanup(self.fake.stop)
        self.ctl = Ctl(self.fake.path, self.tmp)
        self.ctls.append(self.ctl)

    async def end(self, process, data=None):
        out, err = await asyncio.wait_for(process.communicate(data), scaled(40))
        return process.returncode, out.decode(), err.decode()


class Run(Scripted):
    async def test_run_goes_on_after_a_restart(self):
        process = await self.ctl.start("run", "--", "job")
        await self.fake.until_asked("job.result")
        await self.fake.restart()
        await self.fake.until_asked("job.result", 2)
        self.assertEqual(self.fake.asked("hello")[1]["session"], "token-0")
        self.fake.finish(1, 7)
        self.assertEqual(await self.end(process), (7, "", ""))
        self.assertEqual(len(self.fake.asked("job.submit")), 1)

    async def test_run_goes_on_after_several_restarts(self):
        process = await self.ctl.start("run", "--", "job")
        for times in range(1, 6):
            await self.fake.until_asked("job.result", times)
            await self.fake.restart()
        await self.fake.until_asked("job.result", 6)
        self.fake.finish(1, 0)
        self.assertEqual(await self.end(process), (0, "", ""))

    async def test_a_job_that_ended_meanwhile(self):
        process = await self.ctl.start("run", "--", "job")
        await self.fake.until_asked("job.result")
        await self.fake.stop()
        self.fake.finish(1, 3)
        await self.fake.start()
        self.assertEqual(await self.end(process), (3, "", ""))

    async def test_a_submit_whose_answer_was_lost_is_sent_again_and_makes_one_job(self):
        self.fake.mute.add("job.submit")
        process = await self.ctl.start("run", "--", "job")
        await self.fake.until_asked("job.submit")
        await self.fake.stop()
        self.fake.mute.clear()
        await self.fake.start()
        await self.fake.until_asked("job.result")
        self.fake.finish(1, 0)
        self.assertEqual(await self.end(process), (0, "", ""))
        first, again = self.fake.asked("job.submit")
        self.assertEqual(first, again)
        self.assertTrue(first["key"].startswith("auto-"))
        self.assertEqual(len(self.fake.jobs), 1)

    async def test_submit_makes_one_job_too(self):
        self.fake.mute.add("job.submit")
        process = await self.ctl.start("submit", "--json", "--", "job")
        await self.fake.until_asked("job.submit")
        self.fake.mute.clear()
        await self.fake.restart()
        status, out, _ = await self.end(process)
        self.assertEqual((status, len(self.fake.jobs)), (0, 1))
        self.assertIn('"existing":false', out)

    async def test_shutting_down_is_no_end_either(self):
        """TERM: what waits is answered ShuttingDown, then the daemon leaves."""
        process = await self.ctl.start("run", "--", "job")
        await self.fake.until_asked("job.result")
        connection, request, _ = self.fake.waiting.pop()
        connection.error(request, -32000, "ShuttingDown")
        await connection.writer.drain()
        await self.fake.restart()
        await self.fake.until_asked("job.result", 2)
        self.fake.finish(1, 5)
        self.assertEqual(await self.end(process), (5, "", ""))

    async def test_a_job_whose_stdin_was_lost(self):
        process = await self.ctl.start("run", "--", "job")
        await self.fake.until_asked("job.result")
        await self.fake.restart()
        self.fake.finish(1, outcome="cancelled", reason="stdin_lost")
        status, _, err = await self.end(process)
        self.assertEqual(status, 125)
        self.assertIn("stdin_lost", err)

    async def test_another_instance_knows_nothing_of_the_job(self):
        process = await self.ctl.start("run", "--", "job")
        await self.fake.until_asked("job.result")
        await self.fake.restart("two")
        status, _, err = await self.end(process)
        self.assertEqual(status, 125)
        self.assertIn("knows nothing of what came before", err)

    async def test_a_memory_daemon_is_not_waited_for(self):
        self.fake.features = []
        process = await self.ctl.start("run", "--", "job")
        await self.fake.until_asked("job.result")
        await self.fake.stop()
        status, _, err = await self.end(process)
        self.assertEqual((status, err), (125, "slotctl: the daemon closed the connection\n"))
        self.assertEqual(len(self.fake.asked("hello")), 1)

    async def test_ctrl_c_while_it_is_away(self):
        process = await self.ctl.start("run", "--", "job")
        await self.fake.until_asked("job.result")
        await self.fake.stop()
        process.send_signal(2)
        await self.fake.start()
        await self.fake.until_asked("job.cancel")
        process.send_signal(2)
        self.assertEqual((await self.end(process))[0], 130)


class Keyed(Case):
    async def test_a_second_run_with_the_key_shows_all_from_the_start(self):
        gate = self.gate()
        args = ("run", "--key", "k", "--", "sh", "-c",
                'echo out; echo err >&2; read x <"$1"; echo more; exit 9', "sh", gate.path)
        first = await self.ctl.start(*args)
        self.assertEqual(await first.stdout.readline(), b"out\n")
        second = await self.ctl.start(*args)
        self.assertEqual(await second.stdout.readline(), b"out\n")
        gate.open()
        for process in (first, second):
            out, err = await asyncio.wait_for(process.communicate(), scaled(20))
            self.assertEqual((process.returncode, out, err), (9, b"more\n", b"err\n"))
        third = await self.ctl.run(*args)
        self.assertEqual((third.status, third.text, third.err), (9, "out\nmore\n", "err\n"))
        self.assertEqual((await self.c.call("stats.get"))["submitted"], 1)

    async def test_on_a_terminal_the_key_means_the_same_job(self):
        args = ("run", "--key", "k", "--", "sh", "-c", "cat; echo out; exit 5")
        self.assertEqual((await self.ctl.run(*args)).status, 5)
        term = Terminal([find_binary("slotctl"), *args], self.ctl.env, self.ctl.cwd)
        self.addCleanup(term.close)
        await term.expect(rb"out\r\n")
        self.assertEqual(await term.wait(), 5)
        other = Terminal([find_binary("slotctl"), "run", "--key", "l", *args[3:]], self.ctl.env,
                         str(self.tmp))
        self.addCleanup(other.close)
        self.assertEqual(await other.wait(), 5)

    async def test_a_large_output_comes_whole(self):
        done = await self.ctl.run("run", "--key", "k", "--", "sh", "-c", "seq 1 20000; cat",
                                  input=b"in\n")
        rows = done.lines
        self.assertEqual((done.status, len(rows), rows[-2:]), (0, 20001, ["20000", "in"]))


class Bounded(Case):
    settings = ("output.limit=1000",)

    async def test_bytes_that_were_not_kept_are_not_missing_without_a_word(self):
        args = ("run", "--key", "k", "--stdin", "/dev/null", "--", "seq", "1", "1000")
        await self.ctl.run(*args)
        again = await self.ctl.run(*args)
        kept = "".join(f"{row}\n" for row in range(1, 1001))[-1000:]
        note = "slotctl: job 1: 2893 bytes of its stdout were not kept\n"
        self.assertEqual((again.status, again.text, again.err), (0, kept, note))
        log = await self.ctl.run("log", "-f", "1")
        self.assertEqual((log.status, log.text, log.err), (0, kept, note))


class Streams(Scripted):
    async def test_wait_tells_each_job_once(self):
        self.fake.jobs = {1: None, 2: None, 3: None}
        process = await self.ctl.start("wait", "1", "2", "3")
        await self.fake.until_asked("futures.as_completed")
        self.fake.finish(2)
        row = await asyncio.wait_for(process.stdout.readline(), scaled(20))
        self.assertEqual(row, b"2 exited 0\n")
        await self.fake.stop()
        self.fake.finish(1, 4)
        await self.fake.start()
        again = await self.fake.until_asked("futures.as_completed", 2)
        self.assertEqual(again["jobs"], [1, 3])
        self.fake.finish(3)
        status, out, err = await self.end(process)
        self.assertEqual((status, out, err), (1, "1 exited 4\n3 exited 0\n", ""))

    async def test_a_wait_that_was_told_all_needs_no_daemon(self):
        self.fake.jobs = {1: None}
        self.fake.handlers["futures.as_completed"] = lambda c, i, p: c.item(
            i, **{"job": 1, "seq": 1, "ok": True, "outcome": "exited", "exit_code": 0})
        process = await self.ctl.start("wait", "1")
        self.assertEqual(await process.stdout.readline(), b"1 exited 0\n")
        await self.fake.restart()
        self.assertEqual(await self.end(process), (0, "", ""))
        self.assertEqual(len(self.fake.asked("futures.as_completed")), 1)

    async def test_a_timeout_goes_on_running(self):
        self.fake.jobs = {1: None}
        process = await self.ctl.start("wait", "--timeout", "60", "1")
        await self.fake.until_asked("futures.as_completed")
        await self.fake.restart()
        again = await self.fake.until_asked("futures.as_completed", 2)
        self.assertLess(again["timeout_ms"], 60000)
        self.fake.finish(1)
        self.assertEqual((await self.end(process))[0], 0)

    async def test_watch_goes_on_behind_the_last_it_told(self):
        self.fake.jobs = {job: None for job in range(1, 6)}
        self.fake.finish(1)
        process = await self.ctl.start("watch", "--since", "0")
        self.assertEqual(await process.stdout.readline(), b"1 exited 0\n")
        self.fake.finish(2)
        self.assertEqual(await process.stdout.readline(), b"2 exited 0\n")
        await self.fake.stop()
        self.fake.finish(3)
        await self.fake.start()
        self.assertEqual(await process.stdout.readline(), b"3 exited 0\n")
        again = self.fake.asked("completions.subscribe")[1]
        self.assertEqual((again["since_seq"], again["instance"]), (2, "one"))
        self.fake.finish(4)
        self.assertEqual(await process.stdout.readline(), b"4 exited 0\n")
        process.terminate()
        await process.wait()

    async def test_a_watch_that_was_told_nothing_misses_nothing(self):
        self.fake.jobs = {1: None, 2: None}
        self.fake.finish(1)
        process = await self.ctl.start("watch")
        await self.fake.until_asked("completions.subscribe")
        await self.fake.stop()
        self.fake.finish(2)
        await self.fake.start()
        self.assertEqual(await process.stdout.readline(), b"2 exited 0\n")
        process.terminate()
        await process.wait()

    async def test_watch_says_that_history_was_lost(self):
        process = await self.ctl.start("watch", "--since", "5")
        await self.fake.until_asked("completions.subscribe")
        await self.fake.stop()
        self.fake.handlers["completions.subscribe"] = lambda c, i, p: c.error(
            i, 1009, "HistoryTruncated", oldest=9, instance="one")
        await self.fake.start()
        status, out, err = await self.end(process)
        self.assertEqual((status, out), (125, ""))
        self.assertIn("HistoryTruncated", err)
        self.assertIn("seq 9", err)

    async def test_log_follows_without_losing_or_repeating_a_byte(self):
        self.fake.jobs = {1: None}
        self.fake.write(1, 1, b"one\n")
        process = await self.ctl.start("log", "-f", "1")
        self.assertEqual(await process.stdout.readline(), b"one\n")
        await self.fake.stop()
        self.fake.write(1, 1, b"two\n")
        await self.fake.start()
        self.assertEqual(await process.stdout.readline(), b"two\n")
        self.assertEqual(self.fake.asked("output.follow")[1]["off"], 4)
        self.fake.write(1, 1, b"three\n")
        self.fake.finish(1)
        self.assertEqual(await self.end(process), (0, "three\n", ""))

    async def test_gather_is_asked_again(self):
        process = await self.ctl.start("gather", "--json", "1")
        await self.fake.until_asked("futures.gather")
        self.fake.handlers["futures.gather"] = lambda c, i, p: c.reply(
            i, {"results": [{"job": 1, "ok": True}]})
        await self.fake.restart()
        self.assertEqual((await self.end(process))[0], 0)


class Map(Scripted):
    async def begin(self, *args, rows=4, least=4):
        process = await self.ctl.start("map", "-j", "4", "--json", *args, "--", "job")
        for row in range(rows):
            process.stdin.write(f"{row}\n".encode())
        await process.stdin.drain()
        await eventually(lambda: len(self.fake.jobs) >= min(rows, least), 20, "they are pushed")
        return process

    async def end(self, process, data=None):
        process.stdin.close()
        status, out, err = await super().end(process, data)
        return status, [json.loads(row) for row in out.splitlines()], err

    async def test_a_map_goes_on_and_makes_each_job_once(self):
        process = await self.begin(rows=6)
        self.fake.finish(2)
        first = json.loads(await process.stdout.readline())
        self.assertEqual((first["job"], first["input"]), (2, "1"))
        await eventually(lambda: len(self.fake.jobs) == 5, 20, "the next one is pushed")
        await self.fake.stop()
        self.fake.finish(1)
        await self.fake.start()
        again = await self.fake.until_asked("map.open", 2)
        self.assertEqual(again["limit"], 4)
        for job in (3, 4, 5):
            self.fake.finish(job)
        await eventually(lambda: len(self.fake.jobs) == 6, 20, "the last one is pushed")
        self.fake.finish(6)
        status, rest, err = await self.end(process)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(sorted(row["input"] for row in rest), ["0", "2", "3", "4", "5"])
        self.assertEqual(len(self.fake.jobs), 6)

    async def test_a_push_whose_answer_was_lost(self):
        self.fake.mute.add("map.push")
        process = await self.begin(rows=3)
        self.fake.mute.clear()
        await self.fake.restart()
        await self.fake.until_asked("map.push", 2)
        for job in (1, 2, 3):
            self.fake.finish(job)
        status, rows, err = await self.end(process)
        self.assertEqual((status, sorted(row["input"] for row in rows), err),
                         (0, ["0", "1", "2"], ""))
        self.assertEqual(len(self.fake.jobs), 3)

    async def test_never_more_in_flight_than_its_window_after_a_restart(self):
        process = await self.begin(rows=40)
        for _ in range(3):
            await self.fake.restart()
            opened = len(self.fake.asked("map.open"))
            await self.fake.until_asked("map.open", opened)
        done = 0
        while done < 40:
            await eventually(lambda: len(self.fake.jobs) > done, 20, "one more is pushed")
            self.assertLessEqual(len(self.fake.jobs) - done, 4)
            done += 1
            self.fake.finish(done)
            if done % 10 == 5:
                await self.fake.restart()
        status, rows, err = await self.end(process)
        self.assertEqual((status, len(rows), err), (0, 40, ""))

    async def test_where_history_was_lost_resume_is_named(self):
        log = self.tmp / "joblog"
        process = await self.begin("--joblog", log, rows=3)
        await self.fake.restart("two")
        status, _, err = await self.end(process)
        self.assertEqual(status, 125)
        self.assertIn(f"map --resume --joblog {log}", err)

    async def test_a_resumed_map_does_what_is_left(self):
        """A line in the joblog is done; one that was cut short isn't."""
        log = self.tmp / "joblog"
        log.write_text("Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\t"
                       "Command\n2\t:\t1.000\t     0.001\t0\t0\t1\t0\tjob 1\n3\t:\t1.0")
        self.fake.handlers["job.get"] = lambda c, i, p: c.reply(i, {"job": p["job"]})
        process = await self.begin("--joblog", log, "--resume", rows=2, least=1)
        process.stdin.write(b"2\n3\n")
        await process.stdin.drain()
        process.stdin.close()
        await eventually(lambda: len(self.fake.jobs) == 3, 20, "what is left is pushed")
        for job in (1, 2, 3):
            self.fake.finish(job)
        status, rows, _ = await self.end(process)
        self.assertEqual((status, sorted(row["input"] for row in rows)), (0, ["0", "2", "3"]))
        self.assertEqual(sorted(row.split("\t")[0] for row in log.read_text().splitlines()[1:]),
                         ["1", "2", "3", "4"])
        self.assertTrue(log.read_text().endswith("\n"))


class Others(Scripted):
    async def test_a_change_that_was_asked_for_and_not_answered_is_not_asked_twice(self):
        process = await self.ctl.start("call", "queue.set", '{"queue":"q"}')
        await self.fake.until_asked("queue.set")
        await self.fake.restart()
        status, _, err = await self.end(process)
        self.assertEqual(status, 125)
        self.assertIn("may or may not have been done", err)
        self.assertEqual(len(self.fake.asked("queue.set")), 1)

    async def test_a_daemon_that_lets_its_first_greeting_wait(self):
        """As with socket activation: connected at once, answered once it is up."""
        process = await self.ctl.start("run", "--", "job")
        await self.fake.until_asked("job.result")
        hello = self.fake.handlers.pop("hello")
        await self.fake.restart()
        await self.fake.until_asked("hello", 2)
        self.assertEqual(len(self.fake.asked("job.result")), 1)
        self.fake.handlers["hello"] = hello
        await self.fake.restart()
        await self.fake.until_asked("job.result", 2)
        self.fake.finish(1, 0)
        self.assertEqual(await self.end(process), (0, "", ""))

    @limit(90)
    async def test_a_daemon_that_never_comes_back(self):
        process = await self.ctl.start("run", "--", "job")
        await self.fake.until_asked("job.result")
        await self.fake.stop()
        out, err = await asyncio.wait_for(process.communicate(), scaled(60))
        self.assertEqual(process.returncode, 125)
        self.assertIn("did not come back within 15 s", err.decode())


class Durable(Case):
    """The same with a slotd that is killed, or asked to leave, and started again."""

    autostart = False
    max_running = 2

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.d = await self.start(durability="full")
        self.ctl = self.make_ctl()

    async def end(self, process, data=None):
        out, err = await asyncio.wait_for(process.communicate(data), scaled(40))
        return process.returncode, out.decode(), err.decode()

    async def test_run_goes_on(self):
        for number in (9, 15):
            gate = self.gate()
            process = await self.ctl.start("run", "--", "sh", "-c",
                                           'echo before; read x <"$1"; echo after; exit 7', "sh",
                                           gate.path)
            self.assertEqual(await process.stdout.readline(), b"before\n")
            await self.d.restart(number)
            gate.open()
            self.assertEqual(await self.end(process), (7, "after\n", ""), number)

    async def test_run_passes_input_across_a_restart(self):
        process = await self.ctl.start("run", "--", "cat")
        process.stdin.write(b"one\n")
        self.assertEqual(await process.stdout.readline(), b"one\n")
        await self.d.restart()
        self.assertEqual(await self.end(process, b"two\n"), (0, "two\n", ""))

    async def test_a_terminal_goes_on(self):
        term = Terminal([find_binary("slotctl"), "run", "--", "sh", "-c",
                         'echo ready; read x; echo "<$x>"; exit 6'], self.ctl.env, str(self.tmp))
        self.addCleanup(term.close)
        await term.expect(rb"ready")
        await self.d.restart()
        term.type(b"typed\r")
        await term.expect(rb"<typed>")
        self.assertEqual(await term.wait(), 6)
        self.assertEqual(term.modes(), term.before)

    async def test_ctrl_c_of_a_run_that_went_on_ends_the_job(self):
        mark = self.mark("pid")
        process = await self.ctl.start("run", "--", "sh", "-c", 'echo $$ >"$1"; exec sleep 300',
                                       "sh", mark.path)
        pid = await mark.pid()
        await self.d.restart()
        process.send_signal(2)
        self.assertEqual((await self.end(process))[0], 130)
        await wait_gone(pid)

    async def test_a_killed_slotctl_still_takes_its_job_with_it(self):
        mark = self.mark("pid")
        process = await self.ctl.start("run", "--", "sh", "-c", 'echo $$ >"$1"; exec sleep 300',
                                       "sh", mark.path)
        pid = await mark.pid()
        await self.d.restart()

        async def taken_over():
            client = await self.d.connect()
            return (await client.call("stats.get"))["connections"] >= 2
        await eventually(taken_over, 20, "slotctl is there again")
        process.kill()
        await process.wait()
        await wait_gone(pid, 20)

    async def test_a_run_that_had_not_started_says_why_it_never_will(self):
        gates = [self.gate(), self.gate()]
        client = await self.d.connect()
        for gate in gates:
            await client.submit(gate.spec())
        process = await self.ctl.start("run", "--", "true")

        async def waits():
            return (await client.call("stats.get"))["pending"] == 1
        await eventually(waits, 10, "it waits")
        await self.d.restart()
        status, out, err = await self.end(process)
        self.assertEqual((status, out), (125, ""))
        self.assertIn("fd_lost", err)
        for gate in gates:
            gate.open()

    async def test_a_keyed_run_loses_and_repeats_no_byte(self):
        gate = self.gate()
        process = await self.ctl.start(
            "run", "--key", "k", "--stdin", "/dev/null", "--", "sh", "-c",
            'seq 1 5000; read x <"$1"; seq 5001 9999; exit 3', "sh", gate.path)
        for row in range(1, 5001):
            self.assertEqual(await process.stdout.readline(), b"%d\n" % row)
        await self.d.restart()
        gate.open()
        status, out, err = await self.end(process)
        self.assertEqual((status, err), (3, ""))
        self.assertEqual(out, "".join(f"{row}\n" for row in range(5001, 10000)))

    async def test_wait_watch_and_log_go_on(self):
        gates = [self.gate(), self.gate()]
        client = await self.d.connect()
        first, second = [await client.submit("sh", "-c", 'echo a; read x <"$1"; echo b', "sh",
                                             str(gate.path)) for gate in gates]
        wait = await self.ctl.start("wait", str(first), str(second))
        watch = await self.ctl.start("watch", "--since", "0")
        log = await self.ctl.start("log", "-f", str(first))
        self.assertEqual(await log.stdout.readline(), b"a\n")
        gates[1].open()
        row = f"{second} exited 0\n".encode()
        for process in (wait, watch):
            self.assertEqual(await process.stdout.readline(), row)
        await self.d.restart()
        gates[0].open()
        self.assertEqual(await self.end(wait), (0, f"{first} exited 0\n", ""))
        self.assertEqual(await self.end(log), (0, "b\n", ""))
        self.assertEqual(await watch.stdout.readline(), f"{first} exited 0\n".encode())
        watch.terminate()
        await watch.wait()

    async def test_gather_goes_on(self):
        gate = self.gate()
        client = await self.d.connect()
        jobs = [await client.submit("echo", "one"),
                await client.submit("sh", "-c", 'read x <"$1"; echo two', "sh", str(gate.path))]
        process = await self.ctl.start("gather", *jobs)

        async def asked():
            return (await client.call("stats.get"))["in_flight"] == 1
        await eventually(asked, 20, "gather waits")
        await self.d.restart()
        gate.open()
        self.assertEqual(await self.end(process), (0, "one\ntwo\n", ""))

    @limit(120)
    async def test_a_map_runs_each_input_once_whatever_is_killed(self):
        mark = self.mark("ran")
        process = await self.ctl.start("map", "-j", "8", "--", "sh", "-c",
                                       'echo $1 >>"$2"; sleep 0.02; echo out $1', "sh", "{}",
                                       mark.path)
        inputs = 150
        process.stdin.write(b"".join(b"%d\n" % row for row in range(inputs)))
        process.stdin.close()
        for target in (20, 60, 100):
            await eventually(lambda: len(mark.lines()) >= target, 30, f"{target} ran")
            await self.d.restart(9 if target != 60 else 15)
        out, err = await asyncio.wait_for(process.communicate(), scaled(60))
        self.assertEqual((process.returncode, err.decode()), (0, ""))
        want = sorted(str(row) for row in range(inputs))
        self.assertEqual(sorted(mark.lines()), want)
        self.assertEqual(sorted(row.split()[1] for row in out.decode().splitlines()), want)

    @limit(120)
    async def test_a_map_goes_on_while_the_launcher_runs_anew_and_engines_die(self):
        mark = self.mark("ran")
        launcher = await self.d.launcher_pid()
        process = await self.ctl.start("map", "-j", "8", "--", "sh", "-c",
                                       'echo $1 >>"$2"; sleep 0.02; echo out $1', "sh", "{}",
                                       mark.path)
        inputs = 200
        process.stdin.write(b"".join(b"%d\n" % row for row in range(inputs)))
        process.stdin.close()
        for target in range(10, inputs - 20, 10):
            await eventually(lambda: len(mark.lines()) >= target, 30, f"{target} ran")
            os.kill(launcher, signal.SIGHUP)
            if target % 30 == 0:
                await self.d.restart()
        out, err = await asyncio.wait_for(process.communicate(), scaled(60))
        self.assertEqual((process.returncode, err.decode()), (0, ""))
        want = sorted(str(row) for row in range(inputs))
        self.assertEqual(sorted(mark.lines()), want)
        self.assertEqual(sorted(row.split()[1] for row in out.decode().splitlines()), want)
        self.assertEqual(await self.d.launcher_pid(), launcher)
        self.assertGreater(self.d.log().count("took over"), 3)

    async def test_stats_and_doctor_tell_of_the_journal(self):
        await self.ctl.ok("run", "--", "true")
        rows = dict(row.split(None, 1) for row in (await self.ctl.ok("stats")).lines)
        self.assertEqual(rows["journal.durability"], '"full"')
        for key in ("bytes", "wal_bytes", "commit_p50_us", "commit_p99_us", "oldest_seq"):
            self.assertGreaterEqual(int(rows[f"journal.{key}"]), 0, key)
        self.assertEqual(rows["journal.degraded"], "false")
        done = await self.ctl.ok("doctor")
        self.assertRegex(done.text, r"store +durable\ndurability +full\n")
        self.assertRegex(done.text, r"launcher +outlives the daemon")
