"""Shapes: the sizes of a language model that its cost depends on, from its configuration or by its name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asprm import REPOSITORY
from asprm.run.sections import Policy


@dataclass(frozen=True)
class Shape:
    """A model like Llama, Mistral or Qwen2."""

    layers: int
    hidden: int  # width
    heads: int
    kv_heads: int
    head: int  # size of a head
    feed_forward: int
    vocabulary: int
    tied: bool = False  # whether embeddings and head are the same weights

    @property
    def matrices(self) -> int:
        """W: the weights of the matrices that each token is multiplied with, without embeddings and head."""
        attention = 2 * self.hidden * self.head * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.feed_forward)

    @property
    def ends_of_matrices(self) -> int:
        """Inputs and outputs of all matrices of a layer: what a rank of low-rank adapters at each of them takes."""
        attention = 2 * (self.hidden + self.head * self.heads) + 2 * (self.hidden + self.head * self.kv_heads)
        return attention + 3 * (self.hidden + self.feed_forward)

    @property
    def parameters(self) -> int:
        """All weights, embeddings and head included."""
        norms = (2 * self.layers + 1) * self.hidden
        return self.matrices + norms + self.hidden * self.vocabulary * (1 if self.tied else 2)

    def forward(self, context: float, head: bool = True) -> float:
        """FLOPs of one token that sees `context` tokens, itself included. head: with the language-model head."""
        attention = 4 * self.layers * self.heads * self.head * context
        return 2 * self.matrices + attention + (2 * self.hidden * self.vocabulary if head else 0)

    def cache(self, number: int) -> int:
        """Bytes of keys and values per token. number: bytes of a number."""
        return 2 * self.layers * self.kv_heads * self.head * number


_MISTRAL_7B = Shape(32, 4096, 32, 8, 128, 14336, 32000)
_LLAMA_8B = Shape(32, 4096, 32, 8, 128, 14336, 128256)
_DEEPSEEK_CODER_6_7B = Shape(32, 4096, 32, 32, 128, 11008, 32256)
KNOWN = {  # by a part of the hub name, so that nothing is downloaded for a plan
    "deepseek-coder-6.7b": _DEEPSEEK_CODER_6_7B,
    "lcd-ds": _DEEPSEEK_CODER_6_7B,
    "asprm-d": _DEEPSEEK_CODER_6_7B,
    "asprm-mathcode-deepseek": _DEEPSEEK_CODER_6_7B,
    "asprm-l": _LLAMA_8B,
    "asprm-m": _MISTRAL_7B,
    "mistral-7b": _MISTRAL_7B,
    "metamath-llama": _LLAMA_8B,
    "llama-3.1-8b": _LLAMA_8B,
    "llama31-8b": _LLAMA_8B,
    "llama-3-8b": _LLAMA_8B,
    "qwen2.5-coder-0.5b": Shape(24, 896, 14, 2, 64, 4864, 151936, tied=True),
    "smollm2-135m": Shape(30, 576, 9, 3, 64, 1536, 49152, tied=True),
}


def shape_of(path: str, recipe: Policy | None = None) -> Shape:
    """The shape of the model at `path`, a folder or a hub name.

    It is read from the folder's config.json; else it is that of the recipe, if the model is yet to be trained here;
    else that of `KNOWN`. ValueError: none of these.
    """
    for root in (Path(), REPOSITORY):
        file = root / path / "config.json"
        if file.is_file():
            return _from_config(json.loads(file.read_text()))
    if recipe is not None and path.startswith(("data/", ".", "/")):
        head = recipe.hidden // recipe.heads
        return Shape(recipe.layers, recipe.hidden, recipe.heads, recipe.kv_heads, head, recipe.intermediate,
                     recipe.vocab, tied=True)  # fmt: skip
    for name, shape in KNOWN.items():
        if name in path.lower().replace("_", "-"):
            return shape
    raise ValueError(
        f"plan: the size of the model '{path}' is not known; known: {', '.join(KNOWN)}\n"
        "  or give the path of a folder with the model's config.json"
    )


def _from_config(config: dict[str, Any]) -> Shape:
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    return Shape(
        config["num_hidden_layers"],
        hidden,
        heads,
        config.get("num_key_value_heads") or heads,
        config.get("head_dim") or hidden // heads,
        config["intermediate_size"],
        config["vocab_size"],
        bool(config.get("tie_word_embeddings", False)),
    )
