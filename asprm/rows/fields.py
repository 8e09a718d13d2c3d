"""Fields: what each command of `asprm` adds to rows that people bring (`asprm.rows.texts`).

The functions `…_of` turn a row into what a model needs; the functions `…_fields` compute the new fields. The work is
done by the code of the stages: engine, rollouts, trainer, scores, guided decoding. Knows no file and no command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from asprm.engines.guided import guided_decode
from asprm.engines.protocol import Engine, Request, Sampling, request_seed
from asprm.engines.values import Guide
from asprm.models.align import Speller
from asprm.models.prompts import Form
from asprm.problems.problem import Problem
from asprm.reward.aggregates import aggregate
from asprm.reward.published import StepTagPRM, Text, TokenScorer
from asprm.reward.score import PRM, Item, score
from asprm.reward.train import hold_out
from asprm.reward.trainer import Example
from asprm.rollout import Labelling, label, roll_out
from asprm.rows.jsonl import take
from asprm.rows.texts import Encoder, problem_of, verdicts
from asprm.rows.values import finished_in, labels_in, steps_in, take_problem, template_in
from asprm.split import adaptive, cut


def sample_fields(
    items: Sequence[tuple[Problem, np.ndarray]], engine: Engine, sampling: Sampling, *, solutions: int, seed: int
) -> list[list[dict[str, Any]]]:
    """The sampled solutions of each item, a dictionary of fields each. They do not depend on the other items.

    items: problems with their prompt ids (L,).
    engine: of the policy.
    sampling: how it draws tokens.
    solutions: how many each problem gets.
    seed: of the solutions; with the problem's text it makes the seed of each.
    """
    spell = Speller(engine.tokenizer)
    requests = [
        Request(prompt, len(prompt), request_seed(seed, problem.prompt, number))
        for problem, prompt in items
        for number in range(solutions)
    ]
    fields = []
    for place, completion in enumerate(engine.generate(requests, sampling)):
        text, token_ends = spell(completion.ids)
        fields.append(
            {
                "sample": place % solutions + 1,
                "solution": text,
                "finished": completion.finished,
                "token_ends": token_ends,
                "confidences": completion.confidences,
                "ids": completion.ids,
            }
        )
    return [fields[first : first + solutions] for first in range(0, len(fields), solutions)]


def split_fields(solution: str, ids: np.ndarray, token_ends: np.ndarray, confidences: np.ndarray, tau: float) -> dict:
    """The steps of a solution by AdaptiveStep, and what they were made from.

    solution: its text.
    ids: (T,), the solution's tokens.
    token_ends: (T,) characters up to the end of each token.
    confidences: (T,) of the tokens.
    tau: the threshold.
    """
    ends = adaptive(confidences, tau)  # (K,)
    char_ends = token_ends[ends - 1]  # (K,)
    steps = {"steps": cut(solution, char_ends), "ends": ends, "char_ends": char_ends, "tau": tau}
    return steps | {"token_ends": token_ends, "confidences": confidences, "ids": ids}


@dataclass(frozen=True, eq=False)
class Cut:
    """A solution in steps. prompt: (L,) ids. ids: (T,) of the solution. ends: (K,), tokens up to each step's end."""

    problem: Problem
    solution: str
    finished: bool
    prompt: np.ndarray
    ids: np.ndarray
    ends: np.ndarray


def cut_of(row: Mapping[str, Any], encoder: Encoder) -> Cut:
    """The row's solution in steps. ValueError: the row has no steps, or neither an answer nor a test."""
    solution = take(row, "solution", str, "the solution's text")
    return Cut(problem_of(row), solution, finished_in(row), encoder.prompt(row), *encoder.steps(row))


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
    """The labels (K,) of each item's steps, with the counts behind them. They do not depend on the other items.

    items: solutions in steps.
    engine: of the policy that continues them.
    sampling: how it draws tokens.
    rollouts: J, continuations of a step.
    estimate, eta: see `asprm.rollout.label`.
    seed: of the continuations.
    """
    # 1. Grade the solutions themselves.
    correct = []
    for item, verdict in zip(items, verdicts([(item.solution, item.problem) for item in items]), strict=True):
        if isinstance(verdict, Exception):
            raise verdict
        correct.append(bool(verdict and verdict["correct"]) and item.finished)

    # 2. Roll out the solutions of one problem together, so that equal beginnings are continued once.
    groups: dict[tuple[Problem, bytes], list[int]] = {}  # by problem and prompt, the items' indices
    for i, item in enumerate(items):
        groups.setdefault((item.problem, item.prompt.tobytes()), []).append(i)
    labellings = [
        Labelling(
            items[group[0]].problem,
            items[group[0]].prompt,
            [items[i].ids for i in group],
            [items[i].ends for i in group],
            [correct[i] for i in group],
            rollouts,
            estimate,
        )
        for group in groups.values()
    ]
    rolled_out = roll_out(labellings, engine, sampling, seed)

    # 3. Labels by item. The last step ends the solution, which is its only rollout.
    fields: list[dict[str, Any]] = [{}] * len(items)
    for group, steps in zip(groups.values(), rolled_out, strict=True):
        for place, i in enumerate(group):
            inner = [steps[place, k] for k in range(len(items[i].ends) - 1)]
            right = np.array([*(step.right for step in inner), int(correct[i])])
            done = np.array([*(step.done for step in inner), 1])
            labels = label(right, done, estimate, eta).astype(np.float32)
            fields[i] = {
                "labels": labels,
                "right": right,
                "rollouts": done,
                "correct": correct[i],
                "estimate": estimate,
            }
    return fields


