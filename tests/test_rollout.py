from dataclasses import dataclass, replace

import numpy as np
import pytest
from conftest import REPOSITORY
from hypothesis import example, given
from hypothesis import strategies as st

from asprm import rollout
from asprm.engines.load import load_engine
from asprm.engines.protocol import Completion, Sampling
from asprm.problems.load import load
from asprm.problems.problem import Problem
from asprm.rollout import Labelling, _Item, _Solution, label, roll_out, waves
from asprm.run.profile import load_profile
from asprm.statistics import expected_rollouts


@given(st.integers(1, 100))
def test_waves_double_and_sum_to_j(rollouts):
    sizes = list(waves(rollouts))
    assert sum(sizes) == rollouts
    assert sizes[:-1] == [1, 1, 2, 4, 8, 16, 32, 64][: len(sizes) - 1]


def test_labels_by_hand():
    right, ran = np.array([0, 1, 4, 8]), np.array([8, 8, 8, 8])
    assert label(right, ran, "hard").tolist() == [0, 1, 1, 1]
    assert label(right, ran, "soft").tolist() == [0, 0.125, 0.5, 1]
    entropy = label(right, ran, "entropy", eta=2.0)
    assert entropy[0] == 0
    assert entropy[3] == pytest.approx(1)
    assert entropy[2] == pytest.approx(np.log((4 * np.exp(2) + 4) / 8) / 2)
    with pytest.raises(ValueError, match="unknown estimate 'median'"):
        label(right, ran, "median")


@example(0.9, 8)  # which rounding lifted above 1
@given(st.floats(1e-6, 1e6) | st.sampled_from([499.9, 500.0, 709.0, 710.0, 1e6, 1e300]), st.integers(0, 8))
def test_entropy_lies_between_soft_and_hard(eta, right):
    soft, entropy, hard = (float(label(right, 8, how, eta)) for how in ("soft", "entropy", "hard"))
    assert soft - 1e-9 <= entropy <= hard + 1e-9
    assert 0 <= entropy <= 1


def test_entropy_of_a_great_eta_goes_on_where_its_exponential_ends():
    for right in range(9):
        below, above = (float(label(right, 8, "entropy", eta)) for eta in (499.999, 500.001))
        assert below == pytest.approx(above, abs=1e-5)
    assert label([0, 1, 8], [8, 8, 8], "entropy", 1e6).tolist() == pytest.approx([0, 1 - np.log(8) / 1e6, 1])


@dataclass
class Coin:
    """An engine whose rollouts come right by the seed: a double small enough to count by hand."""

    right: float
    share: bool = False
    calls: int = 0

    class tokenizer:
        @staticmethod
        def decode(ids, skip_special_tokens):
            return f"The answer is: {ids[-1]}"

    def stream(self, requests, sampling, follow, confidences):
        queue = list(requests)
        while queue:
            request = queue.pop()
            self.calls += 1
            came = np.random.default_rng(request.seed).random() < self.right
            completion = Completion(np.array([42 if came else 13], np.int32), np.ones(1, np.float32), True)
            queue += follow(request, completion)
            yield request, completion


def labellings(count):
    rng = np.random.default_rng(0)
    return [
        Labelling(
            Problem(f"p{i}", "math", "?", "42"),
            prompt=np.array([1, 2, 3], np.int32),
            ids=tuple(rng.integers(4, 9, 6).astype(np.int32) for _ in range(2)),
            ends=(np.array([2, 4, 6], np.int32),) * 2,
            correct=(False, True),
            rollouts=8,
            estimate="hard",
        )
        for i in range(count)
    ]


def distinct(steps):
    return {step for of_labelling in steps for step in of_labelling.values()}


