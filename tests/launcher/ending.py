"""Nobody waits for another; timeouts, cancels, and the end of the launcher itself."""
import errno
import os
import signal
import time
from harness import *  # noqa: F403
from starting import failure
from trees import grandchildren


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
    assert 0.1 <= time.monotonic() - start < 6
    start = time.monotonic()
    ex = l.finish(l.sh("trap '' TERM; while :; do sleep 60; done", timeout_ms=200, grace_ms=300))
    assert ex.what() == ("signaled", signal.SIGKILL) and ex.cause == CAUSE_TIMEOUT
    assert 0.5 <= time.monotonic() - start < 6


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


# ---- the end ----

@test
def the_engines_end_is_the_jobs_end(l):
    script, pids = grandchildren(l)
    r, w = os.pipe()
    l.sh("trap 'echo termed; exit 0' TERM;" + script + "while :; do sleep 0.01; done",
         stdout=PASSED, fds=[(ROLE_STDOUT, w)])
    os.close(w)
    pids = pids()
    assert l.close() == 0
    assert not [p for p in pids if alive(p)]
    assert os.read(r, 100) == b"termed\n" and os.read(r, 1) == b""
    os.close(r)


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
    r, w = os.pipe()
    for _ in range(50):
        l.sh("echo ran", stdout=PASSED, fds=[(ROLE_STDOUT, w)])
    os.close(w)
    l.sock.close()
    os.kill(l.proc.pid, signal.SIGCONT)
    assert l.proc.wait(DEADLINE) == 0
    assert os.read(r, 100) == b""
    os.close(r)


@test
def term_ends_jobs_and_waits_for_the_acks(l):
    script, pids = grandchildren(l)
    job = l.sh(script + "sleep 1000")
    pids = pids()
    l.proc.send_signal(signal.SIGTERM)
    assert l.finish(l.run(["true"])).what() == ("spawn_failed", "body", errno.ESHUTDOWN)
    ex = l.exit_of(job, ack=False)
    assert ex.what() == ("signaled", signal.SIGTERM) and ex.cause == CAUSE_SHUTDOWN
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
    l.status_expected = -signal.SIGKILL
    wait_for(lambda: not any(alive(p) for p in pids), "the leaders are dead")
