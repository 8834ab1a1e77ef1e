"""slotd.SlotExecutor: jobs as concurrent.futures futures."""

import asyncio
import concurrent.futures
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
import unittest
import warnings
from pathlib import Path
from unittest import mock

from support import ROOT, Case, scaled

import slotd
import slotd.aio


def sh(script, *args):
    return ["sh", "-c", script, "sh", *args]


def wait_for_id(future):
    end = time.monotonic() + scaled(60)
    while future.job is None:
        assert time.monotonic() < end and not future.done(), future
        time.sleep(0.001)
    return future.job


class Executor(Case):
    """Each test body runs in a thread; the daemon is watched from the loop."""

    async def run_blocking(self, body, **options):
        def run():
            with slotd.SlotExecutor(self.path, **options) as executor:
                return body(executor)

        return await self.in_thread(run)

    async def test_futures_and_results(self):
        def body(executor):
            future = executor.submit(["echo", "hi"], tag=7)
            self.assertIsInstance(future, concurrent.futures.Future)
            completion = future.result(timeout=60)
            self.assertEqual((completion.stdout, completion.tag, completion.job),
                             (b"hi\n", 7, future.job))
            with self.assertRaises(slotd.JobFailed):
                executor.submit(["false"]).result(timeout=60)

        await self.run_blocking(body)

    async def test_as_completed_and_wait(self):
        def body(executor):
            slow, quick = executor.submit(["sleep", "60"]), executor.submit(["true"])
            done, pending = concurrent.futures.wait(
                [slow, quick], timeout=60, return_when=concurrent.futures.FIRST_COMPLETED)
            self.assertEqual((done, pending), ({quick}, {slow}))
            self.assertIs(next(concurrent.futures.as_completed([quick])), quick)
            with self.assertRaises(concurrent.futures.TimeoutError):
                list(concurrent.futures.as_completed([slow, quick], timeout=0.05))
            slow.cancel()

        await self.run_blocking(body)

    async def test_map_keeps_order_and_makes_commands(self):
        def body(executor):
            out = [c.stdout for c in executor.map(lambda a, b: ["echo", a, b], "xyz", "123")]
            self.assertEqual(out, [b"x 1\n", b"y 2\n", b"z 3\n"])
            self.assertEqual([c.stdout for c in executor.map(["echo", "n"], range(3))],
                             [b"n 0\n", b"n 1\n", b"n 2\n"])
            with self.assertRaises(concurrent.futures.TimeoutError):
                list(executor.map(["sleep"], [60], timeout=0.05))

        await self.run_blocking(body)

    async def test_cancelling_ends_a_running_job(self):
        def body(executor):
            future = executor.submit(["sleep", "60"], name="running")
            self.assertTrue(future.cancel())
            self.assertEqual(concurrent.futures.wait([future], timeout=60).done, {future})
            with self.assertRaises(concurrent.futures.CancelledError):
                future.result()

        await self.run_blocking(body)
        await self.until(lambda: not self.daemon.jobs_alive(), "the ends of all processes")

    async def test_shutdown(self):
        def body(executor):
            gate = self.file("gate")
            wait = ["sh", "-c", 'while [ ! -e "$0" ]; do sleep 0.05; done', gate]
            futures = [executor.submit(wait) for _ in range(10)]  # four run at a time
            try:
                deadline = time.monotonic() + scaled(60)
                while not all(f.running() for f in futures[:4]):
                    self.assertLess(time.monotonic(), deadline)
                executor.shutdown(wait=False, cancel_futures=True)
                with self.assertRaises(RuntimeError):
                    executor.submit(["true"])
                done = concurrent.futures.wait(futures[4:], timeout=scaled(60)).done
                self.assertEqual((len(done), all(f.cancelled() for f in done)), (6, True))
                self.assertFalse(any(f.done() for f in futures[:4]))
            finally:
                Path(gate).touch()
            executor.shutdown()
            self.assertTrue(all(f.result().ok for f in futures[:4]))

        await self.run_blocking(body)

    async def test_shutdown_without_waiting_lets_futures_settle(self):
        def body(executor):
            future = executor.submit(["echo", "late"])
            executor.shutdown(wait=False)
            self.assertEqual(future.result(timeout=60).stdout, b"late\n")

        await self.run_blocking(body)

    async def test_many_threads_submit(self):
        def body(executor):
            results = []

            def some(name):
                futures = [executor.submit(["echo", f"{name}.{n}"]) for n in range(25)]
                results.extend(f.result(timeout=120).stdout for f in futures)

            threads = [threading.Thread(target=some, args=(t,)) for t in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(sorted(results),
                             sorted(b"%d.%d\n" % (t, n) for t in range(8) for n in range(25)))

        await self.run_blocking(body)

    async def test_what_is_wrong_is_told(self):
        def body(executor):
            with self.assertRaises(TypeError):
                executor.submit("ls -l")
            with self.assertRaises(slotd.RemoteError):
                executor.submit(["ls"], quue="x").result(timeout=60)

        await self.run_blocking(body)
        with self.assertRaises(slotd.ConnectionLost):
            await self.in_thread(slotd.SlotExecutor, self.file("nobody"))

    async def test_a_program_that_forgets_shutdown_still_ends(self):
        program = ("import slotd, sys\n"
                   "e = slotd.SlotExecutor(sys.argv[1])\n"
                   "e.submit(['sh', '-c', 'echo done >\"$1\"', 'sh', sys.argv[2]])\n")
        mark = self.file("mark")
        env = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
        status = await self.in_thread(lambda: subprocess.run(
            [sys.executable, "-c", program, self.path, mark], env=env, timeout=120).returncode)
        self.assertEqual(status, 0)
        with open(mark, encoding="ascii") as file:
            self.assertEqual(file.read(), "done\n")


    async def test_a_cancelled_future_is_given_out_when_its_job_has_ended(self):
        def body(executor):
            future = executor.submit(sh("trap 'sleep 0.2; exit 9' TERM; echo >\"$1\"; while :; do sleep 0.01; done",
                                        gate))
            with open(gate, encoding="ascii") as file:
                file.read()  # it runs, and the trap is set
            self.assertTrue(future.cancel())
            self.assertTrue(future.cancelled() and future.done())
            self.assertIsNone(future.completion)
            self.assertIs(next(concurrent.futures.as_completed([future], timeout=60)), future)
            self.assertEqual(future.completion.outcome, "cancelled")
            self.assertTrue(future.cancel())
            done = executor.submit(["true"])
            done.result(timeout=60)
            self.assertFalse(done.cancel())

        gate = self.file("gate")
        os.mkfifo(gate)
        await self.run_blocking(body)

    async def test_running_is_what_the_daemon_says(self):
        def body(executor):
            first = executor.submit(sh('read x <"$1"', gate))
            behind = [executor.submit(["true"], after_policy="any", after=[wait_for_id(first)])
                      for _ in range(2)]
            wait_for_id(behind[1])
            self.assertEqual([f.running() for f in (first, *behind)], [True, False, False])
            Path(gate).write_text("", "ascii")
            concurrent.futures.wait([first, *behind], timeout=60)
            self.assertFalse(any(f.running() for f in (first, *behind)))

        gate = self.file("gate")
        os.mkfifo(gate)
        await self.run_blocking(body)

    async def test_map_reads_no_more_than_buffersize_ahead(self):
        def body(executor):
            asked = 0

            def inputs():
                nonlocal asked
                for n in range(20):
                    asked += 1
                    yield n

            taken = []
            for completion in executor.map(["echo"], inputs(), buffersize=3):
                taken.append(int(completion.stdout))
                self.assertLessEqual(asked, len(taken) + 3)
            self.assertEqual(taken, list(range(20)))
            with self.assertRaises(ValueError):
                executor.map(["echo"], [1], buffersize=0)

        await self.run_blocking(body)

    async def test_map_cancels_also_when_nothing_was_taken_of_it(self):
        def body(executor):
            def ended(name, n):
                end = time.monotonic() + scaled(30)
                while time.monotonic() < end:
                    listed = executor.call("job.list", {"name": name})["jobs"]
                    if not [job for job in listed if job["phase"] != "done"]:
                        return self.assertLessEqual(len(listed), n)
                    time.sleep(0.02)
                self.fail(f"{name}: jobs of a map that was left go on")

            def inputs(n):
                yield from [58] * n
                raise LookupError("mine")

            for size in (None, 3):
                items = executor.map(["sleep"], [58] * 3, buffersize=size, name=f"left{size}")
                items.close()
                ended(f"left{size}", 3)
                with self.assertRaisesRegex(LookupError, "mine"):
                    executor.map(["sleep"], inputs(2), buffersize=size, name=f"broken{size}")
                ended(f"broken{size}", 2)
            items = executor.map(lambda n: ["sleep", "0" if n == 0 else "58"], map(int, "00x"),
                                 buffersize=2, name="late")
            with self.assertRaises(ValueError):
                next(items)
            ended("late", 2)

        await self.run_blocking(body)

    async def test_map_takes_no_string_apart(self):
        def body(executor):
            for argv in ("echo", b"echo", bytearray(b"echo"), {"argv": 1}, 7):
                with self.assertRaisesRegex(TypeError, "argv must be a sequence of arguments, not "):
                    executor.map(argv, [1])
                with self.assertRaisesRegex(TypeError, "argv must be a sequence of arguments, not "):
                    executor.map(lambda n: argv, [1])
            taken = executor.map(iter(["echo", "a"]), ["b", "c"])
            self.assertEqual([c.stdout for c in taken], [b"a b\n", b"a c\n"])

        await self.run_blocking(body)

    async def test_map_ends_at_a_failure_and_cancels_the_rest(self):
        def body(executor):
            with self.assertRaises(slotd.JobFailed):
                list(executor.map(sh("exit $1"), [0, 1, 0], name="x"))
            results = executor.map(sh("[ $1 = 0 ] || sleep 60"), [0, 1, 1], name="rest")
            self.assertTrue(next(results).ok)
            results.close()

        await self.run_blocking(body)  # which waits for all of them
        await self.until(lambda: not self.daemon.jobs_alive(), "the ends of all processes")

    async def test_errors_can_be_pickled(self):
        def body(executor):
            with self.assertRaises(slotd.JobFailed) as caught:
                executor.submit(sh("echo no; exit 3"), tag=[1]).result(timeout=60)
            again = pickle.loads(pickle.dumps(caught.exception))
            self.assertEqual((str(again), again.completion), (str(caught.exception),
                                                              caught.exception.completion))
            with self.assertRaises(slotd.RemoteError) as caught:
                executor.submit(["ls"], priority=1000).result(timeout=60)
            again = pickle.loads(pickle.dumps(caught.exception))
            self.assertEqual((again.kind, again.data, str(again)),
                             ("InvalidParams", caught.exception.data, str(caught.exception)))
            self.assertIn("priority", str(again))

        await self.run_blocking(body)

    async def test_a_dead_daemon_breaks_the_executor(self):
        daemon = self.daemon

        def body(executor):
            future = executor.submit(["sleep", "60"])
            wait_for_id(future)
            asyncio.run_coroutine_threadsafe(daemon.kill(), loop).result()
            with self.assertRaises(slotd.ConnectionLost):
                future.result(timeout=60)
            with self.assertRaises(concurrent.futures.BrokenExecutor) as caught:
                executor.submit(["true"])
            self.assertIsInstance(caught.exception, slotd.ConnectionLost)
            self.assertIsInstance(caught.exception.__cause__, slotd.ConnectionLost)

        loop = asyncio.get_running_loop()
        await self.run_blocking(body, reconnect=0)

    async def test_call_is_any_other_method_waited_for(self):
        def body(executor):
            self.assertEqual(executor.call("limits.set", {"max_running": 3})["max_running"], 3)
            with self.assertRaises(slotd.RemoteError) as caught:
                executor.call("job.get", {"job": 10 ** 9}, again=True)
            self.assertEqual(caught.exception.kind, "NoSuchJob")
            future = executor.submit(["sleep", "60"])
            wait = {"job": wait_for_id(future), "wait_ms": 60000}
            with self.assertRaises(concurrent.futures.TimeoutError):
                executor.call("job.result", wait, timeout=0.05)
            self.assertEqual(executor.call("stats.get")["in_flight"], 1)  # the stream of completions

            inside = concurrent.futures.Future()

            def on_done(_):
                try:
                    inside.set_result(executor.call("stats.get"))
                except RuntimeError as error:
                    inside.set_exception(error)

            executor.submit(["true"]).add_done_callback(on_done)
            self.assertRegex(str(inside.exception(60)), "would wait for itself")

            with concurrent.futures.ThreadPoolExecutor() as threads:  # shutdown waits for it
                result = threads.submit(executor.call, "job.result", wait)
                while executor.call("stats.get")["in_flight"] < 2:
                    time.sleep(0.001)
                future.cancel()
                executor.shutdown()
                self.assertEqual(result.result(60)["outcome"], "cancelled")
            with self.assertRaisesRegex(RuntimeError, "after shutdown"):
                executor.call("stats.get")

        await self.run_blocking(body)

    async def test_a_collection_in_the_middle_of_a_submit_may_cancel(self):
        """The results of a map that are part of a cycle cancel their jobs wherever they are found."""
        def body(executor):
            cycle = [executor.map(["sleep"], [0, 60])]
            self.assertTrue(next(cycle[0]).ok)
            cycle.append(cycle)
            del cycle
            talk = executor._conversation

            def wake():
                gc.collect()
                real()

            real, talk._wake = talk._wake, wake
            futures = []
            thread = threading.Thread(target=lambda: futures.append(executor.submit(["true"])), daemon=True)
            thread.start()
            thread.join(scaled(20))
            if thread.is_alive():
                talk.lock.release()  # or nothing ends
                self.fail("it waits for itself")
            del talk._wake
            self.assertTrue(futures[0].result(60).ok)

        gc.disable()
        try:
            await self.run_blocking(body)
        finally:
            gc.enable()

    async def test_nobody_listens_says_where_and_what_to_do(self):
        with self.assertRaises(slotd.ConnectionLost) as caught:
            slotd.SlotExecutor(self.file("nobody"))
        for word in (self.file("nobody"), "No such file", "start slotd", "SLOTD_SOCKET"):
            self.assertIn(word, str(caught.exception))
        with self.assertRaises(TypeError):
            slotd.SlotExecutor(self.path, tag=object())

    async def test_one_that_is_dropped_ends_when_its_futures_have(self):
        def body():
            gate = self.file("gate")
            os.mkfifo(gate)
            executor = slotd.SlotExecutor(self.path)
            thread = executor._conversation.thread
            future = executor.submit(sh('read x <"$1"; true', gate))
            del executor
            gc.collect()
            self.assertTrue(thread.is_alive())
            Path(gate).write_text("", "ascii")
            self.assertTrue(future.result(timeout=60).ok)
            del future
            thread.join(60)
            self.assertFalse(thread.is_alive())

        await self.in_thread(body)

    async def test_a_cancel_before_it_is_passed_on_makes_no_job(self):
        def body(executor):
            executor.submit(["true"]).result(timeout=60)
            stopped, go = threading.Event(), threading.Event()
            executor._conversation.loop.call_soon_threadsafe(lambda: (stopped.set(), go.wait(60)))
            stopped.wait(60)
            future = executor.submit(["sleep", "60"], name="never")
            future.cancel()
            go.set()
            concurrent.futures.wait([future], timeout=60)
            self.assertIsNone(future.job)

        await self.run_blocking(body)

    @unittest.skipUnless(hasattr(os, "fork"), "no fork")
    async def test_after_a_fork_the_child_is_told(self):
        program = ("import os, slotd, sys\n"
                   "e = slotd.SlotExecutor(sys.argv[1])\n"
                   "f = e.submit(['sleep', '0.2'])\n"
                   "pid = os.fork()\n"
                   "if pid == 0:\n"
                   "    f.cancel(); e.shutdown()\n"
                   "    try:\n"
                   "        e.submit(['true'])\n"
                   "    except RuntimeError as error:\n"
                   "        sys.exit(7 if 'fork' in str(error) else str(error))\n"
                   "status = os.waitpid(pid, 0)[1]\n"
                   "assert f.result().ok\n"
                   "sys.exit(os.WEXITSTATUS(status))\n")
        done = await self.run_program(program, flags=("-W", "ignore::DeprecationWarning"))
        self.assertEqual((done.returncode, done.stderr), (7, ""))

    async def run_program(self, program, *args, flags=()):
        env = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
        return await self.in_thread(lambda: subprocess.run(
            [sys.executable, *flags, "-c", program, self.path, *args], env=env, timeout=120,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))

    async def test_a_program_that_closes_nothing_ends_without_a_storm(self):
        program = ("import asyncio, slotd.aio, sys\n"
                   "async def main():\n"
                   "    client = slotd.aio.Client(sys.argv[1])\n"
                   "    await client.connect()\n"
                   "    futures = [client.submit(['sleep', '60'], lifetime='bound') for _ in range(50)]\n"
                   "    await asyncio.gather(*(f.submitted() for f in futures))\n"
                   "    items = client.map([['sleep', '60']] * 5, limit=5, lifetime='bound')\n"
                   "    pending = asyncio.ensure_future(items.__anext__())\n"
                   "    await asyncio.sleep(0.01)\n"
                   "asyncio.run(main())\n")
        done = await self.run_program(program, flags=("-X", "dev"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertLessEqual(done.stderr.count("ResourceWarning: unclosed"), 1, done.stderr)  # asyncio's own
        self.assertNotIn("never", done.stderr)


class Away(Case):
    """The daemon is killed, and futures are cancelled while it is away."""

    def cancel_while_away(self, reconnect):
        """The jobs of an executor that is shut down, and what was warned of."""
        with mock.patch.object(slotd.aio, "_CLOSE_TIMEOUT", 0.05), \
                warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            executor = slotd.SlotExecutor(self.path, reconnect=reconnect)
            futures = [executor.submit(["sleep", "60"]) for _ in range(3)]
            jobs = [wait_for_id(future) for future in futures]
            self.killed.set()
            self.assertTrue(self.dead.wait(scaled(60)))
            for future in futures:
                future.cancel()
            executor.shutdown()
        return jobs, [str(w.message) for w in warned if w.category is RuntimeWarning]

    async def run_away(self, reconnect, away):
        self.killed, self.dead = threading.Event(), threading.Event()
        done = asyncio.ensure_future(self.in_thread(self.cancel_while_away, reconnect))
        await self.in_thread(self.killed.wait, scaled(60))
        await self.daemon.kill()
        self.dead.set()
        await asyncio.wait([done], timeout=away)
        if not done.done():
            await self.daemon.start()
        return await asyncio.wait_for(done, scaled(60))

    async def test_shutdown_tells_the_daemon_when_it_is_back(self):
        jobs, warned = await self.run_away(60, 0.5)
        self.assertEqual(warned, [])
        async with slotd.aio.Client(self.path) as client:
            for job in jobs:
                result = await client.call("job.result", {"job": job, "wait_ms": 20000})
                self.assertEqual(result["outcome"], "cancelled")

    async def test_shutdown_warns_of_what_it_could_not_cancel(self):
        _, warned = await self.run_away(0.2, scaled(60))
        self.assertEqual(warned, [f"slotd at {self.path} could not be told to cancel 3 jobs: "
                                  "those may go on"])


class MemoryExecutor(Executor):
    durability = "memory"
