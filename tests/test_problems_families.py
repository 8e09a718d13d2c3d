import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asprm.grading.math import grade_math
from asprm.problems import minigsm, minimath, programmer
from asprm.problems.errors import first_error
from asprm.problems.families import DOMAINS, SPLITS, scenes
from asprm.problems.load import load
from asprm.problems.scene import Scene, evaluate, spell
from asprm.problems.student import MISCONCEPTIONS, VERBS, Misconception, drill, solve, stated_answer, voice_of
from asprm.problems.words import NAMES

FAMILIES = [family for family, domain in DOMAINS.items() if domain == "math"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("2 + 3 * 4", 14), ("(2 + 3) * 4", 20), ("-2 + 3", 1), ("7 / 2", 3.5), ("10 - 2 - 3", 5), ("8 / 2 / 2", 2)],
)
def test_evaluate_by_hand(text, value):
    assert evaluate(text) == value


@pytest.mark.parametrize("text", ["", "2 +", "(2", "2 / 0", "x + 1", "2 ** 3", "__import__('os')", "(" * 5000])
def test_what_is_no_arithmetic_has_no_value(text):
    assert evaluate(text) is None


@given(
    st.recursive(
        st.integers(0, 99).map(str),
        lambda e: st.tuples(e, st.sampled_from("+-*"), e).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    )
)
def test_evaluate_agrees_with_python(text):
    assert evaluate(text) == eval(text)


def test_there_are_sixty_skeletons():
    assert len(minigsm.SKELETONS) + len(minimath.SKELETONS) >= 60
    assert len(set(minigsm.SKELETONS + minimath.SKELETONS)) == len(minigsm.SKELETONS) + len(minimath.SKELETONS)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_true_solution_is_right_and_has_no_error(family):
    for problem in load(family, "train", 400):
        assert grade_math(problem.solution, problem.answer).correct
        assert first_error(problem, problem.solution) is None
        assert re.fullmatch(r"-?\d+(/\d+)?", problem.answer)


@pytest.mark.parametrize("family", FAMILIES)
def test_problems_are_the_same_for_ever_whatever_the_count(family):
    assert load(family, "test", 20)[:7] == load(family, "test", 7)
    assert load(family, "test", 3, start=4) == load(family, "test", 7)[4:]


@pytest.mark.slow
def test_splits_share_no_problem():
    texts = {split: {p.prompt for family in FAMILIES for p in load(family, split, 300)} for split in SPLITS}
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]
    assert min(map(len, texts.values())) > 600  # and hardly any problem stands twice


def test_minigsm_takes_two_to_six_steps_and_p2_two_clauses_more():
    steps = {family: [len(scene.steps) for _, scene in scenes(family, "train", 300)] for family in FAMILIES}
    assert min(steps["minigsm"]) >= 2
    assert max(steps["minigsm"]) <= 6
    mean = {family: sum(counts) / len(counts) for family, counts in steps.items()}
    assert mean["minigsm-p2"] - mean["minigsm"] > 1.5


@pytest.mark.parametrize("family", ["minigsm", "minigsm-p2"])
def test_a_reader_can_tell_what_that_is(family):
    counts = [problem.prompt.count("That is ") for problem in load(family, "test", 250)]
    assert max(counts) == 1
    assert sum(counts) > 10  # the wording itself is still there


def test_minimath_boxes_some_answers_and_has_fractions():
    problems = load("minimath", "train", 300)
    assert any("\\boxed{" in p.solution for p in problems)
    assert any("\\boxed{" not in p.solution for p in problems)
    assert any("/" in p.answer for p in problems)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="unknown problems 'minigms'; known: minigsm, "):
        load("minigms", "test", 3)
    with pytest.raises(ValueError, match="minigsm has no split 'dev'; it has train, validation, test"):
        load("minigsm", "dev", 3)
    with pytest.raises(ValueError, match="is endless; say how many problems"):
        load("minigsm")


# --- students ---------------------------------------------------------------------------------------------------------


def test_every_misreading_has_a_rate():
    invited = {kind for family in FAMILIES for _, scene in scenes(family, "train", 2000) for step in scene.steps
               for kind, _ in step.wrong}  # fmt: skip
    assert invited == set(MISCONCEPTIONS)  # and every rate is used


def scene_of(kind_wrong, opener="Anna"):
    scene = Scene(random.Random(0), opener=opener)
    q = scene.find("Ben has", "plums", 12, "-", 5, **kind_wrong)
    total = scene.find("they have", "plums", 12, "+", q)
    scene.answer = (total,)
    return scene


def test_an_error_is_carried_on_consistently(monkeypatch):
    monkeypatch.setitem(MISCONCEPTIONS, "fewer", Misconception(1.0, ""))
    monkeypatch.setattr("asprm.problems.student.SLIP", 0.0)
    scene = scene_of({"fewer": (12, "+", 5)})
    assert "Ben has 12 - 5 = 7 plums.\n" in solve(scene)
    wrong = solve(scene, random.Random(1))
    assert "12 + 5 = 17" in wrong
    assert "12 + 17 = 29" in wrong
    assert stated_answer(wrong) == "29"


