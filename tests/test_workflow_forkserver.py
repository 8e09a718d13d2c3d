"""A forked job is what a started process would be: arguments, folder, environment, streams, status, and its end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from conftest import REPOSITORY
from nbformat.v4 import new_code_cell, new_notebook

from asprm.workflow import forkserver

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="forks are waited for with Linux's pidfd_open")

PRINTER = """
import os, sys
print(sys.argv[1:], os.getcwd(), os.environ.get("ASPRM_SAID"), __name__, len(sys.stdin.read()), sys.path[0])
print("torch" in sys.modules, "asprm.run.open" in sys.modules, file=sys.stderr)
sys.exit(7)
"""


@pytest.fixture(scope="module")
def server():
    """A process that has started a server, and the environment of what it starts."""
    code = (
        "import os, sys\nfrom asprm.workflow import forkserver\nforkserver.start()\n"
        "print(os.environ[forkserver.ADDRESS], flush=True)\nsys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    parent = subprocess.Popen([sys.executable, "-c", code], text=True, **pipes)
    address = parent.stdout.readline().strip()
    yield os.environ | {forkserver.ADDRESS: address}
    parent.stdin.close()
    parent.wait()
    eventually(lambda: not Path(address).parent.exists())  # the server has gone, too


def eventually(holds):
    for _ in range(300):
        if holds():
            return
        time.sleep(0.1)
    pytest.fail("it did not happen within 30 seconds")


def module(folder, text):
    (folder / "job.py").write_text(text)
    return folder


def ask(folder, environment, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "asprm.workflow.forkserver", "job", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        **options,
    )


def is_there(pid):
    """Whether the process runs (one that has ended may still wait to be collected)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_job_is_what_a_started_process_would_be(server, tmp_path):
    module(tmp_path, PRINTER)
    alone = {name: value for name, value in server.items() if name != forkserver.ADDRESS} | {"ASPRM_SAID": "ä b"}
    forked = ask(tmp_path, server | {"ASPRM_SAID": "ä b"}, "-x", "a b", input="four")
    started = ask(tmp_path, alone, "-x", "a b", input="four")
    assert forked.stdout == started.stdout == f"['-x', 'a b'] {tmp_path} ä b __main__ 4 {tmp_path}\n"
    assert forked.returncode == started.returncode == 7
    # The libraries are there, this package is as new as its files.
    assert (forked.stderr, started.stderr) == ("True False\n", "False False\n")


@pytest.mark.slow
def test_an_environment_may_be_larger_than_a_message(server, tmp_path):
    module(tmp_path, "import os; print(sum(len(value) for name, value in os.environ.items() if name[:5] == 'LARGE'))")
    done = ask(tmp_path, server | {f"LARGE{number}": "x" * 100_000 for number in range(8)})
    assert (done.returncode, done.stdout) == (0, "800000\n")


@pytest.mark.parametrize("other", [False, True])
def test_a_server_that_still_imports_ends_with_its_starter_and_removes_only_its_socket(tmp_path, other):
    code = (
        "import os\nfrom asprm.workflow import forkserver\nforkserver.start()\n"
        "print(forkserver._started.pid, os.environ[forkserver.ADDRESS], flush=True)\ninput()"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment, text=True, **pipes) as starter:
        server, address = starter.stdout.readline().split()
        if other:
            (Path(address).parent / "other").touch()
        time.sleep(1)  # it has begun to import, which takes some nine seconds
        assert is_there(int(server))
        starter.kill()
    time.sleep(2)
    assert not is_there(int(server))
    assert len(list(tmp_path.rglob("*"))) == 2 * other  # a folder, and what somebody else has put there


@pytest.mark.slow
def test_jobs_share_no_randomness_and_no_variables(server, tmp_path):
    text = "import os, random, numpy, torch\nprint(random.random(), numpy.random.rand(), torch.get_num_threads())\n"
    module(tmp_path, text + "os.environ['ASPRM_LEFT'] = '1'; random.seed(0); torch.set_num_threads(5)")
    first, second = (ask(tmp_path, server | {"OMP_NUM_THREADS": "2"}).stdout.split() for _ in range(2))
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert first[2] == second[2] == "2"


