"""Rating: step scores of a table of candidates, at one or several kinds of rating positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from asprm.reward.published import Scorer, Text
from asprm.reward.score import PRM, Item, score

SCHEMA = pa.schema(
    [
        ("problem", pa.string()),
        ("solution", pa.int32()),
        ("scores", pa.list_(pa.float32())),
        ("correct", pa.bool_()),
        ("answer", pa.string()),
    ]
)


def score_table(
    prm: PRM | Scorer, samples: pa.Table, splits: pa.Table, problems: Mapping[str, np.ndarray] | Mapping[str, str]
) -> pa.Table:
    """One row of step scores per solution; schema `SCHEMA`. Rows are independent: score a big table batch by batch.

    splits: columns problem, solution, … of the same rows as samples, in the same order. A PRM reads the samples' own
    tokens: samples has problem, solution, ids, correct, answer, splits has ends, and problems are token ids (L,) by
    name. A `Scorer` reads texts: text and finished in the place of ids, char_ends in that of ends, and the problems'
    texts. ValueError: the tables do not match, or an item cannot be scored.
    """
    for column in ("problem", "solution"):
        if not samples[column].combine_chunks().equals(splits[column].combine_chunks()):
            raise ValueError(
                f"score: samples and splits differ in column {column!r} ({len(samples)} and {len(splits)} rows); "
                "expected the split of these very samples, in their order"
            )
    if isinstance(prm, PRM):
        found = score(prm, _items(samples, splits, problems))
    else:
        found = list(prm.rate(_texts(samples, splits, problems)))
    scores = pa.array(found, pa.list_(pa.float32()))
    table = samples.select(["problem", "solution", "correct", "answer"]).append_column("scores", scores)
    return table.select(SCHEMA.names).cast(SCHEMA)


def _items(samples: pa.Table, splits: pa.Table, prompts: Mapping[str, np.ndarray]) -> Iterator[Item]:
    for name, ids, ends in zip(samples["problem"].to_pylist(), samples["ids"], splits["ends"], strict=True):
        yield Item(prompts[name], np.asarray(ids.values), np.asarray(ends.values))


def _texts(samples: pa.Table, splits: pa.Table, problems: Mapping[str, str]) -> Iterator[Text]:
    names, texts, finished = (samples[column].to_pylist() for column in ("problem", "text", "finished"))
    for name, text, whole, ends in zip(names, texts, finished, splits["char_ends"], strict=True):
        yield Text(problems[name], text, np.asarray(ends.values), whole)


def rate_positions(
    prm: PRM | Scorer, batch: pa.Table, splits: Mapping[str, pa.Table], problems: Mapping[str, Any]
) -> dict[str, pa.Table]:
    """Score tables of a batch by position; the union of all positions is read once."""
    if len(splits) == 1:
        [(position, split)] = splits.items()
        return {position: score_table(prm, batch, split, problems)}
    places = {position: _places(table["ends"]) for position, table in splits.items()}
    union = np.unique(np.concatenate(list(places.values())))
    ends = _lists(union, (union & _END).astype(np.int32), len(batch))
    table = score_table(prm, batch, batch.select(["problem", "solution"]).append_column("ends", ends), problems)
    scores = table["scores"].combine_chunks().flatten().to_numpy()
    out, column = {}, table.schema.get_field_index("scores")
    for position, some in places.items():
        found = _lists(some, scores[np.searchsorted(union, some)], len(batch))
        out[position] = table.set_column(column, SCHEMA.field("scores"), found)
    return out


_END = 2**32 - 1


def _places(ends: pa.ChunkedArray) -> np.ndarray:
    """Every end of every row as one number, row · 2³² + end, (N,) int64."""
    column = ends.combine_chunks()
    row = np.repeat(np.arange(len(column)), column.value_lengths().to_numpy())
    return row << 32 | column.flatten().to_numpy().astype(np.int64)


def _lists(places: np.ndarray, values: np.ndarray, rows: int) -> pa.ListArray:
    """The values at `places`, a list for every row."""
    offsets = np.searchsorted(places >> 32, np.arange(rows + 1))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))
