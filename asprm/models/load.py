"""Load: how a model is read from a Hugging Face folder or from the hub. No code of theirs is run, no pickle is opened.

A model is named by a folder, by a GGUF file, or by its hub name, with the commit after an `@`:
`mistralai/Mistral-7B-v0.1@27d67f1b…`. $ASPRM_MODELS may name a folder or GGUF file in the place of a hub name.
Weights come from safetensors only. Every module of the package that loads a model or a tokenizer does it here.

transformers takes seconds to import, and this module is imported to name models too: each function imports what it
needs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from asprm.models.faults import Misfit, in_one_line
from asprm.models.gguf import converted

if TYPE_CHECKING:
    from transformers import GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

_METAMATH = (  # what MetaMath's models were trained with; it is also in the field `input` of the authors' samples
    "{{ bos_token }}Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{{ messages[0]['content'] }}\n\n### Response: Let's think step by step."
)
_PLAIN = "{{ bos_token }}{{ messages[0]['content'] }}"  # LeetCodeDataset's `query` brings its own headings

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
"""The chat templates of models that come without one, by hub name. Reward models that start from a base model read
problems in the form that their policy does.
"""


MODELS = "ASPRM_MODELS"  # environment variable: see `read_models`


def located(path: str | Path) -> tuple[str, str | None]:
    """The folder or hub name, and the commit: None for a folder, and for a hub name whose newest commit is wanted.

    A GGUF file is converted into a folder at the first call.
    FileNotFoundError: neither an existing folder or GGUF file nor a valid hub name. ValueError: a GGUF file that cannot
    be read, or $ASPRM_MODELS in another form than `read_models` expects.
    """
    name = str(path)
    if given := read_models(os.environ.get(MODELS, "")).get(name.partition("@")[0]):
        if not Path(given).exists():
            raise FileNotFoundError(f"models: no folder or file {given}, which ${MODELS} names for {name}")
        name = given
    if Path(name).is_dir():
        return name, None
    if name.endswith(".gguf") and Path(name).is_file():
        with quiet():
            return str(converted(Path(name))), None
    if name.startswith((".", "/", "~")) or name.endswith("/") or name.partition("@")[0].count("/") > 1:
        raise FileNotFoundError(f"models: no folder {name} here, and it is not a valid hub name (owner/name)")
    if "@" not in name:
        return name, None
    name, _, revision = name.rpartition("@")
    return name, revision


def read_models(text: str) -> dict[str, str]:
    """{hub name: folder or GGUF file} from "owner/name=models/name.gguf,…". ValueError: another form."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    for name, equals, path in pairs:
        if not equals or not name.strip() or not path.strip():
            raise ValueError(
                f"${MODELS}: {name}{equals}{path}: expected a hub name and the folder or GGUF file in its place, like "
                "Qwen/Qwen2.5-Coder-0.5B-Instruct=models/qwen.gguf"
            )
    return {name.strip(): path.strip() for name, _, path in pairs}


def in_place_of(source: str, models: Mapping[str, str], root: Path) -> str:
    """The folder or GGUF file that stands in the place of a hub name, or `source` itself if none does.

    models: places by hub name, as a profile gives them; $ASPRM_MODELS goes first. A model in the folder `data/models`
    below `root`, under its own name, needs no mention.
    """
    name = source.partition("@")[0]
    if given := (dict(models) | read_models(os.environ.get(MODELS, ""))).get(name):
        return given
    fetched = root / "data" / "models" / name.rpartition("/")[2]
    return str(fetched) if name.count("/") == 1 and fetched.is_dir() and not (root / name).exists() else source


def pinned(path: str | Path) -> str:
    """A hub name with a commit: its newest one if it names none. A folder stays as it is."""
    name, revision = located(path)
    if Path(name).is_dir() or revision:
        return str(path)
    return f"{name}@{load_config(name)._commit_hash}"


def load_config(path: str | Path, **fields: Any) -> PretrainedConfig:
    """The model's configuration. fields: values that replace its own. ValueError, OSError: it cannot be read."""
    from transformers import AutoConfig

    name, revision = located(path)
    with in_one_line(name):
        return AutoConfig.from_pretrained(name, revision=revision or "main", trust_remote_code=False, **fields)


