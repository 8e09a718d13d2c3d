import numpy as np
import pandas as pd
import pytest

from asprm.guided import against_greedy, by_trigger, greedy_verdicts
from asprm.run import open_run


def frame(correct, decisions, trigger=0.5):
    count = len(correct)
    columns = {"problem": [f"p{i}" for i in range(count)], "trigger": trigger, "correct": correct, "tokens": 10}
    return pd.DataFrame({**columns, "decisions": decisions, "changed": 0})


def test_by_trigger_by_hand():
    both = pd.concat([frame([True, False], [1, 2]), frame([True, True], [4, 6], 0.9)])
    found = by_trigger(both, seed=0)
    assert found["trigger"].tolist() == [0.5, 0.9]
    assert found["value"].tolist() == [0.5, 1.0]
    assert found["share"].tolist() == pytest.approx([0.15, 0.5])
    assert (found["low"] <= found["value"]).all()
    assert (found["share_high"] >= found["share"]).all()


def test_against_greedy_counts_discordant_problems():
    guided = frame([True] * 8 + [False] * 2, [1] * 10)
    greedy = {f"p{i}": i in (0, 1, 9) for i in range(10)}
    row = against_greedy(guided, greedy, 0.5, seed=0)
    assert (row["only TVD"], row["only greedy"]) == (6, 1)
    assert row["difference"] == pytest.approx(0.5)
    assert row["p"] == pytest.approx(2 * (1 + 7) / 2**7)  # exact McNemar: at most 1 of 7
    assert row["stepped in"] == pytest.approx(0.1)


def test_the_smoke_study_decodes_every_problem_at_every_trigger(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="tvd", quiet=True)
    for name in ("validation", "minigsm", "minimath", "minigsm-p2"):
        decoded = run.read(f"tvd/{run.prm}/M-{name}").to_pandas()
        problems = set(greedy_verdicts(run, name))
        assert set(decoded["trigger"]) == set(run.settings.triggers)
        assert (decoded.groupby("trigger")["problem"].agg(set) == problems).all()
        assert (decoded["changed"] <= decoded["decisions"]).all()
        assert (decoded["decisions"] <= decoded["tokens"]).all()
    shares = decoded.groupby("trigger")["decisions"].sum() / decoded.groupby("trigger")["tokens"].sum()
    assert np.isfinite(shares).all()
