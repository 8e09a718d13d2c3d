"""GGUF: a model in one file, as llama.cpp reads it, converted once into a Hugging Face folder.

Reading a GGUF file takes a minute, so the folder is kept in the study's `data/models/converted`, under a name that ends
with the file's SHA-256. Weights that the file holds in fewer bits are expanded to bfloat16.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

from asprm.models.faults import in_one_line
from asprm.run.root import study_root

_MAGIC = b"GGUF"


def converted(file: Path) -> Path:
    """The Hugging Face folder of a GGUF file (safetensors, tokenizer, chat template), which is made at the first call.

    ValueError: no GGUF file, a damaged one, one without a tokenizer or of an architecture that transformers does not
    read, or the package gguf is not installed.
    """
    state = file.stat()
    digest = _digest(file.resolve(), state.st_size, state.st_mtime_ns)
    folder = study_root() / "data" / "models" / "converted" / f"{file.stem}-{digest[:16]}"
    if not folder.is_dir():
        _check(file)
        partial = folder.with_name(f".{folder.name}.{os.getpid()}")
        try:
            _convert(file, partial)
            if not folder.is_dir():  # another process may have been faster
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


@lru_cache(16)
def _digest(file: Path, size: int, changed: int) -> str:
    """SHA-256 of a file of this size that was changed at this time."""
    with file.open("rb") as content:
        if content.read(4) != _MAGIC:
            raise ValueError(f"models: {file} is no GGUF file; expected one that begins with GGUF")
        content.seek(0)
        return hashlib.file_digest(content, "sha256").hexdigest()


def _check(file: Path) -> None:
    """ValueError: a file that is cut off, or that holds no tokenizer."""
    try:
        from gguf import GGUFReader
    except ImportError:
        raise ValueError(
            f"models: reading {file} needs the package gguf, which is not installed:  pip install gguf"
        ) from None
    try:
        reader = GGUFReader(file)
        end = max((int(tensor.data_offset + tensor.n_bytes) for tensor in reader.tensors), default=0)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise ValueError(f"models: {file} is damaged or cut off ({error}); copy or download it again") from None
    if not end or end > file.stat().st_size:
        raise ValueError(
            f"models: {file} is cut off: it has {file.stat().st_size} bytes, its weights end at byte {end}; copy or "
            "download it again"
        )
    if reader.get_field("tokenizer.ggml.tokens") is None:
        raise ValueError(f"models: {file} holds no tokenizer; expected a GGUF file that can generate text by itself")


def _convert(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
    with in_one_line(str(file)):
        quantised = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.bfloat16, **source)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **source)
    config: Any = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # else transformers refuses to save it
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = quantised.generation_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
