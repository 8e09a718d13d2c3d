"""Where a model runs, and in which number format."""

import pytest
import torch
from conftest import REPOSITORY
from tiny_models import write_policy
from transformers import LlamaConfig, Qwen2Config

from asprm.engines.executors import load_executor
from asprm.engines.pieces import some_ids
from asprm.models import device
from asprm.models.device import large, placement, reduced
from asprm.models.load import load_weights
from asprm.run.open import open_run

M = REPOSITORY / "data" / "policies" / "M"
QWEN = Qwen2Config(hidden_size=896, num_hidden_layers=24, vocab_size=151936)
SMOLLM2 = LlamaConfig(hidden_size=576, num_hidden_layers=30, vocab_size=49152)


@pytest.fixture
def with_instructions(monkeypatch):
    """A CPU that has instructions for bf16, or has not; and no accelerator."""

    def say(has: bool) -> None:
        monkeypatch.setattr(device, "this_device", lambda: "cpu")
        monkeypatch.setattr(device, "bf16_pays", lambda where: has)

    return say


def test_half_a_billion_weights_are_large_and_a_hundred_million_are_not():
    assert large(QWEN)
    assert not large(SMOLLM2)


@pytest.mark.parametrize("has", [True, False])
def test_a_cpu_takes_bf16_for_large_models_where_it_has_instructions_for_it(monkeypatch, with_instructions, has):
    with_instructions(has)
    expected = torch.bfloat16 if has else torch.float32
    for config, chosen in ((QWEN, expected), (SMOLLM2, torch.float32)):
        monkeypatch.setattr(device, "load_config", lambda path, config=config: config)
        assert placement("any") == (torch.device("cpu"), chosen)
        assert reduced("any") == (None if chosen == torch.float32 else "bfloat16")
        assert placement("any", dtype="float32") == (torch.device("cpu"), "float32")


def test_an_accelerator_takes_bf16_and_needs_no_configuration():
    assert placement("nowhere", "cuda") == (torch.device("cuda"), torch.bfloat16)


def test_a_run_names_the_number_format_where_it_is_not_fp32(monkeypatch, with_instructions, tmp_path):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    run = open_run("smoke", "sample", {"policy": "M"}, quiet=True)
    assert run.running(run.policy_path()) == run.policy_path()
    assert "number format of large models" not in run.inputs
    with_instructions(True)
    monkeypatch.setattr(device, "large", lambda config: True)
    run.running(run.policy_path())
    assert run.inputs["number format of large models"] == "bfloat16"


def test_models_are_compared_on_ids_from_all_over_the_vocabulary():
    ids = some_ids(49152, 16)
    assert len(set(ids.tolist())) == 16
    assert ids.min() > 2000  # the first 17 of SmolLM2 are special tokens, on which bf16 errs by 40 %
    assert some_ids(10, 16).max() < 10


def test_an_executor_in_bf16_passes_its_check_though_the_first_tokens_states_are_huge(tmp_path):
    folder = write_policy(tmp_path)
    from transformers import AutoModelForCausalLM

    model = load_weights(AutoModelForCausalLM, folder, dtype=torch.bfloat16)
    with torch.no_grad():
        model.model.embed_tokens.weight[:4] *= 1e4
    assert load_executor(model).shape.dtype == torch.bfloat16
