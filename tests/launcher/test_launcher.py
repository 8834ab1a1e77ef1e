#!/usr/bin/env python3
"""What slotd-launcher promises, tried on the real one without an engine.

SLOT_BUILD_DIR names the directory with the binary. As root everything runs a second time as an
ordinary user. Arguments: names of tests to run alone.
"""
import errno
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import *  # noqa: E402,F403

tests = []


def test(function=None, **options):
    """Registers a test, which gets a fresh launcher that must leave cleanly afterwards."""
    if function is None:
        return lambda f: test(f, **options)

    def run():
        status = options.pop("status", 0)
        l = Launcher(**options)
        try:
            result = function(l)
        except BaseException:
            print(l.messages()[-2000:], end="")
            try:
                l.close()
            except AssertionError:
                pass
            raise
        if l.sock.fileno() >= 0:
            assert l.close() == status
        return result
    run.__name__ = function.__name__
    tests.append(run)
    return run


def plain(function):
    tests.append(function)
    return function


ROOT = None  # set in main


# ---- starting and ending ----

@test
def exit_codes_arrive(l):
    for code in (0, 1, 3, 127, 255):
        assert l.finish(l.sh("exit %d" % code)).what() == ("exited", code)


@test
def death_by_signal_arrives(l):
    for sig in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGHUP):
        ex = l.finish(l.sh("ulimit -c 0; kill -%d $$" % sig))
        assert ex.what() == ("signaled", sig) and ex.cause == CAUSE_NONE, ex


@test
def usage_is_measured(l):
    ex = l.finish(l.sh("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"))
    assert 1000 < ex.user_us < 30e6 and ex.max_rss_kib > 200, ex.__dict__
    assert ex.ran_us >= 1000 and ex.system_us >= 0


@test
def exit_and_gone_are_one_frame_when_nothing_is_left(l):
    ex = l.exit_of(l.run(["true"]))
    assert ex.flags & FLAG_GONE


@test
def welcome_tells_instance_and_capacity(l):
    instance, jobs, used = l.welcome
    assert instance != 0 and jobs == 4096 and used == 0
    other = Launcher(jobs=7)
    assert other.welcome[0] != instance and other.welcome[1] == 7
    assert other.close() == 0


@test
def environment_is_the_blob_and_our_names(l):
    r, w = os.pipe()
    l.run(["env"], job=77, attempt=3, queue="night", stdout=PASSED, fds=[(ROLE_STDOUT, w)],
          env=("PATH=/bin:/usr/bin", "A=1", "SLOT_JOB=9", "SLOT_ATTEMPT=9", "SLOT_QUEUE=x",
               "SLOT_JOBS=kept", "B=two words"))
    os.close(w)
    l.exit_of(77, 3)
    with os.fdopen(r) as f:
        lines = sorted(f.read().splitlines())
    assert lines == sorted(["PATH=/bin:/usr/bin", "A=1", "B=two words", "SLOT_JOBS=kept",
                            "SLOT_JOB=77", "SLOT_ATTEMPT=3", "SLOT_QUEUE=night"]), lines


@test
def a_job_has_descriptors_0_1_2_only(l):
    script = "import os\nfor f in range(1024):\n try: os.fstat(f); print(f)\n except OSError: pass"
    for spec in ({}, {"stdin": "/etc/passwd", "stderr": STDOUT}, {"stderr": l.path("err")}):
        out, ex = l.output("", argv=["python3", "-c", script], **spec)
        assert ex.what() == ("exited", 0) and out.split() == ["0", "1", "2"], (out, ex)


@test
def no_descriptor_of_another_job_leaks_while_blocked_before_exec(l):
    os.mkfifo(l.path("fifo"))
    r, w = os.pipe()
    first = l.run(["true"], stdin=l.path("fifo"), stdout=PASSED, fds=[(ROLE_STDOUT, w)])
    blocked = l.run(["true"], stdin=l.path("fifo"))
    os.close(w)
    wait_for(lambda: len(l.children()) == 2 and all(
        os.listdir("/proc/%d/fd" % p) == ["0", "1", "2"] or
        sorted(os.listdir("/proc/%d/fd" % p)) == ["1", "2"] for p in l.children()),
        "only 0, 1, 2 open")
    for job in (first, blocked):
        l.cancel(job)
        l.finish(job)
    os.close(r)


@test
def signals_are_default_and_unblocked(l):
    out, _ = l.output("", argv=["cat", "/proc/self/status"])
    values = dict(line.split(":\t", 1) for line in out.splitlines() if line.startswith("Sig"))
    values = [values[k] for k in ("SigBlk", "SigIgn", "SigCgt")]
    assert all(int(v, 16) == 0 for v in values), out


@test
def a_job_leads_its_own_session(l):
    out, _ = l.output("cut -d' ' -f1,5,6,7,8 /proc/$$/stat; echo $$")
    pid, group, session, tty, tpgid = out.split("\n")[0].split()
    assert pid == group == session == out.split("\n")[1] and tty == "0", out


@test
def umask_rlimits_and_nice_are_set(l):
    out, _ = l.output("umask; ulimit -n; ulimit -c; nice", umask=0o137, nice=7,
                      rlimits=[(resource.RLIMIT_NOFILE, 100, 200), (resource.RLIMIT_CORE, 0, 0)])
    assert out.split() == ["0137", "100", "0", "7"], out
    out, _ = l.output("umask; pwd")
    assert out.split() == ["0022", "/"], out


@test
def jobs_get_the_file_limit_that_the_launcher_was_given(l):
    out, _ = l.output("ulimit -Sn; ulimit -Hn")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    show = lambda v: "unlimited" if v == resource.RLIM_INFINITY else str(v)
    assert out.split() == [show(soft), show(hard)], out


@test
def jobs_have_the_oom_score_that_the_launcher_was_given(l):
    with open("/proc/self/oom_score_adj") as f:
        ours = f.read()
    out, _ = l.output("cat /proc/self/oom_score_adj")
    assert out == ours, out


