"""Each figure is drawn from small data, has an alternative text with its numbers, and is readable."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from plots import check_plot

from asprm import split
from asprm.best_of_n import curves
from asprm.figures.base import Fragment, show
from asprm.figures.labels import accuracy_by_steps, label_by_position, loss_curves, reliability_diagram, training_curve
from asprm.figures.results import bon_panels, decision, tvd_triggers
from asprm.figures.samples import solution_steps, solve_rates
from asprm.figures.threshold import confidence_histogram, threshold_sweep
from asprm.figures.tokens import token_bars, token_samples, types_beside_paper
from asprm.statistics import Interval, reliability
from asprm.threshold import sweep
from asprm.token_types.mathematics import TYPES, Tagger, token_table
from asprm.tvd import Decision

RNG = np.random.default_rng(0)
CONFIDENCES = [RNG.beta(6, 0.3, 60).clip(1e-3, 1) for _ in range(30)]
THRESHOLDS = sweep(CONFIDENCES, range(30), [0.005, 0.01, 0.02, 0.04], resamples=50)
PROBLEM = np.arange(300) % 20
STEP = RNG.integers(1, 16, 300)
RIGHT = RNG.random(300) < 0.7


def bon_frame():
    rows = [
        (f"p{p}", i, [score], bool(right), str(int(right)))
        for p in range(12)
        for i, (score, right) in enumerate(zip(RNG.random(4), RNG.random(4) < 0.6, strict=True))
    ]
    table = pd.DataFrame(rows, columns=["problem", "solution", "scores", "correct", "answer"]).assign(finished=True)
    return curves(table, [1, 2, 4], greedy={f"p{p}": p % 2 == 0 for p in range(12)})


def tvd_frame():
    trigger = np.linspace(0, 1, 6)
    value = np.array([0.5, 0.5, 0.6, 0.8, 0.7, 0.4])
    share = trigger**2
    columns = {"trigger": trigger, "value": value, "low": value - 0.1, "high": value + 0.1}
    return pd.DataFrame(columns | {"share": share, "share_low": share * 0.9, "share_high": share * 1.1})


def token_frame(by):
    text = "Ann has 2 + 3 = 5 pens.\n"
    ends = [m.end() for m in re.finditer(r" ?\w+| ?[^\w\s]|\n", text)]
    doubts = np.where(np.arange(len(ends)) == 3, 0.1, 0.9)
    nouns = Tagger("nouns", lambda words: [TYPES.index("Noun")] * len(words))
    return token_table([text] * 5, [ends] * 5, [doubts] * 5, range(5), 0.5, by=by, tagger=nouns)


FIGURES = {
    "solved": (
        lambda: solve_rates({"MiniGSM": np.array([0, 0.5, 1, 1]), "MiniMATH": np.array([0, 1, 0.25])}),
        "MiniGSM: 25.0 % never, 50.0 % always; MiniMATH: 33.3 % never, 33.3 % always",
    ),
    "histogram": (lambda: confidence_histogram(np.concatenate(CONFIDENCES), THRESHOLDS[2]), "1,800 token"),
    "sweep": (lambda: threshold_sweep(THRESHOLDS), f"{THRESHOLDS[0].tau:.3f} for 0.5 %"),
    "labels": (lambda: label_by_position(STEP, RIGHT, PROBLEM), "Mean label of 300 steps"),
    "steps": (lambda: accuracy_by_steps(STEP, RIGHT, PROBLEM), "12 or more"),
    "training": (
        lambda: training_curve(range(50), 1 / (1 + np.arange(50)), [0, 49], [1, 0.5]),
        "validation loss is",
    ),
    "reliability": (lambda: reliability_diagram(reliability(RNG.random(90), RNG.random(90) < 0.5)), "90 steps"),
    "best of n": (
        lambda: bon_panels({"MiniGSM": bon_frame()}),
        "on MiniGSM with 4 candidates, and 95 %",
    ),
    "many lines": (
        lambda: bon_panels(
            {"MiniGSM": bon_frame()}, [f"PRM-{h}" for h in ("mean", "min", "last", "max", "product")] + ["majority"]
        ),
        "PRM-product",
    ),
    "guided": (lambda: tvd_triggers(tvd_frame(), Interval(0.5, 0.4, 0.6), 0.6), "at 0.6 it solves 80.0 %"),
    "types": (lambda: token_bars(token_frame("type")), "by type, the most frequent: Math Formula 100.0 %"),
    "beside the paper": (
        lambda: types_beside_paper(
            token_frame("type").set_index("type"),
            pd.DataFrame({"share": [0.04], "decision_share": [0.2]}, index=["Math Formula"]),
        ),
        "Math Formula 100.0 % (paper 20.0 %), ",
    ),
    "roles": (lambda: token_bars(token_frame("role")), "by role, the most frequent: operation 100.0 %"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FIGURES)
def test_figure_renders_says_what_it_shows_and_can_be_read(name):
    draw, words = FIGURES[name]
    check_plot(draw(), words)


def test_bars_of_solve_rates_are_shares_of_each_set():
    rates = {"MiniGSM": [0, 0.5, 1, 1], "MiniMATH": [0, 0, 0.25]}
    plot = solve_rates(rates, bins=2)
    heights = [sorted(bar.get_height() for bar in bars) for bars in plot.axes[0].containers]
    assert sorted(heights) == [[0, 1], [0.25, 0.75]]
    assert [text.get_text() for text in plot.axes[0].get_legend().get_texts()] == list(rates)


def test_the_chosen_trigger_stands_clear_of_the_title():
    frame = tvd_frame()
    plot = tvd_triggers(frame, Interval(0.5, 0.4, 0.6), frame["trigger"].min(), title="validation")
    plot.draw_without_rendering()
    boxes = [plot.findobj(lambda x, said=said: getattr(x, "get_text", str)() == said)[0].get_window_extent()
             for said in ("validation", "chosen on validation")]  # fmt: skip
    assert not boxes[0].overlaps(boxes[1])


def test_a_figure_shows_itself_with_its_sentence():
    plot = FIGURES["sweep"][0]()
    plot.alt = 'less < more & "quoted"'
    bundle = plot._repr_mimebundle_()
    attributes = {}

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            attributes[tag] = dict(attrs)

    Reader().feed(bundle["text/html"])
    assert attributes["img"]["alt"] == bundle["text/plain"] == plot.alt
    assert attributes["img"]["src"].startswith("data:image/svg+xml;base64,")


def test_the_same_data_make_the_same_file():
    frame = bon_frame()
    assert bon_panels({"MiniGSM": frame}).svg() == bon_panels({"MiniGSM": frame}).svg()


def test_show_displays_figures_and_fragments(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    fragment = Fragment("<b>x</b>")
    show(fragment)
    assert shown == [fragment]
    assert fragment._repr_html_() == "<b>x</b>"


def test_labels_at_the_edge_keep_their_distance_and_stay_inside():
    frame = pd.DataFrame(
        [{"method": f"PRM-{i}", "n": n, "value": 0.9, "low": 0.8, "high": 1.0} for i in range(5) for n in (1, 2)]
    )
    plot = bon_panels({"MiniGSM": frame}, [f"PRM-{i}" for i in range(5)])
    places = sorted(text.get_position()[1] for text in plot.axes[0].texts)
    assert min(np.diff(places)) > 0.06
    assert places[0] > 0
    assert places[-1] <= 1


def test_an_unknown_line_is_named():
    with pytest.raises(ValueError, match="no rows of method 'PRM-median'; the frame has PRM-min"):
        bon_panels({"MiniGSM": bon_frame()}, ["PRM-median"])


def test_a_solution_is_shown_whole_under_every_split():
    tokens = ["Ann", " has", " 2", " <", " 3", ".\n", "So", " 5", ""]
    confidences = np.array([0.9, 0.99, 0.3, 0.95, 0.9, 0.99, 0.2, 0.9, 1.0])
    splits = {
        "AdaptiveStep": split.adaptive(confidences, 0.5),
        "line": split.line("".join(tokens), np.cumsum([*map(len, tokens)])),
    }
    html = solution_steps(tokens, confidences, splits, 0.5)
    texts = re.findall(r'<div style="white-space[^"]*">(.*?)</div>', html, re.DOTALL)
    assert [re.sub("<.*?>", "", text) for text in texts] == 2 * ["Ann has 2 &lt; 3.\nSo 5"]
    assert re.search(r'aria-label="end of step 1" [^>]*></span>\n<span title="So', texts[1])  # at the end of its line
    assert [html.count(f'"end of step {k}" title') for k in (1, 2, 3, 4)] == [2, 2, 1, 0]
    assert html.count("font-weight:700") == 4
    assert 'aria-label="One solution of 9 tokens, 2 of them below 0.500, split by AdaptiveStep into 3 steps' in html
    with pytest.raises(ValueError, match="9 tokens and 1 confidences"):
        solution_steps(tokens, [0.5], splits, 0.5)


def test_a_decision_shows_every_candidate_and_marks_the_one_that_was_written():
    values = [" <", "\n", ""], [0.5, 0.3, 0.1], [0.25, 0.75, 0.5]
    found = Decision("minigsm", "p1", "How many?", 0.8, True, False, "She has 3", *values, 1)
    html = decision(found)
    cells = re.findall(r'<th scope="row"[^>]*>(.*?)</th>', html)
    assert [re.sub("<.*?>", "", cell) for cell in cells] == ["&lt;", "⏎", "■"]
    assert ["<mark" in cell for cell in cells] == [False, True, False]
    assert all(f">{value:.3f}<" in html for value in (*values[1], *values[2]))
    assert "best score, written" in html
    assert "Guided decoding ends right, greedy decoding wrong." in html


def test_a_sample_of_each_type_marks_its_token():
    frame = pd.DataFrame(
        [("Noun", 0.25, "a <\n", "pen", "s")], columns=["type", "confidence", "before", "token", "after"]
    )
    html = token_samples(frame)
    assert re.sub("(<[^>]*>)+", "|", html).endswith("|Noun|0.250|a &lt;⏎|pen|s|")
    assert html.count("<mark") == 1


def test_losses_of_no_model_say_so():
    assert loss_curves({}).alt == "None of the models was trained here."
