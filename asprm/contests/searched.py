"""Searched: ways to spend computing on one problem, each with what it solves and what it costs.

All use the same policy and, where they use one, the same reward model. Costs are counted as in `asprm.results.costs`: 2
operations per parameter and token that is written or read. Seconds are processor time as measured; they are facts of
a manifest, not of a table, as they are never the same twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from asprm.contests.bench import Bench
from asprm.engines.load import load_engine
from asprm.engines.protocol import Engine, Request, Sampling, request_seed
from asprm.engines.search import Beam, Plan, Searched, search
from asprm.engines.values import Guide
from asprm.grading.grade import grade
from asprm.grading.math import one_spelling
from asprm.models.prompts import prompts_of
from asprm.problems.problem import Problem
from asprm.results import selection
from asprm.results.candidates import candidates
from asprm.results.costs import INFERENCE, parameters
from asprm.reward.adapters import base_of
from asprm.reward.guides import guide_for
from asprm.reward.published import load_reward_model, scorer_for
from asprm.reward.score import PRM, Item, score
from asprm.run import names
from asprm.run.chunks import map_chunks
from asprm.run.open import Run

GREEDY, TVD, BEAM, GUIDED, VOTED = "greedy", "TVD", "beam search", "value-guided search", "value-guided search, vote"
BEST, MAJORITY = "Best-of-N", "majority vote"

_SCHEMA = pa.schema(
    {
        "way": pa.string(),
        "size": pa.int32(),  # width, or N
        "problem": pa.string(),
        "right": pa.float64(),
        "written": pa.int64(),  # tokens of the policy
        "read": pa.int64(),  # tokens of the reward model
        "seconds": pa.float64(),
    }
)


def outcomes(run: Run, bench: Bench) -> pd.DataFrame:
    """One row per way, size and problem of the test set: way, size, problem, right, flops, seconds (NaN: not measured).

    Sizes are widths of searches, and N of ways that choose among N samples.
    """
    searched: Any = pd.concat([table.to_pandas() for table in _searched(run, bench)], ignore_index=True)
    chosen = _chosen(run, bench, searched.loc[searched["way"] == BEST])
    frame: Any = pd.concat([searched.loc[searched["way"] != BEST], chosen], ignore_index=True)
    model, _ = run.reward_model(run.prm)
    policy, prm = (parameters(Path(path)) if Path(path).is_dir() else np.nan for path in (run.policy_path(), model))
    prompt = frame["problem"].map(lambda problem: len(bench.prompts[problem]))
    flops = INFERENCE * (policy * (prompt + frame["written"]) + prm * frame["read"])
    return frame.assign(flops=flops).drop(columns=["written", "read"])


def _chosen(run: Run, bench: Bench, timed: pd.DataFrame) -> pd.DataFrame:
    """Best-of-N and the majority vote among the candidates that the study has. timed: with their seconds by N."""
    problems = list(dict.fromkeys(one.problem for one in bench.solutions[bench.test]))
    table: Any = run.read(names.scores(run.prm, run.policy, bench.test)).to_pandas()
    rated = candidates(table.loc[table["problem"].isin(problems)])
    tokens: Any = pd.DataFrame({"problem": [one.problem for one in bench.solutions[bench.test]]})
    tokens["tokens"] = [len(one.ids) for one in bench.solutions[bench.test]]
    mean: Any = tokens.groupby("problem")["tokens"].mean()
    seconds: Any = timed.groupby("size")["seconds"].first()
    rows = []
    for n in _sizes(run):
        best = selection.best_of_n(rated.scores(run.profile.best_of_n.aggregate), rated.correct, n)
        vote = selection.majority_vote(rated.answers, rated.correct, n)
        ways = ((BEST, best, n > 1), *([(MAJORITY, vote, False)] if n > 1 else []))  # of one nothing is chosen
        for way, right, reads in ways:
            for problem, outcome in zip(rated.problems, right, strict=True):
                written = float(n * mean.loc[problem])
                read = len(bench.prompts[problem]) + written if reads else 0.0
                taken = float(seconds.get(n, np.nan)) if way == BEST else np.nan
                rows.append((way, n, problem, float(outcome), written, read, taken))
    return pd.DataFrame(rows, columns=_SCHEMA.names)


def _sizes(run: Run) -> list[int]:
    """The N that are looked at: those of the profile up to the number of candidates."""
    return [n for n in run.profile.best_of_n.n if n <= run.profile.sample.candidates]


def _searched(run: Run, bench: Bench) -> list[pa.Table]:
    problems = [bench.problems[id] for id in dict.fromkeys(one.problem for one in bench.solutions[bench.test])]
    with run.noting() as inputs:
        models = {run.prm: run.reward_model(run.prm)}
        for path, _ in models.values():
            run.running(base_of(path) or path)
        setup = partial(_load, run.running(run.policy_path()), *models[run.prm])
        trigger = run.read_json(names.trigger(run.prm, run.policy))["trigger"]
    widths = run.profile.rivals.widths
    plans = [(TVD, Plan(trigger, run.profile.tvd.candidates, 1))]
    plans += [(BEAM, Plan(trigger, run.profile.tvd.candidates, width)) for width in widths]
    plans += [(GUIDED, Plan(trigger, run.profile.tvd.candidates, width, ahead=1)) for width in widths]
    return list(
        map_chunks(
            partial(
                _search_chunk,
                plans=[(GREEDY, Plan(0.0, 1, 1)), *plans],
                sizes=_sizes(run),
                limit=run.profile.sample.max_new_tokens,
                seed=run.seed,
            ),
            problems,
            size=len(problems),  # what is measured together is comparable
            folder=run.work(f"rivals/{run.policy}/search"),
            key={"inputs": inputs, "settings": run.profile.reads("rivals"), "trigger": trigger},
            setup=setup,
            label=f"rivals: searches of {run.policy}",
            kept=run.kept,
        )
    )


@dataclass(frozen=True, eq=False)
class _Loaded:
    """The policy's engine and the reward model, as it guides and as it scores."""

    engine: Engine
    prm: PRM
    guide: Guide


