"""Processes that are traced, half dead, many, nameless or named wrongly; and launchers that die."""
import os
import signal
import subprocess
import sys
import time
from harness import *  # noqa: F403

# One that an ordinary user can execute, too.
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def script(l, name, text):
    with open(l.path(name), "w") as f:
        f.write(text)
    os.chmod(l.path(name), 0o755)
    return l.path(name)


def stopped(l):
    """Stops the launcher, so that what follows reaches it in one turn."""
    os.kill(l.proc.pid, signal.SIGSTOP)
    wait_for(lambda: state(l.proc.pid) == "T", "the launcher is stopped")


def resume(l):
    os.kill(l.proc.pid, signal.SIGCONT)


# ---- ends that are hard to see ----

TRACER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
if libc.ptrace(0x4206, int(sys.argv[1]), None, None) < 0:  # PTRACE_SEIZE
    print(ctypes.get_errno(), flush=True)
else:
    print("on", flush=True)
sys.stdin.read()
"""


@test
def a_leader_that_ends_under_a_tracer_is_reaped_when_that_lets_go(l):
    os.mkfifo(l.path("fifo"))
    job = l.sh("echo $$ > %s; read x < %s; exit 6" % (l.path("pid"), l.path("fifo")))
    pid = int(l.until_file("pid"))
    tracer = subprocess.Popen([PYTHON, "-c", TRACER, str(pid)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    try:
        if tracer.stdout.readline() != b"on\n":
            l.cancel(job)
            l.finish(job)
            return "skipped"
        with open(l.path("fifo"), "w") as f:
            f.write("\n")
        wait_for(lambda: state(pid) == "Z", "the leader has ended")
        l.still_works()  # the launcher has been told of the end, and could not see it
        assert not [e for e in l.exits if e.job == job]
    finally:
        tracer.communicate()
    assert l.finish(job, seconds=5).what() == ("exited", 6)


# Its first thread ends; another one stays. C's own exit of a thread, as Python's waits.
HALF_DEAD = """
import ctypes, os, sys, threading, time
if os.fork():
    os._exit(0)
if len(sys.argv) > 2:
    os.setsid()
def stay():
    while True:
        time.sleep(1000)
threading.Thread(target=stay, daemon=True).start()
with open(sys.argv[1], "w") as f:
    f.write("%d\\n" % os.getpid())
ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)
"""


@test
def an_orphan_whose_first_thread_has_ended_is_alive(l):
    program = script(l, "half-dead", HALF_DEAD)
    job = l.sh("%s %s %s; while ! [ -e %s ]; do sleep 0.01; done; exit 1" % (
        PYTHON, program, l.path("pid"), l.path("go")))
    pid = int(l.until_file("pid"))
    wait_for(lambda: state(pid) == "Z", "its first thread has ended")
    assert os.listdir("/proc/%d/task" % pid) != [str(pid)]
    l.still_works()
    open(l.path("go"), "w").close()
    assert l.finish(job, seconds=5).what() == ("exited", 1)
    assert not os.path.exists("/proc/%d" % pid)
    assert l.children() == []


MANY = """
import os, sys, time
zombies, living = map(int, sys.argv[1:3])
for i in range(zombies):
    if os.fork() == 0:
        os._exit(0)
time.sleep(0.05)
for i in range(living):
    if os.fork() == 0:
        os.setsid()
        os.execv("/bin/sleep", ["sleep", "1000"])
with open(sys.argv[3], "w") as f:
    f.write("up\\n")
os._exit(0)
"""


@test
def all_of_many_orphans_are_found_though_many_are_dead(l):
    for i in range(3):
        job = l.run([PYTHON, script(l, "many", MANY), "900", "400", l.path("up")])
        l.until_file("up")
        assert l.finish(job).what() == ("exited", 0)
        assert l.children() == []
        os.unlink(l.path("up"))


# ---- whose is it ----

NAMELESS = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:  # every one lives longer than it takes until the next comes
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            os.execve("/bin/sleep", ["sleep", "0.09"], {})
        time.sleep(0.01)
        os._exit(0)
    time.sleep(0.03)
    with open("%s", "a") as f:
        f.write("\\n")
"""


@test
def a_job_that_makes_nameless_orphans_all_the_time_holds_up_no_other(l):
    job = l.run([PYTHON, "-c", NAMELESS % l.path("up")])
    l.until_file("up")
    for _ in range(5):
        assert l.finish(l.run(["true"]), seconds=2).what() == ("exited", 0)
    l.cancel(job)
    l.finish(job, seconds=5)