def example_of(row: Mapping[str, Any], encoder: Encoder) -> Example:
    """The row's labelled solution. ValueError: the row has no labels, or not one in [0, 1] for each step."""
    prompt, (ids, ends) = encoder.prompt(row), encoder.steps(row)
    labels = labels_in(row, len(ends))
    return Example(prompt, ids, ends, labels)


def held_out(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """The examples in two lists, the second with the given share of the *problems*, drawn by the seed."""
    problems = pa.array([example.prompt.tobytes().hex() for example in examples])
    table = pa.table({"problem": problems, "row": range(len(examples))})
    kept, held = ([examples[i] for i in part["row"].to_pylist()] for part in hold_out(table, share, seed))
    return kept, held


def item_maker(scorer: TokenScorer | StepTagPRM) -> Callable[[Mapping[str, Any]], Item]:
    """The function that turns a row into its solution, to be rated at the ends of its steps.

    The function raises ValueError if the row has no steps, or if the reward model cannot read it.
    """
    if isinstance(scorer, StepTagPRM):
        return lambda row: scorer.item(_text_of(row), "its text")
    # Not by `TokenScorer.item`: a row may have its own template, and ids that are the reward model's already.
    prompts = scorer.prompts
    encoder = Encoder(prompts.tokenizer, form=Form(template=prompts.template), positions=prompts.positions)
    return lambda row: Item(encoder.prompt(row), *encoder.steps(row))


def _text_of(row: Mapping[str, Any]) -> Text:
    template_in(row)  # a reward model with a convention has its own; a wrong one is refused all the same
    return Text(take_problem(row), *steps_in(row), finished_in(row))


def score_fields(items: Sequence[Item], prm: PRM, how: str) -> Iterator[dict[str, Any]]:
    """The scores (K,) of each item's steps, and the solution's score. how: see `asprm.reward.aggregates`."""
    for scores in score(prm, items):
        yield {"scores": scores, "score": np.float32(aggregate(scores, how))}


def asked_of(row: Mapping[str, Any], encoder: Encoder) -> tuple[Problem, np.ndarray]:
    """The row's problem and its prompt ids (L,). ValueError: the row has no problem, or one that is too long."""
    return Problem("", "math", take_problem(row)), encoder.prompt(row)


def decode_fields(
    items: Sequence[tuple[Problem, np.ndarray]],
    engine: Engine,
    guide: Guide,
    *,
    trigger: float,
    candidates: int,
    max_new_tokens: int,
) -> list[dict[str, Any]]:
    """A solution of each problem by guided decoding, and where the reward model changed the policy's choice.

    items: problems with their prompt ids (L,).
    engine: of the policy.
    guide: the reward model, from `asprm.reward.guides.guide_for`.
    trigger: the guide is asked where the policy's top-1 probability is lower.
    candidates: W, tokens that the guide scores.
    max_new_tokens: length limit of a solution.
    """
    spell = Speller(engine.tokenizer)
    fields: list[dict[str, Any]] = [{}] * len(items)
    requests = [Request(prompt, len(prompt), 0, problem) for problem, prompt in items]
    places = {id(request): i for i, request in enumerate(requests)}
    decoded = guided_decode(
        engine, guide, requests, trigger=trigger, candidates=candidates, max_new_tokens=max_new_tokens
    )
    for request, guided in decoded:
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
