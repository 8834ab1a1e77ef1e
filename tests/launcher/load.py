"""Many jobs, garbage, and the command line."""
import contextlib
import errno
import os
import random
import socket
import struct
import subprocess
from harness import *  # noqa: F403
from records import hello


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
            frame(RUN, run_fields(1 << 40, 1, 0, 0, 0)),
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
    for data in (b"\0", b"x" * 100000, head(RUN, 8), head(HELLO, 16, version=1) + b"\0" * 8,
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
        l.send(frame(RUN, run_fields(job, 1, 1, len(data), 0, roles) + data),
               [null] * n)
        assert l.finish(job).what() == ("spawn_failed", "body", errno.EMFILE)
    os.close(null)
    no_leaks(l, fds)


# ---- the command line ----

@plain
def a_log_that_nobody_reads_stops_nothing():
    r, w = os.pipe()
    try:
        os.set_blocking(w, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(w, b"x" * 4096):
                pass
        os.set_blocking(w, True)
        l = Launcher(stderr=w)
        l.send(b"no frame")
        l.still_works()
        assert l.close() == 0
    finally:
        os.close(r)
        os.close(w)


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
    for args, text in (((), "--engine-fd or --engine-socket is required"), (("--engine-fd", "x"), "takes a number"),
                       (("--engine-fd", "5", "--jobs", "0"), "takes a number"),
                       (("--engine-fd", "5", "--grace", "-1"), "takes a number"),
                       (("--engine-fd", "5", "word"), "unexpected argument: word"),
                       (("--nonsense",), "unknown"),
                       (("--cgroup", "/x"), "--cgroup is not available in this build"),
                       (("--identity", "submitter"), "--identity is not available"),
                       (("--uid-floor", "5"), "--uid-floor is not available"),
                       (("--engine-socket", "x"), "takes an absolute path")):
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
    sock.send(frame(RUN, run_fields(1, 1, 1, len(data), len(env)) + data + env))
    sock.recv(4096)
    ex = Exit(sock.recv(4096))
    assert ex.what() == ("exited", 0), ex
    sock.close()
    assert p.wait(DEADLINE) == 0
