"""A job runs unless nothing that it is made from has changed. `test_workflow.py` tests it with Snakemake."""

from types import SimpleNamespace

import pytest

from asprm.run.artifacts import digest_path, manifest_path, read_digest, write_digest
from asprm.run.journal import note
from asprm.workflow import job

DIGEST = "run/stage/a.digest"


@pytest.fixture
def workflow(tmp_path, monkeypatch):
    """A folder with one job, whose module reads `in`, and writes the artifact `a` and an executed copy.

    Returns a function that runs the job and says whether its module ran.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("ASPRM_JOURNAL", raising=False)
    (tmp_path / "input.txt").write_text("1")
    (tmp_path / "run/stage").mkdir(parents=True)
    (tmp_path / "run/in.json").write_text("{}")
    write_digest(digest_path(tmp_path / "run/in.json"), "1")
    (tmp_path / "toy_module.py").write_text("import test_workflow_job as test\ntest.module()\n")

    def run(forced=(), params=("p",), given="input.txt", expect=0):
        rule = SimpleNamespace(
            name="toy", input=[given], output=["run/copy.digest", DIGEST], params=params, resources={}
        )
        job.forget_changed(tmp_path / "run", [rule])
        job.describe(tmp_path / "run", [rule], forced)
        for name in rule.output:  # as Snakemake does
            (tmp_path / name).unlink(missing_ok=True)
        RAN.clear()
        assert job.main(["run", "toy", "toy_module", "argument"]) == expect
        if not expect:
            assert all((tmp_path / name).exists() for name in rule.output)
        return bool(RAN)

    return run


RAN, FAIL = [], []


def module():
    """What the job's module does."""
    import json
    import sys
    from pathlib import Path

    from asprm.run.artifacts import digest

    RAN.append(sys.argv)
    if FAIL:
        sys.exit(FAIL[0])
    given, table = Path("run/in.json").resolve(), Path("run/stage/a.json").resolve()
    note("read", given, read_digest(digest_path(given)))
    other = given.with_name("other.json")
    note("seen" if digest_path(other).exists() else "missed", other)
    note("missed", table)  # its own, before it is written
    table.write_text("{}")
    manifest_path(table).write_text(json.dumps({"digest": digest(table)}))
    write_digest(digest_path(table), digest(table))
    note("wrote", table, digest(table))
    Path("run/copy.ipynb").write_text("{}")


def test_a_job_runs_once(workflow):
    assert workflow()
    assert RAN == [["toy_module", "argument"]]
    assert not workflow()


@pytest.mark.parametrize(
    "change",
    [
        lambda run: (run.parent / "input.txt").write_text("2"),
        lambda run: write_digest(digest_path(run / "in.json"), "2"),
        lambda run: digest_path(run / "in.json").unlink(),
        lambda run: write_digest(digest_path(run / "other.json"), "1"),
        lambda run: (run / "stage/a.json").unlink(),
        lambda run: (run / "stage/a.json").write_text("[]"),
        lambda run: manifest_path(run / "stage/a.json").unlink(),
        lambda run: (run / "copy.ipynb").unlink(),
        lambda run: (run / ".jobs/toy.receipt.json").unlink(),
        lambda run: (run / ".jobs/toy.receipt.json").write_text("{"),
        lambda run: (run / ".jobs/toy.receipt.json").write_text('{"unknown": 1}'),
    ],
)
def test_a_job_runs_again_when_something_has_changed_or_is_missing(workflow, tmp_path, change):
    workflow()
    change(tmp_path / "run")
    assert workflow()
    assert not workflow()


def test_a_job_is_passed_over_where_the_project_has_moved(workflow, tmp_path):
    workflow()
    (tmp_path / "moved").mkdir()
    (tmp_path / "input.txt").rename(tmp_path / "moved/input.txt")
    assert not workflow(given="moved/input.txt")


@pytest.mark.parametrize("options", [{"params": ("q",)}, {"forced": ["toy"]}])
def test_a_job_runs_again_with_another_parameter_or_by_force(workflow, options):
    workflow()
    assert workflow(**options)


def test_a_page_that_people_have_edited_stays(workflow, tmp_path):
    workflow()
    (tmp_path / "run/copy.ipynb").write_text("edited")
    assert not workflow()
    assert (tmp_path / "run/copy.ipynb").read_text() == "edited"


@pytest.mark.parametrize(("code", "status"), [(3, 3), ("a message", None)])
def test_a_job_that_fails_leaves_no_receipt_and_no_copy(workflow, tmp_path, monkeypatch, code, status):
    workflow()
    (tmp_path / "input.txt").write_text("2")
    monkeypatch.setattr("test_workflow_job.FAIL", [code])
    if status is None:
        with pytest.raises(SystemExit, match=code):
            workflow()
    else:
        workflow(expect=status)
    assert not (tmp_path / "run/copy.ipynb").exists()
    assert not list((tmp_path / "run/.jobs").glob("toy.receipt*"))
    monkeypatch.setattr("test_workflow_job.FAIL", [])
    (tmp_path / "input.txt").write_text("1")  # as it was
    assert workflow()


def test_what_is_lost_is_planned_again(workflow, tmp_path):
    workflow()
    rule = SimpleNamespace(name="toy", output=["run/copy.digest", DIGEST])
    job.forget_changed(tmp_path / "run", [rule])
    assert all((tmp_path / name).exists() for name in rule.output)
    (tmp_path / "run/stage/a.json").unlink()
    job.forget_changed(tmp_path / "run", [rule])
    assert not any((tmp_path / name).exists() for name in rule.output)
