"""What a child holds before its exec, and kernels that lack what makes a start fast."""
import errno
import os
import platform
import shutil
import signal
import sys
import tempfile
from harness import *  # noqa: F403

# Executes the launcher under a seccomp filter: each NUMBER fails with ERROR, or with
# NUMBER=VALUE only where the third argument has this value.
FILTERED = """#!%s
import ctypes, os, struct, sys
error, calls = int(os.environ["FILTER_ERROR"]), os.environ["FILTER_CALLS"].split()
code = []
def op(what, jt, jf, k):
    code.append(struct.pack("=HBBI", what, jt, jf, k))
for call in calls:
    number, _, value = call.partition("=")
    op(0x20, 0, 0, 0)                           # load the number
    op(0x15, 0, 3 if value else 1, int(number)) # if it is this one
    if value:
        op(0x20, 0, 0, 32)                      # load the third argument
        op(0x15, 0, 1, int(value))
    op(0x06, 0, 0, 0x00050000 | error)          # return the error
op(0x06, 0, 0, 0x7fff0000)                      # allow
text = ctypes.create_string_buffer(b"".join(code))
program = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(text)))
libc = ctypes.CDLL(None, use_errno=True)
for call in ((38, 1, 0, 0, 0), (22, 2, program, 0, 0)): # no new privileges, seccomp
    if libc.prctl(*call) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
os.execv(os.environ["FILTER_PROGRAM"], sys.argv)
"""
CLONE3, CLOSE_RANGE, PIDFD_OPEN, RSEQ = 435, 436, 434, 334
MACHINE = platform.machine() == "x86_64"  # the number of rseq is of this one


def filtered(make, error, *calls):
    """What `make` makes of the launcher's program, which has greeted then; its calls fail so."""
    directory = tempfile.mkdtemp(prefix="slot-filter-")
    os.chmod(directory, 0o755)
    path = os.path.join(directory, "filtered")
    with open(path, "w") as f:
        f.write(FILTERED % ("/usr/bin/python3" if os.path.exists("/usr/bin/python3") else
                            sys.executable))
    os.chmod(path, 0o755)
    os.environ.update(FILTER_ERROR=str(error), FILTER_CALLS=" ".join(map(str, calls)),
                      FILTER_PROGRAM=the_binary())
    try:
        return make(binary=path)
    finally:
        for name in ("ERROR", "CALLS", "PROGRAM"):
            del os.environ["FILTER_" + name]
        shutil.rmtree(directory, ignore_errors=True)


def starts_as_ever(l):
    """Starts, failures, the search, descriptors, files and cancels."""
    script = "import os\nfor f in range(1024):\n try: os.fstat(f); print(f)\n except OSError: pass"
    for _ in range(5):
        out, ex = l.output("", argv=["python3", "-c", script])
        assert ex.what() == ("exited", 0) and out.split() == ["0", "1", "2"], (out, ex)
    assert l.finish(l.sh("exit 7")).what() == ("exited", 7)
    assert l.finish(l.run(["/no/such"])).what() == ("spawn_failed", "exec", errno.ENOENT)
    assert l.finish(l.run(["true"], cwd="/none")).what() == ("spawn_failed", "chdir", errno.ENOENT)
    out, ex = l.output("", argv=["sh", "-c", "echo $# ${#1}", "sh"] + ["x" * 100] * 2000, memfd=True)
    assert out.split() == ["2000", "100"], (out, ex)
    jobs = [l.sh("exit %d" % i) for i in range(50)]
    assert [l.finish(j).what() for j in jobs] == [("exited", i) for i in range(50)]
    job = l.sh("sleep 100 & sleep 100")
    l.cancel(job)
    assert l.finish(job).what() == ("signaled", signal.SIGKILL)
    assert l.children() == []


def until_blocked(l, **spec):
    """A job that waits, before its exec, for the other end of a fifo: its pid."""
    os.mkfifo(l.path("fifo"))
    job = l.run(["true"], stdin=l.path("fifo"), **spec)
    wait_for(lambda: l.children() and sorted(os.listdir("/proc/%d/fd" % l.children()[0])) in
             (["1", "2"], ["0", "1", "2"]), "it opens its input")
    return job, l.children()[0]


