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


@pytest.mark.parametrize("labels", [[1.0], [], None, 1.0])
def test_a_row_without_a_label_for_each_step_is_refused(labels):
    with pytest.raises(ValueError, match="labels"):
        to_trl(ROW | {"labels": labels})
