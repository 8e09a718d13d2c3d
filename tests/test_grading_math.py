"""Answers are equal when their values are, however they are spelled, and no text can hold up or bring down a grader."""

import json
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_data import real_rows

from asprm.grading import symbolic
from asprm.grading.math import compare_answers, extract_answer, grade_math
from asprm.grading.numbers import parse_number
from asprm.grading.tidy import tidy
from asprm.site.verification import SAME_VALUE, answer_pairs


def same(answer: str, gold: str) -> bool:
    """The verdict, which must not depend on the direction."""
    verdict, _ = compare_answers(answer, gold)
    assert compare_answers(gold, answer)[0] == verdict
    return verdict


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("So 3.\nThe answer is: 42", "42"),
        ("The answer is: 42.", "42"),
        ("The answer is: 42. I hope this helps.", "42"),
        ("the answer is:\n\n42\n", "42"),
        ("**The answer is: 42**", "42"),
        ("The answer is 42 apples. Good.", "42 apples"),
        ("#### 3\nThe answer is: 4 ", "4"),
        ("The answer is: 4\n#### 3", "3"),
        (r"\boxed{1}, no, $\boxed{\frac{1}{\sqrt{2}}}$.", r"\frac{1}{\sqrt{2}}"),
        (r"The answer is: $\boxed{\{1, 2\}}$.", r"\{1, 2\}"),
        (r"it is \boxed 7.", "7"),
        (r"\fbox{7}", "7"),
        (r"\boxed{\text{The answer is: 5}}", "5"),
        (r"The answer is: 5 and then \boxed{", None),  # cut off within the last answer and its line
        ("The answer is: 5\nor \\boxed{", "5"),
        ("so our answer is correct, 44", None),
        ("The answer is:", None),
        ("", None),
    ],
)
def test_the_last_complete_answer_is_taken(completion, answer):
    assert extract_answer(completion) == answer


