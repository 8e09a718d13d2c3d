"""Truth: what the paper could only assume, measured (stage 11).

The problems made here come with their true solution, so that the first error of a sampled solution is known
(`asprm.problems.departure`). Do decision tokens stand where errors enter? Do labels from rollouts say what is true?
Does a reward model find the first error, and are its scores calibrated? Does guided decoding correct errors?

A solution *departs* at the first token that differs from the true solution in the line of its first error. Intervals
are of 95 % over problems. Axes: T tokens, K steps of a solution, S solutions, P problems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asprm import split
from asprm import statistics as s
from asprm.intervals import share_interval
from asprm.models.align import Speller
from asprm.models.load import load_tokenizer
from asprm.problems.departure import INTERVENTIONS, departure, intervention
from asprm.problems.families import FAMILIES
from asprm.problems.load import load
from asprm.problems.problem import Problem
from asprm.results.first_errors import first_errors, sums_by_problem
from asprm.run import names
from asprm.run.names import CONFIDENCE
from asprm.run.open import Run
from asprm.sample import greedy_verdicts

SAMPLED, GREEDY = "sampled", "greedy"
WITHIN = (0, 1, 2, 4, 8, 16)  # tokens from a departure to the next step end
METHODS = ("decision tokens", "line breaks", "random, as many as decision tokens", "random, as many as line breaks")

# --- the stage --------------------------------------------------------------------------------------------------------


def run_truth(run: Run) -> list[str]:
    """Measure step ends, labels, scores and guided decoding against the truth.

    Writes, and returns the names of, the tables `truth/<policy>-<table>`:
    - entry: `entry_points` on all test sets, of sampled and of greedy solutions; column texts, SAMPLED or GREEDY.
    - labels: `disagreement` by J; column split, the method.
    - first-error: `first_errors` on the first test set.
    - interventions: `intervention_table` of guided decoding by `run.prm`, over all test sets.
    """
    known = Known(run)
    tested = [solution for name in known.sets for solution in known.solutions[name]]
    greedy = [solution for name in known.sets for solution in known.greedy[name]]
    entries = [
        entry_points(some, known.tau, seed=run.seed).assign(texts=texts)
        for texts, some in ((SAMPLED, tested), (GREEDY, greedy))
        if any(solution.departs is not None for solution in some)
    ]
    disagree = [disagreement(known.labels[m]).assign(split=m) for m in label_methods(run)]
    trigger = run.read_json(names.trigger(run.prm, run.policy))["trigger"]
    steps_in = [interventions(run, run.prm, name, trigger, known.problems[name]) for name in known.sets]
    tables = {
        "entry": pd.concat(entries, ignore_index=True),
        "labels": pd.concat(disagree),
        "first-error": first_errors(known.scored["validation"], known.scored[known.sets[0]]),
        "interventions": intervention_table(pd.concat(steps_in)),
    }
    for table in names.TRUTH:
        run.write(names.truth(run.policy, table), tables[table])
    return [names.truth(run.policy, table) for table in names.TRUTH]


class Known:
    """A run's solutions, labels and scores together with the truth; each is read when it is first asked for.

    sets: the test sets whose truth is known.
    tau: the policy's threshold.
    problems: by set, and there by id.
    solutions, greedy: by set, in the order of the tables: sampled ones, and those of greedy decoding.
    labels: by method, from `label_truth`.
    scored: by set, and there by training of a reward model, from `scored_steps`.
    """

    def __init__(self, run: Run) -> None:
        self.sets = known_sets(run)
        if not self.sets:
            raise ValueError(f"truth: the run has no samples of policy {run.policy} for a synthetic test set")
        self.tau: float = run.read_json(names.threshold(run.policy))["tau"]
        tokenizer = load_tokenizer(run.policy_path())
        self.problems = _Lazy(lambda name: problems_of(run, name))
        self.solutions = _Lazy(lambda name: list(solutions(run, name, self.problems[name], tokenizer)))
        self.greedy = _Lazy(
            lambda name: list(solutions(run, name + names.GREEDY, self.problems[name], tokenizer)),
        )
        self.labels = _Lazy(lambda method: label_truth(run, method, self.problems["train"]))
        self.scored = _Lazy(
            lambda name: {
                training: scored_steps(run, training, name, self.solutions[name], self.tau)
                for training in scored_by(run, self.sets[0])
            }
        )


_T = TypeVar("_T")


class _Lazy(dict[str, _T]):
    """Values that are made when they are first asked for."""

    def __init__(self, make: Callable[[str], _T]) -> None:
        super().__init__()
        self.make = make

    def __missing__(self, key: str) -> _T:
        self[key] = self.make(key)
        return self[key]


def known_sets(run: Run) -> list[str]:
    """The test sets that were made here and of which the run has samples of the policy."""
    tests = run.profile.problems.test
    return [name for name in tests if name in FAMILIES and run.has(names.samples(run.policy, name))]


def label_methods(run: Run) -> list[str]:
    """The splitting methods, of those with hard labels, for which the run has labels of the policy."""
    return [method for method in ("adaptive", "line") if run.has(names.labels(run.policy, method))]


def scored_by(run: Run, name: str) -> list[str]:
    """The trainings that rated the policy's candidates of validation and of the set `name` at decision tokens: those
    of reward models that start from the policy.
    """
    trainings = [training for prm in run.profile.reward_models for training in run.profile.seeds_of(prm)]

    def rated(training: str, problems: str) -> bool:
        return run.has(names.scores(training, run.policy, problems, CONFIDENCE))

    return sorted(training for training in trainings if rated(training, name) and rated(training, "validation"))


# --- solutions whose truth is known -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Solution:
    """A sampled solution of a problem whose truth is known.

    confidences, char_ends: (T,) of its tokens.
    departs: index of the first token that departs; None: it never does.
    """

    problem: str
    solution: int
    confidences: NDArray[np.float32]
    text: str
    char_ends: NDArray[np.int32]
    correct: bool
    departs: int | None

    @property
    def tokens(self) -> int:
        return len(self.char_ends)

    @property
    def marked(self) -> str:
        """Its text with ⟦ before the token at which it departs."""
        if self.departs is None:
            return self.text
        start = int(self.char_ends[self.departs - 1]) if self.departs else 0
        return f"{self.text[:start]}⟦{self.text[start:]}"


def problems_of(run: Run, name: str) -> dict[str, Problem]:
    """The problems of the policy's set `name`, made anew from their ids. ValueError: the truth of one is not known."""
    ids = set(run.read(names.samples(run.policy, name), ["problem"])["problem"].to_pylist())
    numbers: dict[tuple[str, str], list[int]] = {}
    for problem in ids:
        family, part, number = problem.rsplit("-", 2)
        if family not in FAMILIES:
            raise ValueError(
                f"truth: problem {problem!r} is of no synthetic family, so its true solution is not known; "
                f"expected problems of {', '.join(FAMILIES)}"
            )
        numbers.setdefault((family, part), []).append(int(number))
    made = []
    for (family, part), each in sorted(numbers.items()):
        made += load(family, part, count=max(each) - min(each) + 1, start=min(each))
    return {problem.id: problem for problem in made if problem.id in ids}


