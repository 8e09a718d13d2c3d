"""Sample: solutions of problems, with the confidence of every token (stage 2; paper §2, step 1).

A *set* is a named list of problems: `train`, `validation`, or a test family (`minigsm`, …). Its solutions are sampled
and kept with token ids, confidences and verdicts; `<set>-greedy` holds the greedy ones. Training solutions that are
equal token for token are merged; candidates of Best-of-N are not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby

import numpy as np
import pyarrow as pa

from asprm.chunks import map_chunks
from asprm.engines import Engine, Request, Sampling, load_engine
from asprm.grading import grade
from asprm.policy import encode_prompts
from asprm.problems import FAMILIES, Problem, domain_of, load
from asprm.problems.hub import SOURCES, describe, given_paths
from asprm.profile import Profile
from asprm.run import Run

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
GREEDY = "-greedy"
_CHUNK = 64  # problems


@dataclass(frozen=True)
class _Item:
    """One problem of one set, and how many solutions it gets."""

    set: str
    problem: Problem
    solutions: int
    merge: bool


def problem_set(profile: Profile, name: str, domain: str | None = None) -> list[Problem]:
    """The problems of the set `name`: "train", "validation" or a test family, `-greedy` or not.

    domain: only those of "train" and "validation" that are of this domain. A published set without a split of its own
    for validation gives the rows that follow its training problems. KeyError: the profile has no such set.
    """
    paths = dict(profile.data) | given_paths()
    name = name.removesuffix(GREEDY)
    families = {"train": profile.problems.train, "validation": profile.problems.validation}.get(name)
    if families is None:
        start = profile.problems.test_from if name in FAMILIES else 0
        return load(name, "test", profile.problems.test[name], start, path=paths.get(name))
    problems = []
    for family in (family for family in families if domain in (None, domain_of(family))):
        follow = name == "validation" and family in SOURCES and name not in SOURCES[family].splits
        split, start = ("train", profile.problems.train.get(family, 0)) if follow else (name, 0)
        problems += load(family, split, families[family], start, path=paths.get(family))
    return problems


def origins(profile: Profile, domain: str | None = None) -> dict[str, str]:
    """Where published problems (of a domain) come from, an input like others: the hub's commit, or files' digests."""
    paths, found = dict(profile.data) | given_paths(), {}
    of = profile.problems
    for name, families in (("train", of.train), ("validation", of.validation), ("test", of.test)):
        for family in (one for one in families if one in SOURCES and domain in (None, domain_of(one))):
            split = "train" if name == "validation" and name not in SOURCES[family].splits else name
            record = describe(family, split, paths.get(family))
            files = record.get("files") or {record.get("repository"): record.get("revision")}
            found |= {f"{family}/{split}: {source}": digest for source, digest in files.items()}
    return found


def test_sets(profile: Profile, domain: str) -> list[str]:
    """Names of the test sets of a domain."""
    return [name for name in profile.problems.test if domain == domain_of(name)]


def knows_truth(profile: Profile, policy: str) -> bool:
    """Whether the policy learns and is tested on problems made here: it is known where a solution goes wrong."""
    domain, problems = profile.policies[policy].domain, profile.problems
    seen = [name for name in (*problems.train, *problems.validation) if domain_of(name) == domain]
    return all(name in FAMILIES for name in seen) and any(name in FAMILIES for name in test_sets(profile, domain))


def clustered(name: str) -> bool:
    """Whether the problems of a set are instances of few templates, which are then what is resampled: GSM-Symbolic's
    P2, and MiniGSM-P2 with its skeletons.
    """
    return name.endswith("-p2")


def templates(profile: Profile, name: str) -> dict[str, str] | None:
    """The template of each problem of a set that is resampled by templates; None for other sets."""
    return {problem.id: problem.template for problem in problem_set(profile, name)} if clustered(name) else None


def rated_sets(profile: Profile, artifact: str, policy: str) -> list[str]:
    """The sets of the policy's candidates that a training of a reward model rates: the test sets and, for the first
    training of one that starts from the policy, the validation set, on which cuts and aggregates are chosen.
    """
    own = "@" not in artifact and profile.reward_models[artifact].base == policy
    return [*(["validation"] if own else []), *test_sets(profile, profile.policies[policy].domain)]


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
    prompts = encode_prompts(engine.tokenizer, [item.problem for item in items])
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


def request_seed(*parts: object) -> int:
    """A 63-bit seed from what identifies a request: the same for ever, whatever else is sampled."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def prompts_of(tokenizer, problems: Sequence[Problem]) -> dict[str, np.ndarray]:
    """Prompt ids (L,) by problem id."""
    return dict(zip((problem.id for problem in problems), encode_prompts(tokenizer, problems), strict=True))