# Leaves a daemon with exactly this environment, which it has before it is an orphan.
EXEC = """
import ctypes, os, sys
out, entries = sys.argv[1], [e.encode() for e in sys.argv[2:]]
r, w = os.pipe()  # closed by exec
if os.fork():
    os.close(w)
    os.read(r, 1)
    os._exit(0)
os.setsid()
with open(out, "w") as f:
    f.write("%d\\n" % os.getpid())
argv = (ctypes.c_char_p * 3)(b"sleep", b"1000", None)
envp = (ctypes.c_char_p * (len(entries) + 1))(*entries, None)
ctypes.CDLL(None).execve(b"/bin/sleep", argv, envp)
"""


def leave_daemon(l, name, entries):
    program = script(l, "exec", EXEC)
    os.mkfifo(l.path("fifo"))
    job = l.sh("%s %s %s %s; read x < %s; exit 0" % (
        PYTHON, program, l.path(name), " ".join(entries), l.path("fifo")))
    pid = int(l.until_file(name))
    wait_for(lambda: open("/proc/%d/comm" % pid).read() == "sleep\n", "exec")
    with open(l.path("fifo"), "w") as f:
        f.write("\n")
    return job, pid


@test
def the_first_well_formed_names_in_an_environment_count(l):
    job, pid = leave_daemon(l, "pid", [
        "SLOT_JOB=x", "SLOT_JOB=1", "SLOT_ATTEMPT=4294967296",
        "SLOT_ATTEMPT=1", "SLOT_JOB=2x", "SLOT_ATTEMPT=7", "SLOT_ATTEMPT=8x"])
    assert job == 1
    l.finish(job, seconds=5)
    assert not alive(pid) and l.children() == []


# ---- a cancel that comes late ----

def leave_one_that_ignores_term(l, keep):
    """Ends the leader while the launcher is stopped; its pid."""
    os.mkfifo(l.path("fifo"))
    job = l.sh("(trap '' TERM; echo up > {0}; exec sleep 1000) & echo $! > {1}; echo $$ > {2};"
               "read x < {3}; exit 5".format(*map(l.path, ("up", "left", "pid", "fifo"))),
               keep=keep)
    leader = int(l.until_file("pid"))
    l.until_file("up")
    stopped(l)
    with open(l.path("fifo"), "w") as f:
        f.write("\n")
    wait_for(lambda: state(leader) == "Z", "the leader has ended")
    return job, int(l.until_file("left"))


@test
def a_cancel_that_comes_after_the_end_gives_leftovers_no_grace(l):
    job, left = leave_one_that_ignores_term(l, False)
    l.cancel(job, 60000)
    resume(l)
    ex = l.finish(job, seconds=5)
    assert ex.what() == ("exited", 5) and ex.cause == CAUSE_NONE
    assert not alive(left)


@test
def a_cancel_that_comes_after_the_end_spares_kept_leftovers(l):
    job, left = leave_one_that_ignores_term(l, True)
    l.cancel(job, 0)
    resume(l)
    assert l.finish(job, seconds=5).what() == ("exited", 5)
    l.still_works()
    assert alive(left)
    os.kill(left, signal.SIGKILL)
    wait_for(lambda: not l.children(), "the orphan is reaped")


# ---- on the way to the program ----

@plain
def a_child_that_waits_for_its_input_dies_with_the_launcher():
    l = Launcher()
    os.mkfifo(l.path("fifo"))
    l.run(["cat"], stdin=l.path("fifo"))  # nobody ever writes to it
    wait_for(l.children, "a child")
    pid = l.children()[0]

    def opens():
        with open("/proc/%d/syscall" % pid) as f:
            return f.read().split()[0] in ("257", "2", "56")  # open or openat
    try:
        wait_for(opens, "it opens its input")
    except PermissionError:
        time.sleep(0.2)
    l.proc.kill()
    l.proc.wait()
    try:
        wait_for(lambda: not os.path.exists("/proc/%d" % pid) or not alive(pid), "it dies", 3)
    finally:
        if os.path.exists("/proc/%d" % pid) and alive(pid):
            os.kill(pid, signal.SIGKILL)
        l.sock.close()
        l.messages()
        l.log.close()
        shutil.rmtree(l.dir, ignore_errors=True)


@test
def a_job_with_few_descriptors_has_the_oom_score_of_others(l):
    read = ["cat", "/proc/self/oom_score_adj"]
    usual = l.output(None, argv=read)[0]
    few = l.output(None, argv=read, rlimits=[(7, 4, 4)])[0]  # RLIMIT_NOFILE
    assert usual == few and usual, (usual, few)