EQUAL = [
    ("1,000", "1000"),
    (r"10,\!080", "10080"),
    (r"11,\! 111,\! 111,\! 100", "11111111100"),
    ("$5", "5"),
    (r"\$18.90", "18.9"),
    ("5.", "5.00"),
    ("−3", "-3"),
    ("0", "-0"),
    (".5", "1/2"),
    (r"\frac12", "0.5"),
    (r"\dfrac{3}{4}", r"\tfrac 34"),
    (r"-\frac{35}{9}", r"\frac{-35}{9}"),
    ("2 1/2", r"2\frac{1}{2}"),
    ("-2 1/2", "-5/2"),
    ("6.72e-5", ".0000672"),
    (r"6.72 \times 10^{-5}", ".0000672"),
    ("50%", "50"),
    (r"50\%", "0.5"),
    ("50 percent", "1/2"),
    ("5 million", "5,000,000"),
    ("5 cm", "5"),
    ("5 cm", "0.05 m"),
    ("36 inches", "1 yard"),
    (r"5.4 \text{ cents}", "$0.054"),
    (r"864 \mbox{ inches}^2", "864 square inches"),
    (r"\frac{270}7\text{ degrees}", "270/7"),
    (r"90^\circ", "90 degrees"),
    (r"90^{\circ}", "90"),
    (r"\text{Evelyn}", "evelyn"),
    (r"\text{(C)}", "C"),
    ("the east", "East"),
    (r"\frac{\pi}{2}", "pi/2"),
    (r"3\sqrt{13}", "3*sqrt(13)"),
    (r"\sqrt{117}", r"3\sqrt{13}"),
    (r"\frac{1}{\sqrt2}", r"\frac{\sqrt{2}}{2}"),
    ("2^10", "1024"),
    ("6 - 5i", "-5i+6"),
    ("(a+5)(b+2)", "ab+2a+5b+10"),
    (r"\cot x", r"\frac{\cos x}{\sin x}"),
    ("5!", "120"),
    (r"\log_2 8", "3"),
    ("x=5", "5"),
    ("y = 2x + 3", "3 + 2x"),
    ("a=b", "b=a"),
    ("16 - 3 - 4 = 9", "9"),
    ("5x - 7y + 11z + 4 = 0", "-5x + 7y - 11z - 4 = 0"),
    ("5x - 7y + 11z + 4 = 0", "5x - 7y + 11z = -4"),
    ("1,-2", "-2, 1"),
    ("3, 5, 7", r"\{7, 5, 3\}"),
    ("3 and 5", "5, 3"),
    (r"x = 3 \text{ or } x = 5", "3, 5"),
    (r"1 \pm \sqrt{19}", r"1 + \sqrt{19}, 1 - \sqrt{19}"),
    (r"\{1\pm\sqrt{5},-2\}", r"-2, 1+\sqrt5, 1-\sqrt5"),
    (r"\left( \frac{3}{2}, -13 \right)", "(1.5,-13)"),
    (r"(2,\infty)", "x > 2"),
    (r"x \in [-2,7]", r"-2 \le x \leq 7"),
    (r"(-\infty, 2) \cup (3, +\infty)", r"(3,\infty)\cup(-\infty,2)"),
    (r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}", r"\begin{bmatrix} 0.2 \\ -3.6 \end{bmatrix}"),
    (r"\begin{pmatrix} -7 \\ 16 \end{pmatrix}", "(-7, 16)"),
    ("52_8", "52_{8}"),
]
DIFFERENT = [
    ("3", "-3"),
    ("1/3", "0.333333"),
    (r"\pi", "3.141592653589793"),
    ("21/2", "2 1/2"),
    ("50%", "5"),
    ("5 cm", "5 inches"),
    ("5 dollars", "5 cents"),
    ("2ab", "2"),
    ("5 m", "5x"),
    ("B", "(C)"),
    ("even", "odd"),
    ("p - q", "q - p"),
    ("x^2", "x^3"),
    ("x=5", "y=5"),
    ("0", "5x - 7y + 11z + 4 = 0"),
    ("(1,2)", "(2,1)"),
    ("(2,5)", "2,5"),
    ("(2,4]", "(2,4)"),
    ("10 or 12", "10"),
    ("3, 5, 7", "3, 5"),
    ("3, 3, 5", "3, 5, 5"),
    (r"(2,\infty)", r"(-\infty,2)"),
    (r"x \ge 2", "x > 2"),
    (r"\infty", r"-\infty"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}"),
    ("52_8", "52"),
    ("52_8", "52_9"),
    ("1/0", "0"),
    ("-", "4"),
    ("4 2/", "4"),
    ("[asy]", "4"),
]


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_equal_values_written_differently_are_equal(left, right):
    assert same(left, right), compare_answers(left, right)


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_different_values_are_different(left, right):
    assert not same(left, right), compare_answers(left, right)


CASES = [json.loads(line) for line in (Path(__file__).parent / "cases" / "math.jsonl").read_text().splitlines()]


def test_answers_as_people_and_models_write_them():
    """Wordings, markers, units, sets and notations, each with its right verdict; half of them were once wrong."""
    wrong = [case for case in CASES if grade_math(case["completion"], case["gold"]).correct != case["correct"]]
    assert len(CASES) > 500
    assert wrong == []


@pytest.mark.parametrize("gold", ["", " ", "\n"])
def test_an_empty_true_answer_is_refused(gold):
    with pytest.raises(ValueError, match="the true answer is empty"):
        grade_math("The answer is: 5", gold)


