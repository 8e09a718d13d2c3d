"""What reward models do elsewhere, read from the tables of the smoke study and counted again by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from asprm import generalize as g
from asprm.problems.sets import test_sets as sets_of
from asprm.results import outcomes
from asprm.results.learned_from import splits_by_difficulty, training_data
from asprm.results.outcomes import OWN, RANDOM, Outcomes
from asprm.results.sweep import sweep
from asprm.run import names
from asprm.run.open import open_run


@pytest.fixture
def run(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    return open_run("smoke", stage="generalize", quiet=True)


@pytest.fixture
def results(run):
    return run.read(names.RESULTS).to_pandas()


def by_hand(run, table):
    """Share of problems whose candidate of the highest minimum is right; ties are shared."""
    frame = run.read(table).to_pandas()
    frame["score"] = frame["scores"].map(min)
    best = frame[frame["score"] == frame.groupby("problem")["score"].transform("max")]
    return best.groupby("problem")["correct"].mean().mean()


# --- outcomes by problem ----------------------------------------------------------------------------------------------


def test_outcomes_have_one_row_per_training(run):
    own = outcomes.best_of_n(run, "ASPRM-M", "M", "minigsm")
    trainings = run.profile.trainings("ASPRM-M", "M")
    assert own.values.shape == (len(trainings), run.profile.problems.test["minigsm"])
    shares = [by_hand(run, names.scores(training, "M", "minigsm")) for training in trainings]
    assert own.values.mean(1) == pytest.approx(shares)
    assert own.mean.mean() == pytest.approx(np.mean(shares))
    assert own.artifact == "best_of_n/ASPRM-M/M-minigsm"
    elsewhere = outcomes.best_of_n(run, "ASPRM-M", "L", "minigsm")
    assert len(elsewhere.values) == 1


def test_random_positions_are_averaged(run):
    draws = [names.random_position(k) for k in range(run.profile.best_of_n.random)]
    shares = [by_hand(run, names.scores("ASPRM-L", "L", "minigsm", draw)) for draw in draws]
    assert outcomes.best_of_n(run, "ASPRM-L", "L", "minigsm", RANDOM).values.mean() == pytest.approx(np.mean(shares))


def test_greedy_single_and_guided_outcomes(run):
    greedy = run.read("sample/M/minigsm-greedy").to_pandas().set_index("problem")["correct"]
    assert outcomes.greedy(run, "M", "minigsm").mean.to_dict() == greedy.to_dict()
    samples = run.read("sample/M/minigsm").to_pandas()
    assert outcomes.single_sample(run, "M", "minigsm").mean.mean() == pytest.approx(samples["correct"].mean())
    trigger = outcomes.chosen_trigger(run, "ASPRM-M", "M")
    assert trigger in run.profile.tvd.triggers
    decoded = run.read("tvd/ASPRM-M/M-minigsm").to_pandas()
    right = decoded[decoded["trigger"] == trigger].set_index("problem")["correct"]
    assert outcomes.guided(run, "ASPRM-M", "M", "minigsm").mean.to_dict() == right.to_dict()


def test_clusters_are_templates_where_there_are_some():
    templates = {"a": "one", "b": "one"}
    assert outcomes.clusters(templates, ["b", "c", "a"]) == ["one", "c", "one"]
    assert outcomes.clusters(templates, ["c", "d"]) is None


# --- the stage --------------------------------------------------------------------------------------------------------


def test_results_are_those_of_the_tables(run, results):
    profile = run.profile
    pairs = {(prm, policy) for policy, prms in profile.best_of_n.score.items() for prm in prms}
    assert set(zip(results["prm"], results["policy"], strict=True)) == pairs
    for row in results[results["position"] == OWN].itertuples():
        trainings = profile.trainings(row.prm, row.policy)
        shares = [by_hand(run, names.scores(training, row.policy, row.set)) for training in trainings]
        assert row.trainings == len(trainings)
        assert row.bon == pytest.approx(np.mean(shares))
        assert (row.worst, row.best) == pytest.approx((min(shares), max(shares)))
        assert row.low <= row.bon <= row.high
    own = {prm for prm, policy in pairs if profile.reward_models[prm].base == policy}
    assert set(results[results["position"] == RANDOM]["prm"]) == own


def test_the_stage_writes_equal_bytes_each_time(run, tmp_path):
    again = replace(run, folder=tmp_path)
    assert g.run_generalize(again) == [names.RESULTS]
    file = f"{names.RESULTS}.parquet"
    assert again.path(file).read_bytes() == run.find(file).read_bytes()


def test_a_reward_model_rates_where_its_own_kind_of_step_ends(run):
    for prm, model in run.profile.reward_models.items():
        table = model.tables[0]
        kind, policy = table.method.kind, table.policy
        if policy != model.base or kind not in ("line", "adaptive") or table.method.share:
            continue
        name = sets_of(run.profile, run.profile.policies[policy].domain)[0]
        same = names.LINE if kind == "line" else names.CONFIDENCE
        own, at = (run.read(names.scores(prm, policy, name, position)) for position in (names.OWN, same))
        assert own.equals(at)
    [whole] = run.profile.of_role("outcome")
    scores = run.read(names.scores(whole, "D", "minicode"))["scores"].to_pylist()
    assert all(len(row) == 1 for row in scores)


# --- comparisons ------------------------------------------------------------------------------------------------------


def test_transfer_is_the_difference_of_two_results(run, results):
    own = results[results["position"] == OWN].set_index(["prm", "policy", "set"])
    rows = g.against_own(run, results, "transfer")
    assert set(rows["policy"]) == {"M", "L"}
    assert (set(rows["prm"]), set(rows["against"])) == ({"L-to-M"}, {"ASPRM-M"})
    for row in rows.itertuples():
        column = "bon" if row.way == "Best-of-N" else "tvd"
        this, other = (own.loc[prm, row.policy, row.set][column] for prm in (row.prm, row.against))
        assert (row.this, row.other) == pytest.approx((this, other))
        assert row.difference == pytest.approx(this - other)
        if np.isnan(row.p):  # not tested, for nothing could differ
            assert row.difference == 0
            continue
        assert row.low <= row.difference + 1e-9
        assert row.difference <= row.high + 1e-9
    tested = rows.dropna(subset="p")
    assert (tested["p (Holm)"] >= tested["p"]).all()


def test_a_mixture_is_set_against_the_reward_model_of_its_own_base(run, results):
    rows = g.against_own(run, results, "mixture")
    assert dict(zip(rows["prm"], rows["against"], strict=True)) == {"M+C": "ASPRM-M", "C+M": "ASPRM-D"}
    assert g.against_own(run, results, "no such role").empty


def test_other_problems_are_those_from_templates_and_of_another_domain(run, results):
    rows = g.on_other_problems(run, results)
    other = {name: set(group["prm"]) for name, group in rows.groupby("set")}
    assert other["minigsm-p2"] == {"ASPRM-M", "ASPRM-L", "ASPRM-D"}
    assert other["minigsm"] == {"ASPRM-D"}
    assert other["minicode"] == {"ASPRM-L"}
    greedy = results.set_index(["policy", "set"])["greedy"].groupby(level=[0, 1]).first()
    for row in rows.itertuples():
        assert row.other == pytest.approx(greedy[row.policy, row.set])


def test_outcomes_of_different_problems_cannot_be_paired(run):
    a, b = (Outcomes((name,), np.ones((1, 1)), f"tvd/{name}") for name in "ab")
    with pytest.raises(ValueError, match="tvd/a and tvd/b are of different problems of minigsm"):
        g.paired(run, a, b, "minigsm")


# --- parts of the results ---------------------------------------------------------------------------------------------


def test_parts_of_the_results(run, results):
    first = g.of_first_sets(run, results)
    assert set(zip(first["policy"], first["set"], strict=True)) == {
        ("M", "minigsm"),
        ("L", "minigsm"),
        ("D", "minicode"),
    }
    places = g.at_other_positions(run, results)
    assert set(places["position"]) == {"confidence", "line break", RANDOM}
    assert not set(places["prm"]) & set(run.profile.of_role("sweep"))


def test_the_sweep_is_in_order_of_the_share(run, results):
    swept = sweep(run, results, "M")
    assert set(swept["position"]) == {OWN, "confidence"}
    for _, rows in swept.groupby(["set", "position"]):
        assert len(rows) == len(run.profile.of_role("sweep")) + 1
        assert rows["share"].is_monotonic_increasing
        assert run.profile.threshold.share in set(rows["share"])


def test_a_reward_model_of_another_share_rates_at_its_own_steps_and_at_the_studys(run):
    """A smaller share has fewer decision tokens, and each of these is one of the study's own."""
    smallest = min(run.profile.of_role("sweep"), key=lambda name: run.profile.reward_models[name].rates.share)
    own, same = (run.read(names.scores(smallest, "M", "minigsm", at)) for at in (names.OWN, names.CONFIDENCE))
    steps = [table["scores"].to_pandas().map(len) for table in (own, same)]
    assert (steps[0] <= steps[1]).all()
    assert steps[0].sum() < steps[1].sum()
    reference = run.read(names.scores("ASPRM-M", "M", "minigsm"))["scores"].to_pandas().map(len)
    assert (steps[1] == reference).all()


