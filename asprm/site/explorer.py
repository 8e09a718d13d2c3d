"""Explorer: some problems of Best-of-N with all their candidates, what each way of choosing takes, and who is right.

The choices and their verdicts are computed here, by the functions of the stage; the page only shows them. It gets
scores as they are: rounded twice, a score could differ in its last digit from the same one elsewhere.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from asprm.best_of_n import answers, own_steps
from asprm.problems.sets import problem_set
from asprm.results import selection
from asprm.results.candidates import Candidates, candidates
from asprm.reward.aggregates import AGGREGATES
from asprm.run import names
from asprm.run.open import Run
from asprm.site.viewer import View, as_html
from asprm.split import cut

MOST = 256  # candidates on a page
_SHORT = 24  # characters of an answer that is shown itself
_LOWEST = -99.0  # shown in place of the score of a candidate that was cut off


def explorer(run: Run, name: str, table: pd.DataFrame, how: str, most: int = MOST) -> View:
    """Problems of the set `name` on which a choice matters: some candidates are right and some are wrong.

    They are the first ones of the set, as many as have `most` candidates together. The one that is shown first is the
    first on which the score does better than the vote. If there are no such problems, the first ones of the set.

    table: candidates with their step scores by `run.prm`, as `asprm.best_of_n.rated` gives them.
    how: the aggregate at the beginning.
    """
    share: Any = table.groupby("problem", sort=False)["correct"].mean()
    mixed = share[(share > 0) & (share < 1)]
    number = max(1, most // int(table.groupby("problem").size().iloc[0]))
    keys = list((mixed if len(mixed) else share).index[:number])
    part = table.loc[table["problem"].isin(keys)]
    c, prompts = candidates(part), {problem.id: problem.prompt for problem in problem_set(run.profile, name)}
    steps = _steps(run, name, part)
    problems = [_problem(c, p, prompts[problem], steps[problem]) for p, problem in enumerate(c.problems)]
    ways = [problem["ways"] for problem in problems]
    first = next((p for p, way in enumerate(ways) if way[how]["right"] > way["vote"]["right"]), 0)
    shown = answers(part, c.problems[first], how).to_html(index=False, float_format="{:.3f}".format)
    data = {
        "how": how,
        "aggregates": list(AGGREGATES),
        "names": {way: f"highest {way} of step scores" for way in AGGREGATES} | _OTHERS,
        "code": run.domain == "code",
        "first": first,
        "problems": problems,
    }
    plain = f'<p class="problem">{as_html(prompts[c.problems[first]])}</p>{shown}'
    return View("candidates", data, plain, f"candidates of {len(problems)} problems")


_OTHERS = {"vote": "majority vote", "fewest": "fewest steps"}


def _steps(run: Run, name: str, part: pd.DataFrame) -> dict[str, list[list[str]]]:
    """The texts of the rated steps of each candidate, by problem, in the order of `part`'s solutions."""
    samples = run.read(names.samples(run.policy, name))
    shown = pc.field("problem").isin(part["problem"].unique().tolist())
    chosen = samples.filter(shown)
    chosen = chosen.sort_by([("problem", "ascending"), ("solution", "ascending")])
    ends = own_steps(run, run.prm, chosen)["char_ends"].to_pylist()
    texts: dict[str, list[list[str]]] = {}
    for problem, text, char_ends in zip(chosen["problem"].to_pylist(), chosen["text"].to_pylist(), ends, strict=True):
        texts.setdefault(problem, []).append(cut(text, char_ends))
    return texts


def _problem(c: Candidates, p: int, prompt: str, steps: list[list[str]]) -> dict[str, Any]:
    size, first = c.correct.shape[1], p * c.correct.shape[1]
    bounds = np.cumsum([0, *c.counts])
    step_scores = [c.steps[bounds[i] : bounds[i + 1]] for i in range(first, first + size)]
    votes = Counter(answer for answer in c.answers[p] if answer is not None)
    by_how = {how: c.scores(how)[p] for how in AGGREGATES}
    ways = {
        how: {"right": _share(selection.best_of_n(scores, c.correct[p], size)), "chosen": _best(scores)}
        for how, scores in by_how.items()
    }
    most = max(votes.values(), default=0)
    ways["vote"] = {
        "right": _share(selection.majority_vote([c.answers[p]], c.correct[p : p + 1], size)[0]),
        "chosen": [i for i, answer in enumerate(c.answers[p]) if answer is not None and votes[answer] == most],
    }
    ways["fewest"] = {
        "right": _share(selection.best_of_n(c.fewest[p], c.correct[p], size)),
        "chosen": _best(c.fewest[p]),
    }
    labels = {answer: _label(answer, k) for k, (answer, _) in enumerate(votes.most_common(), 1)}
    rows = [
        {
            "steps": steps[i],
            "scores": [float(score) for score in step_scores[i]],
            "aggregates": {how: _shown(c, p, i, scores) for how, scores in by_how.items()},
            "answer": labels.get(answer) if answer is not None else None,
            "votes": votes[answer] if answer is not None else 0,
            "correct": bool(c.correct[p, i]),
            "finished": bool(c.finished[p, i]),
        }
        for i, answer in enumerate(c.answers[p])
    ]
    return {"title": f"Problem {c.problems[p]}", "problem": prompt, "ways": ways, "candidates": rows}


def _shown(c: Candidates, p: int, i: int, scores: np.ndarray) -> float:
    return float(scores[i]) if c.finished[p, i] else _LOWEST


def _best(scores: np.ndarray) -> list[int]:
    return np.flatnonzero(scores == scores.max()).tolist()


def _share(right: Any) -> float:
    return round(float(right), 6)


def _label(answer: str, number: int) -> str:
    """An answer as a table shows it: programs and long answers by their number, the most frequent one first."""
    return answer if len(answer) <= _SHORT and "\n" not in answer else f"answer {number}"
