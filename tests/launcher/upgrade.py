"""The launcher executes its binary anew, and nobody notices but who asked."""
import errno
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
from harness import *  # noqa: F403
from durable import kept_pipes, read_all


def took_over(k):
    return k.messages().count("took over")


def renew(k, times=1):
    """By HUP, one after the other."""
    for _ in range(times):
        n = took_over(k)
        os.kill(k.proc.pid, signal.SIGHUP)
        wait_for(lambda: took_over(k) > n, "it runs anew")


@keeper
def a_job_started_before_ends_after_with_code_and_usage(k):
    e = k.connect()
    fifo = e.path("fifo")
    os.mkfifo(fifo)
    job = e.sh("i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; read x < %s; exit 5" % fifo)
    e.until(lambda: len(e.children()) == 1, "the job")
    pid, exe = e.children()[0], os.stat("/proc/%d/exe" % k.proc.pid).st_ino
    renew(k)
    assert e.children() == [pid] and os.stat("/proc/%d/exe" % k.proc.pid).st_ino == exe
    with open(fifo, "w") as f:
        f.write("\n")
    ex = e.finish(job)
    assert ex.what() == ("exited", 5) and ex.user_us > 1000 and ex.max_rss_kib > 200
    assert ex.ran_us > ex.user_us
    e.still_works()
    e = k.change(e)
    assert e.held == {}


@keeper
def the_engine_may_ask_for_it_and_keeps_its_connection(k):
    e = k.connect()
    instance = e.welcome[0]
    job = e.sh("sleep 0.2; exit 6")
    assert e.reexec() == 0 and took_over(k) == 1
    assert e.finish(job).what() == ("exited", 6)
    e.hello()
    assert e.welcome[0] == instance and e.pid == k.proc.pid
    # Of any version, and before HELLO: it may be why it is asked.
    e = k.change(e, hello=False)
    e.ask_reexec(version=77)
    e.until(lambda: e.renewed, "RENEWED")
    assert e.renewed == [0]
    e.hello()
    assert e.welcome[0] == instance
    e.still_works()


@test
def one_on_a_socketpair_does_so_too(l):
    job = l.sh("sleep 0.2; exit 6")
    assert l.reexec() == 0
    assert l.finish(job).what() == ("exited", 6)
    l.still_works()


@keeper
def it_does_so_without_an_engine(k):
    e = k.connect()
    instance = e.welcome[0]
    running, ended = kept_pipes(e, "read x; echo $x; exit 3"), e.sh("exit 4")
    e.exit_of(ended, ack=False)
    e.drop()
    k.next_job = e.next_job
    renew(k, 3)
    e = k.connect()
    assert e.welcome[0] == instance and sorted(e.held) == [(running, 1), (ended, 1)]
    fds = e.held[running, 1][1]
    os.write(fds[KEEP_STDIN], b"hi\n")
    assert e.finish(ended).what() == ("exited", 4)
    ex = e.exit_of(running, ack=False)
    assert ex.what() == ("exited", 3) and read_all(fds[KEEP_STDOUT]) == b"hi\n"
    e.ack(running)
    e.still_works()


@keeper
def descriptors_are_neither_lost_nor_left_and_jobs_get_none(k):
    e = k.connect()
    e.still_works()
    before = e.fd_count()
    jobs = [kept_pipes(e, "exec sleep 1000") for _ in range(20)]
    e.until(lambda: len(e.children()) == 20, "the jobs")
    e.still_works()
    during = e.fd_count()
    renew(k, 4)
    e.still_works()
    # One number: the reports' memory is opened once, whoever runs.
    assert e.fd_count() == during, (e.fd_count(), during)
    out, _ = e.output("ls /proc/self/fd")
    assert out.split() == ["0", "1", "2", "3"], out
    for job in jobs:
        e.cancel(job)
    for job in jobs:
        e.finish(job)
    e.still_works()
    assert e.fd_count() == before, (e.fd_count(), before)


@keeper
def what_jobs_inherit_is_the_same_as_before(k):
    script = ("umask; ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj; pwd; "
              "grep -E 'Sig(Ign|Blk|Cgt)' /proc/self/status; cat /proc/$$/stat | cut -d' ' -f4")
    e = k.connect()
    before, _ = e.output(script)
    renew(k, 2)
    after, _ = e.output(script)
    assert before == after, (before, after)


