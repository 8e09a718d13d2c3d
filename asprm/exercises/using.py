"""Right answers of chapters 7 to 13, counted in the plainest way: reward models in use, and what comes of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import combinations
from typing import Any

import numpy as np

from asprm.grading.math import one_spelling
from asprm.problems.sets import test_sets
from asprm.results.outcomes import LINE_BREAK, OWN
from asprm.run import names
from asprm.run.open import Run


def best_of_four(run: Run) -> float:
    """Accuracy of the best-scored of four candidates on the first test set, over all subsets of four."""
    return float(np.mean([_best_of(rows, 4) for rows in _candidates(run).values()]))


def _best_of(rows: list[dict[str, Any]], n: int) -> float:
    """The mean over all subsets of n candidates of whether the best-scored one is right, ties shared."""
    scores = [min(row["scores"]) if row["finished"] else -1.0 for row in rows]
    outcomes = []
    for subset in combinations(range(len(rows)), n):
        highest = max(scores[i] for i in subset)
        best = [rows[i]["correct"] for i in subset if scores[i] == highest]
        outcomes.append(sum(best) / len(best))
    return float(np.mean(outcomes))


def beyond_choosing(run: Run) -> int:
    """Problems of the first test set without a right candidate."""
    return sum(not any(row["correct"] for row in rows) for rows in _candidates(run).values())


def lost_by_the_vote(run: Run) -> int:
    """Problems on which every most frequent answer is wrong, although some candidate is right."""
    return sum(_vote_fails(rows) and any(row["correct"] for row in rows) for rows in _candidates(run).values())


def _vote_fails(rows: list[dict[str, Any]]) -> bool:
    spelled = one_spelling([row["answer"] if row["finished"] else None for row in rows])
    votes = Counter(answer for answer in spelled if answer is not None)
    most = max(votes.values(), default=0)
    right = {answer for answer, row in zip(spelled, rows, strict=True) if row["correct"]}
    return not any(votes[answer] == most and answer in right for answer in votes)


def stepped_in(run: Run) -> float:
    """Share of the validation tokens at which the reward model stepped in, at the highest trigger."""
    rows = _highest_trigger(run)
    return sum(row["decisions"] for row in rows) / sum(row["tokens"] for row in rows)


def overruled(run: Run) -> float:
    """Share of these decisions that changed the token."""
    rows = _highest_trigger(run)
    return sum(row["changed"] for row in rows) / sum(row["decisions"] for row in rows)


def fewest_wins(_: Run) -> int:
    """The fewest problems that, all won by one side, have a two-sided binomial p below .05."""
    from scipy.stats import binomtest

    won = 1
    while binomtest(0, won).pvalue >= 0.05:
        won += 1
    return won


def rated_at_line_breaks(run: Run) -> float:
    """Best-of-N of the run's reward model on the first test set, rated at line breaks."""
    wanted = {"prm": run.prm, "policy": run.policy, "set": _first(run), "position": LINE_BREAK}
    [accuracy] = [row["bon"] for row in run.read(names.RESULTS).to_pylist() if wanted.items() <= row.items()]
    return accuracy


def spread_of_trainings(run: Run) -> float:
    """The largest distance between the best and the worst training of one reward model, at its own steps."""
    return max(row["best"] - row["worst"] for row in _results(run))


def gain_on_longer_problems(run: Run) -> float:
    """What Best-of-N gains over greedy decoding on the last test set, less what it gains on the first."""
    mine = (row for row in _results(run) if row["prm"] == run.prm and row["policy"] == run.policy)
    gain = {row["set"]: row["bon"] - row["greedy"] for row in mine}
    tests = test_sets(run.profile, run.domain)
    return gain[tests[-1]] - gain[tests[0]]


def three_types(run: Run) -> float:
    """Share of the decision tokens in the three types that have most of them, from the counts."""
    counts = sorted((row["decision_tokens"] for row in _types(run)), reverse=True)
    return sum(counts[:3]) / sum(counts)


def most_doubted_type(run: Run) -> float:
    """The largest ratio of a type's shares of decision tokens and of all tokens, from the counts."""
    rows = _types(run)
    tokens, decisions = (sum(row[name] for row in rows) for name in ("tokens", "decision_tokens"))
    return max((row["decision_tokens"] / decisions) / (row["tokens"] / tokens) for row in rows if row["tokens"])


def early_decisions(run: Run) -> float:
    """Share of the decision tokens in the first half of their solution."""
    tau, early, every = run.read_json(names.threshold(run.policy))["tau"], 0, 0
    for row in run.read(names.samples(run.policy, "train"), ["confidences"])["confidences"].to_pylist():
        places = [place for place, confidence in enumerate(row) if confidence < tau]
        early += sum(2 * place < len(row) for place in places)
        every += len(places)
    return early / every


