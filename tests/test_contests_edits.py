"""Edits of a right solution: one number or the opening words of one line, nothing else."""

import random

import pytest

from asprm.contests.edits import OPENINGS, edit_line
from asprm.problems.errors import first_error
from asprm.problems.families import family_problem

TEXT = "We see that Ann has 5 + 3 = 8 pens.\nTherefore Ann has 8 * 2 = 16 pens.\nThe answer is: \\boxed{16}"


def test_one_line_differs_in_its_result_or_in_its_opening():
    pair = edit_line(TEXT, random.Random(0))
    before, number, words = (one.text.split("\n") for one in (pair.original, pair.number, pair.words))
    assert "\n".join(before) == TEXT
    [at] = [i for i, (a, b) in enumerate(zip(before, number, strict=True)) if a != b]
    assert [i for i, (a, b) in enumerate(zip(before, words, strict=True)) if a != b] == [at]
    assert before[at].partition(" = ")[0] == number[at].partition(" = ")[0]
    assert before[at].partition(" Ann has")[2] == words[at].partition(" Ann has")[2]
    assert words[at].startswith(OPENINGS)
    for edited in (pair.original, pair.number, pair.words):
        assert edited.text[: edited.end].split("\n")[-1] in (before[at], number[at], words[at])
        assert edited.text[edited.end] == "\n"


@pytest.mark.parametrize("number", range(12))
def test_a_changed_number_is_an_error_and_a_new_opening_is_none(number):
    problem = family_problem("minigsm", "test", 1000 + number)
    pair = edit_line(problem.solution, random.Random(number))
    assert first_error(problem, pair.original.text) is None
    assert first_error(problem, pair.words.text) is None
    assert first_error(problem, pair.number.text) is not None
    assert pair.number.text != pair.words.text != pair.original.text


def test_a_text_without_a_result_cannot_be_edited():
    assert edit_line("The answer is: 4", random.Random(0)) is None
    assert edit_line("", random.Random(0)) is None
