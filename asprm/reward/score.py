"""Score: how likely a process reward model thinks it that a solution still comes right, at any token (paper §2).

A PRM is a Hugging Face folder: a backbone with one output per token. The score R_θ(q, r_1 … r_k) of a step is the
sigmoid of that output at the step's last token. One forward serves all steps of a solution, and solutions that begin
alike (they share their prompt, often more) are read together as one tree (`asprm.engines.packed`). Knows token ids and
positions, but no text and no problem.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForTokenClassification, PreTrainedModel

from asprm.engines.packed import Pack, groups, pack, read, reading_size, use_packs
from asprm.models.device import placement
from asprm.models.faults import Misfit, in_one_line
from asprm.models.load import load_config, load_incomplete, load_tokenizer
from asprm.reward.adapters import base_of, merged

ABOUT = "prm.json"  # beside the weights: how the PRM was made
_WINDOW = 1024  # items among which common beginnings are looked for


@dataclass(frozen=True, eq=False)
class Item:
    """A solution and where to rate it.

    prompt: (L,) ids of the problem.
    ids: (T,) ids of the solution.
    ends: (K,) in 1 … T, any positions in any order; the score at `end` depends on ids[:end]. Step ends, line ends and
        random positions are all rated in this way.
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
    """A process reward model that is ready to score. about: the content of its folder's `prm.json`."""

    model: PreTrainedModel
    tokenizer: Any
    about: Mapping[str, Any]


def load_prm(
    folder: str | Path, *, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
) -> PRM:
    """The PRM in a Hugging Face folder that `asprm.reward.train.train` wrote.

    device, dtype: None for the defaults of `asprm.models.device.placement`.
    ValueError: the folder holds another kind of model, or a PRM without its head.
    """
    where, number_format = placement(base_of(folder) or folder, device, dtype)
    model, missing = load_classifier(folder, number_format, where)
    if missing:
        raise ValueError(
            f"score: {folder} lacks weights {missing[:3]}; expected a folder written by asprm.reward.train.train"
        )
    about = Path(folder) / ABOUT
    with in_one_line(str(folder)):
        facts = json.loads(about.read_text()) if about.exists() else {}
    return PRM(model.eval(), load_tokenizer(folder), facts)


def load_classifier(
    folder: str | Path, dtype: str | torch.dtype, device: str | torch.device
) -> tuple[PreTrainedModel, list[str]]:
    """A model with one output per token that reads packs, and the names of the weights that the folder lacks.

    A head with two outputs, wrong and right, as TRL trains it, becomes one: their difference is the log odds. Adapters
    are added to the weights of their base.
    """
    if base := base_of(folder):
        model, _ = load_classifier(base, dtype, device)
        return use_packs(merged(model, folder)), []
    try:
        model, missing = _load_classifier(folder, dtype, 1)
    except Misfit as misfit:
        outputs = {stored[0] if expected[0] == 1 else None for stored, expected in misfit.shapes.values()}
        if None in outputs:
            raise
        if outputs != {2}:
            raise ValueError(
                f"score: the head of {folder} has {outputs} outputs per token; expected one, or two (wrong and right)"
            ) from None
        model, missing = _load_classifier(folder, dtype, 2)
        model.score = _one_output(model.score)
        model.config.num_labels = 1
    return use_packs(model.to(device)), missing


def _load_classifier(folder: str | Path, dtype: str | torch.dtype, outputs: int) -> tuple[Any, list[str]]:
    names = {i: f"score {i}" if i else "score" for i in range(outputs)}
    config: Any = load_config(folder, id2label=names, label2id={name: i for i, name in names.items()})
    config.classifier_dropout = 0.0  # transformers would drop a tenth
    return load_incomplete(AutoModelForTokenClassification, folder, config=config, dtype=dtype)


@torch.no_grad()
def _one_output(head: nn.Linear) -> nn.Linear:
    one = nn.Linear(head.in_features, 1, dtype=head.weight.dtype)
    one.weight.copy_(head.weight[1:] - head.weight[:1])
    one.bias.copy_(head.bias[1:] - head.bias[:1])
    return one


def score(prm: PRM, items: Iterable[Item], *, tokens: int | None = None) -> list[np.ndarray]:
    """Scores in (0, 1), one array (K,) float32 per item, in order. See `score_stream`."""
    return list(score_stream(prm, items, tokens=tokens))


def score_stream(prm: PRM, items: Iterable[Item], *, tokens: int | None = None) -> Iterator[np.ndarray]:
    """Like `score`, but items are pulled as needed. The scores of an item do not depend on the other items.

    tokens: how many are read in one forward (None: by the device).
    ValueError, naming the item: it has no position to rate, a position outside the solution, an id that the PRM does
    not know, or more tokens than the PRM has positions; or a score is not finite.
    """
    done = 0
    items = iter(items)
    while window := list(islice(items, _WINDOW)):
        for number, outputs in enumerate(logits(prm.model, window, tokens=tokens, first=done), done):
            if not np.isfinite(outputs).all():
                raise ValueError(
                    f"score: item {number} has non-finite scores {outputs}; check the PRM's weights or dtype"
                )
            yield _sigmoid(outputs)
        done += len(window)


@torch.inference_mode()
def logits(
    model: PreTrainedModel, items: Sequence[Item], *, tokens: int | None = None, first: int = 0
) -> list[np.ndarray]:
    """The model's outputs at the items' ends, one array (K,) float32 per item.

    tokens: see `score_stream`. first: the number of the first item, for errors.
    """
    # 1. Each item up to the last position that is rated.
    bounds = limits(model)
    texts = []
    for number, item in enumerate(items, first):
        check(item, *bounds, f"item {number}")
        texts.append(item.tokens[: len(item.prompt) + int(np.max(item.ends))])

    # 2. A forward for each group of items that begin alike; the outputs go back to the items' places.
    by_item: list[np.ndarray] = [np.empty(0, np.float32)] * len(items)
    for group in groups(texts, tokens or reading_size(model.device.type)):
        packed = pack([texts[i] for i in group])
        at = [packed.places[j][len(items[i].prompt) + np.asarray(items[i].ends) - 1] for j, i in enumerate(group)]
        outputs = outputs_at(model, packed, np.concatenate(at)).float().cpu().numpy()
        for i, part in zip(group, np.split(outputs, np.cumsum([len(x) for x in at])[:-1]), strict=True):
            by_item[i] = part
    return by_item


def outputs_at(model: PreTrainedModel, packed: Pack, at: np.ndarray) -> torch.Tensor:
    """The outputs (E,) of the model's value head at the places (E,) of a pack, before the sigmoid."""
    return cast(nn.Module, model.score)(read(model, packed, at))[:, 0]


def limits(model: PreTrainedModel) -> tuple[int, int]:
    """The model's number of positions and of tokens. Ask once for many items: reading a configuration is slow."""
    config = model.config.get_text_config()
    return config.max_position_embeddings, config.vocab_size


def check(item: Item, positions: int, vocabulary: int, name: str) -> None:
    """ValueError, naming the item: a model with so many positions and tokens cannot rate it."""
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
