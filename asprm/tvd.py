"""Guided decoding as a stage (stage 8): every set at every trigger, and what came of it.

The algorithm itself is in `asprm.engines.guided`. Here problems are decoded in chunks, graded and written to tables, and these
are held against greedy decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial, reduce
from itertools import product

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from asprm.engines.guided import Walk, decode_together, guided_decode
from asprm.engines.load import load_engine
from asprm.engines.protocol import Request
from asprm.grading.grade import grade
from asprm.models.align import Speller
from asprm.models.prompts import encode_prompts
from asprm.problems.problem import Problem
from asprm.problems.sets import origins, problem_set, test_sets
from asprm.reward.guides import Guide, guide_for
from asprm.reward.published import load_reward_model
from asprm.run.chunks import map_chunks
from asprm.run.open import Run
from asprm.sample import greedy_verdicts
from asprm.statistics import Interval, bootstrap_mean, bootstrap_ratio, compare

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
_OF = ("prm", "set", "trigger")  # what tells the rows of one problem apart
_CHUNK = 64  # problems


@dataclass(frozen=True)
class _Item:
    """One problem of one set, and how it is to be decoded."""

    set: str
    problem: Problem
    walks: tuple[Walk, ...]


def decode_all(run: Run) -> dict[str, float]:
    """Guide the run's policy by every reward model that is asked for; the trigger chosen for each.

    A trigger is chosen on the validation problems, at all of `tvd.triggers` (the least of the best ones), and then used
    on the test sets; the first reward model is shown at every trigger there too. An experiment is guided by
    `run.prm` alone. All decodings of a problem are made together (`asprm.engines.guided.decode_together`). Writes
    `tvd/<prm>/<policy>-<set>` and `tvd/<prm>/<policy>.json` with the trigger.
    """
    profile, settings, policy = run.profile, run.settings, run.policy
    names = [run.prm] if run.experiment else profile.tvd.guide[policy]
    with run.noting() as inputs:
        path, models = run.policy_path(), {name: run.reward_model(name) for name in names}
        run.inputs.update(origins(profile, run.domain))

    def decode(sets: Sequence[str], walks: Sequence[Walk], label: str) -> Iterator[tuple[str, str, pa.Table]]:
        tables = map_chunks(
            partial(_decode_chunk, candidates=settings.candidates, max_new_tokens=profile.sample.max_new_tokens),
            [_Item(one, problem, tuple(walks)) for one in sets for problem in problem_set(profile, one, run.domain)],
            size=_CHUNK,
            folder=run.work(f"tvd/{policy}/{label}"),
            key={
                "settings": profile.reads("tvd"),
                "inputs": inputs,
                "sets": sets,
                "walks": [[walk.guide, walk.trigger] for walk in walks],
            },
            setup=partial(Guides, path, models, run.domain),
            workers=run.workers,
            label=f"tvd {policy}, {label}",
            kept=run.kept,
        )
        whole = pa.concat_tables(tables)
        for name, one in product(names, sets):
            parts = [_part(whole, one, walk) for walk in walks if walk.guide == name]
            yield name, one, pa.concat_tables(parts).select(SCHEMA.names)

    triggers: dict[str, float] = {}
    everywhere = [Walk(name, trigger) for name in names for trigger in settings.triggers]
    for name, one, table in decode(["validation"], everywhere, "validation"):
        run.write(f"tvd/{name}/{policy}-{one}", table)
        right = table.to_pandas().groupby("trigger")["correct"].mean()
        triggers[name] = float(right.idxmax())
        run.write_json(f"tvd/{name}/{policy}", {"trigger": triggers[name], "validation": right.to_dict()})
    chosen = [walk for walk in everywhere if walk.guide == names[0] or walk.trigger == triggers[walk.guide]]
    for name, one, table in decode(test_sets(profile, run.domain), chosen, "test"):
        run.write(f"tvd/{name}/{policy}-{one}", table, tokens=pc.sum(table["tokens"]).as_py())
    return triggers


def _part(whole: pa.Table, name: str, walk: Walk) -> pa.Table:
    """What became of the problems of one set by one walk."""
    same = [pc.equal(whole[column], value) for column, value in zip(_OF, (walk.guide, name, walk.trigger), strict=True)]
    return whole.filter(reduce(pc.and_, same))


class Guides:
    """The policy, and the reward models as they are asked for."""

    def __init__(self, policy: str, models: Mapping[str, tuple[str, str | None]], domain: str) -> None:
        self.engine = load_engine(policy)
        self.models, self.domain, self.ready = models, domain, {}

    def of(self, name: str) -> Guide:
        if name not in self.ready:
            self.ready[name] = guide_for(load_reward_model(*self.models[name]), self.engine)
        return self.ready[name]

    @property
    def where(self) -> Callable[[np.ndarray], bool] | None:
        """In code the reward model steps in within the program only (METHOD, step 7)."""
        return self.in_fence if self.domain == "code" else None

    def in_fence(self, ids: np.ndarray) -> bool:
        return self.engine.tokenizer.decode(ids, skip_special_tokens=True).count("```") % 2 == 1


def _decode_chunk(items: Sequence[_Item], guides: Guides, *, candidates: int, max_new_tokens: int) -> pa.Table:
    """One row per walk of each item, in order: `SCHEMA` with the names of the reward model and the set in front."""
    tokenizer = guides.engine.tokenizer
    prompts = encode_prompts(tokenizer, [item.problem.prompt for item in items])
    requests = [(Request(ids, len(ids), 0, item.problem), item.walks) for ids, item in zip(prompts, items, strict=True)]
    of = {name: guides.of(name) for name in dict.fromkeys(walk.guide for item in items for walk in item.walks)}
    options = {"candidates": candidates, "max_new_tokens": max_new_tokens, "where": guides.where}
    rows: dict[tuple[Request, Walk], dict] = {}
    for request, found in decode_together(guides.engine, of, requests, **options):
        problem, one = request.key, next(iter(found.values()))
        text = tokenizer.decode(one.ids, skip_special_tokens=True)
        correct = one.finished and grade(problem, text).correct
        for walk, guided in found.items():
            rows[request, walk] = {
                "problem": problem.id,
                "trigger": walk.trigger,
                "text": text,
                "correct": correct,
                "tokens": len(guided.ids),
                "decisions": len(guided.decisions),
                "changed": len(guided.changed),
            }
    ordered = [
        {"prm": walk.guide, "set": item.set, **rows[request, walk]}
        for (request, walks), item in zip(requests, items, strict=True)
        for walk in walks
    ]
    return pa.Table.from_pylist(ordered, pa.schema([*((name, pa.string()) for name in _OF[:2]), *SCHEMA]))


def by_trigger(frame: pd.DataFrame, seed: int, clusters: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Per trigger: accuracy (value, low, high) and share of tokens stepped in (share, share_low, share_high).

    clusters: what is resampled together, by problem (`asprm.problems.sets.templates`); None: problems.
    """
    rows = []
    for trigger, part in frame.groupby("trigger"):
        groups = _groups(part["problem"], clusters)
        accuracy = bootstrap_mean(part["correct"].to_numpy(float), groups, seed=seed)
        share = bootstrap_ratio(part["decisions"].to_numpy(float), part["tokens"].to_numpy(float), groups, seed=seed)
        rows.append((trigger, *accuracy, *share))
    return pd.DataFrame(rows, columns=["trigger", "value", "low", "high", "share", "share_low", "share_high"])


