"""Device: where a model runs and in which number format, unless the caller says otherwise."""

from __future__ import annotations

import torch


def this_device() -> str:
    """The accelerator, or the CPU where there is none."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def placement(
    device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
) -> tuple[torch.device, str | torch.dtype]:
    """The device and the number format of a model that is loaded for inference.

    device: None for the accelerator if there is one, else the CPU. dtype: None for bfloat16 on an accelerator, float32
    on the CPU.
    """
    where = torch.device(device or this_device())
    return where, dtype or (torch.float32 if where.type == "cpu" else torch.bfloat16)
