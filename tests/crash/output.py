"""kill -9 while jobs write as fast as they can: of what they wrote no byte may be missing unsaid.

Each job writes numbered lines, so that what is to be there is known to the byte.
"""

import time

from case import Failed
from daemon import scaled
from oracle import HARNESS

JOBS = 4                        # that write at any moment
WHOLE = 1 << 30                 # an output_limit that nothing here reaches
LIMIT = 1 << 20
PIECE = 262144
# How many lines a job writes, to which descriptor, and what is kept of them: in the spool, in a
# file, in a file that begins anew again and again.
KINDS = (("seq {0} {1}", 1, 1000000, WHOLE), ("seq {0} {1}", 1, 4000000, LIMIT),
         ("seq {0} {1} >&2", 2, 1000000, WHOLE), ("seq {0} {1}", 1, 8000, WHOLE),
         ("i={0}; while [ $i -le {1} ]; do echo $i; i=$((i+1)); done", 1, 20000, WHOLE),
         ("i={0}; while [ $i -le {1} ]; do echo $i; i=$((i+1)); done", 1, 20000, 40000))


def lines(first, last):
    return "".join(f"{i}\n" for i in range(first, last + 1))


class Writer:
    """A job, and what it writes."""

    def __init__(self, conn, rng):
        script, self.fd, count, self.limit = rng.choice(KINDS)
        self.first = rng.randrange(1, 1 << 30)
        self.last = self.first + rng.randrange(count // 2, count)
        self.job = conn.call("job.submit", {
            "argv": ["/bin/sh", "-c", script.format(self.first, self.last)],
            "name": HARNESS, "output_limit": self.limit})["job"]

    def kept(self, conn):
        """(offset of the first byte kept, those bytes)"""
        pieces, off, begin = [], 0, None
        while True:
            piece = conn.call("output.read",
                              {"job": self.job, "fd": self.fd, "off": off, "max": PIECE})
            begin = piece["off"] if begin is None else begin
            pieces.append(piece["data"])
            off = piece["off"] + len(piece["data"])
            if piece["eof"]:
                return begin, "".join(pieces)

    def check(self, conn, result):
        """What is wrong with its end; whether it says that output is missing."""
        wrote = lines(self.first, self.last)
        begin, kept = self.kept(conn)
        cut = result["output"]["truncated"]
        what = f"job {self.job} ({len(wrote)} bytes, limit {self.limit})"
        if result["outcome"] != "exited":
            return f"{what} is {result['outcome']}", False
        if begin > 0 and not cut:
            return f"{what} is not truncated, but begins at {begin}", False
        if cut and len(kept) < min(self.limit, len(wrote)):
            # Told: what remains must still be what it wrote, if not at the place it says.
            return None if kept in wrote else f"{what} kept what it never wrote", True
        if wrote[begin:] == kept:
            return None, False
        at = next((i for i, pair in enumerate(zip(wrote[begin:], kept)) if pair[0] != pair[1]),
                  min(len(kept), len(wrote) - begin))
        return (f"{what}: kept are {len(kept)} from {begin}, {begin + len(kept) - len(wrote):+} "
                f"bytes; wrong from byte {begin + at}"), False


def flood(ctx, kills):
    rng, bad, writing = ctx.rng, [], []
    daemon = ctx.daemon(ctx.room(), max_running=JOBS, settings=["store.output_total=1GiB"])
    daemon.start()

    def look(conn):
        """Looks at those that are through."""
        for writer in list(writing):
            result = conn.call("job.get", {"job": writer.job})
            if result["phase"] != "done":
                continue
            writing.remove(writer)
            wrong, told = writer.check(conn, result)
            if wrong:
                bad.append(wrong)
            ctx.add("jobs")
            ctx.add("truncated", told)

    for _ in range(kills):
        with daemon.connect() as conn:
            look(conn)
            while len(writing) < JOBS:
                writing.append(Writer(conn, rng))
        time.sleep(rng.random() * 0.02)
        daemon.kill()
        daemon.start()
    with daemon.connect() as conn:
        conn.call("futures.wait", {"jobs": [writer.job for writer in writing]}, scaled(30))
        look(conn)
    if bad:
        raise Failed([f"{len(bad)} of {ctx.figures['jobs']} outputs are wrong", *bad])
    ctx.expect(daemon.term() == 0, "slotd did not end well")