def solved(verdicts: Mapping[str, bool], seed: int, clusters: Mapping[str, str] | None = None) -> Interval:
    """The share of problems with the verdict right, with its interval. clusters: as in `by_trigger`."""
    return bootstrap_mean(list(verdicts.values()), _groups(verdicts, clusters), seed=seed)


def _groups(problems: Iterable[str], clusters: Mapping[str, str] | None) -> list[str] | None:
    return [clusters[name] for name in problems] if clusters else None


def against_greedy(
    frame: pd.DataFrame,
    greedy: Mapping[str, bool],
    trigger: float,
    seed: int,
    clusters: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """TVD at one trigger against greedy decoding, paired by problem: a row of the chapter's table.

    clusters: as in `by_trigger`.
    """
    part = frame[frame["trigger"] == trigger]
    base = [float(greedy[name]) for name in part["problem"]]
    found = compare(part["correct"].to_numpy(float), base, _groups(part["problem"], clusters), seed=seed)
    return {
        "trigger": trigger,
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


@dataclass(frozen=True)
class Decision:
    """One place where the reward model stepped in, and what it saw there (paper Figure 3).

    tokens, probabilities (the policy's), scores: (M,) each, most probable candidate first; a token is "" if it ends the
    text. written: the place of the one that was emitted. correct, greedy: whether the guided and the greedy solution
    are right. before: the solution up to there.
    """

    set: str
    problem: str
    prompt: str
    trigger: float
    correct: bool
    greedy: bool
    before: str
    tokens: list[str]
    probabilities: list[float]
    scores: list[float]
    written: int


def telling_decision(run: Run, name: str, trigger: float) -> Decision | None:
    """The decision that tells most about guided decoding of the set `name`, from decoding its problem once more.

    It is the first at which another than the policy's first choice was written, of the first problem that guided
    decoding solves and greedy decoding does not; where there is none, of the first problem with such a change, else
    with any decision. Writes it to `tvd/<prm>/<policy>-decision.json`; None, and null there, without any decision.
    """
    frame = run.read(f"tvd/{run.prm}/{run.policy}-{name}").to_pandas()
    greedy = greedy_verdicts(run, name)
    part = frame[(frame["trigger"] == trigger) & (frame["decisions"] > 0)]
    changed = part["changed"] > 0
    gained = changed & part["correct"] & ~part["problem"].map(greedy).astype(bool)
    found = None
    if len(part):
        row = part.loc[(2 * gained + changed).idxmax()]  # the first of equals
        problem = next(one for one in problem_set(run.profile, name) if one.id == row["problem"])
        found = _decision(run, name, problem, trigger, greedy[problem.id])
    run.write_json(f"tvd/{run.prm}/{run.policy}-decision", found and asdict(found))
    return found


def _decision(run: Run, name: str, problem: Problem, trigger: float, greedy: bool) -> Decision:
    """The problem's first decision that changed a token, or its first."""
    guides = Guides(run.policy_path(), {run.prm: run.reward_model(run.prm)}, run.domain)
    tokenizer = guides.engine.tokenizer
    [prompt] = encode_prompts(tokenizer, [problem.prompt])
    [(_, guided)] = guided_decode(
        guides.engine,
        guides.of(run.prm),
        [Request(prompt, len(prompt), 0, problem)],
        trigger=trigger,
        candidates=run.settings.candidates,
        max_new_tokens=run.profile.sample.max_new_tokens,
        where=guides.where,
    )
    at = int([*guided.changed, *guided.decisions][0])
    number = int(np.flatnonzero(guided.decisions == at)[0])
    candidates, spell = guided.candidates[number], Speller(tokenizer)
    before, _ = spell(guided.ids[:at])
    return Decision(
        set=name,
        problem=problem.id,
        prompt=problem.prompt,
        trigger=trigger,
        correct=guided.finished and grade(problem, spell(guided.ids)[0]).correct,
        greedy=greedy,
        before=before,
        tokens=[spell(np.append(guided.ids[:at], one))[0].removeprefix(before) for one in candidates],
        probabilities=guided.probabilities[number].tolist(),
        scores=guided.scores[number].tolist(),
        written=int(np.flatnonzero(candidates == guided.ids[at])[0]),
    )