@keeper
def timeouts_and_graces_go_on(k):
    e = k.connect()
    timed = e.sh("trap '' TERM; echo up > %s; while :; do sleep 0.05; done" % e.path("up"),
                 timeout_ms=900, grace_ms=400)
    cancelled = e.sh("trap '' TERM; echo up > %s; while :; do sleep 0.05; done" % e.path("up2"))
    e.until_file("up")
    e.until_file("up2")
    e.cancel(cancelled, 700)
    e.still_works()
    renew(k)
    assert not e.exits
    renew(k)
    ex = e.finish(cancelled, seconds=6)
    assert ex.what() == ("signaled", signal.SIGKILL) and ex.cause == CAUSE_CANCEL
    ex = e.finish(timed, seconds=6)
    assert ex.what() == ("signaled", signal.SIGKILL) and ex.cause == CAUSE_TIMEOUT


@keeper
def a_start_that_fails_in_the_middle_is_told(k):
    e = k.connect()
    os.mkfifo(e.path("fifo"))
    job = e.run(["/no/such/program"], stdin=e.path("fifo"))
    e.until(lambda: len(e.children()) == 1, "it waits for its stdin")
    wait_for(lambda: state(e.children()[0]) == "S", "blocked")
    renew(k)
    with open(e.path("fifo"), "w"):  # comes back when the job has opened it, too
        assert e.finish(job).what() == ("spawn_failed", "exec", errno.ENOENT)


@keeper
def trees_and_orphans_stay_known(k):
    e = k.connect()
    job = e.sh("(setsid sh -c 'trap \"\" TERM; echo $$ > %s; while :; do sleep 1; done' &) ;"
               "(sh -c 'echo $$ > %s; exec sleep 1000' &); exec sleep 1000"
               % (e.path("a"), e.path("b")))
    pids = [int(e.until_file("a")), int(e.until_file("b"))]
    wait_for(lambda: len(e.children()) == 3, "two orphans came to the launcher")
    e.still_works()
    renew(k)
    assert sorted(e.children())[1:] != [] and all(alive(p) for p in pids)
    e.cancel(job, 0)
    assert e.finish(job).what() == ("signaled", signal.SIGKILL)
    assert not any(alive(p) for p in pids) and e.children() == []
    # It is still where orphans come to, and its leaders still die with it.
    job = e.sh("(sh -c 'echo $$ > %s; exec sleep 1000' &); exec sleep 1000" % e.path("c"))
    orphan = int(e.until_file("c"))
    wait_for(lambda: orphan in e.children(), "it came to the launcher")
    leader = [p for p in e.children() if p != orphan][0]
    k.proc.kill()
    k.proc.wait()
    wait_for(lambda: not alive(leader), "the leader died with the launcher")
    os.kill(orphan, signal.SIGKILL)


@keeper
def many_jobs_end_while_it_runs_anew_again_and_again(k):
    e = k.connect()
    rng, started, running = random.Random(5), 0, {}
    e.ceiling(40)
    rounds = 0
    while started < 600 or running:
        while started < 600 and len(running) < 24:
            code = rng.randrange(200)
            script = rng.choice(["exit %d", "sleep 0.0%d; exit %%d" % rng.randrange(1, 9),
                                 "(sleep 0.02 &); exit %d"])
            start = kept_pipes if rng.random() < 0.3 else Engine.sh
            running[start(e, script % code)] = code
            started += 1
        if rng.random() < 0.08:
            os.kill(k.proc.pid, signal.SIGHUP)
            rounds += 1
        e.until(lambda: e.exits, "an exit")
        for ex in e.exits:
            assert ex.what() == ("exited", running.pop(ex.job)), ex
            e.ack(ex.job)
        e.exits.clear()
    e.until(lambda: len(e.gone) == 600, "every GONE")
    assert len(set(e.gone)) == 600
    renew(k)
    e.until(lambda: not e.receive(0.05), "quiet")
    assert rounds > 5 and took_over(k) > 3 and not e.exits
    e.hello()
    assert e.welcome[2] == 0 and e.children() == []


@keeper
def one_engine_after_the_other_while_it_runs_anew(k):
    e, jobs = k.connect(), {}
    for i in range(25):
        for _ in range(3):
            jobs[kept_pipes(e, "echo %d; exit %d" % (i, i))] = i
        e.still_works()  # it has read all three
        os.kill(k.proc.pid, signal.SIGHUP)
        e = k.change(e)
    assert {j for j, _ in e.held} >= set(jobs)
    for job, code in jobs.items():
        assert e.exit_of(job, ack=False).what() == ("exited", code)
        assert read_all(e.held[job, 1][1][KEEP_STDOUT]) == b"%d\n" % code
        e.ack(job)
    e.still_works()


