"""Includes about the results: the landing page's numbers, the pipeline's picture, and how many of the paper's claims
got which verdict.
"""

import json
from collections.abc import Mapping

from asprm.best_of_n import comparisons
from asprm.claims import VERDICTS
from asprm.generalize import against_greedy
from asprm.problems.load import title
from asprm.problems.sets import templates, test_sets
from asprm.results.outcomes import best_of_n
from asprm.run.open import Run
from asprm.site.includes.provenance import commits, manifests
from asprm.site.includes.tables import interval, p_value, percent, points, table
from asprm.site.picture import figure
from asprm.site.story import story
from asprm.statistics import compare

RIVALS = {
    "single sample": "a single sample",
    "greedy": "greedy decoding",
    "majority": "majority vote",
}


def headline(run: Run) -> str:
    """What Best-of-N and guided decoding gain on the first test set, with intervals and tests."""
    policy, prm, n = run.policy, run.prm, run.profile.sample.candidates
    first = test_sets(run.profile, run.domain)[0]
    scored = run.read(f"best_of_n/{prm}/{policy}-{first}")
    greedy = {row["problem"]: row["correct"] for row in run.read(f"sample/{policy}/{first}-greedy").to_pylist()}
    how = run.profile.best_of_n.aggregate
    gains = comparisons(scored, how=how, greedy=greedy, seed=run.seed).set_index("against")
    chosen = gains.iloc[0]["a"]
    lines = [
        f"On {len(greedy)} test problems of {title(first)}, choosing among {n} samples by the reward model "
        f"(Best-of-{n}, {how} over the steps) is right for **{percent(chosen)}** of the problems.\n",
        table(
            [f"Best-of-{n} against", "accuracy", "gain in points", "95 % interval"],
            [
                (shown, percent(row["b"]), points(row["difference"]), interval(row["low"], row["high"]))
                for row, shown in ((gains.loc[name], shown) for name, shown in RIVALS.items())
            ],
            numbers=(1, 2, 3),
        ),
        trainings(run, first),
        guided(run, first),
        f"Profile `{run.profile.name}`, seed {run.seed}, commit {commits(manifests(run))}. A gain whose interval "
        "excludes 0 is unlikely to be chance. {doc}`../notebooks/07_best_of_n` and {doc}`../notebooks/08_tvd` show all "
        "of it, for the other test sets too.\n",
    ]
    return "\n".join(lines)


def trainings(run: Run, name: str) -> str:
    """One sentence on the other trainings of the reward model, where there are any."""
    found = best_of_n(run, run.prm, run.policy, name).values.mean(1)
    if len(found) == 1:
        return ""
    return (
        f"That is by the first of {len(found)} trainings, which differ in their seed; they give {percent(found.min())} "
        f"to {percent(found.max())}, {percent(found.mean())} in the mean.\n"
    )


def guided(run: Run, name: str) -> str:
    """One sentence on guided decoding: the trigger chosen on validation problems, used once on the test problems."""
    folder = f"tvd/{run.prm}/{run.policy}"
    trigger = run.read_json(folder)["trigger"]
    test = run.read(f"{folder}-{name}").to_pandas()
    test = test[test["trigger"] == trigger].set_index("problem")
    greedy = run.read(f"sample/{run.policy}/{name}-greedy").to_pandas().set_index("problem")["correct"]
    over = templates(run.profile, name)
    groups = over and [over[problem] for problem in test.index]
    against = compare(test["correct"], greedy.loc[test.index], groups, seed=run.seed)
    return (
        f"Guided decoding, with its trigger of {trigger:g} chosen on validation problems, is right for "
        f"**{percent(against.a)}** of them, against {percent(against.b)} for greedy decoding: "
        f"{points(against.difference)} points, 95 % interval {interval(against.low, against.high)}. It solves "
        f"{against.only_a} problems that greedy decoding does not, and fails on {against.only_b} that greedy decoding "
        f"solves ({against.test}, p {p_value(against.p)} before correction for other tests). It stepped in at "
        f"{percent(test['decisions'].sum() / test['tokens'].sum())} of the tokens.\n"
    )


def overview(run: Run) -> str:
    """Every policy on its test sets: greedy decoding, and Best-of-N and guided decoding by its own reward model."""
    found = run.read("generalize/results").to_pandas()
    rows = []
    for policy, about in run.profile.policies.items():
        gains = against_greedy(run, found, f"ASPRM-{policy}", test_sets(run.profile, about.domain))
        for name, ways in gains[gains["policy"] == policy].groupby("set", sort=False) if len(gains) else ():
            by_way = ways.set_index("way")
            gained = [_gain(by_way.loc[way]) if way in by_way.index else "–" for way in ("Best-of-N", "TVD")]
            rows.append((f"{policy}: {title(name)}", percent(ways["other"].iloc[0]), *gained))
    n = run.profile.sample.candidates
    return table(["policy: problems", "greedy", f"Best-of-{n}", "guided"], rows, numbers=(1, 2, 3)) + (
        "\nBelow each share its gain over greedy decoding in points, with its 95 % interval. The policy's own reward "
        "model chooses and guides; Best-of-N is the mean over its trainings. Where guided decoding gains exactly "
        "nothing, the trigger that was best on validation problems is so low that it seldom or never stepped in.\n"
    )


def _gain(row: Mapping[str, float]) -> str:
    """A share and, in a line of its own, by how much it is above the other, with the interval."""
    gain = f"{points(row['difference'])} ({interval(row['low'], row['high'])})".replace(" ", "\N{NO-BREAK SPACE}")
    return f"{percent(row['this'])}\n{gain}"


def picture(run: Run) -> str:
    """The pipeline on solutions of this run. Raw, in a fence that no solution contains."""
    return f"``````{{raw}} html\n{figure(story(run))}``````\n"


ASPECTS = {
    "arrow": "arrows of its tables",
    "contrast": "numbers set side by side",
    "prose": "statements and figures",
    "level": "levels",
}


def tally(run: Run) -> str:
    """How many of the paper's claims got which verdict, from the claims chapter; or that it was not run."""
    file = run.base / "claims" / "tally.json"
    if not file.is_file():
        return "*The paper's claims have not been held against this run.*\n"
    counts = json.loads(file.read_text())
    rows = [
        (f"{VERDICTS[verdict]} {verdict}", *(by[aspect] for aspect in ASPECTS))
        for verdict, by in counts["verdicts"].items()
    ]
    return (
        table(["verdict", *ASPECTS.values()], rows, numbers=range(1, 5))
        + f"\nOf {counts['claims']} claims of the paper. A level is a number by itself, such as an accuracy, which "
        "small models on synthetic problems can neither reach nor miss. *Inconclusive* means that the difference could "
        f"be chance. Of the paper's own arrows, {counts['own_sample_too_small']} mark differences of so few problems "
        "that no paired test on its own sample could have shown them. {doc}`../notebooks/12_claims` has every one.\n"
    )
