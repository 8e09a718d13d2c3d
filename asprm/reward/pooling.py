"""Pooling: the scores of reward models by vLLM, a second opinion on `asprm.reward.score`.

vLLM reads each text by itself and gives an output for every token (PRMs of this study) or for every tag (STEP pooling,
for reward models that are scored at tags). It does so by other kernels and other code, so equal scores speak for both.
Its pooling has had silent faults, shifted and missing scores among them: the number of outputs is checked.

The study itself scores by `asprm.reward.score`, which reads common beginnings once.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from asprm.engines.vllm import import_vllm
from asprm.models.load import located
from asprm.reward.published import StepTagPRM
from asprm.reward.score import Item


def pooled_scores(folder: str | Path, items: Sequence[Item], *, dtype: str = "bfloat16") -> list[np.ndarray]:
    """Scores in (0, 1), one array (K,) float32 per item, of a PRM of this study, by token classification.

    folder: as for `load_prm`. items: as for `score`.
    ValueError: vLLM is missing or does not fit. RuntimeError: it gave another number of outputs than there are tokens.
    """
    texts = [item.tokens[: len(item.prompt) + int(np.max(item.ends))] for item in items]
    with _pooling(folder, dtype, {"tok_pooling_type": "ALL"}) as outputs_of:
        outputs = outputs_of(texts)
    scores = []
    for number, (item, text, logits) in enumerate(zip(items, texts, outputs, strict=True)):
        _expect(logits, len(text), f"item {number}", "tokens")
        scores.append(_sigmoid(logits[len(item.prompt) + np.asarray(item.ends) - 1]))
    return scores


def pooled_tag_scores(
    folder: str | Path, rater: StepTagPRM, items: Sequence[Item], *, dtype: str = "bfloat16"
) -> list[np.ndarray]:
    """Scores in (0, 1), one array (K,) float32 per item, of a reward model that is scored at tags, by STEP pooling.

    folder: its weights. rater: the same model, which made the items (`StepTagPRM.item`).
    ValueError: vLLM is missing or does not fit; a convention that does not decide between two answers at the tag.
    RuntimeError: vLLM gave another number of outputs than there are tags.
    """
    convention, spelled = rater.convention, rater.tokenizer.convert_ids_to_tokens
    if convention.over != "pair" or convention.read != "tag":
        raise ValueError(
            f"pooling: the convention is read {convention.read} over {convention.over}; STEP pooling takes those that "
            "are read at the tag over a pair of answers"
        )
    good, bad = rater.answers
    two_way = {"method": "from_2_way_softmax", "classifier_from_token": [spelled(bad), spelled(good)]}
    texts = [item.tokens[: len(item.prompt) + int(np.max(item.ends))] for item in items]
    pooler = {"tok_pooling_type": "STEP", "step_tag_id": rater.tag}
    with _pooling(folder, dtype, pooler, convert="classify", hf_overrides=two_way) as outputs_of:
        outputs = outputs_of(texts)
    scores = []
    for number, (item, text, logits) in enumerate(zip(items, texts, outputs, strict=True)):
        tags = np.flatnonzero(text == rater.tag)
        _expect(logits, len(tags), f"item {number}", "tags")
        scores.append(_sigmoid(logits[np.searchsorted(tags, len(item.prompt) + np.asarray(item.ends) - 1)]))
    return scores


@contextmanager
def _pooling(folder: str | Path, dtype: str, pooler: dict[str, Any], **options: Any) -> Iterator[Any]:
    """The function that gives vLLM's outputs (N,) for each of several texts, while the model is loaded."""
    vllm = import_vllm()
    name, revision = located(folder)
    llm = vllm.LLM(
        model=name,
        revision=revision,
        runner="pooling",
        dtype=dtype,
        enforce_eager=True,
        enable_prefix_caching=False,
        enable_chunked_prefill=False,
        use_tqdm_on_load=False,
        pooler_config=vllm.config.PoolerConfig(**pooler, task="token_classify", use_activation=False),
        **options,
    )

    def outputs_of(texts: Sequence[np.ndarray]) -> list[np.ndarray]:
        prompts = [vllm.TokensPrompt(prompt_token_ids=text.tolist()) for text in texts]
        done = llm.encode(prompts, pooling_task="token_classify", use_tqdm=False)
        return [x.outputs.data.float().cpu().numpy().reshape(-1) for x in done]

    try:
        yield outputs_of
    finally:
        llm.llm_engine.engine_core.shutdown()
        importlib.import_module("vllm.distributed").cleanup_dist_env_and_memory()


def _expect(logits: np.ndarray, count: int, name: str, what: str) -> None:
    if len(logits) != count:
        raise RuntimeError(f"pooling: vllm gave {len(logits)} outputs to {name}, which has {count} {what}")


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)
