"""Own solutions: the stages on rows that people bring (`asprm.rows.texts`), a few hundred at a time.

Each function takes what an `Encoder` made of the rows and gives, for each, the fields that its command adds. The work
is the stages' own: engine, rollouts, trainer, scores, guided decoding. Knows no file and no command line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from asprm.engines.guided import guided_decode
from asprm.engines.protocol import Engine, Request, Sampling
from asprm.models.align import Speller
from asprm.problems.problem import Problem
from asprm.results.candidates import aggregate
from asprm.reward.guides import Guide
from asprm.reward.published import StepTagPRM, Text, TokenScorer
from asprm.reward.score import PRM, Item, score
from asprm.reward.train import hold_out
from asprm.reward.trainer import Example
from asprm.rollout import Labelling, label, run_rollouts
from asprm.rows.jsonl import take
from asprm.rows.texts import Encoder, problem_of, steps_in, verdicts
from asprm.split import adaptive, cut


def split_fields(solution: str, ids: np.ndarray, char_ends: np.ndarray, confidences: np.ndarray, tau: float) -> dict:
    """Steps of a solution with ids, char_ends and confidences (T,) each: their texts, ends in tokens and characters."""
    ends = adaptive(confidences, tau)
    at = char_ends[ends - 1]
    steps = cut(solution, at)
    return {"steps": steps, "ends": ends, "char_ends": at, "tau": tau, "confidences": confidences, "ids": ids}


@dataclass(frozen=True, eq=False)
class Cut:
    """A solution in steps: ids (T,) after prompt (L,), ends (K,)."""

    problem: Problem
    solution: str
    finished: bool
    prompt: np.ndarray
    ids: np.ndarray
    ends: np.ndarray


def cut_of(row: Mapping[str, Any], encoder: Encoder) -> Cut:
    """ValueError: the row has no steps, or nothing to tell right from wrong."""
    finished = bool(row.get("finished", True))
    return Cut(problem_of(row), row.get("solution", ""), finished, encoder.prompt(row), *encoder.steps(row))


def label_fields(
    items: Sequence[Cut],
    engine: Engine,
    sampling: Sampling,
    *,
    rollouts: int,
    estimate: str,
    eta: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Labels (K,) of each item's steps with the counts behind them. They do not depend on what else is labelled."""
    graded = verdicts([(item.solution, item.problem) for item in items])
    correct = [bool(one["correct"]) and item.finished for one, item in zip(graded, items, strict=True)]
    # The solutions of one problem together, so that equal beginnings are continued once.
    by_problem: dict[tuple, list[int]] = {}
    for i, item in enumerate(items):
        by_problem.setdefault((item.problem, item.prompt.tobytes()), []).append(i)
    together = list(by_problem.values())
    asked = [
        Labelling(
            items[some[0]].problem,
            [items[i].ids for i in some],
            [items[i].ends for i in some],
            [correct[i] for i in some],
            rollouts,
            estimate,
        )
        for some in together
    ]
    found = run_rollouts(asked, [items[some[0]].prompt for some in together], engine, sampling, seed)
    fields: list[dict[str, Any]] = [{}] * len(items)
    for some, steps in zip(together, found, strict=True):
        for place, i in enumerate(some):
            inner = [steps[place, k] for k in range(len(items[i].ends) - 1)]
            # Nothing is left to continue at the last step: the solution is its own rollout.
            right = np.array([*(step.right for step in inner), int(correct[i])])
            ran = np.array([*(step.done for step in inner), 1])
            labels = label(right, ran, estimate, eta).astype(np.float32)
            fields[i] = {"labels": labels, "right": right, "rollouts": ran, "correct": correct[i], "estimate": estimate}
    return fields


def example_of(row: Mapping[str, Any], encoder: Encoder) -> Example:
    """What a PRM learns from the row. ValueError: it has no labels, or not one in [0, 1] for each step."""
    if "labels" not in row:
        raise ValueError("no field 'labels': label the steps first, with `asprm label`")
    prompt, (ids, ends) = encoder.prompt(row), encoder.steps(row)
    labels = np.array(row["labels"], np.float32)
    if labels.shape != ends.shape or not ((labels >= 0) & (labels <= 1)).all():
        raise ValueError(f"'labels' should hold {len(ends)} numbers in [0, 1], one for each step")
    return Example(prompt, ids, ends, labels)


def held_out(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """The examples in two lists, the second with the given share of the problems."""
    names = pa.array([example.prompt.tobytes().hex() for example in examples])
    table = pa.table({"problem": names, "row": range(len(examples))})
    kept, held = ([examples[i] for i in part["row"].to_pylist()] for part in hold_out(table, share, seed))
    return kept, held


def item_of(row: Mapping[str, Any], scorer: TokenScorer | StepTagPRM) -> Item:
    """Where the row's solution is to be rated: at its steps' ends. ValueError: the row has no steps, or cannot be."""
    if isinstance(scorer, TokenScorer):  # which reads the row's own ids, if they are its tokenizer's
        return Item(scorer.encoder.prompt(row), *scorer.encoder.steps(row))
    return scorer.item(Text(_problem(row), *steps_in(row)), "its text")


def _problem(row: Mapping[str, Any]) -> str:
    return take(row, "problem", str, "the problem's text")


def score_fields(items: Sequence[Item], prm: PRM, how: str) -> Iterator[dict[str, Any]]:
    """Scores (K,) of each item's steps and one of the solution."""
    for scores in score(prm, items):
        yield {"scores": scores, "score": np.float32(aggregate(scores, how))}


def asked_of(row: Mapping[str, Any], encoder: Encoder) -> tuple[Problem, np.ndarray]:
    """The row's problem, and how it is put to the policy. ValueError: it has none, or one that is too long."""
    return Problem("", "math", _problem(row)), encoder.prompt(row)


def decode_fields(
    items: Sequence[tuple[Problem, np.ndarray]],
    engine: Engine,
    guide: Guide,
    *,
    trigger: float,
    candidates: int,
    max_new_tokens: int,
) -> list[dict[str, Any]]:
    """A solution for each problem, by guided decoding, and where the reward model stepped in."""
    spell = Speller(engine.tokenizer)
    fields: list[dict[str, Any]] = [{}] * len(items)
    requests = [Request(prompt, len(prompt), 0, problem) for problem, prompt in items]
    places = {id(request): i for i, request in enumerate(requests)}
    options = {"trigger": trigger, "candidates": candidates, "max_new_tokens": max_new_tokens}
    for request, guided in guided_decode(engine, guide, requests, **options):
        text, char_ends = spell(guided.ids)
        starts = np.concatenate([[0], char_ends])
        fields[places[id(request)]] = {
            "solution": text,
            "finished": guided.finished,
            "tokens": len(guided.ids),
            "decisions": len(guided.decisions),
            "changed": starts[guided.changed],
        }
    return fields
