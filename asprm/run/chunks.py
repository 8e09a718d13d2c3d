"""Chunks: a long stage in pieces that are saved as they finish, so that a killed job resumes where it was.

Chunks stay on disk when the stage is complete. A stage that is executed again (its notebook's text has changed, say)
takes them over. The name of their folder is a digest of all that they depend on: settings, inputs, versions of the
libraries, and code without comments, docstrings and formatting.

Knows items, a function and a folder: no model, no stage.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from asprm import STARTED
from asprm.run.artifacts import atomic
from asprm.run.code import fingerprint, modules
from asprm.run.progress import log, progress
from asprm.run.provenance import Kept, versions

_PROCESS = uuid.uuid4().hex
_DIGITS = 16  # of the name of a place
_KEPT_KEYS = 2  # whose results stay: those in use, and the ones before
_SECONDS = b"seconds"  # what a chunk took, in its file's metadata

Item = TypeVar("Item")


class ChunkError(RuntimeError):
    """One chunk failed; the finished ones are kept."""


@dataclass(frozen=True)
class Chunks:
    """A stage's work in pieces. Several processes may each compute some of them; one then reads the tables of all.

    function: called with a chunk's items and the state; gives a table.
    items: split into chunks of `size`.
    folder: where chunks are saved, in a subfolder per key. A chunk that is there already is not computed again.
    key: settings, seeds and digests of inputs that the tables depend on. The number of items, `size`, the code and the
        versions of the libraries count too (`place_of`).
    setup: makes the state (a loaded model, say), once per process and only if a chunk is missing. Default: None.
    workers: 1 computes in this process. More start worker processes with one torch thread each; `function` and `setup`
        must then be functions of a module, or functools.partial of them.
    label: names the stage in progress lines and errors.
    lower: which settings to change where a GPU's memory is too small for the work.
    """

    function: Callable[[Any, Any], pa.Table]
    items: Sequence[Any]
    size: int = field(kw_only=True)
    folder: Path = field(kw_only=True)
    key: Mapping[str, Any] = field(kw_only=True)
    setup: Callable[[], Any] | None = field(default=None, kw_only=True)
    workers: int = field(default=1, kw_only=True)
    label: str = field(default="", kw_only=True)
    lower: str = field(default="`chunk` in the profile", kw_only=True)

    def __post_init__(self) -> None:
        if self.size < 1 or self.workers < 1:
            raise ValueError(f"{self.label}: size = {self.size} and workers = {self.workers} must be at least 1")
        if self.workers > 1:
            _check_importable(self.function, self.setup, self.label)
        _ = self._place  # ValueError: a key that is not plain

    def tables(self, kept: Kept | None = None) -> Iterator[pa.Table]:
        """One table per chunk, in order; those that are missing are computed.

        kept: counts the chunks that were taken over.

        ChunkError: `function` or `setup` failed, or a worker died; chunks in progress are finished and saved first.
        KeyboardInterrupt stops the workers; finished chunks stay.
        """
        chunks = self._chunks
        yield from self._stream(chunks, kept)
        if chunks:
            forget_others(self._place)

    def compute(self, shard: Shard) -> int:
        """Compute the shard's missing chunks and save them; nothing else is read or written. Returns their number.

        ChunkError: as for `tables`.
        """
        missing = [chunk for chunk in shard.of(self._chunks) if chunk.load() is None]
        for _ in self._stream(missing, None):
            pass
        return len(missing)

    def missing(self) -> int:
        """How many chunks have no file."""
        return sum(not chunk.path.exists() for chunk in self._chunks)

    @cached_property
    def _place(self) -> Path:
        key = {"key": dict(self.key), "items": len(self.items), "size": self.size}
        return place_of(self.folder, key, self.function, self.setup)

    @property
    def _chunks(self) -> list[_Chunk]:
        starts = range(0, len(self.items), self.size)
        return [
            _Chunk(self._place / f"{n:05d}.parquet", i, self.items[i : i + self.size]) for n, i in enumerate(starts)
        ]

    def _stream(self, chunks: list[_Chunk], kept: Kept | None) -> Iterator[pa.Table]:
        """The tables of some of the chunks."""
        missing = [chunk for chunk in chunks if not chunk.path.exists()]
        new = set(missing)
        if len(missing) < len(chunks) and (missing or kept is not None):
            log(f"{self.label}: {len(chunks) - len(missing)} of {len(chunks)} chunks are there already")
        function, setup, spawned = self.function, self.setup, self.workers > 1 and missing
        computing = _in_processes(function, setup, missing, self.workers) if spawned else _in_process(function, setup)
        with computing as compute:
            for chunk in progress(chunks, label=self.label):
                table = chunk.load()
                if kept is not None and table is not None and chunk not in new:
                    kept.chunks, kept.seconds = kept.chunks + 1, kept.seconds + chunk.seconds
                for _ in range(2):  # a second time if another run has removed the file meanwhile
                    if table is None:
                        try:
                            compute(chunk)
                        except Exception as error:
                            raise chunk.failed(self.label, error, self.lower) from error
                        table = chunk.load()
                if table is None:
                    raise chunk.failed(self.label, OSError("the saved chunk could not be read back, twice"))
                yield table


def map_chunks(
    function: Callable[[Any, Any], pa.Table], items: Sequence[Any], *, kept: Kept | None = None, **options: Any
) -> Iterator[pa.Table]:
    """The tables of `Chunks(function, items, **options)`. kept: as for `Chunks.tables`."""
    return Chunks(function, items, **options).tables(kept)


@dataclass(frozen=True)
class Shard:
    """One of several processes that share a stage's chunks: "3/8" takes those whose numbers are 3 modulo 8."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """ValueError: not <number>/<count> with a number from 1 to the count."""
        parts = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
        if not parts or int(parts[1]) > int(parts[2]):
            raise ValueError(f"shard {text!r}: expected <number>/<count>, such as 1/8 or 8/8")
        return cls(int(parts[1]), int(parts[2]))

    def of(self, chunks: Sequence[Item]) -> Sequence[Item]:
        """Those of the chunks, which are numbered from 0, that are this shard's."""
        return chunks[self.number % self.count :: self.count]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def place_of(folder: Path, key: Mapping[str, Any], *functions: Callable | None) -> Path:
    """The folder below `folder` for the results of the functions; another key, code or library gives another folder.

    Code is the functions' modules with all modules of asprm that they import, directly or not.
    """
    code = [_code(function) for function in functions if function is not None]
    return folder / _digest({"key": dict(key), "code": code, "versions": versions()})


