"""What a run found: as a document that --json keeps, as a table, as RESULTS.md."""
import datetime
import inspect
import os
import platform
import subprocess
import sys
import tempfile

import peers
import plot
from measures import MEASURES, REASONS, verdict
from measuring import Figure

# ---- the document --------------------------------------------------------------------------------


def first_line(argv):
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().split("\n")[0] if done.returncode == 0 else ""


def field_of(path, key):
    with open(path, encoding="utf-8", errors="replace") as f:
        return next((line.partition(":")[2].strip() for line in f if line.startswith(key)), "")


def filesystem(path):
    """The type of the one that PATH is on."""
    best = ("", "unknown")
    with open("/proc/mounts", encoding="utf-8") as f:
        for line in f:
            _, where, kind, *_ = line.split()
            if os.path.commonpath([where, path]) == where and len(where) >= len(best[0]):
                best = (where, kind)
    return best[1]


def machine():
    flags = field_of("/proc/cpuinfo", "flags").split()
    return {
        "cpu": field_of("/proc/cpuinfo", "model name") or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "virtual": "hypervisor" in flags,
        "memory_gib": round(int(field_of("/proc/meminfo", "MemTotal").split()[0]) / 2 ** 20, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "disk": filesystem(os.path.realpath(tempfile.gettempdir())),
        "python": platform.python_version(),
        "peers": {name: peers.version(name) for name in peers.VERSIONS},
    }


def commit(source):
    """Of the sources, and whether they were changed since."""
    name = first_line(["git", "-C", source, "rev-parse", "--short=12", "HEAD"])
    changed = first_line(["git", "-C", source, "status", "--porcelain", "--untracked-files=no",
                          "--", ".", ":!bench/RESULTS.md", ":!bench/*.svg"])
    return (name or "unknown") + (" with changes" if changed else "")


def new(source, size):
    now = datetime.datetime.now(datetime.timezone.utc)
    return {"date": now.strftime("%Y-%m-%d %H:%M UTC"), "commit": commit(source), "size": size,
            "machine": machine(), "measures": {}, "series": {}}


def merge(documents):
    """Of several runs one; what a later one measured replaces what an earlier one did."""
    whole = documents[0]
    for document in documents[1:]:
        for key in ("measures", "series"):
            whole[key].update(document[key])
        for key in ("date", "commit", "machine"):
            whole[key] = document[key]
        if document["size"] != whole["size"]:
            whole["size"] = "mixed"
    return whole


# ---- the table -----------------------------------------------------------------------------------

DIGITS = {"×": 2, "MiB": 2, "ms": 2, "s": 2}


def written(value, unit):
    if value is None:
        return "–"
    said = f"{value:,.{DIGITS.get(unit, 1 if unit == '' and value != int(value) else 0)}f}"
    return f"{said} {unit}".strip()


def remarked(detail, found):
    remarks = [found["size"]] if found.get("size", "full") != "full" else []
    if found.get("busy"):
        remarks.append(f"others used {found['busy']:.0%} of the CPUs")
    return f"{detail} ({', '.join(remarks)})".strip() if remarks else detail


def rows(document):
    """What stands in the table: measure, what, target, figure, verdict, details."""
    for measure in MEASURES:
        found = document["measures"].get(measure.name)
        if found is None:
            continue
        for row in measure.rows:
            figure = Figure(*found["figures"][row.key])
            yield (measure.name, row.what,
                   f"{row.sign} {row.target:,g} {row.unit}".strip() if row.sign else "",
                   written(figure.value, row.unit), verdict(row, figure),
                   remarked(figure.detail, found))


HEADS = ("", "measure", "target", "figure", "verdict", "of")


def table(document):
    lines = [HEADS, *rows(document)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADS) - 1)]
    padded = ([*(cell.ljust(width) for cell, width in zip(line, widths)), line[-1]]
              for line in lines)
    return "".join("  ".join(cells).rstrip() + "\n" for cells in padded)


def count(document):
    verdicts = [row[4] for row in rows(document)]
    missed = verdicts.count("miss")
    return (f"{verdicts.count('ok')} within their targets, {missed} missed, "
            f"{len(verdicts) - verdicts.count('ok') - missed} without a verdict")


def reasons(document):
    """Of each row that isn't what it is to be: measure, what, why."""
    for measure in MEASURES:
        found = document["measures"].get(measure.name, {"figures": {}})
        for row in measure.rows:
            if row.key not in found["figures"]:
                continue
            if verdict(row, Figure(*found["figures"][row.key])) not in ("ok", "recorded", "skipped"):
                yield (measure.name, row.what,
                       REASONS.get((measure.name, row.key), "No reason is known yet."))


# ---- RESULTS.md ----------------------------------------------------------------------------------


def results(document):
    m = document["machine"]
    virtual = "virtual, " if m["virtual"] else ""
    lines = [
        "# Results",
        "",
        "Written by `script/bench`; how the figures came about is below, why they are what they",
        "are in [docs/PERFORMANCE.md](../docs/PERFORMANCE.md).",
        "",
        "| | |",
        "|---|---|",
        f"| date | {document['date']} |",
        f"| commit | {document['commit']} |",
        f"| machine | {virtual}{m['cpus']} × {m['cpu']}, {m['memory_gib']} GiB, {m['disk']} |",
        f"| kernel | {m['kernel']} |",
        f"| peers | {', '.join(filter(None, m['peers'].values()))}; Python {m['python']} |",
        "",
        "Ratios are of medians of runs taken alternately. Absolute figures are this machine's, on",
        "this day: only those of one row compare." +
        ("" if document["size"] == "full" else
         " Rows marked quick are of fewer and shorter runs, with queues a twentieth as long."),
        "",
        f"{count(document)}.",
        "",
        "| | measure | target | figure | verdict | of |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows(document):
        cells = [cell.replace("|", "\\|") for cell in row]
        cells[4] = "**miss**" if cells[4] == "miss" else cells[4]
        lines.append("| " + " | ".join(cells) + " |")
    for name, key, _, below in plot.CHARTS:
        if key in document["series"]:
            lines += ["", f"![{below}]({name})"]
    missed = [f"- **{name}**, {what}: {why}" for name, what, why in reasons(document)]
    if missed:
        lines += ["", "## What is missed, and why", "", *missed]
    lines += ["", "## How it is measured", ""]
    for measure in MEASURES:
        if measure.name in document["measures"]:
            said = " ".join(inspect.getdoc(measure.function).split())
            lines.append(f"- **{measure.name}**, {measure.what}. {said}")
    return "\n".join(lines) + "\n"


def write(document, where):
    for name, svg in {"RESULTS.md": results(document), **plot.draw(document["series"])}.items():
        with open(os.path.join(where, name), "w", encoding="utf-8") as f:
            f.write(svg)
    print(f"written: {os.path.join(where, 'RESULTS.md')}", file=sys.stderr)
