"""Load the engine that a run or a command uses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from asprm.engines.protocol import Engine

if TYPE_CHECKING:
    import torch

Kind = Literal["auto", "local", "vllm"]
"""auto: vllm where it is installed and a GPU is there, else local."""

LOWER = "`chunk` in the profile to a smaller number (with vLLM: $ASPRM_VLLM_MEMORY below its 0.85)"
"""What to lower where a GPU's memory is too small to decode."""


def engine_kind(
    kind: str, device: str | torch.device | None = None, *, guided: bool = False
) -> Literal["local", "vllm"]:
    """Which engine `kind` means here. Nothing is imported to find out where no vllm is installed.

    device: None for the accelerator if there is one.
    guided: for guided decoding. There "auto" is the local engine, since vLLM's part of it has not run on a GPU.
    ValueError: an unknown kind.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"engine: kind is {kind!r}, expected 'auto', 'local' or 'vllm'")
    if kind != "auto":
        return kind  # pyright: ignore[reportReturnType]
    from asprm.engines.vllm import installed

    if guided or not installed():
        return "local"
    from asprm.models.device import this_device

    return "vllm" if str(device or this_device()).startswith("cuda") else "local"


def load_engine(
    path: str | Path,
    *,
    kind: str = "local",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    rows: int | None = None,
    guided: bool = False,
) -> Engine:
    """An engine over the Hugging Face folder or hub name `path` (a causal language model and its tokenizer).

    kind: see `Kind`.
    device, dtype: None for the defaults of `asprm.models.device.placement`.
    rows: how many sequences are decoded side by side; None for the engine's default.
    guided: for guided decoding (`asprm.engines.guided`).
    ValueError: an unknown kind; vllm is asked for and is missing or does not fit.
    """
    if engine_kind(kind, device, guided=guided) == "vllm":
        from asprm.engines import guided_vllm, vllm

        processors = guided_vllm.processors if guided else None
        return vllm.load(path, device=device, dtype=dtype, rows=rows, processors=processors)
    from asprm.engines.local import LocalEngine

    return LocalEngine.load(path, device=device, dtype=dtype, rows=rows)
