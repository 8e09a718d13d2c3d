"""Prompts: how a problem is put to a model, as token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def encode_prompts(tokenizer: Any, texts: Sequence[str]) -> list[np.ndarray]:
    """Prompt ids (L,) int32 of each problem's text, by the tokenizer's chat template."""
    chats = [
        tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)
        for text in texts
    ]
    encoded = tokenizer(chats, add_special_tokens=False)["input_ids"]
    return [np.asarray(ids, dtype=np.int32) for ids in encoded]


def prompts_of(tokenizer: Any, texts: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Prompt ids (L,) int32 by problem id. texts: each problem's text by its id."""
    return dict(zip(texts, encode_prompts(tokenizer, list(texts.values())), strict=True))