def spellings(value: Fraction) -> list[str]:
    """Ways to write one number, each exact."""
    sign, n, d = "-" * (value < 0), abs(value.numerator), value.denominator
    texts = [f"{sign}{n}/{d}", rf"{sign}\frac{{{n}}}{{{d}}}", rf"${sign}\dfrac{{{7 * n}}}{{{7 * d}}}$"]
    if d == 1:
        texts += [
            f"{sign}{n}",
            f"{sign}{n:,}",
            f"{sign}${n}",
            f"{sign}{n}.00",
            rf"\text{{{sign}{n}}}",
            f"{sign}{n} apples",
        ]
    elif n > d:
        texts += [rf"{sign}{n // d}\frac{{{n % d}}}{{{d}}}", f"{sign}{n // d} {n % d}/{d}"]
    if 10**6 % d == 0:
        whole, rest = divmod(n * (10**6 // d), 10**6)
        texts.append(f"{sign}{whole}.{rest:06d}")
    return texts


values = st.builds(Fraction, st.integers(-(10**7), 10**7), st.sampled_from([1, 1, 2, 3, 4, 7, 10, 125, 999]))


@given(values, values, st.data())
def test_plain_numbers_are_equal_exactly_when_their_values_are(left, right, data):
    left_text, again = (data.draw(st.sampled_from(spellings(left))) for _ in range(2))
    right_text = data.draw(st.sampled_from(spellings(right)))
    assert parse_number(tidy(left_text)).bare == left
    assert same(left_text, again)
    assert same(left_text, right_text) == (left == right)


@settings(max_examples=25, deadline=None)
@given(values, values, st.data())
def test_the_fast_path_agrees_with_math_verify(left, right, data):
    texts = [data.draw(st.sampled_from(spellings(value)[:2])) for value in (left, right)]
    assert compare_answers(*texts)[0] == symbolic.same_expression(*map(tidy, texts))[0]


@given(
    st.text(max_size=60) | st.text("0123456789()[]{}\\,.$%^_=<>+-*/ xpi&", max_size=40).map("The answer is: {}".format)
)
def test_any_text_has_a_verdict(text):
    verdict = grade_math(text, "(1, 2]")
    assert verdict.reason
    assert (verdict.extracted is None) <= (not verdict.correct)


def test_common_answers_need_no_computer_algebra():
    code = """
import sys
from asprm.grading.grade import grade_math
assert grade_math("The answer is: $1,000", "1000").correct and not grade_math("The answer is: (2, 1)", "(1, 2)").correct
assert not {"sympy", "math_verify", "torch"} & set(sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


HOSTILE = [
    "{" * 10**6,
    r"\boxed{" * 10**5,
    "The answer is: " + "{" * 10**6,
    "The answer is: " + "(" * 10**6 + "1" + ")" * 10**6,
    r"\boxed{" + "{" * 480 + "}" * 480 + "}",
    r"\boxed{" + "(" * 300 + "1,2" + ")" * 300 + "}",
    "The answer is: 9**9**9",
    "The answer is: 9^{9^{9^{9}}}",
    "The answer is: " + "1" * 900 + "!",
    "The answer is: " + "9" * 999,
    "The answer is: 1e999",
    "The answer is: 1e999999999",
    "The answer is: __import__('os').abort()",
    r"\boxed{" + r"\frac{" * 150 + "1" + "}{2}" * 150 + "}",
    "answer is" + " " * 10**6,
    "\0\ud800".join("The answer is: 5"),
]


@pytest.mark.slow
def test_hostile_answers_get_a_verdict_in_threads_too(monkeypatch):
    monkeypatch.setattr(symbolic, "CPU_SECONDS", 1)
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(lambda text: grade_math(text, r"\sqrt{2}"), HOSTILE))
        assert not any(verdict.correct for verdict in verdicts)
        assert any("stopped after" in verdict.reason for verdict in verdicts)
        # The worker that was lost is replaced.
        assert list(pool.map(lambda _: grade_math(r"\boxed{2^{1/2}}", r"\sqrt{2}").correct, range(4))) == [True] * 4


@pytest.mark.slow
def test_a_list_of_hard_expressions_has_one_limit(monkeypatch):
    monkeypatch.setattr(symbolic, "CPU_SECONDS", 1)
    hard = [rf"\int_0^1 x^{{x+{n}}} \sin(x^{{x}}) dx" for n in range(6)]
    used = []
    ask = symbolic._Worker.ask

    def counted(worker, answer, gold, seconds):
        used.append(seconds)
        return ask(worker, answer, gold, seconds)

    monkeypatch.setattr(symbolic._Worker, "ask", counted)
    correct, _ = compare_answers(", ".join(hard), ", ".join(f"{text}+1" for text in hard))
    assert not correct
    assert used[0] == 1
    assert used == sorted(used, reverse=True)
    assert len(used) < 36  # of the pairs
    assert symbolic.same_expression("2^{1/2}", r"\sqrt{2}")[0]  # alone, it has the whole limit again


# Real data


@pytest.mark.parametrize(("split", "rows"), [("test", 1319), pytest.param("train", 7473, marks=pytest.mark.slow)])
def test_gsm8k_solutions_are_right_and_verdicts_follow_the_value(split, rows):
    data = real_rows(f"gsm8k/{split}.jsonl")
    assert len(data) == rows
    rng = random.Random(0)
    for row in data:
        solution, gold = row["answer"], row["answer"].split("####")[1].strip()
        assert grade_math(solution, gold).correct, gold
        plain = gold.replace(",", "")
        for spelling in (plain, f"{int(plain):,}", f"${gold}", rf"\${gold}", f"{plain}.00", f" {gold} "):
            assert grade_math(solution, spelling).correct, (gold, spelling)
            assert grade_math(f"The answer is: {spelling}", gold).correct, (gold, spelling)
        place = rng.choice([i for i, character in enumerate(plain) if character.isdigit()])
        digit = rng.choice([d for d in "0123456789" if d != plain[place]])
        changed = plain[:place] + digit + plain[place + 1 :]
        assert grade_math(solution, changed).correct == (Fraction(changed) == Fraction(plain)), (gold, changed)
        assert not grade_math(solution, f"-{plain}").correct or int(plain) == 0


def test_math500_solutions_are_right():
    data = real_rows("math500/test.jsonl")
    wrong = [row["unique_id"] for row in data if not grade_math(row["solution"], row["answer"]).correct]
    assert len(data) == 500
    assert wrong == []


@pytest.mark.slow
def test_no_two_math500_answers_of_different_value_are_called_equal():
    pairs = answer_pairs(row["answer"] for row in real_rows("math500/test.jsonl"))
    sample = random.Random(0).sample(pairs, 5000) + [tuple(pair) for pair in SAME_VALUE]
    equal = [{a, b} for a, b in sample if compare_answers(a, b)[0]]
    assert all(pair in equal for pair in SAME_VALUE)
    assert all(pair in SAME_VALUE for pair in equal)


def test_metamath_llama_shares():
    shares = {}
    for row in real_rows("metamath_llama_samples/gsm8k_bo256_confidence.jsonl"):
        assert len(row["pred"]) == 256
        shares[row["idx"]] = sum(grade_math(text, row["answer"]).correct for text in row["pred"]) / 256
    assert [round(shares[i], 3) for i in range(5)] == [1.0, 0.996, 0.555, 1.0, 0.887]


def test_metamath_llama_marks():
    """The figures of the marked text: where the authors' splitting put its ` ки `."""
    marks, newlines, marked_newlines, after_newline, inner = [], 0, 0, 0, 0
    for row in real_rows("metamath_llama_samples/gsm8k_bo256_confidence.jsonl"):
        for plain, marked in zip(row["pred"], row["math_confidence_list"], strict=True):
            assert marked.replace(" ки ", "") == plain
            assert marked.endswith(" ки ")
            steps = marked.split(" ки ")[:-1]
            marks.append(len(steps))
            inner += len(steps) - 1
            after_newline += sum(step.endswith("\n") for step in steps[:-1])
            newlines += plain.count("\n")
            marked_newlines += len(re.findall("\n ки (?=.)", marked, re.DOTALL))
    assert len(marks) == 1280
    assert (min(marks), max(marks), sorted(marks)[640]) == (1, 15, 3)
    assert round(sum(marks) / 1280, 2) == 3.43
    assert round(inner / 1280, 2) == 2.43
    assert round(after_newline / inner, 3) == 0.090
    assert round(marked_newlines / newlines, 3) == 0.060
