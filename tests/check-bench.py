#!/usr/bin/env python3
"""script/bench works: some of its measures with tiny counts, the table, the plots and what stands
in RESULTS.md. The figures themselves are of no interest here, and no peer is needed.

SLOT_BUILD_DIR: where the programs were built. Nothing is written but to TMPDIR.
"""
import contextlib
import io
import json
import os
import sys
import tempfile
import traceback
import xml.dom.minidom

sys.dont_write_bytecode = True
SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.abspath(os.environ.get("SLOT_BUILD_DIR", "build"))
sys.path.insert(0, os.path.join(SOURCE, "bench"))

import measures  # noqa: E402
import measuring  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402

TINY = measuring.Size(rounds=2, share=0.002, length=0.0005)


def measured(*names):
    """A document of some measures."""
    document = report.new(SOURCE, "tiny")
    bench = measuring.Bench(BUILD, SOURCE, TINY, document["series"])
    for measure in measures.MEASURES:
        if measure.name in names:
            failed, found = measuring.measure_one(bench, measure)
            assert not failed, found
            document["measures"][measure.name] = found
    return document


def figures_are_measured_and_stand_in_the_table():
    document = measured("P1", "P4", "P5", "P12")
    rows = {(row[0], row[1]): row for row in report.rows(document)}
    assert len(rows) == 7, rows
    for row in rows.values():
        assert row[4] in ("ok", "miss", "not yet"), row
    _, _, target, figure, _, of = next(row for row in rows.values() if row[0] == "P1")
    assert target == "≥ 0.9 ×" and float(figure.split()[0]) > 0 and "/s ÷ " in of, rows
    assert all(row[1] in report.table(document) for row in rows.values())
    with tempfile.TemporaryDirectory() as where, contextlib.redirect_stderr(io.StringIO()):
        kept = json.loads(json.dumps(document))
        report.write(report.merge([kept]), where)
        assert sorted(os.listdir(where)) == ["RESULTS.md", "latency.svg"], os.listdir(where)
        with open(os.path.join(where, "RESULTS.md"), encoding="utf-8") as f:
            said = f.read()
        assert "not yet: jobs have no cgroups" in said and "latency.svg" in said, said
        xml.dom.minidom.parse(os.path.join(where, "latency.svg"))


def submits_need_no_peer():
    path = os.environ["PATH"]
    os.environ["PATH"] = "/nonexistent"
    try:
        document = measured("P6")
    finally:
        os.environ["PATH"] = path
    for row in report.rows(document):
        assert row[4] == "skipped" and "install " in row[5], row


def a_target_decides_the_verdict():
    row = measuring.Row("r", "what", "≤", 2, "×")
    for value, said in ((1.9, "ok"), (2, "ok"), (2.01, "miss")):
        assert measures.verdict(row, measuring.Figure(value)) == said, value
    assert measures.verdict(row, measuring.Figure(None, "skipped: install x")) == "skipped"


def every_measure_says_how_it_is_done():
    for measure in measures.MEASURES:
        assert measure.function.__doc__, measure.name
    names = [measure.name for measure in measures.MEASURES]
    assert names[:15] == [f"P{n}" for n in range(1, 16)], names


def sides_alternate():
    order = []
    results = run.alternate(3, lambda: order.append("a") or 1, lambda: order.append("b") or 2)
    assert order == ["a", "b", "b", "a", "a", "b"] and results == [[1, 1, 1], [2, 2, 2]], order


def a_failed_measure_is_a_figure():
    def broken(_):
        raise run.Failed("no luck")

    measure = measuring.Measure("X", "", broken, (measuring.Row("r", "what", "", None),))
    with contextlib.redirect_stderr(io.StringIO()):
        failed, found = measuring.measure_one(measuring.Bench(BUILD, SOURCE, TINY), measure)
    assert failed and found["figures"] == {"r": [None, "failed: no luck"]}, found


def charts_are_drawn():
    lines = {"one": [(1, 10), (64, 4000)], "two": [(1, 12), (64, 4000)]}
    drawn = plot.draw({"limits": lines, "length": {"a": [(1000, 0.5), (1000000, 0.5)]},
                       "latency": {"a": [1.0] * 50 + [2.0] * 51}})
    assert len(drawn) == 3
    for svg in drawn.values():
        xml.dom.minidom.parseString(svg)
        assert "nan" not in svg and "inf" not in svg


def main():
    passed = failed = 0
    for case in (figures_are_measured_and_stand_in_the_table, submits_need_no_peer,
                 a_target_decides_the_verdict, every_measure_says_how_it_is_done, sides_alternate,
                 a_failed_measure_is_a_figure, charts_are_drawn):
        try:
            case()
            passed += 1
        except Exception:
            print(f"FAIL {case.__name__}")
            traceback.print_exc(file=sys.stdout)
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
