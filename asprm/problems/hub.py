"""Published data sets: from the Hugging Face hub at a pinned revision, or from files of the same schema.

    load("gsm8k", "test")                              # from the hub, through `datasets`
    load("gsm8k", "test", path="downloads/gsm8k")      # from a file, or from a folder that holds test.jsonl
    load("gsm8k", "test", path=given_paths().get("gsm8k"))  # from where $ASPRM_DATA says, else from the hub
    describe("gsm8k", "test", path="downloads/gsm8k")  # which files or revision these are, for the manifest

A profile names files in `data: {gsm8k: downloads/gsm8k}`. $ASPRM_DATA="gsm8k=downloads/gsm8k,math500=…" overrides it.
A row that does not fit its set's schema is refused, with its file and line.
"""

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from asprm.problems import rows
from asprm.problems.problem import Domain, Problem
from asprm.problems.strict import check_encoding, read_json

DATA = "ASPRM_DATA"  # the environment variable that names local files
Place = str  # "test.jsonl:12": where a row stands


@dataclass(frozen=True)
class Source:
    """Where a data set is on the hub, and how its rows become problems."""

    repository: str
    convert: rows.Convert
    revision: str  # the commit that is read
    splits: tuple[str, ...] = ("train", "test")
    configs: tuple[str | None, ...] = (None,)  # all are read, in this order
    files: tuple[str, ...] = ()  # of the repository's only split, where it has no layout that `datasets` knows
    domain: Domain = "math"


_MATH = "algebra counting_and_probability geometry intermediate_algebra number_theory prealgebra precalculus"


def _symbolic(config: str) -> Source:
    return Source(
        "apple/GSM-Symbolic", rows.gsm_symbolic, "93b5b3758d9d9841ffe81d6cd2ae2b030685b078", ("test",), (config,)
    )


SOURCES = {
    "gsm8k": Source("openai/gsm8k", rows.gsm8k, "740312add88f781978c0658806c59bc2815b9866", configs=("main",)),
    "math500": Source("HuggingFaceH4/MATH-500", rows.math, "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be", ("test",)),
    "math": Source(
        "EleutherAI/hendrycks_math",
        rows.math,
        "21a5633873b6a120296cce3e2df9d5550074f4a3",
        configs=tuple(_MATH.split()),
    ),
    "metamathqa": Source("meta-math/MetaMathQA", rows.metamath, "aa4f34d3d2d3231299b5b03d9b3e5a20da45aa18", ("train",)),
    "gsm-symbolic": _symbolic("main"),
    "gsm-symbolic-p1": _symbolic("p1"),
    "gsm-symbolic-p2": _symbolic("p2"),
    "leetcode": Source(
        "newfacade/LeetCodeDataset", rows.leetcode, "215604aeed660029df7de2fea5a4d7b6ed476a08", domain="code"
    ),
    "livecodebench": Source(  # release v4: the 713 problems of the paper
        "livecodebench/code_generation_lite",
        rows.livecodebench,
        "0fe84c3912ea0c4d4a78037083943e8f0c4dd505",
        ("test",),
        files=("test.jsonl", "test2.jsonl", "test3.jsonl", "test4.jsonl"),
        domain="code",
    ),
    "mbpp": Source(
        "google-research-datasets/mbpp",
        rows.mbpp,
        "4bb6404fdc6cacfda99d4ac4205087b89d32030c",
        ("train", "validation", "test", "prompt"),
        ("full",),
        domain="code",
    ),
    "humaneval": Source(
        "openai/openai_humaneval",
        rows.humaneval,
        "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
        ("test",),
        domain="code",
    ),
}


class MalformedRow(ValueError):
    """A row that does not fit its set's schema. The message starts with its file and line."""


