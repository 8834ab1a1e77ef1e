"""One call in a process of its own, the job behind a future of callables.CallExecutor.

The call comes from stdin as a pickle. What came of it goes to stdout as another, behind whatever
the function printed, and last the pickle's length. Nothing but the standard library is imported,
and no more of it than the call needs: this is started for every one.
"""
import pickle
import struct
import sys


def main():
    authkey, call = pickle.load(sys.stdin.buffer)
    if authkey is not None:  # a proxy of multiprocessing.Manager knocks with it
        import multiprocessing
        multiprocessing.current_process().authkey = authkey
    fn, args, kwargs = pickle.loads(call)  # what goes wrong here ends the process
    try:
        answer = pickle.dumps((True, fn(*args, **kwargs)))
    except BaseException as error:
        from concurrent.futures.process import _ExceptionWithTraceback
        answer = pickle.dumps((False, _ExceptionWithTraceback(error, error.__traceback__)))
    sys.stdout.flush()
    sys.stdout.buffer.write(answer + struct.pack("!I", len(answer)))


if __name__ == "__main__":
    main()