def stands_alone():
    """The one that is tested leaves its children nothing: no sanitizer, a machine that it knows."""
    with open(the_binary(), "rb") as f:
        return MACHINE and b"__asan_" not in f.read()


@test
def a_child_before_exec_has_nothing_of_the_launchers_memory(l):
    if not stands_alone():
        return "skipped"
    job, pid = until_blocked(l)
    with open("/proc/%d/maps" % pid) as f:
        lines = f.read().splitlines()
    maps = [line.split() for line in lines]
    private = [m for m in maps if "w" in m[1] and "s" not in m[1]]
    names = [m[5] if len(m) > 5 else "" for m in maps]
    # The one piece with its arguments and its stack is writable; with a libc that is no part of
    # the program, so is what that keeps for each thread.
    assert "[stack]" not in names and "[heap]" not in names, "\n".join(lines)
    assert not any(n.endswith("slotd-launcher") for n, m in zip(names, maps) if "w" in m[1]), lines
    assert len(private) == 1 or any("libc" in n for n in names), "\n".join(lines)
    l.cancel(job)
    l.finish(job)


@plain
def an_older_kernel_starts_jobs_too():
    calls = (CLONE3, CLOSE_RANGE, PIDFD_OPEN) + ((RSEQ,) if MACHINE else ())
    l = filtered(Launcher, errno.ENOSYS, *calls)
    starts_as_ever(l)
    assert l.close() == 0


@plain
def where_rseq_cannot_be_ended_children_have_all_memory():
    if not MACHINE:
        return "skipped"
    l = filtered(Launcher, errno.EPERM, "%d=1" % RSEQ)
    starts_as_ever(l)
    assert l.close() == 0


class FewProcesses:
    """A group of processes whose number is limited. OSError where we can't make one."""

    def __init__(self, pid):
        for root in "/sys/fs/cgroup/pids", "/sys/fs/cgroup":
            self.dir = os.path.join(root, "slot-test-%d" % pid)
            try:
                os.mkdir(self.dir)
            except OSError:
                continue
            if os.path.exists(os.path.join(self.dir, "pids.max")):
                self.put("cgroup.procs", pid)
                return
            os.rmdir(self.dir)
        raise OSError(errno.ENOENT, "pids.max")

    def end(self, pids):
        """Those that are left go back to where they came from."""
        for pid in pids:
            try:
                self.put("../cgroup.procs", pid)
            except ProcessLookupError:
                pass
        os.rmdir(self.dir)

    def put(self, name, value):
        with open(os.path.join(self.dir, name), "w") as f:
            f.write(str(value))


@test
def a_start_that_failed_late_leaves_no_pidfd_behind(l):
    """The kernel numbers the pidfd first and looks at this limit then."""
    try:
        group = FewProcesses(l.proc.pid)
    except OSError:
        return "skipped"
    r, w = os.pipe()
    try:
        others = [l.run(["sleep", "100"]) for _ in range(9)]  # the last of them has a pidfd
        l.until(lambda: len(l.children()) == 9, "nine leaders")
        group.put("pids.max", 1)
        job = l.run(["true"], memfd=True)
        # Waiting too, it holds a descriptor of the number that the first one's pidfd had.
        reader = l.run(["cat"], stdin=PASSED, fds=[(ROLE_STDIN, r)])
        l.heard()
        for other in others[:2]:
            l.cancel(other)
            l.finish(other)
        group.put("pids.max", "max")
        too_late = ("spawn_failed", "clone", errno.EAGAIN)  # a busy machine: they wait for 2 s
        ex = l.finish(job)
        assert ex.what() in (("exited", 0), too_late), ex
        os.close(w)
        w = -1
        ex = l.finish(reader)
        assert ex.what() in (("exited", 0), too_late), ex
        for other in others[2:]:
            l.cancel(other)
            l.finish(other)
    finally:
        os.close(r)
        if w >= 0:
            os.close(w)
        group.end(l.children() + [l.proc.pid])


@plain
def it_runs_anew_on_an_older_kernel():
    def connected(**options):
        k = Keeper(**options)
        return k, k.connect()
    k, e = filtered(connected, errno.ENOSYS, CLONE3, CLOSE_RANGE, PIDFD_OPEN)
    assert e.output("echo a")[0] == "a\n"
    assert e.reexec() == 0
    starts_as_ever(e)
    k.close()
