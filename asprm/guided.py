"""Guided decoding as a stage (stage 8): every set at every trigger, and what came of it.

The algorithm itself is in `asprm.tvd`. Here problems are decoded in chunks, graded and written to tables, and these
are held against greedy decoding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby

import numpy as np
import pandas as pd
import pyarrow as pa

from asprm.chunks import map_chunks
from asprm.engines import Engine, Request, load_engine
from asprm.policy import encode_prompts
from asprm.problems import Problem
from asprm.run import Run
from asprm.sample import GREEDY, by_set, grade, problem_set, test_sets
from asprm.score import PRM, load_prm
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


def decode_sets(run: Run) -> dict[str, int]:
    """Decode the validation problems and every test set at every trigger, write the tables; tokens by set."""
    settings = run.settings
    items = [
        (name, trigger, problem)
        for name in ("validation", *test_sets(run.profile))
        for trigger in settings.triggers
        for problem in problem_set(run.profile, name)
    ]
    limit = run.profile.sample.max_new_tokens
    setup = partial(_load, run.policy_path(), str(run.find(f"prm/{run.prm}")))
    tables = map_chunks(
        partial(_decode_chunk, candidates=settings.candidates, max_new_tokens=limit),
        items,
        size=_CHUNK,
        folder=run.work(f"tvd/{run.prm}/{run.policy}"),
        key={"settings": settings.model_dump(mode="json"), "limit": limit, "inputs": run.inputs,
             "problems": run.profile.problems.model_dump()},
        setup=setup,
        workers=run.workers,
        label="tvd",
    )  # fmt: skip
    tokens: dict[str, int] = {}

    def counted(name, parts):
        for _, part in parts:
            tokens[name] = tokens.get(name, 0) + sum(part["tokens"].to_pylist())
            yield part

    for name, parts in groupby(by_set(tables), key=lambda pair: pair[0]):
        run.write(f"tvd/{run.prm}/{run.policy}-{name}", counted(name, parts))
    return tokens


def _load(policy: str, prm: str) -> tuple[Engine, PRM]:
    return load_engine(policy), load_prm(prm)


def _decode_chunk(items: Sequence[tuple[str, float, Problem]], state, *, candidates: int, max_new_tokens: int):
    """One row per item, in order: `SCHEMA` with the name of the set in front."""
    engine, prm = state
    prompts = encode_prompts(engine.tokenizer, [problem for _, _, problem in items])
    rows: list[dict | None] = [None] * len(items)
    for trigger, group in groupby(range(len(items)), key=lambda i: items[i][1]):
        requests = [Request(prompts[i], len(prompts[i]), 0, i) for i in group]
        options = {"trigger": trigger, "candidates": candidates, "max_new_tokens": max_new_tokens}
        for request, guided in guided_decode(engine, prm.model, requests, **options):
            name, _, problem = items[request.key]
            text = engine.tokenizer.decode(guided.ids, skip_special_tokens=True)
            rows[request.key] = {
                "set": name,
                "problem": problem.id,
                "trigger": trigger,
                "text": text,
                "correct": guided.finished and grade(problem, text).correct,
                "tokens": len(guided.ids),
                "decisions": len(guided.decisions),
                "changed": len(guided.changed),
            }
    return pa.Table.from_pylist(rows, pa.schema([pa.field("set", pa.string()), *SCHEMA]))


def by_trigger(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Per trigger: accuracy (value, low, high) and share of tokens stepped in (share, share_low, share_high)."""
    rows = []
    for trigger, part in frame.groupby("trigger"):
        accuracy = bootstrap_mean(part["correct"].to_numpy(float), seed=seed)
        share = bootstrap_ratio(part["decisions"].to_numpy(float), part["tokens"].to_numpy(float), seed=seed)
        rows.append((trigger, *accuracy, *share))
    return pd.DataFrame(rows, columns=["trigger", "value", "low", "high", "share", "share_low", "share_high"])


def greedy_verdicts(run: Run, name: str) -> dict[str, bool]:
    """Which problems of a set greedy decoding has right."""
    rows = run.read(f"sample/{run.policy}/{name}{GREEDY}", ["problem", "correct"]).to_pydict()
    return dict(zip(rows["problem"], rows["correct"], strict=True))


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
    problem = next(problem for test in test_sets(run.profile) for problem in problem_set(run.profile, test)
                   if problem.id == name)  # fmt: skip
    engine, prm = _load(run.policy_path(), str(run.find(f"prm/{run.prm}")))
    prompt = encode_prompts(engine.tokenizer, [problem])[0]
    options = {"trigger": trigger, "candidates": run.settings.candidates}
    [(_, guided)] = guided_decode(engine, prm.model, [Request(prompt, len(prompt), 0)], **options)
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
