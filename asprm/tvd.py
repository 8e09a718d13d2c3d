"""TVD: guided decoding of every set at every trigger, and what came of it (stage 8; paper §3.3, Table 1, Figure 3).

The algorithm is in `asprm.engines.guided`. Here problems are decoded in chunks, graded and written to tables; these are
compared with greedy decoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from asprm.engines.guided import Guided, Walk, decode_together, guided_decode
from asprm.engines.load import LOWER
from asprm.engines.protocol import Request
from asprm.grading.grade import grade
from asprm.intervals import Interval, share_interval
from asprm.models.align import Speller
from asprm.models.load import load_tokenizer
from asprm.models.prompts import encode_prompts
from asprm.problems.problem import Problem
from asprm.problems.sets import origins, problem_set, templates, test_sets
from asprm.results import outcomes
from asprm.results.format import interval, p_value, points
from asprm.reward.adapters import base_of
from asprm.reward.guides import Guides
from asprm.run import names
from asprm.run.chunks import ChunkError, Chunks
from asprm.run.open import Run
from asprm.run.provenance import Kept
from asprm.sample import greedy_verdicts
from asprm.statistics import HOLM, compare, holm, untested

SCHEMA = pa.schema(
    {
        "problem": pa.string(),
        "trigger": pa.float64(),
        "text": pa.string(),
        "correct": pa.bool_(),
        "tokens": pa.int32(),
        "decisions": pa.int32(),  # tokens at which the top-1 probability was below the trigger
        "changed": pa.int32(),  # decisions at which another token than the top-1 was written
    }
)

# --- the stage --------------------------------------------------------------------------------------------------------


def run_tvd(run: Run) -> list[str]:
    """Guide the run's policy by every reward model that the profile names; an experiment guides by `run.prm` alone.

    Writes, and returns the names of:
    - the table `tvd/<prm>/<policy>-<set>` (`SCHEMA`) of the validation set and of each test set, for each reward model.
      Validation problems are decoded at all of `tvd.triggers`. Test problems are decoded at the trigger that was chosen
      on them, and by the first reward model at all triggers.
    - the JSON file `tvd/<prm>/<policy>`: trigger, the lowest of those with the best accuracy on validation problems;
      validation, the accuracy by trigger.
    - the JSON file `tvd/<prm>/<policy>-decision` of `run.prm`, if it guides: a `Decision` of the first test set
      (`telling_decision`), or null.
    """
    profile, policy = run.profile, run.policy
    written: list[str] = []

    # 1. Validation problems at every trigger; the choice of the trigger.
    triggers: dict[str, float] = {}
    for training, name, table in _validation(run).tables(run.kept):
        triggers[training], accuracy = _choice(table)
        written.append(names.guided(training, policy, name))
        run.write(written[-1], table)
        written.append(names.trigger(training, policy))
        run.write_json(written[-1], {"trigger": triggers[training], "validation": accuracy})

    # 2. Test problems.
    for training, name, table in _test(run, triggers).tables(run.kept):
        written.append(names.guided(training, policy, name))
        run.write(written[-1], table, tokens=sum(table["tokens"].to_pylist()))

    # 3. The decision that is shown.
    if run.prm in triggers:
        decision = telling_decision(run, test_sets(profile, run.domain)[0], triggers[run.prm])
        written.append(names.decision(run.prm, policy))
        run.write_json(written[-1], decision and asdict(decision))
    return written


def validation_chunks(run: Run) -> Chunks:
    """The first part of the stage's work in pieces: some validation problems each, by all walks."""
    return _validation(run).chunks


def test_chunks(run: Run) -> Chunks:
    """The second part of the stage's work in pieces: some test problems each, at the triggers chosen on the first part.

    ChunkError: chunks of the first part are missing.
    """
    part = _validation(run)
    if missing := part.chunks.missing():
        raise ChunkError(f"{part.chunks.label}: {missing} chunks are missing; compute this part first")
    return _test(run, {training: _choice(table)[0] for training, _, table in part.tables()}).chunks


def _choice(table: pa.Table) -> tuple[float, dict[float, float]]:
    """The trigger with the best accuracy, the lowest of equals, and the accuracy at each. table: of `SCHEMA`."""
    accuracy = table.to_pandas().groupby("trigger")["correct"].mean()
    return float(accuracy.idxmax()), accuracy.to_dict()  # the first of equals, and groupby sorts


