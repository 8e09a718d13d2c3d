"""Markdown tables, texts and durations for the includes; other numbers are written by `asprm.results.format`."""

import re
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[object]], numbers: Iterable[int] = ()) -> str:
    """A Markdown table. numbers: indexes of the columns that are aligned to the right."""
    numbers = set(numbers)
    lines = [header, ["---:" if i in numbers else "---" for i in range(len(header))], *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in row) + " |" for row in lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("|", "\\|").replace("\n", "<br>")


def plain(text: str) -> str:
    """Markdown that shows a text of the reader's as it is: nothing in it is markup, a link or HTML."""
    return re.sub(r"""([!-/:-@\[-`{}~])""", r"\\\1", " ".join(text.split()))  # a table's cell escapes "|" itself


def code(text: str) -> str:
    """Markdown that shows a text as code, backticks in it too."""
    text = " ".join(text.split())
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def duration(seconds: float) -> str:
    """Seconds as "95 s" or "12 minutes"."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
