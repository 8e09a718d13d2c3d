"""The engine against a plain reference: no cache, no batch, one request at a time."""

import gc
import itertools
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import byte_level_tokenizer
from tokenizers import Tokenizer, models
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    BloomConfig,
    BloomForCausalLM,
    PreTrainedTokenizerFast,
)

from asprm.engines import attend, local
from asprm.engines.ends import Ends
from asprm.engines.executor import Executor
from asprm.engines.executors import load_executor
from asprm.engines.lean import LeanExecutor
from asprm.engines.load import load_engine
from asprm.engines.local import LocalEngine
from asprm.engines.pieces import batches
from asprm.engines.protocol import Request, Sampling
from asprm.engines.rows import Rows
from asprm.engines.sampling import draw, uniforms

VOCABULARY, EOS, POSITIONS = 40, 2, 96
GREEDY = Sampling(temperature=0, max_new_tokens=12)
SAMPLED = Sampling(temperature=0.8, top_p=0.9, top_k=20, max_new_tokens=12)
KINDS = {  # a backbone, and its changes to the common configuration
    "mistral": ("mistral", {"num_key_value_heads": 1, "sliding_window": None}),
    "mistral-window": ("mistral", {"num_key_value_heads": 2, "sliding_window": 7}),
    "llama": ("llama", {"num_key_value_heads": 4}),
    "llama-tied": ("llama", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "gpt_neox": ("gpt_neox", {}),
    "qwen2": ("qwen2", {"num_key_value_heads": 2}),
    "gemma2": ("gemma2", {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 7}),
}


def config(kind: str, **more):
    name, extra = KINDS[kind]
    common = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": POSITIONS,
        "eos_token_id": EOS,
        "bos_token_id": 1,
        "pad_token_id": 0,
        "initializer_range": 0.3,
    }
    return AutoConfig.for_model(name, **(common | extra | more))


def tiny(kind: str = "mistral", seed: int = 0):
    torch.manual_seed(seed)
    return with_biases(AutoModelForCausalLM.from_config(config(kind)).eval())