@pytest.mark.slow
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_stopping_early_gives_the_labels_of_all_rollouts(p):
    hard = labellings(150)
    early, full = Coin(p), Coin(p)
    stopped = roll_out(hard, early, Sampling(), seed=3)
    whole = roll_out([replace(labelling, estimate="soft") for labelling in hard], full, Sampling(), seed=3)
    for a, b in zip(stopped, whole, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            assert (a[key].right > 0) == (b[key].right > 0)
            assert a[key].done <= b[key].done == 8
    assert full.calls == 8 * len(distinct(whole))
    if p == 0:
        assert early.calls == full.calls
    else:  # waves cost at most twice what one at a time would
        assert early.calls <= 2 * expected_rollouts(p, 8) * len(distinct(whole))


def test_equal_prefixes_are_labelled_once():
    [labelling] = labellings(1)
    ids = np.arange(4, 10, dtype=np.int32)
    twins = replace(labelling, ids=(ids, np.append(ids[:4], [4, 4]).astype(np.int32)))
    engine = Coin(0.0)
    [steps] = roll_out([twins], engine, Sampling(), seed=0)
    assert steps[0, 0] is steps[1, 0]
    assert steps[0, 1] is steps[1, 1]
    assert engine.calls == 16


@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
def test_asking_an_engine_that_shares_for_more_at_once_changes_no_count(p):
    one_by_one, at_once = Coin(p), Coin(p, share=True)
    a, b = (roll_out(labellings(100), engine, Sampling(), seed=3) for engine in (one_by_one, at_once))
    for some, others in zip(a, b, strict=True):
        assert some.keys() == others.keys()
        for key, step in some.items():
            assert (step.right, step.done, step.tokens) == tuple(
                getattr(others[key], name) for name in ("right", "done", "tokens")
            )
    steps = distinct(b)
    likely = [step for step in steps if step.likely]
    assert 0 < len(likely) < len(steps)
    # A step of a right solution asks for two first, and for the rest if both went wrong; another for all.
    asked = [8 if not any(outcome.right for outcome in step.outcomes[:2]) else 2 for step in likely]
    assert at_once.calls == sum(asked) + 8 * (len(steps) - len(likely))


@pytest.fixture(scope="module")
def engine():
    return load_engine(REPOSITORY / "data" / "policies" / "M")


def real_items(engine, **cuts):
    """True solutions, cut at random places by the methods named in `cuts` (how many inner ends each has)."""
    rng = np.random.default_rng(0)
    some = []
    for problem in load("minigsm", "train", 6):
        ids = np.array(engine.tokenizer(problem.solution, add_special_tokens=False)["input_ids"], np.int32)
        ends = {
            name: np.unique(np.append(rng.integers(1, len(ids), count), len(ids))).astype(np.int32)
            for name, count in cuts.items()
        }
        if "line" in ends:
            ends["line-entropy"] = ends["line"]
        some.append(_Item(problem, (_Solution(0, ids, True, ends, ends),)))
    return some


def label_chunk(some, engine, methods, **changed):
    settings = load_profile("tiny").rollout.model_copy(update=changed)
    return rollout._label_chunk(some, engine, methods=methods, settings=settings, limit=120, seed=0).to_pandas()


@pytest.mark.slow
def test_a_real_policy_gives_the_same_hard_labels_early_and_late(engine):
    some = real_items(engine, adaptive=2)
    early = label_chunk(some, engine, ["adaptive"])
    late = label_chunk(some, engine, ["adaptive"], estimate="soft")
    assert (early["label"] == (late["label"] > 0)).all()
    assert early["tokens"].sum() < late["tokens"].sum()
    assert early["label"].mean() > 0
    assert engine.share  # all J of a step at once; in waves one after the other they give the same table
    engine.share = False
    try:
        assert label_chunk(some, engine, ["adaptive"]).equals(early)
    finally:
        engine.share = True


@pytest.mark.slow
def test_methods_that_share_rollouts_have_the_labels_of_each_alone(engine):
    some = real_items(engine, adaptive=3, line=2, whole=0)
    methods = ["adaptive", "line", "whole", "line-entropy"]
    together = label_chunk(some, engine, methods, entropy_rollouts=3)
    assert list(together["method"].unique()) == methods
    for method in methods:
        alone = label_chunk(some, engine, [method], entropy_rollouts=3)
        both = together[together["method"] == method].reset_index(drop=True)
        assert both.equals(alone)
    whole = together[together["method"] == "whole"]
    assert (whole["tokens"] == 0).all()
    assert len(whole) == len(some)
    entropy = together[together["method"] == "line-entropy"].groupby("problem")["rollouts"].max()
    assert set(entropy) <= {1, 3}
    assert 0 < together["label"].mean() < 1
