"""A launcher that listens: jobs outlive the engine, and the next one is told of them."""
import errno
import os
import shutil
import signal
import socket
import tempfile
import time
from harness import *  # noqa: F403
from load import command


def kept_pipes(e, script, **spec):
    """A job with all three pipes; their far ends stay with the launcher alone."""
    stdin_r, stdin_w = os.pipe()
    out_r, out_w = os.pipe()
    err_r, err_w = os.pipe()
    job = e.sh(script, stdin=PASSED, stdout=PASSED, stderr=PASSED, fds=[
        (ROLE_STDIN, stdin_r), (ROLE_STDOUT, out_w), (ROLE_STDERR, err_w),
        (KEEP_STDIN, stdin_w), (KEEP_STDOUT, out_r), (KEEP_STDERR, err_r)], **spec)
    for fd in (stdin_r, stdin_w, out_r, out_w, err_r, err_w):
        os.close(fd)
    return job


def read_all(fd):
    data = b""
    while True:
        chunk = os.read(fd, 65536)
        if not chunk:
            return data
        data += chunk


# ---- inventory ----

@keeper
def jobs_outlive_the_engine_and_are_told_to_the_next(k):
    e = k.connect()
    assert e.held == {} and e.pid == k.proc.pid
    instance = e.welcome[0]
    short, long = e.sh("sleep 0.1; exit 3"), e.sh("read x; exit 4", stdin=k.path + ".fifo",
                                                   slots=3)
    os.mkfifo(k.path + ".fifo")
    wait_for(lambda: len(e.children()) == 2, "two jobs")
    e = k.change(e)
    assert e.welcome[0] == instance and e.welcome[2] == 2
    assert e.held == {(short, 1): (1, {}), (long, 1): (3, {})} and not e.held_late
    ex = e.exit_of(short)
    assert ex.what() == ("exited", 3) and ex.cause == CAUSE_NONE and ex.ran_us > 50000
    e.until_gone(short)
    with open(k.path + ".fifo", "w") as f:
        f.write("\n")
    assert e.finish(long).what() in (("exited", 4), ("spawn_failed", "stdin", errno.ENOENT))
    e.still_works()
    e = k.change(e)
    assert e.held == {} and e.welcome[2] == 0


@keeper
def an_exit_without_an_engine_is_told_with_its_usage_until_it_is_acknowledged(k):
    e = k.connect()
    job = e.sh("i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; exit 6")
    e.heard()
    e = k.change(e, hello=False)
    wait_for(lambda: not e.children(), "the job has ended")
    e.hello()
    for _ in range(3):
        assert e.held == {(job, 1): (1, {})}
        ex = e.exit_of(job, ack=False)
        assert ex.what() == ("exited", 6) and ex.flags & FLAG_GONE
        assert ex.user_us > 1000 and ex.max_rss_kib > 200
        e = k.change(e)
    e.exit_of(job)
    e = k.change(e)
    assert e.held == {} and not e.exits


@keeper
def acknowledgements_and_cancels_that_were_under_way_count_but_no_start_does(k):
    e = k.connect()
    done, running = e.sh("exit 1"), e.sh("exec sleep 1000")
    e.heard()
    e.exit_of(done, ack=False)
    os.kill(k.proc.pid, signal.SIGSTOP)
    wait_for(lambda: state(k.proc.pid) == "T", "stopped")
    e.ack(done)
    e.cancel(running, 5000)
    for _ in range(40):
        e.sh("echo ran > %s" % e.path("ran"))
    e.drop()
    os.kill(k.proc.pid, signal.SIGCONT)
    k.next_job = e.next_job
    e = k.connect()
    assert list(e.held) == [(running, 1)]
    ex = e.finish(running)
    assert ex.what() == ("signaled", signal.SIGTERM) and ex.cause == CAUSE_CANCEL
    e.still_works()
    assert not os.path.exists(e.path("ran"))


