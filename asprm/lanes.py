"""Lanes: a small model on a CPU runs several forwards side by side, one thread each, not one forward on all cores.

Its operations take microseconds; cores that share one would wait for each other after every one of them, and where
another program holds a core, a hundred times longer. Knows no model but its size.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

_SMALL = 50_000_000  # parameters


def lanes(model: PreTrainedModel) -> int:
    """How many forwards of this model to run side by side: torch's threads for a small one on a CPU, else one."""
    small = sum(x.numel() for x in model.parameters()) <= _SMALL
    return torch.get_num_threads() if small and model.device.type == "cpu" else 1


@contextmanager
def side_by_side(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of so many threads; while it lives, torch gives each operation one core if there are several lanes."""
    threads = torch.get_num_threads()
    if count > 1:
        torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)
