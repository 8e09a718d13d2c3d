"""Confidences of given texts: against one plain forward per text, and against the ones that sampling recorded."""

import numpy as np
import pytest
import torch
from tiny_models import KINDS, config, some_texts
from transformers import AutoModelForCausalLM, GPT2Config

from asprm.engines.local import LocalEngine
from asprm.engines.protocol import Request, Sampling
from asprm.engines.rescore import confidences, entropies, reader


def random_model(kind):
    torch.manual_seed(0)
    shape = (
        GPT2Config(vocab_size=64, n_positions=128, n_embd=32, n_layer=2, n_head=4) if kind == "gpt2" else config(kind)
    )
    return AutoModelForCausalLM.from_config(shape).eval()


def halves():
    """Texts cut into prompts and solutions of one token or more; many have equal beginnings, some are equal."""
    texts = [x for x in some_texts(40) if len(x) > 1]
    cuts = np.random.default_rng(1).integers(1, [len(x) for x in texts])
    return [x[:cut] for x, cut in zip(texts, cuts, strict=True)], [x[cut:] for x, cut in zip(texts, cuts, strict=True)]


def one_by_one(model, prompts, solutions):
    """The reference: one forward per text, a softmax at every token."""
    out = []
    for prompt, ids in zip(prompts, solutions, strict=True):
        text = torch.from_numpy(np.concatenate([prompt, ids]).astype(np.int64)).to(model.device)
        with torch.inference_mode():
            probabilities = model(text[None]).logits[0].float().softmax(-1)
        out.append(torch.stack([probabilities[i - 1, text[i]] for i in range(len(prompt), len(text))]).cpu().numpy())
    return out


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "gpt2"])
def test_confidences_are_those_of_a_plain_forward(kind, device):
    model = random_model(kind).to(device)
    prompts, solutions = halves()
    expected = one_by_one(model, prompts, solutions)
    for tokens in (None, 50):  # read in one forward, and in several
        found = confidences(reader(model), prompts, solutions, tokens=tokens)
        for got, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-5)
            assert got.dtype == np.float32


def test_models_that_do_more_to_their_outputs_are_read_in_rows():
    assert reader(random_model("llama")).packs
    assert not reader(random_model("gemma2")).packs  # it squashes its head's outputs


def test_rereading_a_sample_gives_the_confidences_that_sampling_recorded():
    model = random_model("llama")
    prompts = [np.arange(3, 20, dtype=np.int32), np.arange(9, 5, -1, dtype=np.int32)] * 4
    requests = [Request(prompt, len(prompt), seed) for seed, prompt in enumerate(prompts)]
    sampled = LocalEngine(model, None).generate(requests, Sampling(max_new_tokens=30))
    found = confidences(reader(model), prompts, [x.ids for x in sampled])
    np.testing.assert_allclose(np.concatenate(found), np.concatenate([x.confidences for x in sampled]), atol=1e-5)


def test_a_token_that_the_model_thought_impossible_keeps_a_confidence_above_zero():
    model = random_model("llama")
    model.lm_head.weight.data *= 1e4
    [found] = confidences(reader(model), [np.array([3])], [np.arange(3, 60)])
    assert found.min() > 0


def test_what_cannot_be_read_is_refused():
    some = reader(random_model("llama"))
    for prompt, ids in (([], [3]), ([3], []), ([3], [4] * 128)):
        with pytest.raises(ValueError, match="text 0"):
            confidences(some, [np.array(prompt, int)], [np.array(ids, int)])
    some.model.lm_head.weight.data[5] = torch.nan
    with pytest.raises(ValueError, match="non-finite confidences"):
        confidences(some, [np.array([3])], [np.array([4])])


@pytest.mark.parametrize("kind", ["llama", "gemma2"])  # read in packs, and in rows
def test_entropies_are_those_of_a_plain_forward_s_distributions(kind):
    model = random_model(kind)
    prompts, solutions = halves()
    found = entropies(reader(model), prompts, solutions, tokens=50)
    for prompt, ids, got in zip(prompts, solutions, found, strict=True):
        text = torch.from_numpy(np.concatenate([prompt, ids]).astype(np.int64))
        with torch.inference_mode():
            p = model(text[None]).logits[0, len(prompt) - 1 : -1].double().softmax(-1).numpy()
        np.testing.assert_allclose(got, -(p * np.log(p)).sum(-1), atol=1e-4)
        assert got.shape == (len(ids),)


def test_the_entropy_of_a_sure_policy_is_zero():
    model = random_model("llama")
    model.lm_head.weight.data *= 1e4
    [found] = entropies(reader(model), [np.array([3])], [np.arange(3, 60)])
    assert np.isfinite(found).all()
    assert found.min() == 0
