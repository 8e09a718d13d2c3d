"""Includes about the results: the numbers of the landing page, the picture of the pipeline, the verdicts on claims."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from asprm import best_of_n, tvd
from asprm.claims import tally_table
from asprm.generalize import own_over_greedy
from asprm.problems.load import title
from asprm.problems.sets import test_sets
from asprm.results import outcomes
from asprm.results.format import INTERVAL, interval, p_value, percent, points
from asprm.run import names
from asprm.run.manifests import manifests
from asprm.run.open import Run
from asprm.site.includes.provenance import commits
from asprm.site.includes.tables import table
from asprm.site.picture import figure
from asprm.site.story import story
from asprm.statistics import HOLM

RIVALS = {  # of `asprm.best_of_n.comparisons`, with their names on the page
    "single sample": "a single sample",
    "greedy": "greedy decoding",
    "majority": "majority vote",
}


def headline(run: Run) -> str:
    """The gains of Best-of-N and guided decoding on the first test set, with intervals and tests."""
    n, name = run.profile.sample.candidates, test_sets(run.profile, run.domain)[0]
    every = best_of_n.gains(run, run.policy, run.prm)
    gains = every.loc[every["problems"] == name].set_index("against").to_dict("index")
    rows = []
    for rival, shown in RIVALS.items():
        gain = gains[rival]
        spread = interval(gain["low"], gain["high"])
        rows.append((shown, percent(gain["b"]), points(gain["difference"]), spread, p_value(gain[HOLM])))
    accuracy = percent(next(iter(gains.values()))["a"])
    lines = [
        f"On {run.profile.problems.test[name]} test problems of {title(name)}, Best-of-{n} (the reward model chooses "
        f"among {n} samples, by the {run.profile.best_of_n.aggregate} over the steps) is right for **{accuracy}** of "
        f"the problems{trainings(run, name)}.\n",
        table([f"Best-of-{n} against", "accuracy", "gain in points", INTERVAL, HOLM], rows, numbers=(1, 2, 3, 4)),
        guided(run, name),
        f"Profile `{run.profile.name}`, seed {run.seed}, commit {commits(manifests(run.base))}. p, of a paired test, "
        "says whether a gain could be chance. {ref}`As everywhere <sec-tests>`, it is corrected with the other tests "
        "of the policy in {doc}`../notebooks/07_best_of_n`, or in {doc}`../notebooks/08_tvd`, which show the other "
        "test sets.\n",
    ]
    return "\n".join(lines)


def trainings(run: Run, name: str) -> str:
    """The end of a sentence that gives a mean over trainings: each of them, if there are several."""
    accuracy = outcomes.best_of_n(run, run.prm, run.policy, name).values.mean(1)  # (R,)
    if len(accuracy) == 1:
        return ", by its only training"
    each = ", ".join(percent(value) for value in accuracy)
    return f": the mean of {len(accuracy)} trainings of the reward model, which differ only in their seed ({each})"


def guided(run: Run, name: str) -> str:
    """Sentences on guided decoding of the test set, with the trigger that was chosen on validation problems."""
    policy, prm = run.policy, run.prm
    trigger = outcomes.chosen_trigger(run, prm, policy)
    against = tvd.gains(run, policy, run.profile.tvd.guide[policy]).loc[(prm, name)]
    start = (
        f"Guided decoding, with a trigger of {trigger:g} chosen on validation problems, is right for "
        f"**{percent(against['TVD'])}** of them"
    )
    if np.isnan(against["p"]):
        return f"{start}, as greedy decoding is: the reward model changed no token, so nothing was tested.\n"
    counts = run.read(names.guided(prm, policy, name), ["trigger", "decisions", "tokens"]).to_pandas()
    counts = counts[counts["trigger"] == trigger].sum()
    p = p_value(against[HOLM])
    return (
        f"{start}, greedy decoding for {percent(against['greedy'])}: a difference of "
        f"{points(against['difference'])} points, 95 % interval {interval(against['low'], against['high'])}. It solves "
        f"{against['only TVD']} problems that greedy decoding does not, and fails on {against['only greedy']} that "
        f"greedy decoding solves (p {p if p.startswith('<') else f'= {p}'}). The reward model decided "
        f"{percent(counts['decisions'] / counts['tokens'])} of the tokens. Only its first training guides.\n"
    )


CHAPTERS = {"Best-of-N": "{doc}`../notebooks/07_best_of_n`", "TVD": "{doc}`../notebooks/08_tvd`"}  # that test the ways
WAYS = {"Best-of-N": "Best-of-N", "TVD": "guided decoding"}  # of `asprm.generalize.against_greedy`, in words


def overview(run: Run) -> str:
    """Every policy on its test sets: greedy decoding, Best-of-N and guided decoding by its own reward model."""
    gains = own_over_greedy(run)
    rows = []
    grouped: Any = gains.groupby(["policy", "set"], sort=False)
    for (policy, name), each in grouped:
        by_way = {row["way"]: row for row in each.to_dict("records")}
        greedy = percent(next(iter(by_way.values()))["other"])
        shown = [_gain(by_way[way]) if way in by_way else "–" for way in WAYS]
        rows.append((f"{policy}: {title(name)}", greedy, *shown))
    n, alpha = run.profile.sample.candidates, run.profile.claims.alpha
    return table(["policy: problems", "greedy", f"Best-of-{n}", "guided"], rows, numbers=(1, 2, 3)) + (
        "\nBelow each share stands its gain over greedy decoding in points, with the 95 % interval. The policy's own "
        "reward model chooses and guides; Best-of-N is the mean over its trainings. *Not tested*: the trigger that was "
        "best on validation problems is so low that the reward model changes no token. "
        f"{' '.join(_whole(gains, way, alpha) for way in WAYS)}\n"
    )


def _whole(gains: pd.DataFrame, way: str, alpha: float) -> str:
    """One sentence for all policies and sets: where one way is better than greedy decoding, by the test."""
    rows = gains.loc[gains["way"] == way]
    shown, better = rows[HOLM] < alpha, rows["difference"] > 0
    groups = {
        "is better than greedy decoding for": shown & better,
        "is worse than greedy decoding for": shown & ~better,
        "cannot be told from greedy decoding for": ~shown & rows["p"].notna(),
        "is not tested for": rows["p"].isna(),
    }
    said = [
        f"{verb} {', '.join(f'{p} on {title(name)}' for p, name in rows.loc[which, ['policy', 'set']].to_numpy())}"
        for verb, which in groups.items()
        if which.any()
    ]
    by = f"By the paired test (p corrected as in {CHAPTERS[way]}, α = {alpha:g})"
    return f"{by}, {WAYS[way]} {'; '.join(said)}." if said else ""


def _gain(row: Mapping[Any, Any]) -> str:
    """A share, and on a line of its own its difference to the other one, with the interval."""
    if np.isnan(row["p"]):
        return f"{percent(row['this'])}\nnot\N{NO-BREAK SPACE}tested"
    gain = f"{points(row['difference'])} ({interval(row['low'], row['high'])})".replace(" ", "\N{NO-BREAK SPACE}")
    return f"{percent(row['this'])}\n{gain}"


def picture(run: Run) -> str:
    """The picture of the pipeline, as raw HTML. The fence is longer than any that a solution may contain."""
    return f"``````{{raw}} html\n{figure(story(run))}``````\n"


def tally(run: Run) -> str:
    """The paper's claims by verdict, as the claims chapter counted them; or that it has not been run."""
    if not run.has(names.TALLY):
        return "*The paper's claims have not been compared with this run.*\n"
    counts = run.read_json(names.TALLY)
    frame = tally_table(counts)
    rows = [(name, *row) for name, row in zip(frame.index, frame.to_numpy().tolist(), strict=True)]
    claims, composites, others = counts["claims"], sum(counts["composites"].values()), sum(counts["others"].values())
    return (
        table(["verdict", *frame.columns], rows, numbers=range(1, len(rows[0])))
        + f"\nThe ledger has {claims + composites + others} rows: {claims} claims of the paper, in the first four "
        f"columns; {composites} statements that only put together others of them; and {others} claims that are not the "
        "paper's, but of the released code and data or of this study. A level is a number by itself, such as an "
        "accuracy, which cannot be compared between the paper's models and small models on synthetic problems. "
        "*Inconclusive* means that the difference could be chance, *broken baseline* that the win is over a reward "
        "model that chooses worse than a random candidate. "
        f"{counts['own_sample_too_small']} of the paper's arrows stand for differences of so few problems that no "
        "paired test on the paper's own sample could have shown them. {doc}`../notebooks/12_claims` lists all rows.\n"
    )