@test
def files_are_opened_by_the_job(l):
    os.mkdir(l.path("d"))
    with open(l.path("d/in"), "w") as f:
        f.write("hello\n")
    with open(l.path("d/out"), "w") as f:
        f.write("old content\n")
    with open(l.path("d/log"), "w") as f:
        f.write("kept\n")
    ex = l.finish(l.sh("cat; echo problem >&2", cwd=l.path("d"), stdin="in", stdout="out",
                       stderr=("log", True), umask=0o077))
    assert ex.what() == ("exited", 0)
    assert open(l.path("d/out")).read() == "hello\n"
    assert open(l.path("d/log")).read() == "kept\nproblem\n"
    l.finish(l.sh("echo a; echo b >&2", cwd=l.path("d"), stdout="new", stderr=STDOUT,
                  umask=0o077))
    assert open(l.path("d/new")).read() == "a\nb\n"
    assert os.stat(l.path("d/new")).st_mode & 0o777 == 0o600


@test
def passed_descriptors_become_the_streams(l):
    ri, wi = os.pipe()
    re, we = os.pipe()
    os.write(wi, b"through\n")
    os.close(wi)
    r, w = os.pipe()
    job = l.sh("cat; echo oops >&2", stdin=PASSED, stdout=PASSED, stderr=PASSED,
               fds=[(ROLE_STDERR, we), (ROLE_STDIN, ri), (ROLE_STDOUT, w)])
    for fd in (ri, we, w):
        os.close(fd)
    assert l.finish(job).what() == ("exited", 0)
    assert os.read(r, 100) == b"through\n" and os.read(re, 100) == b"oops\n"
    assert os.read(r, 1) == b"" and os.read(re, 1) == b""  # the launcher kept no copy
    os.close(r)
    os.close(re)


@test
def stdout_twice_keeps_both_lines(l):
    out, _ = l.output("echo a; echo b >/dev/stdout")
    assert out == "a\nb\n", out


@test
def a_tty_becomes_the_controlling_terminal(l):
    master, slave = os.openpty()
    job = l.sh("echo up </dev/tty >/dev/tty; cut -d' ' -f6,8 /proc/$$/stat", tty=True,
               stdin=PASSED, stdout=PASSED, fds=[(ROLE_STDIN, slave), (ROLE_STDOUT, slave)])
    os.close(slave)
    ex = l.finish(job)
    lines = os.read(master, 1000).decode().split("\r\n")
    os.close(master)
    session, foreground = lines[1].split()
    assert ex.what() == ("exited", 0) and lines[0] == "up" and session == foreground, lines


# ---- failing to start ----

def failure(l, argv, **spec):
    return l.finish(l.run(argv, **spec)).what()


@test
def each_step_reports_its_failure(l):
    F = lambda step, error: ("spawn_failed", step, error)
    d = l.path("d")
    os.mkdir(d)
    with open(l.path("plain"), "w") as f:
        f.write("no program\n")
    with open(l.path("garbled"), "w") as f:
        f.write("\1\2\3\4")
    os.chmod(l.path("garbled"), 0o755)
    assert failure(l, ["true"], rlimits=[(resource.RLIMIT_NOFILE, 1 << 40, 1 << 40)]) == \
        F("rlimit", errno.EPERM)
    if not ROOT:
        assert failure(l, ["true"], nice=-5) == F("nice", errno.EACCES)
    assert failure(l, ["true"], cwd=l.path("none")) == F("chdir", errno.ENOENT)
    assert failure(l, ["true"], cwd=l.path("plain")) == F("chdir", errno.ENOTDIR)
    assert failure(l, ["true"], stdin=l.path("none")) == F("stdin", errno.ENOENT)
    assert failure(l, ["true"], stdout=d) == F("stdout", errno.EISDIR)
    assert failure(l, ["true"], stderr=l.path("none/file")) == F("stderr", errno.ENOENT)
    r, w = os.pipe()
    assert failure(l, ["true"], tty=True, stdin=PASSED, fds=[(ROLE_STDIN, r)]) == \
        F("tty", errno.ENOTTY)
    os.close(r)
    os.close(w)
    assert failure(l, ["no-such-command"]) == F("exec", errno.ENOENT)
    assert failure(l, ["/no/such/command"]) == F("exec", errno.ENOENT)
    assert failure(l, [""]) == F("exec", errno.ENOENT)
    assert failure(l, [d]) == F("exec", errno.EACCES)
    assert failure(l, [l.path("plain")]) == F("exec", errno.EACCES)
    assert failure(l, [l.path("garbled")]) == F("exec", errno.ENOEXEC)
    assert failure(l, ["true", "x" * 200000], memfd=True) == F("exec", errno.E2BIG)
    assert l.children() == []


@test
def the_search_follows_the_jobs_own_path(l):
    a, b = l.path("a"), l.path("b")
    for d, mode in ((a, 0o644), (b, 0o755)):
        os.mkdir(d)
        with open(d + "/tool", "w") as f:
            f.write("#!/bin/sh\nexit 4\n")
        os.chmod(d + "/tool", mode)
    path = lambda *dirs: ("PATH=" + ":".join(dirs),)
    run = lambda *dirs, **kw: failure(l, ["tool"], env=path(*dirs), **kw)
    assert run(l.path("none"), a, b) == ("exited", 4)        # denied first, found then
    assert run(a, l.path("none")) == ("spawn_failed", "exec", errno.EACCES)
    assert run(l.path("none")) == ("spawn_failed", "exec", errno.ENOENT)
    assert run("x" * 5000, b) == ("exited", 4)
    assert run("", cwd=b) == ("exited", 4)                   # empty: the working directory
    assert run(a, "", cwd=b) == ("exited", 4)
    assert failure(l, ["true"], env=("HOME=/",)) == ("exited", 0)  # no PATH: the usual two
    assert failure(l, ["./tool"], cwd=b, env=()) == ("exited", 4)


@test
def a_script_without_a_known_format_is_not_handed_to_sh(l):
    with open(l.path("script"), "w") as f:
        f.write("exit 0\n")
    os.chmod(l.path("script"), 0o755)
    assert failure(l, [l.path("script")]) == ("spawn_failed", "exec", errno.ENOEXEC)


