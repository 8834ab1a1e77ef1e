"""CPython's own tests of concurrent.futures and asyncio, made to run on slotd's futures.

    cases.py --check             is README.md's table right for this Python? Prints what isn't
    cases.py --tests             the tests that apply, SUITE.CLASS.TEST, one a line
    cases.py SUITE.CLASS TEST... runs those that apply; SLOTD_SOCKET names the daemon

CPython's classes are taken from the `test` package of the Python that runs this; no test is
changed. What they are mixed with is here, which of them are run says the table in README.md.
"""
import importlib
import io
import multiprocessing
import pkgutil
import re
import sys
import types
import unittest
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
KNOWN = (3, 13)  # the newest Python whose tests the table lists
SUITES = {"concurrent": "test.test_concurrent_futures", "asyncio": "test.test_asyncio"}
ASYNCIO_MODULES = ("test_futures", "test_tasks")
#: Of asyncio's classes, those about futures; of its tests of tasks, those of what takes futures.
ASYNCIO_CLASSES = ("BaseFutureTests", "CFutureTests", "BaseFutureDoneCallbackTests",
                   "BaseFutureInheritanceTests", "GatherTestsBase", "FutureGatherTests",
                   "BaseTaskTests")
TASK_TESTS = re.compile(r"test_(wait|as_completed|shield|gather)")


# ---- the table -------------------------------------------------------------------------------

class Row(NamedTuple):
    suite: str
    cls: str
    test: str
    since: tuple
    until: tuple
    verdict: str

    @property
    def applies(self):
        return self.verdict.startswith("applies")

    @property
    def must_be_there(self):
        return self.since <= sys.version_info[:2] <= self.until


def table():
    rows = []
    for suite, cls, test, releases, verdict in re.findall(
            r"^\| `(\w+)\.(\w+)\.(\w+)` \| ([^|]*) \| ([^|]*) \|$",
            (HERE / "README.md").read_text(encoding="utf-8"), re.M):
        since, _, until = releases.replace("all", "–").partition("–")
        rows.append(Row(suite, cls, test, _release(since, (3, 0)), _release(until, (3, 999)),
                        verdict.strip()))
    return rows


def _release(text, default):
    return tuple(int(part) for part in text.split(".")) if text.strip() else default


# ---- what CPython has ------------------------------------------------------------------------

def modules(suite):
    """The modules of a suite: one, or, as since 3.12, a package of them."""
    top = importlib.import_module(SUITES[suite])
    names = [module.name for module in pkgutil.iter_modules(getattr(top, "__path__", ()))
             if module.name != "__main__"]
    if suite == "asyncio":
        names = [name for name in names if name in ASYNCIO_MODULES]
    return [top] + [importlib.import_module(f"{top.__name__}.{name}") for name in names]


def own_tests(cls):
    return [name for name, value in vars(cls).items()
            if name.startswith("test") and callable(value)]


def classes(suite):
    """{name: class} of those that define tests themselves."""
    found = {}
    for module in modules(suite):
        for cls in vars(module).values():
            if isinstance(cls, type) and cls.__module__ == module.__name__ and own_tests(cls):
                if suite != "asyncio" or cls.__name__ in ASYNCIO_CLASSES:
                    found[cls.__name__] = cls
    return found


def listed_there():
    """(suite, class, test) of all tests that the table has to list."""
    return {(suite, name, test) for suite in SUITES for name, cls in classes(suite).items()
            for test in own_tests(cls) if name != "BaseTaskTests" or TASK_TESTS.match(test)}


def check():
    """What is wrong with the table, a line each."""
    rows = table()
    listed = {row[:3]: row for row in rows}
    there = listed_there()
    wrong = [f"listed twice: {'.'.join(key)}" for key in listed
             if sum(row[:3] == key for row in rows) > 1]
    wrong += [f"not listed: {'.'.join(key)}" for key in sorted(there - set(listed))]
    wrong += [f"listed, but this Python has no {'.'.join(key)}" for key, row in listed.items()
              if key not in there and row.must_be_there]
    wrong += [f"neither 'applies' nor 'no: why not': {'.'.join(row[:3])}" for row in rows
              if not re.match(r"applies(: .+)?$|no: .+", row.verdict)]
    return wrong


