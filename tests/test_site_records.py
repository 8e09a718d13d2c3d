"""Records of runs: kept once for each run, found by the names that people give."""

import json
import os

import pandas as pd
import pytest

from asprm.run.open import open_run
from asprm.site.differences import as_markdown, as_rows, as_text, compare
from asprm.site.records import HISTORY, Record, find_record, previous, record_of, reference_of, remember
from asprm.site.reference import FOLDER


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    write(0)
    return tmp_path


def write(value, minute=0, **parameters):
    """A run of smoke whose threshold is `value`, written at this minute."""
    run = open_run("smoke", "threshold", parameters, quiet=True)
    run.write_json("threshold/M", {"tau": value, "low": value, "high": value})
    for file in run.folder.rglob("*.manifest.json"):
        os.utime(file, (200_000 + 60 * minute,) * 2)
    return open_run("smoke", "claims", quiet=True)


def history(home):
    return sorted(path.name for path in (home / "data/runs/smoke" / HISTORY).iterdir())


def test_a_run_is_recorded_once_however_often_its_site_is_built(home):
    for _ in range(3):
        remember(open_run("smoke", "claims", quiet=True))
    assert len(history(home)) == 1


def test_of_a_run_that_wrote_nothing_there_is_no_record(home):
    remember(open_run("tiny", "claims", quiet=True))
    assert not (home / "data/runs/tiny").exists()


def test_the_previous_run_is_the_last_one_that_is_not_the_present_one(home):
    run = write(1, minute=1)
    assert previous(run) is None
    remember(run)
    assert previous(run) is None
    first = record_of(run)
    run = write(2, minute=2)
    assert previous(run).digests == first.digests  # before its own site is built
    remember(run)
    assert previous(run).digests == first.digests
    assert previous(run).name.startswith("smoke of 1970-01-0")
    assert find_record("smoke@previous").digests == first.digests != find_record("smoke").digests


def test_the_last_five_records_are_kept(home):
    for minute in range(1, 9):
        remember(write(minute, minute))
    assert len(history(home)) == 5
    assert history(home)[0].startswith("1970-01-0")


def test_a_stage_that_ran_and_whose_table_is_gone_is_named(home):
    run = open_run("smoke", "claims", quiet=True)  # its threshold is there, the samples that its results need are not
    [lost] = record_of(run).lost
    assert lost.startswith("threshold of M: ")
    assert "sample/M/train.parquet" in lost
    d = compare(*(record_of(run),) * 2)
    assert as_text(d).count(" ".join(lost.split())) == as_markdown(d).count("threshold of M") == 2
    assert [row["section"] for row in as_rows(d)] == ["left out"] * 2


def test_an_experiment_is_read_over_the_run_that_it_changes(home):
    open_run("smoke", "tvd", quiet=True).write_json("tvd/ASPRM-M/M", {"trigger": 0.5})
    write(3, share=0.25, scratch="mine")
    run, experiment = find_record("smoke"), find_record("smoke~mine")
    assert run.digests.keys() == experiment.digests.keys() == {"threshold/M.json", "tvd/ASPRM-M/M.json"}
    assert run.digests["threshold/M.json"] != experiment.digests["threshold/M.json"]
    assert experiment.parameters["threshold.share (M)"] == 0.25
    assert experiment.name == "smoke~mine"


def test_a_reference_run_is_found_by_its_name_or_folder(home):
    remember(write(1))
    [kept] = (home / "data/runs/smoke" / HISTORY).iterdir()
    folder = home / FOLDER / "night"
    folder.parent.mkdir(parents=True)
    kept.rename(folder)
    assert find_record("night").digests == find_record(str(folder)).digests == find_record("smoke").digests
    assert reference_of("night").name == "reference run night"
    assert reference_of("day") is None


def test_a_name_without_a_run_says_which_there_are(home):
    with pytest.raises(ValueError, match="no run 'tinny' here; there are: smoke"):
        find_record("tinny")
    with pytest.raises(ValueError, match="no earlier run of 'smoke' is recorded"):
        find_record("smoke@previous")
    (home / "data/runs/tiny").mkdir()
    with pytest.raises(ValueError, match="nothing was run yet in data/runs/tiny"):
        find_record("tiny")


def manifest(**changes):
    base = {"artifact": "sample/M/train.parquet", "digest": "a", "stage": "sample", "policy": "M", "overrides": {}}
    base |= {"settings": {"seed": 0, "sample": {"solutions": 4, "stop": []}}, "commit": "c" * 40, "dirty": False}
    return base | {"device": "2 cores", "versions": {"python": "3.11"}} | changes


def test_parameters_have_dotted_names_and_the_environment_every_value():
    made = [manifest(), manifest(artifact="prm/A", dirty=True, versions={"python": "3.12"}, commit=None)]
    record = Record("r", made, pd.DataFrame())
    assert record.parameters == {"seed": 0, "sample.solutions": 4, "sample.stop": []}
    assert record.environment == {
        "commit": "cccccccccc, unknown with uncommitted changes",
        "machine": "2 cores",
        "python": "3.11, 3.12",
    }
    json.dumps(record.parameters)
