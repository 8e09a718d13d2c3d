"""A shard computes some of a stage's chunks, from the command line. `test_workflow.py` tests it with Snakemake."""

import json
import os
import subprocess
import sys

import pyarrow as pa
import pytest
from conftest import REPOSITORY

from asprm.run.chunks import ChunkError, Chunks, Shard
from asprm.run.open import open_run
from asprm.run.store import MissingArtifact
from asprm.workflow import job, shard


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """An empty study."""
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    monkeypatch.setenv("ASPRM_BATCH", "1")  # main sets it; now it is put back
    return tmp_path


def double(items, state):
    return pa.table({"x": [2 * item for item in items]})


@pytest.fixture
def chunks(monkeypatch, tmp_path):
    """Five chunks that stand in for those of any stage."""
    work = Chunks(double, range(10), size=2, folder=tmp_path / "chunks", key={}, label="toy")
    monkeypatch.setattr(shard, "chunks_of", lambda run, part: work)
    return work


def test_a_shard_of_a_stage_from_the_command_line(chunks, capsys):
    assert shard.main(["rollout", "--shard", "2/3", "-p", "profile", "smoke", "-p", "policy", "L"]) == 0
    assert "rollout L: shard 2/3 is done, 1 chunks computed" in capsys.readouterr().err
    assert chunks.missing() == 4
    assert shard.main(["tvd", "--part", "test", "--shard", "3/3", "-p", "profile", "smoke"]) == 0
    assert "tvd M test: shard 3/3 is done, 2 chunks computed" in capsys.readouterr().err
    assert chunks.missing() == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rollout", "--shard", "4/3"], "shard '4/3': expected <number>/<count>"),
        (["tvd", "--shard", "1/3"], "tvd: --part '': expected validation or test"),
        (["sample", "--shard", "1/3", "--part", "test"], "sample: --part 'test': expected none"),
        (["rollout", "--shard", "1/3", "-p", "profile", "smok"], "did you mean 'smoke'?"),
        (["rollout", "--shard", "1/3", "-p", "policy", "X"], "unknown policy 'X'"),
    ],
)
def test_wrong_arguments_are_named(capsys, arguments, says):
    assert shard.main(arguments) == 2
    assert says in capsys.readouterr().err


def test_what_is_missing_is_named(capsys):
    assert shard.main(["rollout", "--shard", "1/3", "-p", "profile", "smoke"]) == 1
    assert "rollout: no sample 'M/train'" in capsys.readouterr().err


def test_a_chunk_that_fails_is_named(monkeypatch, capsys):
    def refuse(run, part):
        raise ChunkError("tvd M, validation: 2 chunks are missing; compute this part first")

    monkeypatch.setattr(shard, "chunks_of", refuse)
    assert shard.main(["tvd", "--part", "test", "--shard", "1/3", "-p", "profile", "smoke"]) == 1
    assert "compute this part first" in capsys.readouterr().err


def test_nothing_is_computed_where_the_notebook_would_be_passed_over(monkeypatch, chunks):
    monkeypatch.setattr(job, "is_kept", lambda run, name: (str(run), name) == ("data/runs/smoke", "rollout_M"))
    arguments = ["rollout", "--shard", "1/2", "-p", "profile", "smoke", "--unless-kept", "data/runs/smoke"]
    assert shard.main([*arguments, "rollout_M"]) == 0
    assert chunks.missing() == 5
    assert shard.main([*arguments, "rollout_L"]) == 0
    assert chunks.missing() == 3


@pytest.mark.parametrize("stage", shard.SCATTERED)
def test_every_stage_that_can_be_shared_gives_its_chunks(stage):
    run = open_run("smoke", stage, quiet=True)
    for part in shard.SCATTERED[stage]:
        if stage == "sample":
            work = shard.chunks_of(run, part)
            assert len(work.items) > work.size
        else:  # its inputs are not there
            with pytest.raises(MissingArtifact):
                shard.chunks_of(run, part)


def test_a_shard_computes_the_chunks_that_the_stage_then_finds(home):
    from asprm.sample import run_sample

    profile = home / "short.yml"
    profile.write_text(
        "extends: smoke\nname: short\ndescription: A few problems.\nchunk: 4\n"
        "problems: {train: {minigsm: 4}, validation: {minigsm: 2}, test: {minigsm: 2}}\n"
        "sample: {solutions: 1, candidates: 2, max_new_tokens: 20}\n"
    )
    for number in (1, 2):
        arguments = ["sample", "--shard", f"{number}/2", "-p", "profile", str(profile)]
        assert shard.main(arguments) == 0
    run = open_run(str(profile), "sample", quiet=True)
    written = run_sample(run)
    assert run.kept.chunks == len(list((run.base / ".work/sample/M").rglob("*.parquet"))) == 3
    manifest = json.loads((run.base / f"{written[0]}.manifest.json").read_text())
    assert manifest["kept"]["chunks"] >= 1
    assert run.read(written[0]).num_rows == 4


def test_two_of_the_same_shard_do_not_compute_side_by_side(chunks):
    run = open_run("smoke", "rollout", quiet=True)
    (run.base / ".jobs").mkdir(parents=True)
    code = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    held = run.base / ".jobs/rollout-M-1-2.lock"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(held)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    waiting = (
        "from contextlib import suppress\nfrom pathlib import Path\nfrom asprm.workflow import lock\nimport sys\n"
        "with lock.one_at_a_time(Path(sys.argv[1]), 'shard 1/2 of rollout'): print('mine')"
    )
    second = subprocess.Popen(
        [sys.executable, "-c", waiting, str(held)], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert "shard 1/2 of rollout: waiting for the same one" in second.stderr.readline()
    other.communicate()
    assert second.communicate()[0] == "mine\n"
    assert shard.compute(run, Shard(1, 2)) == 2
