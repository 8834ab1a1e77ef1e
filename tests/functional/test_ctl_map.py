"""slotctl map."""

import asyncio
import os
import signal

from slottest import (Case, SANITIZE, alone, eventually, limit, read_to_end, rss_kib,
                      scaled, wait_gone, within)


def rows(*items):
    return "".join(f"{i}\n" for i in items).encode()


class Map(Case):
    max_running = 4

    async def map(self, *args, input=b"", **more):
        return await self.ctl.run("map", *args, input=input, **more)

    async def test_every_line_is_a_job(self):
        done = await self.map("--", "echo", "got", "{}", input=rows("a b", "c", "", "é", "$HOME"))
        self.assertEqual((done.status, done.err), (0, ""))
        self.assertLessEqual({"got a b", "got c", "got é", "got $HOME"}, set(done.lines))

    async def test_no_input_no_job(self):
        done = await self.map("--", "echo", "{}")
        self.assertEqual((done.status, done.out), (0, b""))
        self.assertEqual((await self.c.call("job.list"))["jobs"], [])

    async def test_a_last_line_without_newline_counts(self):
        done = await self.map("--", "echo", "{}", input=b"a\nb")
        self.assertEqual(sorted(done.lines), ["a", "b"])

    async def test_results_come_in_finish_order(self):
        script = 'while [ ! -e "$2/done-$3" ]; do sleep 0.01; done; echo $1; : >"$2/done-$1"'
        (self.tmp / "done-0").touch()
        # 1 waits for 2, 2 for 3, 3 for nothing.
        done = await self.map("-j", "3", "--", "sh", "-c",
                              f'next=$(($1 % 3 + 1)); [ $1 = 3 ] && next=0; '
                              f'set -- $1 "$2" $next; {script}',
                              "sh", "{}", str(self.tmp), input=rows(1, 2, 3))
        self.assertEqual(done.lines, ["3", "2", "1"])

    async def test_k_keeps_the_input_order(self):
        script = ('n=$(($1 + 1)); while [ $1 -lt 4 ] && [ ! -e "$2/d$n" ]; do sleep 0.01; done; '
                  'echo $1; : >"$2/d$1"')
        done = await self.map("-k", "-j", "4", "--", "sh", "-c", script, "sh", "{}", str(self.tmp),
                              input=rows(1, 2, 3, 4))
        self.assertEqual((done.status, done.lines), (0, ["1", "2", "3", "4"]))

    async def test_a_full_window_of_long_jobs_is_filled_again(self):
        await self.c.call("limits.set", max_running=16)
        script = ('case $1 in 1) ;; 17) : >"$2/go" ;; '
                  '*) while [ ! -e "$2/go" ]; do sleep 0.05; done ;; esac; echo $1')
        # All but the first wait for the seventeenth, which has only the first one's place.
        done = await self.map("-j", "16", "--", "sh", "-c", script, "sh", "{}", str(self.tmp),
                              input=rows(*range(1, 18)))
        self.assertEqual((done.status, len(done.lines)), (0, 17))

    async def test_exit_status_is_1_when_some_are_not_ok(self):
        done = await self.map("--", "sh", "-c", "exit {}", input=rows(0, 0, 3, 0))
        self.assertEqual(done.status, 1)
        done = await self.map("--", "sh", "-c", "exit {}", input=rows(0, 0))
        self.assertEqual(done.status, 0)
        done = await self.map("--", "no-such-command-anywhere", "{}", input=rows(1))
        self.assertEqual(done.status, 1)

    async def test_outputs_come_whole_and_apart(self):
        script = "for i in 1 2 3 4 5; do echo $1-$i; echo e$1-$i >&2; done"
        done = await self.map("--", "sh", "-c", script, "sh", "{}", input=rows(*range(20)))
        self.assertEqual(len(done.lines), 100)
        for index in range(0, 100, 5):
            block = [row.split("-")[0] for row in done.lines[index:index + 5]]
            self.assertEqual(len(set(block)), 1, block)
        self.assertEqual(sorted(done.err.split()),
                         sorted(f"e{a}-{b}" for a in range(20) for b in range(1, 6)))

    async def test_an_output_beyond_64_kib_comes_whole(self):
        done = await self.map("--", "sh", "-c", "seq 1 60000", input=rows(1, 2))
        self.assertEqual(done.out, b"".join(b"%d\n" % i for i in range(1, 60001)) * 2)

    async def test_null_separated(self):
        done = await self.map("-0", "--", "echo", "{}", input=b"a\nb\0c\0")
        self.assertEqual(sorted(done.lines), ["a", "b", "c"])
        self.assertEqual(len((await self.c.call("job.list"))["jobs"]), 2)

    async def test_another_delimiter(self):
        done = await self.map("-d", ",", "--", "echo", "{}", input=b"a,b,c")
        self.assertEqual(sorted(done.lines), ["a", "b", "c"])

    async def test_from_a_file(self):
        (self.tmp / "list").write_text("x\ny\n")
        done = await self.map("-a", self.tmp / "list", "--", "echo", "{}")
        self.assertEqual(sorted(done.lines), ["x", "y"])
        done = await self.map("-a", self.tmp / "absent", "--", "echo", "{}")
        self.assertEqual(done.status, 125)

    async def test_another_placeholder(self):
        done = await self.map("-I", "%", "--", "echo", "%{}", input=rows("a"))
        self.assertEqual(done.lines, ["a{}"])

    async def test_the_placeholder_is_replaced_within_words(self):
        done = await self.map("--", "echo", "pre-{}-post", "{}", input=rows("a"))
        self.assertEqual(done.lines, ["pre-a-post a"])

    async def test_bytes_of_the_input_pass_unharmed(self):
        data = b"\xff\xfe\n-n\n--help\n'\"\\\n"
        done = await self.map("-k", "--", "printf", "%s\\n", "{}", input=data)
        self.assertEqual(done.out, data)

    async def test_dry_run_prints_and_runs_nothing(self):
        done = await self.map("--dry-run", "--", "touch", str(self.tmp / "made-{}"),
                              input=rows(1, 2))
        self.assertEqual(done.status, 0)
        self.assertEqual(len(done.lines), 2)
        self.assertIn("made-1", done.text)
        self.assertFalse((self.tmp / "made-1").exists())

    async def test_tag_output(self):
        done = await self.map("--tag-output", "--", "sh", "-c", "echo x; echo y",
                              input=rows("aa", "bb"))
        self.assertEqual(len(done.lines), 4)
        for row in done.lines:
            self.assertRegex(row, r"^(aa|bb)\s")

    async def test_json(self):
        done = await self.ctl.run("--json", "map", "--", "sh", "-c", "echo {}; exit {}",
                                  input=rows(0, 2))
        self.assertEqual(done.status, 1)
        self.assertEqual(sorted(r["exit_code"] for r in done.json), [0, 2])

    async def test_retries_and_timeout(self):
        done = await self.map("--retries", "2", "--", "sh", "-c",
                              'echo x >>"$1"; [ "$SLOT_ATTEMPT" = 2 ]', "sh",
                              str(self.tmp / "tries-{}"), input=rows("a"))
        self.assertEqual(done.status, 0, done)
        self.assertEqual((self.tmp / "tries-a").read_text(), "x\nx\n")
        done = await self.map("--timeout", "100ms", "--", "sleep", "{}", input=rows(60))
        self.assertEqual(done.status, 1)

    async def test_halt_now_cancels_the_rest_and_follows_the_job(self):
        done = await self.map("-j", "3", "--halt", "now,fail=1", "--", "sh", "-c",
                              'case $1 in x) exit 7;; *) exec sleep $1;; esac', "sh", "{}",
                              input=rows(300, "x", 300, 300, 300))
        self.assertEqual(done.status, 7)
        await eventually(lambda: not self.d.jobs_alive(), 10, "the others ended")
        listed = (await self.c.call("job.list"))["jobs"]
        self.assertLess(len(listed), 6)
        self.assertEqual({j["outcome"] for j in listed}, {"exited", "cancelled"})

    async def test_halt_soon_lets_the_running_ones_finish(self):
        mark = self.mark("finished")
        done = await self.map("-j", "2", "--halt", "soon,fail=1", "--", "sh", "-c",
                              'case $1 in x) exit 7;; *) sleep $1; echo $1 >>"$2";; esac',
                              "sh", "{}", mark.path, input=rows("0.5", "x", *["0.01"] * 200))
        self.assertEqual(done.status, 7)
        self.assertIn("0.5", mark.lines())
        self.assertLess(len(mark.lines()), 100)

    async def test_joblog_and_resume(self):
        log, mark = self.tmp / "joblog", self.mark("ran")
        args = ("--joblog", log, "--", "sh", "-c", 'echo $1 >>"$2"; [ $1 != 2 ]', "sh", "{}",
                mark.path)
        done = await self.map(*args, input=rows(1, 2, 3))
        self.assertEqual(done.status, 1)
        self.assertEqual(len(log.read_text().splitlines()), 4)
        await self.map("--resume", *args, input=rows(1, 2, 3, 4, 5))
        ran = mark.lines()
        for value in ("1", "3", "4", "5"):
            self.assertEqual(ran.count(value), 1, ran)

    async def test_it_is_lazy(self):
        process = await self.ctl.start("map", "-j", "2", "--", "echo", "got {}")
        for value in ("a", "b", "c"):
            process.stdin.write(f"{value}\n".encode())
            await process.stdin.drain()
            row = await asyncio.wait_for(process.stdout.readline(), scaled(20))
            self.assertEqual(row.decode(), f"got {value}\n")
        process.stdin.close()
        self.assertEqual(await asyncio.wait_for(process.wait(), scaled(20)), 0)

    async def test_it_reads_no_more_than_its_window(self):
        """With everything in flight stuck, map must not swallow the rest of its input."""
        reader, writer = os.pipe()
        gate = self.gate()
        process = await self.ctl.start("map", "-j", "3", "--", "sh", "-c",
                                       'read c <"$1"', "sh", gate.path, stdin=reader)
        os.close(reader)

        async def three():
            stats = await self.c.call("stats.get")
            return stats["running_jobs"] + stats["pending"] == 3
        os.write(writer, b"x\n" * 100)
        await eventually(three, 10, "three in flight")
        await self.c.run("true", priority=100)
        stats = await self.c.call("stats.get")
        self.assertEqual(stats["submitted"], 4)
        os.close(writer)
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), scaled(20))
        self.assertEqual(process.returncode, 130)

    async def test_ctrl_c_cancels_what_is_in_flight(self):
        mark = self.mark("pids")
        process = await self.ctl.start("map", "-j", "4", "--", "sh", "-c",
                                       'echo $$ >>"$1"; exec sleep {}', "sh", mark.path)
        process.stdin.write(rows(300, 300, 300))
        await process.stdin.drain()
        pids = [await mark.pid(i) for i in range(3)]
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), scaled(20))
        self.assertEqual(process.returncode, 130)
        for pid in pids:
            await wait_gone(pid)

    async def test_a_killed_map_takes_its_jobs_with_it(self):
        mark = self.mark("pids")
        process = await self.ctl.start("map", "--", "sh", "-c",
                                       'setsid sh -c "echo \\$\\$ >>$1; exec sleep {}" & wait',
                                       "sh", mark.path)
        process.stdin.write(rows(300, 300))
        await process.stdin.drain()
        pids = [await mark.pid(i) for i in range(2)]
        process.kill()
        await process.communicate()
        for pid in pids:
            await wait_gone(pid)

    async def test_usage_errors(self):
        for args in ((), ("-j", "0", "--", "true"), ("-j", "x", "--", "true"),
                     ("--halt", "later", "--", "true"), ("--resume", "--", "true")):
            done = await self.map(*args, input=b"")
            self.assertEqual(done.status, 125, args)

    async def test_the_daemons_end_is_told(self):
        process = await self.ctl.start("map", "--", "sleep", "{}")
        process.stdin.write(rows(300))
        await process.stdin.drain()

        async def running():
            return (await self.c.call("stats.get"))["running"] == 1
        await eventually(running, 10)
        await self.d.kill()
        await asyncio.wait_for(process.communicate(), scaled(20))
        self.assertEqual(process.returncode, 125)

    @limit(120)
    async def test_sha256_of_real_files_as_sha256sum_says(self):
        import hashlib
        paths = [os.path.join("/usr/include", name) for name in sorted(os.listdir("/usr/include"))]
        paths = [p for p in paths if os.path.isfile(p)][:80]
        if not paths:
            self.skipTest("no files under /usr/include")
        done = await self.map("--", "sha256sum", "{}", input=rows(*paths))
        self.assertEqual(done.status, 0)
        want = {f"{hashlib.sha256(open(p, 'rb').read()).hexdigest()}  {p}" for p in paths}
        self.assertEqual(set(done.lines), want)


