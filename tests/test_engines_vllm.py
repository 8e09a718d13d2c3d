"""The vLLM engine against the local one, on the shipped policies and SmolLM2. `make test-vllm` has what it needs."""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from conftest import REPOSITORY

from asprm.engines import vllm
from asprm.engines.ends import Ends
from asprm.engines.load import load_engine
from asprm.engines.local import LocalEngine
from asprm.engines.protocol import Request, Sampling, request_seed
from asprm.engines.rescore import confidences, reader
from asprm.models.prompts import encode_prompts
from asprm.problems.load import load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not vllm.installed(), reason="vllm is not installed here; `make test-vllm` installs it"),
]
GREEDY, SAMPLED = Sampling(temperature=0, max_new_tokens=160), Sampling(max_new_tokens=160)
MODELS = {  # and problems that they know
    "M": (REPOSITORY / "data/policies/M", "minigsm"),
    "L": (REPOSITORY / "data/policies/L", "minimath"),
    "D": (REPOSITORY / "data/policies/D", "minicode"),
    "SmolLM2": (REPOSITORY / "data/models/SmolLM2-135M-Instruct", "minigsm"),
}


def loaded(name: str) -> LocalEngine:
    path, _ = MODELS[name]
    if not path.is_dir():
        pytest.skip(f"no model in {path}; `asprm fetch smollm2` brings it")
    return load_engine(path, device="cpu", dtype="float32")


def fast(name: str) -> vllm.VllmEngine:
    return load_engine(MODELS[name][0], kind="vllm", dtype="float32")


def requests_of(engine, family: str, problems: int) -> list[Request]:
    prompts = encode_prompts(engine.tokenizer, [problem.prompt for problem in load(family, "test", problems)])
    return [Request(prompt, len(prompt), request_seed(0, i), i) for i, prompt in enumerate(prompts)]


@pytest.mark.parametrize("name", MODELS)
def test_greedy_tokens_are_those_of_the_local_engine(name):
    local = loaded(name)
    requests = requests_of(local, MODELS[name][1], 20 if name == "SmolLM2" else 100)
    sampling = replace(GREEDY, max_new_tokens=64) if name == "SmolLM2" else GREEDY
    expected, done = local.generate(requests, sampling), fast(name).generate(requests, sampling)
    assert sum(len(x.ids) for x in done) > 20 * len(done)
    for own, other in zip(expected, done, strict=True):
        assert other.ids.tolist() == own.ids.tolist()
        assert other.finished == own.finished
        assert other.ids.dtype == np.int32
        assert other.confidences.dtype == np.float32
        assert np.abs(np.log(other.confidences) - np.log(own.confidences)).max() < 1e-3


# --- with one policy --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def local() -> LocalEngine:
    return loaded("M")


@pytest.fixture
def engine() -> vllm.VllmEngine:
    return fast("M")  # the one of this process, whoever used it last


@pytest.fixture
def requests(local) -> list[Request]:
    return requests_of(local, "minigsm", 30)


def test_the_engine_says_what_the_local_one_says_of_the_model(local, engine):
    assert (engine.vocabulary, engine.positions) == (local.vocabulary, local.positions)
    assert engine.ends.eos.tolist() == local.ends.eos.tolist()
    assert load_engine(MODELS["M"][0], kind="vllm", dtype="float32") is engine


def test_sampled_tokens_depend_on_the_seed_and_their_confidences_are_the_policys_own(local, engine, requests):
    done = engine.generate(requests, replace(SAMPLED, temperature=1.3, top_k=20, top_p=0.95))
    again = engine.generate(requests[::-1], replace(SAMPLED, temperature=1.3, top_k=20, top_p=0.95))[::-1]
    assert [x.ids.tolist() for x in done] == [x.ids.tolist() for x in again]
    other = engine.generate([replace(x, seed=x.seed + 1) for x in requests], SAMPLED)
    assert [x.ids.tolist() for x in done] != [x.ids.tolist() for x in other]

    own = confidences(
        reader(local.executor.model, local.tokenizer), [x.context for x in requests], [x.ids for x in done]
    )
    for expected, completion in zip(own, done, strict=True):
        np.testing.assert_allclose(completion.confidences, expected, rtol=1e-3)
    greedy = engine.generate(requests, GREEDY)
    assert any(x.ids.tolist() != y.ids.tolist() for x, y in zip(done, greedy, strict=True))


def test_reading_gives_the_confidences_of_the_local_reader(local, engine, requests):
    done = engine.generate(requests, SAMPLED)
    texts = [x.context for x in requests], [x.ids for x in done]
    read = engine.read(*texts)
    for own, expected, completion in zip(read, confidences(reader(local.executor.model), *texts), done, strict=True):
        assert own.shape == completion.ids.shape
        np.testing.assert_allclose(own, expected, rtol=1e-3)
        np.testing.assert_allclose(own, completion.confidences, rtol=1e-3)


