"""Export: labelled steps in the forms that other projects read.

In both forms a step is right or wrong. It is right if its label is above the threshold: at 0, one right rollout is
enough, as for hard labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from asprm.rows.jsonl import take


def to_trl(row: Mapping[str, Any], threshold: float = 0.0) -> dict[str, Any]:
    """TRL's stepwise supervision: prompt, the steps' texts as completions, a boolean label for each.

    The completions joined are the solution, character for character, so train with an empty step separator.
    """
    steps, right = _rated(row, threshold)
    return {"prompt": take(row, "problem", str, "the problem's text"), "completions": steps, "labels": right}


def to_prm800k(row: Mapping[str, Any], threshold: float = 0.0) -> dict[str, Any]:
    """PRM800K's form (openai/prm800k): each step has one completion, rated 1 or -1.

    Steps after the first error are included, though PRM800K's own labels end there. Facts about a human labeller
    (labeler, timestamp, seconds) are null or 0.
    """
    steps, right = _rated(row, threshold)
    question = {"problem": take(row, "problem", str, "the problem's text"), "ground_truth_answer": row.get("answer")}
    rated = [
        {
            "completions": [{"text": text, "rating": 1 if good else -1, "flagged": None}],
            "human_completion": None,
            "chosen_completion": 0 if good else None,
        }
        for text, good in zip(steps, right, strict=True)
    ]
    return {
        "labeler": None,
        "timestamp": None,
        "generation": None,
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
        "question": question,
        "label": {"steps": rated, "total_time": 0, "finish_reason": "solution" if all(right) else "found_error"},
    }


def _rated(row: Mapping[str, Any], threshold: float) -> tuple[list[str], list[bool]]:
    steps = take(row, "steps", list, "the steps' texts, as `asprm split` writes them")
    labels = take(row, "labels", list, "the steps' labels, as `asprm label` writes them")
    if len(steps) != len(labels) or not steps:
        raise ValueError(f"{len(steps)} steps and {len(labels)} labels; expected one label for each step")
    return steps, [float(label) > threshold for label in labels]


FORMS: dict[str, Callable[[Mapping[str, Any], float], dict[str, Any]]] = {"trl": to_trl, "prm800k": to_prm800k}
