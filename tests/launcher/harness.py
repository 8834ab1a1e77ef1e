"""Drives the real slotd-launcher over a SEQPACKET socketpair, as the engine would.

The frame and body formats are written down here a second time, on purpose: a change of either
side alone makes these tests fail.
"""
import array
import errno
import fcntl
import os
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import traceback

DEADLINE = 20.0  # seconds; only a failure waits this long

VERSION = 2
HELLO, RUN, CANCEL, SIGNAL, ACK, CEILING, STDIN_CLOSED, REEXEC = 1, 2, 3, 4, 5, 6, 16, 17
WELCOME, EXIT, GONE, SIGNALED, HELD, SPEAKS, RENEWED = 64, 65, 66, 67, 80, 81, 82
EXITED, SIGNALED_HOW, SPAWN_FAILED = 0, 1, 2
CAUSE_NONE, CAUSE_TIMEOUT, CAUSE_CANCEL, CAUSE_SHUTDOWN = 0, 1, 2, 3
LEADER, GROUP, TREE = 0, 1, 2
STEPS = ["none", "clone", "setsid", "rlimit", "nice", "identity", "close", "chdir", "stdin",
         "stdout", "stderr", "tty", "exec", "body"]
ROLE_STDIN, ROLE_STDOUT, ROLE_STDERR, ROLE_BODY = 1, 2, 3, 4
KEEP_STDIN, KEEP_STDOUT, KEEP_STDERR = 5, 6, 7
NULL, PASSED, PATH, STDOUT = 0, 1, 2, 3
FLAG_GONE = 1


def head(kind, length, version=VERSION):
    return struct.pack("=HHI", version, kind, length)


def frame(kind, payload=b""):
    return head(kind, 8 + len(payload)) + payload


def field(tag, data=b""):
    return struct.pack("=HHI", tag, 0, len(data)) + data + b"\0" * (-len(data) & 3)


def file_field(tag, kind, path=None, append=False):
    data = struct.pack("=II", kind, append)
    return field(tag, data + (os.fsencode(path) + b"\0" if path else b""))


def body(argv, cwd=None, queue=None, umask=None, nice=None, rlimits=(), stdin=None, stdout=None,
         stderr=None, tty=False, keep=False, timeout_ms=None, grace_ms=None):
    """stdin, stdout, stderr: None, PASSED, STDOUT, a path, or (path, append)."""
    out = field(1, b"".join(os.fsencode(a) + b"\0" for a in argv))
    if cwd:
        out += field(2, os.fsencode(cwd) + b"\0")
    if queue:
        out += field(3, queue.encode() + b"\0")
    if umask is not None:
        out += field(4, struct.pack("=I", umask))
    if nice is not None:
        out += field(5, struct.pack("=i", nice))
    for resource, soft, hard in rlimits:
        out += field(6, struct.pack("=IIQQ", resource, 0, soft, hard))
    for tag, what in ((7, stdin), (8, stdout), (9, stderr)):
        if what in (PASSED, STDOUT):
            out += file_field(tag, what)
        elif what is not None:
            path, append = what if isinstance(what, tuple) else (what, False)
            out += file_field(tag, PATH, path, append)
    if tty:
        out += field(10)
    if keep:
        out += field(11)
    if timeout_ms is not None:
        out += field(12, struct.pack("=q", timeout_ms))
    if grace_ms is not None:
        out += field(13, struct.pack("=q", grace_ms))
    return out