def _validation(run: Run) -> _Part:
    return _part(run, "validation", ["validation"], _walks(run))


def _test(run: Run, triggers: Mapping[str, float]) -> _Part:
    """triggers: by training, the one that was chosen."""
    walks = _walks(run)
    chosen = [walk for walk in walks if walk.guide == walks[0].guide or walk.trigger == triggers[walk.guide]]
    return _part(run, "test", test_sets(run.profile, run.domain), chosen)


def _trainings(run: Run) -> list[str]:
    """The reward models that guide in this run, by their trainings."""
    return [run.prm] if run.experiment else list(run.profile.tvd.guide[run.policy])


def _walks(run: Run) -> list[Walk]:
    return [Walk(training, trigger) for training in _trainings(run) for trigger in run.profile.tvd.triggers]


@dataclass(frozen=True)
class _Item:
    """One problem of one set, and the walks by which it is decoded."""

    set: str
    problem: Problem
    walks: tuple[Walk, ...]


@dataclass(frozen=True)
class _Part:
    """All problems of some sets, decoded by some walks, those of a problem together."""

    sets: Sequence[str]
    walks: Sequence[Walk]
    chunks: Chunks

    def tables(self, kept: Kept | None = None) -> Iterator[tuple[str, str, pa.Table]]:
        """(reward model, set, table of `SCHEMA`), by trigger in the order of the walks. kept: see `Chunks.tables`."""
        whole = pa.concat_tables(self.chunks.tables(kept))
        for training in dict.fromkeys(walk.guide for walk in self.walks):
            triggers = [walk.trigger for walk in self.walks if walk.guide == training]
            for name in self.sets:
                rows = whole.filter((pc.field("prm") == training) & (pc.field("set") == name))
                parts = [rows.filter(pc.field("trigger") == trigger) for trigger in triggers]
                yield training, name, pa.concat_tables(parts).select(SCHEMA.names)


def _part(run: Run, label: str, sets: Sequence[str], walks: Sequence[Walk]) -> _Part:
    """label: part of the name of the folder for chunks."""
    profile, policy = run.profile, run.policy
    with run.noting() as inputs:
        models = {training: run.reward_model(training) for training in _trainings(run)}
        for path, _ in models.values():
            run.running(base_of(path) or path)
        setup = partial(Guides, run.running(run.policy_path()), run.engine(guided=True), models, run.domain)
        run.inputs.update(origins(profile, run.domain))
    problems = {name: problem_set(profile, name, run.domain) for name in sets}
    chunks = Chunks(
        partial(_decode_chunk, candidates=profile.tvd.candidates, max_new_tokens=profile.sample.max_new_tokens),
        [_Item(name, problem, tuple(walks)) for name in sets for problem in problems[name]],
        size=profile.chunk,
        folder=run.work(f"tvd/{policy}/{label}"),
        key={
            "settings": {name: value for name, value in profile.reads("tvd").items() if name != "claims"},  # words only
            "inputs": inputs,
            "sets": sets,
            "walks": [[walk.guide, walk.trigger] for walk in walks],
        },
        setup=setup,
        workers=run.decoders,
        label=f"tvd {policy}, {label}",
        lower=LOWER,
    )
    return _Part(sets, walks, chunks)


def _decode_chunk(items: Sequence[_Item], guides: Guides, *, candidates: int, max_new_tokens: int) -> pa.Table:
    """One row per walk of each item, in order: the names of the reward model (prm) and the set, then `SCHEMA`."""
    tokenizer = guides.tokenizer
    prompts = encode_prompts(tokenizer, [item.problem.prompt for item in items])
    requests = [Request(ids, len(ids), 0, item.problem) for ids, item in zip(prompts, items, strict=True)]
    asked = [(request, item.walks) for request, item in zip(requests, items, strict=True)]
    of = {name: guides.of(name) for name in dict.fromkeys(walk.guide for item in items for walk in item.walks)}
    options = {"candidates": candidates, "max_new_tokens": max_new_tokens, "where": guides.where}
    rows: dict[tuple[Request, Walk], dict[str, Any]] = {}
    for request, by_walk in decode_together(guides.engine, of, asked, **options):
        first = next(iter(by_walk.values()))  # all of `by_walk` came to the same text
        text = tokenizer.decode(first.ids, skip_special_tokens=True)
        correct = first.finished and grade(request.key, text).correct
        for walk, guided in by_walk.items():
            rows[request, walk] = {
                "problem": request.key.id,
                "trigger": walk.trigger,
                "text": text,
                "correct": correct,
                "tokens": len(guided.ids),
                "decisions": len(guided.decisions),
                "changed": len(guided.changed),
            }
    ordered = [
        {"prm": walk.guide, "set": item.set, **rows[request, walk]}
        for request, item in zip(requests, items, strict=True)
        for walk in item.walks
    ]
    return pa.Table.from_pylist(ordered, pa.schema([("prm", pa.string()), ("set", pa.string()), *SCHEMA]))