class StoppedReader(Case):
    max_running = 8

    @limit(120)
    async def test_a_stopped_reader_of_maps_output_stalls_nobody_else(self):
        reader, writer = os.pipe()
        lines = 400
        process = await self.ctl.start("map", "-j", "16", "--", "sh", "-c",
                                       "head -c 20000 /dev/zero | tr '\\0' x; echo", stdout=writer)
        os.close(writer)
        process.stdin.write(rows(*range(lines)))
        process.stdin.close()

        async def stuck():
            """Nothing moves any more: the map waits for its reader."""
            before = await self.c.call("stats.get")
            for _ in range(20):
                self.assertTrue((await self.c.run("true"))["ok"])
            after = await self.c.call("stats.get")
            return (before["completed"] > 3
                    and after["completed"] - before["completed"] == 20)
        await eventually(stuck, 40, "the map stands still")
        stats = await self.c.call("stats.get")
        self.assertLess(stats["submitted"], lines + 20 * 200)
        self.assertTrue((await self.c.run("true"))["ok"])
        got = len(await read_to_end(reader))
        os.close(reader)
        self.assertEqual(got, lines * 20001)
        self.assertEqual(await asyncio.wait_for(process.wait(), scaled(20)), 0)


class SmallHistory(Case):
    settings = ("store.history_jobs=10", "store.output_total=1MiB")

    @limit(120)
    async def test_outputs_that_map_has_not_printed_yet_are_kept(self):
        """Its reader comes late, the daemon keeps little: still every byte arrives."""
        reader, writer = os.pipe()
        process = await self.ctl.start("map", "-j", "32", "--", "sh", "-c",
                                       "head -c 200000 /dev/zero", stdout=writer)
        os.close(writer)
        process.stdin.write(rows(*range(60)))
        process.stdin.close()

        async def many_done():
            return (await self.c.call("stats.get"))["completed"] >= 20
        await eventually(many_done, 30, "jobs done before anything is read")
        got = len(await read_to_end(reader))
        os.close(reader)
        err = (await process.stderr.read()).decode()
        self.assertEqual((await asyncio.wait_for(process.wait(), scaled(20)), err), (0, ""))
        self.assertEqual(got, 60 * 200000)