def solutions(run: Run, name: str, problems: Mapping[str, Problem], tokenizer: Any) -> Iterator[Solution]:
    """The solutions of the set `name` (greedy ones: with `names.GREEDY`), in the order of the table, with departures.

    problems: by id. tokenizer: the policy's.
    """
    spell = Speller(tokenizer)
    columns = ["problem", "solution", "ids", "confidences", "correct"]
    for batch in run.scan(names.samples(run.policy, name), columns):
        for row in batch.to_pylist():
            text, ends = spell(row["ids"])
            at = departure(problems[row["problem"]], text)
            token = None if at is None else min(int(np.searchsorted(ends, at, side="right")), len(ends) - 1)
            confidences = np.asarray(row["confidences"], np.float32)
            yield Solution(row["problem"], row["solution"], confidences, text, ends, row["correct"], token)


# --- where errors enter -----------------------------------------------------------------------------------------------


def entry_points(solutions: Sequence[Solution], tau: float, *, seed: int = 0) -> pd.DataFrame:
    """Step ends as signs of an error's entry: one row per way of placing them.

    Only the inner step ends up to a solution's departure count, or all of a solution that never departs. Columns:
    method, one of METHODS; rate, step ends per token; precision, the share of step ends that are departures; recall,
    the share of departures that are a step end; f1; within_k, the share of departures with a step end at most k tokens
    later; all but rate and f1 with …_low and …_high. ValueError: no solution departs.
    """
    if all(solution.departs is None for solution in solutions):
        raise ValueError("truth: no solution departs from the truth; expected at least one with an error")

    # 1. Counts of each solution, by method.
    rng = np.random.default_rng(seed)
    counts = {method: np.zeros((len(solutions), 4 + len(WITHIN))) for method in METHODS}
    for i, solution in enumerate(solutions):
        adaptive = split.adaptive(solution.confidences, tau)[:-1]
        line = split.line(solution.text, solution.char_ends)[:-1]
        placed = [adaptive, line] + [_at_random(solution.tokens, len(ends), rng) for ends in (adaptive, line)]
        for method, ends in zip(METHODS, placed, strict=True):
            counts[method][i] = _counts(solution, ends - 1)

    # 2. Ratios of their sums, with intervals over problems.
    problems = np.array([solution.problem for solution in solutions])
    rows = []
    for method, each in counts.items():
        tokens, ends, hits, departs, *within = sums_by_problem(each, problems).T
        shares = {"precision": (hits, ends), "recall": (hits, departs)}
        shares |= {f"within_{k}": (near, departs) for k, near in zip(WITHIN, within, strict=True)}
        row = {"method": method, "rate": ends.sum() / tokens.sum()} | _ratios(shares)
        rows.append(row | {"f1": float(s.harmonic(np.nan_to_num(row["precision"]), row["recall"]))})
    return pd.DataFrame(rows)