def test_training_data_by_hand(run):
    data = training_data(run).set_index("prm")
    labels = run.read("rollout/M/line").to_pandas()
    steps = labels.groupby(["problem", "solution"]).size()
    assert data.loc["MS-M", "solutions"] == len(steps)
    assert data.loc["MS-M", "steps"] == pytest.approx(steps.mean())
    assert data.loc["ORM-D", "steps"] == 1
    assert not set(data.index) & set(run.profile.of_role("sweep", "transfer", "mixture"))


def test_difficulty_by_hand(run):
    every = splits_by_difficulty(run, groups=2)
    assert list(dict.fromkeys(every["policy"])) == list(run.profile.policies)
    groups = every[every["policy"] == "M"]
    assert groups["solved"].is_monotonic_increasing
    samples = run.read("sample/M/train").to_pandas()
    tau = run.read_json("threshold/M")["tau"]
    below = (samples["confidences"].map(lambda row: (row < tau).sum()) * samples["count"]).sum()
    counts = samples.groupby("problem")["count"].sum()
    assert counts.nunique() == 1  # so that the mean over problems is that over solutions
    sizes = [len(part) for part in np.array_split(np.arange(len(counts)), 2)]
    assert np.average(groups["steps"], weights=sizes) == pytest.approx(below / counts.sum())


