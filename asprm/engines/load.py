"""Load: the engine that a run or a command uses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
from asprm.engines.protocol import Engine


def load_engine(
    path: str | Path,
    *,
    kind: str = "local",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    rows: int | None = None,
) -> Engine:
    """An engine over the Hugging Face folder `path` (a causal language model and its tokenizer).

    device: the accelerator if there is one, else the CPU. dtype: bfloat16 on an accelerator, float32 on the CPU.
    rows: how many sequences are decoded side by side. ValueError: an unknown kind.
    """
    if kind != "local":
        raise ValueError(f"engine: kind is {kind!r}, expected 'local'")
    from asprm.engines.local import LocalEngine

    return LocalEngine.load(path, device=device, dtype=dtype, rows=rows)