def load(
    name: str, split: str = "test", path: str | Path | None = None, count: int | None = None, start: int = 0
) -> list[Problem]:
    """Problems of a data set's split, in its order.

    name: of the set, a key of SOURCES.
    split: one of the set's splits.
    path: a file (.jsonl, .json, .parquet; also .gz), or a folder that holds files for the split, instead of the hub.
    count: how many problems; None for all from `start` on.
    start: number of the first row, from 0.

    ValueError: unknown set or split, no file for the split, no rows, or fewer than asked for.
    """
    source = _source(name, split)
    rows_read = _local(Path(path), split) if path is not None else _remote(source, split)
    problems: list[Problem] = []
    places: dict[str, Place] = {}  # by id
    for number, (place, row) in enumerate(rows_read):
        if count is not None and number == start + count:
            break
        try:
            if not isinstance(row, dict):
                raise ValueError(f"expected an object with named fields, not a {type(row).__name__}")
            problem = source.convert(row, f"{name}-{split}-{number:06d}")
            if problem.id in places:
                raise ValueError(f"its id {problem.id!r} is that of {places[problem.id]}")
        except ValueError as error:
            raise MalformedRow(f"{place}: {error}") from None
        places[problem.id] = place
        problems.append(problem)
    if not problems:
        raise ValueError(f"{name}: no rows for split {split!r} in {path or source.repository}")
    needed = start + (count or 1)
    if len(problems) < needed:
        raise ValueError(
            f"{name}: {path or source.repository} holds {len(problems)} rows of split {split!r}; expected at least "
            f"{needed}"
        )
    return problems[start:]


def given_paths() -> dict[str, str]:
    """The file or folder that $ASPRM_DATA names for each set. ValueError: see `read_paths`."""
    return read_paths(os.environ.get(DATA, ""))


def read_paths(text: str) -> dict[str, str]:
    """{set: file or folder} from "gsm8k=a/b,math500=c". ValueError: another form, an unknown set."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    for name, equals, path in pairs:
        if name.strip() not in SOURCES or not equals or not path.strip():
            raise ValueError(
                f"{name}{equals}{path}: expected a set and the file or folder of its rows, like "
                f"gsm8k=downloads/gsm8k; sets: {', '.join(SOURCES)}"
            )
    return {name.strip(): path.strip() for name, _, path in pairs}


def describe(name: str, split: str = "test", path: str | Path | None = None) -> dict[str, Any]:
    """What a manifest records about a set: its repository and revision, or its files with their digests."""
    source = _source(name, split)
    if path is None:
        return {"name": name, "split": split, "repository": source.repository, "revision": source.revision}
    return {"name": name, "split": split, "files": {str(file): _digest(file) for file in _files(Path(path), split)}}


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _source(name: str, split: str) -> Source:
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(SOURCES)}")
    if split not in SOURCES[name].splits:
        raise ValueError(f"{name} has no split {split!r}; it has {', '.join(SOURCES[name].splits)}")
    return SOURCES[name]


# --- from the hub -----------------------------------------------------------------------------------------------------


def _remote(source: Source, split: str) -> Iterator[tuple[Place, dict]]:
    try:
        import datasets
    except ImportError:
        raise ValueError(
            f"{source.repository}: reading from the hub needs `datasets`, which is not installed; "
            "install it (pip install datasets), or give the path of files of the same schema"
        ) from None
    try:
        tables = _tables(datasets, source, split)
    except (OSError, ConnectionError) as error:
        name = next(name for name in SOURCES if SOURCES[name] is source)
        raise ValueError(
            f"{name}: {source.repository} cannot be read from the hub ({str(error).splitlines()[0]})\n"
            f"  without a network, name files of the same schema:  {DATA}={name}=<file or folder>, "
            f"or  data: {{{name}: <file or folder>}}  in the profile"
        ) from None
    for part, table in tables:
        for number, row in enumerate(table, 1):
            yield f"{source.repository}@{source.revision[:7]}/{part}:{number}", row


def _tables(datasets: ModuleType, source: Source, split: str) -> list[tuple[str, Any]]:
    if source.files:
        urls = [f"hf://datasets/{source.repository}@{source.revision}/{file}" for file in source.files]
        return [(url.rsplit("/", 1)[1], datasets.load_dataset("json", data_files=url, split="train")) for url in urls]
    return [
        (config or split, datasets.load_dataset(source.repository, config, split=split, revision=source.revision))
        for config in source.configs
    ]


# --- from files -------------------------------------------------------------------------------------------------------


def _local(path: Path, split: str) -> Iterator[tuple[Place, dict]]:
    for file in _files(path, split):
        yield from _READERS[_stem(file)[1]](file)


def _stem(file: Path) -> tuple[str, str]:
    """Name and suffix without .gz: ("LeetCodeDataset-v0.1.0-test", ".jsonl")."""
    plain = Path(file.name.removesuffix(".gz"))
    return plain.stem, plain.suffix


_NUMBER = r"(?:[0-9]*|-[0-9]+-of-[0-9]+)$"  # test.jsonl, test2.jsonl, test-00000-of-00002.parquet


def _files(path: Path, split: str) -> list[Path]:
    """The file itself, or a folder's files whose names end in the split and perhaps a number, in that order."""
    if path.is_file():
        if _stem(path)[1] not in _READERS:
            raise ValueError(f"{path}: expected one of {', '.join(_READERS)}, perhaps compressed (.gz)")
        return [path]
    if not path.is_dir():
        raise ValueError(f"{path}: no such file or folder")
    readable = sorted(file for file in path.rglob("*") if file.is_file() and _stem(file)[1] in _READERS)
    of_split = [file for file in readable if re.search(rf"(?<![a-z]){re.escape(split)}{_NUMBER}", _stem(file)[0])]
    if len({re.sub(_NUMBER, "", _stem(file)[0]) for file in of_split}) != 1:
        names = ", ".join(str(file.relative_to(path)) for file in of_split or readable) or "no readable file"
        raise ValueError(f"{path}: expected one set of files for split {split!r}; it holds {names:.300}")
    return sorted(of_split, key=lambda file: (len(file.name), file.name))


