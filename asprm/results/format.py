"""Format: how numbers are written, the same on every page, in every notebook and in every figure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

INTERVAL = "95 % interval"  # as the head of a column


def percent(share: float, digits: int = 1) -> str:
    """A share in [0, 1] as "82.2 %"."""
    return f"{100 * share:.{digits}f} %"


PERCENT = percent  # for a pandas Styler, which formats a cell by a function


def points(difference: float) -> str:
    """A difference of shares as "+3.1", in percentage points, with a true minus sign; NaN as "–"."""
    if difference != difference:
        return "–"
    rounded = round(100 * difference, 1) + 0.0  # so that what rounds to 0 has no minus sign
    return f"{rounded:+.1f}".replace("-", "\N{MINUS SIGN}")


def interval(low: float, high: float) -> str:
    """The interval of a difference of shares as "+0.4 to +5.9", in percentage points; NaN as "–"."""
    if low != low:
        return "–"
    return f"{points(low)} to {points(high)}"


def p_value(p: float) -> str:
    """A p-value as "< .001", with a space that no line breaks at, or ".042"; NaN as "not tested"."""
    if p != p:
        return "not\N{NO-BREAK SPACE}tested"
    return "<\N{NO-BREAK SPACE}.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def number(value: float) -> str:
    """A number of a table: two decimals, or none from a thousand on."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"


def one_interval(
    frame: pd.DataFrame, show: Callable[[float], str], low: str = "low", high: str = "high", name: str = INTERVAL
) -> pd.DataFrame:
    """The frame with one column of texts, such as "0.4 to 5.9", in the place of two; "–" where there is no interval.

    frame: with the columns `low` and `high`.
    show: how a number of theirs is written.
    name: of the new column.
    """
    texts = [
        "–" if a != a or b != b else f"{show(a)} to {show(b)}" for a, b in zip(frame[low], frame[high], strict=True)
    ]
    columns = [name if column == low else column for column in frame.columns if column != high]
    return frame.assign(**{name: texts}).loc[:, columns]
