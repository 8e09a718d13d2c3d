"""Chunks come in order, are computed once, and survive whatever ends the run."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asprm.run.chunks import ChunkError, Chunks, Shard, map_chunks
from asprm.run.progress import MARK, progress
from asprm.run.provenance import Kept

HERE = Path(__file__).parent


def square(items, state):
    return pa.table({"x": list(items), "square": [item**2 for item in items]})


def note(items, state, log):
    """Squares, and a line in a file per call: (process, first item, state)."""
    with open(log, "a") as file:
        file.write(f"{os.getpid()} {items[0]} {state}\n")
    return square(items, state)


def process_id():
    return f"ready-{os.getpid()}"


def refuse_seven(items, state, log):
    if 7 in items:
        raise ValueError("seven")
    return note(items, state, log)


def die_at_seven(items, state):
    if 7 in items:
        os.kill(os.getpid(), signal.SIGKILL)
    return square(items, state)


def threads(items, state):
    import torch

    return pa.table({"threads": [torch.get_num_threads()]})


def fail_to_load():
    raise OSError("no such model")


def collect(folder, function=square, items=range(10), size=3, key=None, **options):
    tables = map_chunks(function, items, size=size, folder=folder, key=key or {"seed": 0}, label="test", **options)
    return [row["x"] for table in tables for row in table.to_pylist()]


def calls(log):
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


@settings(max_examples=20, deadline=None)
@given(n=st.integers(0, 20), size=st.integers(1, 7))
def test_all_items_come_once_and_in_order(tmp_path_factory, n, size):
    assert collect(tmp_path_factory.mktemp("chunks"), items=range(n), size=size) == list(range(n))


@pytest.mark.slow
def test_processes_give_the_same_in_the_same_order(tmp_path):
    log = tmp_path / "log"
    found = collect(tmp_path, partial(note, log=log), items=range(12), size=1, workers=2, setup=process_id)
    assert found == list(range(12))
    states = {pid: state for pid, _, state in calls(log)}
    assert str(os.getpid()) not in states
    assert all(state == f"ready-{pid}" for pid, state in states.items())  # each process set itself up


def test_setup_runs_once_and_only_if_needed(tmp_path):
    log = tmp_path / "log"
    ready = iter(["first"])
    collect(tmp_path, partial(note, log=log), setup=lambda: next(ready))
    assert [state for _, _, state in calls(log)] == ["first"] * 4
    collect(tmp_path, partial(note, log=log), setup=lambda: next(ready))  # would raise StopIteration
    assert len(calls(log)) == 4


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_failure_names_the_chunk_and_keeps_the_others(tmp_path, workers):
    log = tmp_path / "log"
    with pytest.raises(ChunkError, match=r"test: chunk 2 \(items 6 to 8\) failed: ValueError\('seven'\)") as error:
        collect(tmp_path, partial(refuse_seven, log=log), workers=workers)
    assert isinstance(error.value.__cause__, ValueError)
    finished = len(calls(log))
    assert finished >= 2
    log.unlink()
    assert collect(tmp_path, partial(note, log=log), workers=workers) == list(range(10))
    assert len(calls(log)) == 4 - finished


def test_a_full_gpu_names_the_setting_to_change(tmp_path):
    def fill(items, state):
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has a total capacity of 8 GiB")

    with pytest.raises(
        ChunkError, match=r"the GPU's memory is full \(CUDA out of memory\)\n  change `chunk` in the pro"
    ):
        collect(tmp_path, fill)
    with pytest.raises(ChunkError, match="  change prm: rank, or end what else uses this GPU"):
        collect(tmp_path, fill, lower="prm: rank")


@pytest.mark.slow
def test_a_failing_setup_is_a_failure_of_the_chunk(tmp_path):
    with pytest.raises(ChunkError, match="no such model"):
        collect(tmp_path, setup=fail_to_load, workers=2)


@pytest.mark.slow
def test_a_dead_worker_is_told(tmp_path):
    with pytest.raises(ChunkError, match="its process died; was memory short"):
        collect(tmp_path, die_at_seven, workers=2)


@pytest.mark.slow
def test_one_torch_thread_in_each_process(tmp_path):
    tables = map_chunks(threads, range(2), size=1, folder=tmp_path, key={}, workers=2)
    assert [table["threads"].to_pylist() for table in tables] == [[1], [1]]


def test_another_key_size_or_number_of_items_is_another_result(tmp_path):
    log = tmp_path / "log"
    function = partial(note, log=log)
    collect(tmp_path, function)
    for options in ({"key": {"seed": 1}}, {"size": 5}, {"items": range(9)}):
        before = len(calls(log))
        collect(tmp_path, function, **options)
        assert len(calls(log)) > before


NUMBERS = """
    import pyarrow as pa

    def numbers(items, state):
        return pa.table({{"x": [{factor} * i for i in items]}})