def missed_with_two(run: Run) -> float:
    """Share of true steps of the adaptive split that two rollouts miss."""
    rows = run.read(names.truth(run.policy, "labels")).to_pylist()
    [missed] = [row["missed"] for row in rows if row["split"] == "adaptive" and row["J"] == 2]
    return missed


def best_f1(run: Run) -> float:
    """F1 of the best finder of first errors, as the table holds it."""
    return run.read(names.truth(run.policy, "first-error"))["f1"][0].as_py()


def net_interventions(run: Run) -> int:
    """Problems that guided decoding first put right, less those that it first led astray."""
    rows = run.read(names.truth(run.policy, "interventions")).to_pylist()
    signs = {"put right": 1, "led astray": -1}
    return sum(signs.get(row["kind"], 0) * row["problems"] for row in rows)


def gain_of_gsm8k(_: Run) -> float:
    """The smallest significant difference on 1319 problems of which a tenth differ, by the binomial test."""
    from scipy.stats import binomtest

    pairs = round(131.9)
    most = max(lost for lost in range(pairs // 2) if binomtest(lost, pairs).pvalue < 0.05)
    return (pairs - 2 * most) / 1319


def undecided_agreements(run: Run) -> int:
    """Inconclusive arrows whose difference has the paper's direction."""
    rows = run.read(names.LEDGER).to_pylist()
    signs = {"up": 1, "down": -1}
    undecided = (row for row in rows if row["aspect"] == "arrow" and row["verdict"] == "inconclusive")
    return sum(signs.get(row["direction"], 0) * row["here"] > 0 for row in undecided)


def saving_in_tokens(run: Run) -> float:
    """The share of tokens that the run's own labels cost less than those of the first baseline."""
    tokens = {row["prm"]: row["tokens"] for row in run.read(names.COSTS).to_pylist()}
    rival = tokens[run.profile.of_role("baseline")[0]]
    return (rival - tokens[run.prm]) / rival


def halves(run: Run) -> float:
    """The rollouts of the binary search for each one that all labels take."""
    rows = {row["way"]: row["rollouts"] for row in run.read(names.rivals(run.policy, "labels")).to_pylist()}
    return rows["binary search"] / rows["all rollouts"]


def off_the_frontier(run: Run) -> int:
    """Ways than which another one costs less, or comes first at the same cost, and solves as much."""
    rows = run.read(names.rivals(run.policy, "search")).to_pylist()
    return sum(any(other["right"] >= row["right"] for other in rows[:i]) for i, row in enumerate(rows))


def doubted_cliffs(run: Run) -> int:
    """Cliffs at which the policy's confidence was low."""
    return sum(
        row["cliff"] and row["low confidence"] for row in run.read(names.rivals(run.policy, "drops")).to_pylist()
    )


def _first(run: Run) -> str:
    return test_sets(run.profile, run.domain)[0]


def _candidates(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Rows of scored candidates of the first test set, by problem."""
    rows = defaultdict(list)
    for row in run.read(names.scores(run.prm, run.policy, _first(run))).to_pylist():
        rows[row["problem"]].append(row)
    return rows


def _highest_trigger(run: Run) -> list[dict[str, Any]]:
    rows = run.read(names.guided(run.prm, run.policy, "validation")).to_pylist()
    highest = max(row["trigger"] for row in rows)
    return [row for row in rows if row["trigger"] == highest]


def _results(run: Run) -> list[dict[str, Any]]:
    """Rows of the results of reward models that rate at their own steps."""
    return [row for row in run.read(names.RESULTS).to_pylist() if row["position"] == OWN]


def _types(run: Run) -> list[dict[str, Any]]:
    return run.read(names.token_types(run.policy)).to_pylist()


RIGHT = {
    "7.1": best_of_four,
    "7.2": beyond_choosing,
    "7.3": lost_by_the_vote,
    "8.1": stepped_in,
    "8.2": overruled,
    "8.3": fewest_wins,
    "9.1": rated_at_line_breaks,
    "9.2": spread_of_trainings,
    "9.3": gain_on_longer_problems,
    "10.1": three_types,
    "10.2": most_doubted_type,
    "10.3": early_decisions,
    "11.1": missed_with_two,
    "11.2": best_f1,
    "11.3": net_interventions,
    "12.1": gain_of_gsm8k,
    "12.2": undecided_agreements,
    "12.3": saving_in_tokens,
    "13.1": halves,
    "13.2": off_the_frontier,
    "13.3": doubted_cliffs,
}
"""The right answer of each exercise, as a function of the run."""
