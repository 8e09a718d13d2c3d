"""Rivals: AdaptiveStep beside the ideas that came after it, on the same solutions and budgets (stage 13).

Six contests, each in a table: where steps end; which tokens decide; cheaper labels; cleaner labels; search at decision
points; logic or fluency. The truth of the problems is known, so that labels and marks are judged by it. The parts are
in `asprm.contests`; here they become tables, with intervals over problems and the tests of `asprm.statistics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asprm import statistics as s
from asprm.contests import cheap, searched
from asprm.contests.bench import Bench, Written, bench_of
from asprm.contests.clean import consensus_labels, noise, scan_labels
from asprm.contests.drops import cliffs, decisive, drop_p, marks
from asprm.contests.edited import edit_table, edits
from asprm.contests.learned import Lesson, best_of_n, learn_all, with_errors
from asprm.contests.places import CONFIDENCE, KINDS, within_budget
from asprm.contests.rolled import Rollouts, at_step_ends, at_tokens
from asprm.intervals import share_interval
from asprm.models.align import Speller
from asprm.models.load import load_tokenizer
from asprm.results.first_errors import best_cut, f1_against, find_errors
from asprm.run import names
from asprm.run.open import Run

AS_THEY_ARE, SURE, CONSENSUS = "as they are", "self-confidence (SCAN)", "consensus of two halves"
DEPARTURE = "departure from the truth"
FULL = "all solutions"  # the reward model that learned from all solutions, at low confidence, from all rollouts

Labels = Mapping[Written, NDArray[np.float64]]

# --- the stage --------------------------------------------------------------------------------------------------------


def run_rivals(run: Run) -> list[str]:
    """Set AdaptiveStep against its rivals, for the run's policy, which solves mathematics made here.

    Writes, and returns the names of, the tables `rivals/<policy>-<table>`:
    - steps: `step_table`, where steps end.
    - tokens: `token_table`, which tokens decide; drops: one row per token, from `drop_table`.
    - labels: `label_table`, cheaper labels.
    - noise: `noise_table`, cleaner labels.
    - search: `search_table`, ways to spend computing at test time. Its manifest has the seconds that were measured.
    - edits: `asprm.contests.edited.edit_table`.
    """
    # 1. What all contests look at, and their rollouts.
    bench = bench_of(run)
    rolled = at_step_ends(run, bench)
    after = at_tokens(run, bench)

    # 2. One reward model for each way to make labels.
    lessons = [*_step_lessons(run, bench, rolled), *_label_lessons(run, bench, rolled)]
    scored = learn_all(run, bench, lessons)
    best = {
        name: best_of_n(trainings, bench.test, run.profile.best_of_n.aggregate) for name, trainings in scored.items()
    }

    # 3. The tables.
    drops = drop_table(run, bench, after)
    found = searched.outcomes(run, bench)
    tables = {
        "steps": step_table(bench, rolled, lessons, scored, best),
        "tokens": token_table(drops),
        "drops": drops,
        "labels": label_table(bench, rolled, best),
        "noise": noise_table(run, bench, rolled, best),
        "search": search_table(found, run.profile.claims.alpha),
        "edits": edit_table(edits(run, bench)),
    }
    seconds: Any = found.groupby(["way", "size"])["seconds"].first().dropna()
    facts = {"search": {"processor_seconds": {f"{way}, {size}": round(x, 3) for (way, size), x in seconds.items()}}}
    for name in names.RIVALS:
        run.write(names.rivals(run.policy, name), tables[name], **facts.get(name, {}))
    return [names.rivals(run.policy, name) for name in names.RIVALS]


# --- where steps end --------------------------------------------------------------------------------------------------


def _of_kind(bench: Bench, rolled: Mapping[Written, Rollouts], kind: str) -> dict[Written, cheap.Rolled]:
    """The rollouts of the steps of a kind, by training solution."""
    return {one: of_one.at(bench.ends(kind, one), one.correct) for one, of_one in rolled.items()}


def _with_last(one: Written, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The labels of the inner steps and of the last one: the solution is its own rollout."""
    return np.append(labels, float(one.correct))