def _at_random(tokens: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.sort(rng.permutation(max(tokens - 1, 0))[:count]) + 1


def _counts(solution: Solution, places: NDArray) -> list[float]:
    """Tokens, step ends and hits up to the departure; whether it departs; whether a step end is within k tokens of it,
    for each k of WITHIN. places: indices of the tokens that end a step.
    """
    if solution.departs is None:
        return [solution.tokens - 1, len(places), 0, 0, *[0] * len(WITHIN)]
    later = places[places >= solution.departs]
    delay = (later[0] if len(later) else solution.tokens - 1) - solution.departs  # the text's end is a step end, too
    before = int((places <= solution.departs).sum())
    near = [float(delay <= k) for k in WITHIN]
    return [solution.departs + 1, before, int(solution.departs in places), 1, *near]


def _ratios(shares: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """By name Σ top / Σ bottom of two arrays (P,), with …_low and …_high."""
    row = {}
    for name, (top, bottom) in shares.items():
        value, low, high = share_interval(top, bottom)
        row |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return row


# --- labels -----------------------------------------------------------------------------------------------------------


def label_truth(run: Run, method: str, problems: Mapping[str, Problem]) -> pd.DataFrame:
    """The labelled steps with the truth, without the last of each solution: problem, step (from 1), true, J, label.

    true: nothing up to the step's end departs. There are rows for J = 1, 2, 4, … up to the run's. Rollouts ran in waves
    of these sizes and stopped at the first wave with a right one, so a step that was solved in its first j rollouts has
    label 1 for every J from j on.
    """
    policy, key = run.policy, ["problem", "solution"]
    frame = run.read(names.labels(policy, method)).to_pandas()
    ends = run.read(names.step_ends(policy, method), [*key, "char_ends"]).to_pandas().set_index(key)["char_ends"]
    texts = run.read(names.samples(policy, "train"), [*key, "text"]).to_pandas().set_index(key)["text"]
    most = int(frame["rollouts"].max())
    parts = []
    for (problem, solution), steps in frame.groupby(key, sort=False):
        inner = steps.sort_values("step").iloc[:-1]
        at = departure(problems[problem], texts[problem, solution])
        inner_ends = np.asarray(ends[problem, solution])[: len(inner)]
        parts.append(inner.assign(true=True if at is None else inner_ends <= at))
    inner = pd.concat(parts)
    inner["solved"] = np.where(inner["right"] > 0, inner["rollouts"], np.inf)
    sizes = [j for j in (1, 2, 4, 8, 16, 32) if j <= most]
    columns = ["problem", "step", "true", "J", "label"]
    rows = [inner.assign(J=j, label=inner["solved"] <= j, step=inner["step"] + 1) for j in sizes]
    return pd.concat(rows, ignore_index=True).reindex(columns=columns)


def disagreement(labels: pd.DataFrame, by: Sequence[str] = ("J",), most: int = 8) -> pd.DataFrame:
    """How often hard labels disagree with the truth.

    labels: from `label_truth`.
    by: columns whose values get a row each: J, step or both.
    most: this step and later ones count as one.

    Columns: those of `by`; steps; missed, the share of true steps with label 0 (the policy seldom continues well);
    forgiven, the share of departed ones with label 1 (a later error cancels it, or the rollout corrects it); wrong, the
    share of all steps in either way; each with …_low and …_high.
    """
    labels = labels.assign(step=labels["step"].clip(upper=most))
    miss, forgive = labels["true"] & ~labels["label"], ~labels["true"] & labels["label"]
    labels = labels.assign(miss=miss, forgive=forgive, either=miss | forgive, departed=~labels["true"], all=True)
    counted = ["miss", "forgive", "either", "true", "departed", "all"]
    rows = []
    for _, group in labels.groupby(list(by)):
        sums = group[["problem", *counted]].groupby("problem").agg("sum")
        shares = {
            "missed": (sums["miss"], sums["true"]),
            "forgiven": (sums["forgive"], sums["departed"]),
            "wrong": (sums["either"], sums["all"]),
        }
        key = {name: group[name].iloc[0] for name in by}
        rows.append(key | {"steps": len(group)} | _ratios(shares))
    return pd.DataFrame(rows)


# --- scores -----------------------------------------------------------------------------------------------------------


def scored_steps(run: Run, prm: str, name: str, solutions: Sequence[Solution], tau: float) -> pd.DataFrame:
    """One row per solution: problem, scores (K,) and confidences (K,) at the adaptive step ends, correct, error.

    error: the number of the step in which it departs, from 0; −1 if it does not.

    prm: a training, whose scores are read.
    name: the set of the solutions.
    tau: the policy's threshold.

    ValueError: the scores are not those of the adaptive steps.
    """
    table = run.read(names.scores(prm, run.policy, name, CONFIDENCE), ["problem", "solution", "scores"]).to_pandas()
    scores = table.set_index(["problem", "solution"])["scores"]
    rows = []
    for solution in solutions:
        ends = split.adaptive(solution.confidences, tau)
        given = np.asarray(scores[solution.problem, solution.solution], float)
        if len(given) != len(ends):
            raise ValueError(
                f"truth: {prm} has {len(given)} scores of solution {solution.solution} of problem "
                f"{solution.problem!r}, which has {len(ends)} adaptive steps; expected one each"
            )
        error = -1 if solution.departs is None else int(np.searchsorted(ends, solution.departs, side="right"))
        rows.append((solution.problem, given, solution.confidences[ends - 1], solution.correct, error))
    return pd.DataFrame(rows, columns=["problem", "scores", "confidences", "correct", "error"])


# --- guided decoding --------------------------------------------------------------------------------------------------


def interventions(run: Run, prm: str, name: str, trigger: float, problems: Mapping[str, Problem]) -> pd.DataFrame:
    """What the first token did at which guided decoding left the greedy text. Later ones stand in another text, which
    greedy decoding never wrote.

    prm: a training.
    name: the set.
    problems: of the set, by id.

    One row per problem: problem, kind (of INTERVENTIONS), guided and greedy (whether the solution is right).
    """
    columns = ["problem", "trigger", "text", "correct"]
    frame = run.read(names.guided(prm, run.policy, name), columns).to_pandas()
    frame = frame[np.isclose(frame["trigger"], trigger)]
    texts = run.read(names.greedy_samples(run.policy, name), ["problem", "text"]).to_pydict()
    greedy, right = dict(zip(texts["problem"], texts["text"], strict=True)), greedy_verdicts(run, name)
    rows = [
        (problem, intervention(problems[problem], text, greedy[problem]), correct, right[problem])
        for problem, text, correct in zip(frame["problem"], frame["text"], frame["correct"], strict=True)
    ]
    return pd.DataFrame(rows, columns=["problem", "kind", "guided", "greedy"])


def intervention_table(frame: pd.DataFrame) -> pd.DataFrame:
    """By kind: its problems, their share of all with its interval (Wilson), and how many of them guided and greedy
    decoding have right.
    """
    rows = []
    for kind in INTERVENTIONS:
        part = frame.loc[frame["kind"] == kind]
        share, low, high = s.wilson(len(part), len(frame))
        counts = {"problems": len(part), "share": share, "low": low, "high": high}
        right = {"guided": int(part["guided"].to_numpy().sum()), "greedy": int(part["greedy"].to_numpy().sum())}
        rows.append({"kind": kind} | counts | right)
    return pd.DataFrame(rows)