@test
def large_bodies_come_as_a_sealed_memfd(l):
    big = ["x" * 100] * 2000
    out, ex = l.output("", argv=["sh", "-c", "echo $# ${#1}", "sh"] + big, memfd=True)
    assert out.split() == ["2000", "100"], (out, ex)
    many = ["sh", "-c", "echo $#", "sh"] + [""] * 60000
    out, ex = l.output("", argv=many, memfd=True)
    assert out.split() == ["60000"], (out, ex)
    # and it can't be one that may still change
    data = body(["true"])
    for fd in (sealed_memfd(data, seals=0x4), sealed_memfd(data + b"x"), os.open("/dev/null", 0)):
        job = l.next_job
        l.next_job += 1
        l.send(frame(RUN, struct.pack("=QIIII4sI", job, 1, 1, len(data), 0, b"\4\0\0\0", 0)), [fd])
        os.close(fd)
        assert l.exit_of(job).what() == ("spawn_failed", "body", errno.EINVAL)
    l.still_works()


@test
def a_malformed_body_is_refused(l):
    good = body(["true"], cwd="/", stdout=STDOUT)
    for data in (b"", good[:-1], body([]), body(["true"]) + field(99), body(["true"], cwd="a\0b"),
                 body(["true"], stdout=STDOUT), body(["true"]) + field(1, b"x\0"),
                 body(["true"], umask=0o1000), body(["true"], nice=20),
                 body(["true"], queue="q" * 300), body(["true"], stdin=PASSED),
                 body(["true"], tty=True), body(["true"], timeout_ms=-1)):
        assert l.finish(l.run([], raw_body=data)).what() == ("spawn_failed", "body", errno.EINVAL)
    null = os.open("/dev/null", os.O_RDWR)
    assert l.finish(l.run(["true"], fds=[(ROLE_STDIN, null)])).what() == \
        ("spawn_failed", "body", errno.EINVAL)
    assert l.finish(l.run(["true"], slots=0)).what() == ("spawn_failed", "body", errno.EINVAL)
    os.close(null)
    assert "\n\n" not in l.messages() and "refused job=" in l.messages()
    l.still_works()


# ---- nobody waits for another ----

@test
def jobs_blocked_or_stopped_before_exec_delay_nobody(l):
    os.mkfifo(l.path("fifo"))
    os.mkfifo(l.path("other"))
    blocked = [l.run(["true"], stdin=l.path("fifo")), l.run(["true"], stdout=l.path("other")),
               l.run(["true"], stdin=l.path("fifo"), timeout_ms=300, grace_ms=1000)]
    wait_for(lambda: len(l.children()) == 3, "three children")
    wait_for(lambda: all(state(p) == "S" for p in l.children()), "blocked")
    stopped = l.children()[0]
    os.kill(stopped, signal.SIGSTOP)
    wait_for(lambda: state(stopped) == "T", "stopped")
    # A FIFO is no directory and no program: these fail at once.
    assert failure(l, ["true"], cwd=l.path("fifo")) == ("spawn_failed", "chdir", errno.ENOTDIR)
    assert failure(l, [l.path("fifo")]) == ("spawn_failed", "exec", errno.EACCES)
    for _ in range(20):
        l.still_works()
    ex = l.finish(blocked[2])
    assert ex.what() == ("signaled", signal.SIGTERM) and ex.cause == CAUSE_TIMEOUT, ex
    for job in blocked[:2]:
        l.cancel(job, 5000)
        ex = l.finish(job)
        assert ex.what() == ("signaled", signal.SIGTERM) and ex.cause == CAUSE_CANCEL, ex


@test
def a_blocked_job_goes_on_when_its_file_is_there(l):
    os.mkfifo(l.path("fifo"))
    job = l.sh("read x; exit $x", stdin=l.path("fifo"))
    l.still_works()
    with open(l.path("fifo"), "w") as f:
        f.write("42\n")
    assert l.finish(job).what() == ("exited", 42)


@test
def ending_a_stubborn_tree_delays_nobody(l):
    job = l.sh("trap '' TERM; echo up > %s; while :; do sleep 60; done" % l.path("up"))
    l.until_file("up")
    l.cancel(job, 700)
    for _ in range(20):
        l.still_works()
    assert not [e for e in l.exits if e.job == job]
    assert l.finish(job).what() == ("signaled", signal.SIGKILL)


# ---- time ----

@test
def timeout_is_term_then_grace_then_kill(l):
    start = time.monotonic()
    ex = l.finish(l.run(["sleep", "60"], timeout_ms=100, grace_ms=5000))
    assert ex.what() == ("signaled", signal.SIGTERM) and ex.cause == CAUSE_TIMEOUT
    assert 0.1 <= time.monotonic() - start < 3
    job = l.sh("trap '' TERM; while :; do sleep 60; done", timeout_ms=200, grace_ms=300)
    start = time.monotonic()
    ex = l.finish(job)
    assert ex.what() == ("signaled", signal.SIGKILL) and ex.cause == CAUSE_TIMEOUT
    assert 0.5 <= time.monotonic() - start < 3


@test
def a_job_may_handle_its_timeout(l):
    ex = l.finish(l.sh("trap 'exit 5' TERM; while :; do sleep 0.02; done", timeout_ms=200))
    assert ex.what() == ("exited", 5) and ex.cause == CAUSE_TIMEOUT


@test
def timers_fire_in_order_of_time_not_of_start(l):
    jobs = {l.run(["sleep", "60"], timeout_ms=ms, grace_ms=5000): ms
            for ms in (500, 100, 400, 200, 300)}
    order = []
    for _ in jobs:
        l.until(lambda: l.exits, "an exit")
        order.append(jobs[l.exits[0].job])
        l.ack(l.exits.pop(0).job)
    assert order == sorted(order), order


