"""SlotExecutor for calls of Python functions, as the tests of concurrent.futures make them.

Each call is a job, `python3 call.py`: as with ProcessPoolExecutor function, arguments and result
travel as pickles, and as there a process that dies under a call is a BrokenProcessPool, but no
other call is touched. A slotd queue for each executor stands in for max_workers.
"""
import functools
import itertools
import multiprocessing
import os
import pickle
import struct
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "python"))

import slotd  # noqa: E402
from slotd.executor import ExecutorFuture  # noqa: E402

_numbers = itertools.count(1)
_TAIL = struct.Struct("!I")


class CallFuture(ExecutorFuture):
    """The future of a call: settled with a completion, it has what the call gave or raised."""

    def set_result(self, completion):
        stdout = completion.stdout
        try:
            printed, ok, value = _answer(stdout)
        except BaseException as error:  # a result that can't be unpickled may do anything
            return super().set_exception(BrokenProcessPool(f"no result came: {error!r}"))
        if printed:
            sys.stdout.write(printed.decode())
        return super().set_result(value) if ok else super().set_exception(value)

    def set_exception(self, error):
        if isinstance(error, slotd.JobFailed):
            died = BrokenProcessPool(f"{error}: {error.completion.stderr.decode()}")
            died.__cause__, error = error, died
        super().set_exception(error)


def _answer(stdout):
    (size,) = _TAIL.unpack(stdout[-_TAIL.size:])
    answer = stdout[:-_TAIL.size]
    ok, value = pickle.loads(answer[-size:])
    return answer[:-size], ok, value


class CallExecutor(slotd.SlotExecutor):
    """submit(fn, *args, **kwargs). mp_context is taken and unused: a call has its own process."""

    _new_future = staticmethod(CallFuture)

    def __init__(self, max_workers=None, *, mp_context=None):
        self._queue = f"calls-{os.getpid()}-{next(_numbers)}"
        super().__init__(queue=self._queue)
        self.call("queue.set", {"queue": self._queue, "max_running": max_workers})

    def submit(self, fn, /, *args, **kwargs):
        manager = sys.modules.get("multiprocessing.managers")
        authkey = bytes(multiprocessing.current_process().authkey) if manager else None
        call = pickle.dumps((authkey, pickle.dumps((fn, args, kwargs))))
        return super().submit([sys.executable, str(HERE / "call.py")], stdin=call)

    def map(self, fn, *iterables, timeout=None, chunksize=1):
        return super().map(functools.partial(functools.partial, fn), *iterables, timeout=timeout,
                           chunksize=chunksize)

    @property
    def _threads(self):
        """What the tests of a thread pool's end wait for."""
        return {self._conversation.thread}
