"""Devices: which of a machine's GPUs a job computes on, so that jobs side by side do not share one.

Snakemake counts GPUs (its resource `gpu`), but does not say which one a job may use. A job takes the first that no
other job has, and sees only this one ($CUDA_VISIBLE_DEVICES). The system's lock on a file says that it is taken:
nothing is left of it when the job is gone, however it ended. Under SLURM, which gives each job its own GPUs, nothing
is done.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asprm.run.progress import log

VISIBLE = "CUDA_VISIBLE_DEVICES"  # the environment variable that CUDA reads
_POLL = 1.0  # seconds


def visible() -> list[str]:
    """The names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them: "0", "1", … or their ids."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip() not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(number) for number in range(sum(line.startswith("GPU ") for line in listed.splitlines()))]


@contextmanager
def claimed(folder: Path | None = None) -> Iterator[str | None]:
    """Within the block this process and those that it starts see one GPU only, which no other such block has.

    Waits until one is free. Yields its name; None where there is no GPU, or SLURM has given some.

    folder: where this machine's locks are; None: below the system's folder for temporary files.
    """
    names = visible()
    if not names or "SLURM_JOB_ID" in os.environ:
        yield None
        return
    folder = folder or Path(tempfile.gettempdir()) / f"asprm-gpus-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True)
    name, file = _first_free(names, folder)
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = name
    try:
        yield name
    finally:
        os.environ.pop(VISIBLE, None) if before is None else os.environ.update({VISIBLE: before})
        os.close(file)


def _first_free(names: list[str], folder: Path) -> tuple[str, int]:
    """The first GPU that nobody has, and the descriptor of the file that is locked for it."""
    waits = False
    while True:
        for name in names:
            file = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return name, file
            except BlockingIOError:
                os.close(file)
        if not waits:
            log(f"all GPUs of this machine ({', '.join(names)}) are taken by other jobs; waiting for one")
        waits = True
        time.sleep(_POLL)
