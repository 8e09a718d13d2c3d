"""How many lanes a model gets, and that torch's threads are given back."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tiny_models import config
from transformers import AutoModelForTokenClassification

from asprm import lanes as module
from asprm.lanes import lanes, side_by_side


@pytest.fixture()
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_small_models_get_as_many_lanes_as_threads(four_threads, monkeypatch):
    model = AutoModelForTokenClassification.from_config(config())
    assert lanes(model) == 4
    monkeypatch.setattr(module, "_SMALL", 1000)
    assert lanes(model) == 1


def test_each_lane_has_one_thread_and_all_are_given_back(four_threads):
    with side_by_side(4) as pool:
        assert isinstance(pool, ThreadPoolExecutor)
        assert list(pool.map(lambda _: torch.get_num_threads(), range(8))) == [1] * 8
    assert torch.get_num_threads() == 4
    with pytest.raises(KeyError), side_by_side(2) as pool:
        list(pool.map({}.__getitem__, "a"))
    assert torch.get_num_threads() == 4


def test_a_single_lane_keeps_the_threads(four_threads):
    with side_by_side(1):
        assert torch.get_num_threads() == 4
