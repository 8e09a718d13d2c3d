"""Best-of-N: what a reward model's choice among N candidates is worth (stage 7; paper §4, Figures 4 and 5).

`run_best_of_n` rates the candidates; the rest reads their scores and gives frames of accuracy with intervals.
Axes: P problems, N candidates of each, K steps of a candidate, L values of n.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from asprm import statistics as s
from asprm.engines.packed import LOWER_READING
from asprm.grading.math import one_spelling
from asprm.intervals import share_interval
from asprm.models.load import load_tokenizer
from asprm.models.prompts import prompts_of
from asprm.problems.sets import origins, problem_set, scoring, templates, test_sets
from asprm.results import outcomes, selection
from asprm.results.candidates import Candidates, Table, candidates
from asprm.reward.adapters import base_of
from asprm.reward.aggregates import AGGREGATES, aggregates
from asprm.reward.published import load_reward_model, scorer_for
from asprm.reward.rating import rate_positions
from asprm.reward.score import PRM
from asprm.run import names
from asprm.run.chunks import Chunks
from asprm.run.names import CONFIDENCE, LINE, OWN, Method, Training, random_position
from asprm.run.open import Run
from asprm.split import cutter, split_tables
from asprm.threshold import tau_of

# --- the stage --------------------------------------------------------------------------------------------------------


def run_best_of_n(run: Run) -> list[str]:
    """Rate the policy's candidates by every reward model that the profile names; an experiment rates by `run.prm`.

    Writes the table `best_of_n/<training>/<policy>-<set>` (`asprm.reward.rating.SCHEMA`) for each training and each of
    its sets (`asprm.problems.sets.scoring`). Returns the tables' names.

    A reward model rates where its own steps end: at the ends of the kind of steps that it learned from (decision tokens
    by its own share of the threshold), or of the kind that the profile gives for a published one. For one that starts
    from this policy there are also the tables `…@confidence`, `…@line` and `…@random0` … (Table 3). They come from the
    same reading of each solution.
    """
    written, work = [], chunks(run)
    for (training, name), table in zip(work.items, work.tables(run.kept), strict=True):
        for position in table["position"].unique().to_pylist():
            written.append(names.scores(training, run.policy, name, position))
            rows = table.filter(pc.field("position") == position)
            run.write(written[-1], rows.drop_columns("position"))
    return written


def chunks(run: Run) -> Chunks:
    """The stage's work in pieces: each is a training of a reward model and a set of the policy's candidates."""
    profile, policy = run.profile, run.policy
    raters = [run.prm] if run.experiment else profile.best_of_n.score[policy]
    sets = ["validation", *test_sets(profile, run.domain)]
    sets_of = {rater: scoring(profile, rater, policy, shown=run.prm) for rater in raters}
    trainings = {training: own for by_training in sets_of.values() for training, own in by_training.items()}
    tasks = [(training, name) for name in sets for training, own in trainings.items() if name in own]
    with run.noting() as inputs:
        models = {training: run.reward_model(training) for training in trainings}
        for path, _ in models.values():
            run.running(base_of(path) or path)
        run.policy_path()  # whose tokenizer reads
        run.inputs.update(origins(profile, run.domain))
        run.read_json(names.threshold(policy))
        for name in sets:
            run.find(names.samples(policy, name) + ".parquet")
    return Chunks(
        partial(_rate, run=run, models=models),
        tasks,
        size=1,
        folder=run.work(f"best_of_n/{policy}"),
        key={"tasks": tasks, "settings": profile.reads("best_of_n"), "inputs": inputs},
        setup=partial(_SplitCandidates, run, [Training.parse(rater).reward_model for rater in raters]),
        workers=run.workers,
        label=f"scores of {policy}",
        lower=LOWER_READING,
    )


def rated(run: Run, prm: str, name: str, position: str = OWN) -> list[pd.DataFrame]:
    """The rated candidates of the set `name`, one frame per training of the reward model `prm`."""
    tables = (names.scores(training, run.policy, name, position) for training in run.profile.trainings(prm, run.policy))
    return [run.read(table).to_pandas() for table in tables]


class _SplitCandidates:
    """The policy's candidates with their step ends of every kind. Those of the last set are kept: all reward models
    that rate a set come one after the other.
    """

    def __init__(self, run: Run, raters: Sequence[str]) -> None:
        """raters: the reward models that are to rate."""
        profile, method = run.profile, Method.parse(run.method)
        self.run, self.tokenizer = run, load_tokenizer(run.policy_path())
        self.kind = method.kind
        fitted = run.read_json(names.threshold(run.policy))
        tau = tau_of(fitted, method.share)
        options = {"tau": tau, "length": profile.split.length, "count": profile.split.count}
        models = [profile.reward_models[rater] for rater in raters]
        kinds = {model.rates.kind for model in models} - {"adaptive"} | {method.kind, "line"}
        self.cutters = {kind: cutter(kind, seed=run.seed, **options) for kind in sorted(kinds)}
        for k in range(profile.best_of_n.random):
            self.cutters[random_position(k)] = cutter("random", seed=run.seed + k, **options)
        for model in models:
            if (share := model.rates.share) and model.base == run.policy:
                self.cutters[model.rates.split] = cutter("adaptive", tau=tau_of(fitted, share))
        self.last, self.splits = "", []

    def positions(self, training: str) -> dict[str, str]:
        """The rating positions of a training, each with the name of its cutter.

        A threshold is the policy's own: of another policy's candidates the study's share is taken.
        """
        profile = self.run.profile
        model = profile.reward_models[Training.parse(training).reward_model]
        own = model.rates.split if model.rates.split in self.cutters else model.rates.kind
        positions = {OWN: self.kind if own == "adaptive" else own}
        if model.base == self.run.policy:
            positions |= {CONFIDENCE: self.kind, LINE: "line"}
            positions |= {random_position(k): random_position(k) for k in range(profile.best_of_n.random)}
        return positions

    def of(self, name: str) -> Iterator[tuple[pa.Table, dict[str, pa.Table]]]:
        """Batches of the candidates of a set, each with its step ends by cutter."""
        scanned = self.run.scan(names.samples(self.run.policy, name), rows=4096)
        batches = (pa.Table.from_batches([rows]) for rows in scanned)
        if self.last == name:
            yield from zip(batches, self.splits, strict=True)
            return
        splits = []
        for batch in batches:
            splits.append(split_tables(batch, self.cutters, self.tokenizer))
            yield batch, splits[-1]
        self.last, self.splits = name, splits


def own_steps(run: Run, training: str, samples: pa.Table) -> pa.Table:
    """The step ends (`asprm.split.SCHEMA`) at which a training rates the policy's candidates `samples`, row by row."""
    rated = _SplitCandidates(run, [Training.parse(training).reward_model])
    ends_of = rated.cutters[rated.positions(training)[OWN]]
    return split_tables(samples, {OWN: ends_of}, rated.tokenizer)[OWN]