@test
def cancel_says_so_and_a_later_one_shortens_the_grace(l):
    job = l.sh("trap '' TERM; echo up > %s; while :; do sleep 60; done" % l.path("up"))
    l.until_file("up")
    l.cancel(job, 60000)
    l.still_works()
    l.cancel(job, 100)
    ex = l.finish(job, seconds=5)
    assert ex.what() == ("signaled", signal.SIGKILL) and ex.cause == CAUSE_CANCEL


@test
def cancel_without_grace_kills_at_once(l):
    job = l.sh("trap '' TERM; while :; do sleep 60; done")
    l.cancel(job, 0)
    ex = l.finish(job, seconds=5)
    assert ex.what() == ("signaled", signal.SIGKILL) and ex.cause == CAUSE_CANCEL


@test
def a_stopped_job_takes_its_term(l):
    job = l.run(["sleep", "60"])
    assert l.signal(job, signal.SIGSTOP) == 0
    wait_for(lambda: state(l.children()[0]) == "T", "stopped")
    l.cancel(job, 60000)
    assert l.finish(job, seconds=5).what() == ("signaled", signal.SIGTERM)


@test
def an_end_before_the_cancel_is_no_cancel(l):
    os.mkfifo(l.path("fifo"))
    job = l.sh("read x; exit 4", stdin=l.path("fifo"))
    with open(l.path("fifo"), "w") as f:
        os.kill(l.proc.pid, signal.SIGSTOP)
        wait_for(lambda: state(l.proc.pid) == "T", "the launcher is stopped")
        f.write("\n")
    wait_for(lambda: state(l.children()[0]) == "Z", "the job has ended")
    l.cancel(job, 0)
    os.kill(l.proc.pid, signal.SIGCONT)
    ex = l.finish(job)
    assert ex.what() == ("exited", 4) and ex.cause == CAUSE_NONE


# ---- trees ----

GRANDCHILDREN = """
sleep 1000 & echo $! > {0}/plain
setsid sh -c 'echo $$ > {0}/session; exec sleep 1000' &
(setsid sh -c 'echo $$ > {0}/daemon; exec sleep 1000' </dev/null >/dev/null 2>&1 &)
(sh -c 'echo $$ > {0}/orphan; exec sleep 1000' &)
setsid env -i {1}/env-helper {0}/scrubbed &
"""


def grandchildren(l):
    """A script that starts them, and how to learn their pids."""
    with open(l.path("env-helper"), "w") as f:
        f.write("#!/bin/sh\necho $$ > $1\nexec /bin/sleep 1000\n")
    os.chmod(l.path("env-helper"), 0o755)
    names = ("plain", "session", "daemon", "orphan", "scrubbed")
    return (GRANDCHILDREN.format(l.dir, l.dir), lambda: [int(l.until_file(n)) for n in names])


@test
def cancel_ends_setsid_and_double_forked_grandchildren(l):
    for grace, spec in ((0, {}), (5000, {}), (0, {"keep": True})):
        script, pids = grandchildren(l)
        job = l.sh(script + "wait; sleep 1000", **spec)
        pids = pids()
        assert all(alive(p) for p in pids)
        l.cancel(job, grace)
        l.finish(job, seconds=5)
        assert not [p for p in pids if alive(p)]
        for name in ("plain", "session", "daemon", "orphan", "scrubbed"):
            os.unlink(l.path(name))
    assert l.children() == []


@test
def a_tree_that_ignores_term_is_killed_after_the_grace(l):
    script, pids = grandchildren(l)
    job = l.sh("trap '' TERM;" + script + "while :; do sleep 1000; done")
    pids = pids()
    l.cancel(job, 200)
    ex = l.finish(job, seconds=5)
    assert ex.what() == ("signaled", signal.SIGKILL)
    assert not [p for p in pids if alive(p)]


@test
def the_exit_is_told_at_once_and_what_is_left_is_ended(l):
    start = time.monotonic()
    job = l.sh("sleep 60 & echo $! > %s; exit 3" % l.path("pid"))
    ex = l.exit_of(job)
    assert ex.what() == ("exited", 3) and ex.at - start < 2
    l.until_gone(job, seconds=5)
    assert not alive(int(l.until_file("pid")))
    assert l.children() == []


@test
def leftovers_that_left_session_and_group_are_ended_too(l):
    script, pids = grandchildren(l)
    # Scrubbed of everything and orphaned by the exit itself is out of reach: it stays out here.
    script = "\n".join(line for line in script.split("\n") if "scrubbed" not in line)
    job = l.sh(script + "while ! [ -s {0}/daemon -a -s {0}/orphan -a -s {0}/session ];"
               "do sleep 0.01; done; exit 0".format(l.dir))
    pids = [int(l.until_file(n)) for n in ("plain", "session", "daemon", "orphan")]
    assert l.finish(job, seconds=5).what() == ("exited", 0)
    assert not [p for p in pids if alive(p)]


@test
def leftovers_may_be_kept(l):
    job = l.sh("sleep 1000 & echo $! > %s; exit 3" % l.path("pid"), keep=True)
    ex = l.exit_of(job)
    assert ex.what() == ("exited", 3) and ex.flags & FLAG_GONE
    pid = int(l.until_file("pid"))
    l.still_works()
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not l.children(), "the orphan is reaped")


@test
def kept_leftovers_do_not_hold_later_jobs_up(l):
    pids = []
    for i in range(5):
        l.finish(l.sh("sleep 1000 & echo $! > %s" % l.path("p%d" % i), keep=True))
        pids.append(int(l.until_file("p%d" % i)))
    for _ in range(10):
        assert l.exit_of(l.run(["true"])).flags & FLAG_GONE
    job = l.sh("(setsid sleep 1000 &) ; exit 1")
    assert l.finish(job, seconds=5).what() == ("exited", 1)
    assert all(alive(p) for p in pids)
    for p in pids:
        os.kill(p, signal.SIGKILL)
    wait_for(lambda: not l.children(), "the orphans are reaped")


