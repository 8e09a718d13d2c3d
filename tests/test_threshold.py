"""The promise of τ: the target share of tokens lies strictly below it, to within one token, ties excepted."""

from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asprm.run.open import open_run
from asprm.threshold import fit_threshold, read_threshold, run_threshold, sweep, tau_of


def solutions(distinct=False):
    values = st.floats(2**-20, 1.0, width=32) if distinct else st.sampled_from([0.01, 0.2, 0.5, 0.99, 1.0])
    return st.lists(values, min_size=1, max_size=80, unique=distinct).flatmap(
        lambda pool: st.lists(st.integers(0, len(pool)), max_size=4).map(
            lambda cuts: [np.array(part, np.float32) for part in np.split(np.array(pool), sorted(cuts))]
        )
    )


shares = st.floats(0.001, 0.9)


def test_one_token_in_fifty_is_below_tau():
    conf = [np.linspace(0.02, 1.0, 50)]  # sorted, so the answer can be read off
    t = fit_threshold(conf, problem=[0], share=0.02)
    assert 0.02 < t.tau <= 0.04 + 1e-7
    assert (t.achieved, t.tokens, t.decision_tokens, t.tied, t.resolution) == (1 / 50, 50, 1, 1, 0)


@given(solutions(), shares)
def test_share_below_tau_is_never_more_than_asked_and_ties_explain_what_is_missing(conf, share):
    t = fit_threshold(conf, range(len(conf)), share, resamples=5)
    tokens = np.concatenate(conf)
    assert t.decision_tokens == (tokens < t.tau).sum()
    assert t.tied == (tokens == t.tau).sum() >= 1
    assert t.achieved == t.decision_tokens / len(tokens) <= share
    assert (t.decision_tokens + t.tied) / len(tokens) > share  # one more distinct value would be too many


@given(solutions(distinct=True), shares)
def test_without_ties_the_share_is_met_to_within_one_token(conf, share):
    t = fit_threshold(conf, range(len(conf)), share, resamples=5)
    assert 0 <= share * t.tokens - t.decision_tokens < 1
    assert t.tied == 1


def test_tau_compares_alike_in_float32_and_float64():
    conf = np.random.default_rng(0).random(1000).astype(np.float32)
    t = fit_threshold([conf], [0], 0.1)
    assert (conf < t.tau).sum() == (conf.astype(np.float64) < t.tau).sum() == 100


def test_interval_resamples_problems_not_tokens():
    rng = np.random.default_rng(0)
    level = rng.uniform(0.1, 0.9, 20)  # each problem hesitates at a level of its own
    conf = [np.clip(rng.normal(level[p], 0.01, 50), 0.001, 1) for p in range(20) for _ in range(4)]
    problem = [f"p{p}" for p in range(20) for _ in range(4)]
    by_problem, by_solution = fit_threshold(conf, problem, 0.3), fit_threshold(conf, range(80), 0.3)
    assert by_problem.tau == by_solution.tau
    assert by_problem.low <= by_problem.tau <= by_problem.high
    assert by_problem.high - by_problem.low > 1.5 * (by_solution.high - by_solution.low)


def test_interval_matches_a_plain_bootstrap():
    rng = np.random.default_rng(1)
    conf = [rng.beta(5, 1, size=rng.integers(5, 40)) for _ in range(30)]
    t = fit_threshold(conf, range(30), 0.1, resamples=4000)
    taus = []
    for _ in range(4000):
        tokens = np.sort(np.concatenate([conf[p] for p in rng.integers(0, 30, 30)]))
        taus.append(tokens[int(0.1 * len(tokens))])
    np.testing.assert_allclose([t.low, t.high], np.quantile(taus, [0.025, 0.975]), atol=0.02)


def test_sweep_reads_an_iterator_once_and_agrees_with_single_fits():
    rng = np.random.default_rng(2)
    conf = [rng.random(200) for _ in range(12)]
    problem = [i // 3 for i in range(12)]
    swept = sweep(iter(conf), iter(problem), [0.005, 0.02, 0.5], resamples=50)
    assert swept == [fit_threshold(conf, problem, share, resamples=50) for share in (0.005, 0.02, 0.5)]
    assert [t.tau for t in swept] == sorted(t.tau for t in swept)
    assert set(asdict(swept[0])) >= {"tau", "share", "achieved", "low", "high"}


def test_more_tokens_than_kept_cost_resolution_and_say_so():
    rng = np.random.default_rng(3)
    conf = [rng.beta(4, 1, 300) for _ in range(100)]
    exact = fit_threshold(conf, range(100), 0.1)
    rounded = fit_threshold(conf, range(100), 0.1, exact_tokens=2000)
    tokens = np.concatenate(conf).astype(np.float32)
    assert exact.resolution == 0
    assert exact.tau * (1 - rounded.resolution) <= rounded.tau <= exact.tau
    assert rounded.decision_tokens == (tokens < rounded.tau).sum()  # still a count, not an estimate
    assert abs(rounded.achieved - 0.1) < 0.002
    np.testing.assert_allclose([rounded.low, rounded.high], [exact.low, exact.high], rtol=1e-3)


def test_problems_without_tokens_are_no_trouble():
    t = fit_threshold([np.array([]), np.array([0.5, 0.9])], ["a", "b"], 0.5, resamples=100)
    assert t.tau == pytest.approx(0.9)
    assert t.low == t.high == t.tau


@pytest.mark.parametrize(
    ("conf", "problem", "share", "message"),
    [
        ([[0.5]], [0], 0, "between 0 and 1"),
        ([[0.5]], [0], 1.0, "between 0 and 1"),
        ([], [], 0.02, "no tokens"),
        ([[]], [0], 0.02, "no tokens"),
        ([[0.5, 0.0]], ["p7"], 0.02, r"'p7'.*\(0, 1\]"),
        ([[1.5]], [0], 0.02, r"\(0, 1\]"),
        ([[np.nan]], [0], 0.02, r"\(0, 1\]"),
        ([[0.5]], [0, 1], 0.02, "longer"),
    ],
)
def test_wrong_input_is_named(conf, problem, share, message):
    with pytest.raises(ValueError, match=message):
        fit_threshold([np.array(c) for c in conf], problem, share)


def test_the_stage_writes_one_threshold_for_each_share(tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    rng = np.random.default_rng(4)
    problem, conf = ["a", "a", "b", "c"], [rng.random(100).astype(np.float32) for _ in range(4)]
    samples = pa.table({"problem": problem, "confidences": conf})
    open_run("smoke", "sample", quiet=True).write("sample/M/train", samples)
    run = open_run("smoke", "threshold", quiet=True)
    assert run_threshold(run) == ["threshold/M"]
    settings = run.profile.threshold
    threshold, others = read_threshold(run)
    assert threshold == fit_threshold(conf, problem, settings.share)
    assert others == [fit_threshold(conf, problem, share) for share in settings.sweep]
    written = run.read_json("threshold/M")
    assert tau_of(written, None) == threshold.tau
    assert [tau_of(written, other.share) for other in others] == [other.tau for other in others]
    with pytest.raises(ValueError, match="no threshold was fitted for a share of 0"):
        tau_of(written, 0.9)