@keeper
def a_job_that_it_knows_is_not_started_again(k):
    e = k.connect()
    job = e.sh("exit 1")
    e.exit_of(job, ack=False)
    e = k.change(e)
    e.sh("echo ran > %s" % e.path("ran"), job=job)
    assert e.exit_of(job).what() == ("exited", 1)
    e.until_gone(job)
    again = e.sh("exit 2", job=job, attempt=2)
    assert e.exit_of(again, attempt=2).what() == ("exited", 2)
    assert not os.path.exists(e.path("ran"))


@keeper(jobs=600)
def a_full_table_is_told_whole_and_in_order(k):
    e = k.connect()
    jobs = [kept_pipes(e, "exit 5") for _ in range(300)] + [e.sh("exit 5") for _ in range(200)]
    e.until(lambda: len(e.exits) == 500, "every exit")
    e = k.change(e)
    assert sorted(j for j, _ in e.held) == jobs and not e.held_late
    assert e.welcome[1:] == (600, 500)
    for job in jobs[:300]:
        assert sorted(e.held[job, 1][1]) == [KEEP_STDIN, KEEP_STDOUT, KEEP_STDERR]
    e.until(lambda: len(e.exits) == 500, "every exit again")
    e.ack(*jobs)
    fds = e.fd_count()
    e = k.change(e)
    assert e.held == {} and e.fd_count() < 40 < fds + 1000


@keeper
def the_ceiling_stays(k):
    e = k.connect()
    e.ceiling(2)
    jobs = [e.run(["sleep", "1000"]) for _ in range(2)]
    e.heard()
    e = k.change(e)
    assert e.finish(e.run(["true"])).what() == ("spawn_failed", "body", errno.EAGAIN)
    e.ceiling(3)
    e.still_works()
    for job in jobs:
        e.cancel(job)
        e.finish(job)


@keeper
def timeout_and_grace_go_on_without_an_engine(k):
    e = k.connect()
    script = "trap '' TERM; echo up > %s; while :; do sleep 0.05; done"
    timed = e.sh(script % e.path("up"), timeout_ms=800, grace_ms=200)
    cancelled = e.sh(script % e.path("up2"))
    e.until_file("up")
    e.until_file("up2")
    e.cancel(cancelled, 300)
    e.heard()
    children = e.children()
    e.drop()
    wait_for(lambda: not any(alive(p) for p in children), "both were killed")
    e = k.connect()
    ex = e.finish(timed)
    assert ex.what() == ("signaled", signal.SIGKILL) and ex.cause == CAUSE_TIMEOUT
    ex = e.finish(cancelled)
    assert ex.what() == ("signaled", signal.SIGKILL) and ex.cause == CAUSE_CANCEL, ex


# ---- pipes ----

@keeper
def pipes_are_kept_and_handed_over(k):
    e = k.connect()
    job = kept_pipes(e, "read x; echo out $x; echo err $x >&2; read y; echo $y; exit 7")
    e.until(lambda: len(e.children()) == 1, "the job")
    e = k.change(e)
    slots, fds = e.held[job, 1]
    assert slots == 1 and sorted(fds) == [KEEP_STDIN, KEEP_STDOUT, KEEP_STDERR]
    os.write(fds[KEEP_STDIN], b"one\n")
    assert os.read(fds[KEEP_STDOUT], 100) == b"out one\n"
    e = k.change(e)
    fds = e.held[job, 1][1]
    os.write(fds[KEEP_STDIN], b"two\n")
    ex = e.exit_of(job, ack=False)
    assert ex.what() == ("exited", 7)
    e = k.change(e)  # what it wrote is still there
    fds = e.held[job, 1][1]
    assert read_all(fds[KEEP_STDOUT]) == b"two\n" and read_all(fds[KEEP_STDERR]) == b"err one\n"
    before = e.fd_count()
    e.exit_of(job)
    e.still_works()
    assert e.fd_count() == before - 3


