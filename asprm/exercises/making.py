"""Right answers of chapters 1 to 6, counted in the plainest way: from problems to trained reward models."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from itertools import pairwise, product
from pathlib import Path

import numpy as np

from asprm.policy import about
from asprm.prm import tasks_of
from asprm.problems.errors import first_error
from asprm.problems.families import scenes
from asprm.problems.scene import Scene
from asprm.problems.sets import test_sets
from asprm.problems.student import solve
from asprm.run import names
from asprm.run.open import Run
from asprm.threshold import fit_threshold


def students_who_depart(_: Run) -> float:
    """Share of 400 students who depart from the truth, at the chapter's problem."""
    problem, scene = list(scenes("minigsm", "validation", 4))[3]
    assert isinstance(scene, Scene)
    departs = [first_error(problem, solve(scene, random.Random(seed))) is not None for seed in range(400)]
    return float(np.mean(departs))


def tokens_per_weight(run: Run) -> float:
    """Tokens that the policy was trained on for each of the weights in its file."""
    from safetensors import safe_open

    path = Path(run.policy_path())
    with safe_open(path / "model.safetensors", "np") as file:
        weights = sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return about(path)["tokens"] / weights


def single_sample(_: Run) -> float:
    """The probability that three readings, each right in 60 % of cases, are all right: by all eight outcomes."""
    chances = (math.prod(0.6 if read else 0.4 for read in readings) * all(readings) for readings in _readings())
    return float(sum(chances))


def _readings() -> product:
    return product((True, False), repeat=3)


def solved_in_four(run: Run) -> float:
    """pass@4 on the first test set, by binomial coefficients."""
    outcomes = defaultdict(list)
    table = run.read(names.samples(run.policy, _first(run)), ["problem", "correct"])
    for row in table.to_pylist():
        outcomes[row["problem"]].append(row["correct"])
    failed = [math.comb(len(each) - sum(each), 4) / math.comb(len(each), 4) for each in outcomes.values()]
    return 1 - float(np.mean(failed))


def repeats(run: Run) -> float:
    """Share of training samples that repeat an earlier one."""
    counts = run.read(names.samples(run.policy, "train"), ["count"])["count"].to_pylist()
    return sum(count - 1 for count in counts) / sum(counts)


def doubt_of_wrong_ones(run: Run) -> float:
    """How likely a wrong candidate has a lower least confidence than a right one, by sorting."""
    table = run.read(names.samples(run.policy, _first(run)), ["confidences", "correct"])
    least = {True: [], False: []}
    for row in table.to_pylist():
        least[row["correct"]].append(min(row["confidences"]))
    wrong = np.sort(least[False])
    return float(np.searchsorted(wrong, least[True], side="left").mean() / len(wrong))


def decisions_at_four_percent(run: Run) -> int:
    """Training tokens below the threshold that 4 % of them precede."""
    confidences = np.sort(np.concatenate(_confidences(run)))
    tau = confidences[int(0.04 * len(confidences))]
    return int((confidences < tau).sum())


def below_one_half(run: Run) -> float:
    """Share of training tokens with a confidence below one half."""
    confidences = [value for row in _confidences(run) for value in row.tolist()]
    return sum(value < 0.5 for value in confidences) / len(confidences)


def wider_by_problem(run: Run) -> float:
    """How many times as wide the interval of tau is if it resamples problems in place of solutions."""
    confidences, widths = _confidences(run), []
    problems = run.read(names.samples(run.policy, "train"), ["problem"])["problem"].to_pylist()
    for units in (problems, list(range(len(problems)))):
        fitted = fit_threshold(confidences, units, run.profile.threshold.share)
        widths.append(fitted.high - fitted.low)
    return widths[0] / widths[1]


def steps_of_eight(run: Run) -> int:
    """Steps of the training solutions if each has eight tokens, the last one perhaps fewer."""
    return sum(math.ceil(len(row) / 8) for row in _confidences(run))


def tokens_per_step(run: Run) -> float:
    """Mean length of an adaptive step, from the confidences: every decision token but a last one ends a step."""
    tau, rows = _tau(run), _confidences(run)
    return sum(map(len, rows)) / sum(int((row[:-1] < tau).sum()) + 1 for row in rows)


def steps_of_one_token(run: Run) -> float:
    """Share of adaptive steps with one token, from the confidences."""
    tau, single, steps = _tau(run), 0, 0
    for row in _confidences(run):
        ends = [t + 1 for t in range(len(row)) if row[t] < tau or t == len(row) - 1]
        single += sum(end - start == 1 for start, end in pairwise([0, *ends]))
        steps += len(ends)
    return single / steps


def missed_by_two(_: Run) -> float:
    """The probability that two rollouts fail which come right in 30 % of cases."""
    return (1 - 0.3) * (1 - 0.3)


def rising_labels(run: Run) -> int:
    """Training solutions in which a label is higher than the one before."""
    return sum(any(b > a for a, b in pairwise(values)) for values in _labels(run))


def lost_at_the_end(run: Run) -> int:
    """Training solutions whose last two labels are 1 and 0."""
    return sum(len(values) > 1 and values[-2] == 1 and values[-1] == 0 for values in _labels(run))


def loss_when_sure(_: Run) -> float:
    """Cross-entropy of the score 0.99 where the label is 0."""
    return math.log(100)


def loss_of_the_share(run: Run) -> float:
    """Mean cross-entropy of a constant score, the share of label 1, step by step."""
    labels = [label for values in _labels(run) for label in values]
    share = sum(labels) / len(labels)
    losses = [-(label * math.log(share) + (1 - label) * math.log(1 - share)) for label in labels]
    return sum(losses) / len(losses)


def best_auc(run: Run) -> float:
    """The highest AUC of any check of any reward model that learns from the policy's labels."""
    columns = [run.read(names.training_log(task.training), ["validation_auc"]) for task in tasks_of(run)]
    values = [value for table in columns for value in table["validation_auc"].to_pylist()]
    return max(value for value in values if value is not None and not math.isnan(value))


def _first(run: Run) -> str:
    return test_sets(run.profile, run.domain)[0]


def _tau(run: Run) -> float:
    return run.read_json(names.threshold(run.policy))["tau"]


def _confidences(run: Run) -> list[np.ndarray]:
    """Of each training solution, (T,)."""
    table = run.read(names.samples(run.policy, "train"), ["confidences"])
    return [np.asarray(row.values) for row in table["confidences"]]


def _labels(run: Run) -> list[list[float]]:
    """The labels of each training solution, step by step."""
    steps: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
    for row in run.read(names.labels(run.policy, run.method)).to_pylist():
        steps[row["problem"], row["solution"]][row["step"]] = row["label"]
    return [[values[step] for step in sorted(values)] for values in steps.values()]


RIGHT = {
    "1.1": students_who_depart,
    "1.2": tokens_per_weight,
    "1.3": single_sample,
    "2.1": solved_in_four,
    "2.2": repeats,
    "2.3": doubt_of_wrong_ones,
    "3.1": decisions_at_four_percent,
    "3.2": below_one_half,
    "3.3": wider_by_problem,
    "4.1": steps_of_eight,
    "4.2": tokens_per_step,
    "4.3": steps_of_one_token,
    "5.1": missed_by_two,
    "5.2": rising_labels,
    "5.3": lost_at_the_end,
    "6.1": loss_when_sure,
    "6.2": loss_of_the_share,
    "6.3": best_auc,
}
"""The right answer of each exercise, as a function of the run."""
