"""Journal: which artifacts a job of the workflow reads, looks for and writes, as its processes note it.

The job names the journal's file in $ASPRM_JOURNAL. Without the variable nothing is noted.
"""

import json
import os
from pathlib import Path
from typing import Literal, NamedTuple

JOURNAL = "ASPRM_JOURNAL"  # environment variable with the path of the file


class Event(NamedTuple):
    """One artifact that was read, written, or only looked for: `seen` if it was there, `missed` if not."""

    what: Literal["read", "wrote", "seen", "missed"]
    path: str
    digest: str = ""


def note(what: Literal["read", "wrote", "seen", "missed"], path: Path, digest: str = "") -> None:
    """Add an event to the journal, if one is kept."""
    if file := os.environ.get(JOURNAL):
        with open(file, "a", encoding="utf-8") as journal:
            journal.write(json.dumps([what, str(path), digest]) + "\n")


def events(file: Path) -> list[Event]:
    """The events of a journal, in their order."""
    return [Event(*json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
