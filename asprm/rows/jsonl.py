"""JSON Lines in and out: a row that fails is reported by its line number, and the others go on (unless `strict`).

Knows lines, files and pipes, but not the content of rows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from asprm.run.progress import progress
from asprm.run.sections import nearest

PIPE = "-"
ROW_ERRORS = (ValueError, ArithmeticError, RuntimeError, RecursionError)  # RuntimeError: torch, for sizes that mismatch

Item = TypeVar("Item")


class Failed(Exception):
    """Rows failed: the message says which row (if strict) or how many."""


@dataclass(frozen=True)
class Line:
    """A row and the number of its line, from 1."""

    number: int
    row: dict[str, Any]


class Lines:
    """Reads rows and writes rows. A context manager, used once.

    source, target: paths, or "-" for the standard streams.
    strict: stop at the first row that fails.
    rename: the file's names of fields, with the names that replace them.

    Failed: rows failed; raised at the end, or if `strict` at the first one. OSError: no such file. ValueError: `target`
    is `source`.
    """

    def __init__(
        self, source: str, target: str = PIPE, *, strict: bool = False, rename: Mapping[str, str] | None = None
    ) -> None:
        if source != PIPE and target != PIPE and Path(source).resolve() == Path(target).resolve():
            raise ValueError(f"{target} is the file that is read; write to another file")
        self.source, self.target, self.strict, self.rename = source, target, strict, dict(rename or {})
        self.rows = self.failed = 0
        self._out: BinaryIO = sys.stdout.buffer

    def __enter__(self) -> Lines:
        self._in: BinaryIO = sys.stdin.buffer if self.source == PIPE else open(self.source, "rb")
        if self.target != PIPE:
            self._out = open(self.target, "wb")
        return self

    def __exit__(self, kind: type | None, *_: Any) -> None:
        if self.source != PIPE:
            self._in.close()
        if self.target != PIPE:
            self._out.close()
        if kind is None and self.failed:
            raise Failed(f"{self.failed} of {self.rows} rows failed")

    def read(self, label: str) -> Iterator[Line]:
        """The rows, with progress on standard error. Empty lines are skipped; other lines that are not rows fail."""
        for number, text in enumerate(progress(self._in, total=self._count(), label=label, unit="row"), 1):
            if not text.strip():
                continue
            self.rows += 1
            with self.row(number):
                yield Line(number, self._parsed(text))

    @contextmanager
    def row(self, number: int) -> Iterator[None]:
        """An error in the block is reported, and counts as a failure of the row on this line."""
        try:
            yield
        except ROW_ERRORS as error:
            self.fail(number, error)

    def fail(self, number: int, error: Exception) -> None:
        """Report that the row on this line failed. Failed: if `strict`."""
        message = f"line {number}: {error}"
        if self.strict:
            raise Failed(message) from None
        self.failed += 1
        print(message, file=sys.stderr, flush=True)

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row, without delay for those who read the pipe. ValueError: a number that is not finite."""
        self._out.write(json.dumps(row, ensure_ascii=False, allow_nan=False, default=_plain).encode() + b"\n")
        self._out.flush()

    def _parsed(self, text: bytes) -> dict[str, Any]:
        try:
            row: Any = json.loads(text)
        except ValueError as error:
            raise ValueError(f"it is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"expected an object with named fields, not a {type(row).__name__}")
        fields: dict[str, Any] = row
        return {self.rename.get(name, name): value for name, value in fields.items()}

    def _count(self) -> int | None:
        """The number of lines of the file; None for a pipe."""
        if self.source == PIPE:
            return None
        with open(self.source, "rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def each(
    lines: Lines,
    rows: Iterable[Line],
    prepare: Callable[[dict[str, Any]], Item],
    compute: Callable[[Sequence[Item]], Iterable[Mapping[str, Any]]],
    *,
    size: int,
) -> Iterator[tuple[Line, Mapping[str, Any]]]:
    """The rows with what was computed for them, in order. Rows that fail are left out.

    lines: reports the failures.
    rows: from `lines.read`.
    prepare: makes the item of a row; ValueError if the row is wrong.
    compute: gives a result for each of several items; models work on many together. If it fails, the items are
        computed one by one, so that only those that cause the error fail.
    size: the most items that are computed together.
    """
    rows = iter(rows)
    while window := list(islice(rows, size)):
        ready: list[tuple[Line, Item]] = []
        for line in window:
            with lines.row(line.number):
                ready.append((line, prepare(line.row)))
        try:
            results = list(compute([item for _, item in ready])) if ready else []
        except ROW_ERRORS:
            for line, item in ready:
                with lines.row(line.number):
                    yield line, next(iter(compute([item])))
            continue
        for (line, _), result in zip(ready, results, strict=True):
            yield line, result


def take(row: Mapping[str, Any], name: str, kind: type | tuple[type, ...], meaning: str) -> Any:
    """The row's field `name`. ValueError: it is missing or not of this kind. meaning: what it should be, in words."""
    if name not in row:
        raise ValueError(f"no field '{name}' ({meaning}): {nearest(name, row)}")
    if not isinstance(row[name], kind) or isinstance(row[name], bool):
        raise ValueError(f"'{name}' is {json.dumps(row[name])[:60]}, expected {meaning}")
    return row[name]


def _plain(value: Any) -> Any:
    """numpy's numbers and arrays as JSON has them; a float32 with the fewest digits that identify it."""
    import numpy as np  # late: `asprm --help` need not wait for it

    if isinstance(value, np.generic) and value.dtype == np.float32:
        return float(str(value))
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return [float(str(x)) for x in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not a JSON value")
