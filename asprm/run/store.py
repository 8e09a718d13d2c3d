"""Store: the artifacts of a run, how they are found and read, and how they are written so that nothing is lost.

An artifact is a Parquet table, a JSON file or a folder (a model) under `data/runs/<profile>/<stage>/`. Each is written
to a temporary path beside its place, synced and renamed, and has a manifest that says what it was made from. Equal
tables give equal digests. An experiment writes to a folder of its own and reads what is not there from the study's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from asprm.run.artifacts import (
    ROWS_PER_GROUP,
    atomic,
    digest,
    digest_once,
    digest_path,
    manifest_digest,
    manifest_path,
    size,
    stem,
    to_json,
    write_digest,
    write_parquet,
)
from asprm.run.journal import note
from asprm.run.sections import nearest

if TYPE_CHECKING:
    import pandas as pd

_SUFFIXES = (".parquet", ".json", "")  # of a table, a JSON file, a folder


class MissingArtifact(FileNotFoundError):
    """An upstream stage has not written what this one reads."""

    def __init__(self, text: str, artifact: str = "") -> None:
        super().__init__(text)
        self.artifact = artifact  # its name without suffix


class BrokenArtifact(ValueError):
    """An artifact that is truncated, lacks a column, or is not what its manifest says."""


@dataclass(frozen=True)
class Store:
    """The artifacts that one stage reads and writes. Tables and JSON files go by their name without suffix.

    root: the folder that holds `data/`. base: the folder of the profile's run. folder: where this stage writes, `base`
    or an experiment's folder beside it. inputs, outputs: digests by name of all that was read and written so far.
    shipped: the folder of a run that comes with the project (`asprm.run.shipped`), which is read where the others lack
    something; None: it is not read.
    """

    root: Path
    stage: str
    base: Path
    folder: Path
    inputs: dict[str, str] = field(default_factory=dict, kw_only=True)
    outputs: dict[str, str] = field(default_factory=dict, kw_only=True)
    shipped: Path | None = field(default=None, kw_only=True)

    def facts(self) -> dict[str, Any]:
        """What every manifest says beside the artifact's own digest."""
        return {"stage": self.stage, "inputs": dict(self.inputs)}

    def how_to_make(self, name: str) -> str:
        """What to do about a missing artifact `name`, which has its suffix."""
        return f"this stage reads what `{name.partition('/')[0]}` writes"

    # Reading

    def has(self, name: str) -> bool:
        """Whether the artifact `name` is there, here or in the study's run."""
        path = self._existing(*(name + suffix for suffix in _SUFFIXES))
        note("missed" if path is None else "seen", path or self.base / name)
        return path is not None

    def find(self, name: str) -> Path:
        """Path of an existing artifact, `name` with its suffix: this run's own, else the study's, else the shipped one.

        MissingArtifact: none has it. BrokenArtifact: it is not what its manifest says. Its digest is noted as an
        input of all that is written from now on.
        """
        path = self._existing(name)
        if path is None:
            stage, _, rest = name.partition("/")
            shown = self.shown(self.base / name)
            raise MissingArtifact(
                f"{self.stage}: no {stage} '{stem(rest)}' in {shown}\n  {self.how_to_make(name)}", stem(name)
            )
        self.inputs[name] = self._checked_digest(path)
        note("read", path, self.inputs[name])
        return path

    def _existing(self, *names: str) -> Path | None:
        paths = (folder / name for folder in self._folders for name in names)
        return next((path for path in paths if path.exists()), None)

    @property
    def _folders(self) -> list[Path]:
        """Where artifacts are looked for, in this order."""
        return [folder for folder in dict.fromkeys((self.folder, self.base, self.shipped)) if folder]

    def _checked_digest(self, path: Path) -> str:
        """The digest of a file or folder. BrokenArtifact: its manifest names another one, or is damaged itself."""
        value = digest_once(path)
        try:
            expected = manifest_digest(path)
        except ValueError as error:
            raise self._broken(path, f"its manifest is damaged ({error})") from None
        if expected not in (None, value):
            raise self._broken(
                path, f"it is truncated or damaged (digest {value[:10]}, in its manifest {expected[:10]})"
            )
        return value

    @contextmanager
    def noting(self) -> Iterator[dict[str, str]]:
        """The inputs that are read in the block, with their digests, whatever was read before: known at its end."""
        before, noted = dict(self.inputs), {}
        self.inputs.clear()
        try:
            yield noted
        finally:
            noted.update(self.inputs)
            self.inputs.clear()
            self.inputs.update(before | noted)

    def read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """The table `name`, all columns or those asked for. BrokenArtifact: truncated, or a column is not there."""
        path = self.find(f"{name}.parquet")
        with self._reading(path, columns) as file:
            return file.read(columns)

    def scan(self, name: str, columns: list[str] | None = None, rows: int = ROWS_PER_GROUP) -> Iterator[pa.RecordBatch]:
        """The table `name` as record batches of at most `rows` rows, for tables larger than memory."""
        path = self.find(f"{name}.parquet")
        with self._reading(path, columns) as file:
            yield from file.iter_batches(rows, columns=columns)

    def read_json(self, name: str) -> Any:
        """The content of the JSON file `name`. BrokenArtifact: it does not parse."""
        path = self.find(f"{name}.json")
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise self._broken(path, f"it is not valid JSON ({error})") from None

    # Writing

    def path(self, name: str) -> Path:
        """Where this run writes the artifact `name` (with its suffix). ValueError: not below this stage's folder."""
        if not name.startswith(f"{self.stage}/"):
            raise ValueError(
                f"{self.stage}: '{name}' is not below '{self.stage}/': a stage writes only its own artifacts"
            )
        return self.folder / name

    def work(self, name: str) -> Path:
        """Folder for chunks and checkpoints of the artifact `name`: they outlive failures, and chunks also success."""
        folder = self.folder / ".work" / self.path(name).relative_to(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write(self, name: str, table: pa.Table | pd.DataFrame | Iterable[pa.Table], **facts: Any) -> Path:
        """Write the table `name`; a stream of tables of one schema is written as it comes. Returns the path.

        facts: what else its manifest is to say, such as tokens=123. DiskFull: the earlier table still stands.
        """
        with self._artifact(f"{name}.parquet", facts) as temporary:
            facts["rows"] = write_parquet(temporary, table)
        return self.path(f"{name}.parquet")

    def write_json(self, name: str, values: Any, **facts: Any) -> Path:
        """Write `values` as the JSON file `name`. Returns the path. ValueError: a number that is not finite."""
        with self._artifact(f"{name}.json", facts) as temporary:
            temporary.write_text(to_json(values))
        return self.path(f"{name}.json")

    @contextmanager
    def write_folder(self, name: str, **facts: Any) -> Iterator[Path]:
        """A temporary folder to save a model into; it takes its place as `name` when the block ends well."""
        with self._artifact(name, facts) as temporary:
            temporary.mkdir()
            yield temporary

    @contextmanager
    def _artifact(self, name: str, facts: dict[str, Any]) -> Iterator[Path]:
        path = self.path(name)
        # The manifest is put in place last: one that is older than its artifact is not believed.
        with atomic(manifest_path(path)) as manifest_file, atomic(path) as temporary:
            yield temporary
            value = digest(temporary)
            manifest = {"artifact": name, "digest": value, "bytes": size(temporary)} | self.facts() | {"facts": facts}
            manifest_file.write_text(to_json(manifest))
        write_digest(digest_path(path), value)
        note("wrote", path, value)
        self.outputs[name] = value

    # Faults

    @contextmanager
    def _reading(self, path: Path, columns: list[str] | None) -> Iterator[pq.ParquetFile]:
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                names = file.schema_arrow.names
                for column in set(columns or ()) - set(names):
                    raise self._broken(path, f"it has no column '{column}': {nearest(column, names)}")
                yield file
        except (pa.ArrowInvalid, OSError) as error:
            raise self._broken(path, f"it is truncated or damaged ({str(error).splitlines()[0]})") from None

    def _broken(self, path: Path, fault: str) -> BrokenArtifact:
        shown, remove = self.shown(path), "rm -r" if path.is_dir() else "rm"
        [name, *_] = (path.relative_to(one).as_posix() for one in self._folders if path.is_relative_to(one))
        return BrokenArtifact(
            f"{self.stage}: cannot use {shown}: {fault}\n  delete it and make it anew:  {remove} {shown}\n"
            f"  {self.how_to_make(name)}"
        )

    def shown(self, path: Path) -> str:
        """The path as messages show it: from the study's root where it lies below it."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)
