"""The tables of the Verification page count the graders' verdicts, and the committed numbers can be made again."""

import json
import re

import pandas as pd
import pytest
from real_data import FOLDER, real_rows

from asprm.grading.math import grade_math
from asprm.problems.hub import load
from asprm.site import verification
from asprm.site.includes.index import INCLUDES
from asprm.site.includes.verification import verification_made, verified
from asprm.site.marks import mark_types, marks


@pytest.fixture
def folder(tmp_path):
    """A data folder of two GSM8K problems, five MATH problems and three samples."""
    answers = [r"\frac{1}{2}", "3, 5", "x=5", "5", r"\pi"]
    files = {
        "gsm8k/test.jsonl": [
            {"question": "a", "answer": "So 18.\n#### 18"},
            {"question": "b", "answer": "So 1,218.\n#### 1,218"},
        ],
        "math500/test.jsonl": [
            {"problem": "p", "solution": f"It is $\\boxed{{{answer}}}$.", "answer": answer} for answer in answers
        ],
        "metamath_llama_samples/gsm8k_bo256_confidence.jsonl": [
            {"idx": 0, "answer": "18", "pred": ["The answer is: 18", "The answer is: 18.5", "The answer is: $18"]}
        ],
    }
    for name, rows in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.mark.slow
def test_tables_count_wrong_and_differing_verdicts(folder, monkeypatch):
    monkeypatch.setattr(verification, "PAIRS", 10)
    frame = verification.answers(folder)
    table = verification.summary(frame).set_index(["data", "form"])
    assert (table.ours_wrong.fillna(0) == 0).all()
    wrong = {
        form: table.loc[("GSM8K", form), "authors_wrong"] for form in ("gold solution", "dollar sign", "half more")
    }
    assert wrong == {"gold solution": 0, "dollar sign": 2, "half more": 1}  # 1,218 is read as 1
    assert table.loc[("MATH500 pairs", "answer of another problem"), "completions"] == 10
    samples = table.loc[("MetaMath-Llama samples", "problem 0")]
    assert (samples.ours_correct, samples.authors_differs) == (pytest.approx(2 / 3), 2)
    differ = verification.disagreements(frame)
    assert differ.completions.sum() == sum(
        bool({row.authors, row.math_verify} - {row.ours, None}) for row in frame.itertuples()
    )
    assert "18 ← $18; 1,218 ← $1218" in set(differ.examples)


def test_every_wording_of_every_math500_answer_is_read():
    answers = [row["answer"] for row in real_rows("math500/test.jsonl")]
    worded = [(text.format(answer), answer) for text in verification.WORDINGS.values() for answer in answers]
    assert [answer for text, answer in worded if not grade_math(text, answer).correct] == []
    assert len(worded) == 4000


@pytest.mark.parametrize(
    ("completion", "right"), [(r"It is $\boxed{x + 1}$.", True), ("#### x+1", True), ("**Final Answer:** x+1", False)]
)
def test_the_expression_for_texts_reads_the_common_markers_only(completion, right):
    assert verification.by_text(completion, "x+1") == right


def test_the_regular_expression_loses_what_the_description_says():
    answers = ("18", "18.0", "18.5", "18/5", "1,800", "$18")
    verdicts = [verification.by_regular_expression(f"The answer is: {x}", "18") for x in answers]
    assert verdicts == [True, True, True, True, False, False]


@pytest.mark.parametrize(
    ("latex", "plain"),
    [
        (r"\frac{\pi}{2}", "(pi)/(2)"),
        (r"1\frac{4}{5}", "1 4/5"),
        (r"\left(\frac35, \sqrt{2}\right]", "(3/5, sqrt(2)]"),
        (r"\text{(C)}", "(C)"),
        (r"90^\circ", "90 degrees"),
        (r"10,\!080", "10,080"),
        (r"11,\! 111", "11,111"),
        (r"\{1\}", r"\{1\}"),
    ],
)
def test_plain_notation(latex, plain):
    assert verification.plain_notation(latex) == plain


