"""Models small enough for a test: two layers, width 32, a vocabulary of 64, all of it random."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from asprm.reward.trainer import Example

VOCABULARY, POSITIONS = 64, 128
KINDS = {  # a backbone, and what it adds to the common configuration
    "mistral": ("mistral", {"num_key_value_heads": 1, "sliding_window": None, "tie_word_embeddings": True}),
    "mistral-window": ("mistral", {"num_key_value_heads": 2, "sliding_window": 11}),
    "llama": ("llama", {"num_key_value_heads": 4}),
    "qwen2": ("qwen2", {"num_key_value_heads": 2}),
    "gemma2": ("gemma2", {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 7}),
}


def config(kind: str = "mistral", **more):
    name, extra = KINDS[kind]
    common = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": POSITIONS,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "initializer_range": 0.2,
    }
    return AutoConfig.for_model(name, **(common | extra | more))


def write_policy(folder: Path, kind: str = "mistral", **more) -> Path:
    """A random causal language model with a tokenizer, as a Hugging Face folder."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config(kind, **more)).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({str(i): i for i in range(VOCABULARY)}, unk_token="0"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="2").save_pretrained(folder)
    return folder


def some_texts(count: int, seed: int = 0) -> list[np.ndarray]:
    """Sequences (L,) int32 of which many begin alike, some are equal, and some begin another."""
    rng = np.random.default_rng(seed)
    prompts = [rng.integers(3, VOCABULARY, rng.integers(1, 25)) for _ in range(3)]
    texts = [np.concatenate([prompts[i % 3], rng.integers(3, 5, rng.integers(0, 40))]) for i in range(count)]
    return [x.astype(np.int32) for x in [*texts, *prompts, texts[0]]]


def some_examples(count=60, seed=0, label=lambda ids, end: float(ids[end - 1] % 2)) -> list[Example]:
    """Four solutions of each problem; by default a step is right if its last token is odd."""
    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        if i % 4 == 0:
            prompt = rng.integers(3, VOCABULARY, rng.integers(2, 15)).astype(np.int32)
        ids = rng.integers(3, VOCABULARY, rng.integers(5, 25)).astype(np.int32)
        ends = np.unique([*rng.integers(1, len(ids), 3), len(ids)]).astype(np.int32)
        out.append(Example(prompt, ids, ends, np.array([label(ids, end) for end in ends], np.float32)))
    return out
