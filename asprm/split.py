"""Split: cut solutions into steps (stage 4; paper §2, Figures 1 and 2).

A *step end* is exclusive: the number of tokens up to and including the step's last one. The last end of a solution of T
tokens is T, whatever the method. AdaptiveStep ends a step with each token below τ; the other methods are the baselines.
Needs confidences, offsets and the tokenizer, but no model.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from asprm.models.align import Speller
from asprm.models.load import load_tokenizer
from asprm.run import names
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

    ValueError: the last end is not the sequence's length, so that a piece would be lost.
    """
    bounds = [0, *np.asarray(ends).tolist()]
    if bounds[-1] != len(whole):
        raise ValueError(f"the last end is {bounds[-1]}, but the solution has length {len(whole)}")
    return [whole[start:end] for start, end in pairwise(bounds)]


# --- the stage --------------------------------------------------------------------------------------------------------


def run_split(run: Run) -> list[str]:
    """Cut the run's training samples by every method that the study or a reward model asks for.

    Writes the table `split/<policy>/<method>` (`SCHEMA`) for each; returns their names. Methods that cut alike and
    differ only in how steps are labelled have one table.
    """
    fitted, settings = run.read_json(names.threshold(run.policy)), run.profile.split
    methods = {method.split: method for method in map(Method.parse, run.profile.methods(run.policy))}
    options = {"length": settings.length, "count": settings.count, "seed": run.seed}
    cutters = {
        split: cutter(method.kind, tau=tau_of(fitted, method.share), **options) for split, method in methods.items()
    }
    samples = run.read(names.samples(run.policy, "train"))
    written = []
    for split, table in split_tables(samples, cutters, load_tokenizer(run.policy_path())).items():
        written.append(names.step_ends(run.policy, split))
        run.write(written[-1], table)
    return written


def split_table(samples: pa.Table, method: str, tokenizer: Any, **parameters: Any) -> pa.Table:
    """`split_tables` by one method. parameters, and ValueError for them: see `cutter`."""
    return split_tables(samples, {method: cutter(method, **parameters)}, tokenizer)[method]


Cutter = Callable[[Mapping[str, Any], str, Ends], Ends]  # a solution's row, its text and its tokens' character ends


def cutter(
    method: str, *, tau: float | None = None, length: int | None = None, count: int | None = None, seed: int = 0
) -> Cutter:
    """The function that cuts a solution by one method.

    method: a key of METHODS; whole makes one step of a solution.
    tau: threshold of adaptive.
    length: tokens per step of fixed.
    count: steps of random.
    seed: of random; a solution's ends depend on the seed, its problem and its number only.

    ValueError: unknown method, a missing parameter.
    """
    if method not in METHODS:
        raise ValueError(f"unknown split method {method!r}; known: {', '.join(METHODS)}")
    parameters = {"tau": tau, "length": length, "count": count}
    value: Any = parameters.get(METHODS[method] or "")
    if METHODS[method] and value is None:
        raise ValueError(f"split method {method!r} needs {METHODS[method]}")

    def ends_of(row: Mapping[str, Any], text: str, char_ends: Ends) -> Ends:
        match method:
            case "adaptive":
                return adaptive(row["confidences"], value)
            case "line":
                return line(text, char_ends)
            case "fixed":
                return fixed(len(char_ends), value)
            case "whole":
                return _close(np.empty(0, np.int32), len(char_ends))
            case "random":
                return random(len(char_ends), value, [seed, zlib.crc32(row["problem"].encode()), row["solution"]])
        raise NotImplementedError(f"split method {method!r} has no case here; CONTRIBUTING.md says how to add one")

    return ends_of


def split_tables(samples: pa.Table, cutters: Mapping[str, Cutter], tokenizer: Any) -> dict[str, pa.Table]:
    """A table of step ends (`SCHEMA`) for each cutter, with one row per row of `samples`, in their order.

    samples: columns problem, solution, ids, confidences, text (spelled by the ids). Rows are independent, so that a big
    table may be split batch by batch.
    ValueError: ids and confidences of unequal length, an empty solution, a text that the ids do not spell.
    """
    spell = Speller(tokenizer)
    parts: dict[str, list[pa.RecordBatch]] = {name: [] for name in cutters}
    chosen = samples.select(["problem", "solution", "ids", "confidences", "text"])
    for batch in chosen.to_batches(max_chunksize=1000):
        rows: dict[str, list[dict]] = {name: [] for name in cutters}
        for row in batch.to_pylist():
            text, char_ends = _spelled(row, spell)  # once for all cutters
            for name, ends_of in cutters.items():
                ends = ends_of(row, text, char_ends)
                solution = {"problem": row["problem"], "solution": row["solution"]}
                rows[name].append(solution | {"ends": ends, "char_ends": char_ends[ends - 1]})
        for name in cutters:
            parts[name].append(pa.RecordBatch.from_pylist(rows[name], SCHEMA))
    return {name: pa.Table.from_batches(batches, SCHEMA) for name, batches in parts.items()}


def _spelled(row: Mapping[str, Any], spell: Speller) -> tuple[str, Ends]:
    """The text of a row and its tokens' character ends (T,), checked."""
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
