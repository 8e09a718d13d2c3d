"""Guided decoding in vLLM: both adapters in stand-ins of vLLM's runners, and the first one in vLLM itself.

A stand-in does with a processor what the runner does, and worse: rows change their places, slots are used again, and
steps are repeated with shorter texts. The second runner is one of GPUs; its adapter has not run on one.
"""

import inspect
from enum import Enum
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from test_engines_guided import EOS, VOCABULARY, policy, prompts, reward
from transformers import AutoModelForTokenClassification

from asprm.engines import guided_vllm, vllm
from asprm.engines.decisions import Walk
from asprm.engines.executors import load_executor
from asprm.engines.guided import decode_together, guided_decode
from asprm.engines.load import load_engine
from asprm.engines.local import LocalEngine
from asprm.engines.protocol import Completion, Request
from asprm.engines.values import values_of
from asprm.models.prompts import encode_prompts
from asprm.problems.load import load

needs_vllm = pytest.mark.skipif(not vllm.installed(), reason="vllm is not installed here; `make test-vllm` installs it")
ROWS = 5
Direction = Enum("Direction", ["UNIDIRECTIONAL", "SWAP"])


class Runner:
    """A batch of greedy requests over a model that reads each text anew. Subclasses hand rows to their processor."""

    guided = True

    def __init__(self, model):
        self.model, self.random, self.looks = model, np.random.default_rng(0), 0

    @torch.inference_mode()
    def logits(self, texts):
        return torch.stack([self.model(torch.tensor([text])).logits[0, -1] for text in texts]).float()

    def stream(self, requests, sampling, confidences, extra):
        assert sampling.temperature == 0
        assert not confidences
        waiting, live = iter(requests), []
        while True:
            for request in islice(waiting, ROWS - len(live)):
                entry = SimpleNamespace(
                    request=request,
                    params=SimpleNamespace(extra_args=extra(request)),
                    prompt=request.context[: request.start].tolist(),
                    written=[],
                )
                live.append(entry)
                self.enter(entry)
            if not live:
                return
            if self.random.random() < 0.3:  # a long prompt is read in parts; what a part gives is thrown away
                self.steer(live, [entry.prompt[:1] if not entry.written else None for entry in live])
            for entry, token in zip(live, self.steer(live, [None] * len(live)), strict=True):
                entry.written.append(token)
            for entry in [x for x in live if x.written[-1] == EOS or len(x.written) == sampling.max_new_tokens]:
                live.remove(entry)
                self.leave(entry)
                ids = np.array(entry.written, np.int32)
                yield entry.request, Completion(ids, np.empty(0, np.float32), bool(ids[-1] == EOS))


class FirstRunner(Runner):
    """Rows stay with their requests; holes are filled by the last row, and rows are swapped now and then."""

    def __init__(self, model):
        super().__init__(model)
        self.processor = guided_vllm.PersistentRows(None, torch.device("cpu"), False)
        self.rows, self.removed, self.added = [], [], []

    def enter(self, entry):
        if self.removed:  # the new request takes the place of one that left
            row = self.removed.pop()
            self.rows[row] = entry
        else:
            row = len(self.rows)
            self.rows.append(entry)
        self.added.append((row, entry.params, entry.prompt, entry.written))

    def leave(self, entry):
        self.removed.append(self.rows.index(entry))

    def steer(self, live, texts):
        moved = []
        for hole in sorted(self.removed):
            while len(self.rows) - 1 in self.removed and len(self.rows) - 1 > hole:
                self.rows.pop()
            last = len(self.rows) - 1
            if hole < last:
                self.rows[hole] = self.rows[last]
                moved.append((last, hole, Direction.UNIDIRECTIONAL))
            if hole <= last:
                self.rows.pop()
        if len(self.rows) > 1 and self.random.random() < 0.5:
            a, b = self.random.choice(len(self.rows), 2, replace=False).tolist()
            self.rows[a], self.rows[b] = self.rows[b], self.rows[a]
            moved.append((a, b, Direction.SWAP))
        update = SimpleNamespace(batch_size=len(self.rows), removed=self.removed, added=self.added, moved=moved)
        self.processor.update_state(update if self.removed or self.added or moved else None)
        self.removed, self.added = [], []
        assert {id(x) for x in self.rows} == {id(x) for x in live}
        text_of = {id(entry): text for entry, text in zip(live, texts, strict=True)}
        logits = self.logits([text_of[id(x)] or [*x.prompt, *x.written] for x in self.rows])
        tokens = self.processor.apply(logits).argmax(-1).tolist()
        by_entry = {id(entry): token for entry, token in zip(self.rows, tokens, strict=True)}
        return [by_entry[id(entry)] for entry in live]


