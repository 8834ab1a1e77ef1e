"""What is remembered and what is refused: exits, acknowledgements, limits."""
import errno
import os
import resource
import signal
import time
from harness import *  # noqa: F403


# ---- the record of an exit ----

def hello(l):
    l.hello()


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
def a_second_run_of_a_known_job_is_ignored(l):
    fds = l.fd_count()
    job = l.sh("sleep 0.3; exit 8")
    r, w = os.pipe()
    l.run(["true"], job=job, stdout=PASSED, fds=[(ROLE_STDOUT, w)])
    os.close(w)
    other = l.sh("exit 2", job=job, attempt=2)  # another attempt is another job
    assert l.exit_of(other, attempt=2).what() == ("exited", 2)
    assert os.read(r, 1) == b""  # its descriptors are closed
    os.close(r)
    assert l.exit_of(job, ack=False).what() == ("exited", 8)
    l.run(["true"], job=job)  # known as long as its exit is not acknowledged
    l.still_works()
    assert not l.exits and l.fd_count() == fds
    assert "second RUN of job=%d" % job in l.messages()
    l.ack(job)


@test
def a_job_needs_no_descriptor_of_the_launcher(l):
    soft, hard = resource.prlimit(l.proc.pid, resource.RLIMIT_NOFILE)
    room = l.fd_count()
    # The descriptor of a process has no place; the end of such a job is noticed all the same.
    resource.prlimit(l.proc.pid, resource.RLIMIT_NOFILE, (room, hard))
    assert l.finish(l.sh("exit 1"), seconds=5).what() == ("exited", 1)
    job = l.run(["sleep", "1000"])
    l.cancel(job)
    assert l.finish(job, seconds=5).what() == ("signaled", signal.SIGKILL)
    resource.prlimit(l.proc.pid, resource.RLIMIT_NOFILE, (soft, hard))
    l.still_works()
    assert l.fd_count() == room


@test
def a_start_waits_for_room_among_the_processes(l):
    if is_root():
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