@test
def an_orphan_of_a_running_job_survives_the_end_of_others(l):
    job = l.sh("(setsid sh -c 'echo $$ > {0}; exec sleep 1000' &); sleep 1000".format(
        l.path("pid")))
    pid = int(l.until_file("pid"))
    for _ in range(5):
        l.still_works()
        l.finish(l.sh("sleep 1000 & exit 0"), seconds=5)
    assert alive(pid)
    l.cancel(job)
    l.finish(job, seconds=5)
    assert not alive(pid)


@test
def the_rest_of_a_tree_has_its_grace_after_the_leaders_end(l):
    job = l.sh("(trap '' TERM; echo up > {0}; exec sleep 1000) & trap 'exit 7' TERM; "
               "while :; do sleep 0.01; done".format(l.path("up")))
    l.until_file("up")
    start = time.monotonic()
    l.cancel(job, 400)
    ex = l.exit_of(job)
    assert ex.what() == ("exited", 7) and ex.cause == CAUSE_CANCEL and not ex.flags & FLAG_GONE
    # The leader is a zombie now; orphans of others are reaped all the same.
    for _ in range(5):
        l.finish(l.sh("sleep 0.01 & exit 0"), seconds=5)
        l.finish(l.sh("(true &) ; exit 0", keep=True), seconds=5)
    l.until_gone(job, seconds=5)
    assert time.monotonic() - start >= 0.4
    assert l.children() == []


@test
def cancel_of_what_an_ended_leader_left_kills_it(l):
    job = l.sh("(trap '' TERM; echo up > {0}; exec sleep 1000) & trap 'exit 7' TERM; "
               "while :; do sleep 0.01; done".format(l.path("up")))
    l.until_file("up")
    l.cancel(job, 60000)
    l.exit_of(job)
    l.cancel(job, 0)
    l.until_gone(job, seconds=5)
    assert l.children() == []


@test
def a_tree_that_forks_all_the_time_is_ended(l):
    script = "f() { while :; do sh -c 'sleep 0.01 & sleep 0.01 & (setsid sleep 0.05 &)'; done; }\n" \
        "f & f & f & echo up > %s; wait" % l.path("up")
    for grace in (0, 100):
        job = l.sh("trap '' TERM\n" + script)
        l.until_file("up")
        l.cancel(job, grace)
        l.finish(job, seconds=10)
        assert l.children() == []
        os.unlink(l.path("up"))


@test
def a_deep_tree_is_ended(l):
    script = "n=$1; if [ $n -gt 0 ]; then setsid sh %s $((n-1)) & else echo up > %s; fi; " \
        "sleep 1000; :\n" % (l.path("deep"), l.path("up"))
    with open(l.path("deep"), "w") as f:
        f.write(script)
    job = l.run(["sh", l.path("deep"), "60"])
    l.until_file("up")
    l.cancel(job)
    l.finish(job, seconds=5)
    assert l.children() == []


# ---- signals ----

@test
def signals_go_to_leader_group_and_tree(l):
    script = "sleep 1000 & a=$!; setsid sleep 1000 & b=$!\n" \
        "trap 'echo usr1 > {0}/usr1' USR1\necho $a $b > {0}/pids\nwhile :; do sleep 0.01; done"
    job = l.sh(script.format(l.dir))
    a, b = map(int, l.until_file("pids").split())
    assert l.signal(job, signal.SIGUSR1, LEADER) == 0
    l.until_file("usr1")
    assert alive(a) and alive(b)
    assert l.signal(job, signal.SIGUSR1, GROUP) == 0
    wait_for(lambda: not alive(a), "the group got it")
    assert alive(b)
    assert l.signal(job, signal.SIGTERM, TREE) == 0
    assert l.finish(job, seconds=5).what() == ("signaled", signal.SIGTERM)
    assert not alive(b)


@test
def signals_that_reach_nobody_say_so(l):
    job = l.run(["sleep", "1000"])
    assert l.signal(job, 0) == errno.EINVAL
    assert l.signal(job, 65) == errno.EINVAL
    assert l.signal(job, 4000000000) == errno.EINVAL
    assert l.signal(job + 1, signal.SIGTERM) == errno.ESRCH
    assert l.signal(job, signal.SIGTERM, attempt=2) == errno.ESRCH
    assert l.signal(job, signal.SIGKILL, GROUP) == 0
    l.exit_of(job, ack=False)
    for scope in (LEADER, GROUP, TREE):
        assert l.signal(job, signal.SIGTERM, scope) == errno.ESRCH


@test
def a_group_signal_right_after_the_start_arrives(l):
    for _ in range(50):
        job = l.run(["sleep", "1000"])
        assert l.signal(job, signal.SIGKILL, GROUP) == 0
        assert l.finish(job).what() == ("signaled", signal.SIGKILL)


# ---- the record of an exit ----

def hello(l):
    l.welcome = None
    l.send(frame(HELLO, b"\0" * 8))
    l.until(lambda: l.welcome, "WELCOME")


@test
def an_exit_is_told_again_until_it_is_acknowledged(l):
    job = l.sh("exit 6")
    l.exit_of(job, ack=False)
    for _ in range(3):
        hello(l)
        assert l.welcome[2] == 1
        again = l.exit_of(job, ack=False)
        assert again.what() == ("exited", 6) and again.flags & FLAG_GONE
    l.ack(job)
    hello(l)
    assert l.welcome[2] == 0
    l.still_works()
    assert not l.exits


@test
def an_ack_before_the_exit_means_nothing(l):
    job = l.sh("sleep 0.1; exit 6")
    l.ack(job, 999)
    l.exit_of(job, ack=False)
    hello(l)
    assert l.exit_of(job).what() == ("exited", 6)


@test
def an_acknowledged_job_is_known_until_its_tree_is_gone(l):
    job = l.sh("(trap '' TERM; echo up > {0}; exec sleep 1000) & trap 'exit 7' TERM; "
               "while :; do sleep 0.01; done".format(l.path("up")))
    l.until_file("up")
    l.cancel(job, 300)
    l.exit_of(job)  # acknowledged
    hello(l)
    assert l.welcome[2] == 1 and not l.exits
    l.until_gone(job, seconds=5)
    hello(l)
    assert l.welcome[2] == 0


