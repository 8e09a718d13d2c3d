"""How numbers are written."""

import numpy as np
import pandas as pd

from asprm.results.format import PERCENT, interval, one_interval, p_value, percent, points


def test_numbers_have_a_true_minus_sign_and_percent_a_space():
    assert percent(0.725) == "72.5 %"
    assert points(-0.031) == "\N{MINUS SIGN}3.1"
    assert points(-0.0001) == "+0.0"
    assert interval(-0.01, 0.05) == "\N{MINUS SIGN}1.0 to +5.0"
    assert points(np.nan) == interval(np.nan, np.nan) == "–"
    assert [p_value(p) for p in (0.0001, 0.042)] == ["<\N{NO-BREAK SPACE}.001", ".042"]


def test_a_styled_table_writes_shares_as_sentences_do():
    page = pd.DataFrame({"share": [0.725]}).style.format({"share": PERCENT}).to_html()
    assert ">72.5 %<" in page


def test_low_and_high_become_one_column_where_low_was():
    frame = pd.DataFrame({"value": [1, 2], "low": [0.1, np.nan], "high": [0.2, np.nan], "p": [0.5, 0.6]})
    shown = one_interval(frame, percent)
    assert list(shown) == ["value", "95 % interval", "p"]
    assert list(shown["95 % interval"]) == ["10.0 % to 20.0 %", "–"]
    assert list(frame) == ["value", "low", "high", "p"]
    named = one_interval(frame.rename(columns={"low": "f1_low"}), points, "f1_low", name="of F1")
    assert list(named) == ["value", "of F1", "p"]
