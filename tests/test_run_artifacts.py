"""Artifacts are whole or not there, and equal tables are equal bytes."""

import errno
import os
import shutil
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asprm.run.artifacts import (
    ROWS_PER_GROUP,
    DiskFull,
    atomic,
    copy_folder,
    digest,
    manifest_path,
    to_json,
    unchanged,
    write_parquet,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole(tmp_path):
    with atomic(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("text")
        assert names(tmp_path / "new") == [temporary.name]
    assert names(tmp_path / "new") == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_stood_there_stays_when_writing_fails(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(error), atomic(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise error
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_replaces_a_folder(tmp_path):
    for text in ("old", "new"):
        with atomic(tmp_path / "model") as temporary:
            (temporary / "deep").mkdir(parents=True)
            (temporary / "deep" / f"{text}.txt").write_text(text)
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model" / "deep") == ["new.txt"]


def test_a_folder_stays_when_writing_fails(tmp_path):
    with atomic(tmp_path / "model") as temporary:
        temporary.mkdir()
        (temporary / "weights").write_text("old")
    with pytest.raises(RuntimeError), atomic(tmp_path / "model") as temporary:
        temporary.mkdir()
        raise RuntimeError
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "weights").read_text() == "old"


def test_a_full_disk_is_said_clearly_and_loses_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with (
        pytest.raises(DiskFull, match=r"no space left while writing .*a\.txt"),
        atomic(tmp_path / "a.txt") as temporary,
    ):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_reported_as_text_only_is_recognised(tmp_path):
    with pytest.raises(DiskFull), atomic(tmp_path / "a") as temporary:
        temporary.mkdir()
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")


REALLY_FULL = """
import sys
from pathlib import Path
import numpy as np, pyarrow as pa
from asprm.run.artifacts import DiskFull, atomic, write_parquet
target = Path(sys.argv[1]) / "a.parquet"
small, large = (pa.table({"x": np.random.default_rng(0).random(n)}) for n in (10, 2_000_000))
with atomic(target) as temporary:
    write_parquet(temporary, small)
before = target.read_bytes()
try:
    with atomic(target) as temporary:
        write_parquet(temporary, large)
except DiskFull as error:
    assert target.read_bytes() == before and len(list(target.parent.iterdir())) == 1
    print("told:", error)
"""


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare to mount a small file system")
def test_a_really_full_disk(tmp_path):
    script = f'mount -t tmpfs -o size=1m none "{tmp_path}" && exec "{sys.executable}" -c "$0" "{tmp_path}"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script, REALLY_FULL]
    done = subprocess.run(command, capture_output=True, text=True)
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"may not mount here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert "no space left while writing" in done.stdout


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 200), max_size=5), data=st.data())
def test_equal_rows_give_equal_bytes_however_they_come(tmp_path_factory, cuts, data):
    folder = tmp_path_factory.mktemp("parquet")
    lists = data.draw(st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=200, max_size=200))
    table = pa.table({"ids": pa.array(lists, pa.list_(pa.int32())), "text": [str(x) for x in lists]})
    edges = [0, *sorted(cuts), 200]
    parts = [table.slice(a, b - a) for a, b in pairwise(edges)]
    assert write_parquet(folder / "whole", table) == write_parquet(folder / "parts", iter(parts)) == 200
    assert digest(folder / "whole") == digest(folder / "parts")
    assert pq.read_table(folder / "parts").equals(table)


def test_row_groups_do_not_depend_on_how_rows_come(tmp_path):
    table = pa.table({"x": np.arange(2 * ROWS_PER_GROUP + 7)})
    parts = [table.slice(0, 5), table.slice(5, ROWS_PER_GROUP + 100), table.slice(ROWS_PER_GROUP + 105)]
    write_parquet(tmp_path / "whole", table)
    write_parquet(tmp_path / "parts", parts)
    assert digest(tmp_path / "whole") == digest(tmp_path / "parts")
    assert pq.ParquetFile(tmp_path / "parts").num_row_groups == 3


def test_a_data_frame_is_written_without_its_index(tmp_path):
    frame = pd.DataFrame({"x": [1, 2]}, index=[5, 6])
    write_parquet(tmp_path / "a", frame)
    assert pq.read_table(tmp_path / "a").to_pydict() == {"x": [1, 2]}


def test_a_stream_without_tables_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no tables to write"):
        write_parquet(tmp_path / "a", iter(()))


def test_an_empty_table_is_kept_with_its_schema(tmp_path):
    table = pa.table({"x": pa.array([], pa.int32())})
    assert write_parquet(tmp_path / "a", table) == 0
    assert pq.read_table(tmp_path / "a").schema == table.schema


def test_the_digest_of_a_folder_sees_names_and_bytes(tmp_path):
    def folder(name, file, text):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
        return digest(tmp_path / name)

    assert folder("a", "x", "1") == folder("b", "x", "1")
    assert len({digest(tmp_path / "a"), folder("c", "y", "1"), folder("d", "x", "2")}) == 3


LATER = 4_000_000_000_000_000_000  # nanoseconds


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda file, manifest: None, True),
        (lambda file, manifest: os.utime(file, ns=(LATER, LATER)), True),  # newer, and the same
        (lambda file, manifest: (file.write_text("txet"), os.utime(file, ns=(LATER, LATER))), False),
        (lambda file, manifest: file.unlink(), False),
        (lambda file, manifest: manifest.unlink(), False),
        (lambda file, manifest: manifest.write_text("{"), False),
        (lambda file, manifest: manifest.write_text('{"digest": "0"}'), False),
    ],
)
@pytest.mark.parametrize("folder", [True, False])
def test_an_artifact_is_unchanged_while_it_is_there_with_its_digest(tmp_path, change, left, folder):
    path = tmp_path / "a"
    file = path / "weights" if folder else path
    file.parent.mkdir(exist_ok=True)
    file.write_text("text")
    value = digest(path)
    manifest_path(path).write_text(to_json({"digest": value}))
    change(file, manifest_path(path))
    assert unchanged(path, value) == left


@pytest.mark.parametrize("links", [True, False])
def test_a_copied_folder_shares_weights_and_nothing_that_people_edit(tmp_path, monkeypatch, links):
    def refuse(*_):
        raise OSError(errno.EXDEV, "another disk")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.mkdir()
    for name in ("model.safetensors", "config.json"):
        (source / name).write_text(name)
    copy_folder(source, copy)
    assert digest(copy) == digest(source)
    same = {name: (source / name).samefile(copy / name) for name in names(copy)}
    assert same == {"config.json": False, "model.safetensors": links}


def test_json_takes_numpy_and_refuses_nan():
    assert to_json({"a": np.float32(0.5), "b": np.arange(2)}) == '{\n "a": 0.5,\n "b": [\n  0,\n  1\n ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(float("nan"))


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom asprm.run.artifacts import atomic\n"
        "with atomic(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.txt")], env=os.environ)
    assert done.returncode < 0
    assert (tmp_path / "a.txt").read_text() == "old"


def test_an_interrupt_between_two_renames_keeps_the_folder(tmp_path, monkeypatch):
    with atomic(tmp_path / "m") as temporary:
        temporary.mkdir()
        (temporary / "a").write_text("old")
    rename = os.rename

    def interrupted(source, target):
        if str(source).endswith(".tmp"):
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), atomic(tmp_path / "m") as temporary:
        temporary.mkdir()
        (temporary / "a").write_text("new")
    assert names(tmp_path) == ["m"]
    assert (tmp_path / "m" / "a").read_text() == "old"
