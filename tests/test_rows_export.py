import pytest

from asprm.rows.export import to_prm800k, to_trl

ROW = {"problem": "2 + 3?", "answer": "5", "steps": ["2 + 3", " = 6"], "labels": [1.0, 0.0]}


def test_trl_rows_have_prompt_completions_and_boolean_labels():
    assert to_trl(ROW) == {"prompt": "2 + 3?", "completions": ["2 + 3", " = 6"], "labels": [True, False]}


def test_trl_rows_make_the_data_set_that_trl_documents():
    from datasets import Dataset, Value

    features = Dataset.from_list([to_trl(ROW)]).features
    assert features["prompt"] == Value("string")
    assert features["labels"].feature == Value("bool")


def test_a_soft_label_is_right_above_the_threshold():
    soft = ROW | {"labels": [0.25, 0.75]}
    assert to_trl(soft)["labels"] == [True, True]
    assert to_trl(soft, 0.5)["labels"] == [False, True]
    assert to_trl(ROW | {"labels": [0.5, 0.0]}, 0.5)["labels"] == [False, False]


def test_prm800k_rates_steps():
    found = to_prm800k(ROW)
    assert found["question"] == {"problem": "2 + 3?", "ground_truth_answer": "5"}
    steps = found["label"]["steps"]
    assert [step["completions"][0]["text"] for step in steps] == ROW["steps"]
    assert [step["completions"][0]["rating"] for step in steps] == [1, -1]
    assert [step["chosen_completion"] for step in steps] == [0, None]
    assert found["label"]["finish_reason"] == "found_error"
    assert to_prm800k(ROW | {"labels": [1, 1]})["label"]["finish_reason"] == "solution"


@pytest.mark.parametrize(
    "labels", [[1.0], [], None, 1.0, {}, [None, 1], [float("nan"), 1], [-100, 1], [2, 0], ["1", "0"]]
)
def test_a_row_without_a_label_for_each_step_is_refused(labels):
    with pytest.raises(ValueError, match="labels"):
        to_trl(ROW | {"labels": labels})


@pytest.mark.parametrize("steps", [[1, 2], None, "2 + 3 = 6", ["2 + 3", None], ["2 + 3", " =6"], {}])
def test_steps_that_are_not_those_of_the_solution_are_refused(steps):
    for form in (to_trl, to_prm800k):
        with pytest.raises(ValueError, match="steps"):
            form(ROW | {"solution": "2 + 3 = 6", "steps": steps})


def test_the_answer_is_one_or_missing():
    assert to_prm800k({**ROW, "answer": None})["question"]["ground_truth_answer"] is None
    assert to_prm800k({**ROW, "answer": "2 + 3\n#### 5"})["question"]["ground_truth_answer"] == "5"
    with pytest.raises(ValueError, match="'answer' is NaN"):
        to_prm800k({**ROW, "answer": float("nan")})


def test_a_label_at_the_threshold_is_wrong_however_it_is_rounded():
    assert to_trl(ROW | {"labels": [0.55, 0.56]}, 0.55)["labels"] == [False, True]
