"""Includes about the results: the numbers of the landing page, the picture of the pipeline, the verdicts on claims."""

from collections.abc import Mapping
from typing import Any

from asprm.best_of_n import comparisons
from asprm.claims import VERDICTS
from asprm.generalize import against_greedy
from asprm.problems.load import title
from asprm.problems.sets import templates, test_sets
from asprm.results import outcomes
from asprm.results.format import interval, p_value, percent, points
from asprm.run import names
from asprm.run.manifests import manifests
from asprm.run.open import Run
from asprm.site.includes.provenance import commits
from asprm.site.includes.tables import table
from asprm.site.picture import figure
from asprm.site.story import story
from asprm.statistics import compare

RIVALS = {  # of `asprm.best_of_n.comparisons`, with their names on the page
    "single sample": "a single sample",
    "greedy": "greedy decoding",
    "majority": "majority vote",
}


def headline(run: Run) -> str:
    """The gains of Best-of-N and guided decoding on the first test set, with intervals and tests."""
    policy, n = run.policy, run.profile.sample.candidates
    first = test_sets(run.profile, run.domain)[0]
    scored = run.read(names.scores(run.prm, policy, first))
    greedy = {row["problem"]: row["correct"] for row in run.read(names.greedy_samples(policy, first)).to_pylist()}
    how = run.profile.best_of_n.aggregate
    gains = comparisons(scored, how=how, greedy=greedy, seed=run.seed).set_index("against").to_dict("index")
    rows = []
    for rival, shown in RIVALS.items():
        gain = gains[rival]
        interval_of_gain = interval(gain["low"], gain["high"])
        rows.append((shown, percent(gain["b"]), points(gain["difference"]), interval_of_gain))
    accuracy = percent(next(iter(gains.values()))["a"])
    lines = [
        f"On {len(greedy)} test problems of {title(first)}, Best-of-{n} (the reward model chooses among {n} samples, "
        f"by the {how} over the steps) is right for **{accuracy}** of the problems.\n",
        table([f"Best-of-{n} against", "accuracy", "gain in points", "95 % interval"], rows, numbers=(1, 2, 3)),
        trainings(run, first),
        guided(run, first),
        f"Profile `{run.profile.name}`, seed {run.seed}, commit {commits(manifests(run.base))}. A gain whose interval "
        "excludes 0 is unlikely to be chance. {doc}`../notebooks/07_best_of_n` and {doc}`../notebooks/08_tvd` show the "
        "details, and the other test sets.\n",
    ]
    return "\n".join(lines)


def trainings(run: Run, name: str) -> str:
    """One sentence on the other trainings of the reward model, if there are any."""
    accuracy = outcomes.best_of_n(run, run.prm, run.policy, name).values.mean(1)  # (R,)
    if len(accuracy) == 1:
        return ""
    return (
        f"This is the first of {len(accuracy)} trainings, which differ only in their seed. Their accuracy is "
        f"{percent(accuracy.min())} to {percent(accuracy.max())}, with a mean of {percent(accuracy.mean())}.\n"
    )


def guided(run: Run, name: str) -> str:
    """Sentences on guided decoding of the test set, with the trigger that was chosen on validation problems."""
    policy, prm = run.policy, run.prm
    trigger = outcomes.chosen_trigger(run, prm, policy)
    decoded, greedy = outcomes.guided(run, prm, policy, name), outcomes.greedy(run, policy, name)
    clusters = outcomes.clusters(templates(run.profile, name) or {}, decoded.problems)
    against = compare(decoded.mean, greedy.mean.loc[list(decoded.problems)], clusters, seed=run.seed)
    counts = run.read(names.guided(prm, policy, name), ["trigger", "decisions", "tokens"]).to_pandas()
    counts = counts[counts["trigger"] == trigger].sum()
    p = p_value(against.p)
    return (
        f"Guided decoding, with a trigger of {trigger:g} chosen on validation problems, is right for "
        f"**{percent(against.a)}** of them, greedy decoding for {percent(against.b)}: a difference of "
        f"{points(against.difference)} points, 95 % interval {interval(against.low, against.high)}. It solves "
        f"{against.only_a} problems that greedy decoding does not, and fails on {against.only_b} that greedy decoding "
        f"solves ({against.test}, p {p if p.startswith('<') else f'= {p}'}, not corrected for other tests). The reward "
        f"model decided {percent(counts['decisions'] / counts['tokens'])} of the tokens.\n"
    )


def overview(run: Run) -> str:
    """Every policy on its test sets: greedy decoding, Best-of-N and guided decoding by its own reward model."""
    results = run.read(names.RESULTS).to_pandas()
    rows = []
    for policy, source in run.profile.policies.items():
        tests = test_sets(run.profile, source.domain)
        gains = against_greedy(run, results, run.profile.prm_of(policy), tests).to_dict("records")
        for name in tests:
            by_way = {row["way"]: row for row in gains if (row["policy"], row["set"]) == (policy, name)}
            if by_way:
                greedy = percent(next(iter(by_way.values()))["other"])
                shown = [_gain(by_way[way]) if way in by_way else "–" for way in ("Best-of-N", "TVD")]
                rows.append((f"{policy}: {title(name)}", greedy, *shown))
    n = run.profile.sample.candidates
    return table(["policy: problems", "greedy", f"Best-of-{n}", "guided"], rows, numbers=(1, 2, 3)) + (
        "\nBelow each share stands its gain over greedy decoding in points, with the 95 % interval. The policy's own "
        "reward model chooses and guides; Best-of-N is the mean over its trainings. A gain of exactly 0 by guided "
        "decoding means that the best trigger on validation problems is so low that the reward model seldom or never "
        "decides.\n"
    )


def _gain(row: Mapping[Any, Any]) -> str:
    """A share, and on a line of its own its difference to the other one, with the interval."""
    gain = f"{points(row['difference'])} ({interval(row['low'], row['high'])})".replace(" ", "\N{NO-BREAK SPACE}")
    return f"{percent(row['this'])}\n{gain}"


def picture(run: Run) -> str:
    """The picture of the pipeline, as raw HTML. The fence is longer than any that a solution may contain."""
    return f"``````{{raw}} html\n{figure(story(run))}``````\n"


ASPECTS = {  # kinds of claims, with their names on the page
    "arrow": "arrows of its tables",
    "contrast": "numbers set side by side",
    "prose": "statements and figures",
    "level": "levels",
}


def tally(run: Run) -> str:
    """The paper's claims by verdict, as the claims chapter counted them; or that it has not been run."""
    if not run.has(names.TALLY):
        return "*The paper's claims have not been compared with this run.*\n"
    counts = run.read_json(names.TALLY)
    rows = [
        (f"{VERDICTS[verdict]} {verdict}", *(by_aspect[aspect] for aspect in ASPECTS))
        for verdict, by_aspect in counts["verdicts"].items()
    ]
    return (
        table(["verdict", *ASPECTS.values()], rows, numbers=range(1, 5))
        + f"\nOf {counts['claims']} claims of the paper. A level is a number by itself, such as an accuracy, which "
        "cannot be compared between the paper's models and small models on synthetic problems. *Inconclusive* means "
        "that the difference could be chance. "
        f"{counts['own_sample_too_small']} of the paper's arrows stand for differences of so few problems that no "
        "paired test on the paper's own sample could have shown them. {doc}`../notebooks/12_claims` lists all claims.\n"
    )
