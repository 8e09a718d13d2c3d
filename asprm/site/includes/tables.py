"""Tables and numbers as the included Markdown shows them."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[object]], numbers: Iterable[int] = ()) -> str:
    """A Markdown table; the columns in `numbers` are aligned to the right."""
    numbers = set(numbers)
    lines = [header, ["---:" if i in numbers else "---" for i in range(len(header))], *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in row) + " |" for row in lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("|", "\\|").replace("\n", "<br>")


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def p_value(p: float) -> str:
    return "< .001" if p < 0.001 else "= " + f"{p:.3f}".removeprefix("0")


def points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")


def interval(low: float, high: float) -> str:
    return f"{points(low)} to {points(high)}"


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