# ---- what they are run with ------------------------------------------------------------------

class OnSlotd:
    """Stands where CPython's ThreadPoolMixin and ProcessPoolSpawnMixin do."""

    @staticmethod
    def get_context():
        return multiprocessing.get_context("spawn")


#: Put before the programs that tests start: there, too, the class is one of concurrent.futures.
PREAMBLE = """if 1:
    import concurrent.futures, sys
    sys.path.insert(0, {here!r})
    def lazily(name, original=concurrent.futures.__getattr__):
        if name == "CallExecutor":
            import callables
            return callables.CallExecutor
        return original(name)
    concurrent.futures.__getattr__ = lazily
"""


def concurrent_bases(cls):
    """What is built of a class of that suite; its modules get our futures and executor to test."""
    import callables
    import concurrent.futures
    ours = type("Future", (callables.ExecutorFuture,), {})  # their reprs are looked at
    proxy = types.ModuleType("futures")
    vars(proxy).update(vars(concurrent.futures))
    proxy.ThreadPoolExecutor = callables.CallExecutor
    parts = modules("concurrent")
    by_name = {name: value for part in reversed(parts) for name, value in vars(part).items()}
    for part in parts:
        if hasattr(part, "Future"):
            part.Future = ours
        if hasattr(part, "futures"):
            part.futures = proxy
        if hasattr(part, "assert_python_ok"):
            part.assert_python_ok = _with_preamble(part.assert_python_ok)
    for name, value in by_name.items():
        if name.endswith("_FUTURE"):
            future = by_name["create_future"](value._state, value._exception, value._result)
            assert type(future) is ours
            for part in parts:
                if hasattr(part, name):
                    setattr(part, name, future)
    OnSlotd.executor_type = callables.CallExecutor
    if cls.__name__ == "FutureTests":
        return (cls,)
    return (OnSlotd, cls, by_name["ExecutorMixin"], by_name["BaseTestCase"])


def _with_preamble(assert_python_ok):
    def run(option, program):
        return assert_python_ok(option, PREAMBLE.format(here=str(HERE)) + program)
    return run


def asyncio_bases(cls):
    """What is built of a class of that suite: its futures and tasks are JobFutures."""
    import jobfutures
    from test.test_asyncio.utils import TestCase
    if cls.__name__ == "GatherTestsBase":
        cls = classes("asyncio")["FutureGatherTests"]
    mixin = (jobfutures.OnOwnLoop if cls.__name__ == "BaseFutureDoneCallbackTests"
             else jobfutures.OnJobFutures)
    return (mixin, cls) if issubclass(cls, TestCase) else (mixin, cls, TestCase)


def build(suite, name):
    cls = classes(suite)[name]
    bases = concurrent_bases(cls) if suite == "concurrent" else asyncio_bases(cls)
    # A classmethod is sent to a process by the name of CPython's class.
    members = {key: staticmethod(getattr(cls, key)) for key, value in vars(cls).items()
               if isinstance(value, classmethod)}
    return type(name, bases, members)


def main(args):
    if args == ["--check"]:
        wrong = check()
        print("\n".join(wrong))
        return 1 if wrong else 0
    if args == ["--tests"]:
        there = listed_there()
        print("\n".join(".".join(row[:3]) for row in table() if row.applies and row[:3] in there))
        return 0
    suite, name = args[0].split(".")
    case = build(suite, name)
    tests = unittest.TestSuite(case(test) for test in args[1:])
    out = io.StringIO()
    result = unittest.TextTestRunner(stream=out, verbosity=2).run(tests)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    print(out.getvalue())
    from test import support
    if support.environment_altered and not failed:  # as regrtest --fail-env-changed
        print("FAIL: a test left threads or processes behind")
        failed = 1
    skipped = len(result.skipped)
    print(f"{result.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    # Programs and pickles name modules beside this one.
    sys.path.insert(0, str(HERE))
    sys.exit(main(sys.argv[1:]))
