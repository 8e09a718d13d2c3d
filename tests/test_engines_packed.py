"""Packs against the same sequences read alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import config, some_texts
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForTokenClassification, BloomConfig, BloomForTokenClassification

from asprm.engines import packed as module
from asprm.engines.packed import READ_TOKENS, groups, pack, read, reading_size, use_packs


def model(kind: str):
    torch.manual_seed(0)
    return AutoModelForTokenClassification.from_config(config(kind, num_labels=1, classifier_dropout=0.0)).eval()


def alone(plain, text):
    return plain.base_model(torch.from_numpy(text.astype(np.int64))[None].to(plain.device)).last_hidden_state[0]


def test_a_tree_by_hand():
    a, b, c = (np.array(x) for x in ([5, 6, 7, 8], [5, 6, 9], [5, 6]))
    packed = pack([a, b, c, b], shortest=2, grain=1)
    assert packed.ids[0].tolist() == [5, 6, 7, 8, 9]
    assert packed.positions[0].tolist() == [0, 1, 2, 3, 2]
    assert packed.segments.chains == [(0,), (0, 1), (0, 2)]
    assert [x.tolist() for x in packed.places] == [[0, 1, 2, 3], [0, 1, 4], [0, 1], [0, 1, 4]]


texts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12).map(np.array), min_size=1, max_size=8)


@settings(deadline=None)
@given(texts, st.integers(1, 6), st.integers(1, 9))
def test_every_sequence_is_found_in_its_pack(sequences, shortest, grain):
    packed = pack(sequences, shortest, grain)
    ids, positions = packed.ids[0].numpy(), packed.positions[0].numpy()
    assert sum(packed.segments.lengths) == len(ids) < sum(map(len, sequences)) + grain
    assert len(ids) % grain == 0
    for places, sequence in zip(packed.places, sequences, strict=True):
        assert np.array_equal(ids[places], sequence)
        assert np.array_equal(positions[places], np.arange(len(sequence)))


@settings(deadline=None)
@given(texts)
def test_a_tree_reads_each_beginning_once(sequences):
    beginnings = {tuple(x[:i]) for x in sequences for i in range(1, len(x) + 1)}
    assert pack(sequences, shortest=1, grain=1).ids.shape == (1, len(beginnings))


@settings(deadline=None)
@given(texts, st.integers(1, 30))
def test_a_group_holds_so_many_distinct_tokens_or_one_sequence(sequences, size):
    found = list(groups(sequences, size))
    assert sorted(i for group in found for i in group) == list(range(len(sequences)))
    distinct = [len({tuple(sequences[i][:k]) for i in g for k in range(1, len(sequences[i]) + 1)}) for g in found]
    assert all(count <= size or len(group) == 1 for group, count in zip(found, distinct, strict=True))
    # Sequences with equal beginnings are neighbours: no group has room for the first sequence of the next.
    for group, count, after in zip(found, distinct, found[1:], strict=False):
        first = sequences[after[0]]
        known = {tuple(sequences[i][:k]) for i in group for k in range(1, len(sequences[i]) + 1)}
        assert count + sum(tuple(first[:k]) not in known for k in range(1, len(first) + 1)) > size
    assert list(groups([], size)) == []


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("kind", ["mistral", "mistral-window", "llama", "qwen2", "gemma2"])
@pytest.mark.parametrize("shortest", [1, 8, 1000])
def test_a_pack_gives_what_each_sequence_gives_alone(kind, shortest):
    plain, packing = model(kind), use_packs(model(kind))
    sequences = some_texts(12)
    packed = pack(sequences, shortest)
    states = read(packing, packed)
    for places, text in zip(packed.places, sequences, strict=True):
        torch.testing.assert_close(states[places], alone(plain, text), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["mistral", "mistral-window"])
def test_an_accelerators_kernel_is_asked_for_the_same(kind, monkeypatch):
    """The kernel's contract: rows of different lengths, causal from the right end, window (window - 1, 0)."""

    def ragged(query, key, value, queries, keys, most_queries, most_keys, *, scale, window_size, enable_gqa):
        out = []
        for a, b, c, d in zip(queries, queries[1:], keys, keys[1:], strict=False):
            q, k, v = query[a:b], key[c:d], value[c:d]
            assert len(q) <= most_queries
            assert len(k) <= most_keys
            behind = torch.arange(len(q))[:, None] + len(k) - len(q) - torch.arange(len(k))
            mask = (behind >= 0) & ((window_size[0] < 0) | (behind <= window_size[0]))
            heads = (x.transpose(0, 1) for x in (q, k, v))
            attended = scaled_dot_product_attention(*heads, attn_mask=mask, scale=scale, enable_gqa=enable_gqa)
            out.append(attended.transpose(0, 1))
        return torch.cat(out)

    packing, packed = use_packs(model(kind)), pack(some_texts(8))
    plain = read(packing, packed)
    monkeypatch.setattr(module, "varlen_attn", ragged)
    monkeypatch.setattr(module, "_one_by_one", lambda *x: module._ragged(*x[:-1]))
    torch.testing.assert_close(read(packing, packed), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("device")
def test_gradients_are_those_of_the_sequences_alone():
    plain, packing = model("mistral"), use_packs(model("mistral"))
    sequences = some_texts(6)
    weight = torch.randn(32)
    sum((alone(plain, x) @ weight).tanh().sum() for x in sequences).backward()
    packed = pack(sequences)
    states = read(packing, packed) @ weight
    sum(states[places].tanh().sum() for places in packed.places).backward()
    for (name, a), b in zip(plain.base_model.named_parameters(), packing.base_model.parameters(), strict=True):
        error = (b.grad - a.grad).abs().max() / a.grad.abs().max()
        assert error < 1e-4, f"{name}: {error}"


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("kind", ["mistral", "qwen2"])
@pytest.mark.parametrize("bf16", [False, True])
def test_a_pack_that_was_read_without_gradients_can_be_learned_from(kind, bf16):
    packing, packed = use_packs(model(kind)), pack(some_texts(6))
    with torch.autocast(packing.device.type, torch.bfloat16, enabled=bf16):
        with torch.inference_mode():
            before = read(packing, packed).clone()
        states = read(packing, packed)
    torch.testing.assert_close(states, before, rtol=1e-2, atol=1e-2)
    states.float().square().sum().backward()
    assert all(x.grad.abs().sum() > 0 for x in packing.base_model.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("kind", ["mistral", "mistral-window", "llama"])
def test_an_accelerators_kernel_gives_in_bf16_what_plain_attention_gives(kind, monkeypatch):
    packing, packed = use_packs(model(kind).cuda()), pack(some_texts(12))
    weight = torch.randn(32, device="cuda")

    def found():
        packing.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            states = read(packing, packed)
        (states.float() @ weight).tanh().sum().backward()
        return [states.detach().float(), *(x.grad.clone() for x in packing.base_model.parameters())]

    fast = found()
    monkeypatch.setattr(module, "varlen_attn", None)
    for a, b in zip(fast, found(), strict=True):
        assert (a - b).norm() < 0.03 * b.norm()


def test_a_model_with_other_attention_is_refused():
    config = BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4, num_labels=1)
    with pytest.raises(ValueError, match=r"BloomForTokenClassification.* the states of a pack differ"):
        use_packs(BloomForTokenClassification(config))


@pytest.mark.parametrize("kind", ["mistral-window", "qwen2"])
def test_plain_calls_work_as_before(kind):
    plain, packing = model(kind), use_packs(model(kind))
    ids = torch.randint(3, 64, (2, 20), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, :7] = 0
    for options in ({}, {"attention_mask": mask}):
        assert torch.equal(packing(ids, **options).logits, plain(ids, **options).logits)


def test_empty_sequences_are_refused():
    with pytest.raises(ValueError, match="at least one token"):
        pack([np.array([1]), np.array([], int)])


def test_how_much_is_read_at_once_can_be_lowered(monkeypatch):
    assert reading_size("cuda") > reading_size("cpu") > 0
    monkeypatch.setenv(READ_TOKENS, "512")
    assert reading_size("cuda") == reading_size("cpu") == 512
    for wrong in ("0", "many", "-1", "1.5", ""):
        monkeypatch.setenv(READ_TOKENS, wrong)
        with pytest.raises(ValueError, match=r"ASPRM_READ_TOKENS is '.*', expected a whole number"):
            reading_size("cuda")