def sealed_memfd(data, seals=0xf):
    fd = os.memfd_create("slot-body", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    fcntl.fcntl(fd, 1033, seals)  # F_ADD_SEALS
    return fd


def run_fields(job, attempt, slots, body_len, env_len, roles=b""):
    return struct.pack("=QIIII7sB", job, attempt, slots, body_len, env_len, roles, 0)


class Exit:
    def __init__(self, data):
        (self.job, self.attempt, self.how, self.cause, step, self.flags, self.value, _,
         self.user_us, self.system_us, self.max_rss_kib, self.ran_us) = struct.unpack_from(
             "=QIBBBBiIqqqq", data, 8)
        self.step = STEPS[step]
        self.at = time.monotonic()

    def what(self):
        if self.how == SPAWN_FAILED:
            return ("spawn_failed", self.step, self.value)
        return ("exited" if self.how == EXITED else "signaled", self.value)

    def __repr__(self):
        return "<exit of %d/%d: %s cause=%d flags=%d>" % (
            self.job, self.attempt, self.what(), self.cause, self.flags)


def the_binary():
    return os.path.join(os.environ["SLOT_BUILD_DIR"], "slotd-launcher")


def check_said(text):
    for sign in ("Sanitizer", "runtime error", "Assertion"):
        assert sign not in text, text


class Engine:
    """One end of a connection to a launcher, of which it knows the process and a directory."""

    def __init__(self, sock, proc, directory, log, hello=True, next_job=1):
        self.sock, self.proc, self.dir, self.log = sock, proc, directory, log
        self.exits, self.gone, self.signaled, self.welcome = [], [], {}, None
        self.held, self.held_late, self.speaks, self.renewed = {}, [], [], []
        self.next_job = next_job
        self.status_expected = 0
        if hello:
            self.hello()

    def hello(self):
        self.drop_held()
        self.welcome = None
        self.send(frame(HELLO, b"\0" * 8))
        self.until(lambda: self.welcome, "WELCOME")

    # -- sending

    def send(self, data, fds=()):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([data], ancillary)

    def run(self, argv, job=None, attempt=1, slots=1, env=("PATH=/usr/bin:/bin",), fds=(),
            memfd=False, raw_body=None, **spec):
        """Starts a job; fds: (role, fd) pairs, which stay ours."""
        if job is None:
            job = self.next_job
            self.next_job += 1
        data = raw_body if raw_body is not None else body(argv, **spec)
        blob = b"".join(os.fsencode(e) + b"\0" for e in env)
        fds = list(fds)
        fixed = lambda roles: run_fields(job, attempt, slots, len(data), len(blob), bytes(roles))
        if memfd:
            fd = sealed_memfd(data + blob)
            fds.append((ROLE_BODY, fd))
            self.send(frame(RUN, fixed([r for r, _ in fds])), [f for _, f in fds])
            os.close(fd)
        else:
            self.send(frame(RUN, fixed([r for r, _ in fds]) + data + blob), [f for _, f in fds])
        return job

    def sh(self, script, **spec):
        return self.run(["sh", "-c", script], **spec)

    def cancel(self, job, grace_ms=0, attempt=1):
        self.send(frame(CANCEL, struct.pack("=QIIq", job, attempt, 0, grace_ms)))

    def signal(self, job, signo, scope=LEADER, token=1, attempt=1):
        self.send(frame(SIGNAL, struct.pack("=QIIQII", job, attempt, signo, token, scope, 0)))
        self.until(lambda: token in self.signaled, "SIGNALED")
        return self.signaled.pop(token)

    def ack(self, *jobs, attempt=1):
        for i in range(0, len(jobs), 16):
            self.send(frame(ACK, b"".join(struct.pack("=QII", j, attempt, 0)
                                          for j in jobs[i:i + 16])))

    def close_stdin(self, job, attempt=1):
        self.send(frame(STDIN_CLOSED, struct.pack("=QII", job, attempt, 0)))

    def ask_reexec(self, version=VERSION):
        self.send(head(REEXEC, 16, version=version) + b"\0" * 8)

    def reexec(self):
        """Asks for it, waits for the answer; the errno."""
        self.ask_reexec()
        self.until(lambda: self.renewed, "RENEWED")
        return self.renewed.pop()

    def heard(self):
        """Comes back when all that was sent before has been read."""
        assert self.signal(1 << 60, 15, token=99) == errno.ESRCH

    def ceiling(self, slots):
        self.send(frame(CEILING, struct.pack("=II", slots, 0)))

    # -- receiving

    def take(self, data, fds=()):
        version, kind, length = struct.unpack_from("=HHI", data)
        assert version == VERSION and length == len(data), data
        assert not fds or kind == HELD
        if kind == WELCOME:
            self.welcome = struct.unpack_from("=QII", data, 8)
            self.pid, _, build = struct.unpack_from("=II32s", data, 24)
            self.build = build.rstrip(b"\0").decode()
        elif kind == HELD:
            job, attempt, slots, roles = struct.unpack_from("=QII3s", data, 8)
            roles = roles.rstrip(b"\0")
            assert len(roles) == len(fds) and (job, attempt) not in self.held
            self.held[job, attempt] = (slots, dict(zip(roles, fds)))
            if self.welcome:
                self.held_late.append(job)
        elif kind == SPEAKS:
            self.speaks.append(version)
        elif kind == RENEWED:
            self.renewed.append(struct.unpack_from("=i", data, 8)[0])
        elif kind == EXIT:
            ex = Exit(data)
            self.exits.append(ex)
            if ex.flags & FLAG_GONE:
                self.gone.append((ex.job, ex.attempt))
        elif kind == GONE:
            self.gone.append(struct.unpack_from("=QI", data, 8))
        elif kind == SIGNALED:
            token, error = struct.unpack_from("=Qi", data, 8)
            self.signaled[token] = error
        else:
            raise AssertionError("frame of type %d" % kind)

    def receive(self, timeout):
        """One frame, or False."""
        if not select.select([self.sock], [], [], max(0, timeout))[0]:
            return False
        data, ancillary, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(4 * 8))
        if not data:
            raise AssertionError("the launcher closed its socket")
        fds = array.array("i")
        for _, kind, payload in ancillary:
            if kind == socket.SCM_RIGHTS:
                fds.frombytes(payload)
        self.take(data, list(fds))
        return True

    def until(self, condition, what, seconds=DEADLINE):
        end = time.monotonic() + seconds
        while not condition():
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError("no %s within %g s" % (what, seconds))
            self.receive(min(left, 0.01))

    def exit_of(self, job, attempt=1, ack=True, seconds=DEADLINE):
        found = []

        def there():
            found[:] = [e for e in self.exits if (e.job, e.attempt) == (job, attempt)]
            return found
        self.until(there, "EXIT of job %d" % job, seconds)
        self.exits.remove(found[0])
        if ack:
            self.ack(job, attempt=attempt)
        return found[0]

    def until_gone(self, job, attempt=1, seconds=DEADLINE):
        self.until(lambda: (job, attempt) in self.gone, "GONE of job %d" % job, seconds)
        self.gone.remove((job, attempt))

    def finish(self, job, **kw):
        """Exit and gone of a job."""
        ex = self.exit_of(job, **kw)
        self.until_gone(job)
        return ex

    def output(self, script, argv=None, **spec):
        """Runs to the end and gives back what it wrote to stdout, and its exit."""
        r, w = os.pipe()
        job = self.run(argv or ["sh", "-c", script], stdout=PASSED,
                       fds=[(ROLE_STDOUT, w)] + list(spec.pop("fds", ())), **spec)
        os.close(w)
        ex = self.finish(job)
        with os.fdopen(r, "rb") as f:
            return f.read().decode(), ex

    # -- looking at it

    def path(self, name):
        return os.path.join(self.dir, name)

    def fd_count(self):
        return len(os.listdir("/proc/%d/fd" % self.proc.pid))

    def children(self):
        return children(self.proc.pid)

    def until_file(self, name):
        """A file that a job wrote a line to."""
        def line():
            try:
                with open(self.path(name)) as f:
                    return f.read().endswith("\n")
            except FileNotFoundError:
                return False
        self.until(line, name)
        with open(self.path(name)) as f:
            return f.read().strip()

    def still_works(self):
        assert self.finish(self.sh("exit 9")).what() == ("exited", 9)

    def messages(self):
        if not self.log.closed:
            self.log.seek(0)
            self.said = self.log.read().decode("latin-1")
        return self.said

    def drop(self):
        """Goes, without a word; for a launcher that outlives it."""
        self.sock.close()
        self.drop_held()

    def drop_held(self):
        for _, fds in self.held.values():
            for fd in fds.values():
                os.close(fd)
        self.held = {}


