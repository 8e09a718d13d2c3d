"""Rows of text meet tokenizers: what is encoded spells the text, and steps keep their places under another one."""

from dataclasses import replace

import numpy as np
import pytest
from small_tokenizers import byte_level_tokenizer, changing_tokenizer, sentence_piece_tokenizer
from test_grading_sandbox import needs_bwrap

from asprm.models.align import Speller, carry
from asprm.models.prompts import Form
from asprm.problems.problem import CodeProblem
from asprm.rows.texts import Encoder, problem_of, read_template, verdicts

TEMPLATE = "Q: {problem} {x}\nA:"
TEXTS = ["So has 12 = 5 + 7", "The answer is 12", "ë€ − 🍎", "a\nb"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_solution_is_spelled_by_its_ids_and_ends_with_the_end_of_text(text):
    encoder = Encoder(byte_level_tokenizer(), form=Form(template=TEMPLATE))
    ids, char_ends = encoder.solution({"problem": "p", "solution": text})
    assert encoder.tokenizer.decode(ids, skip_special_tokens=True) == text
    assert ids[-1] == encoder.tokenizer.eos_token_id
    assert char_ends[-1] == len(text)
    unfinished, _ = encoder.solution({"problem": "p", "solution": text, "finished": False})
    assert np.array_equal(unfinished, ids[:-1])


def test_a_row_keeps_its_own_ids_where_they_spell_its_solution():
    encoder = Encoder(byte_level_tokenizer(), form=Form(template=TEMPLATE))
    text, eos = "The answer is 12", encoder.tokenizer.eos_token_id
    encoded, _ = encoder.solution({"problem": "p", "solution": text})
    written = [i for c in text.replace(" ", "Ġ") for i in [encoder.tokenizer.convert_tokens_to_ids(c)]] + [eos]
    assert len(written) > len(encoded)  # in other tokens than it is encoded in
    row = {"problem": "p", "solution": text, "ids": written}
    ids, char_ends = encoder.solution(row)
    assert (ids.tolist(), char_ends[-1]) == (written, len(text))
    assert encoder.solution(row | {"ids": written[:-1], "finished": False})[0].tolist() == written[:-1]
    assert encoder.solution(row | {"ids": written[:-1]})[0].tolist() == written[:-1]  # ended by a stop text
    assert encoder.solution(row | {"finished": False})[0].tolist() == encoded[:-1].tolist()
    for other in (written[1:], [10**9], [], "a7", [True], None):  # not of this solution, or no ids at all
        assert np.array_equal(encoder.solution(row | {"ids": other})[0], encoded)


def test_a_prompt_is_made_by_the_rows_template_then_the_commands_then_the_tokenizers():
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}!"
    for template, row, text in (
        (None, {}, "p{}!"),
        (TEMPLATE, {}, "Q: p{} {x}\nA:"),
        (TEMPLATE, {"template": "<{problem}>"}, "<p{}>"),
    ):
        ids = Encoder(tokenizer, form=Form(template=template)).prompt(row | {"problem": "p{}"})
        assert tokenizer.decode(ids) == text


def test_a_model_without_a_template_needs_one():
    with pytest.raises(ValueError, match="--template 'Question"):
        Encoder(byte_level_tokenizer())


def test_templates_come_from_the_command_line_or_a_file(tmp_path):
    assert read_template(None) is None
    assert read_template("Q {problem}\\nA") == "Q {problem}\nA"
    (tmp_path / "t").write_text("say {problem}")
    assert read_template(str(tmp_path / "t")) == "say {problem}"
    few_shots = "Question: 1 + 1?\nAnswer: 2\n\n" * 20 + "Question: {problem}\nAnswer:"
    assert read_template(few_shots) == few_shots  # too long for the name of a file
    (tmp_path / "t").write_bytes(b"\xef\xbb\xbf" + few_shots.encode())
    assert read_template(str(tmp_path / "t")) == few_shots
    (tmp_path / "t").write_text("{problem}", encoding="utf-16")
    with pytest.raises(ValueError, match="is not UTF-8"):
        read_template(str(tmp_path / "t"))
    (tmp_path / "t").write_text("say it")
    for wrong in (str(tmp_path / "t"), "Question: {q}", "Q" * 300, "a\0b", ""):
        with pytest.raises(ValueError, match="where the problem goes"):
            read_template(wrong)


def test_steps_keep_their_ids_under_the_same_tokenizer_and_their_places_under_another():
    mine, other = byte_level_tokenizer(), sentence_piece_tokenizer()
    text = "The wise show no answer 12 so i win 5 shown"
    ids, char_ends = Encoder(mine, form=Form(template=TEMPLATE)).solution({"problem": "p", "solution": text})
    ends = np.array([3, 9, 10, len(ids)])
    row = {"problem": "p", "solution": text, "ids": ids.tolist(), "ends": ends.tolist()}
    row["char_ends"] = char_ends[ends - 1].tolist()
    kept = Encoder(mine, form=Form(template=TEMPLATE)).steps(row)
    assert np.array_equal(kept[0], ids)
    assert np.array_equal(kept[1], ends)

    moved, places = Encoder(other, form=Form(template=TEMPLATE)).steps(row)
    spelled, moved_ends = Speller(other)(moved)
    assert spelled == text
    assert places[-1] == len(moved)
    for place, end in zip(places[:-1], row["char_ends"][:-1], strict=True):  # the token holds the step's last character
        assert (moved_ends[place - 2] if place > 1 else 0) < end <= moved_ends[place - 1]


