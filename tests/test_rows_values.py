"""What a row says about itself: each field has its kind, or the row is refused by a message that names the field."""

import math

import numpy as np
import pytest

from asprm.rows.values import answer_in, finished_in, labels_in, step_texts, steps_in, template_in, whole_numbers

NAN = float("nan")
WORKED = "Ann has 3 boxes of 6 pens each, and so she has altogether 3 times 6 pens, which are 18 of them in all"


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("18", "18"),
        (18, "18"),
        (18.0, "18"),
        (0.5, "0.5"),
        (1e22, "1" + "0" * 22),
        (1e-7, "0.0000001"),
        ("#### 18", "18"),
        ("The answer is: 18", "18"),
        ("\\boxed{18}", "18"),
        ("3 * 6 = <<3*6=18>>18\n#### 18", "18"),
        (WORKED + ".\nThe answer is: 18", "18"),
        ("\\frac{1}{2}", "\\frac{1}{2}"),
        ("\\text{no real solutions}", "\\text{no real solutions}"),
    ],
)
def test_the_true_answer_stands_alone_or_behind_a_marker(answer, gold):
    assert answer_in({"answer": answer}) == gold


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("", "'answer' is empty"),
        (" \n", "'answer' is empty"),
        (NAN, "'answer' is NaN, expected the true answer"),
        (math.inf, "'answer' is Infinity"),
        ("nan", "a missing value"),
        (" NaN ", "a missing value"),
        ("<NA>", "a missing value"),
        (None, "'answer' is null"),
        (True, "'answer' is true"),
        (["18"], "'answer' is \\[\"18\"\\]"),
        ({"value": 18}, "'answer' is {"),
        ("1\ud83d", "half a character"),
        (WORKED, "states no answer; expected the answer alone, or a solution that ends in '#### 18'"),
    ],
)
def test_an_answer_that_no_solution_could_have_is_refused(answer, words):
    with pytest.raises(ValueError, match=words):
        answer_in({"answer": answer})


def test_a_solution_is_finished_unless_the_row_says_that_it_is_not():
    assert [finished_in(row) for row in ({}, {"finished": True}, {"finished": False})] == [True, True, False]


@pytest.mark.parametrize("value", ["false", "true", "no", "", 0, 1, 0.0, None, [], NAN])
def test_finished_is_true_or_false_and_nothing_else(value):
    with pytest.raises(ValueError, match=r"'finished' is .*, expected true or false"):
        finished_in({"finished": value})


def test_a_row_may_have_a_template():
    assert template_in({}) is None
    assert template_in({"template": "Q: {problem}"}) == "Q: {problem}"


@pytest.mark.parametrize(
    "value", [5, {}, [], None, False, "", "Question:", "{problem", "{ problem }", "{problem}\ud83d"]
)
def test_a_template_is_a_text_with_the_place_of_the_problem(value):
    with pytest.raises(ValueError, match=r"'template' (is|holds)"):
        template_in({"template": value})


@pytest.mark.parametrize("value", [[None], {}, None, "1", 3, [1.0], [1.5], [True], ["1"], [-1], [2**31], [[1]], [NAN]])
def test_ids_and_ends_are_lists_of_whole_numbers(value):
    with pytest.raises(ValueError, match=r"'ids' (is|should hold)"):
        whole_numbers({"ids": value}, "ids", "token ids")


def test_whole_numbers_are_read_as_they_are():
    assert whole_numbers({"ids": [0, 2**31 - 1]}, "ids", "token ids").tolist() == [0, 2**31 - 1]
    assert whole_numbers({"ids": []}, "ids", "token ids").tolist() == []


def test_labels_are_probabilities():
    assert labels_in({"labels": [1, 0.5, 0]}, 3).tolist() == [1, 0.5, 0]
    assert labels_in({"labels": [True, False]}, 2).tolist() == [1, 0]
    assert labels_in({"labels": [0.1]}, 1).dtype == np.float32


@pytest.mark.parametrize(
    "value", [[None, 1], {}, None, [NAN, 1], [-100, 1], [1, 2], ["1", "0"], [[1], [0]], [1], [1, 1, 1], 1, "10"]
)
def test_other_labels_are_refused(value):
    with pytest.raises(ValueError, match=r"'labels' should hold 2 numbers in \[0, 1\], one for each step"):
        labels_in({"labels": value}, 2)
    with pytest.raises(ValueError, match="no field 'labels'; label the steps first"):
        labels_in({}, 2)


ROW = {"solution": "2 + 3 = 5", "steps": ["2 + 3", " = 5"], "char_ends": [5, 9]}


def test_steps_join_to_the_solution_and_end_where_they_say():
    assert step_texts(ROW) == ROW["steps"]
    assert step_texts({"steps": ["a", ""]}) == ["a", ""]
    text, ends = steps_in(ROW)
    assert (text, ends.tolist()) == ("2 + 3 = 5", [5, 9])
    assert steps_in({"solution": "a", "char_ends": [0, 1, 1]})[1].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"steps": ["2 + 3", 5]},
        {"steps": ["2 + 3", None]},
        {"steps": "2 + 3 = 5"},
        {"steps": {"0": "2 + 3 = 5"}},
        {"steps": None},
        {"steps": ["2 + 3", "= 5"]},
        {"steps": ["2 + 3 =", " 5"]},
        {"steps": ["2 + 3 = 5"]},
        {"steps": []},
        {"steps": ["2 + 3", " = 5", ""]},
        {"solution": "2 + 3 = 6"},
    ],
)
def test_other_steps_are_refused(change):
    for read in (step_texts, steps_in):
        with pytest.raises(ValueError, match=r"steps"):
            read(ROW | change)
