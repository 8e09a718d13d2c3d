"""Models are read from safetensors and nothing else, at the commit that is asked for, and no code of theirs is run."""

import json
import re
from pathlib import Path

import pytest
import torch
from tiny_models import config, write_policy
from transformers import AutoModelForCausalLM, AutoTokenizer

import asprm
from asprm.engines.local import LocalEngine
from asprm.models.load import TEMPLATES, load_config, load_tokenizer, load_weights, located
from asprm.reward.score import load_prm
from asprm.reward.train import train


def pickled(folder: Path) -> Path:
    """A folder whose weights are in the old form, which unpickling would read."""
    write_policy(folder)
    model = AutoModelForCausalLM.from_config(config())
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


@pytest.mark.parametrize("load", [LocalEngine.load, load_prm, lambda path: train(path, [], None, "x", seed=0)])
def test_pickled_weights_are_refused_by_everything_that_loads_a_model(tmp_path, load):
    with pytest.raises(ValueError, match=r"no weights in safetensors, only pytorch_model.bin; pickled weights can run"):
        load(pickled(tmp_path / "old"))


def test_a_folders_own_code_is_never_run(tmp_path):
    folder = write_policy(tmp_path)
    (folder / "own.py").write_text("raise SystemExit('executed')\n")
    for name in ("config.json", "tokenizer_config.json"):
        values = json.loads((folder / name).read_text())
        own = {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M", "AutoTokenizer": ["own.T", "own.T"]}
        (folder / name).write_text(json.dumps(values | {"auto_map": own}))
    assert LocalEngine.load(folder).executor.config.model_type == "mistral"
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"model_type": "unheard-of"}))
    with pytest.raises(ValueError, match=r"custom code|unheard-of"):
        load_config(folder)


def test_a_hub_name_carries_its_commit(tmp_path, monkeypatch):
    commit = "27d67f1b5f57dc0953326b2601d68371d40ea8da"
    assert located(f"mistralai/Mistral-7B-v0.1@{commit}") == ("mistralai/Mistral-7B-v0.1", commit)
    assert located("mistralai/Mistral-7B-v0.1") == ("mistralai/Mistral-7B-v0.1", None)
    (tmp_path / "MS-M@1").mkdir()
    assert located(tmp_path / "MS-M@1") == (str(tmp_path / "MS-M@1"), None)  # a folder is a folder

    asked = []

    class Kind:
        @staticmethod
        def from_pretrained(name, **options):
            asked.append((name, options))
            return None, {"mismatched_keys": set(), "missing_keys": set()}

    monkeypatch.setattr("transformers.AutoConfig", Kind)
    load_config(f"a/b@{commit}")
    load_weights(Kind, f"a/b@{commit}", dtype="float32")
    load_weights(Kind, "a/b")
    assert [options["revision"] for _, options in asked] == [commit, commit, "main"]
    assert {name for name, _ in asked} == {"a/b"}
    assert all(options["trust_remote_code"] is False for _, options in asked)
    assert [options.get("use_safetensors") for _, options in asked] == [None, True, True]


def test_a_model_without_a_chat_template_gets_the_one_it_was_trained_with(tmp_path, monkeypatch):
    plain = AutoTokenizer.from_pretrained(write_policy(tmp_path))
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda name, **options: plain)
    assert load_tokenizer("somebody/else").chat_template is None
    tokenizer = load_tokenizer("Lux0926/metamath_mistral_7b@abc")
    tokenizer.bos_token = None
    text = tokenizer.apply_chat_template([{"role": "user", "content": "How many?"}], tokenize=False)
    assert text.endswith("### Instruction:\nHow many?\n\n### Response: Let's think step by step.")
    assert set(TEMPLATES) >= {"mistralai/Mistral-7B-v0.1", "Lux0926/LCD-DS"}


def test_models_are_loaded_nowhere_else():
    package = Path(asprm.__file__).parent
    loading = {file.name for file in package.rglob("*.py") if re.search(r"\bfrom_pretrained\(", file.read_text())}
    assert loading == {"load.py", "gguf.py", "adapters.py"}  # the others from files without code


@pytest.mark.parametrize("name", ["data/policies/Z", "./Z", "/nowhere/Z", "owner/"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(name):
    with pytest.raises(FileNotFoundError, match=r"no folder .* here"):
        located(name)
