"""Walks: guided decodings beside greedy ones, decision by decision, with what came of them: successes and failures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from asprm.engines.guided import Guided
from asprm.figures.base import Fragment
from asprm.grading.grade import grade
from asprm.models.align import Speller
from asprm.models.load import load_tokenizer
from asprm.problems.load import title
from asprm.problems.problem import Problem
from asprm.problems.sets import problem_set
from asprm.run import names
from asprm.run.open import Run
from asprm.site.viewer import View, as_html
from asprm.split import cut
from asprm.tvd import at_trigger, decode_again

EACH = 10  # problems of each outcome
OUTCOMES = {  # by whether the guided and the greedy solution are right
    (True, False): "only guided right",
    (False, True): "only greedy right",
    (True, True): "both right",
    (False, False): "both wrong",
}


def walks(run: Run, name: str, trigger: float, each: int = EACH) -> View | Fragment:
    """Problems of the set `name`, decoded under guidance by `run.prm`, beside greedy decoding.

    For each outcome the first `each` problems of the set at which the reward model stepped in, those that only one of
    the two solves first. They are decoded once more, for the tables keep no candidates; the counts are of all problems.
    A sentence instead if the reward model never stepped in, or where only the tables of a run came with the project.
    """
    if run.shipped_tables:
        return Fragment("<p>This takes the reward model's weights, which do not come with the project.</p>")
    frame = at_trigger(run.read(names.guided(run.prm, run.policy, name)).to_pandas(), trigger).copy()
    greedy = run.read(names.greedy_samples(run.policy, name)).to_pandas().set_index("problem")
    right: Any = zip(frame["correct"], greedy.loc[frame["problem"], "correct"], strict=True)
    frame["outcome"] = [OUTCOMES[bool(guided), bool(other)] for guided, other in right]
    counts = {outcome: list(frame["outcome"]).count(outcome) for outcome in OUTCOMES.values()}
    asked = frame.loc[frame["decisions"] > 0]
    chosen = pd.concat([asked.loc[asked["outcome"] == outcome].head(each) for outcome in OUTCOMES.values()])
    if chosen.empty:
        return Fragment(f"<p>The reward model never stepped in on {title(name)} at the trigger {trigger:g}.</p>")
    problems = {problem.id: problem for problem in problem_set(run.profile, name)}
    decoded = decode_again(run, [problems[problem] for problem in chosen["problem"]], trigger)
    spell = Speller(load_tokenizer(run.policy_path()))
    rows: Any = chosen.to_dict("records")
    shown = [
        _walk(problems[row["problem"]], row, decoded[row["problem"]], greedy.loc[row["problem"]], spell) for row in rows
    ]
    first = shown[0]
    plain = (
        f'<p class="problem">{as_html(first["problem"])}</p>'
        f'<p>Greedy:</p><p class="text">{as_html(first["greedy"]["text"])}</p>'
        f'<p>Guided ({first["outcome"]}):</p><p class="text">{as_html("".join(first["tokens"]))}</p>'
    )
    data = {"trigger": trigger, "counts": counts, "code": run.domain == "code", "problems": shown}
    return View("walks", data, plain, f"{len(shown)} guided decodings at the trigger {trigger:g}")


def _walk(problem: Problem, row: Any, guided: Guided, greedy: Any, spell: Speller) -> dict[str, Any]:
    """One problem. row: of the table of guided decodings; its verdict counts for the same text. greedy: its sample."""
    text, char_ends = spell(guided.ids)
    correct = row["correct"] if text == row["text"] else guided.finished and grade(problem, text).correct
    return {
        "title": f"Problem {problem.id}",
        "problem": problem.prompt,
        "outcome": OUTCOMES[bool(correct), bool(greedy["correct"])],
        "correct": bool(correct),
        "greedy": {"text": greedy["text"], "correct": bool(greedy["correct"])},
        "tokens": cut(text, char_ends),
        "confidences": [float(confidence) for confidence in guided.confidences],
        "decisions": [_decision(guided, number, spell) for number in range(len(guided.decisions))],
    }


def _decision(guided: Guided, number: int, spell: Speller) -> dict[str, Any]:
    at = int(guided.decisions[number])
    before, _ = spell(guided.ids[:at])
    candidates = zip(guided.candidates[number], guided.probabilities[number], guided.scores[number], strict=True)
    return {
        "at": at,
        "candidates": [
            {
                "token": spell(np.append(guided.ids[:at], token))[0].removeprefix(before),
                "probability": float(probability),
                "score": float(score),
                "written": bool(token == guided.ids[at]),
            }
            for token, probability, score in candidates
        ],
    }
