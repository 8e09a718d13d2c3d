"""Progress: a bar for a person who watches, a log line now and then for everything else.

`python -m asprm.workflow.notebook` sets ASPRM_BATCH in its kernel, shows the marked lines on its own standard error and keeps
them out of the executed copy.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

MARK = "» "
EVERY = 15.0  # seconds between two lines

Item = TypeVar("Item")


def progress(
    items: Iterable[Item], *, total: int | None = None, label: str = "", unit: str = "chunk"
) -> Iterator[Item]:
    """The same items, telling how far their consumer is. total: their number, where `len` does not tell it."""
    total = len(items) if total is None and hasattr(items, "__len__") else total
    if interactive():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=label, unit=unit)
        return
    start = told = time.monotonic()
    for done, item in enumerate(items):
        yield item
        now = time.monotonic()
        if now - told >= EVERY:
            told = now
            log(f"{label}: {_count(done + 1, total, now - start)}")


def log(message: str) -> None:
    """One line for whoever watches the run; not part of an executed notebook."""
    print(MARK + message, file=sys.stderr, flush=True)


def interactive() -> bool:
    """Whether a person is watching: a terminal, or a notebook that nobody executes from outside."""
    if os.environ.get("ASPRM_BATCH"):
        return False
    return "ipykernel" in sys.modules or sys.stderr.isatty()


def _count(done: int, total: int | None, seconds: float) -> str:
    if not total:
        return f"{done} done, {seconds:.0f} s"
    return f"{done} of {total}, {seconds:.0f} s, about {seconds / done * (total - done):.0f} s left"
