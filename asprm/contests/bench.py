"""Bench: what all contests look at, the same solutions and candidates of one policy, with the truth about them.

The samples keep the confidence of each token that was written. The entropy of the distribution that it was drawn from
is read here, by one pass over the solutions that are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from asprm.contests.places import CONFIDENCE, Cuts, Doubts, ends_of, fit_cuts, places
from asprm.engines.rescore import Reader, entropies, load_reader
from asprm.models.align import Speller
from asprm.models.load import load_tokenizer
from asprm.models.prompts import prompts_of
from asprm.problems.departure import departure
from asprm.problems.problem import Problem
from asprm.problems.sets import problem_set, test_sets
from asprm.run import names
from asprm.run.chunks import map_chunks
from asprm.run.open import Run


@dataclass(frozen=True, eq=False)
class Written(Doubts):
    """A solution as its policy wrote it, and what is true of it.

    ids, char_ends: (T,) token ids, and the characters of `text` up to each one's end.
    departs: index of the token at which it departs from the true solution (`asprm.truth`); None: it never does.
    """

    ids: NDArray[np.int32]
    char_ends: NDArray[np.int32]
    text: str
    finished: bool
    correct: bool
    answer: str | None
    departs: int | None

    def error_step(self, ends: NDArray[np.int32]) -> int:
        """The number of the step in which it departs, from 0; −1: it never does. ends: (K,) of its steps."""
        return -1 if self.departs is None else int(np.searchsorted(ends, self.departs, side="right"))

    def true_up_to(self, ends: NDArray[np.int32]) -> NDArray[np.bool_]:
        """(K,) whether nothing has departed up to each step's end."""
        return ends <= (len(self.ids) if self.departs is None else self.departs)


@dataclass(frozen=True, eq=False)
class Bench:
    """Solutions by set: "train", "validation" and `test`, each of evenly spaced problems of that set.

    test: the name of the test set. problems: by id, of all sets. prompts: token ids (L,) by problem.
    cuts: where steps end, so that all kinds have the share of tokens below the policy's threshold.
    """

    test: str
    solutions: Mapping[str, Sequence[Written]]
    problems: Mapping[str, Problem]
    prompts: Mapping[str, NDArray[np.int32]]
    cuts: Cuts
    seed: int

    def marked(self, kind: str, solution: Written) -> NDArray[np.bool_]:
        """(T,) whether a step of this kind ends with each token."""
        return places(kind, solution, self.cuts, self.seed)

    def ends(self, kind: str, solution: Written) -> NDArray[np.int32]:
        """(K,) the solution's step ends of a kind of `asprm.contests.places.KINDS`."""
        return ends_of(self.marked(kind, solution))


def bench_of(run: Run) -> Bench:
    """The bench of the run's policy. ValueError: it does not solve problems whose truth is known, or does not doubt."""
    # 1. The problems, evenly spaced in each set, and their solutions.
    settings, tests = run.profile.rivals, test_sets(run.profile, run.domain)
    if run.domain != "math" or not tests:
        raise ValueError(
            f"rivals: policy {run.policy} solves no mathematics, whose lines are edited here; name another"
        )
    counts = {"train": settings.problems, "validation": settings.test, tests[0]: settings.test}
    solutions: dict[str, list[dict[str, Any]]] = {}
    problems: dict[str, Problem] = {}
    for name, count in counts.items():
        every = problem_set(run.profile, name, run.domain)
        chosen = {every[i].id: every[i] for i in np.linspace(0, len(every) - 1, min(count, len(every))).astype(int)}
        problems |= chosen
        most = run.profile.rollout.solutions if name == "train" else run.profile.sample.candidates
        solutions[name] = _rows(run, name, chosen, most)

    # 2. The entropies, in chunks that are kept.
    tokenizer = load_tokenizer(run.policy_path())
    prompts = prompts_of(tokenizer, {id: problem.prompt for id, problem in problems.items()})
    every_row = [row for rows in solutions.values() for row in rows]
    read = _entropies(run, [(prompts[row["problem"]], np.asarray(row["ids"], np.int32)) for row in every_row])

    # 3. The truth, and the cuts.
    spell, at = Speller(tokenizer), 0
    written: dict[str, list[Written]] = {}
    for name, rows in solutions.items():
        found = read[at : at + len(rows)]
        at += len(rows)
        written[name] = [_written(row, own, spell, problems) for row, own in zip(rows, found, strict=True)]
    tau = run.read_json(names.threshold(run.policy))["tau"]
    return Bench(tests[0], written, problems, prompts, fit_cuts(written["train"], tau), run.seed)