def _step_lessons(run: Run, bench: Bench, rolled: Mapping[Written, Rollouts]) -> list[Lesson]:
    """For each kind of steps as many solutions as fit into one budget of rollouts: what the cheapest kind takes."""
    labelled = {
        kind: {one: cheap.by_early_stopping(x) for one, x in _of_kind(bench, rolled, kind).items()} for kind in KINDS
    }
    spent = {kind: [x.rollouts for x in of_kind.values()] for kind, of_kind in labelled.items()}
    budget = min(map(sum, spent.values()))
    lessons = []
    for kind, of_kind in labelled.items():
        kept = within_budget(spent[kind], budget, run.seed)
        pairs = list(of_kind.items())
        lessons.append(Lesson(kind, kind, {pairs[i][0]: _with_last(pairs[i][0], pairs[i][1].labels) for i in kept}))
    return lessons


def step_table(
    bench: Bench,
    rolled: Mapping[Written, Rollouts],
    lessons: Sequence[Lesson],
    scored: Mapping[str, Sequence[Mapping[str, pd.DataFrame]]],
    best: Mapping[str, NDArray[np.float64]],
) -> pd.DataFrame:
    """Kinds of step ends at equal shares of tokens and equal budgets of rollouts: one row per kind.

    rolled: of the training solutions. lessons: what was learned from. scored: candidates, by lesson, training and set.
    best: (R, P) outcomes of Best-of-N by lesson.

    Columns: kind; share, of the inner tokens of the candidates that end a step; solutions, steps (inner ones) and
    rollouts of what was learned from; mean label; wrong, the share of its labels that disagree with the truth (…_low,
    …_high); bon (…_low, …_high); gain over low confidence (gain_low, gain_high, p); f1 of the first error (…_low,
    …_high) by the first training, f1_gain over low confidence (…_low, …_high, f1_p). Each p (Holm) is over the kinds.
    """
    frames = {kind: _frames(bench, scored[kind][0], kind) for kind in KINDS}
    cuts = {kind: best_cut(validation) for kind, (validation, _) in frames.items()}
    rows = []
    for lesson in lessons[: len(KINDS)]:
        kind, given = lesson.kind, lesson.labels
        marked = [bench.marked(kind, one)[:-1] for one in bench.solutions[bench.test]]
        inner = {one: labels[:-1] for one, labels in given.items()}
        steps = [rolled[one].at(bench.ends(kind, one), one.correct) for one in given]
        row: dict[str, Any] = {
            "kind": kind,
            "share": np.concatenate(marked).mean(),
            "solutions": len(given),
            "steps": sum(map(len, inner.values())),
            "rollouts": sum(cheap.by_early_stopping(x).rollouts for x in steps),
            "mean label": np.concatenate(list(inner.values())).mean(),
        }
        noisy = _noise(bench, inner, kind)
        row |= {name: noisy[name] for name in ("wrong", "wrong_low", "wrong_high", "missed", "forgiven")}
        row |= _chosen(best[kind], best[CONFIDENCE], kind == CONFIDENCE)
        row |= {name: value for name, value in find_errors(frames[kind][1], cuts[kind]).items() if "f1" in name}
        row |= dict.fromkeys(("f1_gain", "f1_gain_low", "f1_gain_high", "f1_p"), np.nan)
        if kind != CONFIDENCE:
            own, base = ((frames[one][1], cuts[one]) for one in (kind, CONFIDENCE))
            gain, p = f1_against(*own, *base)
            row |= {"f1_gain": gain.value, "f1_gain_low": gain.low, "f1_gain_high": gain.high, "f1_p": p}
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.assign(**{"p (Holm)": s.holm(table["p"]), "f1_p (Holm)": s.holm(table["f1_p"])})


