"""The tables of chapter 13 as people read them: in words, with intervals, and no number that a program wrote."""

import re

import pandas as pd
import pytest

from asprm import REPOSITORY
from asprm.contests import shown

TABLES = REPOSITORY / "data/reference/tiny/rivals"
SHOWN = {
    shown.steps: "steps",
    shown.tokens: "tokens",
    shown.labels: "labels",
    shown.noise: "noise",
    shown.filtered: "noise",
    shown.search: "search",
    shown.edits: "edits",
}
RAW = re.compile(r"\d_|nan|None|True|False|\de[+-]?\d|\d\.\d{4}")


def table(name):
    return pd.read_parquet(TABLES / f"M-{name}.parquet")


@pytest.mark.parametrize("of", SHOWN)
def test_a_table_has_a_text_in_each_cell_and_plain_words_as_heads(of):
    rows = of(table(SHOWN[of]))
    assert len(rows) == len(table(SHOWN[of]))
    assert rows.map(lambda cell: isinstance(cell, str) and not RAW.search(cell)).all(axis=None)
    assert not [head for head in rows.columns if "_" in head]
    assert len(rows.columns) <= 8


def test_numbers_are_those_of_the_table():
    steps = table("steps").assign(gain=-0.25, gain_low=-0.4, gain_high=-0.1, f1=0.5, **{"p (Holm)": 0.0001})
    first = shown.steps(steps).iloc[0]
    assert (first["gain in points"], first["95 % interval"], first["p (Holm)"]) == (
        "−25.0",
        "−40.0 to −10.0",
        "<\xa0.001",
    )
    assert first["f1"] == "50.0 %"
    search = table("search").assign(flops=1.5e9, right=0.5, gain=0.1, n=4, frontier=True)
    first = shown.search(search).iloc[0]
    assert list(first[["operations", "solved", "frontier", "N"]]) == [
        "1,500 M",
        "50.0 %",
        "yes",
        "4",
    ]
    noise = table("noise").assign(wrong=0.5, wrong_low=0.4, wrong_high=0.6)
    assert shown.noise(noise).loc[0, "wrong labels"] == "50.0 % [40.0, 60.0]"


def test_what_was_not_tested_stands_as_such():
    alone = table("search").assign(gain=float("nan"), gain_low=float("nan"), gain_high=float("nan"))
    rows = shown.search(alone.assign(**{"p (Holm)": float("nan")}))
    assert set(rows["N"]) == set(rows["95 % interval"]) == {"–"}
    assert set(rows["p (Holm)"]) == {"not\xa0tested"}
