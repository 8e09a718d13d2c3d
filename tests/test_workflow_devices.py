"""Jobs side by side compute on GPUs of their own. `nvidia-smi` is a script here: no GPU is needed."""

import os
import signal
import subprocess
import sys

import pytest

from asprm.workflow import devices


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A machine with two GPUs, outside SLURM."""
    for name in (devices.VISIBLE, "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'GPU 0: H200 (UUID: GPU-a)'\necho 'GPU 1: H200 (UUID: GPU-b)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)


@pytest.mark.parametrize(
    ("given", "found"),
    [(None, ["0", "1"]), ("", []), ("-1", []), ("2,3", ["2", "3"]), ("GPU-a, GPU-b", ["GPU-a", "GPU-b"])],
)
def test_gpus_are_those_that_a_process_may_use(monkeypatch, given, found):
    if given is not None:
        monkeypatch.setenv(devices.VISIBLE, given)
    assert devices.visible() == found


def test_without_a_driver_there_is_no_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.visible() == []
    with devices.claimed(tmp_path) as name:
        assert name is None
        assert devices.VISIBLE not in os.environ


def test_jobs_side_by_side_get_gpus_of_their_own(monkeypatch, tmp_path):
    waited = []
    with devices.claimed(tmp_path) as first:
        assert (first, os.environ[devices.VISIBLE]) == ("0", "0")
        monkeypatch.delenv(devices.VISIBLE)  # another job's environment
        with devices.claimed(tmp_path) as second:
            assert (second, os.environ[devices.VISIBLE]) == ("1", "1")
            monkeypatch.delenv(devices.VISIBLE)

            class Waits(Exception):
                pass

            def sleep(seconds):
                waited.append(seconds)
                raise Waits

            monkeypatch.setattr(devices.time, "sleep", sleep)
            with pytest.raises(Waits), devices.claimed(tmp_path):
                pass
    assert len(waited) == 1
    monkeypatch.delenv(devices.VISIBLE, raising=False)
    with devices.claimed(tmp_path) as name:
        assert name == "0"
    assert devices.VISIBLE not in os.environ


def test_a_gpu_is_free_again_when_its_job_is_killed(monkeypatch, tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from asprm.workflow import devices\n"
        "with devices.claimed(Path(sys.argv[1])) as name: print(name, flush=True); time.sleep(60)"
    )
    job = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert job.stdout.readline() == "0\n"
    with devices.claimed(tmp_path) as name:
        assert name == "1"
    job.send_signal(signal.SIGKILL)
    job.communicate()
    with devices.claimed(tmp_path) as name:
        assert name == "0"


def test_slurm_gives_a_job_its_gpus_itself(monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv(devices.VISIBLE, "3")
    with devices.claimed(tmp_path) as name:
        assert name is None
        assert os.environ[devices.VISIBLE] == "3"