"""
OWN = """
    import sys
    from pathlib import Path
    from asprm.run.chunks import map_chunks
    from asprm.run.provenance import Kept
    from own import numbers

    kept = Kept()
    tables = map_chunks(numbers, range(4), size=2, folder=Path(sys.argv[1]), key={}, kept=kept)
    print([x for table in tables for x in table["x"].to_pylist()], kept.chunks)
"""


@pytest.mark.slow
def test_changed_code_is_another_result_and_the_one_before_is_kept(tmp_path):
    def numbers(factor: int, comment: str = "") -> str:
        (tmp_path / "own.py").write_text(comment + textwrap.dedent(NUMBERS.format(factor=factor)))
        command = [sys.executable, "-B", tmp_path / "script.py", tmp_path / "work"]
        environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{HERE.parent}"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    (tmp_path / "script.py").write_text(textwrap.dedent(OWN))
    assert numbers(1) == "[0, 1, 2, 3] 0"
    assert numbers(1) == "[0, 1, 2, 3] 2"
    assert numbers(2) == "[0, 2, 4, 6] 0"
    assert numbers(2, '"""A docstring."""\n# a comment\n\n\n') == "[0, 2, 4, 6] 2"
    assert numbers(1) == "[0, 1, 2, 3] 2"  # what a change had made before it was taken back
    assert numbers(3) == "[0, 3, 6, 9] 0"
    assert numbers(1) == "[0, 1, 2, 3] 2"  # the last that was used before, though not the last that was made
    assert len(list((tmp_path / "work").iterdir())) == 2


def test_code_that_has_changed_under_a_process_leaves_nothing_to_others(tmp_path, monkeypatch):
    log = tmp_path / "log"
    monkeypatch.setattr("asprm.run.chunks.STARTED", 0.0)  # every file is younger
    for process, total in (("one", 4), ("one", 4), ("other", 8)):
        monkeypatch.setattr("asprm.run.chunks._PROCESS", process)
        collect(tmp_path, partial(note, log=log))
        assert len(calls(log)) == total


def test_what_was_there_is_counted_with_its_seconds(tmp_path, monkeypatch):
    clock = count()  # a second for each chunk
    monkeypatch.setattr("asprm.run.chunks.time", SimpleNamespace(monotonic=lambda: next(clock)))
    first, second = Kept(), Kept()
    collect(tmp_path, kept=first)
    collect(tmp_path, kept=second)
    assert first == Kept()
    assert second == Kept(chunks=4, seconds=4)


def test_a_damaged_chunk_is_computed_again(tmp_path):
    log = tmp_path / "log"
    collect(tmp_path, partial(note, log=log))
    damaged = sorted(tmp_path.rglob("*.parquet"))[1]
    damaged.write_bytes(damaged.read_bytes()[:20])
    assert collect(tmp_path, partial(note, log=log)) == list(range(10))
    assert [first for _, first, _ in calls(log)] == ["0", "3", "6", "9", "3"]


@pytest.mark.slow
def test_a_consumer_that_stops_early_leaves_what_is_finished(tmp_path):
    stream = map_chunks(square, range(100), size=1, folder=tmp_path, key={}, workers=2)
    assert next(stream)["x"].to_pylist() == [0]
    stream.close()
    assert len(list(tmp_path.rglob("00000.parquet"))) == 1
    assert not list(tmp_path.rglob("00099.parquet"))


INTERRUPTED = """
    import signal, sys
    from pathlib import Path
    from asprm.run.chunks import map_chunks
    from test_run_chunks import square_slowly_at_the_end

    if __name__ == "__main__":
        folder = Path(sys.argv[1])
        stream = map_chunks(square_slowly_at_the_end, range(8), size=1, folder=folder, key={}, workers=2)
        next(stream)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            list(stream)
        except KeyboardInterrupt:
            sys.exit(3)
