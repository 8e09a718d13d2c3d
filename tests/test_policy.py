import functools
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from asprm import policy
from asprm.models import prompts
from asprm.problems.corpus import batches, corpus
from asprm.problems.load import load
from asprm.problems.problem import Problem
from asprm.run.open import open_run
from asprm.run.profile import load_profile

SMALL = {
    "layers": 2, "hidden": 32, "heads": 2, "kv_heads": 1, "intermediate": 48, "vocab": 400, "tokens": 8000,
    "batch_tokens": 400, "checkpoint_steps": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def settings():
    return load_profile("tiny").policy.model_copy(update=SMALL)


@pytest.fixture(scope="module")
def tokenizer():
    return policy.train_tokenizer(["\n".join(pair) for pair in islice(corpus({"minigsm": 1}, 0), 300)], 400)


@pytest.mark.parametrize("text", ["Anna has 12 plums.", "naïve 漢字 🍎 \\boxed{3/4}\n\tx^2 = -17", "", "  007"])
def test_the_tokenizer_can_spell_anything(tokenizer, text):
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_every_digit_is_a_token(tokenizer):
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("has 1234 + 56 = 1290.", add_special_tokens=False)["input_ids"])
    assert [sum(c.isdigit() for c in piece) for piece in pieces if any(map(str.isdigit, piece))] == [1] * 10
    assert max(sum(c.isdigit() for c in t) for t in tokenizer.get_vocab()) == 1


def test_prompts_follow_the_chat_template(tokenizer):
    [ids] = prompts.encode_prompts(tokenizer, ["How many?"])
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == "<s>How many?\n"


def test_the_corpus_keeps_its_mixture():
    some = [next(stream)[0] for stream in [corpus({"minigsm": 0.5, "drills": 0.5}, 0)] for _ in range(400)]
    assert 150 < sum(text == "Practise." for text in some) < 250


def test_batches_hold_whole_examples_and_mask_the_problem(tokenizer):
    pairs = [("How many?", "12 + 5 = 17."), ("What is it, then?", "4.")] * 20
    ids, mask = next(batches(tokenizer, iter(pairs), 100, seed=0, pool=40))
    assert ids.numel() <= 100
    for row, bears in zip(ids, mask, strict=True):
        text = tokenizer.decode(row[bears])
        assert text in ("12 + 5 = 17.</s>", "4.</s>")
        assert tokenizer.decode(row[~bears]).rstrip("<pad>").endswith("?\n")


def test_the_learning_rate_rises_and_falls_to_zero():
    rates = [policy.learning_rate(step, 100, 1.0, 10) for step in range(100)]
    assert rates[0] == 0.1
    assert max(rates) == 1.0
    assert rates[9] == 1.0
    assert rates[-1] < 0.001
    assert all(a <= b for a, b in pairwise(rates[:10]))
    assert all(a >= b for a, b in pairwise(rates[10:]))


@pytest.mark.slow
def test_training_learns_and_is_the_same_when_it_is_resumed(settings, tmp_path, monkeypatch):
    torch.manual_seed(1)
    whole = policy.train(settings, tmp_path / "whole", seed=0, report=lambda row: None)
    assert whole[-1]["loss"] < whole[0]["loss"] - 0.5

    class Killed(Exception):
        pass

    def kill(row):
        if row["step"] == 13:
            raise Killed

    with pytest.raises(Killed):
        policy.train(settings, tmp_path / "cut", seed=0, report=kill)
    again = policy.train(settings, tmp_path / "cut", seed=0, report=lambda row: None)
    assert [row["step"] for row in again] == [row["step"] for row in whole]
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert one == other
    assert policy.about(tmp_path / "cut")["tokens"] == 8000


