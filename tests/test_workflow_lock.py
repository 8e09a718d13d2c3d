"""One run of a profile at a time, and a lock that nobody has to remove."""

import os
import signal
import subprocess
import sys

import pytest

from asprm.workflow import lock

HOLD = """
import subprocess, sys
from pathlib import Path
from asprm.workflow import lock
held = lock.take(Path(sys.argv[1]))
job = ["-c", "import sys; print('job', flush=True); sys.stdin.read()"]
with subprocess.Popen([sys.executable, *job], pass_fds=[held]) as process:
    pass
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has locked the run, and a job of it that ends when its input is closed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        assert process.stdout.readline() == "job\n"
        yield process


def test_a_lock_is_free_before_and_after(tmp_path):
    assert lock.other_run(tmp_path) == ""
    os.close(lock.take(tmp_path))
    assert lock.other_run(tmp_path) == ""
    os.close(lock.take(tmp_path))


def test_a_live_run_is_named(tmp_path, holder):
    says = f"another run of run is at work: process {holder.pid} on "
    assert lock.other_run(tmp_path / "run").startswith(says)
    with pytest.raises(lock.RunIsBusy, match=says):
        lock.take(tmp_path / "run")
    holder.stdin.close()
    assert holder.wait() == 0
    os.close(lock.take(tmp_path / "run"))


def test_a_killed_run_is_waited_for_until_its_jobs_have_ended(tmp_path, holder, monkeypatch):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    monkeypatch.setattr(lock, "_PATIENCE", 0.0)
    assert f"jobs of an earlier run of run (process {holder.pid} on " in lock.other_run(tmp_path / "run")
    monkeypatch.setattr(lock, "_PATIENCE", 60.0)
    monkeypatch.setattr(lock.time, "sleep", lambda _: holder.stdin.close())  # the job ends meanwhile
    assert lock.other_run(tmp_path / "run") == ""
    os.close(lock.take(tmp_path / "run"))


def test_a_run_on_another_machine_counts_as_alive(tmp_path, monkeypatch):
    held = lock.take(tmp_path)
    monkeypatch.setattr(lock.socket, "gethostname", lambda: "elsewhere")
    assert f"process {os.getpid()} on " in lock.other_run(tmp_path)
    os.close(held)