def forget_others(place: Path) -> None:
    """Remove the results of other keys beside `place`, except the newest: undoing a change costs nothing.

    `make clean-work` removes all of them.
    """
    os.utime(place)  # the last that was used is the newest
    others = [path for path in place.parent.glob("[0-9a-f]" * _DIGITS) if path != place]
    for other in sorted(others, key=_changed, reverse=True)[_KEPT_KEYS - 1 :]:
        shutil.rmtree(other, ignore_errors=True)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another run was faster
        return 0.0


class _Chunk:
    """Some items, the number of the first one, and the file that holds their table."""

    def __init__(self, path: Path, start: int, items: Sequence[Any]):
        self.path, self.start, self.items, self.seconds = path, start, items, 0.0

    def load(self) -> pa.Table | None:
        """The saved table; None if it is not there or damaged."""
        try:
            table = pq.read_table(self.path, page_checksum_verification=True)
            self.seconds = float(table.schema.metadata[_SECONDS])
            return table.replace_schema_metadata(None)
        except FileNotFoundError:
            return None
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            log(f"{self.path} is damaged; computing it again ({error})")
            self.path.unlink()
            return None

    def failed(self, label: str, error: Exception, lower: str = "") -> ChunkError:
        what = "its process died; was memory short?" if isinstance(error, BrokenProcessPool) else repr(error)
        if any(
            kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__
        ):  # torch's, which is not loaded here
            what = (
                f"the GPU's memory is full ({str(error).partition('. ')[0]})\n  change {lower}, or end what else uses "
                "this GPU (nvidia-smi shows it)"
            )
        last = self.start + len(self.items) - 1
        return ChunkError(
            f"{label}: chunk {int(self.path.stem)} (items {self.start} to {last}) failed: {what}\n"
            f"  finished chunks are kept in {self.path.parent}; run again to compute only the others"
        )


