"""What a job is given, and how a start that fails is told."""
import errno
import os
import resource
import signal
from harness import *  # noqa: F403


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


@plain
def jobs_get_the_file_limit_that_the_launcher_was_given():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        l = Launcher()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    out, _ = l.output("ulimit -Sn")
    assert out.split() == ["200"], out
    assert resource.prlimit(l.proc.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    assert l.close() == 0


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
    if not is_root():
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
        l.send(frame(RUN, run_fields(job, 1, 1, len(data), 0, b"\4")), [fd])
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