def load_generation(path: str | Path) -> GenerationConfig:
    """How the model's texts are generated, and where they end: its own settings, else those of its configuration."""
    from transformers import GenerationConfig

    name, revision = located(path)
    try:
        return GenerationConfig.from_pretrained(name, revision=revision or "main")
    except OSError:  # it has none
        return GenerationConfig.from_model_config(load_config(path))


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The model's tokenizer. If it has no chat template, it gets the one that `TEMPLATES` has for the model.

    ValueError, OSError: it cannot be read, or has tokens that the model in the same folder does not know.
    """
    name, revision = located(path)
    with in_one_line(name):
        if _is_plain(Path(name)):
            from transformers import PreTrainedTokenizerFast

            tokenizer = PreTrainedTokenizerFast.from_pretrained(name)
        else:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(name, revision=revision or "main", trust_remote_code=False)
    if tokenizer.chat_template is None and name in TEMPLATES:
        tokenizer.chat_template = TEMPLATES[name]
    _check_size(tokenizer, Path(name))
    return tokenizer


def _check_size(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """ValueError: the folder's model has no weights for a token that a text may hold (padding never is in one)."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # a tokenizer alone, or one of the hub
    known = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")
    if known is None or len(tokenizer) <= known:
        return
    unknown = [token for token, i in tokenizer.get_vocab().items() if i >= known and i != tokenizer.pad_token_id]
    if unknown:
        raise ValueError(
            f"models: {folder}: the tokenizer has {len(tokenizer)} tokens, the model {known}; expected the tokenizer "
            f"that the model was trained with (or resize the model: model.resize_token_embeddings({len(tokenizer)}))"
        )


def _is_plain(folder: Path) -> bool:
    """Whether the folder holds a complete tokenizer of no model's own class, as the policies trained here do."""
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text())
    except (OSError, ValueError):
        return False
    plain = config.get("tokenizer_class") in ("PreTrainedTokenizerFast", "TokenizersBackend")
    return plain and all((folder / name).is_file() for name in ("tokenizer.json", "chat_template.jinja"))


def load_weights(kind: Any, path: str | Path, **options: Any) -> Any:
    """A model of the class `kind`, which is an `Auto` class or a model's own. options: of its `from_pretrained`.

    ValueError, OSError: no weights in safetensors, weights that cannot be read, that are missing or have other shapes.
    """
    model, missing = load_incomplete(kind, path, **options)
    if missing:
        raise ValueError(
            f"models: {path} lacks weights {missing[:3]}; expected a {kind.__name__} (is it a model of another kind, "
            "such as a reward model?)"
        )
    return model


def load_incomplete(kind: Any, path: str | Path, **options: Any) -> tuple[Any, list[str]]:
    """As `load_weights`, for a model of which weights may be missing: the model, and the names of the missing ones."""
    from transformers import PreTrainedModel

    name, revision = located(path)
    _check_safe(Path(name))
    # Only Auto classes have this option, and only they would run a repository's code.
    auto = {} if isinstance(kind, type) and issubclass(kind, PreTrainedModel) else {"trust_remote_code": False}
    with quiet(), in_one_line(name):
        loaded: Any = kind.from_pretrained(
            name,
            revision=revision or "main",
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are reported below
            **auto,
            **options,
        )
    model, info = loaded
    if info["mismatched_keys"]:
        shapes = {key: (list(stored), list(expected)) for key, stored, expected in info["mismatched_keys"]}
        raise Misfit(name, shapes)
    return model, sorted(info["missing_keys"])


def _check_safe(folder: Path) -> None:
    """ValueError: a folder without weights in safetensors."""
    if not folder.is_dir() or any(folder.glob("*.safetensors*")):
        return
    pickles = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in folder.glob(pattern))
    raise ValueError(
        f"models: {folder} holds no weights in safetensors{', only ' + ', '.join(pickles[:3]) if pickles else ''}; "
        "pickled weights can run code and are not read: have their publisher convert them, or convert them where "
        "you trust them (model.save_pretrained writes safetensors)"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """transformers without loading bars and reports. Missing weights are an error of the caller's."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
