"""Each figure of the chapter on rivals is drawn from small tables, and each sentence is made of them."""

import numpy as np
import pandas as pd
import pytest
from plots import check_plot

from asprm.contests import told
from asprm.contests.places import CONFIDENCE, KINDS
from asprm.figures import rivals as figures


def with_interval(frame, name, values, width=0.05):
    values = np.asarray(values, float)
    return frame.assign(**{name: values, f"{name}_low": values - width, f"{name}_high": values + width})


def steps(p=(np.nan, 0.5, 0.01, 0.001, 0.9)):
    frame = pd.DataFrame({"kind": KINDS, "p (Holm)": p, "f1_p (Holm)": [np.nan] + [0.9] * 4})
    frame = with_interval(frame, "wrong", [0.1, 0.08, 0.2, 0.2, 0.2])
    frame = with_interval(frame, "bon", [0.7, 0.71, 0.6, 0.8, 0.7])
    frame = with_interval(frame, "gain", [np.nan, 0.01, -0.1, 0.1, 0.0])
    return with_interval(frame, "f1_gain", [np.nan, 0.01, -0.02, 0.0, 0.03])


def drops():
    rng = np.random.default_rng(0)
    before = np.concatenate([np.full(20, 14), np.full(20, 3)])
    frame = pd.DataFrame({"before": before, "after": np.append(before[1:], 0), "rollouts": 16})
    frame = frame.assign(decisive=np.arange(40) == 19, cliff=np.isin(np.arange(40), (19, 30)))
    frame["departure"] = frame["decisive"]
    return frame.assign(**{kind: rng.random(40) < 0.2 for kind in KINDS})


def tokens(recall=0.4):
    rows = [{"wanted": wanted, "by": by} for wanted in ("decisive", "cliff", "departure") for by in (*KINDS, "other")]
    return with_interval(pd.DataFrame(rows), "recall", np.full(len(rows), recall))


def search():
    ways = [("greedy", 1), ("TVD", 1), ("Best-of-N", 4), ("beam search", 2), ("majority vote", 4)]
    frame = pd.DataFrame(ways, columns=["way", "size"])
    frame = with_interval(frame.assign(flops=[1e8, 2e8, 8e8, 5e8, 4e8]), "right", [0.5, 0.6, 0.7, 0.65, 0.5])
    frame = with_interval(
        frame.assign(frontier=[True, True, True, True, False]), "gain", [np.nan, 0.1, np.nan, -0.05, np.nan]
    )
    return frame.assign(**{"p (Holm)": [np.nan, 0.01, np.nan, 0.3, np.nan]})


FIGURES = {
    "steps": (lambda: figures.gains_of_kinds(steps()), "line break −10.0 and −2.0"),
    "success": (lambda: figures.success_along(drops()), "from 88 % to 0 %, with 1 decisive"),
    "recall": (lambda: figures.recall_of_kinds(tokens()), "decisive: low confidence 40 %"),
    "no recall": (lambda: figures.recall_of_kinds(tokens(np.nan)), "there are 0 of them"),
    "frontier": (lambda: figures.frontier(search()), "on the frontier: greedy of 1 50.0 %, TVD of 1 60.0 %"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FIGURES)
def test_figure_renders_says_what_it_shows_and_can_be_read(name):
    draw, words = FIGURES[name]
    check_plot(draw(), words, least_ink=0.002)


def test_steps_are_told_by_the_test():
    says = told.of_steps(steps(), search(), alpha=0.05)
    assert "better: fixed length (+10.0 points); worse: line break (−10.0 points)" in says
    assert "In F1 of the first error, no difference is told from chance (from −2.0 to +3.0 points)" in says
    assert f"least at steps by high entropy: 8.0 % (3.0 % to 13.0 %), at {CONFIDENCE} 10.0 %" in says
    assert "nothing was tested" in told.of_steps(steps(p=[np.nan] * 5), search(), alpha=0.05)
    wide = steps().assign(gain_low=-0.3, gain_high=0.3)  # trainings differ by more than the test can know
    assert "against it, no difference is told from chance (from −10.0 to" in told.of_steps(wide, search(), 0.05).lower()


def test_a_reward_model_that_chooses_worse_than_chance_is_no_rival():
    alone = pd.DataFrame({"way": ["greedy", "Best-of-N"], "size": 1, "right": [0.9, 0.65]})
    says = told.of_steps(steps(), pd.concat([search(), alone]), alpha=0.05)
    assert "one candidate taken at random is right on 65.0 %: the reward models of line break choose" in says
    assert says.endswith("worse than that, so a gain over them shows nothing.")
    assert "at random" not in told.of_steps(steps(), search(), alpha=0.05)


def test_tokens_are_told_where_there_are_any():
    assert "Of 40 tokens 1 are decisive" in told.of_tokens(tokens(), drops())
    assert "Low confidence marks 40 % of them (35 % to 45 %)" in told.of_tokens(tokens(), drops())
    assert told.of_tokens(tokens(np.nan), drops()).endswith("nothing can be said of who marks them.")


def test_search_is_told_by_the_frontier_and_by_the_test():
    says = told.of_search(search(), alpha=0.05)
    assert "are greedy (1) 50.0 %, TVD (1) 60.0 %, Best-of-N (4) 70.0 %" in says
    assert "better: TVD (1) (+10.0 points)" in says
    assert "worse" not in says


def test_labels_and_noise_are_told_with_what_they_took():
    ways = pd.DataFrame({"way": ["all rollouts", "early stopping", "binary search"], "of_tokens": [1, 0.6, 0.3]})
    ways = with_interval(ways.assign(equal=[1, 1, 0.97], p=[np.nan, np.nan, 0.2]), "of_all", [1, 0.5, 0.25])
    says = told.of_labels(with_interval(ways, "gain", [np.nan, np.nan, -0.01]))
    assert "Early stopping runs 50.0 % of the rollouts and gives the same labels" in says
    assert "Binary search runs 25.0 % (20.0 % to 30.0 %) and 30.0 % of the tokens; 97.0 %" in says
    assert "differs by −1.0 points (−6.0 to +4.0, p = .200)" in says
    noise = with_interval(pd.DataFrame({"filter": ["as they are", "A"], "kept": [10, 4]}), "gain", [np.nan, -0.1])
    noise = with_interval(noise.assign(**{"p (Holm)": [np.nan, 0.01]}), "wrong", [0.1, 0.02])
    says = told.of_noise(noise, alpha=0.05)
    assert "2.0 % by A, which keeps 4 of 10 solutions" in says
    assert says.endswith("worse: A (−10.0 points).")


@pytest.mark.parametrize(
    ("more", "p", "words"),
    [
        (0.3, 0.0004, "it minds the number more"),
        (-0.3, 0.0004, "it minds the words more"),
        (0.3, 0.2, "which it minds more is not told from chance"),
        (0.0, 1.0, "not told from chance"),
    ],
)
def test_edits_are_told_by_the_test(more, p, words):
    rows = [
        {"by": by, "edit": edit, "solutions": 20, "noticed": noticed, "more_p (Holm)": p}
        for by in ("A", "the policy's confidence")
        for edit, noticed in (("one number changed", 0.4 + more), ("rephrased", 0.4))
    ]
    says = told.of_edits(with_interval(pd.DataFrame(rows), "more", np.full(4, more)), "A", alpha=0.05)
    assert words in says
    assert ("p <\N{NO-BREAK SPACE}.001" in says) == (p < 0.001)
