"""Which runs a home holds: made by hand here, of artifacts that are written as stages write them."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from asprm.cli import app
from asprm.run.manifests import manifests, seconds_of
from asprm.run.open import open_run
from asprm.workflow.runs import AT_WORK, EXPERIMENT, FAILED, FINISHED, STOPPED, aligned, as_text, runs


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with a run of smoke in which two stages wrote something."""
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    for policy in ("L", "M"):
        run = open_run("smoke", "sample", {"policy": policy}, quiet=True)
        run.write_json(f"sample/{policy}/train", {"policy": policy})
    open_run("smoke", "claims", quiet=True).write_json("claims/tally", {})
    return tmp_path


def plan(home, *ended, jobs=("sample_M", "sample_L", "best_of_n_M", "claims", "site")):
    """What the workflow leaves: which jobs it planned, and a receipt of each that ended."""
    folder = home / "data/runs/smoke/.jobs"
    folder.mkdir(exist_ok=True)
    (folder / "all.json").write_text(json.dumps(dict.fromkeys(jobs)))
    for name in ended:
        (folder / f"{name}.receipt.json").write_text(json.dumps({"key": ""}))


def test_each_stage_counts_its_jobs(home):
    plan(home, "sample_M", "sample_L", "best_of_n_M")
    [state] = runs(home)
    assert state.run == "smoke"
    assert state.jobs == {"sample": (2, 2), "best_of_n": (1, 1), "claims": (0, 1), "site": (0, 1)}
    assert state.done == ["sample", "best_of_n"]
    assert state.next == "claims"
    assert state.state == STOPPED


def test_a_stage_that_is_half_done_comes_first(home):
    plan(home, "sample_M")
    assert runs(home)[0].next == "sample (1 of 2)"
    plan(home, jobs=("policy", "sample_M", "sample_L"))
    assert runs(home)[0].next == "sample (1 of 2)"


def test_a_run_is_finished_when_its_site_and_all_else_is(home):
    jobs = ("sample_M", "sample_L", "best_of_n_M", "claims", "site")
    plan(home, *jobs)
    assert runs(home)[0].state == FINISHED
    (home / "data/runs/smoke/.jobs/sample_L.receipt.json").unlink()
    assert runs(home)[0].state == STOPPED


def test_a_run_has_failed_where_it_left_a_notebook_with_an_error(home):
    plan(home, "sample_M")
    notebooks = home / "data/runs/smoke/notebooks"
    notebooks.mkdir()
    (notebooks / "06_prm-M.failed.ipynb").touch()
    assert runs(home)[0].state == FAILED


def test_a_run_is_at_work_while_a_process_holds_its_lock(home):
    hold = (
        "import sys, pathlib as p; from asprm.workflow.lock import take; take(p.Path(sys.argv[1])); print(flush=True)"
    )
    command = [sys.executable, "-c", f"{hold}; input()", str(home / "data/runs/smoke")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        holder.stdout.readline()
        assert runs(home)[0].state == AT_WORK
        holder.communicate("\n")
    assert runs(home)[0].state == STOPPED


def test_what_made_a_run_is_read_from_its_manifests(home):
    [state] = runs(home)
    made = manifests(home / "data/runs/smoke")
    assert state.policies == ("M", "L", "D")  # the profile's order
    assert state.commits == tuple(dict.fromkeys((m["commit"] or "unknown")[:10] for m in made))
    assert state.seconds == round(sum(seconds_of(made).values()), 1)
    assert state.bytes == sum(f.stat().st_size for f in (home / "data/runs/smoke").rglob("*") if f.is_file())
    files = (home / "data/runs/smoke").rglob("*.manifest.json")
    assert state.last_written is not None
    for file in files:
        os.utime(file, (0, 86_400 * 365))
    assert runs(home)[0].last_written.startswith("1971-01-01")


def test_an_experiment_is_called_one(home):
    run = open_run("smoke", "threshold", {"share": 0.1, "scratch": "mine"}, quiet=True)
    run.write_json("threshold/M", {})
    assert [(state.run, state.state) for state in runs(home)] == [("smoke", STOPPED), ("smoke~mine", EXPERIMENT)]
    assert runs(home)[1].done == ["threshold"]


def test_an_empty_folder_is_a_run_that_has_written_nothing(home):
    (home / "data/runs/empty").mkdir()
    state = runs(home)[0]
    assert (state.run, state.last_written, state.jobs, state.state) == ("empty", None, {}, STOPPED)
    assert "empty  stopped  never" in as_text(runs(home), home)


def test_a_home_without_runs_says_how_to_make_one(tmp_path):
    assert as_text(runs(tmp_path), tmp_path).splitlines()[1] == "  make one with:  make study"


def test_the_command_writes_a_table_or_rows(home):
    plan(home, "sample_M")
    shown = CliRunner().invoke(app, ["runs"])
    assert shown.exit_code == 0, shown.output
    header, row, *_ = shown.stdout.splitlines()
    assert row.startswith("smoke  stopped  20")
    assert row.index("0 of 4") == header.index("stages")
    [line] = CliRunner().invoke(app, ["runs", "--json"]).stdout.splitlines()
    assert json.loads(line)["jobs"] == {"sample": [1, 2], "best_of_n": [0, 1], "claims": [0, 1], "site": [0, 1]}


def test_a_table_leaves_out_columns_without_content():
    assert aligned([("a", "b", "c"), ("1", "", "x"), ("222", "", "")]) == ["a    c", "1    x", "222"]
