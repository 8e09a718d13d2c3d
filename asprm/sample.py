"""Sample: solutions of problems, with the confidence of every token (stage 2; paper §2, step 1).

A *set* is a named list of problems: `train`, `validation` or a test set (`minigsm`, …). The table `<set>` holds sampled
solutions with token ids, confidences and verdicts, the table `<set>-greedy` the greedy ones. Training solutions that
are equal token for token are merged; candidates of Best-of-N are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby

import pyarrow as pa

from asprm.engines.load import LOWER, load_engine
from asprm.engines.protocol import Completion, Engine, Request, Sampling, request_seed
from asprm.grading.grade import grade
from asprm.models.prompts import encode_prompts
from asprm.problems.problem import Problem
from asprm.problems.sets import origins, problem_set, test_sets
from asprm.run import names
from asprm.run.chunks import Chunks
from asprm.run.open import Run

SCHEMA = pa.schema(
    {
        "problem": pa.string(),
        "solution": pa.int32(),
        "ids": pa.list_(pa.int32()),
        "confidences": pa.list_(pa.float32()),
        "finished": pa.bool_(),
        "text": pa.string(),  # decoded ids, without special tokens
        "answer": pa.string(),  # extracted from the text; null where there is none
        "correct": pa.bool_(),
        "count": pa.int32(),  # equal samples merged into this one
    }
)


@dataclass(frozen=True)
class _Item:
    """One problem, and how many solutions it gets in one table."""

    table: str  # the artifact's name
    problem: Problem
    solutions: int
    merge: bool = False  # solutions that are equal token for token
    greedy: bool = False


def run_sample(run: Run) -> list[str]:
    """Sample solutions of every set: the training problems, the validation problems and each test set of the domain.

    Writes the tables `sample/<policy>/<set>` (`SCHEMA`) and, for all sets but `train`, `sample/<policy>/<set>-greedy`;
    returns their names.
    """
    written = []
    for name, parts in groupby(by_table(chunks(run).tables(run.kept)), key=lambda pair: pair[0]):
        run.write(name, (part for _, part in parts))
        written.append(name)
    return written


def chunks(run: Run) -> Chunks:
    """The stage's work in pieces: solutions of some problems each, in the order of the tables."""
    settings, profile = run.profile.sample, run.profile
    items = list(_items(run))
    with run.noting() as inputs:
        path, engine = run.running(run.policy_path()), run.engine()
        run.inputs.update(origins(profile, run.domain))
    sampling = Sampling(settings.temperature, settings.top_p, settings.top_k, settings.max_new_tokens)
    key = {"sampling": asdict(sampling), "seed": run.seed, "inputs": inputs, "solutions": settings.solutions}
    return Chunks(
        partial(_sample_chunk, sampling=sampling, seed=run.seed),
        items,
        size=profile.chunk,
        folder=run.work(f"sample/{run.policy}"),
        key=key | {"problems": profile.problems.model_dump(), "candidates": settings.candidates},
        setup=partial(load_engine, path, kind=engine),
        workers=run.decoders,
        label=f"sample {run.policy}",
        lower=LOWER,
    )


def _items(run: Run) -> Iterator[_Item]:
    settings, policy = run.profile.sample, run.policy
    for problem in problem_set(run.profile, "train", run.domain):
        yield _Item(names.samples(policy, "train"), problem, settings.solutions, merge=True)
    for name in ("validation", *test_sets(run.profile, run.domain)):
        problems = problem_set(run.profile, name, run.domain)
        for problem in problems:
            yield _Item(names.samples(policy, name), problem, settings.candidates)
        for problem in problems:
            yield _Item(names.greedy_samples(policy, name), problem, 1, greedy=True)


def greedy_verdicts(run: Run, name: str) -> dict[str, bool]:
    """Whether the greedy solution of each problem of a set is right, by problem id."""
    rows = run.read(names.greedy_samples(run.policy, name), ["problem", "correct"]).to_pydict()
    return dict(zip(rows["problem"], rows["correct"], strict=True))


def by_table(tables: Iterator[pa.Table]) -> Iterator[tuple[str, pa.Table]]:
    """The chunks' tables cut where their column `table` changes, without that column, each with the table's name."""
    for chunk in tables:
        start = 0
        for name, rows in groupby(chunk["table"].to_pylist()):
            length = len(list(rows))
            yield name, chunk.slice(start, length).drop_columns("table")
            start += length


def _sample_chunk(items: Sequence[_Item], engine: Engine, *, sampling: Sampling, seed: int) -> pa.Table:
    """Solutions of the items, in their order: the name of the table, then the columns of `SCHEMA`."""
    completions = _complete(items, engine, sampling, seed)
    rows = []
    for i, item in enumerate(items):
        distinct: dict[object, dict] = {}  # rows by what must be equal to be merged
        for j in range(item.solutions):
            completion = completions[i, j]
            same = completion.ids.tobytes() if item.merge else j
            if same in distinct:
                distinct[same]["count"] += 1
                continue
            text = engine.tokenizer.decode(completion.ids, skip_special_tokens=True)
            verdict = grade(item.problem, text)
            distinct[same] = {
                "table": item.table,
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
        rows += distinct.values()
    return pa.Table.from_pylist(rows, pa.schema([pa.field("table", pa.string()), *SCHEMA]))


def _complete(
    items: Sequence[_Item], engine: Engine, sampling: Sampling, seed: int
) -> dict[tuple[int, int], Completion]:
    """Completions by the item's place and the solution's number; the greedy ones in a pass of their own."""
    prompts = encode_prompts(engine.tokenizer, [item.problem.prompt for item in items])
    completions: dict[tuple[int, int], Completion] = {}
    for greedy in (False, True):
        requests = [
            Request(prompts[i], len(prompts[i]), request_seed(seed, item.problem.id, j), (i, j))
            for i, item in enumerate(items)
            if item.greedy == greedy
            for j in range(item.solutions)
        ]
        drawing = Sampling(temperature=0.0, max_new_tokens=sampling.max_new_tokens) if greedy else sampling
        completions |= {request.key: completion for request, completion in engine.stream(requests, drawing)}
    return completions