@keeper
def one_that_is_ending_goes_on_ending(k):
    e = k.connect()
    job = e.sh("trap '' TERM; echo up > %s; while :; do sleep 0.05; done" % e.path("up"),
               grace_ms=1000)
    e.until_file("up")
    k.proc.terminate()
    assert e.exit_of(e.run(["true"])).value == errno.ESHUTDOWN
    renew(k)
    assert e.exit_of(e.run(["true"])).value == errno.ESHUTDOWN
    assert e.exit_of(job).what() == ("signaled", signal.SIGKILL)
    assert k.gone_within(DEADLINE)


@keeper
def the_socket_is_watched_afterwards_too(k):
    e = k.connect()
    e.still_works()
    renew(k)
    os.unlink(k.path)
    wait_for(lambda: "deleted" in k.messages(), "it is seen")
    e.drop()
    assert k.gone_within(DEADLINE)


# ---- binaries ----

def with_copy(function):
    """The launcher runs from a copy of its binary, which may be replaced."""
    def run():
        directory = tempfile.mkdtemp(prefix="slot-copy-")
        binary = os.path.join(directory, "slotd-launcher")
        shutil.copy(the_binary(), binary)
        k = Keeper(binary=binary)
        try:
            function(k, binary)
        finally:
            k.close()
            shutil.rmtree(directory)
    run.__name__ = function.__name__
    tests.append(run)


def replace(binary, write):
    """As a package does: beside it, then in its place."""
    write(binary + ".new")
    os.chmod(binary + ".new", 0o755)
    os.rename(binary + ".new", binary)


def script(text):
    def write(path):
        with open(path, "w") as f:
            f.write("#!/bin/sh\n" + text)
    return write


@with_copy
def a_binary_that_was_replaced_is_the_one_that_runs(k, binary):
    e = k.connect()
    job = e.sh("sleep 0.3; exit 2")
    replace(binary, lambda path: shutil.copy(the_binary(), path))
    inode = os.stat(binary).st_ino
    assert e.reexec() == 0
    assert os.stat("/proc/%d/exe" % k.proc.pid).st_ino == inode
    assert os.readlink("/proc/%d/exe" % k.proc.pid) == binary
    assert e.finish(job).what() == ("exited", 2)


@with_copy
def a_binary_that_cannot_take_over_is_left_alone(k, binary):
    e = k.connect()
    job = e.sh("sleep 1; exit 2")
    for write in (script("exit 1\n"), script("kill -9 $$\n"),
                  lambda path: open(path, "w").close(), lambda path: os.mkdir(path)):
        if os.path.isdir(binary):
            os.rmdir(binary)
        else:
            os.unlink(binary)
        write(binary)
        os.chmod(binary, 0o755)
        assert e.reexec() == errno.ENOEXEC
        e.still_works()
    os.rmdir(binary)
    assert e.reexec() == errno.ENOEXEC
    assert k.messages().count("goes on with the binary that runs") == 5 and took_over(k) == 0
    assert e.finish(job).what() == ("exited", 2)
    shutil.copy(the_binary(), binary)
    assert e.reexec() == 0
    e.still_works()


@with_copy
def one_that_is_another_program_is_not_asked_for_more(k, binary):
    replace(binary, script("exit 0\n"))
    e = k.connect()
    job = kept_pipes(e, "read x; exit 4")
    assert e.reexec() == errno.ENOEXEC
    e.close_stdin(job)
    assert e.finish(job).what() == ("exited", 4)
    e.still_works()


@with_copy
def one_that_says_yes_and_then_cannot_be_executed_changes_nothing(k, binary):
    # It is asked, answers, and is gone when it should run.
    replace(binary, script("rm -f %s; exit 43\n" % binary))
    e = k.connect()
    job = kept_pipes(e, "read x; exit 4")
    assert e.reexec() == errno.ENOENT
    out, _ = e.output("ls /proc/self/fd")
    assert out.split() == ["0", "1", "2", "3"], out
    e.close_stdin(job)
    assert e.finish(job).what() == ("exited", 4)
    e.still_works()


@with_copy
def one_that_was_asked_about_another_state_is_asked_again(k, binary):
    """Whether it can take over may depend on an engine that has come meanwhile."""
    asked, go = os.path.join(k.dir, "asked"), os.path.join(k.dir, "go")
    os.mkfifo(go)
    replace(binary, script("echo $* >>%s; test $(wc -l <%s) -gt 1 && exit 1; read x <%s; exit 43\n"
                           % (asked, asked, go)))
    k.next_job = k.connect().next_job  # by now it handles signals
    k.engines[0].drop()
    os.kill(k.proc.pid, signal.SIGHUP)
    wait_for(lambda: os.path.exists(asked), "it is asked")
    e = k.connect()
    job = e.sh("sleep 0.2; exit 4")
    e.heard()
    with open(go, "w") as f:
        f.write("\n")
    wait_for(lambda: "goes on with the binary that runs" in k.messages(), "the second answer")
    with open(asked) as f:
        assert f.read().split() == ["--check-state-fd", "3"] * 2
    assert e.finish(job).what() == ("exited", 4)