def _rate(
    tasks: Sequence[tuple[str, str]],
    candidates: _SplitCandidates,
    *,
    run: Run,
    models: Mapping[str, tuple[str, str | None]],
) -> pa.Table:
    """Scores of one set by one training: the rating position, then the columns of `asprm.reward.rating.SCHEMA`.

    tasks: a single one, (training, set).
    models: by training, what `load_reward_model` takes.
    """
    [(training, name)] = tasks
    tokenizer = candidates.tokenizer
    prm = scorer_for(load_reward_model(*models[training]), tokenizer)
    texts = {problem.id: problem.prompt for problem in problem_set(run.profile, name, run.domain)}
    problems = prompts_of(tokenizer, texts) if isinstance(prm, PRM) else texts
    cutters = candidates.positions(training)
    parts: dict[str, list[pa.Table]] = {position: [] for position in cutters}
    for batch, splits in candidates.of(name):
        wanted = {position: splits[cutter] for position, cutter in cutters.items()}
        for position, table in rate_positions(prm, batch, wanted, problems).items():
            parts[position].append(table)
    whole = {position: pa.concat_tables(tables) for position, tables in parts.items()}
    return pa.concat_tables(
        table.add_column(0, "position", pa.array([position] * len(table))) for position, table in whole.items()
    )


# --- accuracy ---------------------------------------------------------------------------------------------------------