def with_biases(model):
    """New models' biases are 0, where a forgotten one would not be noticed."""
    for name, parameter in model.named_parameters():
        if name.endswith("proj.bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def model():
    return tiny()


def contexts(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(3, VOCABULARY, n).astype(np.int32) for n in lengths]


def forks(*lengths: int) -> list[Request]:
    """For each context, requests that start after its first token, in its middle and at its end."""
    starts = [(c, s) for c in contexts(*lengths) for s in sorted({1, max(1, len(c) // 2), len(c)})]
    return [Request(c, s, seed=100 + i, key=i) for i, (c, s) in enumerate(starts)]


def python_uniform(seed: int, count: int) -> float:
    """SplitMix64 in Python's integers."""
    golden, full = 0x9E3779B97F4A7C15, 2**64 - 1

    def mix(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & full
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & full
        return x ^ (x >> 31)

    return (mix((mix((seed + golden) & full) + (count + 1) * golden) & full) >> 40) / 2**24


def plain_draw(logits: torch.Tensor, seed: int, count: int, sampling: Sampling) -> tuple[int, float]:
    confidences = logits.double().softmax(-1).cpu().numpy()
    if sampling.temperature == 0:
        return int(confidences.argmax()), confidences.max()
    p = (logits.double() / sampling.temperature).softmax(-1).cpu().numpy()
    if sampling.top_k:
        p = np.where(p >= np.sort(p)[-min(sampling.top_k, len(p))], p, 0)
    order = np.argsort(-p, kind="stable")
    keep = order[np.cumsum(p[order]) - p[order] < sampling.top_p * p.sum()]
    p = np.where(np.isin(np.arange(len(p)), keep), p, 0)
    token = int(np.searchsorted(np.cumsum(p), python_uniform(seed, count) * p.sum(), side="right"))
    return token, confidences[token]


@torch.inference_mode()
def reference(model, request: Request, sampling: Sampling) -> tuple[list[int], list[float], bool]:
    ids, out, confidences = request.context[: request.start].tolist(), [], []
    while len(out) < sampling.max_new_tokens and len(ids) < POSITIONS:
        token, confidence = plain_draw(model(torch.tensor([ids])).logits[0, -1], request.seed, len(out), sampling)
        ids.append(token)
        out.append(token)
        confidences.append(confidence)
        if token == EOS:
            return out, confidences, True
    return out, confidences, False


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    "sampling", [pytest.param(GREEDY, id="greedy", marks=pytest.mark.slow), pytest.param(SAMPLED, id="sampled")]
)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_plain_decoding_token_for_token(kind, sampling):
    model = tiny(kind)
    requests = forks(1, 5, 17, 30)
    for request, done in zip(requests, LocalEngine(model, None, rows=4).generate(requests, sampling), strict=True):
        ids, confidences, finished = reference(model, request, sampling)
        assert done.ids.tolist() == ids
        assert done.finished == finished
        assert (done.ids.dtype, done.confidences.dtype) == (np.int32, np.float32)
        np.testing.assert_allclose(done.confidences, confidences, rtol=1e-4)


@pytest.mark.parametrize("kind", ["mistral", "llama-tied", "qwen2"])
def test_some_models_get_the_lean_executor_and_the_generic_one_agrees(monkeypatch, kind):
    model = tiny(kind)
    engine = LocalEngine(model, None, rows=5)
    assert type(engine.executor) is LeanExecutor
    assert type(load_executor(tiny("gemma2"))) is Executor
    lean = engine.generate(forks(4, 20), SAMPLED)
    monkeypatch.setattr(LeanExecutor, "supports", staticmethod(lambda model: False))
    engine = LocalEngine(model, None, rows=5)
    assert type(engine.executor) is Executor
    for a, b in zip(lean, engine.generate(forks(4, 20), SAMPLED), strict=True):
        assert a.ids.tolist() == b.ids.tolist()


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("kind", ["mistral", "mistral-window", "llama", "qwen2", "gpt_neox"])
@pytest.mark.parametrize("head", ["language", "score"])
def test_chunks_steps_and_branches_equal_plain_forwards(kind, head, monkeypatch):
    monkeypatch.setattr(attend, "_PADDED", 16)
    torch.manual_seed(3)
    plain = {
        "language": lambda: AutoModelForCausalLM.from_config(config(kind)),
        "score": lambda: AutoModelForTokenClassification.from_config(config(kind, num_labels=1)),
    }[head]().eval()
    with_biases(plain)
    texts = contexts(9, 14, 6)
    executors = [Executor(plain), load_executor(plain)]
    if kind != "gpt_neox":
        executors.append(LeanExecutor(plain))
        executors[-1].together = not executors[-1].together  # the way of the other kind of device
    alternatives = [np.array(ids, np.int32) for ids in ([5, 6, 5], [7], [])]

    @torch.inference_mode()
    def last(ids):
        return plain(torch.tensor([list(ids)])).logits[0, -1]

    for executor in executors:
        rows = Rows(executor.shape)
        rows.reserve(4, 0)
        assert not any(map(len, executor.read(rows, [3, 0, 2], [0, 0, 0], [text[:4] for text in texts])))
        outputs = executor.read(rows, [0, 2, 3], [4, 4, 4], [texts[1][4:], texts[2][4:], texts[0][4:4]], alternatives)
        for text, ids, output in zip([texts[1], texts[2], texts[0][:4]], alternatives, outputs, strict=True):
            assert len(output) == len(ids)
            for token, row in zip(ids, output, strict=True):
                torch.testing.assert_close(row, last([*text, token]), rtol=1e-5, atol=1e-5)
        mixed = executor.read(rows, [0, 1], [0, 0], texts[:2], [np.array([9], np.int32), np.empty(0, np.int32)])
        torch.testing.assert_close(mixed[0][0], last([*texts[0], 9]), rtol=1e-5, atol=1e-5)
        for source, length in [(2, 6), (3, 4)]:  # branches left no trace, and a fork equals its source
            rows.copy(1, rows, source, length)
            state = torch.tensor([[0, 8], [0, length]])
            text = {2: texts[2], 3: texts[0][:4]}[source]
            torch.testing.assert_close(
                executor.step(rows, *state, state[1].cpu().numpy())[1], last([*text, 8]), rtol=1e-5, atol=1e-5
            )


def test_the_lean_executor_shares_its_weights_with_the_model():
    model = tiny("llama")
    before = model(torch.tensor([[5, 6, 7]])).logits
    layer = LeanExecutor(model).layers[0]
    assert layer.qkv.data_ptr() == model.model.layers[0].self_attn.q_proj.weight.data_ptr()
    assert torch.equal(model(torch.tensor([[5, 6, 7]])).logits, before)


@pytest.mark.slow
@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_tokens_do_not_depend_on_the_batch(model, sampling):
    crowd = [Request(c, len(c), seed) for seed, c in enumerate(contexts(*range(1, 51)))]
    alone = Request(contexts(23)[0], 23, seed=7)
    for place in (0, 31, 50):
        together = LocalEngine(model, None, rows=16).generate([*crowd[:place], alone, *crowd[place:]], sampling)[place]
        single = LocalEngine(model, None, rows=1).generate([alone], sampling)[0]
        assert together.ids.tolist() == single.ids.tolist()
        np.testing.assert_allclose(together.confidences, single.confidences, rtol=1e-4)


def test_a_fork_equals_a_full_read_and_a_context_is_read_once(model, monkeypatch):
    engine = LocalEngine(model, None, rows=8)
    context = contexts(25)[0]
    reads = []
    read = engine.executor.read
    monkeypatch.setattr(
        engine.executor, "read", lambda rows, index, *a: (reads.append(index), read(rows, index, *a))[1]
    )
    shared = engine.generate([Request(context, s, seed=s) for s in range(1, 26)], SAMPLED)
    assert sum(map(len, reads)) == 1
    equal = engine.generate([Request(context.copy(), s, seed=s) for s in range(1, 26)], SAMPLED)
    assert sum(map(len, reads)) == 2
    alone = engine.generate([Request(context[:s], s, seed=s) for s in range(1, 26)], SAMPLED)
    for a, b, c in zip(shared, equal, alone, strict=True):
        assert a.ids.tolist() == b.ids.tolist() == c.ids.tolist()


def test_equal_requests_give_equal_completions_and_other_seeds_others(model):
    context = contexts(6)[0]
    done = LocalEngine(model, None, rows=3).generate([Request(context, 6, s) for s in (1, 2, 1, 3, 2**63, -1)], SAMPLED)
    assert done[0].ids.tolist() == done[2].ids.tolist()
    assert len({tuple(x.ids) for x in done}) == 5


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("temperature", [0.0, 0.15, 1.0])  # all stay together, they part late, they part at once
@pytest.mark.parametrize("rows", [pytest.param(3, marks=pytest.mark.slow), 64])
def test_requests_that_share_rows_get_what_they_get_alone(model, rows, temperature):
    sampling = Sampling(temperature=temperature, max_new_tokens=30)
    some = [Request(x, start, seed) for seed, x in itertools.product(range(9), contexts(4, 9, 12)) for start in (3, 4)]
    alone = LocalEngine(model, None, rows=rows, share=False).generate(some, sampling)
    stepped = shared_equals(alone, LocalEngine(model, None, rows=rows), some, sampling)
    if rows == 64:
        assert stepped == len(texts(some, alone))


def shared_equals(alone: list, engine: LocalEngine, requests: list[Request], sampling: Sampling) -> int:
    """Check the completions against those that each request gets alone; returns how many row steps the engine took."""
    stepped = row_steps(engine)
    for a, b in zip(engine.generate(requests, sampling), alone, strict=True):
        assert a.ids.tolist() == b.ids.tolist()
        assert a.finished == b.finished
        np.testing.assert_allclose(a.confidences, b.confidences, rtol=1e-4)
    return sum(stepped)


def row_steps(engine: LocalEngine) -> list[int]:
    """A list that gets the number of rows of each step that the engine takes from now on."""
    stepped: list[int] = []
    step = engine.executor.step
    engine.executor.step = lambda rows, tokens, *more: stepped.append(len(tokens)) or step(rows, tokens, *more)
    return stepped


def texts(requests: list[Request], done: list) -> set[bytes]:
    """Every text after which a token was drawn: each needs exactly one row step."""
    return {
        np.append(request.context[: request.start], completion.ids[:n]).astype(np.int32).tobytes()
        for request, completion in zip(requests, done, strict=True)
        for n in range(len(completion.ids))
    }


@pytest.mark.slow
@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("longest", [3, 8, 30])
@pytest.mark.parametrize("rows", [1, 4, 256])
@pytest.mark.parametrize("temperature", [0.0, 0.2, 1.0])
def test_requests_that_continue_what_others_write_join_them_and_get_what_they_get_alone(
    model, rows, longest, temperature
):
    sampling = Sampling(temperature=temperature, max_new_tokens=longest)
    solutions = [
        np.append(prompt, done.ids).astype(np.int32)
        for prompt in contexts(4, 9)
        for done in LocalEngine(model, None).generate(
            [Request(prompt, len(prompt), seed) for seed in range(4)],
            Sampling(temperature=temperature, max_new_tokens=20),
        )
    ]
    some = [Request(x, start, 7 * seed) for x in solutions for start in range(4, len(x) + 1, 3) for seed in range(3)]
    alone = LocalEngine(model, None, share=False).generate(some, sampling)
    stepped = shared_equals(alone, LocalEngine(model, None, rows=rows), some, sampling)
    if rows == 256:
        assert stepped == len(texts(some, alone))


def test_all_room_is_there_again_at_the_end(model, monkeypatch):
    rooms, take = [], local.take
    monkeypatch.setattr(local, "take", lambda *x: rooms.append(x[2:]) or take(*x))
    (solution,) = contexts(30)
    requests = [Request(solution, start, seed) for start in range(2, 31, 2) for seed in range(4)]
    for engine in (LocalEngine(model, None, rows=20), LocalEngine(model, None, rows=20, share=False)):
        engine.generate(requests, SAMPLED)
        assert rooms[0] == rooms[-1] == (20, 40 if engine.share else 20)
        assert min(rooms)[0] <= 0
        rooms.clear()


def test_a_waiting_request_that_cannot_be_continued_is_an_error(model):
    (context,) = contexts(5)
    requests = [Request(context, 3, 0), Request(context, 6, 1)]
    with pytest.raises(ValueError, match="starts at 6 in a context of 5 tokens"):
        LocalEngine(model, None).generate(requests, GREEDY)


def test_ends(model):
    engine = LocalEngine(model, None, rows=4)
    done = engine.generate(
        [Request(c, len(c), s) for s, c in enumerate(contexts(*[5] * 40))], Sampling(max_new_tokens=30)
    )
    assert {x.finished for x in done} == {True, False}
    for x in done:
        assert EOS not in x.ids[:-1]
        assert x.finished == (x.ids[-1] == EOS)
        assert x.finished or len(x.ids) == 30
    assert [len(x.ids) for x in engine.generate([Request(contexts(4)[0], 4, 0)], Sampling(max_new_tokens=1))] == [1]
    engine.ends = Ends([])
    (cut,) = engine.generate([Request(contexts(POSITIONS - 3)[0], POSITIONS - 3, 0)], Sampling(max_new_tokens=30))
    assert len(cut.ids) == 3
    assert not cut.finished
    assert engine.generate([], GREEDY) == []


@pytest.mark.parametrize(
    ("length", "start", "message"),
    [
        (5, 0, "starts at 0 in a context of 5 tokens"),
        (5, 6, "starts at 6"),
        (POSITIONS + 1, 4, f"has {POSITIONS} positions"),
        (POSITIONS, POSITIONS, f"has {POSITIONS} positions"),
    ],
)
def test_a_prefix_that_cannot_be_continued_is_an_error(model, length, start, message):
    with pytest.raises(ValueError, match=message):
        LocalEngine(model, None, rows=2).generate([Request(contexts(length)[0], start, 0)], GREEDY)


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_k": -1}, {"max_new_tokens": 0}],
)
def test_wrong_sampling_is_an_error(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_follow_puts_further_requests_at_the_front(model):
    first, second = contexts(5, 8)

    def follow(request, completion):
        wave, name = request.key
        return (
            [Request(request.context, 5, seed=10 * wave + i, key=(wave + 1, name)) for i in range(2)]
            if wave < 3
            else None
        )

    requests = [Request(first, 5, 0, key=(1, "a")), Request(second, 8, 0, key=(1, "b"))]
    done = list(LocalEngine(model, None, rows=1).stream(requests, SAMPLED, follow))
    # With one row, everything that follows "a" comes before "b".
    assert [request.key[1] for request, _ in done] == ["a"] * 7 + ["b"] * 7
    for request, completion in done:
        assert completion.ids.tolist() == reference(model, request, SAMPLED)[0]


def test_requests_are_pulled_lazily_and_completions_are_not_kept(model):
    pulled = itertools.count()
    endless = (Request(contexts(4)[0], 4, next(pulled)) for _ in itertools.count())
    stream = LocalEngine(model, None, rows=3).stream(endless, SAMPLED)
    kept = []
    for _ in range(30):
        _, completion = next(stream)
        kept.append(weakref.ref(completion))
    assert next(pulled) <= 30 + 2 * 3 + 1  # as many again may wait in a row, and one more was pulled
    del completion
    gc.collect()
    assert sum(ref() is not None for ref in kept) <= 2 * 3


def test_requests_of_one_prefix_are_one_row_though_more_than_there_is_room_for(model):
    engine = LocalEngine(model, None, rows=3)
    steps = row_steps(engine)
    requests = [Request(context, len(context), i) for context in contexts(4, 6, 9, 5) for i in range(5)]
    done = engine.generate(requests, GREEDY)
    assert sum(steps) == sum(len(completion.ids) for completion in done[::5])


@pytest.mark.slow
@pytest.mark.usefixtures("device")
def test_many_contexts_pass_through_few_rows(model):
    engine = LocalEngine(model, None, rows=2)
    requests = [Request(c, len(c), i) for i, c in enumerate(contexts(*range(1, 40)))] * 2
    for request, done in zip(requests, engine.generate(requests, GREEDY), strict=True):
        assert done.ids.tolist() == reference(model, request, GREEDY)[0]


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**6))
def test_uniforms_are_splitmix64(seed, count):
    assert uniforms(torch.tensor([seed]), torch.tensor([count])).item() == python_uniform(seed % 2**64, count)


def test_uniforms_are_uniform_over_seeds_and_counts():
    seeds, counts = torch.arange(200).repeat_interleave(200), torch.arange(200).repeat(200)
    u = uniforms(seeds, counts)
    assert u.min() >= 0
    assert u.max() < 1
    assert np.abs(np.histogram(u.numpy(), 20, (0, 1))[0] / 2000 - 1).max() < 0.1  # five standard deviations
    grid = u.view(200, 200).numpy()
    assert abs(np.corrcoef(grid[:, :-1].ravel(), grid[:, 1:].ravel())[0, 1]) < 0.025
    assert abs(np.corrcoef(grid[:-1].ravel(), grid[1:].ravel())[0, 1]) < 0.025


@given(
    seed=st.integers(0, 2**32),
    size=st.sampled_from([5, 40, 200]),
    temperature=st.sampled_from([0.5, 1.0, 3.0]),
    top_p=st.sampled_from([0.05, 0.5, 0.95, 1.0]),
    top_k=st.sampled_from([0, 1, 3, 500]),
)
def test_draw_equals_the_plain_filter_and_inverse_cdf(seed, size, temperature, top_p, top_k):
    sampling = Sampling(temperature, top_p, top_k)
    logits = torch.randn(16, size, generator=torch.Generator().manual_seed(seed)) * 2
    seeds = torch.arange(16) + seed
    tokens, confidences = draw(logits, seeds, torch.full((16,), 3), sampling)
    expected = [plain_draw(row, int(s), 3, sampling) for row, s in zip(logits, seeds, strict=True)]
    # In fp32 a draw may fall on the other side of a boundary: here one in a hundred thousand does.
    assert sum(int(t) != e for t, (e, _) in zip(tokens, expected, strict=True)) <= 1
    torch.testing.assert_close(confidences, logits.softmax(-1).gather(1, tokens[:, None])[:, 0])


def test_draws_are_the_same_in_slices_of_rows(monkeypatch):
    logits = torch.randn(23, 200, generator=torch.Generator().manual_seed(0)) * 3
    seeds, counts = torch.arange(69).view(23, 3), torch.arange(23)[:, None]
    for how in (GREEDY, SAMPLED):
        whole = draw(logits, seeds, counts, how)
        monkeypatch.setattr("asprm.engines.sampling._PART", 1000)
        for a, b in zip(whole, draw(logits, seeds, counts, how), strict=True):
            assert torch.equal(a, b)
        monkeypatch.undo()


def test_fewer_rows_are_decoded_side_by_side_where_the_vocabulary_is_large(model, monkeypatch):
    assert LocalEngine(model, None).rows == 1024
    monkeypatch.setattr(local, "_OUTPUTS", 100 * VOCABULARY)
    assert LocalEngine(model, None).rows == 100
    assert LocalEngine(model, None, rows=7).rows == 7


def test_draws_follow_the_distribution():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(20_000, 4)
    tokens, _ = draw(logits, torch.arange(20_000), torch.zeros(20_000, dtype=torch.long), Sampling())
    share = torch.bincount(tokens, minlength=4) / 20_000
    torch.testing.assert_close(share, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.015, rtol=0)


def test_batches_keep_the_order_and_the_limit():
    assert batches([3, 3, 3, 9, 1], limit=6) == [[0, 1], [2], [3], [4]]
    assert batches([], limit=6) == []


def test_models_that_cannot_be_driven_are_refused():
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="BloomForCausalLM: outputs with the in-place cache differ"):
        LocalEngine(BloomForCausalLM(BloomConfig(vocab_size=40, hidden_size=32, n_layer=1, n_head=4)), None)
    with pytest.raises(ValueError, match="rows is 0"):
        LocalEngine(tiny(), None, rows=0)


def test_a_reward_model_in_bf16_may_score_a_token_at_zero():
    torch.manual_seed(0)
    prm = AutoModelForTokenClassification.from_config(config("mistral", num_labels=1)).eval()
    ids = torch.arange(1, 97)[None] % VOCABULARY
    with torch.no_grad():
        states = prm.model(ids[:, :16]).last_hidden_state[0, [7, 15]]  # at the places that may be compared last
        weight = prm.score.weight[0]
        weight -= weight @ torch.linalg.pinv(states) @ states
        prm.score.bias.zero_()
        assert (states @ weight).abs().max() < 1e-5
    load_executor(prm.to(torch.bfloat16))


def words(count: int = VOCABULARY) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({f"w{i}.": i for i in range(count)}))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="w2.")


