"""Models: how a Hugging Face folder or a repository of the hub is read. No code of theirs is run, no pickle opened.

A model is named by a folder, or by its hub name with the commit after an `@`: `mistralai/Mistral-7B-v0.1@27d67f1b…`.
Weights come from safetensors only. Every module of the package that loads a model or a tokenizer does it here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # transformers takes seconds to import, and a page that only needs a tokenizer need not wait for them
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel
from transformers.utils import logging

if TYPE_CHECKING:
    pass


_METAMATH = (  # what MetaMath's models were trained on; `input` of the authors' samples
    "{{ bos_token }}Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{{ messages[0]['content'] }}\n\n### Response: Let's think step by step."
)
_PLAIN = "{{ bos_token }}{{ messages[0]['content'] }}"  # LeetCodeDataset's `query` brings its own headings

# How a problem is put to models that come without a chat template: by hub name. Reward models that start from the bare
# base read problems as the policy does that they rate.
TEMPLATES: Mapping[str, str] = MappingProxyType(
    {
        "meta-math/MetaMath-Mistral-7B": _METAMATH,
        "Lux0926/metamath_mistral_7b": _METAMATH,
        "mistralai/Mistral-7B-v0.1": _METAMATH,
        "Lux0926/metamath_llama31_8b": _METAMATH,
        "meta-llama/Llama-3.1-8B": _METAMATH,
        "Lux0926/LCD-DS": _PLAIN,
        "deepseek-ai/deepseek-coder-6.7b-base": _PLAIN,
    }
)


def located(path: str | Path) -> tuple[str, str | None]:
    """The folder or hub name, and the commit that is asked for (None: a folder has none, of a hub name the newest).

    FileNotFoundError: neither a folder that is there, nor a name as the hub has them.
    """
    name = str(path)
    if Path(name).is_dir():
        return name, None
    if name.startswith((".", "/", "~")) or name.endswith("/") or name.partition("@")[0].count("/") > 1:
        raise FileNotFoundError(f"models: no folder {name} here, and it is no name of the hub, which are owner/name")
    if "@" not in name:
        return name, None
    name, _, revision = name.rpartition("@")
    return name, revision


def pinned(path: str | Path) -> str:
    """A hub name with the commit that is read now, where none is asked for; a folder as it is."""
    name, revision = located(path)
    if Path(name).is_dir() or revision:
        return str(path)
    return f"{name}@{load_config(name)._commit_hash}"


def load_config(path: str | Path, **fields: Any) -> PretrainedConfig:
    """The model's configuration, with these fields changed."""
    from transformers import AutoConfig

    name, revision = located(path)
    return AutoConfig.from_pretrained(name, revision=revision or "main", trust_remote_code=False, **fields)


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The model's tokenizer; one that has no chat template gets that of `TEMPLATES`, where its model stands there."""
    name, revision = located(path)
    if _is_plain(Path(name)):
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(name)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name, revision=revision or "main", trust_remote_code=False)
    if tokenizer.chat_template is None and name in TEMPLATES:
        tokenizer.chat_template = TEMPLATES[name]
    return tokenizer


def _is_plain(folder: Path) -> bool:
    """Whether the folder's tokenizer is of no model's own class and complete, as those made here are."""
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text())
    except (OSError, ValueError):
        return False
    plain = config.get("tokenizer_class") in ("PreTrainedTokenizerFast", "TokenizersBackend")
    return plain and all((folder / name).is_file() for name in ("tokenizer.json", "chat_template.jinja"))


def load_weights(kind: Any, path: str | Path, **options: Any) -> PreTrainedModel | tuple[PreTrainedModel, dict]:
    """A model of the class `kind` (an `Auto` class, or a model's own); options go to its `from_pretrained`.

    ValueError: a folder without weights in safetensors.
    """
    name, revision = located(path)
    if Path(name).is_dir() and not any(Path(name).glob("*.safetensors")):
        others = sorted(file.name for kind in ("*.bin", "*.pt", "*.pth") for file in Path(name).glob(kind))
        raise ValueError(
            f"models: {name} holds no weights in safetensors{', only ' + ', '.join(others[:3]) if others else ''}; "
            "pickled weights can run code and are not read: have their publisher convert them, or convert them where "
            "you trust them (model.save_pretrained writes safetensors)"
        )
    # Only Auto classes know the option, and only they would run a repository's code.
    auto = {"trust_remote_code": False} if not hasattr(kind, "forward") else {}
    return kind.from_pretrained(name, revision=revision or "main", use_safetensors=True, **auto, **options)


@contextmanager
def quiet() -> Iterator[None]:
    """transformers without its loading bars and reports: what is missing is checked, and an error here."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
