"""How each peer does what slotd does, as its own documentation says to, four at a time, and told
to do it fast: commands (xargs, GNU parallel, task-spooler, nq, asyncio) and queues (beanstalkd,
redis). Each function gives figures as the driver prints them.
"""
import os
import subprocess
import sys
import time

import run

LIMIT = 4
HERE = os.path.dirname(os.path.abspath(__file__))


def shell(count, script, where, **environ):
    """COUNT commands by a shell script, which reads COUNT as $1 and ends when all have ended."""
    environ = {**os.environ, "HOME": where, "TMPDIR": where, "SHELL": "/bin/sh", **environ}
    begun = time.monotonic()
    run.output(["/bin/sh", "-ec", script, "sh", count], cwd=where, env=environ)
    seconds = time.monotonic() - begun
    return {"count": count, "seconds": seconds, "per_s": count / seconds}


def xargs(count, limit=LIMIT):
    with run.directory() as where:
        return shell(count, f'seq "$1" | xargs -P{limit} -n1 /bin/true', where)


def parallel(count):
    with run.directory() as where:
        return shell(count, f'seq "$1" | parallel --will-cite -j{LIMIT} /bin/true', where)


def tsp(count):
    """Submitted by four clients at once, output kept, as slotd does. The last job takes all slots,
    so it begins when every other one has ended."""
    with run.directory() as where:
        environ = {"TS_SOCKET": os.path.join(where, "s"), "TS_MAXFINISHED": str(count)}
        settings = {**os.environ, **environ, "TMPDIR": where}
        run.output(["tsp", "-S", LIMIT], env=settings)
        try:
            return shell(count, f'seq "$1" | xargs -P{LIMIT} -n1 tsp /bin/true >/dev/null; '
                         f'tsp -f -N {LIMIT} /bin/true', where, **environ)
        finally:
            run.output(["tsp", "-K"], env=settings)


def nq(count):
    """An nq directory runs one job at a time; so four of them, a client for each, and -c, with
    which the files of what has ended aren't looked at again."""
    with run.directory() as where:
        return shell(count // LIMIT * LIMIT, f'''
            for q in $(seq {LIMIT}); do
                (export NQDIR=q$q; seq $(($1 / {LIMIT})) | xargs -n1 nq -c -q /bin/true; nq -w) &
            done
            wait''', where)


def asyncio(count):
    return run.figures([sys.executable, os.path.join(HERE, "asyncio_subprocess.py"), count])


def asyncio_actions(count):
    return run.figures([sys.executable, os.path.join(HERE, "asyncio_executor.py"), count])


def beanstalkd(where, durable=False):
    """A server on a unix socket; durable: every put is on the disk before its reply."""
    path = os.path.join(where, "beanstalkd")
    argv = ["beanstalkd", "-l", "unix:" + path, "-z", "65535"]
    if durable:
        argv += ["-b", where, "-f0"]
    return run.Server(argv, path)


def redis(where, durable=False):
    path = os.path.join(where, "redis")
    return run.Server(["redis-server", "--port", "0", "--unixsocket", path, "--dir", where,
                       "--save", "", "--appendonly", "yes" if durable else "no",
                       "--appendfsync", "always"], path)


VERSIONS = {
    "xargs": ["xargs", "--version"],
    "parallel": ["parallel", "--version"],
    "tsp": ["tsp", "-V"],
    "beanstalkd": ["beanstalkd", "-v"],
    "redis-server": ["redis-server", "--version"],
}


def version(program):
    """The first line that it says of itself; nothing if it isn't there."""
    try:
        said = subprocess.run(VERSIONS[program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.strip().splitlines()[0] if said.strip() else program