@keeper
def a_job_waits_at_a_full_pipe_and_gets_no_sigpipe(k):
    e = k.connect()
    job = kept_pipes(e, "head -c 300000 /dev/zero; exit 3")
    wait_for(lambda: len(e.children()) == 1, "the job")
    pid = e.children()[0]
    e.drop()
    wait_for(lambda: any(state(p) == "S" for p in children(pid)), "head is blocked")
    e = k.connect()
    assert len(read_all(e.held[job, 1][1][KEEP_STDOUT])) == 300000
    assert e.finish(job).what() == ("exited", 3)


@keeper
def stdin_ends_when_the_engine_says_so(k):
    e = k.connect()
    r, w = os.pipe()
    job = e.sh("cat >/dev/null; exit 8", stdin=PASSED, fds=[(ROLE_STDIN, r), (KEEP_STDIN, w)])
    os.close(r)
    os.write(w, b"x" * 1000)
    os.close(w)
    e.still_works()
    assert not [x for x in e.exits if x.job == job]
    e.close_stdin(job)
    e.close_stdin(job)
    e.close_stdin(12345)
    assert e.finish(job).what() == ("exited", 8)
    # One that was closed is not handed over.
    job = kept_pipes(e, "cat; exec sleep 1000")
    e.close_stdin(job)
    e.heard()
    e = k.change(e)
    fds = e.held[job, 1][1]
    assert sorted(fds) == [KEEP_STDOUT, KEEP_STDERR]
    e.cancel(job)
    e.finish(job)


@keeper
def what_was_kept_of_refused_starts_is_closed(k):
    e = k.connect()
    before = e.fd_count()
    e.ceiling(0)
    for _ in range(20):
        assert e.finish(kept_pipes(e, "exit 0")).what() == ("spawn_failed", "body", errno.EAGAIN)
    e.ceiling(100)
    job = kept_pipes(e, "exit 0", cwd="/no/such/directory")
    assert e.finish(job).what() == ("spawn_failed", "chdir", errno.ENOENT)
    e.still_works()
    assert e.fd_count() == before


# ---- connections ----

@keeper
def one_engine_at_a_time(k):
    first = k.connect()
    second = k.connect(hello=False)
    second.send(frame(HELLO, b"\0" * 8))
    job = first.sh("exit 3")
    first.exit_of(job, ack=False)
    assert not second.receive(0.2)
    first.drop()
    second.until(lambda: second.welcome, "WELCOME")
    assert list(second.held) == [(job, 1)]
    assert second.exit_of(job).what() == ("exited", 3)


@keeper
def engines_that_come_and_go_lose_nothing(k):
    jobs, ended = set(), {}
    e = k.connect()
    for i in range(60):
        for _ in range(5):
            jobs.add(e.sh("exit %d" % (i % 5)))
        if i % 3 == 0:
            e.until(lambda: e.exits, "an exit")
        elif i % 3 == 1:
            e.heard()
        if i % 7 == 0:
            e = k.change(e, hello=False)  # says nothing, and goes again
        # Starts that were not read are not done: the next engine sees which.
        e = k.change(e)
        jobs &= {j for j, _ in e.held} | set(ended)
        while e.receive(0):
            pass
        for ex in e.exits:
            assert ended.setdefault(ex.job, ex.what()) == ex.what()
    for job in jobs - set(ended):
        ended[job] = e.exit_of(job).what()
    assert len(jobs) > 100 and all(what[0] == "exited" for what in ended.values())


@keeper
def only_hello_counts_at_first_from_each(k):
    e = k.connect()
    e = k.change(e, hello=False)
    e.sh("echo ran > %s" % e.path("ran"))
    e.hello()
    e.still_works()
    assert not os.path.exists(e.path("ran")) and "before HELLO" in k.messages()