@pytest.fixture
def retrained(tmp_path, monkeypatch):
    """Trains policy M alone by a small recipe, with changes: its weights, and how many trainings that took."""
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    profile = load_profile("smoke").model_dump(mode="json")
    profile |= {"name": "own", "policies": {"M": profile["policies"]["M"]}}
    profile |= {"reward_models": {"ASPRM-M": profile["reward_models"]["ASPRM-M"]}}
    profile |= {"best_of_n": profile["best_of_n"] | {"score": {"M": ["ASPRM-M"]}}}
    profile |= {"tvd": profile["tvd"] | {"guide": {"M": ["ASPRM-M"]}}}
    train, held_out, trained = policy.train, policy.held_out, []

    @functools.wraps(train)  # what was trained is kept by the code of its module
    def counted(*given, **options):
        trained.append(given)
        return train(*given, **options)

    monkeypatch.setattr(policy, "train", counted)
    one = {"minigsm": load("minigsm", "validation", 2)}
    monkeypatch.setattr(policy, "held_out", lambda engine, _, *rest, **options: held_out(engine, one, *rest, **options))

    def ensure(**recipe) -> tuple[bytes, int]:
        trained.clear()
        recipe = SMALL | {"retrain": True, "tokens": 2000} | recipe
        (tmp_path / "own.yml").write_text(yaml.safe_dump(profile | {"policy": profile["policy"] | recipe}))
        run = open_run(str(tmp_path / "own.yml"), "policy", quiet=True)
        assert policy.run_policy(run) == ["policy/M"]
        folder = run.policy_path("M")
        assert policy.about(folder)["held_out"][0]["count"] == 2
        return (Path(folder) / "model.safetensors").read_bytes(), len(trained)

    return ensure


@pytest.mark.slow
def test_a_policy_is_trained_anew_for_another_recipe_only(retrained):
    first, count = retrained()
    assert count == 1
    assert retrained() == (first, 0)
    other, count = retrained(learning_rate=1e-4)
    assert count == 1
    assert other != first


@pytest.mark.slow
def test_a_policy_whose_quality_was_not_measured_is_not_trained_again(retrained, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(policy, "load_engine", lambda path: (_ for _ in ()).throw(MemoryError))
        retrained()
    assert retrained()[1] == 0


def test_copied_tells_a_foreign_name_from_one_of_the_problem():
    problem = Problem("x", "math", "Anna has 3 plums.", "3", "Anna has 3 plums.\nThe answer is: 3")
    assert policy._copied(problem, "So Anna has 3 plums.\nThe answer is: 4")
    assert not policy._copied(problem, "Ben has 3 plums.\nThe answer is: 3")


def test_drawing_is_seeded():
    first, again, other = (next(corpus({"minigsm": 1}, seed)) for seed in (5, 5, 6))
    assert first == again
    assert first[1] != other[1] or first[0] == other[0]  # the same problems, other students


def test_a_code_policy_reads_programs_and_is_graded_by_running_them(tokenizer):
    _, program = next(corpus({"minicode": 1.0}, 0))
    assert program.startswith("```python\ndef ")
    assert program.endswith("```")
    ids, mask = next(batches(tokenizer, corpus({"minicode": 1.0}, 0), 600, seed=0, pool=8))
    assert "```python" in tokenizer.decode(ids[0][mask[0]])
    [problem] = load("minicode", "validation", 1)
    replies = {"greedy": [problem.solution], "drawn": [problem.solution, "```python\ndef f(\n```"] * 2}
    quality = policy.held_out(Scripted(tokenizer, replies), {"minicode": [problem]}, SimpleNamespace(max_new_tokens=9),
                              seed=0, samples=4)  # fmt: skip
    [row] = quality.to_dict("records")
    assert row == {
        "problems": "minicode",
        "count": 1,
        "greedy": 1.0,
        "single sample": 0.5,
        "pass@4": 1.0,
        "copied": 1.0,
    }


class Scripted:
    """An engine with fixed replies."""

    def __init__(self, tokenizer, replies):
        self.tokenizer, self.replies = tokenizer, replies

    def generate(self, requests, sampling):
        texts = self.replies["greedy" if sampling.temperature == 0 else "drawn"]
        assert len(texts) == len(requests)
        return [SimpleNamespace(ids=self.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]


def test_copied_tells_a_foreign_name_in_a_program():
    [problem] = load("minicode", "validation", 1)
    assert policy._copied(problem, problem.solution)
    assert not policy._copied(problem, problem.solution.replace("def ", "def zebra_"))


def test_a_policy_of_the_hub_has_no_recipe_and_no_quality(tmp_path):
    assert policy.about("owner/name") == policy.about(tmp_path) == {}
    assert policy.quality({"M": {}}).empty
    row = {"problems": "minigsm", "count": 100, "greedy": 0.69, "pass@16": 0.98}
    found = policy.quality({"M": {"held_out": [row]}, "L": {}})
    assert found.to_dict("records") == [{"policy": "M", **row}]