def _opened(file: Path) -> TextIO:
    """The file's text, without the mark that some programs write before it."""
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as content:
        check_encoding(content.read(256))
    opener = gzip.open if file.suffix == ".gz" else open
    return opener(file, "rt", encoding="utf-8-sig")


def _json_lines(file: Path) -> Iterator[tuple[Place, dict]]:
    number = 0
    with _damage(lambda: f"{file}:{number + 1}", form="a row on each line"), _opened(file) as lines:
        for line in lines:
            row = read_json(line) if line.strip() else None
            number += 1
            if row is not None:
                yield f"{file}:{number}", row


def _json_list(file: Path) -> Iterator[tuple[Place, dict]]:
    with _damage(lambda: str(file), form="one list of rows (rows on lines are a .jsonl file)"), _opened(file) as text:
        items = read_json(text.read())
    if not isinstance(items, list):
        raise MalformedRow(f"{file}: expected a list of rows, not a {type(items).__name__}")
    for number, row in enumerate(items, 1):
        yield f"{file}, row {number}", row


def _parquet(file: Path) -> Iterator[tuple[Place, dict]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    with _damage(lambda: f"{file}, row {number + 1}", pyarrow.ArrowException):
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(1024):
            for row in batch.to_pylist():
                number += 1
                yield f"{file}, row {number}", row


@contextmanager
def _damage(place: Callable[[], Place], *kinds: type[Exception], form: str = "") -> Iterator[None]:
    """Turns errors of reading a file into MalformedRow with the place.

    kinds: further types of errors. form: how rows stand in a file of JSON.
    """
    try:
        yield
    except json.JSONDecodeError as error:
        line = f" in line {error.lineno}" if error.lineno > 1 else ""
        raise MalformedRow(f"{place()}: not JSON: {error.msg}{line}, column {error.colno}; expected {form}") from None
    except UnicodeDecodeError as error:
        raise MalformedRow(f"{place()}: not UTF-8: {error.reason}") from None
    except RecursionError:
        raise MalformedRow(f"{place()}: nested too deeply") from None
    except (EOFError, gzip.BadGzipFile, zlib.error, *kinds) as error:
        raise MalformedRow(f"{place()}: the file is damaged: {error}") from None
    except MalformedRow:
        raise
    except ValueError as error:  # a field twice, a number of too many digits
        raise MalformedRow(f"{place()}: {error}") from None


_READERS = {".jsonl": _json_lines, ".json": _json_list, ".parquet": _parquet}