def test_what_is_chosen_gains_what_best_of_n_gains_over_a_random_candidate(run):
    chosen = g.chosen_candidates(run).set_index(["policy", "reward model"])
    gain = "gain over a random candidate"
    for (policy, prm), row in chosen.iterrows():
        name = sets_of(run.profile, run.profile.policies[policy].domain)[0]
        first = outcomes.single_sample(run, policy, name).mean.mean()
        best = outcomes.best_of_n(run, prm, policy, name).values.mean()
        assert row[gain] == pytest.approx(best - first)
        assert row["low"] <= row[gain] <= row["high"]
    assert not set(chosen.index.get_level_values(1)) & set(run.profile.of_role("sweep"))


def test_what_differs_where_a_reward_model_chooses_worse_than_chance_is_told_by_the_table():
    rows = [
        ("M", "MS-M", -0.2, 0.01, 0.4, 0.6, 0.36, 0.15, 0.5, 0.3),
        ("M", "A", 0.2, 0.1, 0.8, 0.6, 0.1, 0.15, 0.2, 0.3),
    ]
    columns = ["policy", "reward model", "gain over a random candidate", "spread", "usual right", "all usual right"]
    frame = pd.DataFrame(rows, columns=[*columns, "rare", "all rare", "doubtful", "all doubtful"])
    told = g.why_worse(frame)
    assert "worse than a random candidate: MS-M on M. " in told
    assert "right for 40.0 %, random ones for 60.0 %: length is not the reason" in told
    assert "is 0.010, the others' 0.100" in told
    assert "Of their picks 36.0 %, the others' 10.0 % have an answer" in told
    assert "length may be" in g.why_worse(frame.assign(**{"usual right": 0.7}))
    assert g.why_worse(frame[1:]) == "Here no reward model chooses worse than a random candidate."


def test_holm_is_over_all_rows():
    rows = g._corrected(pd.DataFrame({"p": [0.01, 0.04]}))
    assert rows["p (Holm)"].tolist() == [0.02, 0.04]
    assert g._corrected(pd.DataFrame()).empty