class SecondRunner(Runner):
    """Requests have slots that are used again; rows come in another order at each step."""

    def __init__(self, model):
        super().__init__(model)
        self.ids = torch.randint(0, VOCABULARY, (ROWS + 2, 64), dtype=torch.int32)  # of earlier requests
        states = SimpleNamespace(all_token_ids=SimpleNamespace(gpu=self.ids))
        self.processor = guided_vllm.SlotRows(None, states)
        self.free = list(range(ROWS + 2))

    def enter(self, entry):
        entry.slot = self.free.pop(self.random.integers(len(self.free)))
        self.processor.validate_params(entry.params)
        assert self.processor.add_request(entry.slot, entry.params)

    def leave(self, entry):
        self.free.append(entry.slot)

    def steer(self, live, texts):
        order = self.random.permutation(len(live))
        read = []
        for i in order:
            entry = live[i]
            text = texts[i] or [*entry.prompt, *entry.written]
            whole = [*entry.prompt, *entry.written]
            self.ids[entry.slot, : len(whole)] = torch.tensor(whole, dtype=torch.int32)
            read.append(text)
        context = SimpleNamespace(
            idx_mapping_np=np.array([live[i].slot for i in order], np.int32),
            seq_lens_upper_bound_np=np.array([len(live[i].prompt) + len(live[i].written) for i in order], np.int32),
        )
        self.processor.apply_staged_writes()
        tokens = self.processor.apply(self.logits(read), context).argmax(-1).tolist()
        return [tokens[row] for row in order.argsort()]


def same(own, expected):
    assert own.ids.tolist() == expected.ids.tolist()
    assert own.finished == expected.finished
    assert own.decisions.tolist() == expected.decisions.tolist()
    assert own.candidates.tolist() == expected.candidates.tolist()
    for name in ("confidences", "probabilities", "scores"):
        assert getattr(own, name).dtype == np.float32
        np.testing.assert_allclose(getattr(own, name), getattr(expected, name), atol=2e-5)


@pytest.mark.parametrize("runner", [FirstRunner, SecondRunner])
@pytest.mark.parametrize("where", [None, lambda ids: len(ids) % 2 == 1 and (ids < VOCABULARY).all()])
def test_an_adapter_decides_as_the_local_engine_does(runner, where):
    model, prm = policy(), load_executor(reward())
    walks = [Walk("a", 0.35), Walk("b", 0.15), Walk("a", 0.0), Walk("b", 1.0)]
    guides = {"a": prm, "b": load_executor(reward("llama"))}
    requests, options = prompts(20), {"candidates": 4, "max_new_tokens": 6, "where": where}
    expected = {}
    for request, by_walk in decode_together(
        LocalEngine(model, None), guides, ((x, walks) for x in requests), **options
    ):
        expected |= {(request, walk): guided for walk, guided in by_walk.items()}
    values = {name: values_of(guide, VOCABULARY) for name, guide in guides.items()}
    asked = ((request, walks) for request in requests)
    done = {}
    for request, by_walk in guided_vllm.decode_in_vllm(runner(model), values, asked, *options.values()):  # pyright: ignore
        [(walk, guided)] = by_walk.items()
        same(guided, expected[request, walk])
        done[request, walk] = guided
    assert done.keys() == expected.keys()
    assert sum(len(x.decisions) for x in done.values()) > 40
    assert sum(len(x.changed) for x in done.values()) > 10
    assert guided_vllm._courses == {}


def test_a_reward_model_is_asked_once_a_step_and_reads_nothing_twice(monkeypatch):
    model, prm = policy(), load_executor(reward())
    values = values_of(prm, VOCABULARY)
    asked, read = [], []
    rate, reading = values.rate, prm.read
    monkeypatch.setattr(values, "rate", lambda questions: (asked.append(len(questions)), rate(questions))[1])
    monkeypatch.setattr(
        prm,
        "read",
        lambda rows, i, s, chunks, b: (read.append(sum(map(len, chunks))), reading(rows, i, s, chunks, b))[1],
    )
    runner = SecondRunner(model)
    runner.random = SimpleNamespace(  # without repeated steps
        random=lambda: 1.0, integers=lambda n: 0, permutation=lambda n: np.arange(n)
    )
    requests = prompts(ROWS)
    walk = Walk("", 1.0)  # a decision at every token
    stream = guided_vllm.decode_in_vllm(runner, {"": values}, ((x, [walk]) for x in requests), 3, 4, None)
    done = [by_walk[walk] for _, by_walk in stream]
    assert asked[0] == ROWS
    assert len(asked) == max(len(x.ids) for x in done)
    assert sum(asked) == sum(len(x.ids) for x in done)
    # Each prompt once, and each token but the last, after which nothing is decided.
    assert sum(read) == sum(x.start for x in requests) + sum(len(x.ids) - 1 for x in done)