"""


def square_slowly_at_the_end(items, state):
    if items[0] > 3:
        signal.pause()  # for ever: the parent's interrupt has to end this
    return square(items, state)


@pytest.mark.slow
def test_an_interrupt_stops_the_workers_and_keeps_finished_chunks(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    done = subprocess.run(
        [sys.executable, script, tmp_path], env=os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parent}"}, timeout=60
    )
    assert done.returncode == 3
    finished = len(list(tmp_path.rglob("0*.parquet")))
    assert 1 <= finished <= 4


def test_functions_that_no_process_can_import_are_refused(tmp_path):
    def local(items, state):
        return square(items, state)

    with pytest.raises(ValueError, match=r"worker processes cannot import it"):
        map_chunks(partial(local), range(3), size=1, folder=tmp_path, key={}, workers=2, label="test")


@pytest.mark.parametrize("options", [{"size": 0}, {"size": 1, "workers": 0}])
def test_sizes_and_workers_are_at_least_one(tmp_path, options):
    with pytest.raises(ValueError, match="must be at least 1"):
        map_chunks(square, range(3), folder=tmp_path, key={}, **options)


def test_a_key_must_be_plain(tmp_path):
    with pytest.raises(ValueError, match="expected plain numbers"):
        map_chunks(square, range(3), size=1, folder=tmp_path, key={"a": object()})


def test_progress_is_a_marked_line_now_and_then(monkeypatch, capsys):
    clock = iter([0.0, 10.0, 20.0, 25.0, 40.0])
    monkeypatch.setenv("ASPRM_BATCH", "1")
    monkeypatch.setattr("asprm.run.progress.time.monotonic", lambda: next(clock))
    assert list(progress("abcd", label="test")) == list("abcd")
    assert capsys.readouterr().err.splitlines() == [
        f"{MARK}test: 2 of 4, 20 s, about 20 s left",
        f"{MARK}test: 4 of 4, 40 s, about 0 s left",
    ]


def test_a_chunk_of_which_a_bit_has_changed_is_computed_again(tmp_path):
    whole = collect(tmp_path)
    for chunk in tmp_path.rglob("*.parquet"):
        body = bytearray(chunk.read_bytes())
        body[len(body) // 4] ^= 1  # in the data, which come first
        chunk.write_bytes(body)
    assert collect(tmp_path) == whole


@pytest.mark.slow
def test_a_chunk_that_another_run_has_removed_is_computed_again(tmp_path):
    options = {"size": 2, "folder": tmp_path, "key": {}, "workers": 2}
    tables = map_chunks(square, range(8), **options)
    found = [next(tables)]
    while len(list(tmp_path.rglob("*.parquet"))) < 4:
        time.sleep(0.01)
    for chunk in tmp_path.rglob("*.parquet"):
        chunk.unlink()
    found += tables
    assert [row for table in found for row in table["x"].to_pylist()] == list(range(8))


def test_a_chunk_that_can_never_be_read_back_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("asprm.run.chunks._Chunk.load", lambda self: None)
    with pytest.raises(ChunkError, match="could not be read back"):
        list(map_chunks(square, range(4), size=2, folder=tmp_path, key={}))


# Shards


def shared(folder, log, **options):
    """Chunks of three items, of ten in all, that note who computed them."""
    function = partial(note, log=log)
    return Chunks(function, range(10), size=3, folder=folder, key={"seed": 0}, label="test", **options)


def test_a_shard_computes_its_chunks_and_no_others(tmp_path):
    log, kept = tmp_path / "log", Kept()
    assert shared(tmp_path, log).compute(Shard.parse("1/3")) == 1
    assert [first for _, first, _ in calls(log)] == ["3"]
    assert shared(tmp_path, log).compute(Shard.parse("3/3")) == 2
    assert [first for _, first, _ in calls(log)] == ["3", "0", "9"]
    assert shared(tmp_path, log).missing() == 1
    assert shared(tmp_path, log).compute(Shard.parse("3/3")) == 0
    rows = [row["x"] for table in shared(tmp_path, log).tables(kept) for row in table.to_pylist()]
    assert rows == list(range(10))
    assert (kept.chunks, [first for _, first, _ in calls(log)]) == (3, ["3", "0", "9", "6"])
    assert shared(tmp_path, log).missing() == 0


def test_a_shard_computes_a_damaged_chunk_again(tmp_path):
    log = tmp_path / "log"
    shared(tmp_path, log).compute(Shard(2, 2))
    [chunk, _] = sorted(tmp_path.rglob("*.parquet"))
    chunk.write_bytes(chunk.read_bytes()[:-9])
    assert shared(tmp_path, log).compute(Shard(2, 2)) == 1
    assert [first for _, first, _ in calls(log)] == ["0", "6", "0"]


@given(chunks=st.integers(0, 12), count=st.integers(1, 15))
def test_each_chunk_belongs_to_one_shard(chunks, count):
    shards = [Shard(number, count).of(range(chunks)) for number in range(1, count + 1)]
    assert sorted(n for shard in shards for n in shard) == list(range(chunks))
    assert all(n % count == number % count for number, shard in enumerate(shards, 1) for n in shard)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize("text", ["3", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", ""])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ValueError, match="expected <number>/<count>, such as 1/8 or 8/8"):
        Shard.parse(text)


def test_a_shard_is_written_as_it_is_read():
    assert str(Shard.parse("3/8")) == "3/8"
