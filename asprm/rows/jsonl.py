"""JSON Lines in and out: a row that fails is told by its line number and does not stop the rest, unless it must.

Knows lines, files and pipes: not what stands in a row.
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
ROW_ERRORS = (
    ValueError,
    ArithmeticError,
    RuntimeError,
    RecursionError,
)  # torch says with RuntimeError what did not fit

Item = TypeVar("Item")


class Failed(Exception):
    """Rows failed: the message says which one (strict), or how many."""


@dataclass(frozen=True)
class Line:
    """A row and the number of its line, from 1."""

    number: int
    row: dict[str, Any]


class Lines:
    """Rows from `source` and rows to `target`: paths, or "-" for the standard streams. A context, used once.

    rename: names of fields in the file -> names that they go by here. strict: the first row that fails ends it all.
    Failed: at the end if rows failed, at the first one if strict. OSError: no such file. ValueError: `target` is
    `source`.
    """

    def __init__(
        self, source: str, target: str = PIPE, *, strict: bool = False, rename: Mapping[str, str] | None = None
    ) -> None:
        if source != PIPE and target != PIPE and Path(source).resolve() == Path(target).resolve():
            raise ValueError(f"{target} is the file that is read; write the rows to another one")
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
        """The rows, with progress on standard error; lines that are no rows have failed. Empty ones are passed over."""
        for number, text in enumerate(progress(self._in, total=self._count(), label=label, unit="row"), 1):
            if not text.strip():
                continue
            self.rows += 1
            with self.row(number):
                yield Line(number, self._parsed(text))

    @contextmanager
    def row(self, number: int) -> Iterator[None]:
        """What goes wrong inside counts against the row on this line, and is told."""
        try:
            yield
        except ROW_ERRORS as error:
            self.fail(number, error)

    def fail(self, number: int, error: Exception) -> None:
        said = f"line {number}: {error}"
        if self.strict:
            raise Failed(said) from None
        self.failed += 1
        print(said, file=sys.stderr, flush=True)

    def write(self, row: Mapping[str, Any]) -> None:
        """One row, at once: what reads the pipe need not wait for the rest. ValueError: a number that is not finite."""
        self._out.write(json.dumps(row, ensure_ascii=False, allow_nan=False, default=_plain).encode() + b"\n")
        self._out.flush()

    def _parsed(self, text: bytes) -> dict[str, Any]:
        try:
            row = json.loads(text)
        except ValueError as error:
            raise ValueError(f"it is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"expected an object with named fields, not a {type(row).__name__}")
        return {self.rename.get(name, name): value for name, value in row.items()}

    def _count(self) -> int | None:
        """How many lines the file has; a pipe does not say."""
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
    """The rows with what was computed for them, in order; those that fail are left out.

    prepare: a row's item; ValueError if the row is no good. compute: a result for each of up to `size` items, together,
    for models work on many at a time; where it fails, the items are computed one by one to find out which are to blame.
    """
    rows = iter(rows)
    while window := list(islice(rows, size)):
        ready: list[tuple[Line, Item]] = []
        for line in window:
            with lines.row(line.number):
                ready.append((line, prepare(line.row)))
        try:
            found = list(compute([item for _, item in ready])) if ready else []
        except ROW_ERRORS:
            for line, item in ready:
                with lines.row(line.number):
                    yield line, next(iter(compute([item])))
            continue
        for (line, _), result in zip(ready, found, strict=True):
            yield line, result


def take(row: Mapping[str, Any], name: str, kind: type | tuple[type, ...], what: str) -> Any:
    """The row's field `name`. ValueError: it is missing or of another kind; `what` it should be, in words."""
    if name not in row:
        raise ValueError(f"no field '{name}' ({what}): {nearest(name, row)}")
    if not isinstance(row[name], kind) or isinstance(row[name], bool):
        raise ValueError(f"'{name}' is {json.dumps(row[name])[:60]}, expected {what}")
    return row[name]


def _plain(value: Any) -> Any:
    """numpy's numbers and arrays as JSON knows them; a float32 with as many digits as tell it from its neighbours."""
    if getattr(value, "dtype", None) == "float32":
        return [float(str(x)) for x in value] if value.ndim else float(str(value))
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON value")
