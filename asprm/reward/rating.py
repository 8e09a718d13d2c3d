"""Rating: step scores of a table of candidates, at one or several kinds of rating positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from asprm.reward.published import Scorer, Text
from asprm.reward.score import PRM, Item, score

SCHEMA = pa.schema(
    [
        ("problem", pa.string()),
        ("solution", pa.int32()),
        ("finished", pa.bool_()),
        ("scores", pa.list_(pa.float32())),
        ("correct", pa.bool_()),
        ("answer", pa.string()),
    ]
)


def score_table(prm: PRM | Scorer, samples: pa.Table, splits: pa.Table, problems: Mapping[str, Any]) -> pa.Table:
    """One row of step scores per solution (`SCHEMA`). Rows are independent: score a big table batch by batch.

    A `PRM` reads the samples' own tokens, a `Scorer` their text.

    samples: columns problem, solution, finished, correct, answer; for a PRM ids, for a `Scorer` text.
    splits: the same rows in the same order: problem, solution; for a PRM ends, for a `Scorer` char_ends.
    problems: by id; for a PRM token ids (L,), for a `Scorer` the text.

    ValueError: the tables do not match, or a solution cannot be scored.
    """
    for column in ("problem", "solution"):
        if not samples[column].combine_chunks().equals(splits[column].combine_chunks()):
            raise ValueError(
                f"score: samples and splits differ in column {column!r} ({len(samples)} and {len(splits)} rows); "
                "expected the split of these very samples, in their order"
            )
    if isinstance(prm, PRM):
        step_scores = score(prm, _items(samples, splits, problems))
    else:
        step_scores = list(prm.rate(_texts(samples, splits, problems)))
    scores = pa.array(step_scores, pa.list_(pa.float32()))
    table = samples.select(["problem", "solution", "finished", "correct", "answer"]).append_column("scores", scores)
    return table.select(SCHEMA.names).cast(SCHEMA)


def _items(samples: pa.Table, splits: pa.Table, prompts: Mapping[str, np.ndarray]) -> Iterator[Item]:
    for name, ids, ends in zip(samples["problem"].to_pylist(), samples["ids"], splits["ends"], strict=True):
        yield Item(prompts[name], np.asarray(ids.values), np.asarray(ends.values))


def _texts(samples: pa.Table, splits: pa.Table, problems: Mapping[str, str]) -> Iterator[Text]:
    names, texts, finished = (samples[column].to_pylist() for column in ("problem", "text", "finished"))
    for name, text, whole, ends in zip(names, texts, finished, splits["char_ends"], strict=True):
        yield Text(problems[name], text, np.asarray(ends.values), whole)


# --- several kinds of rating positions --------------------------------------------------------------------------------


def rate_positions(
    prm: PRM | Scorer, samples: pa.Table, splits: Mapping[str, pa.Table], problems: Mapping[str, Any]
) -> dict[str, pa.Table]:
    """`score_table` for each kind of rating positions; a solution is read once, whatever the number of kinds.

    prm, samples, problems: as in `score_table`.
    splits: by kind of positions, each as in `score_table`.
    """
    if len(splits) == 1:
        return {position: score_table(prm, samples, split, problems) for position, split in splits.items()}
    column = "ends" if isinstance(prm, PRM) else "char_ends"

    # 1. All ends of each kind as sorted numbers, and their union: an end of several kinds stands there once.
    places = {position: _places(split[column]) for position, split in splits.items()}
    union = np.unique(np.concatenate(list(places.values())))  # (U,)

    # 2. Score the union. Its scores, row after row, are aligned with it.
    ends = _by_row(union, _ends(union), len(samples))
    table = score_table(prm, samples, samples.select(["problem", "solution"]).append_column(column, ends), problems)
    scores = table["scores"].combine_chunks().flatten().to_numpy()  # (U,)

    # 3. Each kind takes the scores at its own places, all of which the union holds.
    index = SCHEMA.get_field_index("scores")
    rated = {}
    for position, own in places.items():
        own_scores = scores[np.searchsorted(union, own)]
        rated[position] = table.set_column(index, SCHEMA.field(index), _by_row(own, own_scores, len(samples)))
    return rated


# A place is one end of one row as the number row · 2³² + end. Sorted places are in the order of the rows and, within a
# row, of its ends: they hold the lists of ends of a whole table as one array, which can be merged and searched.

_ROW_BITS = 32


def _places(ends: pa.ChunkedArray) -> NDArray[np.int64]:
    """(N,) the places of a column of R lists of ends, N ends in all; sorted, as the ends of each row are."""
    lists = ends.combine_chunks()
    rows = np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy())  # (N,)
    return rows << _ROW_BITS | lists.flatten().to_numpy().astype(np.int64)


def _ends(places: NDArray[np.int64]) -> NDArray[np.int32]:
    """(N,) the ends of the places, without their rows."""
    return (places & (2**_ROW_BITS - 1)).astype(np.int32)


def _by_row(places: NDArray[np.int64], values: np.ndarray, rows: int) -> pa.ListArray:
    """`rows` lists: the values (N,), which belong to the sorted places (N,), by the row of their place."""
    offsets = np.searchsorted(places >> _ROW_BITS, np.arange(rows + 1))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))
