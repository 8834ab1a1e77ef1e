"""Looking at processes through /proc."""

import ctypes
import os

from .timing import eventually

PR_SET_CHILD_SUBREAPER = 36


def become_subreaper():
    """Orphans among our descendants become our children, so none escapes the leak check."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def stat_of(pid):
    """(comm, state, ppid, pgrp, session) of a process, or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            text = f.read().decode("utf-8", "replace")
    except OSError:
        return None
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return head.partition("(")[2], fields[0], int(fields[1]), int(fields[2]), int(fields[3])


def all_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def has_socket(pid, inode):
    """Whether a descriptor of pid is the socket with this inode."""
    try:
        return any(os.readlink(f"/proc/{pid}/fd/{fd}") == f"socket:[{inode}]"
                   for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def children(pid):
    """Pids whose parent is pid, zombies included."""
    found = []
    for other in all_pids():
        stat = stat_of(other)
        if stat and stat[2] == pid:
            found.append(other)
    return found


def descendants(pid):
    """All pids below pid, zombies included."""
    by_parent = {}
    for other in all_pids():
        stat = stat_of(other)
        if stat:
            by_parent.setdefault(stat[2], []).append(other)
    found, todo = [], [pid]
    while todo:
        for child in by_parent.get(todo.pop(), ()):
            found.append(child)
            todo.append(child)
    return found


def is_running(pid):
    """True while pid exists and is no zombie."""
    stat = stat_of(pid)
    return stat is not None and stat[1] not in "ZX"


async def wait_gone(pid, timeout=10.0):
    await eventually(lambda: not is_running(pid), timeout, f"end of process {pid}")


def describe(pid):
    stat = stat_of(pid)
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            cmd = f.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        cmd = ""
    return f"{pid} {stat[0] if stat else '?'} state {stat[1] if stat else '?'} [{cmd}]"


def proc_status(pid):
    """/proc/PID/status as a dictionary of strings."""
    with open(f"/proc/{pid}/status", "r", encoding="utf-8", errors="replace") as f:
        pairs = (row.split(":", 1) for row in f if ":" in row)
        return {key: value.strip() for key, value in pairs}


def rss_kib(pid):
    return int(proc_status(pid)["VmRSS"].split()[0])


def switches(pid):
    """Times that any thread of pid went to sleep by itself: one per wakeup."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", "r", encoding="utf-8") as f:
            for row in f:
                if row.startswith("voluntary_ctxt_switches:"):
                    total += int(row.split()[1])
    return total