@keeper
def a_frame_of_another_version_is_answered(k):
    e = k.connect(hello=False)
    e.send(head(HELLO, 16, version=9) + b"\0" * 8)
    e.until(lambda: e.speaks, "SPEAKS")
    assert e.speaks == [VERSION] and not e.welcome
    e.hello()
    e.still_works()


@plain
def a_connection_of_another_user_is_refused():
    if not is_root():
        return "skipped"
    k = Keeper()
    try:
        os.chmod(k.dir, 0o711)
        os.chmod(k.path, 0o666)
        pid = os.fork()
        if pid == 0:
            os.setresuid(65534, 65534, 65534)
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.settimeout(DEADLINE)
            s.connect(k.path)
            try:
                s.send(frame(HELLO, b"\0" * 8))
                data = s.recv(4096)
            except OSError:
                data = b""
            os._exit(len(data) > 0)
        assert os.waitpid(pid, 0)[1] == 0
        assert "another user" in k.messages()
        k.connect().still_works()
    finally:
        k.close()


@keeper(how="path")
def it_makes_its_own_socket(k):
    assert os.stat(k.path).st_mode & 0o7777 == 0o600
    e = k.connect()
    e.still_works()
    code, _, err = command("--engine-socket", k.path)
    assert code == 1 and "in use" in err, err


@plain
def a_stale_socket_is_replaced_and_anything_else_is_not():
    directory = tempfile.mkdtemp(prefix="slot-keeper-")
    path = os.path.join(directory, "launcher.sock")
    with open(path, "w") as f:
        f.write("mine")
    code, _, err = command("--engine-socket", path)
    assert code == 1 and "non-socket" in err, err
    with open(path) as f:
        assert f.read() == "mine"
    os.unlink(path)
    os.chmod(directory, 0o755)
    code, _, err = command("--engine-socket", path)
    assert code == 1 and "not permitted" in err, err
    os.chmod(directory, 0o700)
    listener_at(path).close()
    inode = os.stat(path).st_ino
    k = Keeper(how="path", directory=directory)
    wait_for(lambda: os.stat(path).st_ino != inode, "the new socket")
    k.connect().still_works()
    assert sorted(os.listdir(directory)) == ["launcher.sock", "log"]
    k.close()


@plain
def a_path_may_be_long():
    base = tempfile.mkdtemp(prefix="slot-keeper-")
    directory = os.path.join(base, *["d" * 50] * 5)
    os.makedirs(directory, 0o700)
    k = Keeper(how="path", directory=directory)
    at = os.open(directory, os.O_PATH)
    k.path = "/proc/self/fd/%d/launcher.sock" % at
    e = k.connect()
    e.still_works()
    os.unlink(k.path)
    wait_for(lambda: "deleted" in k.messages(), "it is seen")
    e.drop()
    assert k.gone_within(DEADLINE)
    os.close(at)
    k.close()
    shutil.rmtree(base)


@keeper(how="systemd")
def a_socket_that_systemd_passes_is_as_good(k):
    e = k.connect()
    out, _ = e.output("env | grep -c LISTEN_; ls /proc/self/fd | wc -l")
    assert out.split() == ["0", "4"], out
    job = e.sh("exit 3")
    e = k.change(e)
    if (job, 1) in e.held:
        assert e.finish(job).what() == ("exited", 3)
    e.still_works()


# ---- leaving ----

@keeper
def it_leaves_when_nobody_needs_it(k):
    e = k.connect()
    job = e.sh("sleep 0.3; exit 1")
    e.heard()
    e = k.change(e)
    e.exit_of(job, ack=False)
    e.drop()
    # Nobody has acknowledged: it stays, however long.
    assert not k.gone_within(3)
    e = k.connect()
    e.exit_of(job)
    e.still_works()
    e.drop()
    start = time.monotonic()
    assert k.gone_within(DEADLINE)
    assert 1.5 < time.monotonic() - start < 10


@keeper
def an_engine_that_comes_back_soon_finds_it(k):
    e = k.connect()
    instance = e.welcome[0]
    for _ in range(3):
        time.sleep(1.2)
        e = k.change(e)
        assert e.welcome[0] == instance
    e.still_works()


