"""Scores by vLLM's pooling against those of the study's own scorer, on models that are made here."""

from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer

from asprm.engines import vllm
from asprm.models.conventions import CONVENTIONS
from asprm.models.prompts import encode_prompts
from asprm.problems.load import load
from asprm.reward import pooling
from asprm.reward.pooling import pooled_scores, pooled_tag_scores
from asprm.reward.published import StepTagPRM, Text
from asprm.reward.score import Item, load_prm, score

needs_vllm = pytest.mark.skipif(not vllm.installed(), reason="vllm is not installed here; `make test-vllm` installs it")
M = REPOSITORY / "data/policies/M"
STEPS = ["Ann has 2 pens. ", "She buys 3, so she has 2 + 3 = 5 pens. ", "The answer is: 5"]


def made(kind, folder, tokens=(), scale=1.0):
    """A model on policy M, with a head of its own or with more tokens, of which the outputs vary enough to compare."""
    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(M)
    model = kind.from_pretrained(M, dtype=torch.float32, **({} if tokens else {"num_labels": 1}))
    with torch.no_grad():
        if tokens:
            tokenizer.add_tokens(list(tokens))
            model.resize_token_embeddings(len(tokenizer))
        else:
            model.score.weight.mul_(scale)
            model.score.bias.fill_(0.7)  # a scorer that lost the bias would be off by 0.16
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    return made(AutoModelForCausalLM, tmp_path_factory.mktemp("tagged"), [" ки"])


@needs_vllm
@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "scale", "atol"), [("float32", 8, 1e-4), ("bfloat16", 2, 1e-2)])
def test_scores_at_tokens_are_those_of_the_own_scorer(tmp_path, dtype, scale, atol):
    folder = made(AutoModelForTokenClassification, tmp_path, scale=scale)
    prm = load_prm(folder, device="cpu", dtype=dtype)
    rng, problems = np.random.default_rng(0), load("minigsm", "test", 40)
    prompts = encode_prompts(prm.tokenizer, [problem.prompt for problem in problems])
    items = []
    for problem, prompt in zip(problems, prompts, strict=True):
        ids = np.asarray(prm.tokenizer(problem.solution, add_special_tokens=False)["input_ids"], np.int32)
        items.append(Item(prompt, ids, rng.permutation(np.arange(1, len(ids) + 1))[:6]))  # in any order
    own, pooled = score(prm, items), pooled_scores(folder, items, dtype=dtype)
    assert [len(x) for x in pooled] == [len(x.ends) for x in items]
    assert np.concatenate(own).std() > 0.05
    np.testing.assert_allclose(np.concatenate(pooled), np.concatenate(own), atol=atol)


@needs_vllm
@pytest.mark.slow
@pytest.mark.parametrize("convention", ["math-shepherd", "asprm"])
@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-4), ("bfloat16", 1e-2)])
def test_scores_at_tags_are_those_of_the_own_scorer(tagged, convention, dtype, atol):
    rater = StepTagPRM.load(tagged, convention, device="cpu", dtype=dtype)
    ends = list(accumulate(map(len, STEPS)))
    texts = [
        Text(problem.prompt, "".join(STEPS), ends[:count])
        for count in (1, 2, 3)
        for problem in load("minigsm", "test", 10)
    ]
    items = [rater.item(text) for text in texts]
    own, pooled = score(rater.prm, items), pooled_tag_scores(tagged, rater, items, dtype=dtype)
    assert [len(x) for x in pooled] == [len(text.ends) for text in texts]
    assert np.concatenate(own).std() > 0.02
    np.testing.assert_allclose(np.concatenate(pooled), np.concatenate(own), atol=atol)


class Pooled:
    """In vLLM's place: so many outputs per text."""

    def __init__(self, count):
        self.count = count

    def __call__(self, *args, **options):
        return self

    def __enter__(self):
        return lambda texts: [np.zeros(self.count(text), np.float32) for text in texts]

    def __exit__(self, *error):
        return False


def test_a_missing_or_additional_output_is_an_error(monkeypatch, tagged):
    item = Item(np.array([5, 6], np.int32), np.array([7, 8, 9], np.int32), np.array([3, 1]))
    monkeypatch.setattr(pooling, "_pooling", Pooled(len))
    assert pooled_scores("x", [item])[0].tolist() == [0.5, 0.5]
    monkeypatch.setattr(pooling, "_pooling", Pooled(lambda text: len(text) - 1))
    with pytest.raises(RuntimeError, match="vllm gave 4 outputs to item 0, which has 5 tokens"):
        pooled_scores("x", [item])
    rater = StepTagPRM.load(tagged, "math-shepherd", device="cpu")
    item = rater.item(Text("How many?", "".join(STEPS), [len(STEPS[0])]))
    monkeypatch.setattr(pooling, "_pooling", Pooled(lambda text: 2))
    with pytest.raises(RuntimeError, match="vllm gave 2 outputs to item 0, which has 1 tags"):
        pooled_tag_scores("x", rater, [item])


def test_what_step_pooling_cannot_read_is_refused(tagged):
    rater = StepTagPRM.load(tagged, "math-shepherd", device="cpu")
    for convention in (replace(rater.convention, read="before"), replace(rater.convention, over="vocabulary")):
        rater.convention = convention
        with pytest.raises(ValueError, match="STEP pooling takes those"):
            pooled_tag_scores("x", rater, [])
    assert {name for name, x in CONVENTIONS.items() if x.over == "pair" and x.read == "tag"} == {
        "math-shepherd",
        "asprm",
    }