class Long(Case):
    """100,000 lines (fewer where each costs more), a third of whose jobs fail, in flat memory."""

    max_running = 4
    WINDOW = 64
    DURABLE = os.environ.get("SLOT_TEST_DURABILITY", "memory") != "memory"
    LINES, WARM = (12_000, 4_000) if SANITIZE else (50_000, 15_000) if DURABLE else (
        100_000, 20_000)
    GROWTH_KIB = 48 * 1024 if SANITIZE else 4 * 1024
    settings = ("store.history_jobs=1000",) if SANITIZE else ()

    @alone
    @limit(900)
    async def test_many_lines_in_flat_memory_and_exact_bounds(self):
        quarantine = {"ASAN_OPTIONS": "exitcode=99:detect_leaks=1:quarantine_size_mb=1"}
        d = await self.start(env=quarantine)
        c, ctl = await d.connect(), self.make_ctl(d, env=quarantine)
        process = await ctl.start("map", "-j", str(self.WINDOW), "--", "{}")
        worst = 0

        async def watch(target):
            """Poll until so many jobs are done, looking at the jobs in flight each time."""
            nonlocal worst
            stats = await c.call("stats.get")
            worst = max(worst, stats["running_jobs"] + stats["pending"])
            self.assertLessEqual(worst, self.WINDOW)
            self.assertLessEqual(stats["running"], self.max_running)
            return stats["completed"] >= target

        async def feed(count):
            for index in range(0, count, 300):
                process.stdin.write(b"true\nfalse\ntrue\n" * (min(300, count - index) // 3))
                await process.stdin.drain()

        async def measure(fed):
            feeder = asyncio.ensure_future(feed(fed - self.fed))
            self.fed = fed
            await eventually(lambda: watch(fed), 700, f"{fed} jobs done")
            await feeder
            return rss_kib(process.pid), rss_kib(d.pid), rss_kib(d.launcher())
        self.fed = 0
        before = await measure(self.WARM // 3 * 3)
        after = await measure(self.LINES // 3 * 3)
        process.stdin.close()
        out, _ = await within(asyncio.gather(process.stdout.read(), process.stderr.read()), 60)
        self.assertEqual(await asyncio.wait_for(process.wait(), scaled(20)), 1)
        self.assertEqual(out, b"")
        stats = await c.call("stats.get")
        total = self.LINES // 3 * 3
        self.assertEqual((stats["submitted"], stats["ok"], stats["failed"]),
                         (total, total * 2 // 3, total // 3))
        self.assertEqual(worst, self.WINDOW, "the window is used in full")
        growth = [b - a for a, b in zip(before, after)]
        for name, grown in zip(("slotctl", "slotd", "slotd-launcher"), growth):
            self.assertLessEqual(grown, self.GROWTH_KIB, f"{name} grew: {before} to {after}")


class Oracle(Case):
    async def test_map_gives_what_xargs_gives(self):
        values = [str(i) for i in range(300)]
        done = await self.ctl.ok("map", "-k", "--", "expr", "{}", "+", "1", input=rows(*values))
        self.assertEqual(done.lines, [str(i + 1) for i in range(300)])
