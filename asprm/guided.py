"""Guided decoding as a stage (stage 8): every set at every trigger, and what came of it.

The algorithm itself is in `asprm.tvd`. Here problems are decoded in chunks, graded and written to tables, and these
are held against greedy decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from asprm.chunks import map_chunks
from asprm.engines import Request, load_engine
from asprm.engines.executor import Executor, load_executor
from asprm.engines.local import LocalEngine
from asprm.grading import grade
from asprm.policy import encode_prompts
from asprm.problems import Problem
from asprm.published import Scorer, StepTagPRM, Text, TokenScorer, load_reward_model, scorer_for
from asprm.run import Run
from asprm.sample import problem_set, test_sets
from asprm.score import PRM
from asprm.statistics import bootstrap_mean, bootstrap_ratio, compare
from asprm.tvd import guided_decode

SCHEMA = pa.schema(
    {
        "problem": pa.string(),
        "trigger": pa.float64(),
        "text": pa.string(),
        "correct": pa.bool_(),
        "tokens": pa.int32(),
        "decisions": pa.int32(),  # tokens at which the top-1 probability was below the trigger
        "changed": pa.int32(),  # of them, those at which another than the top-1 token was emitted
    }
)
_CHUNK = 128  # problems


@dataclass(frozen=True)
class _Item:
    """One problem of one set, to be decoded under one reward model at one trigger."""

    prm: str
    set: str
    trigger: float
    problem: Problem


def decode_all(run: Run) -> dict[str, float]:
    """Guide the run's policy by every reward model that is asked for; the trigger chosen for each.

    A trigger is chosen on the validation problems, at all of `tvd.triggers` (the least of the best ones), and then used
    on the test sets; the first reward model is shown at every trigger there too. An experiment is guided by
    `run.prm` alone. Writes
    `tvd/<prm>/<policy>-<set>` and `tvd/<prm>/<policy>.json` with the trigger.
    """
    profile, settings, policy = run.profile, run.settings, run.policy
    names = [run.prm] if run.experiment else profile.tvd.guide[policy]
    models = {name: run.reward_model(name) for name in names}
    tests = test_sets(profile, run.domain)

    def decode(asked: list[tuple[str, str, float]], label: str) -> Iterator[tuple[str, str, pa.Table]]:
        items = [
            _Item(name, one, trigger, problem)
            for name, one, trigger in asked
            for problem in problem_set(profile, one, run.domain)
        ]
        tables = map_chunks(
            partial(_decode_chunk, candidates=settings.candidates, max_new_tokens=profile.sample.max_new_tokens),
            items,
            size=_CHUNK,
            folder=run.work(f"tvd/{policy}"),
            key={"settings": profile.reads("tvd"), "inputs": run.inputs, "asked": asked},
            setup=partial(_Guides, run.policy_path(), models, run.domain),
            workers=run.workers,
            label=f"tvd {policy}, {label}",
        )
        whole = pa.concat_tables(tables)
        for name, one in dict.fromkeys((name, one) for name, one, _ in asked):
            chosen = pc.and_(pc.equal(whole["prm"], name), pc.equal(whole["set"], one))
            yield name, one, whole.filter(chosen).drop_columns(["prm", "set"])

    triggers: dict[str, float] = {}
    for name, one, table in decode([(n, "validation", t) for n in names for t in settings.triggers], "validation"):
        run.write(f"tvd/{name}/{policy}-{one}", table)
        right = table.to_pandas().groupby("trigger")["correct"].mean()
        triggers[name] = float(right.idxmax())
        run.write_json(f"tvd/{name}/{policy}", {"trigger": triggers[name], "validation": right.to_dict()})
    asked = [
        (n, one, t) for n in names for one in tests for t in (settings.triggers if n == names[0] else [triggers[n]])
    ]
    for name, one, table in decode(asked, "test"):
        run.write(f"tvd/{name}/{policy}-{one}", table, tokens=pc.sum(table["tokens"]).as_py())
    return triggers


class _Guides:
    """The policy, and the reward models as they are asked for."""

    def __init__(self, policy: str, models: Mapping[str, tuple[str, str | None]], domain: str) -> None:
        self.engine = load_engine(policy)
        self.models, self.domain, self.ready = models, domain, {}

    def of(self, name: str) -> Executor | TextGuide:
        if name not in self.ready:
            self.ready[name] = guide_for(load_reward_model(*self.models[name]), self.engine)
        return self.ready[name]

    @property
    def where(self) -> Callable[[np.ndarray], bool] | None:
        """In code the reward model steps in within the program only (METHOD, step 7)."""
        return self.in_fence if self.domain == "code" else None

    def in_fence(self, ids: np.ndarray) -> bool:
        return self.engine.tokenizer.decode(ids, skip_special_tokens=True).count("```") % 2 == 1


def guide_for(prm: PRM | StepTagPRM, engine: LocalEngine, template: str | None = None) -> Executor | TextGuide:
    """What `guided_decode` asks of a reward model, whichever kind: one that reads the policy's tokens reads on in its
    cache, any other one the text with each candidate appended. template: as `asprm.published.scorer_for` takes it.
    """
    scorer = scorer_for(prm, engine.tokenizer, template)
    if isinstance(scorer, PRM):
        if prm.model.config.vocab_size == engine.executor.config.vocab_size:
            return load_executor(prm.model)
        scorer = TokenScorer(prm, template)  # it lacks weights of tokens that the policy may consider
    return TextGuide(scorer, engine.tokenizer)


class TextGuide:
    """A `Rater` (`asprm.tvd`) by a `Scorer` that rates texts.

    tokenizer: the policy's. A request's key is its problem. A candidate is rated at the end of the text that it makes;
    an end of text spells nothing, and the text has come to its end there.
    """

    def __init__(self, scorer: Scorer, tokenizer: Any) -> None:
        self.scorer, self.tokenizer = scorer, tokenizer

    def rate(self, asked: Sequence[tuple[Request, np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        """Scores (M,) float32 per decision: (prompt's request, ids of the solution so far (T,), candidates (M,))."""
        rows = [np.append(ids, one) for _, ids, candidates in asked for one in candidates]
        problems = [request.key.prompt for request, _, candidates in asked for _ in candidates]
        spelled = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        texts = [
            Text(problem, text, [len(text)], finished=row[-1] == self.tokenizer.eos_token_id)
            for problem, text, row in zip(problems, spelled, rows, strict=True)
        ]
        found = np.concatenate(list(self.scorer.rate(texts)))
        return np.split(found, np.cumsum([len(candidates) for *_, candidates in asked])[:-1])


def _decode_chunk(items: Sequence[_Item], guides: _Guides, *, candidates: int, max_new_tokens: int) -> pa.Table:
    """One row per item, in order: `SCHEMA` with the names of the reward model and the set in front."""
    tokenizer = guides.engine.tokenizer
    prompts = encode_prompts(tokenizer, [item.problem for item in items])
    rows: list[dict | None] = [None] * len(items)
    for (name, trigger), group in groupby(range(len(items)), key=lambda i: (items[i].prm, items[i].trigger)):
        places = list(group)
        requests = [Request(prompts[i], len(prompts[i]), 0, items[i].problem) for i in places]
        of = {id(items[i].problem): i for i in places}
        options = {"trigger": trigger, "candidates": candidates, "max_new_tokens": max_new_tokens}
        for request, guided in guided_decode(guides.engine, guides.of(name), requests, where=guides.where, **options):
            i = of[id(request.key)]
            text = tokenizer.decode(guided.ids, skip_special_tokens=True)
            rows[i] = {
                "prm": name,
                "set": items[i].set,
                "problem": items[i].problem.id,
                "trigger": trigger,
                "text": text,
                "correct": guided.finished and grade(items[i].problem, text).correct,
                "tokens": len(guided.ids),
                "decisions": len(guided.decisions),
                "changed": len(guided.changed),
            }
    return pa.Table.from_pylist(rows, pa.schema([("prm", pa.string()), ("set", pa.string()), *SCHEMA]))


def by_trigger(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Per trigger: accuracy (value, low, high) and share of tokens stepped in (share, share_low, share_high)."""
    rows = []
    for trigger, part in frame.groupby("trigger"):
        accuracy = bootstrap_mean(part["correct"].to_numpy(float), seed=seed)
        share = bootstrap_ratio(part["decisions"].to_numpy(float), part["tokens"].to_numpy(float), seed=seed)
        rows.append((trigger, *accuracy, *share))
    return pd.DataFrame(rows, columns=["trigger", "value", "low", "high", "share", "share_low", "share_high"])


def against_greedy(frame: pd.DataFrame, greedy: Mapping[str, bool], trigger: float, seed: int) -> dict[str, float]:
    """TVD at one trigger against greedy decoding, paired by problem: a row of the chapter's table."""
    part = frame[frame["trigger"] == trigger]
    found = compare(part["correct"].to_numpy(float), [float(greedy[name]) for name in part["problem"]], seed=seed)
    return {
        "problems": len(part),
        "TVD": found.a,
        "greedy": found.b,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "only TVD": found.only_a,
        "only greedy": found.only_b,
        "p": found.p,
        "stepped in": part["decisions"].sum() / part["tokens"].sum(),
    }


def show_decision(run: Run, frame: pd.DataFrame, greedy: Mapping[str, bool], trigger: float):
    """Print a problem that TVD solves and greedy decoding does not, up to the first token that it changed; the
    candidates there with the policy's probabilities and the reward model's scores, as a table.
    """
    part = frame[(frame["trigger"] == trigger) & (frame["changed"] > 0)]
    solved = part[part["correct"] & ~part["problem"].map(greedy).astype(bool)]
    chosen = solved if len(solved) else part
    if not len(chosen):
        print("guided decoding changed no token on these problems")
        return None
    name = chosen["problem"].iloc[0]
    problem = next(
        x for one in test_sets(run.profile, run.domain) for x in problem_set(run.profile, one) if x.id == name
    )
    guides = _Guides(run.policy_path(), {run.prm: run.reward_model(run.prm)}, run.domain)
    engine = guides.engine
    prompt = encode_prompts(engine.tokenizer, [problem])[0]
    limit = run.profile.sample.max_new_tokens
    options = {
        "trigger": trigger,
        "candidates": run.settings.candidates,
        "max_new_tokens": limit,
        "where": guides.where,
    }
    requests = [Request(prompt, len(prompt), 0, problem)]
    [(_, guided)] = guided_decode(engine, guides.of(run.prm), requests, **options)
    at = int(guided.changed[0])
    number = int(np.flatnonzero(guided.decisions == at)[0])
    print(problem.prompt, engine.tokenizer.decode(guided.ids[:at]) + " …", sep="\n\n")
    table = pd.DataFrame(
        {
            "token": [repr(engine.tokenizer.decode([i])) for i in guided.candidates[number]],
            "probability": guided.probabilities[number],
            "score": guided.scores[number],
        }
    )
    written = guided.candidates[number] == guided.ids[at]
    return table.assign(written=np.where(written, "written", "")).style.format(precision=3).hide(axis="index")
