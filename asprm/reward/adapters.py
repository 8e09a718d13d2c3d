"""Adapters: a reward model that keeps its base's weights and learns low-rank changes of them (LoRA).

The package peft makes them. The model's folder holds the changes and the value head, some megabytes, and names the
base. To score, the changes are added to the base's weights, so that the model is as fast as any other.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

CONFIG = "adapter_config.json"  # peft's; a folder with this file holds adapters


def adapted(model: PreTrainedModel, rank: int, layers: int | None, seed: int) -> Any:
    """A peft model around `model`: only adapters of this rank and the value head learn. They act in `model` itself.

    layers: how many of the last layers get adapters; None: all. seed: of the adapters' first weights.
    ValueError: peft is not installed.
    """
    peft = _peft()
    backbone: Any = model.base_model
    linear = {name.rpartition(".")[2] for name, part in backbone.named_modules() if isinstance(part, nn.Linear)}
    config = peft.LoraConfig(
        task_type="TOKEN_CLS",  # so that the head is learned and saved too
        r=rank,
        lora_alpha=2 * rank,
        target_modules=sorted(linear),
        layers_to_transform=_last(model, layers) if layers else None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return peft.get_peft_model(model, config)


def freeze(model: PreTrainedModel, layers: int) -> None:
    """Let only the last layers and what follows them learn."""
    backbone: Any = model.base_model
    backbone.embed_tokens.requires_grad_(False)
    learning = _last(model, layers)
    for number, layer in enumerate(backbone.layers):
        layer.requires_grad_(number in learning)


def base_of(folder: str | Path) -> str | None:
    """The folder or hub name of the base, if the folder holds adapters; else None."""
    file = Path(folder) / CONFIG
    return json.loads(file.read_text())["base_model_name_or_path"] if file.is_file() else None


def merged(base: PreTrainedModel, folder: str | Path) -> PreTrainedModel:
    """The base with the folder's adapters added to its weights, and the folder's value head."""
    return _peft().PeftModel.from_pretrained(base, str(folder)).merge_and_unload()


def _last(model: PreTrainedModel, layers: int) -> list[int]:
    """The numbers of the last layers."""
    count = model.config.get_text_config().num_hidden_layers
    if layers > count:
        raise ValueError(f"prm: {layers} layers are to learn, but the model has {count}")
    return list(range(count - layers, count))


def _peft() -> ModuleType:
    try:
        import peft
    except ImportError:
        raise ValueError(
            "prm: low-rank adapters need the package peft, which is not installed:  pip install peft"
        ) from None
    return peft
