"""slotd.aio's JobFuture in the places where asyncio's tests make futures and tasks of their own."""
import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from slotd.aio import JobFuture  # noqa: E402


class Jobs:
    """Stands for the connection that a JobFuture tells of its being cancelled."""

    @staticmethod
    def on_cancel(future):
        if future.task is not None:
            future.task.cancel()


class Future(JobFuture):
    task = None

    def __init__(self, *, loop=None):
        super().__init__(Jobs, loop=loop)

    def set_name(self, name):
        """Loops say this to what their task factory gives them."""
        self.task.set_name(name)


def job_future_of(coro, loop, **options):
    """A JobFuture for what a coroutine gives or raises, settled as the coroutine ends."""
    future = Future(loop=loop)

    async def run():
        try:
            result = await coro
        except asyncio.CancelledError:
            future.cancel()
        except BaseException as error:
            future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            if not future.done():
                future.set_result(result)

    future.task = asyncio.Task(run(), loop=loop, **options)
    return future


class OnJobFutures:
    cls = Future
    Future = Future

    def new_test_loop(self, gen=None):
        loop = super().new_test_loop(gen)
        loop.create_future = lambda: Future(loop=loop)
        return loop

    def new_task(self, loop, coro, name=None, **options):
        return job_future_of(coro, loop, name=name, **options)

    def _get_future_cls(self):
        return Future


class OnOwnLoop(OnJobFutures):
    def _new_future(self):
        return Future(loop=self.loop)