def test_a_caller_that_stops_reading_leaves_nothing_behind():
    values = {"": values_of(load_executor(reward()), VOCABULARY)}
    asked = ((x, [Walk("", 0.5)]) for x in prompts(20))
    stream = guided_vllm.decode_in_vllm(FirstRunner(policy()), values, asked, 3, 4, None)
    next(stream)
    assert 0 < len(guided_vllm._courses) <= ROWS
    stream.close()
    assert guided_vllm._courses == {}


@pytest.mark.parametrize("kind", [guided_vllm.PersistentRows, guided_vllm.SlotRows])
def test_rows_of_requests_that_nothing_guides_stay_as_they_are(kind):
    logits, params = torch.randn(2, 7), SimpleNamespace(extra_args=None)
    before = logits.clone()
    if kind is guided_vllm.PersistentRows:
        processor = kind(None, None, False)
        processor.update_state(
            SimpleNamespace(removed=[], added=[(0, params, [1], []), (1, params, [1], [])], moved=[])
        )
        assert not processor.is_argmax_invariant()
        processor.apply(logits)
    else:
        processor = kind(None, None)
        assert not processor.add_request(3, params)
        context = SimpleNamespace(idx_mapping_np=np.array([3, 4]), seq_lens_upper_bound_np=np.array([2, 2]))
        processor.apply(logits, context)
        with pytest.raises(RuntimeError, match="2 rows for 1 requests"):
            processor.apply(logits, SimpleNamespace(idx_mapping_np=np.array([3])))
    assert torch.equal(logits, before)


# --- in vLLM ----------------------------------------------------------------------------------------------------------


@needs_vllm
def test_the_stand_ins_are_like_the_interfaces():
    vllm.import_vllm()
    from vllm.v1.sample.logits_processor import BatchUpdate, MoveDirectionality
    from vllm.v1.sample.logits_processor import LogitsProcessor as First
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcRequestState
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as Second

    for base, own in ((First, guided_vllm.PersistentRows), (Second, guided_vllm.SlotRows)):
        for name, method in inspect.getmembers(base, inspect.isfunction):
            assert [*inspect.signature(getattr(own, name)).parameters] == [*inspect.signature(method).parameters], name
        assert not type("Guide", (own, base), {}).__abstractmethods__
    assert {x.name for x in MoveDirectionality} == {x.name for x in Direction}
    assert {"removed", "added", "moved"} <= BatchUpdate.__dataclass_fields__.keys()
    assert {"idx_mapping_np", "seq_lens_upper_bound_np"} <= LogitsContext.__dataclass_fields__.keys()
    assert "all_token_ids" in LogitsProcRequestState.__dataclass_fields__


@needs_vllm
@pytest.mark.slow
@pytest.mark.parametrize(("name", "family", "trigger"), [("M", "minigsm", 0.9), ("D", "minicode", 0.8)])
def test_tokens_in_vllm_are_those_of_the_local_engine_on_a_hundred_problems(name, family, trigger):
    path = REPOSITORY / "data/policies" / name
    local = load_engine(path, device="cpu", dtype="float32")
    torch.manual_seed(1)
    model = AutoModelForTokenClassification.from_pretrained(path, num_labels=1, dtype=torch.float32)
    prm = load_executor(model.eval())
    problems = load(family, "test", 100)
    texts = encode_prompts(local.tokenizer, [problem.prompt for problem in problems])
    requests = [Request(ids, len(ids), 0, problem) for ids, problem in zip(texts, problems, strict=True)]
    options = {"trigger": trigger, "candidates": 8, "max_new_tokens": 160}
    if name == "D":
        options["where"] = lambda ids: local.tokenizer.decode(ids).count("```") % 2 == 1
    expected = dict(guided_decode(local, prm, requests, **options))
    engine = load_engine(path, kind="vllm", dtype="float32", guided=True)
    done = dict(guided_decode(engine, prm, requests, **options))
    assert len(done) == 100
    for request in requests:
        assert done[request].ids.tolist() == expected[request].ids.tolist()
        assert done[request].decisions.tolist() == expected[request].decisions.tolist()
    assert sum(len(x.decisions) for x in done.values()) > 200
    assert sum(len(x.changed) for x in done.values()) > 50
    with pytest.raises(ValueError, match="cannot be guided"):
        list(guided_decode(load_engine(path, kind="vllm", dtype="float32"), prm, requests[:1], **options))
