"""Executors: the fastest one that runs a model, checked against the model's plain forward."""

from __future__ import annotations

import numpy as np
import torch
from transformers import PreTrainedModel

from asprm.engines.executor import Executor
from asprm.engines.lean import LeanExecutor
from asprm.engines.pieces import some_ids
from asprm.engines.rows import Rows


def load_executor(model: PreTrainedModel) -> Executor:
    """The fastest executor that can run `model`, checked on a few tokens against the model's plain forward.

    ValueError: the outputs differ, for example because the model derives its positions from a padding mask.
    """
    executor = LeanExecutor(model) if LeanExecutor.supports(model) else Executor(model)
    try:
        error = _error(executor)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise ValueError(f"executor: {_UNFIT.format(type(model).__name__)}") from reason
    if not error < (1e-3 if executor.shape.dtype == torch.float32 else 0.1):
        raise ValueError(f"executor: {_UNFIT.format(type(model).__name__)} (relative error {error:.1e})")
    return executor


_UNFIT = (
    "{}: outputs with the in-place cache differ from the plain forward; expected a model that takes explicit positions "
    "and four-dimensional masks"
)


@torch.inference_mode()
def _error(executor: Executor) -> float:
    """The largest difference between the plain forward and reading, then stepping, relative to the largest output.

    Several tokens are compared, since a PRM's only output may be close to zero after one of them.
    """
    size = min(executor.positions, 16)
    ids = some_ids(executor.config.vocab_size, size)
    plain = executor.model(torch.from_numpy(ids)[None].to(executor.device)).logits[0, size // 2 :].float()
    rows = Rows(executor.shape)
    rows.reserve(1, size)
    executor.read(rows, [0], [0], [ids[: size // 2]])
    stepped = torch.empty_like(plain)
    for length in range(size // 2, size):
        token, known = torch.tensor([[ids[length]], [length]], device=executor.device)
        stepped[length - size // 2] = executor.step(rows, token, known, np.array([length]))[0]
    return float((stepped - plain).abs().max() / plain.abs().max().clamp(min=1e-6))
