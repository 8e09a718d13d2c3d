"""Tables that come with the project: who reads them, and what a chapter says where one is missing."""

import json
import sys
from types import SimpleNamespace

import pytest
from conftest import REPOSITORY

from asprm.run import shipped
from asprm.run.open import open_run
from asprm.run.shipped import FOLDER, MANIFESTS, by_hand, manifests_of
from asprm.run.store import BrokenArtifact, MissingArtifact

MADE = [
    {"artifact": "threshold/M.json", "stage": "threshold", "policy": "M"},
    {"artifact": "threshold/L.json", "stage": "threshold", "policy": "L"},
    {"artifact": "sample/M/train.parquet", "stage": "sample", "policy": "M"},
    {"artifact": "prm/ASPRM-M", "stage": "prm", "policy": "M", "seconds": 12.5},
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project with a shipped run `smoke`, and a person at work in an empty home beside it."""
    monkeypatch.setattr(shipped, "REPOSITORY", tmp_path / "project")
    monkeypatch.setattr(shipped, "by_hand", lambda: True)
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path / "home"))
    folder = tmp_path / "project" / FOLDER / "smoke"
    for name in ("sample/M", "threshold"):
        (folder / name).mkdir(parents=True)
    (folder / "threshold/M.json").write_text('{"tau": 0.5}')
    (folder / MANIFESTS).write_text("".join(json.dumps(manifest) + "\n" for manifest in MADE))
    return folder


def opened(stage="threshold", **parameters):
    return open_run("smoke", stage, parameters, quiet=True)


def test_a_person_reads_what_comes_along(folder, capsys):
    run = open_run("smoke", "threshold")
    assert run.read_json("threshold/M") == {"tau": 0.5}
    assert run.inputs.keys() == {"threshold/M.json"}
    assert "it comes with the project" in capsys.readouterr().out
    assert run.folder == run.base == run.root / "data/runs/smoke"


def test_a_stage_whose_tables_come_along_need_not_run(folder):
    assert opened().shipped_tables == ["threshold/M"]
    assert opened(policy="L").shipped_tables == []  # its manifest comes along, its table does not
    assert opened(share=0.01).shipped_tables == []  # an experiment asks for other ones


def test_what_was_made_here_comes_first(folder):
    run = opened()
    run.write_json("threshold/M", {"tau": 0.7})
    assert opened().read_json("threshold/M") == {"tau": 0.7}


def test_a_study_that_was_begun_here_is_not_mixed_with_them(folder):
    (opened().base / "notebooks").mkdir(parents=True)
    assert opened().shipped is None
    with pytest.raises(MissingArtifact, match="make study"):
        opened().read_json("threshold/M")


def test_the_workflow_and_programs_do_not_read_them(folder, monkeypatch):
    monkeypatch.setattr(shipped, "by_hand", by_hand)
    assert opened().shipped is None


def test_a_run_with_results_alone_is_not_read(folder):
    (folder / "sample/M").rmdir()
    (folder / "sample").rmdir()
    assert opened().shipped is None


def test_a_missing_table_names_the_chapter_that_makes_it(folder):
    with pytest.raises(MissingArtifact, match=r"does not come with the project; run notebooks/06_prm\.ipynb first"):
        opened("best_of_n").reward_model("ASPRM-M")
    with pytest.raises(MissingArtifact, match=r"does not come with the project; make it.*make study"):
        opened("generalize").read("best_of_n/ASPRM-M/M-minigsm@line")


def test_a_damaged_table_is_named(folder):
    (folder / "threshold/M.json").write_text("{")
    with pytest.raises(BrokenArtifact, match=r"data/reference/smoke/threshold/M\.json"):
        opened().read_json("threshold/M")


def test_a_manifest_tells_what_made_weights_that_do_not_come_along(folder):
    manifests_of.cache_clear()
    assert opened("claims").manifest("prm/ASPRM-M")["seconds"] == 12.5
    with pytest.raises(MissingArtifact):
        opened("claims").manifest("prm/MS-M")


@pytest.mark.parametrize(
    ("shell", "batch", "hand"), [(object(), "", True), (object(), "1", False), (None, "", False), ("absent", "", False)]
)
def test_who_works_by_hand(monkeypatch, shell, batch, hand):
    ipython = None if shell == "absent" else SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setenv("ASPRM_BATCH", batch)
    assert by_hand() is hand


# --- the runs that come with the project ------------------------------------------------------------------------------

SHIPPED = sorted(
    file.parent for file in (REPOSITORY / FOLDER).glob(f"*/{MANIFESTS}") if (file.parent / "sample").is_dir()
)


def agree(now, then):
    """Whether two settings are equal; one that is new since then has a value that changes nothing."""
    if isinstance(now, dict) and isinstance(then, dict):
        return all(agree(now[key], then[key]) for key in now.keys() & then.keys())
    return now == then


def test_settings_agree_where_both_have_them():
    assert agree({"a": {"b": 1, "new": 2}}, {"a": {"b": 1}, "gone": 3})
    assert not agree({"a": {"b": 1}}, {"a": {"b": 2}})


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_what_comes_along_is_small_and_of_the_profile_as_it_is(folder):
    from asprm.run.artifacts import digest, size

    assert size(folder) < 8_000_000
    assert not list(folder.rglob("*.safetensors"))
    made = manifests_of(folder)
    for name, manifest in made.items():
        settings = open_run(folder.name, manifest["stage"], quiet=True).profile.reads(manifest["stage"])
        assert agree(json.loads(json.dumps(settings)), manifest["settings"]), f"{name}: take tiny's tables anew"
        if (folder / name).is_file() and not name.startswith(
            "claims/"
        ):  # the ledger is computed anew when a run is kept
            assert digest(folder / name) == manifest["digest"], name


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_what_comes_along_solves_the_problems_as_they_are(folder):
    """Graded again, the first solution of each problem gets the verdict that the tables hold; of some programs too."""
    import pandas as pd

    from asprm.grading.grade import grade
    from asprm.problems.sets import problem_set

    run = open_run(folder.name, "sample", quiet=True)
    for name in run.profile.problems.test:
        policy = next(p for p in run.profile.policies if (folder / f"sample/{p}/{name}.parquet").is_file())
        problems = {problem.id: problem for problem in problem_set(run.profile, name)}
        table = pd.read_parquet(folder / f"sample/{policy}/{name}.parquet").groupby("problem").head(1)
        assert set(table["problem"]) <= problems.keys()
        for row in table.head(20 if "code" in name else len(table)).itertuples():
            assert (row.finished and grade(problems[row.problem], row.text).correct) == row.correct, row.problem