# --- against greedy decoding ------------------------------------------------------------------------------------------


def by_trigger(frame: pd.DataFrame, clusters: Mapping[str, str] | None = None) -> pd.DataFrame:
    """One row per trigger: accuracy (value, low, high) and the share of tokens that are decisions (share, share_low,
    share_high).

    frame: columns of `SCHEMA`.
    clusters: by problem, what goes together (`asprm.problems.sets.templates`); None: each problem by itself.
    """
    rows = []
    for trigger, part in frame.groupby("trigger"):
        groups = _groups(part["problem"], clusters)
        accuracy = share_interval(part["correct"], clusters=groups)
        share = share_interval(part["decisions"], part["tokens"], groups)
        rows.append((trigger, *accuracy, *share))
    return pd.DataFrame(rows, columns=["trigger", "value", "low", "high", "share", "share_low", "share_high"])


def solved(verdicts: Mapping[str, bool], clusters: Mapping[str, str] | None = None) -> Interval:
    """The share of problems that are right, with its interval. clusters: as in `by_trigger`."""
    return share_interval(list(verdicts.values()), clusters=_groups(verdicts, clusters))


def _groups(problems: Iterable[str], clusters: Mapping[str, str] | None) -> list[str] | None:
    return [clusters[problem] for problem in problems] if clusters else None