def test_seeds_of_all_sizes_are_taken(engine, requests):
    wide = [replace(requests[0], seed=seed) for seed in (0, -1, 2**63 - 1, 2**63, 0)]
    done = [x.ids.tolist() for x in engine.generate(wide, SAMPLED)]
    assert done[0] == done[3] == done[4]


def test_prompts_that_do_not_fit_into_one_step_are_read_all_the_same(engine, requests):
    """vLLM's build for CPUs fails where it reads a part of a seeded request's prompt."""
    contexts = [np.resize(x.context, 400 + x.key).astype(np.int32) for x in requests * 4]
    many = [Request(context, len(context), i, i) for i, context in enumerate(contexts)]
    short = replace(SAMPLED, max_new_tokens=4)
    done = engine.generate(many, short)
    assert [len(x.ids) for x in done if not x.finished] == [4] * sum(not x.finished for x in done)
    assert len(done) == len(many)


def test_confidences_that_nobody_asked_for_are_left_out(engine, requests):
    without = {request.key: x for request, x in engine.stream(requests, GREEDY, confidences=False)}
    for own, expected in zip((without[x.key] for x in requests), engine.generate(requests, GREEDY), strict=True):
        assert own.ids.tolist() == expected.ids.tolist()
        assert own.confidences.shape == (0,)


def test_a_text_ends_at_its_limit_at_the_models_last_position_and_before_neither(local, engine, requests):
    short = replace(GREEDY, max_new_tokens=3)
    assert [(len(x.ids), x.finished) for x in engine.generate(requests, short)] == [(3, False)] * len(requests)
    context = np.resize(requests[0].context, engine.positions).astype(np.int32)
    last = Request(context, engine.positions - 2, 0)
    [own], [expected] = engine.generate([last], GREEDY), local.generate([last], GREEDY)
    assert own.ids.tolist() == expected.ids.tolist()
    assert len(own.ids) <= 2
    for start in (0, engine.positions, engine.positions + 1):
        with pytest.raises(ValueError, match="engine: request 'x'"):
            list(engine.stream([Request(context, start, 0, "x")], GREEDY))


@pytest.mark.parametrize("stop", ["is", ". ", "answer is:"])
def test_stop_texts_end_a_text_where_they_end_it_locally(monkeypatch, local, engine, requests, stop):
    for one in (local, engine):
        monkeypatch.setattr(one, "ends", Ends(local.ends.eos.tolist(), local.tokenizer, [stop]))
    expected, done = local.generate(requests, GREEDY), engine.generate(requests, GREEDY)
    assert [x.ids.tolist() for x in done] == [x.ids.tolist() for x in expected]
    assert [x.finished for x in done] == [x.finished for x in expected]
    assert [len(x.confidences) for x in done] == [len(x.ids) for x in done]
    assert any(stop in local.tokenizer.decode(x.ids) for x in done)


def test_requests_are_pulled_when_there_is_room_and_followers_come_first(engine, requests):
    pulled = []

    def endless():
        for i in count():
            pulled.append(i)
            yield replace(requests[i % len(requests)], key=i)

    asked = {}

    def follow(request, completion):
        if request.key == "follower":
            return None
        asked[request.key] = completion
        return [replace(request, key="follower")]

    stream, keys = engine.stream(endless(), replace(GREEDY, max_new_tokens=8), follow), []
    for request, _ in stream:
        keys.append(request.key)
        if keys.count("follower") == 3:
            break
    stream.close()
    assert len(pulled) <= engine.rows + len(asked)
    # What the caller left behind is gone: the engine serves the next one as if nothing had been.
    [left] = engine.generate(requests[:1], GREEDY)
    [alone] = engine.generate(requests[:1], GREEDY)
    assert left.ids.tolist() == alone.ids.tolist()
    assert not engine._core.has_unfinished_requests()


def test_another_model_takes_the_place_of_the_one_before(engine):
    other = fast("L")
    assert other is not engine
    assert vllm._engine[1] is other
    assert not hasattr(engine, "_core")


def test_what_vllm_cannot_load_is_said_in_one_line(tmp_path):
    with pytest.raises((ValueError, OSError)) as error:
        load_engine(tmp_path, kind="vllm")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="runs on cpu, not on cuda"):
        load_engine(MODELS["M"][0], kind="vllm", device="cuda")
    with pytest.raises(ValueError, match="rows is 0"):
        load_engine(MODELS["M"][0], kind="vllm", rows=0)
