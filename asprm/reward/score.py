"""Score: what a process reward model thinks of a solution, at any token (paper §2, R_θ(q, r_1 … r_k)).

A PRM is a Hugging Face folder: a backbone with one output per token. The score of a step is the sigmoid of that output
at the step's last token; one forward serves all steps of a solution, and solutions that begin alike (they share their
prompt, often more) are read together as one tree (`asprm.engines.packed`). Knows token ids and positions: no text, no problem.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoModelForTokenClassification, PreTrainedModel

from asprm.engines.packed import groups, pack, read, reading_size, use_packs
from asprm.models.load import load_config, load_tokenizer, load_weights

if TYPE_CHECKING:
    pass
from asprm.models.device import this_device
from asprm.models.load import quiet

ABOUT = "prm.json"  # beside the weights: how the PRM was made
_WINDOW = 1024  # items looked at together for common beginnings


@dataclass(frozen=True, eq=False)
class Item:
    """A solution and where to rate it.

    prompt: (L,) ids of the problem. ids: (T,) of the solution. ends: (K,) in 1 … T, any positions in any order: a
    score at `end` has seen ids[:end]. Step ends, line ends and random positions are rated by the same call.
    """

    prompt: np.ndarray
    ids: np.ndarray
    ends: np.ndarray

    @property
    def tokens(self) -> np.ndarray:
        """Prompt and solution, (L + T,) int32."""
        return np.concatenate([self.prompt, self.ids]).astype(np.int32, copy=False)


@dataclass(frozen=True, eq=False)
class PRM:
    """A process reward model, ready to score. about: what its folder's `prm.json` says of its making."""

    model: PreTrainedModel
    tokenizer: Any
    about: Mapping[str, Any]


def load_prm(
    folder: str | Path, *, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
) -> PRM:
    """The PRM in a Hugging Face folder that `asprm.reward.train.train` wrote.

    device: the accelerator if there is one, else the CPU. dtype: bfloat16 on an accelerator, float32 on the CPU.
    ValueError: the folder holds another kind of model, or a PRM without its head.
    """
    device = torch.device(device or this_device())
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    model, missing = load_classifier(folder, dtype, device)
    if missing:
        raise ValueError(
            f"score: {folder} lacks weights {missing[:3]}; expected a folder written by asprm.reward.train.train"
        )
    about = Path(folder) / ABOUT
    facts = json.loads(about.read_text()) if about.exists() else {}
    return PRM(model.eval(), load_tokenizer(folder), facts)


def load_classifier(
    folder: str | Path, dtype: str | torch.dtype, device: str | torch.device
) -> tuple[PreTrainedModel, list[str]]:
    """A model with one output per token that reads packs, and the names of weights that the folder does not hold."""
    config = load_config(folder, num_labels=1, id2label={0: "score"}, label2id={"score": 0})
    config.classifier_dropout = 0.0  # transformers would drop a tenth
    with quiet():
        model, info = load_weights(
            AutoModelForTokenClassification, folder, config=config, dtype=dtype, output_loading_info=True
        )
    return use_packs(model.to(device)), sorted(info["missing_keys"])


def score(prm: PRM, items: Iterable[Item], *, tokens: int | None = None) -> list[np.ndarray]:
    """Scores in (0, 1), one array (K,) float32 per item, in order. See `score_stream`."""
    return list(score_stream(prm, items, tokens=tokens))


def score_stream(prm: PRM, items: Iterable[Item], *, tokens: int | None = None) -> Iterator[np.ndarray]:
    """Like `score`, pulling items as needed: a solution's scores do not depend on what is scored beside it.

    tokens: how many are read in one forward (None: by the device). ValueError, naming the item: no position to rate,
    one outside the solution, an id that the PRM does not know, more tokens than it has positions, a score that is not a
    number.
    """
    done = 0
    items = iter(items)
    while window := list(islice(items, _WINDOW)):
        for number, found in enumerate(logits(prm.model, window, tokens=tokens, first=done), done):
            if not np.isfinite(found).all():
                raise ValueError(f"score: item {number} got scores {found}; a PRM that gives no number is broken")
            yield _sigmoid(found)
        done += len(window)


@torch.inference_mode()
def logits(
    model: PreTrainedModel, items: Sequence[Item], *, tokens: int | None = None, first: int = 0
) -> list[np.ndarray]:
    """The model's outputs at the items' ends, one array (K,) float32 per item. first: the first one's number."""
    bounds = limits(model)
    texts = []
    for number, item in enumerate(items, first):
        check(item, *bounds, f"item {number}")
        texts.append(item.tokens[: len(item.prompt) + int(np.max(item.ends))])
    out: list[np.ndarray] = [np.empty(0, np.float32)] * len(items)
    for group in groups(texts, tokens or reading_size(model.device.type)):
        packed = pack([texts[i] for i in group])
        wanted = [packed.places[j][len(items[i].prompt) + np.asarray(items[i].ends) - 1] for j, i in enumerate(group)]
        found = model.score(read(model, packed, np.concatenate(wanted)))[:, 0].float().cpu().numpy()
        for i, part in zip(group, np.split(found, np.cumsum([len(x) for x in wanted])[:-1]), strict=True):
            out[i] = part
    return out


def limits(model: PreTrainedModel) -> tuple[int, int]:
    """How many positions and tokens the model knows. Ask once, not for every item: configurations take their time."""
    config = model.config.get_text_config()
    return config.max_position_embeddings, config.vocab_size


def check(item: Item, positions: int, vocabulary: int, name: str) -> None:
    """ValueError: the item cannot be rated by a model of so many positions and tokens, and why."""
    ends, length = np.asarray(item.ends), len(item.ids)
    if not len(ends) or ends.min() < 1 or ends.max() > length:
        raise ValueError(f"{name}: ends are {ends.tolist()}, expected at least one, each in 1 … {length}, its tokens")
    total = len(item.prompt) + length
    if total > positions:
        raise ValueError(
            f"{name}: {total} tokens with its prompt, but the model has {positions} positions; leave it out"
        )
    if max(item.ids.max(), np.max(item.prompt, initial=0)) >= vocabulary or item.ids.min() < 0:
        raise ValueError(
            f"{name}: it has token ids outside the model's vocabulary of {vocabulary}; "
            "were they made by another model's tokenizer?"
        )


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)