# ---- limits ----

@test
def the_ceiling_refuses(l):
    refused = ("spawn_failed", "body", errno.EAGAIN)
    l.ceiling(3)
    first = l.run(["sleep", "1000"], slots=2)
    assert l.finish(l.run(["true"], slots=2)).what() == refused
    second = l.run(["sleep", "1000"], slots=1)
    assert l.finish(l.run(["true"])).what() == refused
    l.ceiling(0)
    assert alive(l.children()[0])  # lowering ends nothing
    l.cancel(first)
    l.exit_of(first, ack=False)    # slots are free with the exit, acknowledged or not
    assert l.finish(l.run(["true"])).what() == refused
    l.ceiling(2)
    assert l.finish(l.run(["true"])).what() == ("exited", 0)
    assert l.finish(l.run(["true"], slots=4294967295)).what() == refused
    l.ack(first)
    l.cancel(second)
    l.finish(second)


@test(jobs=2)
def a_full_table_refuses(l):
    a, b = l.run(["sleep", "1000"]), l.sh("exit 1")
    l.exit_of(b, ack=False)  # still in the table
    assert l.exit_of(l.run(["true"])).what() == ("spawn_failed", "body", errno.EAGAIN)
    l.ack(b)
    l.still_works()
    l.cancel(a)
    l.finish(a)


@test
def a_known_job_is_refused_and_not_touched(l):
    job = l.sh("sleep 0.3; exit 8")
    l.run(["true"], job=job)
    ex = l.exit_of(job, ack=False)
    assert ex.what() == ("spawn_failed", "body", errno.EEXIST) and not ex.flags & FLAG_GONE
    other = l.sh("exit 2", job=job, attempt=2)  # another attempt is another job
    assert l.exit_of(other, attempt=2).what() == ("exited", 2)
    assert l.exit_of(job, ack=False).what() == ("exited", 8)
    l.run(["true"], job=job)  # known as long as its exit is not acknowledged
    assert l.exit_of(job).what() == ("spawn_failed", "body", errno.EEXIST)


@test
def a_clone_that_fails_is_tried_again(l):
    soft, hard = resource.prlimit(l.proc.pid, resource.RLIMIT_NOFILE)
    used = l.fd_count()
    resource.prlimit(l.proc.pid, resource.RLIMIT_NOFILE, (used, hard))
    # No descriptor can be made, so not even the body is kept: said at once.
    assert l.finish(l.sh("exit 1")).what() == ("spawn_failed", "clone", errno.EMFILE)
    resource.prlimit(l.proc.pid, resource.RLIMIT_NOFILE, (soft, hard))
    l.still_works()


def processes_of(uid):
    return sum(1 for p in os.listdir("/proc") if p.isdigit() and
               os.path.exists("/proc/" + p) and os.stat("/proc/" + p).st_uid == uid)


@test
def a_start_waits_for_room_among_the_processes(l):
    if ROOT:
        return "skipped"
    limit = lambda n: resource.prlimit(l.proc.pid, resource.RLIMIT_NPROC, (n, hard))
    soft, hard = resource.prlimit(l.proc.pid, resource.RLIMIT_NPROC)
    running = l.sh("sleep 0.2; exit 4")
    wait_for(l.children, "started")
    limit(0)
    r, w = os.pipe()
    waiting = l.sh("echo there", stdout=PASSED, fds=[(ROLE_STDOUT, w)])
    os.close(w)
    gives_up = l.sh("exit 1")
    cancelled = l.sh("exit 1")
    l.cancel(cancelled, 5000)
    ex = l.finish(cancelled)
    assert ex.what() == ("spawn_failed", "clone", errno.ECANCELED) and ex.cause == CAUSE_CANCEL
    assert l.finish(running).what() == ("exited", 4)  # nobody else waits
    limit(soft)
    assert l.finish(waiting).what() == ("exited", 0)
    assert os.read(r, 100) == b"there\n" and os.read(r, 1) == b""
    os.close(r)
    assert l.finish(gives_up).what() == ("exited", 1)
    limit(0)
    start = time.monotonic()
    assert l.finish(l.sh("exit 1")).what() == ("spawn_failed", "clone", errno.EAGAIN)
    assert 1.5 < time.monotonic() - start < 10
    limit(soft)
    l.still_works()


# ---- the end ----

@test
def the_engines_end_is_the_jobs_end(l):
    script, pids = grandchildren(l)
    l.sh(script + "trap 'echo termed > %s; exit 0' TERM; while :; do sleep 0.01; done" %
         os.path.join("/tmp", "slot-termed-%d" % os.getpid()))
    pids = pids()
    assert l.close() == 0
    assert not [p for p in pids if alive(p)]
    os.unlink("/tmp/slot-termed-%d" % os.getpid())  # it had its TERM


@test(grace=300)
def the_engines_end_waits_only_for_the_grace(l):
    script, pids = grandchildren(l)
    l.sh("trap '' TERM;" + script + "while :; do sleep 1000; done", grace_ms=3600000)
    pids = pids()
    start = time.monotonic()
    assert l.close() == 0
    assert 0.3 <= time.monotonic() - start < 4
    assert not [p for p in pids if alive(p)]


@test
def frames_of_a_dead_engine_are_dropped(l):
    os.kill(l.proc.pid, signal.SIGSTOP)
    wait_for(lambda: state(l.proc.pid) == "T", "stopped")
    for i in range(50):
        l.sh("echo ran > %s" % os.path.join("/tmp", "slot-ran-%d" % os.getpid()))
    l.sock.close()
    os.kill(l.proc.pid, signal.SIGCONT)
    assert l.proc.wait(DEADLINE) == 0
    assert not os.path.exists("/tmp/slot-ran-%d" % os.getpid())