class Launcher(Engine):
    """One that lives as long as its engine, on a socketpair."""

    def __init__(self, jobs=None, grace=None, hello=True, binary=None, stderr=None):
        sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        args = [binary or the_binary(), "--engine-fd", str(theirs.fileno())]
        if jobs is not None:
            args += ["--jobs", str(jobs)]
        if grace is not None:
            args += ["--grace", str(grace)]
        directory = tempfile.mkdtemp(prefix="slot-launcher-")
        log = open(os.path.join(directory, "log"), "w+b")
        # Python ignores SIGPIPE; that jobs don't is for the launcher to see to.
        proc = subprocess.Popen(args, pass_fds=[theirs.fileno()],
                                stderr=log if stderr is None else stderr,
                                restore_signals=False)
        theirs.close()
        super().__init__(sock, proc, directory, log, hello)

    def close(self):
        """Closes the engine's side; the launcher's exit status."""
        self.sock.close()
        try:
            status = self.proc.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            raise AssertionError("the launcher does not leave")
        finally:
            text = self.messages()
            self.log.close()
            shutil.rmtree(self.dir, ignore_errors=True)
        check_said(text)
        return status


class Keeper:
    """A launcher that listens, and outlives its engines."""

    def __init__(self, jobs=None, grace=None, binary=None, how="fd", directory=None):
        self.dir = directory or tempfile.mkdtemp(prefix="slot-keeper-")
        self.path = os.path.join(self.dir, "launcher.sock")
        self.log = open(os.path.join(self.dir, "log"), "a+b")
        args, fds, prepare = [binary or the_binary()], [], None
        if jobs is not None:
            args += ["--jobs", str(jobs)]
        if grace is not None:
            args += ["--grace", str(grace)]
        if how == "path":
            args += ["--engine-socket", self.path]
        else:
            listener = listener_at(self.path)
            fds = [listener.fileno()]
            if how == "fd":
                args += ["--engine-fd", str(fds[0]), "--engine-socket", self.path]
            else:  # as systemd does it
                args = ["sh", "-c", "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\" "
                        "3<&%d" % fds[0]] + args
        self.proc = subprocess.Popen(args, pass_fds=fds, stderr=self.log, restore_signals=False)
        if fds:
            listener.close()
        else:
            wait_for(lambda: os.path.exists(self.path), "the socket")
        self.engines, self.next_job = [], 1

    def connect(self, hello=True):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(self.path)
        e = Engine(sock, self.proc, self.dir, self.log, hello, self.next_job)
        self.engines.append(e)
        return e

    def change(self, engine, hello=True):
        """Another engine in the place of this one."""
        self.next_job = engine.next_job
        engine.drop()
        return self.connect(hello)

    def messages(self):
        self.log.seek(0)
        return self.log.read().decode("latin-1")

    def gone_within(self, seconds):
        try:
            return self.proc.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return False

    def close(self):
        """Everything that is left goes."""
        for e in self.engines:
            e.drop()
        try:
            if self.proc.poll() is None:
                self.proc.terminate()
                self.proc.send_signal(15)
                self.proc.wait(DEADLINE)
        finally:
            if self.proc.poll() is None:
                self.proc.kill()
                self.proc.wait()
            text = self.messages()
            self.log.close()
            shutil.rmtree(self.dir, ignore_errors=True)
        check_said(text)


