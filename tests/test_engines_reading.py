"""The lean reading against the model's own modules: states and gradients, for several trees and wanted tokens."""

import numpy as np
import pytest
import torch
from tiny_models import config, some_texts
from transformers import AutoModelForTokenClassification

from asprm.engines import reading
from asprm.engines.packed import pack


def model(kind):
    torch.manual_seed(0)
    return AutoModelForTokenClassification.from_config(config(kind), attn_implementation="sdpa")


def gradients(backbone, states, weight):
    backbone.zero_grad()
    (states @ weight).tanh().sum().backward()
    return {name: parameter.grad for name, parameter in backbone.named_parameters()}


@pytest.mark.parametrize("kind", ["mistral", "mistral-window", "llama"])
@pytest.mark.parametrize("asked", ["all", "ends", "one"])
@pytest.mark.parametrize("shortest", [8, 10**6])  # trees, and every sequence alone
def test_states_and_gradients_are_those_of_the_modules(kind, asked, shortest):
    classifier, sequences = model(kind).eval(), some_texts(9)
    assert reading.supports(classifier)
    rng, weight = np.random.default_rng(0), torch.randn(32, generator=torch.Generator().manual_seed(0))
    packed = pack(sequences, shortest)
    wanted = {
        "all": [np.arange(len(x)) for x in sequences],
        "ends": [np.append(rng.integers(0, len(x), 3), len(x) - 1) for x in sequences],  # some repeat
        "one": [np.array([len(x) // 2]) if i == 4 else np.empty(0, int) for i, x in enumerate(sequences)],
    }[asked]
    at = np.concatenate([places[these] for places, these in zip(packed.places, wanted, strict=True)])

    backbone = classifier.base_model
    rows = [torch.from_numpy(x.astype(np.int64))[None] for x in sequences]
    alone = [backbone(ids, use_cache=False).last_hidden_state[0] for ids in rows]
    expected = torch.cat([states[these] for states, these in zip(alone, wanted, strict=True)])
    reference = gradients(backbone, expected, weight)
    found = reading.states(classifier, packed, at)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for name, gradient in gradients(backbone, found, weight).items():
        error = (gradient - reference[name]).abs().max() / reference[name].abs().max()
        assert error < 1e-4, f"{name}: {error}"


def test_all_tokens_by_default_and_the_same_bits_every_time():
    classifier, packed = model("mistral").eval(), pack(some_texts(9))
    whole = reading.states(classifier, packed)
    assert whole.shape == (packed.ids.shape[1], 32)
    assert torch.equal(whole, reading.states(classifier, packed))
    assert torch.equal(whole, reading.states(classifier, packed, np.arange(len(whole))))


def test_what_it_does_not_know_is_left_to_the_model():
    assert not reading.supports(model("qwen2"))
    assert not reading.supports(model("llama").to(torch.bfloat16))
    dropping = AutoModelForTokenClassification.from_config(config("llama", attention_dropout=0.1))
    assert not reading.supports(dropping.train())
    assert reading.supports(dropping.eval())
    with torch.autocast("cpu", torch.bfloat16):
        assert not reading.supports(model("llama"))