@contextmanager
def _in_process(function: Any, setup: Any) -> Iterator[Callable[[_Chunk], None]]:
    worker = _Worker(function, setup)
    yield lambda chunk: worker.compute(chunk.items, chunk.path)


@contextmanager
def _in_processes(function: Any, setup: Any, chunks: list[_Chunk], workers: int) -> Iterator[Callable[[_Chunk], None]]:
    """Start to compute all `chunks`; the function that it yields waits for one of them."""
    others = set(multiprocessing.active_children())
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start, initargs=(function, setup))
    try:
        futures = {chunk.path: pool.submit(_compute, chunk.items, chunk.path) for chunk in chunks}
        # A saved chunk that turns out to be damaged or gone is not among the futures.
        yield lambda chunk: (futures.pop(chunk.path, None) or pool.submit(_compute, chunk.items, chunk.path)).result()
    except Exception:
        raise  # the shutdown below waits: chunks in progress are finished and saved
    except BaseException:  # interrupted, or the caller stopped reading
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Worker:
    """Computes chunks in one process; `setup` runs before the first."""

    def __init__(self, function: Any, setup: Any):
        self.function, self.setup, self.ready, self.state = function, setup, False, None

    def compute(self, items: Sequence[Any], path: Path) -> None:
        if not self.ready:
            self.state, self.ready = self.setup() if self.setup else None, True
        start = time.monotonic()
        table = self.function(items, self.state)
        seconds = str(round(time.monotonic() - start, 3))
        with atomic(path) as temporary:
            pq.write_table(
                table.replace_schema_metadata({_SECONDS: seconds}),
                temporary,
                compression="zstd",
                write_page_checksum=True,
            )


_worker: _Worker


def _start(function: Any, setup: Any) -> None:
    """Runs first in each spawned process."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles interrupts
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    _worker = _Worker(function, setup)


def _compute(items: Sequence[Any], path: Path) -> None:
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # the variables in `_start` come too late if unpickling `function` imported torch
    _worker.compute(items, path)


def _end_with_parent() -> None:
    """Exit when the parent does: a killed parent cannot stop its workers, which would go on and hold memory."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _check_importable(function: Any, setup: Any, label: str) -> None:
    for given in (function, setup):
        inner = given
        while hasattr(inner, "func"):  # functools.partial
            inner = inner.func
        name = getattr(inner, "__qualname__", type(inner).__qualname__)
        if getattr(inner, "__module__", None) == "__main__" or "<locals>" in name:
            raise ValueError(
                f"{label}: {name} is defined in a notebook, a script or another function, where worker "
                "processes cannot import it\n  move it to a module, or use workers=1"
            )


def _code(function: Any) -> list[str]:
    """Fingerprints of the files that the function's results depend on, its own module first."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    owner = function if hasattr(function, "__module__") else type(function)
    file = getattr(sys.modules.get(owner.__module__), "__file__", None)
    if not file:  # a function of a notebook, say
        try:
            return [hashlib.sha256(inspect.getsource(owner).encode()).hexdigest()]
        except (OSError, TypeError):
            return [_PROCESS]
    files = [Path(file), *modules(Path(file))]
    prints = [fingerprint(path) for path in files]
    # Moved and copied files keep an old modification time, so the time of change counts too.
    if max(max(state.st_mtime, state.st_ctime) for state in map(os.stat, files)) > STARTED:
        prints.append(_PROCESS)  # this process may have imported the older text: nobody else may use its results
    return prints


def _digest(key: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(key, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"key: expected plain numbers, texts, lists and mappings ({error})") from None
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
