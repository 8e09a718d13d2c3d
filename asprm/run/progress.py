"""Progress: a bar for a person who watches, a log line every 15 seconds for everybody else.

`python -m asprm.workflow.notebook` sets ASPRM_BATCH in its kernel. It shows the marked lines on its own standard error
and keeps them out of the executed copy.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

MARK = "» "
EVERY = 15.0  # seconds between two lines

Item = TypeVar("Item")


def progress(
    items: Iterable[Item], *, total: int | None = None, label: str = "", unit: str = "chunk"
) -> Iterator[Item]:
    """The same items, with a report of how many have been consumed.

    total: the number of items; default: their `len`, if they have one.
    """
    total = len(items) if total is None and isinstance(items, Sized) else total
    if interactive():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=label, unit=unit)
        return
    start = reported = time.monotonic()
    for done, item in enumerate(items):
        yield item
        now = time.monotonic()
        if now - reported >= EVERY:
            reported = now
            log(f"{label}: {_count(done + 1, total, now - start)}")


def log(message: str) -> None:
    """Print one line for whoever watches the run; it is not part of an executed notebook."""
    print(MARK + message, file=sys.stderr, flush=True)


def interactive() -> bool:
    """Whether a person is watching: a terminal, or a notebook that is used by hand."""
    if os.environ.get("ASPRM_BATCH"):
        return False
    return "ipykernel" in sys.modules or sys.stderr.isatty()


def _count(done: int, total: int | None, seconds: float) -> str:
    if not total:
        return f"{done} done, {seconds:.0f} s"
    return f"{done} of {total}, {seconds:.0f} s, about {seconds / done * (total - done):.0f} s left"
