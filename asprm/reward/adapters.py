"""Adapters: a reward model that keeps its base's weights and learns low-rank changes of them (LoRA).

The package peft makes them. The model's folder holds the changes and the value head, some megabytes, and names the
base: by its name, by the way to it from the folder, and by its digest, so that both may move, together or alone. To
score, the changes are added to the base's weights, so that the model is as fast as any other.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from asprm.models.load import MODELS, located, pinned, read_models
from asprm.run.artifacts import digest_once
from asprm.run.root import study_root

CONFIG = "adapter_config.json"  # peft's; a folder with this file holds adapters
BASE = "base.json"  # the base: name, path from this folder (null: on the hub), sha256 of its weights (null: by commit)


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


def write_base(folder: Path, base: str | Path) -> None:
    """Write down which base the adapters in `folder` belong to, in a way that holds on other machines too."""
    name, commit = located(base)
    on_hub = not Path(name).is_dir()
    known = pinned(base) if on_hub and commit is None else str(base) if on_hub else Path(name).resolve().name
    path = None if on_hub else Path(os.path.relpath(Path(name).resolve(), folder.resolve())).as_posix()
    about = {"name": known, "path": path, "sha256": None if on_hub else _digest(Path(name))}
    (folder / BASE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = known
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def base_of(folder: str | Path) -> str | None:
    """The folder or hub name of the base, if the folder holds adapters; else None.

    The base is looked for where it lay, seen from the folder, then where $ASPRM_MODELS says for its name, then in
    `data/models` of the study.
    FileNotFoundError: it is not found. ValueError: the one that is found has other weights.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        return None
    if not (folder / BASE).is_file():  # adapters that were not trained here
        return json.loads((folder / CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
    about = json.loads((folder / BASE).read_text(encoding="utf-8"))
    if about["path"] is None:
        return about["name"]
    for place in _places(folder, about):
        if place.exists():
            base, _ = located(place)
            if (digest := _digest(Path(base))) != about["sha256"]:
                raise ValueError(
                    f"prm: {folder}: the weights in {base} have SHA-256 {digest}, expected {about['sha256']}: the "
                    f"adapters belong to another {about['name']}"
                )
            return str(Path(base).resolve())
    raise FileNotFoundError(
        f"prm: {folder}: its adapters need the weights of {about['name']}, which are not in {folder / about['path']}\n"
        f"  say where they are:  export {MODELS}={about['name']}=<folder>"
    )


def _places(folder: Path, about: dict[str, Any]) -> list[Path]:
    """Where the base may be, the likeliest place first."""
    places = [folder.resolve() / about["path"]]
    if given := read_models(os.environ.get(MODELS, "")).get(about["name"]):
        places.append(Path(given))
    with suppress(FileNotFoundError):  # outside any study
        places.append(study_root() / "data" / "models" / about["name"])
    return places


def _digest(base: Path) -> str:
    """SHA-256 over the digests of a folder's weights, in the order of their names."""
    digests = [digest_once(file.resolve()) for file in sorted(base.glob("*.safetensors"))]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


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
