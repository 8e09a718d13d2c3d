"""Guided decoding against a plain reference: no cache, one problem at a time, every candidate read in full."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForTokenClassification,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from asprm.engines.executors import load_executor
from asprm.engines.guided import guided_decode
from asprm.engines.local import LocalEngine
from asprm.engines.protocol import Request, Sampling

VOCABULARY, EOS = 40, 2
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "eos_token_id": EOS,
    "bos_token_id": 1,
    "pad_token_id": 0,
    "initializer_range": 0.25,
}
CONFIGS = {
    "mistral": lambda **more: MistralConfig(**(COMMON | {"num_key_value_heads": 1, "sliding_window": None} | more)),
    "llama": lambda **more: LlamaConfig(**(COMMON | {"num_key_value_heads": 2} | more)),
    "gpt_neox": lambda **more: GPTNeoXConfig(**(COMMON | more)),
}
CAUSAL = {"mistral": MistralForCausalLM, "llama": LlamaForCausalLM, "gpt_neox": GPTNeoXForCausalLM}


def policy(kind="mistral"):
    torch.manual_seed(0)
    return CAUSAL[kind](CONFIGS[kind]()).eval()


def reward(kind="mistral", **more):
    torch.manual_seed(1)
    return AutoModelForTokenClassification.from_config(CONFIGS[kind](num_labels=1, **more)).eval()


def prompts(count: int) -> list[Request]:
    rng = np.random.default_rng(0)
    texts = [rng.integers(3, VOCABULARY, rng.integers(1, 13)).astype(np.int32) for _ in range(count)]
    return [Request(text, len(text), seed=0, key=i) for i, text in enumerate(texts)]


@torch.inference_mode()
def reference(model, prm, request, trigger, candidates, max_new_tokens):
    prefix, decisions, scores, changed = request.context[: request.start].tolist(), [], [], []
    out = []
    while len(out) < max_new_tokens and EOS not in out[-1:]:
        probabilities = model(torch.tensor([prefix + out])).logits[0, -1].softmax(-1)
        best = probabilities.sort(descending=True, stable=True).indices[:candidates]
        token = int(best[0])
        if probabilities[token] < trigger:
            texts = torch.tensor([[*prefix, *out, int(candidate)] for candidate in best])
            logits = prm(texts).logits[:, -1, 0]
            token = int(best[logits.argmax()])
            decisions.append(len(out))
            scores.append(logits.sigmoid().cpu().numpy())
            if token != best[0]:
                changed.append(len(out))
        out.append(token)
    return out, decisions, changed, np.array(scores)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    ("kind", "trigger", "candidates", "count"),
    [
        pytest.param("mistral", 0.35, 8, 220, marks=pytest.mark.slow),
        ("mistral", 0.15, 3, 30),
        pytest.param("mistral", 1.0, 2, 30, marks=pytest.mark.slow),
        pytest.param("llama", 0.6, 8, 30, marks=pytest.mark.slow),
        pytest.param("gpt_neox", 0.5, 50, 30, marks=pytest.mark.slow),
    ],
)
def test_equals_the_plain_reference_token_for_token(kind, trigger, candidates, count):
    model, prm = policy(kind), reward(kind)
    requests = prompts(count)
    options = {"trigger": trigger, "candidates": candidates, "max_new_tokens": 6}
    done = dict(guided_decode(LocalEngine(model, None, rows=32), load_executor(prm), requests, **options))
    assert len(done) == count
    seen = 0
    for request in requests:
        guided = done[request]
        ids, decisions, changed, scores = reference(model, prm, request, *options.values())
        assert guided.ids.tolist() == ids
        assert guided.finished == (ids[-1] == EOS)
        assert guided.decisions.tolist() == decisions
        assert guided.changed.tolist() == changed
        assert guided.candidates.shape == guided.scores.shape == (len(decisions), min(candidates, VOCABULARY))
        np.testing.assert_allclose(guided.scores, scores.reshape(guided.scores.shape), rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(guided.decisions, np.flatnonzero(guided.confidences < trigger))
        np.testing.assert_array_equal(guided.probabilities[:, 0], guided.confidences[decisions])
        assert (np.diff(guided.probabilities, axis=1) <= 0).all()
        best = guided.scores.argmax(-1)
        np.testing.assert_array_equal(guided.ids[decisions], guided.candidates[np.arange(len(decisions)), best])
        seen += len(changed)
    assert seen > count // 10


@pytest.mark.usefixtures("device")
def test_the_beginning_that_prompts_share_is_read_once(monkeypatch):
    model, prm = policy(), load_executor(reward())
    beginning = np.arange(3, 23, dtype=np.int32)
    alike = [np.concatenate([beginning, request.context]) for request in prompts(12)]
    requests = [Request(ids, len(ids), seed=0, key=i) for i, ids in enumerate(alike)]
    options = {"trigger": 1.0, "candidates": 3, "max_new_tokens": 5}
    read, as_it_is = [], type(prm).read

    def counted(self, rows, index, starts, chunks, branches=None):
        if self is prm:
            read.extend(map(len, chunks))
        return as_it_is(self, rows, index, starts, chunks, branches)

    monkeypatch.setattr(type(prm), "read", counted)
    done = dict(guided_decode(LocalEngine(model, None, rows=3), prm, requests, **options))
    for request in requests:
        ids, decisions, _, scores = reference(model, prm.model, request, *options.values())
        assert done[request].ids.tolist() == ids
        assert done[request].decisions.tolist() == decisions
        np.testing.assert_allclose(done[request].scores, scores, rtol=1e-4, atol=1e-6)
    own = sum(len(ids) - 20 + len(done[request].ids) for ids, request in zip(alike, requests, strict=True))
    assert sum(read) <= own + 3 * 20  # the first three texts, which begin together, find no other


def test_trigger_zero_is_greedy_decoding():
    engine, requests = LocalEngine(policy(), None, rows=4), prompts(20)
    greedy = engine.generate(requests, Sampling(temperature=0, max_new_tokens=9))
    done = dict(guided_decode(engine, reward(), requests, trigger=0, max_new_tokens=9))
    for request, completion in zip(requests, greedy, strict=True):
        assert done[request].ids.tolist() == completion.ids.tolist()
        np.testing.assert_allclose(done[request].confidences, completion.confidences, rtol=1e-5)
        assert done[request].decisions.size == 0
        assert done[request].scores.shape == (0, 8)


def test_ties_go_to_the_more_probable_token_and_the_end_of_text_is_a_candidate():
    model, prm = policy(), reward()
    requests = prompts(40)
    options = {"trigger": 1, "max_new_tokens": 4}
    torch.nn.init.zeros_(prm.score.weight)  # all scores are equal
    for _, guided in guided_decode(LocalEngine(model, None), prm, requests, **options):
        assert guided.changed.size == 0
        assert len(np.unique(guided.scores)) <= 1
    # A PRM that scores a token by its own embedding alone, the end of text highest.
    for layer in prm.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    with torch.no_grad():
        prm.score.weight[0] = prm.model.embed_tokens.weight[EOS]
    for _, guided in guided_decode(LocalEngine(model, None), prm, requests, candidates=VOCABULARY, **options):
        assert guided.ids.tolist() == [EOS]
        assert guided.finished


@pytest.mark.usefixtures("device")
def test_of_equally_probable_tokens_the_lower_ones_are_the_candidates():
    model, prm = policy(), reward()
    torch.nn.init.zeros_(model.lm_head.weight)
    requests = prompts(10)
    for request, guided in guided_decode(LocalEngine(model, None), prm, requests, trigger=1, max_new_tokens=4):
        np.testing.assert_array_equal(guided.candidates, np.tile(np.arange(8), (len(guided.decisions), 1)))
        ids, *_, scores = reference(model, prm, request, 1, 8, 4)
        assert guided.ids.tolist() == ids
        np.testing.assert_allclose(guided.scores, scores, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("device")
def test_a_cache_that_others_have_used_is_as_good_as_a_new_one():
    model, prm, requests = policy(), load_executor(reward()), prompts(60)
    options = {"trigger": 0.6, "max_new_tokens": 6}
    new = [
        dict(guided_decode(LocalEngine(model, None), load_executor(reward()), some, **options))
        for some in (requests[:40], requests[40:])
    ]
    engine = LocalEngine(model, None)
    half = guided_decode(engine, prm, requests, **options)
    next(half)
    half.close()  # abandoned in the middle
    for some, expected in zip((requests[:40], requests[40:]), new, strict=True):
        for request, guided in guided_decode(engine, prm, some, **options):
            assert guided.ids.tolist() == expected[request].ids.tolist()
            np.testing.assert_allclose(guided.scores, expected[request].scores, rtol=1e-4, atol=1e-6)


def test_prompts_are_pulled_lazily():
    pulled = []
    requests = (pulled.append(request) or request for request in prompts(60))
    stream = guided_decode(LocalEngine(policy(), None, rows=4), reward(), requests, trigger=0.3, max_new_tokens=6)
    for taken, _ in enumerate(stream, start=1):
        assert len(pulled) <= taken + 4 + 3  # other requests may have ended in the same step
    assert len(pulled) == 60


@pytest.mark.parametrize(
    ("prm", "options", "message"),
    [
        ({}, {"trigger": 1.5}, "trigger is 1.5"),
        ({}, {"trigger": 0.5, "candidates": 0}, "candidates is 0"),
        ({"num_labels": 2}, {"trigger": 0.5}, "has 2 labels"),
        ({"vocab_size": 41}, {"trigger": 0.5}, "vocabulary of 41 tokens and the policy one of 40"),
        ({"max_position_embeddings": 8}, {"trigger": 1}, "but the PRM has 8 positions"),
    ],
)
def test_wrong_input_is_an_error(prm, options, message):
    torch.manual_seed(1)
    prm = AutoModelForTokenClassification.from_config(CONFIGS["mistral"](**{"num_labels": 1, **prm}))
    with pytest.raises(ValueError, match=message):
        list(guided_decode(LocalEngine(policy(), None), prm, prompts(3), max_new_tokens=9, **options))
