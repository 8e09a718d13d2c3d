"""Rows as a terminal shows them: tokens over their confidences, and no character that the terminal would obey."""

import re

import pytest

from asprm.rows.look import described

ROW = {
    "problem": "Ann has 2 pens and buys 3. How many?",
    "answer": "5",
    "solution": "She has 5.\nDone",
    "token_ends": [3, 7, 9, 11, 15, 15],
    "confidences": [0.98, 1.0, 0.31, 0.9, 0.7, 1.0],
}
SPLIT = ROW | {"tau": 0.5, "ends": [3, 6], "char_ends": [9, 15], "steps": ["She has 5", ".\nDone"]}
LABELLED = SPLIT | {"labels": [1.0, 0.0], "right": [1, 0], "rollouts": [2, 1], "correct": False, "scores": [0.9, 0.2]}


def test_a_solution_is_shown_with_the_confidence_of_each_token():
    assert described(ROW, 4, width=40).splitlines() == [
        "line 4, 6 tokens",
        "problem: Ann has 2 pens and buys 3. How",
        "many?",
        "answer: 5",
        "",
        "  She  has  5  .⏎ Done ■",
        "  98   100  31 90 70   100",
    ]


def test_steps_have_their_labels_and_scores_and_end_at_a_marked_token():
    assert described(LABELLED | {"score": 0.2}, 1, width=80).splitlines() == [
        "line 1, wrong, 2 steps, 6 tokens, tau 0.5, score 0.2",
        "problem: Ann has 2 pens and buys 3. How many?",
        "answer: 5",
        "",
        "step 1, label 1, 1 of 2 right, score 0.900",
        "  She  has  5",
        "  98   100  31*",
        "",
        "step 2, label 0, 0 of 1 right, score 0.200",
        "  .⏎ Done ■",
        "  90 70   100",
    ]


def test_steps_without_tokens_are_texts():
    texts = {name: value for name, value in SPLIT.items() if name not in ("token_ends", "confidences")}
    assert described(texts, 1, width=80).splitlines()[3:] == [
        "",
        "step 1",
        "  She has 5",
        "",
        "step 2",
        "  .",
        "  Done",
    ]


def test_tokens_find_their_steps_by_characters_too():
    by_tokens = described(SPLIT, 1, width=80)
    assert described({name: value for name, value in SPLIT.items() if name != "ends"}, 1, width=80) == by_tokens


def test_long_steps_go_on_in_further_lines_with_tokens_over_their_numbers():
    words = [f" word{number}" for number in range(20)]
    ends = [sum(map(len, words[: i + 1])) for i in range(20)]
    row = {"problem": "p", "solution": "".join(words), "token_ends": ends, "confidences": [i / 20 for i in range(20)]}
    lines = described(row, 1, width=40).splitlines()[3:]
    assert all(len(line) <= 40 for line in lines)
    assert [word for line in lines[::2] for word in line.split()] == [word.strip() for word in words]
    for tokens, numbers in zip(lines[::2], lines[1::2], strict=True):
        places = [tokens.index(word) for word in tokens.split()]
        assert [numbers[at:].split()[0] for at in places] == numbers.split()


def test_no_character_moves_the_cursor_and_wide_ones_take_two_columns():
    row = ROW | {"problem": "a\x1b[2Jb\rc", "solution": "\x1b[31m你好\tabc", "token_ends": [2, 5, 7, 11, 11, 11]}
    lines = described(row, 1, width=80).splitlines()
    assert lines[1] == r"problem: a\x1b[2Jb"
    assert lines[5:] == [r"  \x1b[ 31m 你好 \tabc ■  ■", r"  98    100 31   90    70 100"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"solution": 5}, "'solution' is 5"),
        ({"char_ends": [9, 14]}, "ends at character 14, but the solution has 15"),
        ({"labels": [1.0]}, "'labels' should hold 2 numbers"),
        ({"scores": [0.5, 0.5, 0.5]}, "'scores' should hold 2 numbers in [0, 1], one for each step"),
        ({"confidences": [0.5]}, "'confidences' should hold 6 numbers in [0, 1], one for each token"),
        ({"token_ends": [3, 15]}, "'confidences' should hold 2 numbers"),
        ({"token_ends": [3, 14]}, "'token_ends' are not the ends of this solution's tokens"),
        ({"ends": [3, 5]}, "'ends' should rise to 6, the number of tokens; it is [3, 5]"),
        ({"ends": [6]}, "'ends' and 'char_ends' are of different lengths"),
        ({"confidences": [0.5, 0.5, 1.5, 0.5, 0.5, 0.5]}, "number 3 is 1.5"),
        ({"scores": [0.5, -0.1]}, "number 2 is -0.1"),
        ({"tau": 2}, "'tau' is 2, expected a probability"),
        ({"score": "high"}, "'score' is \"high\", expected a number"),
    ],
)
def test_a_field_that_does_not_fit_the_solution_is_named(fields, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        described(LABELLED | fields, 1)
