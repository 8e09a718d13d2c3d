"""Load the engine that a run or a command uses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from asprm.engines.protocol import Engine

if TYPE_CHECKING:
    import torch


def load_engine(
    path: str | Path,
    *,
    kind: str = "local",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    rows: int | None = None,
) -> Engine:
    """An engine over the Hugging Face folder or hub name `path` (a causal language model and its tokenizer).

    kind: "local" (`asprm.engines.local`), at present the only one; an engine on vLLM is to be the second.
    device, dtype: None for the defaults of `asprm.models.device.placement`.
    rows: how many sequences are decoded side by side; None for the engine's default.
    ValueError: an unknown kind.
    """
    if kind != "local":
        raise ValueError(f"engine: kind is {kind!r}, expected 'local'")
    from asprm.engines.local import LocalEngine

    return LocalEngine.load(path, device=device, dtype=dtype, rows=rows)