def _load(policy: str, model: str, convention: str | None) -> _Loaded:
    engine = load_engine(policy, guided=True)
    prm = scorer_for(load_reward_model(model, convention), engine.tokenizer)
    if not isinstance(prm, PRM):
        raise ValueError(f"rivals: {model} reads other tokens than {policy}; name a reward model that starts from it")
    return _Loaded(engine, prm, guide_for(prm, engine))


def _search_chunk(
    problems: Sequence[Problem],
    loaded: _Loaded,
    *,
    plans: Sequence[tuple[str, Plan]],
    sizes: Sequence[int],
    limit: int,
    seed: int,
) -> pa.Table:
    """One row per way and problem (`_SCHEMA`). Of Best-of-N the seconds are measured; its rows have no outcome."""
    tokenizer = loaded.engine.tokenizer
    prompts = prompts_of(tokenizer, {problem.id: problem.prompt for problem in problems})
    requests = [Request(prompts[p.id], len(prompts[p.id]), 0, p) for p in problems]
    rows: list[dict[str, Any]] = []
    for way, plan in plans:
        start = time.process_time()
        found = dict(search(loaded.engine, loaded.guide, requests, plan, max_new_tokens=limit))
        seconds = time.process_time() - start
        for request, one in found.items():
            right, voted = _graded(request.key, one, tokenizer)
            row = {"way": way, "size": plan.width, "problem": request.key.id, "right": right}
            row |= {"written": one.written, "read": one.read, "seconds": seconds}
            rows.append(row)
            if way == GUIDED:
                rows.append(row | {"way": VOTED, "right": voted})
    for n in sizes:
        start = time.process_time()
        written = _sample_and_read(problems, prompts, loaded, n, Sampling(max_new_tokens=limit), seed)
        seconds = time.process_time() - start
        rows.append({"way": BEST, "size": n, "written": written, "seconds": seconds})
    return pa.Table.from_pylist(rows, _SCHEMA)


def _sample_and_read(
    problems: Sequence[Problem],
    prompts: Mapping[str, Any],
    loaded: _Loaded,
    n: int,
    sampling: Sampling,
    seed: int,
) -> int:
    """Do what Best-of-N takes: n samples of each problem, and a score of each. Returns the tokens written."""
    requests = [
        Request(prompts[p.id], len(prompts[p.id]), request_seed(seed, p.id, j), p) for p in problems for j in range(n)
    ]
    sampled = loaded.engine.generate(requests, sampling)
    items = [
        Item(prompts[request.key.id], one.ids, np.array([len(one.ids)]))
        for request, one in zip(requests, sampled, strict=True)
    ]
    if n > 1:
        score(loaded.prm, items)
    return sum(len(one.ids) for one in sampled)


def _graded(problem: Problem, one: Searched, tokenizer: Any) -> tuple[float, float]:
    """Whether the best beam is right; and whether the answer is that the beams vote for, weighted by their scores."""
    texts = [tokenizer.decode(beam.ids, skip_special_tokens=True) for beam in one.beams]
    verdicts = [grade(problem, text) for text in texts]
    correct = [bool(beam.finished and v.correct) for beam, v in zip(one.beams, verdicts, strict=True)]
    answers = one_spelling([v.extracted if b.finished else None for b, v in zip(one.beams, verdicts, strict=True)])
    return float(correct[0]), vote(answers, correct, one.beams)


def vote(answers: Sequence[str | None], correct: Sequence[bool], beams: Sequence[Beam]) -> float:
    """Whether the answer with the greatest sum of scores is right; the share of right ones among equal sums.

    answers, correct: of each beam; None: it has no answer, and no vote. A beam that nobody had to score has one vote.
    """
    sums: dict[str, float] = {}
    right: dict[str, bool] = {}
    for answer, is_right, beam in zip(answers, correct, beams, strict=True):
        if answer is not None:
            sums[answer] = sums.get(answer, 0.0) + (1.0 if np.isnan(beam.score) else beam.score)
            right[answer] = right.get(answer, False) or is_right
    most = max(sums.values(), default=0.0)
    best = [right[answer] for answer, total in sums.items() if total == most]
    return float(np.mean(best)) if best else 0.0


def at_equal_flops(frame: pd.DataFrame, way: str, size: int) -> int | None:
    """The greatest N with which Best-of-N takes no more operations than this way, over all problems; None: none does.

    frame: from `outcomes`.
    """
    totals: Any = frame.groupby(["way", "size"])["flops"].sum()
    sizes = [n for name, n in totals.index if name == BEST and totals[BEST, n] <= totals[way, size]]
    return max(sizes, default=None)
