"""Which solutions of a run the chapters show, and with what."""

import numpy as np
import pytest

from asprm.run import names
from asprm.run.open import open_run
from asprm.site.solutions import labelled, sampled
from asprm.split import adaptive


@pytest.fixture
def opened(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    return lambda stage, **parameters: open_run("smoke", stage=stage, parameters=parameters, quiet=True)


def test_the_first_solution_of_each_problem_is_shown_with_its_confidences(opened):
    run = opened("threshold", policy="M")
    data = sampled(run, most=5).data
    samples = run.read(names.samples("M", "train")).to_pandas().drop_duplicates("problem").head(5)
    assert data["tau"] == run.read_json(names.threshold("M"))["tau"]
    steps = []
    for row, shown in zip(samples.itertuples(), data["solutions"], strict=True):
        assert shown["title"].startswith(f"Problem {row.problem},")
        assert "".join(shown["tokens"]) == row.text
        assert np.array_equal(np.array(shown["confidences"], np.float32), row.confidences)
        assert shown["correct"] == row.correct
        steps.append(int((row.confidences < data["tau"]).sum()))
    assert data["first"] == int(np.argmax(steps))


def test_labels_stand_at_the_step_ends_of_the_threshold(opened):
    data = labelled(opened("rollout", policy="M")).data
    assert len(data["solutions"]) > 5
    for shown in data["solutions"]:
        ends = adaptive(np.array(shown["confidences"], np.float32).tolist(), data["tau"])
        assert list(map(int, shown["values"]["label"])) == ends.tolist()
    labels = list(data["solutions"][data["first"]]["values"]["label"].values())
    assert (1 in labels, labels[-1]) == (True, 0)


def test_steps_of_another_kind_are_shown_where_they_end(opened):
    data = labelled(opened("rollout", policy="M", method="line")).data
    assert data["tau"] is None
    for shown in data["solutions"]:
        assert shown["ends"] == list(map(int, shown["values"]["label"]))
        ends = set(shown["ends"][:-1])
        assert ends <= {i for i, token in enumerate(shown["tokens"], 1) if "\n" in token}