def _frames(bench: Bench, trained: Mapping[str, pd.DataFrame], kind: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scored candidates of the validation and of the test set, with the steps of their first errors."""
    validation, test = (with_errors(bench, trained[name], name, kind) for name in ("validation", bench.test))
    return validation, test


def _noise(bench: Bench, labels: Mapping[Written, NDArray[np.float64] | None], kind: str) -> dict[str, Any]:
    """`asprm.contests.clean.noise` of labels of the inner steps of a kind."""
    true = [one.true_up_to(bench.ends(kind, one)[:-1]) for one in labels]
    return noise(list(labels.values()), true, [one.problem for one in labels])


def _chosen(best: NDArray[np.float64], rival: NDArray[np.float64], is_rival: bool) -> dict[str, Any]:
    """bon with its interval, and the gain over the rival with interval and p; NaN for the rival itself."""
    shown = share_interval(best.mean(0), trainings=[best.mean(1)])
    row: dict[str, Any] = dict(zip(("bon", "bon_low", "bon_high"), shown, strict=True))
    row |= dict.fromkeys(("gain", "gain_low", "gain_high", "p"), np.nan)
    if not is_rival:
        both = s.compare(best, rival)
        row |= {"gain": both.difference, "gain_low": both.low, "gain_high": both.high, "p": both.p}
    return row


# --- which tokens decide ----------------------------------------------------------------------------------------------


def drop_table(run: Run, bench: Bench, after: Mapping[Written, Rollouts]) -> pd.DataFrame:
    """One row per token of the solutions whose every token was followed by rollouts.

    Columns: problem, solution, token (from 0), text; before and after, the right rollouts of J; rollouts, J; p, of the
    test that the probability fell; decisive (Benjamini and Hochberg over all rows), cliff (the rule for one token),
    departure (the solution departs from the truth here); and by name of each kind, whether it marks the token.
    """
    spell = Speller(load_tokenizer(run.policy_path()))
    size = run.profile.rivals.rollouts
    parts = []
    for one, rollouts in after.items():
        text, ends = spell(one.ids)
        starts = np.concatenate([[0], ends[:-1]])
        right = np.append(rollouts.right.sum(1), size * one.correct)  # after the last token it is decided
        columns: dict[str, Any] = {
            "problem": one.problem,
            "solution": one.solution,
            "token": np.arange(len(one.ids)),
            "text": [text[a:b] for a, b in zip(starts, ends, strict=True)],
            "before": right[:-1],
            "after": right[1:],
            "rollouts": size,
            "p": drop_p(right, size),
            "cliff": cliffs(right, size),
            "departure": np.arange(len(one.ids)) == (-1 if one.departs is None else one.departs),
        }
        parts.append(pd.DataFrame(columns | {kind: bench.marked(kind, one) for kind in KINDS}))
    table: Any = pd.concat(parts, ignore_index=True)
    table["decisive"] = np.concatenate(decisive([table["p"].to_numpy()], run.profile.claims.alpha))
    return table


def token_table(drops: pd.DataFrame) -> pd.DataFrame:
    """How well each kind of places marks the decisive tokens, the cliffs and the departures: rows of
    `asprm.contests.drops.marks`, with the column wanted in front, and tokens, the number of wanted ones.

    drops: from `drop_table`. A solution's last token, which all kinds mark, is left out.
    """
    last = drops.groupby(["problem", "solution"])["token"].transform("max")
    inner: Any = drops.loc[drops["token"] < last]
    groups = [group for _, group in inner.groupby(["problem", "solution"], sort=False)]
    problems = [str(group["problem"].iloc[0]) for group in groups]
    columns = {kind: kind for kind in KINDS}
    parts = []
    for wanted in ("decisive", "cliff", "departure"):
        ways = columns | ({DEPARTURE: "departure"} if wanted != "departure" else {"decisive": "decisive"})
        marked = {way: [group[column].to_numpy(bool) for group in groups] for way, column in ways.items()}
        table = marks(marked, [group[wanted].to_numpy(bool) for group in groups], problems)
        table.insert(0, "wanted", wanted)
        table.insert(2, "tokens", int(inner[wanted].sum()))
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


# --- cheaper and cleaner labels ---------------------------------------------------------------------------------------


def _label_lessons(run: Run, bench: Bench, rolled: Mapping[Written, Rollouts]) -> list[Lesson]:
    """What is learned from all solutions, at steps of low confidence: from all rollouts, from few, and filtered."""
    steps = _of_kind(bench, rolled, CONFIDENCE)
    ways: dict[str, Mapping[Written, NDArray[np.float64] | None]] = {
        FULL: {one: cheap.by_all(x).labels for one, x in steps.items()},
        cheap.BINARY: {one: cheap.by_binary_search(x).labels for one, x in steps.items()},
        SURE: _sure(run, bench, steps),
        CONSENSUS: {one: consensus_labels(x) for one, x in steps.items()},
    }
    return [
        Lesson(name, CONFIDENCE, {one: _with_last(one, given) for one, given in labels.items() if given is not None})
        for name, labels in ways.items()
    ]


def _sure(run: Run, bench: Bench, steps: Mapping[Written, cheap.Rolled]) -> dict[Written, NDArray[np.float64] | None]:
    """SCAN's labels, by the share of each problem's samples that are right."""
    samples: Any = run.read(names.samples(run.policy, "train"), ["problem", "correct", "count"]).to_pandas()
    samples["right"] = samples["correct"] * samples["count"]
    sums = samples.groupby("problem")[["right", "count"]].sum()
    confidence = sums["right"] / sums["count"]
    least = run.profile.rivals.sure
    return {one: scan_labels(x, float(confidence.loc[one.problem]), least) for one, x in steps.items()}


def label_table(
    bench: Bench, rolled: Mapping[Written, Rollouts], best: Mapping[str, NDArray[np.float64]]
) -> pd.DataFrame:
    """Ways to label the steps of low confidence with fewer rollouts: one row per way of `asprm.contests.cheap`.

    Columns: way; rollouts and tokens per solution; of_all, the share of the rollouts of all (…_low, …_high), and
    of_tokens; equal, the share of labels that are those of all rollouts (…_low, …_high); exact, the share of wrong
    solutions whose first step labelled wrong is that of all rollouts; bon, gain over all rollouts and p, as in
    `step_table`. Early stopping gives the labels of all rollouts, and so the same reward model.
    """
    steps = _of_kind(bench, rolled, CONFIDENCE)
    problems = np.array([one.problem for one in steps])
    every = [cheap.by_all(x) for x in steps.values()]
    learned = {cheap.ALL: FULL, cheap.EARLY: FULL, cheap.BINARY: cheap.BINARY}
    rows = []
    for way, label in cheap.WAYS.items():
        own = [label(x) for x in steps.values()]
        counts = np.array(
            [
                (x.rollouts, x.tokens, a.rollouts, a.tokens, len(x.labels), (x.labels == a.labels).sum())
                for x, a in zip(own, every, strict=True)
            ],
            float,
        )
        spent, tokens, of_all, of_tokens, labels, equal = _by_problem(counts, problems).T
        saved = s.bootstrap_ratio(spent, of_all)
        wrong = [i for i, one in enumerate(steps) if not one.correct]
        exact = [cheap.first_wrong(own[i].labels) == cheap.first_wrong(every[i].labels) for i in wrong]
        row: dict[str, Any] = {"way": way, "rollouts": spent.sum() / len(steps), "tokens": tokens.sum() / len(steps)}
        row |= dict(zip(("of_all", "of_all_low", "of_all_high"), map(float, saved), strict=True))
        row |= {"of_tokens": tokens.sum() / of_tokens.sum()}
        row |= dict(zip(("equal", "equal_low", "equal_high"), share_interval(equal, labels), strict=True))
        row |= {"exact": float(np.mean(exact)) if exact else np.nan}
        rows.append(row | _chosen(best[learned[way]], best[FULL], learned[way] == FULL))
    return pd.DataFrame(rows)


def noise_table(
    run: Run, bench: Bench, rolled: Mapping[Written, Rollouts], best: Mapping[str, NDArray[np.float64]]
) -> pd.DataFrame:
    """Filters of noisy labels of the steps of low confidence: one row per filter.

    Columns: filter; those of `asprm.contests.clean.noise`; rollouts per solution, kept or not, with all J of each step
    that is asked; bon, gain over the labels as they are, p and p (Holm), as in `step_table`.
    """
    steps = _of_kind(bench, rolled, CONFIDENCE)
    sure = _sure(run, bench, steps)
    ways: dict[str, tuple[str, Mapping[Written, NDArray[np.float64] | None], Iterable[bool]]] = {
        AS_THEY_ARE: (FULL, {one: cheap.by_all(x).labels for one, x in steps.items()}, [True] * len(steps)),
        SURE: (SURE, sure, [sure[one] is not None and not one.correct for one in steps]),
        CONSENSUS: (CONSENSUS, {one: consensus_labels(x) for one, x in steps.items()}, [True] * len(steps)),
    }
    rows = []
    for way, (lesson, labels, asked) in ways.items():
        spent = sum(x.right.size for x, is_asked in zip(steps.values(), asked, strict=True) if is_asked)
        row: dict[str, Any] = {"filter": way} | _noise(bench, labels, CONFIDENCE) | {"rollouts": spent / len(steps)}
        rows.append(row | _chosen(best[lesson], best[FULL], lesson == FULL))
    table = pd.DataFrame(rows)
    return table.assign(**{"p (Holm)": s.holm(table["p"])})


def _by_problem(values: NDArray[np.float64], problems: NDArray) -> NDArray[np.float64]:
    """(P, …) sums of the rows (S, …) of each problem."""
    return pd.DataFrame(values).groupby(problems, sort=False).agg("sum").to_numpy(float)


# --- search -----------------------------------------------------------------------------------------------------------


def search_table(found: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Ways to spend computing on a problem: one row per way and size, the cheapest first.

    found: from `asprm.contests.searched.outcomes`. alpha: of the tests.

    Columns: way, size; problems; right (…_low, …_high); flops, operations per problem; n, the greatest N with which
    Best-of-N takes no more operations (0: none); gain over that (gain_low, gain_high, p) and p (Holm), NaN for ways of
    choosing and where there is none; frontier, whether no cheaper way is as good.
    """
    right: Any = found.pivot(index="problem", columns=["way", "size"], values="right")
    flops: Any = found.groupby(["way", "size"])["flops"].mean()
    choosing = {searched.BEST, searched.MAJORITY, searched.GREEDY}
    rows = []
    for way, size in flops.sort_values(kind="stable").index:
        own = right[way, size].to_numpy(float)
        row: dict[str, Any] = {"way": way, "size": size, "problems": len(own)}
        row |= dict(zip(("right", "right_low", "right_high"), share_interval(own), strict=True))
        n = None if way in choosing else searched.at_equal_flops(found, way, size)
        row |= {"flops": flops[way, size], "n": n or 0}
        row |= dict.fromkeys(("gain", "gain_low", "gain_high", "p"), np.nan)
        if n:
            both = s.compare(own, right[searched.BEST, n].to_numpy(float))
            row |= {"gain": both.difference, "gain_low": both.low, "gain_high": both.high, "p": both.p}
        rows.append(row)
    table = pd.DataFrame(rows)
    cheaper: Any = table["right"].cummax().shift(fill_value=-1.0)
    return table.assign(**{"p (Holm)": s.holm(table["p"]), "frontier": table["right"] > cheaper})