def curves(
    table: Table | Mapping[str, Sequence[Table]],
    ns: Sequence[int],
    *,
    how: Sequence[str] = tuple(AGGREGATES),
    name: str = "PRM",
    greedy: Mapping[str, bool] | None = None,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy against n: a frame with columns method, n, value, low, high; shares in [0, 1].

    table: as for `candidates`; or by name of the reward model one such table for each of its trainings, all of the same
        candidates. The outcome of a problem is then the mean over the trainings.
    ns: (L,) numbers of candidates.
    how: aggregates of step scores.
    name: of the reward model, if `table` is a single one.
    greedy: by problem, whether the greedy solution is right.
    clusters: by problem, what goes together, such as its template; None: each problem by itself.
    seed: of the weighted votes.

    Methods: "<reward model>-<aggregate>" for each aggregate; those of `_without_rewards`, where the votes' weights are
    the first aggregate of the first reward model; "pass@n", the ceiling; and, the same for every n, "mean" (a single
    sample) and "greedy".

    A value is the mean over problems of the mean over all subsets of n candidates. Its 95 % interval is over problems
    or clusters, and over trainings.
    """
    tables = table if isinstance(table, Mapping) else {name: [table]}
    by_model = {prm: [candidates(one) for one in trainings] for prm, trainings in tables.items()}
    c = next(iter(by_model.values()))[0]
    ns = [int(n) for n in ns]

    # 1. Outcomes (R, P, L) by method: a row for each training, or a single one.
    by_method: dict[str, NDArray] = {}
    for prm, trainings in by_model.items():
        for training in trainings:
            _check_same(prm, training, c)
        for h in how:
            each = [selection.best_of_n(training.scores(h), training.correct, ns) for training in trainings]
            by_method[f"{prm}-{h}"] = np.stack(each)
    by_method |= _without_rewards(next(iter(by_model.values())), how[0], ns, seed)
    by_method["pass@n"] = selection.pass_at_k(c.correct, ns)[None]
    by_method["mean"] = np.outer(c.correct.mean(1), np.ones(len(ns)))[None]
    if greedy is not None:
        by_method["greedy"] = np.outer(_in_order(greedy, c.problems, "greedy solution"), np.ones(len(ns)))[None]

    # 2. Means over problems, with intervals.
    groups = _in_order(clusters, c.problems, "cluster") if clusters is not None else None
    rows = []
    for method, each in by_method.items():
        interval = share_interval(each.mean(0), clusters=groups, trainings=[each.mean(1)])
        rows.append(pd.DataFrame({"method": method, "n": ns} | interval._asdict()))
    return pd.concat(rows, ignore_index=True)


def comparisons(
    tables: Table | Sequence[Table],
    *,
    n: int | None = None,
    how: str = "min",
    greedy: Mapping[str, bool] | None = None,
    clusters: Mapping[str, str] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """BoN@n against a single sample, the ways of `_without_rewards` and greedy decoding, paired by problem.

    tables: one as for `candidates` for each training of the reward model; BoN@n is the mean over them.
    n: number of candidates; None: all N.
    how: aggregate of step scores.
    greedy, clusters: as for `curves`.

    A frame with one row per rival: against, then the fields of `asprm.statistics.Comparison` (a is BoN@n).
    """
    single = isinstance(tables, pa.Table | pd.DataFrame)
    trainings = [candidates(table) for table in ([tables] if single else tables)]
    c = trainings[0]
    for training in trainings:
        _check_same("the reward model", training, c)
    size = n or int(c.correct.shape[1])
    rivals: dict[str, NDArray] = {"single sample": c.correct.mean(1)} | _without_rewards(trainings, how, size, seed)
    if greedy is not None:
        rivals["greedy"] = _in_order(greedy, c.problems, "greedy solution").astype(float)
    groups = _in_order(clusters, c.problems, "cluster") if clusters is not None else None
    best = np.stack([selection.best_of_n(training.scores(how), training.correct, size) for training in trainings])
    rows = [
        {"against": rival, **asdict(s.compare(best, values, groups, resamples=resamples, seed=seed))}
        for rival, values in rivals.items()
    ]
    return pd.DataFrame(rows)


def gains(run: Run, policy: str, prm: str) -> pd.DataFrame:
    """The tests of chapter 7, corrected together: Best-of-N by `prm` against all other ways, on all sets of the policy.

    Columns: problems (name of the set), those of `comparisons`, p (Holm). MissingArtifact: a table is missing.
    """
    profile, parts = run.profile, []
    for name in test_sets(profile, profile.policies[policy].domain):
        tables = [run.read(names.scores(training, policy, name)) for training in profile.trainings(prm, policy)]
        rows = comparisons(
            tables,
            how=profile.best_of_n.aggregate,
            greedy=outcomes.greedy(run, policy, name).mean.astype(bool).to_dict(),
            clusters=templates(profile, name),
            seed=run.seed,
        )
        parts.append(rows.assign(problems=name))
    every = pd.concat(parts, ignore_index=True)
    return every.assign(**{s.HOLM: s.holm(every["p"])})


def _without_rewards(
    trainings: Sequence[Candidates], how: str, n: int | Sequence[int], seed: int
) -> dict[str, NDArray]:
    """Outcomes (R, P) or (R, P, L) of other ways to choose among n candidates.

    "majority": the most frequent answer. "weighted vote": the answer with the greatest sum of the candidates' scores,
    for each training. "fewest steps": the candidate with the fewest steps; where steps end at decision tokens, the
    policy's own confidence chooses, and no reward model.
    """
    c = trainings[0]
    votes = [selection.weighted_vote(c.answers, c.correct, each.weights(how), n, seed=seed) for each in trainings]
    return {
        "majority": selection.majority_vote(c.answers, c.correct, n)[None],
        "weighted vote": np.stack(votes),
        "fewest steps": selection.best_of_n(c.fewest, c.correct, n)[None],
    }


def _check_same(prm: str, training: Candidates, other: Candidates) -> None:
    if training.problems != other.problems or not np.array_equal(training.correct, other.correct):
        raise ValueError(
            f"the tables of {prm} hold other candidates than the first table; expected the same ones in the same order"
        )


def _in_order(by_problem: Mapping[str, object], problems: list[str], value: str) -> NDArray:
    """(P,) the values in the order of `problems`. ValueError: some have none."""
    missing = [problem for problem in problems if problem not in by_problem]
    if missing:
        raise ValueError(f"{len(missing)} of {len(problems)} problems have no {value}, the first is {missing[0]!r}")
    return np.array([by_problem[problem] for problem in problems])


# --- the chosen candidates --------------------------------------------------------------------------------------------


def chosen(
    table: Table, solutions: pd.DataFrame, how: str = "min", margin: int = 5, doubt: float = 0.1
) -> pd.DataFrame:
    """Properties of the best-scored candidate of each problem: one row per problem, shares in [0, 1] over its ties.

    table: as for `candidates`.
    solutions: by (problem, solution), with the columns tokens, their number, and least, the least confidence of one.
    how: aggregate of step scores.
    margin: tokens.
    doubt: confidence.

    Columns: right and the traits below, each also with all_ in front, of all the problem's candidates; spread, the
    standard deviation of their scores. shorter and longer: by more than `margin` tokens than the median of the
    problem's candidates; usual: neither; usual_right: that, and right; rare: with an answer that no other candidate
    gives (NaN where there are no answers); doubtful: with a confidence below `doubt`.
    """
    frame = table.to_pandas() if isinstance(table, pa.Table) else table
    scores = aggregates(np.concatenate(frame["scores"].tolist()), frame["scores"].map(len).to_numpy(), how)
    ranks = np.where(frame["finished"], scores, scores.min() - 1)
    problems = frame["problem"].to_numpy()
    like = solutions.loc[pd.MultiIndex.from_arrays([problems, frame["solution"]])]
    tokens, right = like["tokens"].to_numpy(), frame["correct"].to_numpy(bool)
    over = tokens - pd.Series(tokens).groupby(problems).transform("median").to_numpy()
    usual = np.abs(over) <= margin
    traits = pd.DataFrame(
        {
            "right": right,
            "shorter": over < -margin,
            "longer": over > margin,
            "usual": usual,
            "usual_right": usual & right,
            "rare": _rare(frame),
            "doubtful": like["least"].to_numpy() < doubt,
        },
        dtype=float,
    )
    best = ranks == pd.Series(ranks).groupby(problems).transform("max").to_numpy()
    every = traits.groupby(problems, sort=False).agg("mean").add_prefix("all_")
    of_best = traits.loc[best].groupby(problems[best], sort=False).agg("mean")
    spread = pd.DataFrame({"spread": scores}).groupby(problems, sort=False).std(ddof=0)
    return of_best.join(every).join(spread).rename_axis("problem")


def _rare(frame: pd.DataFrame) -> NDArray[np.float64]:
    """(S,) whether a candidate's answer is given by no other one of its problem; NaN if there are no answers at all."""
    answers = frame["answer"].astype(object).where(frame["answer"].notna() & frame["finished"], None)
    rare = np.full(len(frame), np.nan)
    for rows in frame.reset_index(drop=True).groupby("problem").indices.values():
        row = one_spelling(answers.iloc[rows].tolist())
        rare[rows] = [answer is not None and row.count(answer) == 1 for answer in row]
    return rare if bool(answers.notna().to_numpy().any()) else np.full(len(frame), np.nan)


def rescued(table: Table, how: str = "min") -> list[str]:
    """The problems on which the best-scored candidate is right and the majority vote is wrong, without ties."""
    c = candidates(table)
    size = c.correct.shape[1]
    best = selection.best_of_n(c.scores(how), c.correct, size)
    vote = selection.majority_vote(c.answers, c.correct, size)
    return [problem for problem, b, v in zip(c.problems, best, vote, strict=True) if b == 1 and v == 0]


def answers(table: Table, problem: str, how: str = "min") -> pd.DataFrame:
    """The answers of one problem's candidates, the best-scored first: answer, correct, candidates, best score."""
    c = candidates(table)
    p = c.problems.index(problem)
    each = pd.DataFrame({"answer": c.answers[p], "correct": c.correct[p], "score": c.scores(how)[p]})
    by_answer = each.groupby(["answer", "correct"], dropna=False)["score"]
    counted = by_answer.agg(**{"candidates": "size", "best score": "max"}).reset_index()
    return counted.sort_values("best score", ascending=False)
