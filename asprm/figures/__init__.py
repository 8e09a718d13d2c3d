"""Figures: one function per figure, from plain arrays and frames to a `Plot` that carries its own alternative text.

Nothing here reads a file or computes more than shares per group.
"""

from asprm.figures.base import BLUE, GREEN, GREY, PALE, PURPLE, RED, WIDTH, Fragment, Plot, show
from asprm.figures.claims import directions, label_cost_bars
from asprm.figures.generalize import data_panels, intervals, share_sweep
from asprm.figures.labels import accuracy_by_steps, label_by_position, loss_curves, reliability_diagram, training_curve
from asprm.figures.results import bon_curves, bon_panels, decision, tvd_triggers
from asprm.figures.samples import solution_steps, solve_rates
from asprm.figures.threshold import confidence_histogram, threshold_sweep
from asprm.figures.tokens import token_bars, token_samples, types_beside_paper
from asprm.figures.truth import entry_recall, label_errors, reliability_curves, shares_of_kinds

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "PALE",
    "PURPLE",
    "RED",
    "WIDTH",
    "Fragment",
    "Plot",
    "accuracy_by_steps",
    "bon_curves",
    "bon_panels",
    "confidence_histogram",
    "data_panels",
    "decision",
    "directions",
    "entry_recall",
    "intervals",
    "label_by_position",
    "label_cost_bars",
    "label_errors",
    "loss_curves",
    "reliability_curves",
    "reliability_diagram",
    "share_sweep",
    "shares_of_kinds",
    "show",
    "solution_steps",
    "solve_rates",
    "threshold_sweep",
    "token_bars",
    "token_samples",
    "training_curve",
    "tvd_triggers",
    "types_beside_paper",
]
