"""Exercises: each answer passes and each blank fails, on two runs' tables; notebooks hold what the source says."""

import json

import pytest
from conftest import REPOSITORY

from asprm.exercises import check as checking
from asprm.exercises import exercise as source
from asprm.exercises.check import checker, judge
from asprm.exercises.exercise import chapters, every_exercise, exercise, exercises
from asprm.exercises.making import RIGHT as MADE
from asprm.exercises.using import RIGHT as USED
from asprm.exercises.write import TAG, as_text, cells, main, with_exercises
from asprm.run import shipped
from asprm.run.open import open_run

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
EVERY = list(every_exercise())


def given(run, code: str) -> object:
    """What the code of an exercise hands to `check`."""
    answers = []
    exec(code, {"run": run, "check": lambda number, answer: answers.append((number, answer))})
    [(_, answer)] = answers
    return answer


def stage_of(number: str) -> str:
    chapter, _ = number.split(".")
    return next(name for name in chapters() if int(name.partition("_")[0]) == int(chapter)).partition("_")[2]


# --- the source -------------------------------------------------------------------------------------------------------


def test_every_chapter_has_three_exercises_from_one_number_to_an_open_question():
    assert chapters() == [path.stem for path in NOTEBOOKS]
    for chapter in chapters():
        kinds = [one.kind for one in exercises(chapter)]
        assert len(kinds) >= 3
        assert kinds[0] == source.KINDS[0]
        assert kinds[-1] == source.KINDS[-1]


def test_every_exercise_has_a_right_answer_and_no_other_has():
    assert [*MADE, *USED] == [one.number for one in EVERY]


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one.number)
def test_a_blank_is_no_answer(one):
    assert one.blank != one.filled
    assert "⟦" not in one.blank + one.filled
    assert one.blank.count("...") <= 1
    compile(one.blank, one.number, "exec")
    compile(one.filled, one.number, "exec")


def posed(folder, text: str):
    (folder / "03_threshold.yml").write_text(text)
    exercises.cache_clear()
    return exercises("03_threshold")


@pytest.fixture
def of_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "FOLDER", tmp_path)
    yield lambda text: posed(tmp_path, text)
    exercises.cache_clear()


ROW = "{title: t, kind: work it out, minutes: 5, task: t, code: 'x = ⟦2 → 3⟧', gives: x, hint: h, answer: a}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title: t", "name: t", "03_threshold.yml: exercise 1: .*'name'"),
        (", hint: h", "", "03_threshold.yml: exercise 1: .*'hint'"),
        ("work it out", "hard", "kind 'hard', expected one of change one number"),
        ("⟦2 → 3⟧", "2", "no blank"),
    ],
)
def test_a_faulty_source_is_refused(of_folder, old, new, message):
    with pytest.raises(ValueError, match=message):
        of_folder(f"- {ROW.replace(old, new)}")


def test_blanks_start_from_a_value_or_from_dots(of_folder):
    first, second = of_folder(f"- {ROW}\n- {ROW.replace('2 → 3', 'a | b')}")
    assert (first.number, first.blank, first.filled) == (
        "3.1",
        'x = 2\ncheck("3.1", x)',
        'x = 3\ncheck("3.1", x)',
    )
    assert (second.blank, second.filled) == ('x = ...\ncheck("3.2", x)', 'x = a | b\ncheck("3.2", x)')


# --- the check --------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    return open_run("smoke", stage="prm", quiet=True)


@pytest.mark.parametrize(
    ("answer", "right", "words"),
    [
        (4.605, True, "6.1: right."),
        (2.3, False, "6.1: not yet, 2.3 is not it. Hint: Change the score"),
        (float("nan"), False, "not yet, nan"),
        (..., False, "the place of the three dots"),
        ("4.6", False, "expected a number, got str"),
        (None, False, "expected a number, got NoneType"),
    ],
)
def test_a_verdict_says_what_was_wrong(run, answer, right, words):
    verdict = judge(run, "6.1", answer)
    assert verdict.right is right
    assert words in verdict.words


def test_whole_numbers_are_met_exactly(run):
    assert judge(run, "8.3", 6).right
    assert not judge(run, "8.3", 6.01).right


@pytest.mark.parametrize("answer", [10**400, -(10**400)])
def test_a_number_that_no_float_holds_is_not_it(run, answer):
    assert not judge(run, "6.1", answer).right
    assert "inf is not it" in judge(run, "8.3", answer).words


def test_an_unknown_exercise_is_refused(run):
    with pytest.raises(ValueError, match=r"no exercise '6\.9'; there are 1\.1"):
        judge(run, "6.9", 1.0)


@pytest.mark.parametrize("watched", [True, False])
def test_only_a_person_is_told(run, capsys, monkeypatch, watched):
    monkeypatch.setattr(checking, "interactive", lambda: watched)
    checker(run)("6.1", 4.605)
    assert capsys.readouterr().out == ("6.1: right.\n" if watched else "")


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one.number)
def test_the_answer_passes_and_the_blank_fails(study, monkeypatch, one):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage=stage_of(one.number), quiet=True)
    assert judge(run, one.number, given(run, one.filled)) == (True, f"{one.number}: right.")
    assert not judge(run, one.number, given(run, one.blank)).right


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one.number)
def test_the_answer_passes_on_the_tables_that_come_with_the_project(tmp_path, monkeypatch, one):
    monkeypatch.setattr(shipped, "by_hand", lambda: True)
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    run = open_run("tiny", stage=stage_of(one.number), quiet=True)
    if not run.shipped_tables:
        pytest.skip(f"the run that comes along was made before there was a stage {run.stage}: take its tables anew")
    assert judge(run, one.number, given(run, one.filled)) == (True, f"{one.number}: right.")
    assert not judge(run, one.number, given(run, one.blank)).right
    assert not (tmp_path / "data").exists()


# --- the notebooks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_the_exercises_of_its_source(path):
    text = path.read_text()
    assert as_text(with_exercises(json.loads(text), path.stem)) == text, "python -m asprm.exercises.write"


def test_what_is_written_is_written_once(tmp_path, capsys):
    last = {"cell_type": "code", "id": "z", "metadata": {}, "source": ["run.provenance()"], "outputs": []}
    own = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# A"]}
    old = {"cell_type": "markdown", "id": "b", "metadata": {"tags": [TAG]}, "source": ["Old."]}
    for path in NOTEBOOKS:
        (tmp_path / path.name).write_text(as_text({"cells": [own, old, last], "nbformat": 4}))
    main(tmp_path)
    assert capsys.readouterr().out.splitlines()[2] == "03_threshold: 3 exercises"
    written = json.loads((tmp_path / "03_threshold.ipynb").read_text())["cells"]
    assert written == [own, *cells("03_threshold"), last]
    main(tmp_path)
    assert capsys.readouterr().out == ""


def test_hint_and_answer_are_folded():
    shown = "".join(cells("03_threshold")[-1]["source"])
    assert shown.count(":::{dropdown} ") == shown.count("\n:::") - 1 == 2
    assert exercise("3.3").filled in shown
