"""Whole process trees: ended, kept, signalled."""
import errno
import os
import signal
import time
from harness import *  # noqa: F403


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
def a_scrubbed_process_that_was_seen_at_term_is_killed_after_the_grace(l):
    with open(l.path("helper"), "w") as f:
        f.write("#!/bin/sh\ntrap '' TERM\necho $$ > $1\nexec /bin/sleep 1000\n")
    os.chmod(l.path("helper"), 0o755)
    job = l.sh("setsid env -i {0}/helper {0}/pid & wait; exit 0".format(l.dir))
    pid = int(l.until_file("pid"))
    l.cancel(job, 200)
    assert l.exit_of(job).what() == ("signaled", signal.SIGTERM)
    l.until_gone(job, seconds=5)
    assert not alive(pid) and l.children() == []


@test
def the_exit_is_told_at_once_and_what_is_left_is_ended(l):
    start = time.monotonic()
    job = l.sh("sleep 60 & echo $! > %s; exit 3" % l.path("pid"))
    ex = l.exit_of(job)
    assert ex.what() == ("exited", 3) and ex.at - start < 5
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
def orphans_in_the_middle_of_an_exec_are_found(l):
    for _ in range(15):
        jobs = [l.sh("(setsid sleep 1000 &) ; exit 1") for _ in range(20)]
        for job in jobs:
            assert l.finish(job).what() == ("exited", 1)
        assert l.children() == [], [open("/proc/%d/cmdline" % p).read() for p in l.children()]


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
