"""Lock: one run of a profile at a time, whose lock ends with it, however it ends.

The lock is the system's, on the file `data/runs/<profile>/.lock`: nothing is left of it when its processes are gone,
after SIGKILL or a power cut too. The jobs of a run hold it as well, so that the next run waits for those of a killed
one.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asprm.run.progress import log

_PATIENCE = 30.0  # seconds that the jobs of a killed run may take to end
_POLL = 0.1


class RunIsBusy(RuntimeError):
    """Another run of the profile is at work; the message names it."""


def take(run: Path) -> int:
    """Lock the folder of a run until this process has ended, and every process that inherits the descriptor returned.

    RunIsBusy: another process has the lock and does not end within half a minute, or the folder is another person's.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        file = os.open(run / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError as error:
        raise RunIsBusy(
            f"cannot write to {error.filename}: the run is another person's\n"
            "  set ASPRM_HOME to a folder of your own, or ask for the right to write"
        ) from None
    if not _locked(file, fcntl.LOCK_EX, run):
        os.close(file)
        raise RunIsBusy(_message(run))
    owner = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.ftruncate(file, 0)
    os.write(file, json.dumps(owner).encode())
    return file


def other_run(run: Path) -> str:
    """Which other run is at work in the folder and what to do about it, in words; "" if there is none."""
    try:
        with open(run / ".lock") as file:
            return "" if _locked(file.fileno(), fcntl.LOCK_SH, run) else _message(run)
    except FileNotFoundError:
        return ""


@contextmanager
def one_at_a_time(path: Path, what: str) -> Iterator[None]:
    """Wait until no other process is in such a block with the same file. The system ends the lock with the process.

    A job that a killed run has left behind on another machine may still be at work when the next run starts it again.

    path: of the file. what: names the work in the log line that says that it waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"{what}: waiting for the same one, which an earlier run has started")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: the same work is done twice, which does no harm
            pass
        yield


def at_work(run: Path) -> bool:
    """Whether a run or one of its jobs is at work in the folder now. Does not wait."""
    try:
        with open(run / ".lock") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock, or a file system without locks
        return False
    return False


def _locked(file: int, kind: int, run: Path) -> bool:
    """Lock the file, after the jobs of a run that has ended; False if a run that lives holds it."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if _lives(_owner(run)) or time.monotonic() > end:
                return False
            time.sleep(_POLL)
        except OSError:  # a file system without locks
            return True


def _owner(run: Path) -> dict:
    try:
        return json.loads((run / ".lock").read_text())
    except (OSError, ValueError):  # it has just been taken
        return {}


def _lives(owner: dict) -> bool:
    """Whether the owner's process is there; one on another machine counts as alive, since it cannot be looked at."""
    if owner.get("host") != socket.gethostname():
        return bool(owner)
    try:
        os.kill(owner["process"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def _message(run: Path) -> str:
    owner = _owner(run)
    who = "process {process} on {host}, since {since}".format(**owner) if owner else "unknown process"
    if owner and not _lives(owner):
        return f"jobs of an earlier run of {run.name} ({who}) have not ended yet\n  wait for them, or end them"
    return f"another run of {run.name} is at work: {who}\n  wait for it or end it, then run the same command again"