@test
def term_ends_jobs_and_waits_for_the_acks(l):
    script, pids = grandchildren(l)
    job = l.sh(script + "sleep 1000")
    pids = pids()
    l.proc.send_signal(signal.SIGTERM)
    assert l.finish(l.run(["true"])).what() == ("spawn_failed", "body", errno.ESHUTDOWN)
    ex = l.exit_of(job, ack=False)
    assert ex.what() == ("signaled", signal.SIGTERM) and ex.cause == CAUSE_CANCEL
    l.until_gone(job)
    assert l.proc.poll() is None
    l.ack(job)
    assert l.proc.wait(DEADLINE) == 0
    assert not [p for p in pids if alive(p)]


@test
def a_second_term_leaves_no_grace(l):
    job = l.sh("trap '' TERM; echo up > %s; while :; do sleep 1000; done" % l.path("up"))
    l.until_file("up")
    start = time.monotonic()
    l.proc.send_signal(signal.SIGTERM)
    assert l.exit_of(l.run(["true"])).value == errno.ESHUTDOWN  # the first was taken
    l.proc.send_signal(signal.SIGTERM)
    assert l.exit_of(job).what() == ("signaled", signal.SIGKILL)
    assert l.proc.wait(DEADLINE) == 0 and time.monotonic() - start < 4


@test
def other_signals_do_nothing_to_the_launcher(l):
    for sig in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1, signal.SIGQUIT):
        l.proc.send_signal(sig)
    l.still_works()


@test
def a_killed_launcher_takes_its_leaders_with_it(l):
    l.run(["sleep", "1000"])
    l.sh("echo up > %s; exec sleep 1000" % l.path("up"))
    l.until_file("up")
    wait_for(lambda: len(l.children()) == 2, "two leaders")
    wait_for(lambda: all(open("/proc/%d/comm" % p).read() == "sleep\n" for p in l.children()),
             "both at exec")
    pids = l.children()
    l.proc.kill()
    l.proc.wait()
    wait_for(lambda: not any(alive(p) for p in pids), "the leaders are dead")
    l.sock.close()


# ---- load and garbage ----

def no_leaks(l, fds):
    assert l.children() == [], l.children()
    assert l.fd_count() == fds, (fds, os.listdir("/proc/%d/fd" % l.proc.pid))


@test
def five_thousand_jobs_leave_nothing_behind(l):
    fds, started, running = l.fd_count(), 0, set()
    count = int(os.environ.get("SLOT_TEST_JOBS", "5000"))
    l.ceiling(8)
    while started < count or running:
        while started < count and len(running) < 8:
            running.add(l.run(["/bin/true"]))
            started += 1
        l.until(lambda: l.exits, "an exit")
        acks = []
        for ex in l.exits:
            assert ex.what() == ("exited", 0), ex
            running.remove(ex.job)
            acks.append(ex.job)
        l.exits.clear()
        l.ack(*acks)
    l.until(lambda: len(l.gone) == count, "every GONE")
    assert len(set(l.gone)) == count
    hello(l)
    assert l.welcome[2] == 0
    no_leaks(l, fds)


@test
def many_at_once_with_pipes_leave_nothing_behind(l):
    fds = l.fd_count()
    pipes = [os.pipe() for _ in range(150)]
    jobs = {l.sh("echo %d; sleep 0.2; exit %d" % (i, i % 7), stdout=PASSED, stderr=STDOUT,
                 fds=[(ROLE_STDOUT, w)]): (i, r) for i, (r, w) in enumerate(pipes)}
    for _, w in pipes:
        os.close(w)
    for job, (i, r) in jobs.items():
        assert l.finish(job).what() == ("exited", i % 7)
        with os.fdopen(r) as f:
            assert f.read() == "%d\n" % i
    no_leaks(l, fds)


@test
def many_trees_end_at_the_same_time(l):
    fds = l.fd_count()
    jobs = [l.sh("sleep 1000 & (setsid sleep 1000 &) ; sleep 1000") for _ in range(60)]
    wait_for(lambda: len(l.children()) == 120, "leaders and orphans")
    for job in jobs:
        l.cancel(job, random.choice((0, 50, 1000)))
    for job in jobs:
        l.finish(job, seconds=15)
    no_leaks(l, fds)


@test
def an_engine_that_does_not_read_stops_nothing_and_misses_nothing(l):
    l.sock.setblocking(False)
    sent = 0
    try:
        while sent < 20000:
            l.send(frame(SIGNAL, struct.pack("=QIIQII", 5, 1, 15, sent, 0, 0)))
            sent += 1
    except BlockingIOError:
        pass
    assert sent > 100
    l.until(lambda: len(l.signaled) == sent, "every answer")
    assert set(l.signaled.values()) == {errno.ESRCH}
    l.sock.setblocking(True)
    l.signaled.clear()
    l.still_works()


@test
def exits_wait_for_an_engine_that_does_not_read(l):
    count = 600  # more than fit into the socket
    for i in range(count):
        l.sh("exit 1") if i % 50 == 0 else l.run(["no-such-command"])
    wait_for(lambda: not l.children(), "all have ended")
    l.until(lambda: len(l.exits) == count and len(l.gone) == count, "every exit")
    assert len({e.job for e in l.exits}) == count
    l.ack(*[e.job for e in l.exits])
    hello(l)
    assert l.welcome[2] == 0


@test(hello=False)
def nothing_is_done_before_hello(l):
    l.sh("echo ran > %s" % l.path("ran"))
    l.send(frame(HELLO, b"\0" * 8))
    l.until(lambda: l.welcome, "WELCOME")
    l.still_works()
    assert not os.path.exists(l.path("ran")) and not l.exits and "before HELLO" in l.messages()


