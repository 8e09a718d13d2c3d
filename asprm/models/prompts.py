"""Prompts: how the text of a problem is put to a model, as token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
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


class PromptEncoder:
    """Prompt ids of one model, for problems that come one by one.

    template: a text with {problem} in it. None: the tokenizer's chat template.
    positions: the most tokens that the model reads. None: any number.

    ValueError: no template, and the tokenizer has none either.
    """

    def __init__(self, tokenizer: Any, *, template: str | None = None, positions: int | None = None) -> None:
        if template is None and not tokenizer.chat_template:
            raise ValueError(
                f"{tokenizer.name_or_path} has no chat template; say how a problem is put to it, for example\n"
                r"  --template 'Question: {problem}\nAnswer:'"
            )
        self.tokenizer, self.template = tokenizer, template
        self.positions = positions or 2**31
        self._cached = lru_cache(1024)(self._encode)  # the solutions of one problem come together

    def __call__(self, problem: str, template: str | None = None) -> np.ndarray:
        """Prompt ids (L,) int32 of a problem's text. template: in place of the encoder's own.

        ValueError: the model cannot read so many tokens, or there are none.
        """
        ids = self._cached(problem, template or self.template)
        if not 0 < len(ids) < self.positions:
            raise ValueError(f"its prompt has {len(ids)} tokens, expected 1 to {self.positions - 1} for this model")
        return ids

    def _encode(self, problem: str, template: str | None) -> np.ndarray:
        if template is None:
            return encode_prompts(self.tokenizer, [problem])[0]
        # Not str.format: problems and templates contain braces of their own.
        return np.asarray(self.tokenizer(template.replace("{problem}", problem))["input_ids"], np.int32)
