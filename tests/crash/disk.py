"""Power cuts on an ext4 image, and a full disk on a small tmpfs.  Both need root.

A power cut is EXT4_IOC_SHUTDOWN without a flush of the journal, after which nothing that was not
synced before reaches the image.  Only what was acknowledged before the ioctl counts: an fsync
that overlaps it may say 0 and still lose its data.
"""

import fcntl
import os
import shutil
import struct
import subprocess
import time
import uuid

from case import Failed, Skip, mount, own_mounts, umount, MS_BIND
from daemon import NotReady, proc, reap, until
from kills import SETTINGS, baseline, in_rounds, judge
from load import Load
from oracle import HARNESS
from wire import RpcError

EXT4_IOC_SHUTDOWN = 0x8004587D      # _IOR('X', 125, __u32)
NOLOGFLUSH = 2
IMAGE_BYTES = 48 << 20
CUTS_AN_IMAGE = 25
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def tool(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Skip(f"{argv[0]}: {done.stderr.strip() or done.stdout.strip()}")


class Machine:
    """A disk that can lose its power, and a boot id that changes with every boot."""

    def __init__(self, tmp):
        self.image = tmp / "image"
        self.disk = tmp / "disk"
        self.disk.mkdir()
        self.boot_id = tmp / "boot_id"
        self.boot_id.write_text(f"{uuid.uuid4()}\n")
        for name in ("mkfs.ext4", "mount"):
            if not shutil.which(name):
                raise Skip(f"no {name}")
        with open(self.image, "wb") as f:
            f.truncate(IMAGE_BYTES)
        tool("mkfs.ext4", "-q", "-F", "-m", "0", str(self.image))
        # In this process's own mount namespace: nobody else sees another boot id.
        mount(str(self.boot_id), BOOT_ID, MS_BIND)
        self.mount_disk()

    def mount_disk(self):
        tool("mount", "-o", "loop", str(self.image), str(self.disk))

    def cut(self):
        fd = os.open(self.disk, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        except OSError as exc:
            raise Skip(f"EXT4_IOC_SHUTDOWN: {exc}") from exc
        finally:
            os.close(fd)

    def boot(self):
        def unmounted():
            try:
                umount(self.disk)
                return True
            except OSError:
                return False
        until(unmounted, 10, "umount after the power cut")
        self.boot_id.write_text(f"{uuid.uuid4()}\n")
        self.mount_disk()

    def scrap(self):
        try:
            umount(self.disk)
        except OSError:
            pass
        try:
            umount(BOOT_ID)
        except OSError:
            pass
        self.image.unlink(missing_ok=True)


def power_cut(machine, daemon, board):
    """Off and on again; slotd is not started."""
    with board.lock:
        board.off = True
        board.epoch += 1
        board.mark("cut")
        machine.cut()
        board.killed("reboot")
    daemon.kill()
    daemon.kill_launcher()

    def dead():
        reap([daemon.pid])
        return not any(proc.is_running(p) for p in proc.descendants(os.getpid()))
    until(dead, 10, "death of all processes")
    machine.boot()
    board.mark("up")
    board.off = False


def cut_round(ctx, seed, cuts, durability):
    """Load on one image with so many power cuts; raises Failed with what the oracle says."""
    tmp = ctx.room()
    machine = Machine(tmp)
    try:
        daemon = ctx.daemon(tmp, state=machine.disk / "state", settings=SETTINGS,
                            durability=durability)
        daemon.start()
        before = baseline(daemon)
        load = ctx.load(Load(tmp, daemon, ctx.program, seed, clients=3, limit=100)).start()
        for _ in range(cuts):
            time.sleep(0.02 + ctx.rng.random() * 0.15)
            power_cut(machine, daemon, load.board)
            ctx.add("cuts")
            daemon.start()
        judge(ctx, load, before)
    finally:
        for load in ctx.loads[-1:]:
            load.stop()
        for daemon in ctx.daemons[-1:]:
            daemon.destroy()
        machine.scrap()


def cut_many(ctx, cuts):
    own_mounts()
    in_rounds(ctx, cuts, CUTS_AN_IMAGE, lambda seed, some: cut_round(ctx, seed, some, "full"))


def acked_lost(ctx, load):
    """Acknowledged jobs that the daemon has never heard of."""
    with load.daemon.connect() as conn:
        known = {job["job"]: job["name"] for job in conn.all_jobs()}
    return [key for key, job in list(load.board.acked.items()) if known.get(job) != key]


def mutant_loses(ctx, cuts):
    """The same with durability=normal must lose acked jobs, or this harness shows nothing."""
    own_mounts()
    for number in range(cuts):
        tmp = ctx.room()
        machine = Machine(tmp)
        daemon = ctx.daemon(tmp, state=machine.disk / "state", settings=SETTINGS,
                            durability="normal")
        load = None
        try:
            daemon.start()
            load = ctx.load(Load(tmp, daemon, ctx.program, f"{ctx.seed}.{number}", limit=400))
            load.start()
            load.warm()
            time.sleep(0.05 + ctx.rng.random() * 0.15)
            power_cut(machine, daemon, load.board)
            # Nobody submits again by key before we have looked.
            load.stop()
            ctx.add("cuts")
            daemon.start()
            lost = acked_lost(ctx, load)
            ctx.add("lost", len(lost))
        finally:
            if load:
                load.stop()
            daemon.destroy()
            machine.scrap()
        if lost:
            return
    raise Failed([f"durability=normal lost nothing in {cuts} power cuts: the harness is broken"])


# ---- full disk ----------------------------------------------------------------------------------

TMPFS_BYTES = 2 << 20


def fill(path):
    """A file that takes all the room there is."""
    with open(path, "wb", buffering=0) as f:
        for size in (65536, 4096, 512):
            try:
                while True:
                    f.write(b"x" * size)
            except OSError:
                continue


def refused(conn, count):
    """Submits until one is refused; the keys acknowledged before, and the refusal or None."""
    acked = []
    for number in range(count):
        try:
            acked.append(conn.call("job.submit", {"argv": ["/bin/true"], "delay_ms": 60000,
                                                  "name": HARNESS})["job"])
        except RpcError as exc:
            return acked, exc
    return acked, None


def full_disk(ctx, cycles):
    """Filled while jobs run: submits are refused, nothing else suffers; freed: all is well."""
    own_mounts()
    tmp = ctx.room()
    disk = tmp / "disk"
    disk.mkdir()
    mount("tmpfs", disk, 0, "tmpfs", f"size={TMPFS_BYTES},mode=0700")
    daemon = ctx.daemon(tmp, state=disk / "state", settings=SETTINGS)
    daemon.start()
    before = baseline(daemon)
    load = ctx.load(Load(tmp, daemon, ctx.program, ctx.seed, clients=1, limit=12, batch=4,
                         kinds={"quick", "fail", "long", "retry", "serial", "delay"})).start()
    board, pid = load.board, daemon.pid
    try:
        for _ in range(cycles):
            load.warm(8)
            full_cycle(ctx, daemon, disk / "filler")
            ctx.expect(daemon.alive() and daemon.pid == pid, "slotd ended when the disk was full")
        full_start(ctx, daemon, board, disk / "filler")
        with daemon.connect() as conn:
            fillers = [j["job"] for j in conn.all_jobs() if j["name"] == HARNESS]
            for at in range(0, len(fillers), 500):
                conn.call("job.cancel", {"jobs": fillers[at:at + 500]})
        judge(ctx, load, before)
    finally:
        load.stop()
        daemon.destroy()
        umount(disk)


def full_cycle(ctx, daemon, filler):
    with daemon.connect() as conn:
        running = conn.call("job.submit_batch", {"jobs": [
            {"argv": ["/bin/sleep", "0.5"], "name": HARNESS} for _ in range(3)]})["jobs"]
        fill(filler)
        acked, refusal = refused(conn, 5000)
        ctx.expect(refusal is not None, f"{len(acked)} submits went to a full disk")
        ctx.expect((refusal.kind, refusal.code) == ("StorageDegraded", 1011),
                   f"on a full disk a submit is refused with {refusal}")
        ctx.add("degraded")
        for job in running[:1] + acked[-1:]:
            ctx.expect(conn.call("job.get", {"job": job})["job"] == job, "job.get")
        conn.call("stats.get")
        try:
            waited = conn.call("futures.wait", {"jobs": running, "timeout_ms": 8000})
            ctx.add("ended while full", len(waited["done"]))
        except RpcError as exc:
            raise Failed([f"futures.wait on a full disk: {exc}"]) from exc
        os.unlink(filler)

        def accepted():
            return refused(conn, 1)[1] is None
        until(accepted, 15, "submits are accepted again after room came back")
        waited = conn.call("futures.wait", {"jobs": running, "timeout_ms": 15000}, timeout=20)
        ctx.expect(not waited["pending"], f"jobs {waited['pending']} never ended")
        ctx.expect(all(done["ok"] for done in waited["done"]),
                   f"jobs that ran on a full disk: {waited['done']}")


def full_start(ctx, daemon, board, filler):
    """Killed and started while the disk is full: it runs and refuses, or says why it can't."""
    fill(filler)
    with daemon.connect() as conn:
        refused(conn, 5000)
    board.killed("engine")
    daemon.kill()
    fill(filler.with_suffix(".2"))
    try:
        daemon.start()
        ctx.figures["start when full"] = "runs"
        with daemon.connect() as conn:
            conn.call("job.list", {"limit": 5})
    except NotReady as exc:
        ctx.expect(daemon.popen.returncode == 1, f"on a full disk slotd ended: {exc}")
        ctx.figures["start when full"] = "refused"
    filler.unlink()
    filler.with_suffix(".2").unlink()
    if not daemon.alive():
        daemon.start()
    with daemon.connect() as conn:
        until(lambda: refused(conn, 1)[1] is None, 15, "submits are accepted again")
