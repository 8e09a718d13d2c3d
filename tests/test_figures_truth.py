"""Each figure of the chapters on truth and claims is drawn from small data, with its numbers in words."""

import numpy as np
import pandas as pd
import pytest
from plots import check_plot

from asprm.figures.claims import _VERDICTS, directions, label_cost_bars
from asprm.figures.truth import _METHODS, entry_recall, label_errors, reliability_curves, shares_of_kinds
from asprm.statistics import reliability

RNG = np.random.default_rng(0)


def entries():
    rows = []
    for i, method in enumerate(_METHODS):
        row = {"method": method}
        for k, value in zip((0, 1, 2, 4, 8, 16), np.linspace(0.1, 0.9 - 0.1 * i, 6), strict=True):
            row |= {f"within_{k}": value, f"within_{k}_low": value - 0.05, f"within_{k}_high": value + 0.05}
        rows.append(row)
    return pd.DataFrame(rows)


def labels():
    steps = np.arange(1, 6)
    shares = {"missed": steps / 10, "forgiven": np.append(np.nan, steps[1:] / 20)}
    bounds = {f"{name}_{end}": x + d for name, x in shares.items() for end, d in (("low", -0.02), ("high", 0.02))}
    return pd.DataFrame({"J": 8, "step": steps, "steps": 10 * steps} | shares | bounds)


def kinds():
    rows = [("put right", 12, 0.6, 0.5, 0.7), ("led astray", 4, 0.2, 0.1, 0.3), ("none", 4, 0.2, 0.1, 0.3)]
    return pd.DataFrame(rows, columns=["kind", "problems", "share", "low", "high"])


def arrows(n=12):
    verdicts = np.resize([*_VERDICTS], n)
    frame = pd.DataFrame({"id": [f"t1-{i}" for i in range(n)], "aspect": "arrow", "verdict": verdicts})
    here = np.linspace(-3, 3, n)
    ends = {"low": np.where(verdicts == "not tested", np.nan, here - 1), "high": here + 1}
    return frame.assign(direction=np.resize(["up", "down"], n), here=here, **ends)


def spent():
    frame = pd.DataFrame({"prm": ["ASPRM-M", "MS-M"], "solutions": [10, 10], "paper_rollouts": [160, 320]})
    return frame.assign(rollouts=[30, 80])


CURVE = reliability(RNG.random(90), RNG.random(90) < 0.5)
FIGURES = {
    "entries": (lambda: entry_recall(entries()), "decision tokens 10 % at the same token, 42 % within 2 tokens"),
    "labels": (lambda: label_errors(labels()), "no error yet, label 0: 10 % at step 1, 50 % at step 5"),
    "curves": (lambda: reliability_curves({"A": CURVE, "B": CURVE}), f"A {CURVE.error:.3f}, B"),
    "kinds": (lambda: shares_of_kinds(kinds()), "put right 12, led astray 4, none 4."),
    "arrows": (
        lambda: directions(arrows()),
        "2 reproduced, 2 opposite, 2 no difference, 2 inconclusive, 2 broken baseline, 2 not tested.",
    ),
    "no arrows": (lambda: directions(arrows(0)), "for 0 arrows of the paper"),
    "costs": (lambda: label_cost_bars(spent()), "ASPRM-M 16.0 and 3.0; MS-M 32.0 and 8.0"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FIGURES)
def test_figure_renders_says_what_it_shows_and_can_be_read(name):
    draw, words = FIGURES[name]
    check_plot(draw(), words, least_ink=0.003)


def test_a_verdict_is_shown_by_shape_and_not_by_colour_alone():
    markers = [marker for _, marker in _VERDICTS.values()]
    assert len(set(markers)) == len(markers) == 6