@test
def garbage_is_ignored(l):
    rng = random.Random(11)
    fds = l.fd_count()
    null = os.open("/dev/null", os.O_RDWR)
    good = [frame(CANCEL, struct.pack("=QIIq", 1 << 40, 1, 0, 5)),
            frame(SIGNAL, struct.pack("=QIIQII", 1 << 40, 1, 15, 1, 0, 0)),
            frame(ACK, struct.pack("=QII", 1 << 40, 1, 0)),
            frame(RUN, struct.pack("=QIIII4sI", 1 << 40, 1, 0, 0, 0, b"\0\0\0\0", 0)),
            frame(CEILING, struct.pack("=II", 100, 0))]
    # No slots in the sample of RUN: whatever becomes of it, it is refused.
    for i in range(3000):
        data = bytearray(rng.choice(good))
        for _ in range(rng.randrange(4)):
            data[rng.randrange(8 if data[2] == RUN else len(data))] ^= 1 << rng.randrange(8)
        data = bytes(data[:rng.randrange(1, len(data) + 1)]) if rng.random() < 0.3 else bytes(data)
        l.send(data, [null] * rng.choice((0, 0, 1, 4)))
        if i % 16 == 0:
            while l.receive(0):
                pass
    for data in (b"\0", b"x" * 100000, head(RUN, 8), head(HELLO, 16, version=2) + b"\0" * 8,
                 frame(WELCOME, b"\0" * 16), frame(EXIT, b"\0" * 56), frame(250, b"hi\x1b[2J\n")):
        l.send(data, [null])
        l.send(data)
    l.ceiling(100)
    os.close(null)
    l.until(lambda: not l.receive(0.05), "quiet")
    l.exits.clear()
    l.gone.clear()
    l.still_works()
    no_leaks(l, fds)
    assert all(c == "\n" or " " <= c <= "~" for c in l.messages())


@test
def descriptors_that_are_not_announced_are_closed(l):
    fds = l.fd_count()
    null = os.open("/dev/null", os.O_RDWR)
    data = body(["true"])
    for roles, n in ((b"\0\0\0\0", 1), (b"\1\0\0\0", 0), (b"\1\2\3\0", 2), (b"\0\0\0\0", 100)):
        job = l.next_job
        l.next_job += 1
        l.send(frame(RUN, struct.pack("=QIIII4sI", job, 1, 1, len(data), 0, roles, 0) + data),
               [null] * n)
        assert l.finish(job).what() == ("spawn_failed", "body", errno.EMFILE)
    os.close(null)
    no_leaks(l, fds)


# ---- the command line ----

def command(*args, **kw):
    binary = os.path.join(os.environ["SLOT_BUILD_DIR"], "slotd-launcher")
    p = subprocess.run([binary] + list(args), capture_output=True, text=True, timeout=DEADLINE,
                       **kw)
    return p.returncode, p.stdout, p.stderr


@plain
def options_are_explained_and_checked():
    code, out, _ = command("--help")
    assert code == 0 and out.startswith("usage: slotd-launcher")
    code, out, _ = command("--version")
    assert code == 0 and out.startswith("slotd-launcher ")
    for args, text in (((), "--engine-fd is required"), (("--engine-fd", "x"), "takes a number"),
                       (("--engine-fd", "5", "--jobs", "0"), "takes a number"),
                       (("--engine-fd", "5", "--grace", "-1"), "takes a number"),
                       (("--engine-fd", "5", "word"), "unexpected argument: word"),
                       (("--nonsense",), "unknown"),
                       (("--cgroup", "/x"), "--cgroup is not available in this build"),
                       (("--identity", "submitter"), "--identity is not available"),
                       (("--uid-floor", "5"), "--uid-floor is not available"),
                       (("--engine-socket", "/x"), "--engine-socket is not available")):
        code, out, err = command(*args)
        assert code == 2 and text in err and not out, (args, code, err)


@plain
def a_descriptor_that_is_no_engine_is_an_error():
    code, _, err = command("--engine-fd", "9")
    assert code == 1 and "--engine-fd" in err
    a, b = socket.socketpair()
    code, _, err = command("--engine-fd", str(b.fileno()), pass_fds=[b.fileno()])
    assert code == 1 and "--engine-fd" in err


@plain
def closed_standard_descriptors_do_no_harm():
    sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    binary = os.path.join(os.environ["SLOT_BUILD_DIR"], "slotd-launcher")
    os.set_inheritable(theirs.fileno(), True)
    p = subprocess.Popen(["sh", "-c", "exec \"$0\" --engine-fd %d <&- >&- 2>&-" %
                          theirs.fileno(), binary], close_fds=False)
    theirs.close()
    sock.settimeout(DEADLINE)
    sock.send(frame(HELLO, b"\0" * 8))
    data = body(["sh", "-c", "[ $(ls -l /proc/$$/fd | grep -c /dev/null) = 3 ]"])
    env = b"PATH=/usr/bin:/bin\0"
    sock.send(frame(RUN, struct.pack("=QIIII4sI", 1, 1, 1, len(data), len(env), b"\0" * 4, 0) +
                    data + env))
    sock.recv(4096)
    ex = Exit(sock.recv(4096))
    assert ex.what() == ("exited", 0), ex
    sock.close()
    assert p.wait(DEADLINE) == 0


# ---- main ----

def as_user(only):
    """All tests once more without privilege; (passed, failed, skipped)."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(r)
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        os.environ["HOME"] = "/"
        os.chdir("/")
        globals()["ROOT"] = False
        result = run_tests(tests, only)
        os.write(w, struct.pack("III", *result))
        os._exit(0)
    os.close(w)
    data = os.read(r, 12)
    os.close(r)
    os.waitpid(pid, 0)
    return struct.unpack("III", data) if len(data) == 12 else (0, 1, 0)


def reachable_by_user(path):
    while True:
        if not os.stat(path).st_mode & 0o001:
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


def main():
    global ROOT
    only = set(sys.argv[1:])
    os.environ.setdefault("SLOT_BUILD_DIR", os.getcwd())
    binary = os.path.join(os.path.abspath(os.environ["SLOT_BUILD_DIR"]), "slotd-launcher")
    ROOT = os.geteuid() == 0
    totals = run_tests(tests, only)
    if ROOT and not reachable_by_user(binary):
        print("an ordinary user can't reach %s: not run as one" % binary)
    elif ROOT:
        print("as an ordinary user:")
        totals = [a + b for a, b in zip(totals, as_user(only))]
    print("%d passed, %d failed" % (totals[0], totals[1]))
    return 1 if totals[1] else 0


if __name__ == "__main__":
    sys.exit(main())
