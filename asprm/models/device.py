"""Device: where a model runs and in which number format, unless the caller says otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asprm.models.load import load_config

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from transformers import PretrainedConfig

_LARGE = 300e6  # weights


def this_device() -> str:
    """The accelerator, or the CPU where there is none."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def placement(
    path: str | Path, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
) -> tuple[torch.device, str | torch.dtype]:
    """The device and the number format in which the model in a folder or of a hub name is loaded for inference.

    device: None for the accelerator if there is one, else the CPU. dtype: None for bfloat16 on an accelerator; on a CPU
    for float32, but for bfloat16 where the processor multiplies it by instructions of its own and the model is `large`.

    The choice on a CPU is not timed at load: a run that goes on on a busy machine must choose as it did before.
    `benchmarks/real.py` says what the choice is worth.
    """
    import torch

    where = torch.device(device or this_device())
    short = where.type != "cpu" or (not dtype and bf16_pays("cpu") and large(load_config(path)))
    return where, dtype or (torch.bfloat16 if short else torch.float32)


def reduced(path: str | Path) -> str | None:
    """The number format of a model on this CPU where it is not float32. None on an accelerator, which results name."""
    if this_device() != "cpu":
        return None
    _, number_format = placement(path, "cpu")
    return None if str(number_format) == "torch.float32" else str(number_format).removeprefix("torch.")


def bf16_pays(device: str) -> bool:
    """Whether products in bf16 are faster than in fp32: on GPUs that support bf16, on CPUs with instructions for it."""
    import torch

    return torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu._is_avx512_bf16_supported()


def large(config: PretrainedConfig) -> bool:
    """Whether a model has some 300 million weights or more.

    Of such models confidences move little in bfloat16, and the time goes to products of large matrices. A model of 135
    million loses twice as much accuracy and gains half as much time.
    """
    text = config.get_text_config()
    width, layers = getattr(text, "hidden_size", 0), getattr(text, "num_hidden_layers", 0)
    return 12 * layers * width**2 + width * (text.vocab_size or 0) >= _LARGE
