"""Prompts: how a problem is put to a model, as token ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asprm.problems.problem import Problem


def encode_prompts(tokenizer, problems: Sequence[Problem]) -> list[np.ndarray]:
    """The token ids (L,) that a policy continues, one array a problem, by the tokenizer's chat template."""
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": problem.prompt}], tokenize=False, add_generation_prompt=True
        )
        for problem in problems
    ]
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [np.asarray(ids, dtype=np.int32) for ids in encoded]


def prompts_of(tokenizer, problems: Sequence[Problem]) -> dict[str, np.ndarray]:
    """Prompt ids (L,) by problem id."""
    return dict(zip((problem.id for problem in problems), encode_prompts(tokenizer, problems), strict=True))