def test_a_student_does_not_leave_minus_three_plums(monkeypatch):
    monkeypatch.setitem(MISCONCEPTIONS, "fewer", Misconception(1.0, ""))
    monkeypatch.setattr("asprm.problems.student.SLIP", 0.0)
    assert "12 - 5 = 7" in solve(scene_of({"fewer": (5, "-", 12)}), random.Random(1))


def test_a_step_can_be_left_out(monkeypatch):
    monkeypatch.setitem(MISCONCEPTIONS, "each", Misconception(1.0, ""))
    monkeypatch.setattr("asprm.problems.student.SLIP", 0.0)
    text = solve(scene_of({"each": 5}), random.Random(1))
    assert "12 + 5 = 17" in text
    assert "Ben has" not in text


def test_misconceptions_come_at_their_rate(monkeypatch):
    monkeypatch.setattr("asprm.problems.student.SLIP", 0.0)
    scene = scene_of({"fewer-reversed".replace("-", "_"): (12, "+", 5)})
    wrong = sum("12 + 5" in solve(scene, random.Random(i)) for i in range(2000)) / 2000
    assert abs(wrong - MISCONCEPTIONS["fewer-reversed"].rate) < 0.04


def test_some_contexts_fool_most_students():
    assert sum(misconception.rate > 0.5 for misconception in MISCONCEPTIONS.values()) >= 10
    assert all(0 < misconception.rate < 1 for misconception in MISCONCEPTIONS.values())


@pytest.mark.parametrize("misconceptions", [MISCONCEPTIONS, programmer.MISCONCEPTIONS])
def test_every_misconception_says_what_invites_it_and_what_is_done(misconceptions):
    texts = [misconception.description for misconception in misconceptions.values()]
    assert all(re.fullmatch(r"\S.*: .*\S", text) for text in texts)
    assert len(set(texts)) == len(texts)


def test_a_voice_fixes_the_wording():
    assert {voice_of(name) for name in NAMES} == set(range(6)) == {voice_of(verb) for verb in VERBS}
    for opener in NAMES[:6]:
        scene = scene_of({}, opener)
        words = {re.sub(r"\d+", "n", solve(scene, random.Random(i))) for i in range(40)}
        plain = re.sub(r"\d+", "n", solve(scene))
        assert plain in words
        assert len(words) <= (1 if voice_of(opener) not in (0, 4) else 25)


def test_drills_are_right():
    _, text = drill(random.Random(0))
    for line in text.rstrip(".").split(". "):
        left, right = line.split(" = ")
        assert evaluate(left) == int(right)


# --- first error ------------------------------------------------------------------------------------------------------


@pytest.fixture
def problem():
    from asprm.problems.problem import Problem

    solution = "Ben has 12 - 5 = 7 plums.\nThey have 12 + 7 = 19 plums.\nThe answer is: 19"
    return Problem("x", "math", "…", "19", solution)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("Ben has 12 - 5 = 7 plums.\nThey have 7 + 12 = 19 plums.\nThe answer is: 19", None),  # order of summands
        ("So Ben has 12 - 5 = 7.\nNow they have 12 + 7 = 19.\nThe answer is: \\boxed{19}", None),  # wording
        ("Ben has 12 + 5 = 17 plums.\nThey have 12 + 17 = 29 plums.\nThe answer is: 29", "Ben"),
        ("Ben has 12 - 5 = 8 plums.\nThey have 12 + 8 = 20 plums.\nThe answer is: 20", "Ben"),  # a slip
        ("Ben has 12 - 5 = 7 plums.\nThey have 12 + 5 = 17 plums.\nThe answer is: 17", "They"),
        ("Ben has 12 - 5 = 7 plums. They have 12 + 5 = 17 plums.\nThe answer is: 17", "They"),  # a paragraph
        ("Ben has 12 - 5 = 7 plums.\nThe answer is: 7", "The answer"),  # a step left out at the end
        ("They have 12 + 5 = 17 plums.\nThe answer is: 17", "They"),
        ("Ben has 12 - 5 = 7 plums.\nThey have 12 + 7 = 19 plums.\nThe answer is: 18", "The answer"),
    ],
)
def test_first_error_finds_the_line(problem, text, where):
    assert first_error(problem, text) == (None if where is None else text.index(where))


def test_first_error_of_a_text_without_answer_is_its_end(problem):
    text = "Ben has 12 - 5 = 7 plums.\nThey"
    assert first_error(problem, text) == len(text)


def test_first_error_agrees_with_the_verdict_nearly_always():
    same = total = 0
    for family in FAMILIES:
        for problem, scene in scenes(family, "train", 300):
            text = solve(scene, random.Random(problem.id))
            right = grade_math(text, problem.answer).correct
            error = first_error(problem, text)
            assert not (error is None and not right)  # no error, yet wrong: never
            same, total = same + (right == (error is None)), total + 1
    assert same / total > 0.97  # two errors may cancel


def test_spell_sets_brackets_close():
    assert spell(("(", 12, "+", 4, ")", "/", 2), lambda q: q) == "(12 + 4) / 2"
