"""Solutions of a run for the viewer: those that chapters 3 and 5 show. Which ones they are is a rule, said here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from asprm.models.align import Speller
from asprm.models.load import load_tokenizer
from asprm.problems.sets import problem_set
from asprm.run import names
from asprm.run.names import Method
from asprm.run.open import Run
from asprm.site.viewer import Solution, View, tokens
from asprm.threshold import tau_of

MOST = 40  # solutions on a page


def sampled(run: Run, most: int = MOST) -> View:
    """The first solution of each of the first `most` training problems of the run's policy, with the fitted threshold.

    First shown is the one with the most decision tokens.
    """
    samples = _first_of_each(run.read(names.samples(run.policy, "train")).to_pandas(), most)
    tau = run.read_json(names.threshold(run.policy))["tau"]
    solutions = _solutions(run, samples)
    doubts = [int((solution.confidences < tau).sum()) for solution in solutions]
    code = run.domain == "code"
    return tokens(solutions, tau=tau, rollouts=run.profile.rollout.rollouts, code=code, first=int(np.argmax(doubts)))


def labelled(run: Run, most: int = MOST) -> View:
    """The first labelled solution of each of the first `most` training problems, with its labels by `run.method`.

    First shown is the first whose label falls from 1 to 0 on the way, if there is one. Where steps end at decision
    tokens the threshold can be moved; a step end that has no label then shows none.
    """
    method, key = Method.parse(run.method), ["problem", "solution"]
    labels = run.read(names.labels(run.policy, method)).to_pandas()
    samples = run.read(names.samples(run.policy, "train")).to_pandas().merge(labels[key].drop_duplicates(), on=key)
    samples = _first_of_each(samples, most)
    by_solution = {
        name: dict(zip(rows["end"].tolist(), rows["label"].tolist(), strict=True)) for name, rows in labels.groupby(key)
    }
    ends = [by_solution[key] for key in zip(samples["problem"], samples["solution"], strict=True)]
    falls = [1 in by_end.values() and list(by_end.values())[-1] == 0 for by_end in ends]
    moves = method.kind == "adaptive"
    return tokens(
        _solutions(run, samples, [{"label": by_end} for by_end in ends]),
        tau=tau_of(run.read_json(names.threshold(run.policy)), method.share) if moves else None,
        ends=None if moves else [list(by_end) for by_end in ends],
        rollouts=run.profile.rollout.rollouts,
        code=run.domain == "code",
        first=int(np.argmax(falls)),
    )


def _first_of_each(samples: pd.DataFrame, most: int) -> pd.DataFrame:
    return samples.drop_duplicates("problem").head(most)


def _solutions(run: Run, samples: pd.DataFrame, values: list[Any] | None = None) -> list[Solution]:
    """Rows of a table of training samples as solutions. values: of each row, see `Solution`."""
    spell = Speller(load_tokenizer(run.policy_path()))
    prompts = {problem.id: problem.prompt for problem in problem_set(run.profile, "train", run.domain)}
    rows: Any = samples.to_dict("records")
    return [
        Solution(
            title=f"Problem {row['problem']}, solution {row['solution'] + 1}",
            problem=prompts[row["problem"]],
            text=row["text"],
            char_ends=spell(row["ids"])[1],
            confidences=np.asarray(row["confidences"], np.float32),
            correct=bool(row["correct"]),
            values=known,
        )
        for row, known in zip(rows, values or [{}] * len(rows), strict=True)
    ]
