"""What differs between two runs, on records small enough to compare by eye."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from asprm.cli import app
from asprm.run.open import open_run
from asprm.site.differences import Change, as_markdown, as_rows, as_text, compare
from asprm.site.includes.changes import changes
from asprm.site.quantities import POINTS, SHARE, Quantity, all_quantities
from asprm.site.records import Record, remember


def made(digest="a", artifact="sample/M/train.parquet", **changes):
    base = {"artifact": artifact, "digest": digest, "stage": "sample", "policy": "M", "overrides": {}, "seconds": 2.0}
    base |= {"settings": {"seed": 0, "sample": {"solutions": 4}}, "commit": "c" * 40, "dirty": False, "device": "cpu"}
    return base | {"versions": {}, "kept": {"seconds": 1.0}, "peak_memory_mb": {"process": 1234}} | changes


def record(name, *rows, manifests=None):
    frame = pd.DataFrame([("sample", "M", *row) for row in rows], columns=["stage", "policy", *Quantity._fields])
    return Record(name, manifests or [made()], frame)


GREEDY = Quantity("greedy decoding", SHARE, 0.5, 0.4, 0.6, "minigsm")


def test_a_run_differs_from_itself_in_nothing():
    d = compare(record("a", GREEDY, Quantity("τ", SHARE, 0.5)), record("a", GREEDY, Quantity("τ", SHARE, 0.5)))
    assert (d.parameters, d.environment, d.results, d.equal_results, d.alone) == ([], [], [], 2, (0, 0))
    assert d.tables == (1, 0, 0, 0)
    assert as_rows(d) == []


@pytest.mark.parametrize(
    ("other", "apart"),
    [
        (GREEDY._replace(value=0.9, low=0.7, high=1.0), True),
        (GREEDY._replace(value=0.1, low=0.0, high=0.39), True),
        (GREEDY._replace(value=0.65, low=0.6, high=0.7), False),  # they touch
        (GREEDY._replace(value=0.9, low=0.9, high=0.9), False),  # no width: of one training
        (GREEDY._replace(value=0.9, low=np.nan, high=np.nan), False),
    ],
)
def test_results_lie_apart_where_their_intervals_do_not_overlap(other, apart):
    for pair in ((GREEDY, other), (other, GREEDY)):
        [result] = compare(*(record(name, row) for name, row in zip("ab", pair, strict=True))).results
        assert result.apart is apart


def test_a_result_is_told_from_others_by_all_its_labels():
    rows = [GREEDY, GREEDY._replace(set="minimath"), GREEDY._replace(prm="ASPRM-M")]
    d = compare(record("a", *rows), record("b", *rows[:2], GREEDY._replace(prm="ORM-D")))
    assert (d.equal_results, d.alone) == (2, (1, 1))


def test_parameters_and_environment_that_differ_are_listed_with_both_values():
    other = made(settings={"seed": 0, "sample": {"solutions": 8}, "tvd": {"share": None}}, device="gpu")
    d = compare(record("a"), record("b", manifests=[other]))
    assert d.parameters == [Change("sample.solutions", "4", "8"), Change("tvd.share", "–", "null")]
    assert d.environment == [Change("machine", "cpu", "gpu")]


def test_tables_are_counted_by_their_digests():
    first = [made(), made("x", "sample/M/a"), made("x", "sample/M/b")]
    second = [made(), made("y", "sample/M/a"), made("x", "sample/M/c"), made("x", "sample/M/d")]
    d = compare(record("a", manifests=first), record("b", manifests=second))
    assert d.tables == (1, 1, 1, 2)
    assert "sample  M       1 equal, 1 differ, 1 in the first only, 2 in the second only" in as_text(d)


def test_a_notebook_s_tables_add_up_to_those_of_the_run():
    only = [made(), made("x", "rollout/M/a", stage="rollout")]  # as of a run of which fewer tables came along
    d = compare(record("a", manifests=[*only, made("x", "rollout/M/b", stage="rollout")]), record("b", manifests=only))
    assert d.tables == (2, 0, 1, 0)
    text = as_text(d)
    assert "sample   M       equal " in text
    assert "rollout  M       1 equal, 1 in the first only" in text
    assert "1 equal, 1 differ" not in text


def test_the_text_has_values_with_intervals_and_time():
    gain = Quantity("Best-of-N, gain", POINTS, 0.031, 0.004, 0.059, "minigsm", "ASPRM-M", 0.02)
    d = compare(record("one", gain), record("two", gain._replace(value=0.02)))
    text = as_text(d)
    assert "sample  M       Best-of-N, gain  MiniGSM   ASPRM-M       +3.1 [+0.4 to +5.9], p = .020" in text
    assert "0 results are equal, 1 differ; of these 0 lie apart" in text
    assert "sample  M       equal   3.0, 1,234  3.0, 1,234" in text
    assert text.count("none differs") == 2


def test_many_results_are_folded_and_those_apart_stay_in_sight():
    rows = [GREEDY._replace(what=f"way {i}") for i in range(40)]
    other = [row._replace(value=0.45) for row in rows[1:]] + [rows[0]._replace(value=0.9, low=0.8, high=1.0)]
    page = as_markdown(compare(record("a", *rows), record("b", *other)))
    shown, _, folded = page.partition(":::{dropdown} All 40 results that differ")
    assert ("way 0" in shown, "way 1 " in shown, folded.count("way ")) == (True, False, 40)


def test_texts_of_users_are_escaped_on_the_page():
    hostile = "<script>alert(1)</script> | `x` [a](b)"
    other = made(settings={"seed": 0, "sample": {"solutions": 4, hostile: hostile}})
    page = as_markdown(compare(record("a"), record(hostile, manifests=[other])))
    assert "\\<script\\>alert\\(1\\)" in page
    assert "\n<script>" not in page
    assert " <script>" not in page


def test_rows_for_programs_hold_numbers_and_null():
    d = compare(record("a", GREEDY), record("b", GREEDY._replace(value=0.9, low=np.nan, high=np.nan)))
    [row] = as_rows(d)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["second"] == {"value": 0.9, "low": None, "high": None}
    assert (row["section"], row["what"], row["apart"]) == ("results", "greedy decoding", False)


def test_the_command_and_the_page_compare_a_run_with_the_one_before(tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    run = open_run("smoke", "claims", quiet=True)
    run.write_json("claims/tally", {"held": 1})
    assert changes(run).startswith("No earlier run of the profile `smoke`")
    remember(run)
    run.write_json("claims/tally", {"held": 2})
    shown = CliRunner().invoke(app, ["diff", "smoke"])
    assert shown.exit_code == 0, shown.output
    assert "0 have equal digests, 1 differ" in shown.stdout
    assert "## Since smoke of " in changes(run)
    assert "0 have equal digests, 1 differ" in changes(run)
    failed = CliRunner().invoke(app, ["diff", "smoke", "nosuch"])
    assert (failed.exit_code, failed.stderr.splitlines()[0]) == (
        2,
        "asprm diff: no run 'nosuch' here; there are: smoke",
    )


def test_every_quantity_of_a_study_is_compared(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    rows = CliRunner().invoke(app, ["diff", "smoke", "smoke"])
    count = len(all_quantities(open_run("smoke", "claims", quiet=True)))
    assert f"{count} results are equal, 0 differ" in rows.stdout