@pytest.mark.parametrize("share", [True, False])
def test_a_stop_text_ends_a_text_as_soon_as_it_is_written(model, share):
    tokenizer = words()
    requests = [*forks(4, 20), *(Request(c, 5, seed=s, key=s) for s, c in enumerate(contexts(*[6] * 20)))]
    plain = LocalEngine(model, tokenizer, rows=7, share=share).generate(requests, SAMPLED)
    pairs = [tokenizer.decode(x.ids[2:4]) for x in plain if len(x.ids) > 5]
    before = tokenizer.decode([*requests[-1].context[4:5], plain[-1].ids[0]])  # begins in the prefix
    stops = [*pairs[:2], pairs[2][1:-1], before]
    model.generation_config.stop_strings = stops
    stopped = LocalEngine(model, tokenizer, rows=7, share=share)
    assert stopped.ends.stops == tuple(stops)
    cut = 0
    for request, whole, short in zip(requests, plain, stopped.generate(requests, SAMPLED), strict=True):
        known = request.context[: request.start]
        texts = [tokenizer.decode([*known, *whole.ids[: k + 1]]) for k in range(len(whole.ids))]
        begins = [tokenizer.decode(known), *texts]
        first = next(
            (k for k, text in enumerate(texts) if any(text.count(x) > begins[k].count(x) for x in stops)), None
        )
        length = len(whole.ids) if first is None else first + 1
        assert short.ids.tolist() == whole.ids[:length].tolist()
        assert short.finished == (whole.finished or first is not None)
        cut += length < len(whole.ids)
    assert cut >= 4
    assert len(stopped.generate(requests[-1:], SAMPLED)[0].ids) == 1