def against_greedy(
    frame: pd.DataFrame,
    greedy: Mapping[str, bool],
    trigger: float,
    seed: int,
    clusters: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """TVD at one trigger against greedy decoding, paired by problem: a row of the chapter's table. low, high and p are
    NaN if it changes no token: then nothing can differ.

    frame: columns of `SCHEMA`.
    greedy: by problem, whether greedy decoding is right.
    trigger: one of the frame's.
    clusters: as in `by_trigger`.
    """
    part = at_trigger(frame, trigger)
    right, base = part["correct"].to_numpy(float), [float(greedy[problem]) for problem in part["problem"]]
    groups = _groups(part["problem"], clusters)
    paired = compare(right, base, groups, seed=seed) if part["changed"].to_numpy().any() else untested(right)
    return {
        "trigger": trigger,
        "problems": len(part),
        "TVD": paired.a,
        "greedy": paired.b,
        "difference": paired.difference,
        "low": paired.low,
        "high": paired.high,
        "only TVD": paired.only_a,
        "only greedy": paired.only_b,
        "p": paired.p,
        "stepped in": part["decisions"].sum() / part["tokens"].sum(),
    }


def gains(run: Run, policy: str, guides: Sequence[str]) -> pd.DataFrame:
    """The tests of chapter 8, corrected as one: rows of `against_greedy`, then p (Holm), by reward model and test set.
    MissingArtifact: a table is missing.
    """
    rows = {}
    for guide in guides:
        trigger = outcomes.chosen_trigger(run, guide, policy)
        for name in test_sets(run.profile, run.profile.policies[policy].domain):
            greedy = outcomes.greedy(run, policy, name).mean.astype(bool).to_dict()
            frame = run.read(names.guided(guide, policy, name)).to_pandas()
            rows[guide, name] = against_greedy(frame, greedy, trigger, run.seed, templates(run.profile, name))
    table = pd.DataFrame(list(rows.values()), pd.MultiIndex.from_tuples(rows, names=["reward model", "test set"]))
    return table.assign(**{HOLM: holm(table["p"])})


def told(row: Mapping[str, Any], problems: str, alpha: float) -> str:
    """What a row of `gains` says, in sentences; a gain is explained only where the test shows one.

    problems: title of the set. alpha: of the test.
    """
    start = f"At the trigger {row['trigger']:g}, chosen on validation problems, "
    if np.isnan(row["p"]):
        return f"{start}the reward model changed no token on {problems}: nothing was tested."
    p = p_value(row[HOLM])
    found = (
        f"{start}guided decoding changes accuracy on {problems} by {points(row['difference'])} points (95 % interval "
        f"{interval(row['low'], row['high'])}, p (Holm) {p if p.startswith('<') else f'= {p}'})."
    )
    if row[HOLM] >= alpha:
        return f"{found} This could be chance, so there is nothing to explain."
    if row["difference"] < 0:
        return f"{found} The reward model makes it worse: it does not know what the policy doubts."
    return (
        f"{found} Greedy decoding errs systematically here, in contexts that the reward model can recognise. This is "
        "what TVD can do where doubt and error coincide; it is no estimate of what it does for a 7B model."
    )


def overruled(frames: Mapping[str, pd.DataFrame], trigger: float) -> pd.DataFrame:
    """How often the reward model overrules the policy's first choice, by set: decisions, changed and their share."""
    counts = {name: at_trigger(frame, trigger)[["decisions", "changed"]].sum() for name, frame in frames.items()}
    table = pd.DataFrame(counts).T
    return table.assign(share=table["changed"] / table["decisions"])


def at_trigger(frame: pd.DataFrame, trigger: float) -> pd.DataFrame:
    """The rows of a table of `SCHEMA` at one trigger."""
    return frame.loc[frame["trigger"] == trigger]


# --- one decision -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """One token at which the reward model stepped in, and what it saw there (paper Figure 3).

    set, problem, prompt: the problem.
    trigger: of the decoding.
    correct, greedy: whether the guided and the greedy solution are right.
    before: the solution up to the decision.
    tokens: (W,) texts of the candidates, the most probable first; "" ends the solution.
    probabilities: (W,) the policy's.
    scores: (W,) the reward model's.
    written: index of the candidate that was written.
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
    """A decision by which guiding by `run.prm` wins on the set `name`; None if there is none.

    The problem is the first that guided decoding solves, with a token that was changed, and greedy decoding does not.
    It is decoded once more, for the candidates are not kept; the decision is the first that changed a token.
    """
    frame = run.read(names.guided(run.prm, run.policy, name)).to_pandas()
    greedy = greedy_verdicts(run, name)
    frame = at_trigger(frame, trigger)
    columns = (frame[column].tolist() for column in ("problem", "changed", "correct"))
    won = next((p for p, changed, right in zip(*columns, strict=True) if changed and right and not greedy[p]), None)
    if won is None:
        return None
    problem = next(problem for problem in problem_set(run.profile, name) if problem.id == won)
    return _decision(run, name, problem, trigger)


def decode_again(run: Run, problems: Sequence[Problem], trigger: float) -> dict[str, Guided]:
    """Guided decodings by `run.prm` with all their candidates, which the tables do not keep, by problem."""
    guides = Guides(run.policy_path(), run.engine(guided=True), {run.prm: run.reward_model(run.prm)}, run.domain)
    prompts = encode_prompts(guides.tokenizer, [problem.prompt for problem in problems])
    decoded = guided_decode(
        guides.engine,
        guides.of(run.prm),
        [Request(ids, len(ids), 0, problem) for ids, problem in zip(prompts, problems, strict=True)],
        trigger=trigger,
        candidates=run.profile.tvd.candidates,
        max_new_tokens=run.profile.sample.max_new_tokens,
        where=guides.where,
    )
    return {request.key.id: guided for request, guided in decoded}


def _decision(run: Run, name: str, problem: Problem, trigger: float) -> Decision:
    # 1. Decode the problem once more.
    guided = decode_again(run, [problem], trigger)[problem.id]

    # 2. Its first decision that changed a token.
    at = int(guided.changed[0])
    number = int(np.flatnonzero(guided.decisions == at)[0])

    # 3. What each candidate adds to the text so far.
    candidates, spell = guided.candidates[number], Speller(load_tokenizer(run.policy_path()))
    before, _ = spell(guided.ids[:at])
    return Decision(
        set=name,
        problem=problem.id,
        prompt=problem.prompt,
        trigger=trigger,
        correct=guided.finished and grade(problem, spell(guided.ids)[0]).correct,
        greedy=False,
        before=before,
        tokens=[spell(np.append(guided.ids[:at], token))[0].removeprefix(before) for token in candidates],
        probabilities=guided.probabilities[number].tolist(),
        scores=guided.scores[number].tolist(),
        written=int(np.flatnonzero(candidates == guided.ids[at])[0]),
    )
