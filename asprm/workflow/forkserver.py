"""Fork server: run modules as `python -m` does, without waiting for the heavy libraries.

    python -m asprm.workflow.forkserver MODULE ARGUMENT …

A notebook waits up to nine seconds for torch, transformers and others, often longer than it computes. `start` imports
them once, in a server process. Each job is a fork of the server, with the arguments, folder, environment and standard
streams of the process that asked for it (the client). The server imports nothing of this package before it forks, so
that a job runs the newest code. Where no server answers (none was started, or it is on another machine), the client
runs the module itself: the result is the same, but comes later.
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
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

ADDRESS = "ASPRM_FORKSERVER"  # environment variable with the path of the server's socket
# jsonschema imports this package if it is installed, and then takes two seconds to build a grammar of URLs. Notebooks
# contain none.
UNWANTED = "rfc3987_syntax"
LIBRARIES = (
    "ipykernel.ipkernel",  # not ipykernel.kernelapp, which reads the environment when it is imported
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
# Variables that libraries read when they are imported, with the values that a notebook's kernel would set.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}
_PR_SET_PDEATHSIG = 1  # of Linux's prctl
_POLL = 1.0  # seconds between two checks that the client's own parent still lives
_started: subprocess.Popen | None = None


def start(*inherited: int) -> None:
    """Start a server for the processes that this one will start. It ends with this process, and its jobs with it.

    To be called in the main thread: the system ends the server with the thread that started it.
    inherited: file descriptors that stay open in the server and its jobs, such as that of a lock.
    Does nothing, so that jobs import the libraries themselves, where the system lacks `pidfd_open` (only Linux has it)
    or the path of the folder for temporary files is too long for the name of a socket.
    """
    global _started
    if not hasattr(os, "pidfd_open"):
        return
    folder = Path(tempfile.mkdtemp(prefix="asprm-"))  # only this user may open it
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        try:
            listener.bind(str(folder / "socket"))
        except OSError:
            folder.rmdir()
            return
        listener.listen()
        _started = subprocess.Popen(
            [sys.executable, "-m", __name__, "--serve", str(listener.fileno()), str(folder), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            env=os.environ | _ENVIRONMENT,
            pass_fds=[listener.fileno(), *inherited],
            start_new_session=True,  # Ctrl-C reaches the clients, which end their jobs
        )
    os.environ[ADDRESS] = str(folder / "socket")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a module as `__main__`, in a fork of the server if there is one. Returns the exit status."""
    module, *rest = sys.argv[1:] if arguments is None else arguments
    if module == "--serve":
        job = _serve(socket.socket(fileno=int(rest[0])), Path(rest[1]), starter=int(rest[2]))
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
    """End this process at once: Python's own shutdown would spend two seconds on the libraries."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(_leave.status)


_leave.status = 1


def known() -> bool:
    """Whether this process or an ancestor of it has started a server."""
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
    """Let the server run a job and wait for it. Returns the job's exit status, or 128 and the signal that ended it.

    The server ends the job if this process ends first.
    """
    job = {"module": module, "arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    with tempfile.TemporaryFile() as file:  # a message may be too short for an environment
        file.write(json.dumps(job).encode())
        file.flush()
        socket.send_fds(server, [b"job"], [0, 1, 2, file.fileno()])
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
            print(f"{module}: the fork server has ended, and the job with it; start the run again", file=sys.stderr)
            return 1
        code = int(status)
        return code if code >= 0 else 128 - code
    return 1  # the parent has ended: nobody reads the status


def _serve(listener: socket.socket, folder: Path, starter: int) -> dict:
    """Answer clients until the process `starter` ends. Returns in every fork, with its job.

    folder: holds the socket, and is removed at the end.
    """
    atexit.register(_leave)  # registered first, called last
    server = os.getpid()

    def end(*_: object) -> None:
        if os.getpid() == server:
            with suppress(OSError):
                (folder / "socket").unlink()
                folder.rmdir()
        os._exit(1)

    signal.signal(signal.SIGTERM, end)
    _end_with(starter)
    import_libraries()
    events = selectors.DefaultSelector()
    events.register(listener, selectors.EVENT_READ)
    jobs: dict[socket.socket, int] = {}  # the process id of each client's job
    while True:
        for key, _ in events.select():
            if key.fd == listener.fileno():  # a client asks for a job
                client, _ = listener.accept()
                message, files, _, _ = socket.recv_fds(client, 64, 4)
                if not message:  # the client ended before it asked
                    client.close()
                    continue
                if (pid := _fork()) == 0:
                    events.close()
                    for connection in (listener, client, *jobs):
                        connection.close()
                    return _become(files, server)
                for file in files:
                    os.close(file)
                jobs[client] = pid
                events.register(client, selectors.EVENT_READ)
                events.register(os.pidfd_open(pid), selectors.EVENT_READ, client)
            elif key.data is None:  # a client has ended; one that was answered just now has no job any more
                client = cast(socket.socket, key.fileobj)
                if client in jobs:
                    events.unregister(client)
                    os.kill(jobs[client], signal.SIGTERM)
            else:  # a job has ended
                _answer(key, jobs, events)


def _answer(key: selectors.SelectorKey, jobs: dict[socket.socket, int], events: selectors.BaseSelector) -> None:
    """Tell a client, `key.data`, the exit status of its job."""
    client = key.data
    events.unregister(key.fd)
    os.close(key.fd)
    _, status = os.waitpid(jobs.pop(client), 0)
    with suppress(KeyError):  # the client ended before its job
        events.unregister(client)
    with suppress(OSError):
        client.send(str(os.waitstatus_to_exitcode(status)).encode())
    client.close()


def leave_out_unwanted() -> None:
    """Let imports of `UNWANTED` fail, as if it were not installed."""
    sys.modules.setdefault(UNWANTED, None)  # pyright: ignore[reportArgumentType]


def import_libraries() -> None:
    """Import the heavy libraries. A missing one is skipped: the job that needs it reports the error."""
    leave_out_unwanted()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LIBRARIES:
            with suppress(ImportError):
                importlib.import_module(name)
    if "pandas" in sys.modules:  # imported outside a notebook, it would fit tables to a terminal's width
        sys.modules["pandas"].set_option("display.max_columns", 20)
    gc.collect()
    gc.freeze()  # the forks' garbage collectors leave these objects alone, so that their memory stays shared


def _fork() -> int:
    with warnings.catch_warnings():
        # Python warns of forking with threads. There is one, pyarrow's, and it allows it.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _end_with(parent: int) -> None:
    """Let the system send SIGTERM to this process when its parent, the process `parent`, ends; now if it has ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        signal.raise_signal(signal.SIGTERM)


def _become(files: Sequence[int], server: int) -> dict:
    """Make this fork look like a process that was started for a job. It ends with the server. Returns the job.

    files: descriptors of the three standard streams and of a file that describes the job. server: its process.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _end_with(server)
    *streams, description = files
    with open(description, "rb") as file:
        file.seek(0)
        job = json.load(file)
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
