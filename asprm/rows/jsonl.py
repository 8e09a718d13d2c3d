"""JSON Lines in and out: a row that fails is reported by its line number, and the others go on (unless `strict`).

Knows lines, files and pipes, but not the content of rows. Nothing that is read is written over: input and output are
compared as files, not by their names, and an old output is emptied only when the first row is written.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, TypeVar

from asprm.problems.strict import check_encoding, check_text, read_json
from asprm.run.progress import log, progress
from asprm.run.sections import nearest

PIPE = "-"
_SPEAKING = (ValueError, ArithmeticError, RuntimeError)  # errors whose message needs no name before it

Item = TypeVar("Item")
Result = TypeVar("Result")


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
    is the file `source`, by whatever name; two names are replaced by one; the file is no JSON Lines at all.
    """

    def __init__(
        self, source: str, target: str = PIPE, *, strict: bool = False, rename: Mapping[str, str] | None = None
    ) -> None:
        self.source, self.target, self.strict, self.rename = source, target, strict, dict(rename or {})
        self.rows = self.failed = self.written = 0
        self._unseen = set(self.rename)  # names to replace that no row has had
        self._replaced: set[str] = set()  # fields of rows that were replaced, which is said once
        self._out: BinaryIO = sys.stdout.buffer

    def __enter__(self) -> Lines:
        self._in: BinaryIO = sys.stdin.buffer if self.source == PIPE else open(self.source, "rb")
        if self.target != PIPE:
            self._out = open(self.target, "wb", opener=_unemptied)
        if same_file(self._in, self._out):
            self._close()
            name = "standard output" if self.target == PIPE else self.target
            raise ValueError(f"{name} is the file that is read; write to another file")
        return self

    def __exit__(self, kind: type | None, *_: Any) -> None:
        if kind is None and not self.failed:
            self._empty()  # there were no rows, and so there are none in the output
        self._close()
        if kind is None and not self.rows:
            log(f"{self.name} has no rows")
        if kind is None and self.rows:
            for name in sorted(self._unseen):
                log(f"--rename {name}={self.rename[name]}: no row has a field {name!r}")
        if kind is None and self.failed:
            kept = "" if self.written or self.target == PIPE else f"; nothing was written to {self.target}"
            raise Failed(f"{self.failed} of {self.rows} rows failed{kept}")

    def read(self, label: str | None) -> Iterator[Line]:
        """The rows, with progress on standard error. Empty lines are skipped; other lines that are not rows fail.

        label: of the progress; None: it is not shown.
        ValueError: the file has another encoding than UTF-8, or is one JSON text over several lines.
        """
        numbered = self._numbered()
        if label is not None:
            numbered = progress(numbered, total=self._count(), label=label, unit="row")
        for number, text in numbered:
            if not text.strip():
                continue
            self.rows += 1
            with self.row(number):
                yield Line(number, self._renamed(_parsed(text)))

    @contextmanager
    def row(self, number: int) -> Iterator[None]:
        """An error in the block is reported, and counts as a failure of the row on this line.

        Whatever a row causes is its own failure. Only what concerns all rows ends the command: files, missing packages.
        """
        try:
            yield
        except (Failed, OSError, ImportError):
            raise
        except Exception as error:
            self.fail(number, error)

    def fail(self, number: int, error: Exception) -> None:
        """Report that the row on this line failed. Failed: if `strict`."""
        said = " ".join(str(error).split())
        message = f"line {number}: " + (said if isinstance(error, _SPEAKING) else f"{type(error).__name__}: {said}")
        if self.strict:
            raise Failed(message) from None
        self.failed += 1
        print(message, file=sys.stderr, flush=True)

    def put(self, line: Line, fields: Mapping[str, Any], *, anew: Collection[str] = ()) -> None:
        """Write a row with fields added to it. A row that cannot be written fails, as in `row`.

        The fields that came are written as they came, also what is not finite. A computed number must be finite.
        anew: fields that an earlier command may have added; where they are replaced, nothing is said.
        """
        if replaced := (line.row.keys() & fields.keys()) - self._replaced - {*anew}:
            self._replaced |= replaced
            log(f"line {line.number}: its own {', '.join(sorted(replaced))} is replaced, and so in later rows")
        with self.row(line.number):
            row = {**line.row, **fields}
            try:
                text = _json(row)
            except ValueError:
                _json(fields)
                text = _json(row, allow_nan=True)
            self._put(text)

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row, without delay for those who read the pipe. ValueError: a number that is not finite."""
        self._put(_json(row))

    @property
    def name(self) -> str:
        """Of what is read, for messages."""
        return "standard input" if self.source == PIPE else self.source

    def _put(self, text: str) -> None:
        try:
            data = text.encode()
        except UnicodeEncodeError:  # half a surrogate pair, which only an escape can write
            data = re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text).encode()
        self._empty()
        self.written += 1
        self._out.write(data + b"\n")
        self._out.flush()

    def _empty(self) -> None:
        """Empty an old output file, once, before its first row."""
        if not self.written and self.target != PIPE and _is_file(self._out):
            self._out.truncate(0)

    def _close(self) -> None:
        if self.source != PIPE:
            self._in.close()
        if self.target != PIPE:
            self._out.close()

    def _numbered(self) -> Iterator[tuple[int, bytes]]:
        """The lines with their numbers. ValueError: the first row shows that these are no JSON Lines."""
        lines, name = enumerate(self._in, 1), self.name
        for number, text in lines:
            if number == 1:
                _check_encoding(name, text)
            ahead = []
            if text.strip():
                if _breaks_off(text):
                    ahead = list(islice(lines, 1))
                    if ahead and not _is_row(ahead[0][1]):
                        form = "'.[]'" if text.lstrip().startswith(b"[") else "."
                        raise ValueError(
                            f"{name}: it is one JSON text over several lines, expected JSON Lines: an object on each "
                            f"line; convert it with `jq -c {form}`"
                        )
                yield number, text
                yield from ahead
                break
        yield from lines

    def _renamed(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The row with its fields' new names. ValueError: two of its fields get the same name."""
        if not self.rename:
            return fields
        self._unseen -= fields.keys()
        row: dict[str, Any] = {}
        for name, value in fields.items():
            new = self.rename.get(name, name)
            if new in row:
                raise ValueError(f"--rename makes two fields {new!r} of this row, which has one already")
            row[new] = value
        return row

    def _count(self) -> int | None:
        """The number of lines of a file; None for a pipe, whatever its name: it can be read only once."""
        if self.source == PIPE or not _is_file(self._in):
            return None
        with open(self.source, "rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def same_file(first: BinaryIO, second: BinaryIO) -> bool:
    """Whether both are one file on a disk, by whatever names: links, redirects, /dev/stdin."""
    if not (_is_file(first) and _is_file(second)):
        return False
    return os.path.samestat(os.fstat(first.fileno()), os.fstat(second.fileno()))


def _is_file(stream: BinaryIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except OSError:  # a stream in memory
        return False


def _unemptied(path: str, flags: int) -> int:
    """Opens for `open(path, "wb")`, but leaves what is in the file."""
    return os.open(path, flags & ~os.O_TRUNC, 0o666)


def each(
    lines: Lines,
    rows: Iterable[Line],
    prepare: Callable[[dict[str, Any]], Item],
    compute: Callable[[Sequence[Item]], Iterable[Result | Exception | None]],
    *,
    size: int,
) -> Iterator[tuple[Line, Result]]:
    """The rows with what was computed for them, in order and as soon as it is there. Rows that fail are left out.

    lines: reports the failures.
    rows: from `lines.read`.
    prepare: makes the item of a row; ValueError if the row is wrong.
    compute: gives a result for each of several items; models work on many together. A result that is an exception is
        the failure of its row, and None leaves the row out. If it raises an error, the items that have no result yet
        are computed one by one, so that only those that cause the error fail.
    size: the most items that are computed together.
    """
    rows = iter(rows)
    while True:
        ready: list[tuple[Line, Item]] = []
        failed = None
        taken = 0
        try:
            for line in islice(rows, size):
                taken += 1
                with lines.row(line.number):
                    ready.append((line, prepare(line.row)))
        except Failed as error:  # strict: the rows before it are still computed
            failed = error
        for line, result in _computed(lines, ready, compute):
            if isinstance(result, Exception):
                lines.fail(line.number, result)
            elif result is not None:
                yield line, result
        if failed:
            raise failed
        if taken < size:
            return


def _computed(lines: Lines, ready: Sequence[tuple[Line, Item]], compute: Callable) -> Iterator[tuple[Line, Any]]:
    """The results of a window, together as far as they go, then one by one."""
    done = 0
    try:
        for (line, _), result in zip(ready, compute([item for _, item in ready]) if ready else (), strict=True):
            done += 1
            yield line, result
    except (OSError, ImportError):
        raise
    except Exception:
        if done == len(ready):
            raise
    for line, item in ready[done:]:
        with lines.row(line.number):
            yield line, next(iter(compute([item])))


def take(row: Mapping[str, Any], name: str, kind: type | tuple[type, ...], meaning: str, *, empty: bool = True) -> Any:
    """The row's field `name`. meaning: what it should be, in words. empty: whether a text may be empty.

    ValueError: it is missing, not of this kind, not finite, or holds half a character. A field that may be missing is
    left out: null is a value of no kind.
    """
    if name not in row:
        raise ValueError(f"no field '{name}' ({meaning}): {nearest(name, row) if row else 'the row is empty'}")
    value = row[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"'{name}' is {shown(value)}, expected {meaning}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"'{name}' is {shown(value)}, expected {meaning}")
    if not empty and isinstance(value, str) and not value.strip():
        raise ValueError(f"'{name}' is empty, expected {meaning}")
    return check_text(name, value) if isinstance(value, str) else value


def shown(value: Any) -> str:
    """The beginning of a value as JSON writes it, for an error."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _parsed(line: bytes) -> dict[str, Any]:
    """The row on a line. ValueError: it is none."""
    try:
        row: Any = read_json(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"expected an object with named fields, not a {type(row).__name__}")
    return row


def _check_encoding(name: str, start: bytes) -> None:
    try:
        check_encoding(start)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _breaks_off(line: bytes) -> bool:
    """Whether a line is the beginning of a longer JSON text, as the first one of a pretty-printed text is."""
    text = line.decode("utf-8-sig", "replace").rstrip()
    try:
        read_json(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text)
    except (ValueError, RecursionError):
        return False
    return False


def _is_row(line: bytes) -> bool:
    try:
        _parsed(line)
    except (ValueError, RecursionError):
        return False
    return True


def _json(row: Mapping[str, Any], *, allow_nan: bool = False) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=allow_nan, default=_plain)


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