@pytest.mark.parametrize(
    ("tokenizer", "text", "char_ends"),
    [
        (byte_level_tokenizer(), "Zoë is right €\n12", [3, 14, 17, 17]),
        (sentence_piece_tokenizer(), "The answer Zoë 12", [3, 14, 17, 17]),
    ],
)
def test_steps_are_carried_as_those_of_a_policy_are(tokenizer, text, char_ends):
    row = {"problem": "p", "solution": text, "char_ends": char_ends}
    ids, ends = Encoder(tokenizer, form=Form(template=TEMPLATE)).steps(row)
    wanted_ids, wanted_ends = carry(text, char_ends, tokenizer, finished=True)
    assert np.array_equal(ids, wanted_ids)
    assert np.array_equal(ends, wanted_ends)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"solution": "12", "char_ends": [2]}, "no field 'problem'"),
        ({"problem": "p"}, "no field 'solution'"),
        ({"problem": "p", "solution": "12", "char_ends": [1]}, "ends at character 1, but the solution has 2"),
        ({"problem": "p", "solution": "12", "char_ends": [2, 1]}, "rising"),
        ({"problem": "p", "solution": "12", "char_ends": ["a"]}, "rising"),
        ({"problem": "p", "solution": "12", "char_ends": []}, "rising"),
        ({"problem": "p", "solution": "12"}, "no field 'char_ends'"),
        ({"problem": "p", "solution": "The " * 30, "char_ends": [120]}, "the model reads 40"),
        ({"problem": "The " * 30, "solution": "1", "char_ends": [1]}, "its prompt has"),
        ({"problem": "p", "solution": "", "char_ends": [0], "finished": False}, "empty"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(row, words):
    with pytest.raises(ValueError, match=words):
        Encoder(byte_level_tokenizer(), form=Form(template=TEMPLATE), positions=40).steps(row)


def test_a_text_that_the_tokenizer_loses_is_refused():
    with pytest.raises(ValueError, match="does not spell the solution back"):
        Encoder(changing_tokenizer(), form=Form(template=TEMPLATE)).solution({"problem": "p", "solution": "x²"})


def test_a_special_word_in_a_solution_is_plain_text():
    encoder = Encoder(byte_level_tokenizer(), form=Form(template=TEMPLATE))
    row = {"problem": "p", "solution": "a</s>b"}
    ids, char_ends = encoder.solution(row)
    assert (ids == encoder.eos).tolist() == [*[False] * (len(ids) - 1), True]
    assert char_ends.tolist() == [1, 2, 3, 4, 5, 6, 6]
    carried, ends = encoder.steps(row | {"char_ends": [1, 5, 6]})
    assert np.array_equal(carried, ids)
    assert ends.tolist() == [1, 5, 7]


@pytest.mark.parametrize(
    ("field", "value"),
    [("ids", [None]), ("ids", {}), ("ids", [1.5]), ("ends", ["1"]), ("ends", {}), ("finished", "no"), ("template", 5),
     ("template", "say it"), ("char_ends", [True]), ("steps", ["1"]), ("solution", "1\ud83d"), ("problem", "\ud83d")],
)  # fmt: skip
def test_a_field_of_a_wrong_kind_is_named(field, value):
    row = {"problem": "p", "solution": "12", "char_ends": [2]} | {field: value}
    with pytest.raises(ValueError, match=field):
        Encoder(byte_level_tokenizer(), form=Form(template=TEMPLATE)).steps(row)


def test_problems_have_an_answer_or_a_test():
    assert problem_of({"problem": "2 + 3?", "answer": 5}).answer == "5"
    code = problem_of({"problem": "p", "test": "def check(f): assert f(1) == 2", "entry_point": "f"})
    assert isinstance(code, CodeProblem)
    with pytest.raises(ValueError, match="so it cannot be graded"):
        problem_of({"problem": "p"})
    for wrong in ({"test": ""}, {"test": None}, {"entry_point": 3}, {"imports": None}, {"cases": [1]}, {"cases": "[]"}):
        with pytest.raises(ValueError, match=f"'{next(iter(wrong))}'"):
            problem_of({"problem": "p", "test": "def check(f): pass"} | wrong)


def test_an_error_of_one_pair_is_its_own_and_no_other_is_graded_again():
    fine = problem_of({"problem": "2 + 3?", "answer": "5"})
    found = list(verdicts([("#### 5", fine), ("#### 5", replace(fine, answer=None)), ("#### 6", fine)]))
    assert [isinstance(verdict, ValueError) for verdict in found] == [False, True, False]
    assert (found[0]["correct"], found[2]["correct"]) == (True, False)


@needs_bwrap
def test_floats_of_programs_may_differ_by_a_tolerance():
    code = problem_of(
        {"problem": "a third", "test": "def check(f):\n    assert f() == 0.3333333333", "entry_point": "f"}
    )
    pairs = [("```python\ndef f():\n    return 1 / 3\n```", code)]
    assert [[verdict["correct"] for verdict in verdicts(pairs, tolerance)] for tolerance in (0.0, 1e-6)] == [
        [False],
        [True],
    ]


def test_verdicts_come_in_the_order_of_the_rows():
    code = {"problem": "add one", "test": "def check(f):\n    assert f(1) == 2", "entry_point": "f"}
    math = {"problem": "2 + 3?", "answer": "5"}
    texts = ["The answer is: 5.0", "```python\ndef f(x):\n    return x + 1\n```", "no idea", "```python\nf = abs\n```"]
    found = list(verdicts([(text, problem_of(row)) for text, row in zip(texts, [math, code, math, code], strict=True)]))
    assert [one["correct"] for one in found] == [True, True, False, False]
    assert [one.get("outcome") for one in found] == [None, "passed", None, "failed"]