@with_copy
def one_that_does_not_answer_delays_nobody(k, binary):
    replace(binary, script("exec sleep 1000\n"))
    e = k.connect()
    e.ask_reexec()
    wait_for(lambda: len(e.children()) == 1, "it is asked")
    for _ in range(5):
        e.still_works()
    e.cancel(e.run(["true"]))
    os.kill(e.children()[0], signal.SIGKILL)
    e.until(lambda: e.renewed, "RENEWED")
    assert e.renewed == [errno.ENOEXEC]
    e.still_works()


@plain
def a_state_that_is_none_is_refused():
    from load import command
    with tempfile.TemporaryFile() as f:
        for data in (b"", b"x" * 10, b"SLOTSTAT" + b"\0" * 8000,
                     b"SLOTSTAT" + struct.pack("=I", 99) + b"\0" * 8000):
            f.seek(0)
            f.truncate()
            f.write(data)
            f.flush()
            code, _, err = command("--check-state-fd", str(f.fileno()), pass_fds=[f.fileno()])
            assert code == 1 and "can't take over" in err, err


@with_copy
def a_state_is_read_with_longer_and_shorter_records_and_damage_does_no_harm(k, binary):
    e = k.connect()
    for _ in range(3):
        kept_pipes(e, "exec sleep 1000")
    e.exit_of(e.sh("exit 1"), ack=False)
    job = e.sh("(setsid sleep 1000 &); exec sleep 1000")
    wait_for(lambda: len(e.children()) == 5, "an orphan, too")
    assert e.signal(job, signal.SIGCONT, TREE) == 0  # it looks for them
    replace(binary, script("cat <&3 >%s; exit 1\n" % e.path("state")))
    assert e.reexec() == errno.ENOEXEC
    with open(e.path("state"), "rb") as f:
        saved = f.read()
    version, _, head_len, job_len, kin_len, ring_len, jobs, adopted, marked, ring = \
        struct.unpack_from("=10I", saved, 8)
    assert (version, jobs, adopted, ring) == (1, 5, 1, 0), saved[:64]

    def check(data):
        with tempfile.TemporaryFile() as f:
            f.write(data)
            f.flush()
            p = subprocess.run([the_binary(), "--check-state-fd", str(f.fileno())],
                               pass_fds=[f.fileno()], capture_output=True, text=True)
        check_said(p.stderr)
        assert p.returncode in (43, 1) and (p.returncode == 43) == (not p.stderr), p
        return p.returncode == 43

    def again(more_head, more_job, more_kin):
        out = bytearray(saved[:head_len] + b"\0" * more_head)
        struct.pack_into("=3I", out, 16, head_len + more_head, job_len + more_job,
                         kin_len + more_kin)
        at = head_len
        for count, size, more in ((jobs, job_len, more_job),
                                  (adopted + marked, kin_len, more_kin)):
            for _ in range(count):
                out += (saved[at:at + size] + b"\0" * max(more, 0))[:size + more]
                at += size
        return bytes(out)
    assert check(saved) and check(again(0, 0, 0)) and check(again(64, 16, 8))
    assert not check(again(64, 16, 8)[:-8]) and not check(again(4, 0, 0))
    assert not check(again(0, -8, 0)) and not check(again(0, 0, -8))  # shorter than ever written
    rng = random.Random(3)
    for _ in range(150):
        data = bytearray(saved)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(128) if rng.random() < 0.5 else rng.randrange(len(data))
            data[at] = rng.choice((0, 255, data[at] ^ 1 << rng.randrange(8)))
        check(bytes(data[:rng.randrange(len(data))]) if rng.random() < 0.1 else bytes(data))


@keeper
def few_descriptors_are_enough_to_go_on(k):
    """At the limit a connection is still taken, and it still runs anew."""
    e = k.connect()
    jobs = [e.run(["sleep", "1000"]) for _ in range(10)]
    e.still_works()
    resource.prlimit(k.proc.pid, resource.RLIMIT_NOFILE, (e.fd_count(), ) * 2)
    e = k.change(e)
    assert len(e.held) == 10
    e = k.change(e)
    for job in jobs:
        e.cancel(job)
        e.finish(job)
