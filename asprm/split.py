"""Split: cut solutions into steps (paper §2, Figures 1 and 2).

A *step end* is exclusive: the number of tokens up to and including the step's last one. The last end of a solution of T
tokens is T, whatever the method. AdaptiveStep ends a step with each token below τ; the other methods are the baselines.
Knows confidences, offsets and tables: no model.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from asprm.models.align import Speller
from asprm.models.load import load_tokenizer
from asprm.run.names import METHODS, Method
from asprm.run.open import Run
from asprm.threshold import tau_of

Ends = NDArray[np.int32]  # (K,) strictly increasing

SCHEMA = pa.schema(
    [
        ("problem", pa.string()),
        ("solution", pa.int32()),
        ("ends", pa.list_(pa.int32())),
        ("char_ends", pa.list_(pa.int32())),
    ]
)


def adaptive(confidences: ArrayLike, tau: float) -> Ends:
    """AdaptiveStep: a step ends with (includes) each token whose confidence (T,) lies below tau."""
    confidences = np.asarray(confidences)
    return _close(np.flatnonzero(confidences < tau) + 1, len(confidences))


def line(text: str, char_ends: ArrayLike) -> Ends:
    """A step ends with each token that holds a newline. char_ends: (T,), see `asprm.models.align.Speller`."""
    char_ends = np.asarray(char_ends)
    newlines = np.array([i for i, c in enumerate(text) if c == "\n"], np.int64)
    return _close(np.unique(np.searchsorted(char_ends, newlines, side="right")) + 1, len(char_ends))


def fixed(tokens: int, length: int) -> Ends:
    """A step ends after every `length` tokens; the last one may be shorter."""
    if length < 1:
        raise ValueError(f"length is {length}; a step needs at least one token")
    return _close(np.arange(length, tokens + 1, length), tokens)


def random(tokens: int, count: int, seed: int | Sequence[int]) -> Ends:
    """`count` steps (fewer where there are fewer tokens) that end at random positions and at the last token.

    The authors' released "five random positions" are four within the solution and its end: count = 5.
    """
    if count < 1:
        raise ValueError(f"count is {count}; a solution has at least one step")
    inner = np.random.default_rng(seed).permutation(max(tokens - 1, 0))[: count - 1] + 1
    return _close(np.sort(inner), tokens)


def cut(whole: Sequence | NDArray, ends: ArrayLike) -> list:
    """The pieces of a sequence (ids with token ends, a text with character ends); joined they give it back.

    ValueError: the ends do not cover the sequence, so that a piece would be lost.
    """
    ends = np.asarray(ends).tolist()
    if (ends[-1] if ends else 0) != len(whole):
        raise ValueError(f"the last end is {ends[-1] if ends else None}, but the solution has length {len(whole)}")
    return [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def read_marks(marked: str, mark: str = " ки ") -> tuple[str, Ends]:
    """Plain text and character ends of its steps, from text with a mark after every step (the authors' form)."""
    steps = marked.split(mark)
    if steps[-1]:
        steps.append("")  # the last step need not be marked
    return "".join(steps), np.cumsum([len(step) for step in steps[:-1]], dtype=np.int32)


def split_samples(run: Run) -> list[str]:
    """Cut the run's training samples by every method that it or a reward model asks for; the tables' names."""
    fitted, settings = run.read_json(f"threshold/{run.policy}"), run.profile.split
    methods = {method.split: method for method in map(Method.parse, run.profile.methods(run.policy))}
    options = {"length": settings.length, "count": settings.count, "seed": run.seed}
    cutters = {
        name: cutter(method.kind, tau=tau_of(fitted, method.share), **options) for name, method in methods.items()
    }
    tables = split_tables(run.read(f"sample/{run.policy}/train"), cutters, load_tokenizer(run.policy_path()))
    for name, table in tables.items():
        run.write(f"split/{run.policy}/{name}", table)
    return list(methods)


def split_table(samples: pa.Table, method: str, tokenizer: Any, **parameters: Any) -> pa.Table:
    """`split_tables` by one method. parameters, and ValueError for them: see `cutter`."""
    return split_tables(samples, {method: cutter(method, **parameters)}, tokenizer)[method]


Cutter = Callable[[Mapping[str, Any], str, Ends], Ends]  # a solution's row, its text and its tokens' character ends


def cutter(
    method: str, *, tau: float | None = None, length: int | None = None, count: int | None = None, seed: int = 0
) -> Cutter:
    """What cuts a solution by a method: adaptive (needs tau), line, fixed (needs length), random (needs count; a
    solution's ends depend on the seed, its problem and its number only) or whole (one step).

    ValueError: unknown method, a missing parameter.
    """
    if method not in METHODS:
        raise ValueError(f"unknown split method {method!r}; known: {', '.join(METHODS)}")
    given = {"tau": tau, "length": length, "count": count}
    if METHODS[method] and given[METHODS[method]] is None:
        raise ValueError(f"split method {method!r} needs {METHODS[method]}")

    def ends_of(row: Mapping[str, Any], text: str, char_ends: Ends) -> Ends:
        match method:
            case "adaptive":
                return adaptive(row["confidences"], tau)
            case "line":
                return line(text, char_ends)
            case "fixed":
                return fixed(len(char_ends), length)
            case "whole":
                return _close(np.empty(0, np.int32), len(char_ends))
            case _:
                return random(len(char_ends), count, [seed, zlib.crc32(row["problem"].encode()), row["solution"]])

    return ends_of


def split_tables(samples: pa.Table, cutters: Mapping[str, Cutter], tokenizer: Any) -> dict[str, pa.Table]:
    """For each cutter one row of step ends (tokens and characters) per row of `samples`, in its order; schema `SCHEMA`.

    samples: columns problem, solution, ids, confidences, text (what the ids spell).
    Rows are independent, so that a big table may be split batch by batch. Each is spelled once for all cutters.
    ValueError: ids and confidences of unequal length, an empty solution, a text that the tokenizer does not spell from
    the ids.
    """
    spell = Speller(tokenizer)
    parts: dict[str, list[pa.RecordBatch]] = {name: [] for name in cutters}
    chosen = samples.select(["problem", "solution", "ids", "confidences", "text"])
    for batch in chosen.to_batches(max_chunksize=1000):
        rows: dict[str, list[dict]] = {name: [] for name in cutters}
        for row in batch.to_pylist():
            text, char_ends = _spelled(row, spell)
            for name, ends_of in cutters.items():
                ends = ends_of(row, text, char_ends)
                where = {"problem": row["problem"], "solution": row["solution"]}
                rows[name].append(where | {"ends": ends, "char_ends": char_ends[ends - 1]})
        for name, some in rows.items():
            parts[name].append(pa.RecordBatch.from_pylist(some, SCHEMA))
    return {name: pa.Table.from_batches(batches, SCHEMA) for name, batches in parts.items()}


def _spelled(row: Mapping[str, Any], spell: Speller) -> tuple[str, Ends]:
    where = f"problem {row['problem']}, solution {row['solution']}"
    if not row["ids"] or len(row["ids"]) != len(row["confidences"]):
        raise ValueError(f"{where}: {len(row['ids'])} ids and {len(row['confidences'])} confidences; need one each")
    text, char_ends = spell(row["ids"])
    if text != row["text"]:
        raise ValueError(
            f"{where}: the ids spell {text!r}, the table says {row['text']!r}; another policy's tokenizer?"
        )
    return text, char_ends


def _close(ends: NDArray, tokens: int) -> Ends:
    """The ends with the last token's added where it is missing."""
    if tokens and (len(ends) == 0 or ends[-1] != tokens):
        ends = np.append(ends, tokens)
    return ends.astype(np.int32)