def listener_at(path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(8)
    return listener


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            return [int(p) for p in f.read().split()]
    except FileNotFoundError:
        return []


def alive(pid):
    """True for a process that has not ended (a zombie has)."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def state(pid):
    with open("/proc/%d/stat" % pid) as f:
        return f.read().rpartition(")")[2].split()[0]


def wait_for(condition, what, seconds=DEADLINE):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("not within %g s: %s" % (seconds, what))
        select.select([], [], [], 0.002)


tests = []


def test(function=None, **options):
    """Registers a test, which gets a fresh launcher that must leave cleanly afterwards."""
    if function is None:
        return lambda f: test(f, **options)

    def run():
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
        assert l.close() == l.status_expected
        return result
    run.__name__ = function.__name__
    tests.append(run)
    return function


def keeper(function=None, **options):
    """Registers a test, which gets a fresh launcher that outlives its engines."""
    if function is None:
        return lambda f: keeper(f, **options)

    def run():
        k = Keeper(**options)
        try:
            result = function(k)
        except BaseException:
            print(k.messages()[-2000:], end="")
            try:
                k.close()
            except AssertionError:
                pass
            raise
        k.close()
        return result
    run.__name__ = function.__name__
    tests.append(run)
    return function


def plain(function):
    """Registers a test without a launcher of its own."""
    tests.append(function)
    return function


def is_root():
    return os.geteuid() == 0


def run_tests(only=()):
    """Runs the functions; (passed, failed, skipped)."""
    passed = failed = skipped = 0
    for test in tests:
        name = test.__name__
        if only and name not in only:
            continue
        try:
            result = test()
        except Exception:
            failed += 1
            print("FAIL %s\n%s" % (name, traceback.format_exc()), flush=True)
            continue
        if result == "skipped":
            skipped += 1
            print("skip %s" % name, flush=True)
        else:
            passed += 1
            print("ok   %s" % name, flush=True)
    return passed, failed, skipped
