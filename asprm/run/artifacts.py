"""Artifacts: files and folders that are written safely, and digests that tell whether two are equal.

Knows paths and tables: no profile, no stage.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import pandas as pd


ROWS_PER_GROUP = 16_384


class DiskFull(OSError):
    """No space left while writing; the older file at that path is untouched."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, for a file or a folder, that replaces `path` when the block ends without error.

    After an error the temporary path is removed and `path` is as it was. DiskFull: no space left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    _remove(temporary)
    try:
        yield temporary
        for file in _files(temporary):
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
        _replace(temporary, path)
    except BaseException as error:
        _remove(temporary)
        if _is_disk_full(error):
            free = shutil.disk_usage(path.parent).free
            raise DiskFull(
                errno.ENOSPC,
                f"no space left while writing {path} ({free / 1e6:.1f} MB free)\n"
                "  nothing was lost: the older file is untouched, and finished chunks are kept\n"
                "  free some space and run the same command again",
            ) from error
        raise


def write_parquet(path: Path, table: "pa.Table | pd.DataFrame | Iterable[pa.Table]") -> int:
    """Write a table, or a stream of tables of one schema; returns the rows. Equal rows give equal bytes.

    Row groups have a fixed size, however the rows come in, and pandas' notes (its version) are left out.
    """
    rows = 0
    writer = None
    try:
        for group in _row_groups(_tables(table)):
            writer = writer or pq.ParquetWriter(path, group.schema, compression="zstd", write_page_checksum=True)
            writer.write_table(group, row_group_size=ROWS_PER_GROUP)
            rows += group.num_rows
    finally:
        if writer:
            writer.close()
    return rows


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, or of the names and bytes of all files in a folder, as hexadecimal text."""
    if path.is_dir():
        lines = [f"{digest(file)}  {file.relative_to(path).as_posix()}\n" for file in _files(path)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest_once(path: Path) -> str:
    """`digest`, computed once in this process for a file or folder that does not change meanwhile."""
    states = [(str(file), file.stat()) for file in _files(path)]
    return _digest_once(path, tuple((name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for name, s in states))


@cache
def _digest_once(path: Path, _: tuple) -> str:
    return digest(path)


def manifest_path(path: Path) -> Path:
    """Where the manifest of the artifact at `path` stands."""
    return path.with_name(f"{stem(path.name)}.manifest.json")


def digest_path(path: Path) -> Path:
    """Where the digest of the artifact or notebook at `path` stands alone: the file by which the workflow knows it."""
    return path.with_name(f"{stem(path.name).removesuffix('.ipynb')}.digest")


def write_digest(file: Path, value: str) -> None:
    """Write a digest to a file of its own, unless it stands there already."""
    if read_digest(file) != value:
        with atomic(file) as temporary:
            temporary.write_text(f"{value}\n")


def read_digest(file: Path) -> str | None:
    """The digest in a file of its own; None if there is no such file."""
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        return None


def stem(name: str) -> str:
    """An artifact's name without suffix."""
    return name.removesuffix(".parquet").removesuffix(".json")


def manifest_digest(path: Path) -> str | None:
    """The digest that the manifest of the artifact at `path` names. None: no manifest. ValueError: it is damaged."""
    try:
        return json.loads(manifest_path(path).read_text())["digest"]
    except FileNotFoundError:
        return None
    except KeyError:
        raise ValueError("it names no digest") from None


def unchanged(path: Path, value: str) -> bool:
    """Whether the artifact at `path` and its manifest are there, with the digest `value`.

    A file that is newer than the manifest is not believed: its digest is computed.
    """
    try:
        if manifest_digest(path) != value:
            return False
        newest = max(file.stat().st_mtime_ns for file in _files(path))
        return newest <= manifest_path(path).stat().st_mtime_ns or digest(path) == value
    except (OSError, ValueError):  # missing, an empty folder, a damaged manifest
        return False


def to_json(values: Any) -> str:
    """`values` as JSON text, numpy's numbers and arrays as plain ones. ValueError: a number that is not finite."""
    return json.dumps(values, indent=1, allow_nan=False, default=_plain) + "\n"


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in _files(path))


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _tables(table: Any) -> Iterator[pa.Table]:
    if isinstance(table, pa.Table):
        tables: Iterable[Any] = [table]
    elif hasattr(table, "columns"):
        tables = [pa.Table.from_pandas(table, preserve_index=False)]
    else:
        tables = table
    return (table.replace_schema_metadata(None) for table in tables)


def _row_groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of exactly ROWS_PER_GROUP rows; the last may have fewer. At least one table."""
    held = None
    for table in tables:
        held = table if held is None else pa.concat_tables([held, table])
        while held.num_rows > ROWS_PER_GROUP:
            yield held.slice(0, ROWS_PER_GROUP).combine_chunks()
            held = held.slice(ROWS_PER_GROUP)
    if held is None:
        raise ValueError("no tables to write: a stream needs at least one table, which may be empty")
    yield held.combine_chunks()


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _replace(temporary: Path, path: Path) -> None:
    if not path.is_dir():
        os.replace(temporary, path)
        return
    # A folder that is not empty cannot be replaced by a rename: move the old one aside first.
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    os.rename(path, old)
    try:
        os.rename(temporary, path)
    except BaseException:
        os.rename(old, path)
        raise
    shutil.rmtree(old)


def copy_folder(source: Path, folder: Path) -> None:
    """Copy the files of a folder into another. On one disk, weights become links to the same file and take no space."""

    def copy(file: str, other: str) -> object:
        if file.endswith(".safetensors"):  # people may edit the other files
            with suppress(OSError):  # another disk, or a file system without links
                return os.link(file, other)
        return shutil.copy2(file, other)

    shutil.copytree(source, folder, dirs_exist_ok=True, copy_function=copy)


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return not isinstance(error, DiskFull)
    # safetensors passes the system's error on as text only.
    return isinstance(error, Exception) and "os error 28" in str(error)
