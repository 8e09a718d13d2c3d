"""Which examples form a step, where their labels go, and what the measures mean."""

import math
from dataclasses import replace
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tiny_models import some_examples

from asprm.reward.score import Item
from asprm.reward.trainer import Batches, Settings, collate, measure

SETTINGS = Settings(epochs=2, learning_rate=3e-3, batch_tokens=400, warmup=0.2, weight_decay=0.01)


@hypothesis_settings(deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=40),
    st.integers(1, 200),
    st.integers(1, 50),
    st.integers(0, 3),
)
def test_every_example_comes_once_an_epoch(lengths, batch, micro, epoch):
    items = [Item(np.array([1]), np.full(n, i), np.array([n])) for i, n in enumerate(lengths)]
    settings = replace(SETTINGS, batch_tokens=batch, micro_tokens=micro)
    batches = Batches(items, settings, seed=0)
    batches.set_epoch(epoch)
    parts = list(batches)
    assert len(parts) == len(batches) == batches.steps * batches.parts
    assert all(parts)
    assert sorted(chain(*parts)) == list(range(len(lengths)))
    # A step holds the same examples however it is cut.
    single = Batches(items, replace(settings, micro_tokens=10**6), seed=0)
    single.set_epoch(epoch)
    n = batches.parts
    assert [set(x) for x in single] == [set(chain(*parts[i : i + n])) for i in range(0, len(parts), n)]


def test_epochs_differ_and_seeds_differ():
    data = some_examples(40)
    orders = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0)):
        batches = Batches(data, SETTINGS, seed)
        batches.set_epoch(epoch)
        orders.append(list(batches))
    assert orders[0] == orders[3]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_solutions_of_a_problem_come_together():
    data = some_examples(40)  # four solutions of each problem
    mixed = [data[i] for i in np.random.default_rng(0).permutation(len(data))]
    batches = Batches(mixed, replace(SETTINGS, batch_tokens=10**6, micro_tokens=10**6), seed=0)
    (order,) = list(batches)
    assert sorted(order) == list(range(40))
    prompts = [mixed[i].prompt.tobytes() for i in order]
    assert sum(a != b for a, b in pairwise(prompts)) == len(set(prompts)) - 1


def test_collate_puts_labels_where_steps_end():
    data = some_examples(8)
    batch = collate(data)
    ids = batch["packed"].ids[0][batch["at"]].numpy()
    assert ids.tolist() == [x.ids[end - 1] for x in data for end in x.ends]
    assert np.array_equal(ids % 2, batch["labels"].numpy())


logit = st.integers(-4, 4).map(float)  # few values, so that ties are frequent


@hypothesis_settings(deadline=None)
@given(st.lists(st.tuples(logit, st.sampled_from([0.0, 0.25, 1.0])), min_size=1, max_size=12))
def test_measures_against_their_definitions(pairs):
    outputs, labels = np.array(pairs).T
    found = measure(outputs, labels)
    r = 1 / (1 + np.exp(-outputs))
    assert found["loss"] == pytest.approx(-np.mean(labels * np.log(r) + (1 - labels) * np.log(1 - r)))
    assert found["accuracy"] == pytest.approx(
        np.mean([y if p >= 0.5 else 1 - y for p, y in zip(r, labels, strict=True)])
    )
    weight = np.outer(labels, 1 - labels)
    above = np.sign(outputs[:, None] - outputs[None, :]) / 2 + 0.5
    # A soft label weighs against itself too, and ties with itself.
    if labels.sum() and (1 - labels).sum():
        assert found["auc"] == pytest.approx((weight * above).sum() / (labels.sum() * (1 - labels).sum()))
    else:
        assert math.isnan(found["auc"])
