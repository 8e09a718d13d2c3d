"""Rows that people bring, as solutions for the viewer."""

import numpy as np
import pytest

from asprm.site.view_rows import solution_of, tokens_of

ROW = {
    "problem": "5 + 7?",
    "solution": "So 12",
    "confidences": [0.9, 0.2, 0.7],
    "token_ends": [2, 3, 5],
    "tau": 0.3,
    "ends": [2, 3],
    "char_ends": [3, 5],
}


def test_a_row_is_a_solution_with_what_is_known_of_its_steps():
    one = solution_of(ROW | {"labels": [1, 0], "scores": [0.75, 0.25], "correct": False}, 7)
    assert (one.title, one.problem, one.text, one.correct) == ("Line 7", "5 + 7?", "So 12", False)
    assert one.confidences.tolist() == [0.9, 0.2, 0.7]
    assert one.values == {"label": {2: 1, 3: 0}, "score": {2: 0.75, 3: 0.25}}
    assert solution_of(ROW, 1).correct is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"token_ends": None}, "'token_ends' is null"),
        ({"token_ends": [2, 3]}, "should hold 2 numbers"),
        ({"token_ends": [2, 3, 4]}, "should rise to 5"),
        ({"confidences": [0.9, 1.2, 0.7]}, "number 2 is 1.2"),
        ({"confidences": [0.9, True, 0.7]}, "number 2 is true"),
        ({"scores": [0.5]}, "'scores' should hold 2 numbers"),
        ({"labels": [0.5]}, "'labels' should hold 2 numbers"),
        ({"ends": [2]}, "'ends' should rise to 3, the number of tokens; it is \\[2\\]"),
        ({"ends": [3, 2]}, "'ends' should rise to 3"),
        ({"ends": [1, 2, 3]}, "'ends' and 'char_ends' are of different lengths"),
        ({"tau": 7}, "'tau' is 7, expected a probability, from 0 to 1"),
        ({"tau": "low"}, "'tau' is \"low\", expected a probability"),
        ({"correct": 1}, "'correct' is 1, expected true or false"),
    ],
)
def test_a_row_of_another_kind_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        solution_of(ROW | change, 1)


def test_the_threshold_is_the_first_rows_unless_one_is_given():
    rows = [{"problem": "?"}, ROW, ROW | {"tau": 0.9}]
    solutions = [solution_of(ROW, 1)]
    assert tokens_of(rows, solutions, tau=None, rollouts=4).data["tau"] == 0.3
    assert tokens_of(rows, solutions, tau=0.5, rollouts=4).data["tau"] == 0.5
    assert not tokens_of(rows, solutions, tau=0.5, rollouts=4).data["code"]
    assert tokens_of([ROW | {"test": "…"}], solutions, tau=None, rollouts=4).data["code"]
    with pytest.raises(ValueError, match="--tau"):
        tokens_of(rows[:1], solutions, tau=None, rollouts=4)


def test_labels_need_the_ends_of_their_steps():
    with pytest.raises(ValueError, match="no field 'ends'"):
        solution_of({name: value for name, value in ROW.items() if name != "ends"} | {"labels": [1, 0]}, 1)


def test_confidences_keep_their_precision():
    assert solution_of(ROW, 1).confidences.dtype == np.float64
