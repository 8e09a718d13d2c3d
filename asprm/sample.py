"""Sample: solutions of problems, with the confidence of every token (stage 2; paper §2, step 1).

A *set* is a named list of problems: `train`, `validation`, or a test family (`minigsm`, …). Its solutions are sampled
and kept with token ids, confidences and verdicts; `<set>-greedy` holds the greedy ones. Training solutions that are
equal token for token are merged; candidates of Best-of-N are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby

import pyarrow as pa

from asprm.engines.load import load_engine
from asprm.engines.protocol import Engine, Request, Sampling, request_seed
from asprm.grading.grade import grade
from asprm.models.prompts import encode_prompts
from asprm.problems.problem import Problem
from asprm.problems.sets import origins, problem_set, test_sets
from asprm.run.chunks import map_chunks
from asprm.run.names import GREEDY
from asprm.run.open import Run

SCHEMA = pa.schema(
    {
        "problem": pa.string(),
        "solution": pa.int32(),
        "ids": pa.list_(pa.int32()),
        "confidences": pa.list_(pa.float32()),
        "finished": pa.bool_(),
        "text": pa.string(),  # what the ids spell, special tokens left out
        "answer": pa.string(),  # as extracted from the text; null where there is none
        "correct": pa.bool_(),
        "count": pa.int32(),  # equal samples merged into this one
    }
)
_CHUNK = 64  # problems


@dataclass(frozen=True)
class _Item:
    """One problem of one set, and how many solutions it gets."""

    set: str
    problem: Problem
    solutions: int
    merge: bool


def sample_all(run: Run) -> dict[str, int]:
    """Sample every set of the run and write its tables; tokens generated, by set."""
    settings, profile = run.settings, run.profile
    train = problem_set(profile, "train", run.domain)
    items = [_Item("train", problem, settings.solutions, True) for problem in train]
    for name in ("validation", *test_sets(profile, run.domain)):
        problems = problem_set(profile, name, run.domain)
        items += [_Item(name, problem, settings.candidates, False) for problem in problems]
        items += [_Item(name + GREEDY, problem, 1, False) for problem in problems]
    with run.noting() as inputs:
        path = run.policy_path()
        run.inputs.update(origins(profile, run.domain))
    sampling = Sampling(settings.temperature, settings.top_p, settings.top_k, settings.max_new_tokens)
    key = {"sampling": asdict(sampling), "seed": run.seed, "inputs": inputs, "solutions": settings.solutions}
    tables = map_chunks(
        partial(_sample_chunk, sampling=sampling, seed=run.seed),
        items,
        size=_CHUNK,
        folder=run.work(f"sample/{run.policy}"),
        key=key | {"problems": run.profile.problems.model_dump(), "candidates": settings.candidates},
        setup=partial(load_engine, path),
        workers=run.workers,
        label="sample",
        kept=run.kept,
    )
    tokens: dict[str, int] = {}

    def counted(name: str, parts: Iterator[tuple[str, pa.Table]]) -> Iterator[pa.Table]:
        for _, part in parts:
            tokens[name] = tokens.get(name, 0) + len(part["ids"].combine_chunks().flatten())
            yield part

    for name, parts in groupby(by_set(tables), key=lambda pair: pair[0]):
        run.write(f"sample/{run.policy}/{name}", counted(name, parts))
    return tokens


def greedy_verdicts(run: Run, name: str) -> dict[str, bool]:
    """Which problems of a set greedy decoding has right."""
    rows = run.read(f"sample/{run.policy}/{name}{GREEDY}", ["problem", "correct"]).to_pydict()
    return dict(zip(rows["problem"], rows["correct"], strict=True))


def by_set(tables: Iterator[pa.Table]) -> Iterator[tuple[str, pa.Table]]:
    """The tables cut where their column `set` changes, without that column; they come in the order of the sets."""
    for table in tables:
        start = 0
        for name, group in groupby(table["set"].to_pylist()):
            length = len(list(group))
            yield name, table.slice(start, length).drop_columns("set")
            start += length


def _sample_chunk(items: Sequence[_Item], engine: Engine, *, sampling: Sampling, seed: int) -> pa.Table:
    """Solutions of the items, in their order: `SCHEMA` with the name of the set in front."""
    prompts = encode_prompts(engine.tokenizer, [item.problem.prompt for item in items])
    completions: dict[tuple[int, int], object] = {}
    for greedy in (False, True):
        requests = [
            Request(prompts[i], len(prompts[i]), request_seed(seed, item.problem.id, j), (i, j))
            for i, item in enumerate(items)
            if item.set.endswith(GREEDY) == greedy
            for j in range(item.solutions)
        ]
        how = Sampling(temperature=0.0, max_new_tokens=sampling.max_new_tokens) if greedy else sampling
        completions |= {request.key: completion for request, completion in engine.stream(requests, how)}
    rows = []
    for i, item in enumerate(items):
        kept: dict[bytes, dict] = {}
        for j in range(item.solutions):
            completion = completions[i, j]
            same = completion.ids.tobytes() if item.merge else bytes(str(j), "ascii")
            if same in kept:
                kept[same]["count"] += 1
                continue
            text = engine.tokenizer.decode(completion.ids, skip_special_tokens=True)
            verdict = grade(item.problem, text)
            kept[same] = {
                "set": item.set,
                "problem": item.problem.id,
                "solution": j,
                "ids": completion.ids,
                "confidences": completion.confidences,
                "finished": completion.finished,
                "text": text,
                "answer": verdict.extracted,
                "correct": verdict.correct and completion.finished,
                "count": 1,
            }
        rows += kept.values()
    return pa.Table.from_pylist(rows, pa.schema([pa.field("set", pa.string()), *SCHEMA]))