@keeper
def one_that_no_engine_ever_uses_leaves(k):
    assert k.gone_within(DEADLINE)


@keeper(grace=300)
def without_its_socket_it_ends_its_jobs_and_leaves(k):
    e = k.connect()
    up = k.path + ".up"
    polite = e.sh("exec sleep 1000")
    stubborn = e.sh("trap '' TERM; echo up > %s; while :; do sleep 0.1; done" % up)
    e.until(lambda: os.path.exists(up), "its trap is set")
    e.until(lambda: len(e.children()) == 2, "two jobs")
    pids = e.children()
    e.still_works()
    os.unlink(k.path)
    ex = e.exit_of(polite)
    assert ex.what() == ("signaled", signal.SIGTERM) and ex.cause == CAUSE_SHUTDOWN
    assert e.exit_of(stubborn).what() == ("signaled", signal.SIGKILL)
    assert k.gone_within(DEADLINE)
    assert not any(alive(p) for p in pids)


@keeper(grace=300)
def without_its_socket_and_engine_it_waits_for_no_ack(k):
    e = k.connect()
    e.sh("exec sleep 1000")
    e.until(lambda: len(e.children()) == 1, "a job")
    pids = e.children()
    e.drop()
    fresh = listener_at(k.path + ".other")
    start = time.monotonic()
    os.rename(k.path + ".other", k.path)
    assert k.gone_within(DEADLINE) and time.monotonic() - start < 4
    assert not any(alive(p) for p in pids)
    fresh.close()


@keeper
def its_directory_may_be_moved_and_filled(k):
    e = k.connect()
    job = e.sh("exec sleep 1000")
    e.still_works()
    for i in range(10):
        open(e.path("file%d" % i), "w").close()
    moved = k.dir + ".moved"
    os.rename(k.dir, moved)
    os.chmod(os.path.join(moved, "launcher.sock"), 0o600)
    e.still_works()
    os.rename(moved, k.dir)
    e = k.change(e)
    assert list(e.held) == [(job, 1)]
    e.cancel(job)
    e.finish(job)


@keeper(grace=500)
def term_ends_jobs_and_waits_a_while_for_acks(k):
    e = k.connect()
    job = e.sh("exec sleep 1000")
    e.until(lambda: len(e.children()) == 1, "a job")
    e = k.change(e, hello=False)
    e.drop()
    k.proc.terminate()
    wait_for(lambda: not children(k.proc.pid), "the job has ended")
    e = k.connect()
    ex = e.exit_of(job, ack=False)
    assert ex.what() == ("signaled", signal.SIGTERM) and ex.cause == CAUSE_SHUTDOWN
    assert e.exit_of(e.run(["true"])).value == errno.ESHUTDOWN
    e.ack(job)
    assert k.gone_within(2)


@keeper(grace=500)
def term_waits_at_most_five_seconds(k):
    e = k.connect()
    e.exit_of(e.sh("exit 1"), ack=False)
    start = time.monotonic()
    k.proc.terminate()
    assert k.gone_within(DEADLINE) and 3 < time.monotonic() - start < 8


@keeper
def killed_it_takes_its_leaders_along_and_the_next_begins_anew(k):
    e = k.connect()
    instance = e.welcome[0]
    e.sh("echo up > %s; exec sleep 1000" % e.path("up"))
    e.until_file("up")
    pids = e.children()
    k.proc.kill()
    k.proc.wait()
    wait_for(lambda: not any(alive(p) for p in pids), "the leader is dead")
    e.drop()
    os.unlink(k.path)
    again = Keeper(how="path", directory=k.dir)
    e = again.connect()
    assert e.welcome[0] != instance and e.held == {}
    e.still_works()
    e.drop()
    again.proc.terminate()
    assert again.gone_within(DEADLINE)
