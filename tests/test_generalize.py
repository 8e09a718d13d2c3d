"""What reward models do elsewhere, read from the tables of the smoke study and counted again by hand."""

import numpy as np
import pytest

from asprm import generalize as g
from asprm.run.names import Method
from asprm.run.open import open_run


@pytest.fixture
def run(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    return open_run("smoke", stage="generalize", quiet=True)


def by_hand(run, table):
    """Share of problems whose candidate of the highest minimum is right; ties are shared."""
    frame = run.read(f"best_of_n/{table}").to_pandas()
    frame["score"] = frame["scores"].map(min)
    best = frame[frame["score"] == frame.groupby("problem")["score"].transform("max")]
    return best.groupby("problem")["correct"].mean().mean()


def test_results_are_those_of_the_tables(run):
    found = g.results(run)
    profile = run.profile
    pairs = {(prm, policy) for policy, prms in profile.best_of_n.score.items() for prm in prms}
    assert set(zip(found["prm"], found["policy"], strict=True)) == pairs
    for row in found[found["position"] == g.OWN].itertuples():
        trainings = profile.trainings(row.prm, row.policy)
        shares = [by_hand(run, f"{artifact}/{row.policy}-{row.set}") for artifact in trainings]
        assert row.trainings == len(trainings)
        assert row.bon == pytest.approx(np.mean(shares))
        assert (row.worst, row.best) == pytest.approx((min(shares), max(shares)))
        assert row.low <= row.bon <= row.high
    own = {prm for prm, policy in pairs if profile.reward_models[prm].base == policy}
    assert set(found[found["position"] == "random"]["prm"]) == own


def test_a_reward_model_rates_where_its_own_kind_of_step_ends(run):
    for prm, model in run.profile.reward_models.items():
        kind = Method.parse(model.data[0].partition("/")[2]).kind
        [policy] = {table.partition("/")[0] for table in model.data[:1]}
        if policy != model.base or kind not in ("line", "adaptive"):
            continue
        name = next(iter(g.test_sets(run.profile, run.profile.policies[policy].domain)))
        same = "@line" if kind == "line" else "@confidence"
        assert run.read(f"best_of_n/{prm}/{policy}-{name}").equals(run.read(f"best_of_n/{prm}/{policy}-{name}{same}"))
    whole = next(prm for prm, model in run.profile.reward_models.items() if model.data[0].endswith("/whole"))
    scores = run.read(f"best_of_n/{whole}/D-minicode")["scores"].to_pylist()
    assert all(len(row) == 1 for row in scores)


def test_transfer_is_the_difference_of_two_results(run):
    found = g.results(run)
    own = found[found["position"] == g.OWN].set_index(["prm", "policy", "set"])
    rows = g.transfer(run, found, "L-to-M", "ASPRM-M")
    assert set(rows["policy"]) == {"M", "L"}
    for row in rows.itertuples():
        column = "bon" if row.way == "Best-of-N" else "tvd"
        this, other = (own.loc[prm, row.policy, row.set][column] for prm in ("L-to-M", "ASPRM-M"))
        assert (row.this, row.other) == pytest.approx((this, other))
        assert row.difference == pytest.approx(this - other)
        assert row.low <= row.difference + 1e-9
        assert row.difference <= row.high + 1e-9


def test_the_sweep_is_in_order_of_the_share(run):
    swept = g.sweep(run, g.results(run), "M")
    shares = [model.data[0] for prm, model in run.profile.reward_models.items() if prm.startswith("sweep")]
    for _, rows in swept.groupby("set"):
        assert len(rows) == len(shares) + 1
        assert rows["share"].is_monotonic_increasing
        assert run.profile.threshold.share in set(rows["share"])


def test_training_data_and_difficulty_by_hand(run):
    data = g.training_data(run).set_index("prm")
    labels = run.read("rollout/M/line").to_pandas()
    steps = labels.groupby(["problem", "solution"]).size()
    assert data.loc["MS-M", "solutions"] == len(steps)
    assert data.loc["MS-M", "steps"] == pytest.approx(steps.mean())
    assert data.loc["ORM-D", "steps"] == 1
    assert not any(prm.startswith("sweep") for prm in data.index)
    groups = g.splits_by_difficulty(run, "M", groups=2)
    assert groups["solved"].is_monotonic_increasing
    samples = run.read("sample/M/train").to_pandas()
    tau = run.read_json("threshold/M")["tau"]
    below = (samples["confidences"].map(lambda row: (row < tau).sum()) * samples["count"]).sum()
    problems = samples["problem"].nunique()
    counts = samples.groupby("problem")["count"].sum()
    assert counts.nunique() == 1  # so that the mean over problems is that over solutions
    sizes = [len(part) for part in np.array_split(np.arange(problems), 2)]
    assert np.average(groups["steps"], weights=sizes) == pytest.approx(below / counts.sum())


def test_what_is_chosen_gains_what_best_of_n_gains_over_a_lot(run):
    found = g.chosen_ones(run).set_index(["policy", "reward model"])
    for (policy, prm), row in found.iterrows():
        name = g.test_sets(run.profile, run.profile.policies[policy].domain)[0]
        table = run.read(f"best_of_n/{prm}/{policy}-{name}").to_pandas()
        first = table.groupby("problem", sort=False)["correct"].mean().mean()
        best = g.best_of_n(run, prm, policy, name).iloc[:, 0].mean()
        assert row["gain over a lot"] == pytest.approx(best - first)
        assert row["low"] <= row["gain over a lot"] <= row["high"]
