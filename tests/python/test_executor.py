"""slotd.SlotExecutor: jobs as concurrent.futures futures."""

import concurrent.futures
import os
import subprocess
import sys
import threading

from support import ROOT, Case

import slotd


class Executor(Case):
    """Each test body runs in a thread; the daemon is watched from the loop."""

    async def run_blocking(self, body):
        def run():
            with slotd.SlotExecutor(self.path) as executor:
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
        self.assertEqual(self.daemon.jobs_alive(), [])

    async def test_shutdown(self):
        def body(executor):
            futures = [executor.submit(["sleep", "60"]) for _ in range(10)]
            executor.shutdown(wait=True, cancel_futures=True)
            self.assertTrue(all(f.cancelled() for f in futures))
            with self.assertRaises(RuntimeError):
                executor.submit(["true"])
            executor.shutdown()

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


class MemoryExecutor(Executor):
    durability = "memory"
