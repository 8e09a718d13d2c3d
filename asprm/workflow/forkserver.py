"""Fork server: `python -m` without waiting for imports: `python -m asprm.workflow.forkserver MODULE ARGUMENT …`.

A notebook waits up to nine seconds for torch, transformers and the like, often longer than it computes. `start` imports
them once, in a process that then only waits: each job is a fork of it, with the arguments, folder, environment and
standard streams of whoever asked. Nothing of this package is imported before the fork, so that a job runs the newest
code. Where no server answers (none was started, or on another machine) the module runs in the asking process: the same,
only later.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import random
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ADDRESS = "ASPRM_FORKSERVER"  # the variable that holds the path of the server's socket
# Where it finds this package, jsonschema takes two seconds to build a grammar of addresses, which no notebook holds.
UNWANTED = "rfc3987_syntax"
LIBRARIES = (
    "ipykernel.ipkernel",  # not its kernelapp, which reads the environment when it is imported
    "papermill",
    "pandas",
    "pyarrow.parquet",
    "scipy.stats",
    "pydantic",
    "yaml",
    "matplotlib.pyplot",
    "seaborn",
    "datasets",
    "math_verify",
    "textblob.en",
    "torch",
    "transformers.trainer",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.models.mistral.modeling_mistral",
    "transformers.models.qwen2.modeling_qwen2",
)
# What libraries read when they are imported, and what a notebook's kernel would set for them before.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}
_PR_SET_PDEATHSIG = 1  # of Linux
_POLL = 1.0  # seconds
_started: subprocess.Popen | None = None  # ends when nobody holds it


def start() -> None:
    """A server for what this process starts from now on; it ends with this process, and its jobs with it.

    Nothing happens where there is no `pidfd_open` to wait for forks with (it is Linux's), or where the folder for
    temporary files is too deep for the name of a socket: jobs import for themselves.
    """
    global _started
    if not hasattr(os, "pidfd_open"):
        return
    folder = Path(tempfile.mkdtemp(prefix="asprm-"))  # nobody else may look into it
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        try:
            listener.bind(str(folder / "socket"))
        except OSError:
            folder.rmdir()
            return
        listener.listen()
        _started = subprocess.Popen(
            [sys.executable, "-m", __name__, "--serve", str(listener.fileno()), str(folder)],
            stdin=subprocess.PIPE,  # closed when this process is gone
            env=os.environ | _ENVIRONMENT,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C is for those who asked
        )
    os.environ[ADDRESS] = str(folder / "socket")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a module as `__main__`, in a fork of the server if there is one. Returns its exit status."""
    module, *rest = sys.argv[1:] if arguments is None else arguments
    if module == "--serve":
        job = _serve(socket.socket(fileno=int(rest[0])), Path(rest[1]))
        if job is None:
            return 0
        module, rest = job["module"], job["arguments"]
    elif (server := _connect()) is not None:
        return _ask(server, module, rest)
    sys.argv = [module, *rest]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        _leave.status = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    _leave.status = 0
    return 0


def _leave() -> None:
    """The last thing that a fork does: to take all libraries apart would take it two seconds."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(_leave.status)


_leave.status = 1


def known() -> bool:
    """Whether a server was started for this process or one before it."""
    return ADDRESS in os.environ


def _connect() -> socket.socket | None:
    if not known():
        return None
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        server.connect(os.environ[ADDRESS])
    except OSError:
        server.close()
        return None
    return server


def _ask(server: socket.socket, module: str, arguments: Sequence[str]) -> int:
    """The job's exit status, or 128 and the signal that ended it. If this process ends first, the job is ended, too."""
    job = {"module": module, "arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    socket.send_fds(server, [json.dumps(job).encode()], [0, 1, 2])
    server.settimeout(_POLL)
    parent = os.getppid()
    while os.getppid() == parent:
        try:
            status = server.recv(64)
        except TimeoutError:
            continue
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        if not status:
            print(f"{module}: the fork server is gone, and the job with it; start the run again", file=sys.stderr)
            return 1
        code = int(status)
        return code if code >= 0 else 128 - code
    return 1  # nobody waits for an answer


def _serve(listener: socket.socket, folder: Path) -> dict | None:
    """Answers until standard input ends: None then. Returns in every fork, too, with its job."""
    atexit.register(_leave)  # the first to be registered is the last to be called
    import_libraries()
    events = selectors.DefaultSelector()
    events.register(listener, selectors.EVENT_READ)
    events.register(0, selectors.EVENT_READ)
    jobs: dict[socket.socket, int] = {}  # of each that waits for an answer, the process that works for it
    while True:
        for key, _ in events.select():
            if key.fd == 0:
                shutil.rmtree(folder, ignore_errors=True)
                _leave.status = 0
                return None
            if key.fileobj is listener:
                waiting, _ = listener.accept()
                message, streams, _, _ = socket.recv_fds(waiting, 1 << 22, 3)
                if not message:  # it was gone before it asked
                    waiting.close()
                    continue
                if (pid := _fork()) == 0:
                    events.close()
                    for one in (listener, waiting, *jobs):
                        one.close()
                    return _become(json.loads(message), streams)
                for stream in streams:
                    os.close(stream)
                jobs[waiting] = pid
                events.register(waiting, selectors.EVENT_READ)
                events.register(os.pidfd_open(pid), selectors.EVENT_READ, waiting)
            elif key.data is None:  # whoever waited is gone, or has just been answered
                if key.fileobj in jobs:
                    events.unregister(key.fileobj)
                    os.kill(jobs[key.fileobj], signal.SIGTERM)
            else:
                events.unregister(key.fd)
                os.close(key.fd)
                _, status = os.waitpid(jobs.pop(key.data), 0)
                with suppress(KeyError):
                    events.unregister(key.data)
                with suppress(OSError):
                    key.data.send(str(os.waitstatus_to_exitcode(status)).encode())
                key.data.close()


def import_libraries() -> None:
    """What is missing is left out: a job that needs it tells."""
    sys.modules.setdefault(UNWANTED, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LIBRARIES:
            with suppress(ImportError):
                importlib.import_module(name)
    if "pandas" in sys.modules:  # it would print as in a terminal, as wide as that is
        sys.modules["pandas"].set_option("display.max_columns", 20)
    gc.collect()
    gc.freeze()  # the forks' collectors leave these objects, and the memory that all share, alone


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: there is one, pyarrow's, which allows it
        return os.fork()


def _become(job: dict, streams: Sequence[int]) -> dict:
    """Make this fork look like a process that was started for the job. It ends with the server."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    for own, given in enumerate(streams):
        os.dup2(given, own)
        os.close(given)
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    sys.path[0] = job["folder"]
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        threads = job["environment"].get("OMP_NUM_THREADS", "")
        sys.modules["torch"].set_num_threads(int(threads) if threads.isdecimal() else os.cpu_count() or 1)
    return job


if __name__ == "__main__":
    sys.exit(main())