def test_a_stop_text_may_be_made_of_parts_of_characters():
    tokenizer = byte_level_tokenizer()
    ids = tokenizer("a 🍎 b")["input_ids"]
    ends = Ends([], tokenizer, ["🍎"])
    found = [ends.closes(np.array(ids[:k]), ids[k]) for k in range(len(ids))]
    assert sum(found) == 1
    assert tokenizer.decode(ids[: found.index(True) + 1]) == "a 🍎"


def test_load_engine_reads_a_folder(tmp_path, model):
    words = {f"w{i}": i for i in range(VOCABULARY)}
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words)), eos_token="w2").save_pretrained(
        tmp_path
    )
    model.save_pretrained(tmp_path)
    engine = load_engine(tmp_path, device="cpu", rows=3)
    assert engine.tokenizer.decode([5]) == "w5"
    assert engine.ends.eos.tolist() == [EOS]
    request = Request(contexts(7)[0], 7, seed=1)
    assert engine.generate([request], SAMPLED)[0].ids.tolist() == reference(model, request, SAMPLED)[0]
    half = load_engine(tmp_path, device="cpu", dtype="bfloat16", rows=3).generate(forks(4, 9), SAMPLED)
    assert all(x.confidences.dtype == np.float32 and (x.confidences > 0).all() for x in half)
    with pytest.raises(ValueError, match="kind is 'remote'"):
        load_engine(tmp_path, kind="remote")