def _rows(run: Run, name: str, problems: Mapping[str, Problem], most: int) -> list[dict[str, Any]]:
    """The rows of the samples of these problems, the first `most` of each."""
    columns = ["problem", "solution", "ids", "confidences", "finished", "correct", "answer"]
    counts = dict.fromkeys(problems, 0)
    rows = []
    for batch in run.scan(names.samples(run.policy, name), columns):
        for row in batch.to_pylist():
            if counts.get(row["problem"], most) < most:
                counts[row["problem"]] += 1
                rows.append(row)
    return rows


def _written(
    row: Mapping[str, Any], entropy: NDArray[np.float32], spell: Speller, problems: Mapping[str, Problem]
) -> Written:
    text, char_ends = spell(row["ids"])
    starts = np.concatenate([[0], char_ends[:-1]])
    at = departure(problems[row["problem"]], text)
    return Written(
        problem=row["problem"],
        solution=row["solution"],
        confidences=np.asarray(row["confidences"], np.float32),
        entropies=entropy,
        breaks=np.array(["\n" in text[a:b] for a, b in zip(starts, char_ends, strict=True)], bool),
        ids=np.asarray(row["ids"], np.int32),
        char_ends=char_ends,
        text=text,
        finished=row["finished"],
        correct=row["correct"],
        answer=row["answer"],
        departs=None if at is None else min(int(np.searchsorted(char_ends, at, side="right")), len(char_ends) - 1),
    )


# --- entropies --------------------------------------------------------------------------------------------------------


def _entropies(run: Run, texts: Sequence[tuple[NDArray[np.int32], NDArray[np.int32]]]) -> list[NDArray[np.float32]]:
    """(T,) of each solution. texts: prompt and solution, as ids."""
    with run.noting() as inputs:
        path = run.running(run.policy_path())
        for name in ("train", "validation", *test_sets(run.profile, run.domain)[:1]):
            run.find(f"{names.samples(run.policy, name)}.parquet")
    tables = map_chunks(
        _entropy_chunk,
        texts,
        size=8 * run.profile.chunk,
        folder=run.work(f"rivals/{run.policy}/entropies"),
        key={"inputs": inputs, "texts": len(texts), "settings": run.profile.rivals.model_dump(mode="json")},
        setup=partial(load_reader, path),
        workers=run.workers,
        label=f"entropies of {run.policy}",
        kept=run.kept,
    )
    return [np.asarray(row, np.float32) for table in tables for row in table["entropies"].to_pylist()]


def _entropy_chunk(texts: Sequence[tuple[NDArray[np.int32], NDArray[np.int32]]], reader: Reader) -> pa.Table:
    read = entropies(reader, [prompt for prompt, _ in texts], [ids for _, ids in texts])
    return pa.table({"entropies": pa.array(read, pa.list_(pa.float32()))})


# --- candidates -------------------------------------------------------------------------------------------------------


def candidates_table(bench: Bench, name: str) -> pa.Table:
    """The candidates of a set as `asprm.reward.rating.score_table` reads them."""
    rows = [
        {
            "problem": one.problem,
            "solution": one.solution,
            "ids": one.ids,
            "finished": one.finished,
            "correct": one.correct,
            "answer": one.answer,
        }
        for one in bench.solutions[name]
    ]
    schema = {"problem": pa.string(), "solution": pa.int32(), "ids": pa.list_(pa.int32()), "finished": pa.bool_()}
    return pa.Table.from_pylist(rows, pa.schema(schema | {"correct": pa.bool_(), "answer": pa.string()}))


def ends_table(bench: Bench, name: str, kind: str = CONFIDENCE) -> pa.Table:
    """The step ends of a kind of these candidates, row by row: problem, solution, ends."""
    rows = [
        {"problem": one.problem, "solution": one.solution, "ends": bench.ends(kind, one)}
        for one in bench.solutions[name]
    ]
    schema = {"problem": pa.string(), "solution": pa.int32(), "ends": pa.list_(pa.int32())}
    return pa.Table.from_pylist(rows, pa.schema(schema))
