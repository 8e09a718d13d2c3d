"""Export: labelled steps in the forms that other projects read.

In both forms a step is right or wrong. It is right if its label is above the threshold: at 0, one right rollout is
enough, as for hard labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from asprm.rows.values import answer_in, labels_in, step_texts, take_problem


def to_trl(row: Mapping[str, Any], threshold: float = 0.0) -> dict[str, Any]:
    """TRL's stepwise supervision: prompt, the steps' texts as completions, a boolean label for each.

    The completions joined are the solution, character for character, so train with an empty step separator.
    """
    steps, right = _rated(row, threshold)
    return {"prompt": take_problem(row), "completions": steps, "labels": right}


def to_prm800k(row: Mapping[str, Any], threshold: float = 0.0) -> dict[str, Any]:
    """PRM800K's form (openai/prm800k): each step has one completion, rated 1 or -1.

    Steps after the first error are included, though PRM800K's own labels end there. Facts about a human labeller
    (labeler, timestamp, seconds) are null or 0.
    """
    steps, right = _rated(row, threshold)
    answer = answer_in(row) if row.get("answer") is not None else None
    question = {"problem": take_problem(row), "ground_truth_answer": answer}
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
    steps = step_texts(row)
    if not steps:
        raise ValueError("it has no steps")
    labels_in(row, len(steps))  # its numbers are rounded to float32, which a threshold may notice
    return steps, [label > threshold for label in row["labels"]]


FORMS: dict[str, Callable[[Mapping[str, Any], float], dict[str, Any]]] = {"trl": to_trl, "prm800k": to_prm800k}
