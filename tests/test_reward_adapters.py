"""Adapters learn, are small, come back after a kill, and score as fast weights do."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tiny_models import some_examples, write_policy
from transformers import AutoModelForTokenClassification

from asprm.engines.executors import load_executor
from asprm.engines.lean import LeanExecutor
from asprm.reward.adapters import base_of
from asprm.reward.score import load_prm, score
from asprm.reward.train import train
from asprm.reward.trainer import Settings

SETTINGS = Settings(epochs=3, learning_rate=2e-2, batch_tokens=400, warmup=0.1, weight_decay=0.0, rank=4)


@pytest.fixture
def base(tmp_path):
    pytest.importorskip("peft")
    return write_policy(tmp_path / "base", "qwen2", num_hidden_layers=3)


def weights(folder) -> dict[str, torch.Tensor]:
    found = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as content:
            found |= {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    return found


def test_adapters_learn_and_score_like_the_model_that_was_trained(base, tmp_path):
    data = some_examples(60)
    history = train(base, data, SETTINGS, tmp_path / "prm", validation=data, seed=0)
    assert history["validation_auc"].max() > 0.8
    assert base_of(tmp_path / "prm") == str(base)
    assert base_of(base) is None
    saved = weights(tmp_path / "prm")
    assert all("lora_" in name or "score" in name for name in saved)
    assert any("score" in name for name in saved)
    prm = load_prm(tmp_path / "prm")
    assert not any("lora" in name for name, _ in prm.model.named_modules())  # added to the weights
    assert type(load_executor(prm.model)) is LeanExecutor
    # The slow way: peft's own model, one solution at a time, without packs.
    import peft

    plain = AutoModelForTokenClassification.from_pretrained(base, num_labels=1).eval()
    slow = peft.PeftModel.from_pretrained(plain, str(tmp_path / "prm")).eval()
    for item, scores in zip(data[:8], score(prm, data[:8]), strict=True):
        with torch.inference_mode():
            outputs = slow(torch.tensor(item.tokens[None].astype(np.int64))).logits[0, :, 0].sigmoid().numpy()
        np.testing.assert_allclose(scores, outputs[len(item.prompt) + np.asarray(item.ends) - 1], rtol=1e-4, atol=1e-5)


def test_the_base_is_found_after_a_move_and_only_the_right_one(base, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("ASPRM_HOME", str(home))
    moved, data = base.rename(home / "base"), some_examples(10)
    train(moved, data, Settings(1, 1e-2, 400, 0.0, 0.0, rank=4), home / "runs" / "prm", seed=0)
    before = [scores.tolist() for scores in score(load_prm(home / "runs" / "prm"), data)]
    for name in ("adapter_config.json", "base.json", "prm.json", "config.json"):
        assert str(tmp_path) not in (home / "runs" / "prm" / name).read_text()

    def scores_of(folder):
        return [scores.tolist() for scores in score(load_prm(folder), data)]

    # 1. Both move together.
    home = home.rename(tmp_path / "elsewhere")
    assert scores_of(home / "runs" / "prm") == before
    # 2. The adapters alone are taken elsewhere: the base is found by its name.
    alone = tmp_path / "published" / "prm"
    shutil.copytree(home / "runs" / "prm", alone)
    with pytest.raises(FileNotFoundError, match=r"need the weights of base.*\n.*ASPRM_MODELS=base=<folder>"):
        load_prm(alone)
    with monkeypatch.context() as patch:
        patch.setenv("ASPRM_MODELS", f"base={home / 'base'}")
        assert scores_of(alone) == before
    monkeypatch.setenv("ASPRM_HOME", str(home))
    shutil.copytree(home / "base", home / "data" / "models" / "base")
    assert scores_of(alone) == before
    # 3. Another model of the same name is refused.
    other = next((home / "data" / "models" / "base").glob("*.safetensors"))
    content = bytearray(other.read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    with pytest.raises(ValueError, match="the adapters belong to another base"):
        load_prm(alone)


def test_a_base_of_the_hub_is_named_with_its_commit(tmp_path, monkeypatch):
    from asprm.reward.adapters import write_base

    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "anything", "r": 4}))
    write_base(tmp_path, "owner/name@0123abc")
    assert base_of(tmp_path) == "owner/name@0123abc"
    assert json.loads((tmp_path / "adapter_config.json").read_text()) == {
        "base_model_name_or_path": "owner/name@0123abc",
        "r": 4,
    }


@pytest.mark.parametrize("rank", [4, None])
def test_only_the_last_layers_learn_if_so_asked(base, tmp_path, rank):
    data = some_examples(20)
    settings = Settings(1, 1e-2, 400, 0.0, 0.0, rank=rank, layers=1)
    train(base, data, settings, tmp_path / "prm", seed=0)
    prm, before = load_prm(tmp_path / "prm").model.state_dict(), weights(base)
    changed = {
        name.split(".")[2] for name, value in before.items() if name in prm and not torch.equal(prm[name], value)
    }
    assert {name for name in changed if name.isdigit()} == {"2"}
    with pytest.raises(ValueError, match="4 layers are to learn, but the model has 3"):
        train(base, data, Settings(1, 1e-2, 400, 0.0, 0.0, rank=rank, layers=4), tmp_path / "other", seed=0)


def test_a_killed_training_goes_on_to_the_same_bits(base, tmp_path, monkeypatch):
    data = some_examples(30)
    train(base, data, SETTINGS, tmp_path / "whole", validation=data, seed=0)

    class Killed(BaseException):
        pass

    def kill(self, args, state, control, **_):
        if state.global_step > state.max_steps // 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("asprm.reward.trainer.Log.on_step_end", kill, raising=False)
        with pytest.raises(Killed):
            train(base, data, SETTINGS, tmp_path / "cut", validation=data, seed=0)
    train(base, data, SETTINGS, tmp_path / "cut", validation=data, seed=0)
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_without_the_package_it_says_what_to_install(base, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"pip install peft"):
        train(base, some_examples(4), SETTINGS, tmp_path / "prm", seed=0)