@pytest.mark.slow
def test_a_signal_that_ends_a_job_gives_the_status_of_a_shell(server, tmp_path):
    module(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert ask(tmp_path, server).returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("last", "status", "printed"),
    [("pass", 0, ""), ("sys.exit()", 0, ""), ("sys.exit('no')", 1, "no\n"), ("1 / 0", 1, "ZeroDivisionError")],
)
def test_a_job_ends_in_order_and_says_how(server, tmp_path, last, status, printed):
    text = "import atexit, sys, threading, time\natexit.register(print, 'closed')\n"
    text += "threading.Thread(target=lambda: (time.sleep(0.5), print('thread'))).start()\nprint('work')\n"
    module(tmp_path, text + last)
    done = ask(tmp_path, server)
    assert (done.returncode, done.stdout) == (status, "work\nthread\nclosed\n")
    assert printed in done.stderr
    assert bool(done.stderr) == bool(printed)


def test_an_address_where_nobody_answers_changes_nothing(tmp_path):
    module(tmp_path, PRINTER)
    done = ask(tmp_path, os.environ | {forkserver.ADDRESS: str(tmp_path / "nobody")}, input="")
    assert (done.returncode, done.stderr) == (7, "False False\n")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_job_ends_with_its_client(server, tmp_path, end):
    module(tmp_path, "import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    command = [sys.executable, "-m", "asprm.workflow.forkserver", "job"]
    asking = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=server,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what runs in the background may ignore it
    )
    pid = int(asking.stdout.readline())
    assert is_there(pid)
    asking.send_signal(end)
    asking.wait(timeout=30)
    eventually(lambda: not is_there(pid))


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["starter", "server"])
def test_jobs_end_with_the_starter_of_the_server_and_a_lost_server_is_reported(tmp_path, ends):
    ids = "os.getpid(), os.getppid(), os.environ['ASPRM_FORKSERVER']"
    module(tmp_path, f"import os, time; print({ids}, flush=True); time.sleep(600)")
    code = (
        "import os, subprocess, sys\nfrom asprm.workflow import forkserver\n"
        "forkserver.start(int(sys.argv[1]))\nos.close(int(sys.argv[1]))\n"
        "sys.exit(subprocess.run([sys.executable, '-m', 'asprm.workflow.forkserver', 'job']).returncode)"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    reads, writes = os.pipe()  # stands for a lock: it is open until the last process has ended that inherits it
    command = [sys.executable, "-c", code, str(writes)]
    with subprocess.Popen(command, cwd=tmp_path, text=True, pass_fds=[writes], **pipes) as starter:
        os.close(writes)
        job, server, address = starter.stdout.readline().split()
        job, server = int(job), int(server)
        assert is_there(job)
        os.set_blocking(reads, False)
        with pytest.raises(BlockingIOError):  # it is open
            os.read(reads, 1)
        if ends == "starter":
            starter.kill()
            eventually(lambda: not is_there(job) and not is_there(server))
        else:
            os.kill(server, signal.SIGKILL)
            assert starter.wait() == 1
            assert starter.stderr.read().startswith("job: the fork server has ended, and the job with it")
            eventually(lambda: not is_there(job))
            Path(address).unlink()
            Path(address).parent.rmdir()
        os.set_blocking(reads, True)
        assert os.read(reads, 1) == b""  # it is closed, when the last thread has ended
        os.close(reads)


def test_without_room_for_a_socket_there_is_no_server(tmp_path, monkeypatch):
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    monkeypatch.delenv(forkserver.ADDRESS, raising=False)
    forkserver.start()
    assert not forkserver.known()
    assert not list(deep.iterdir())


@pytest.mark.slow
def test_a_notebook_and_its_kernel_are_forks_with_the_same_copy(server, tmp_path):
    cells = [
        "share = 1",
        "import os, sys\nprint(share, 'torch' in sys.modules)",
        "import pandas\npandas.DataFrame([range(30)])",
    ]
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    notebook.cells[0].metadata.tags = ["parameters"]
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, tmp_path / "toy.ipynb")
    alone = {name: value for name, value in server.items() if name != forkserver.ADDRESS}
    copies = []
    for name, environment in (("forked", server), ("started", alone)):
        out = tmp_path / name / "toy.ipynb"
        command = [
            sys.executable,
            "-m",
            "asprm.workflow.forkserver",
            "asprm.workflow.notebook",
            "toy.ipynb",
            str(out),
            "-p",
            "share",
            "2",
        ]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
        copies.append(out.read_text())
    assert "2 True" in copies[0]
    assert copies[0].replace("2 True", "2 False") == copies[1]