def test_math500_answers_in_plain_notation_are_right():
    if not FOLDER.exists():
        pytest.skip(f"no real data at {FOLDER}; set ASPRM_SHARED to the folder that holds data")
    pairs = [
        (problem.answer, verification.plain_notation(problem.answer))
        for problem in load("math500", path=FOLDER / "math500")
    ]
    pairs = [(gold, plain) for gold, plain in pairs if plain != gold and "\\" not in plain]
    wrong = [(gold, plain) for gold, plain in pairs if not grade_math(f"The answer is: {plain}", gold).correct]
    assert len(pairs) > 100
    assert wrong == []


# --- the committed figures --------------------------------------------------------------------------------------------


def real_data():
    missing = [name for name in verification.FILES if not (FOLDER / name).exists()]
    if missing:
        pytest.skip(f"no real data: {missing[0]} is not in {FOLDER}; set ASPRM_SHARED to the folder that holds data")
    return FOLDER


def in_json(rows):
    return json.loads(json.dumps(rows))


def test_the_committed_figures_hold_what_must_hold():
    found = verified()
    least = {"100 %": 1.0, "all": 1.0, "≥ 99.6 %": 0.996, "≥ 99 %": 0.99, "≥ 98 %": 0.98}
    assert len(found["held"]) == 11
    for row in found["held"]:
        assert row["held"] / row["of"] >= least[row["asked"]], row
    samples = sorted((row["form"], round(row["ours_correct"], 3)) for row in found["summary"] if "Llama" in row["data"])
    assert samples == [(f"problem {i}", share) for i, share in enumerate([1.0, 0.996, 0.555, 1.0, 0.887])]
    assert sum(row["programs"] for row in found["programs"]) == 350
    assert all(row["authors"] <= row["ours"] <= row["within"] for row in found["passed"])


def test_the_committed_figures_say_what_made_them():
    found = verified()
    assert re.fullmatch("[0-9a-f]{40}", found["commit"])
    assert found["dirty"] is False
    assert set(found["versions"]) >= {"python", *verification.LIBRARIES}
    page = verification_made(None)
    assert f"Made on {found['date']} with commit `{found['commit'][:10]}` and python " in page


def test_the_committed_figures_are_of_these_files():
    assert verified()["files"] == verification.digests(real_data())


@pytest.mark.slow
def test_figures_of_mathematics_can_be_made_again():
    made = verification.held_answers(real_data())
    assert in_json(made) == verified()["held"][: len(made)]


@pytest.mark.slow
def test_figures_of_the_marks_can_be_made_again():
    folder, found = real_data(), verified()
    assert in_json(marks(folder)) == found["marks"]
    made = mark_types(folder).round(4)
    pd.testing.assert_frame_equal(made, pd.DataFrame(found["mark_types"]), check_dtype=False, atol=1e-4)


@pytest.mark.slow
def test_tables_of_graders_can_be_made_again():
    """All of ours and of the regular expression; math-verify, which is slow, on one problem's samples."""
    frame = verification.answers(real_data(), slow=lambda form: form == "problem 2")
    made, kept = verification.summary(frame), pd.DataFrame(verified()["summary"])
    for column in made.columns:
        if not column.startswith("math_verify"):
            pd.testing.assert_series_equal(made[column], kept[column], check_dtype=False, atol=1e-9)
    column, row = "math_verify_differs", made["form"] == "problem 2"
    assert made.loc[row, column].item() == kept.loc[row, column].item()


def test_every_part_of_the_page_can_be_written():
    pages = {name: make(None) for name, make in INCLUDES.items() if name.startswith("verification_")}
    assert "| GSM8K test: the gold solution is right | 100\u00a0% | 1,319 of 1,319 |" in pages["verification_held"]
    assert '<img alt="Share of decision tokens by type beside the paper' in pages["verification_types"]
    assert "| Math Formula | " in pages["verification_types"]
    assert all("None" not in page and "nan" not in page for page in pages.values())
