"""Verdicts: what a run's evidence says of a claim of the paper: eight words, and the rule that gives one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from asprm.results.evidence import ALIKE, INCOMPARABLE, UNTESTED, Evidence
from asprm.results.format import p_value
from asprm.results.paper import Claim

BROKEN = "broken baseline"  # a win over a reward model that chooses worse than a random candidate
NO_DIFFERENCE = "no difference"  # an arrow of the paper where here a difference as large as the margin is ruled out
VERDICTS = {  # each with its symbol
    "reproduced": "✓",
    "opposite": "✗",
    NO_DIFFERENCE: "=",
    "inconclusive": "≈",
    BROKEN: "◇",
    UNTESTED: "○",
    INCOMPARABLE: "∦",
    "not run": "∅",
}
TESTED = ("reproduced", "opposite", NO_DIFFERENCE, "inconclusive", BROKEN)  # verdicts of a test
ASPECTS = ("arrow", "contrast", "prose", "level")
UP, DOWN, SAME = "up", "down", "same"
ARROWS = {UP: "↑", DOWN: "↓", SAME: "–"}  # as the paper prints them


@dataclass(frozen=True)
class Row:
    """One line of the ledger before its verdict."""

    claim: Claim
    aspect: str  # one of ASPECTS
    family: str  # which tests its p is corrected with, by Holm's method
    direction: str  # UP, DOWN or SAME
    over: float  # what the estimate is compared with: 0 for a difference
    evidence: Evidence | str  # or why there is none
    corrected: float | None = None  # its p as the chapter that makes the same comparison corrects it; None: none does


class Verdict(NamedTuple):
    verdict: str  # one of VERDICTS
    why: str


def judge(row: Row, p: float, alpha: float, margin: float) -> Verdict:
    """The verdict on a claim by the evidence for it.

    p: Holm's. alpha: below it p is significant. margin: in points; levels that differ by less are equal.
    """
    evidence = row.evidence
    if isinstance(evidence, str):
        return Verdict("not run", evidence)
    if evidence.verdict:
        return Verdict(evidence.verdict, evidence.why)
    if row.aspect == "arrow" and evidence.why == ALIKE:
        return Verdict("inconclusive", ALIKE)
    equal = row.over - margin < evidence.low and evidence.high < row.over + margin
    within = f"{margin:g} points"
    if row.aspect == "arrow" and row.direction != SAME and equal and not p < alpha:
        return Verdict(NO_DIFFERENCE, f"within {within}")
    if not evidence.agree:
        return Verdict("inconclusive", "seeds disagree in sign")
    if row.direction == SAME:
        if equal:
            return Verdict("reproduced", f"within {within}")
        if not p < alpha:
            return Verdict("inconclusive", f"may differ by more than {within}")
    if not p < alpha:
        return Verdict("inconclusive", _undecided(evidence, row.over, alpha))
    if (UP if evidence.value > row.over else DOWN) != row.direction:
        return Verdict("opposite", evidence.why)
    if evidence.broken:
        return Verdict(BROKEN, f"worse than a random candidate: {evidence.broken}")
    return Verdict("reproduced", evidence.why)


def _undecided(evidence: Evidence, over: float, alpha: float) -> str:
    """Why a test does not decide: an interval that does not hold `over` is explained, since a reader sees it."""
    if evidence.p < alpha:
        near = f"p {p_value(evidence.p)} alone, but not after Holm's correction"
    elif evidence.low > over or evidence.high < over:
        near = f"the interval does not hold {over:g}, but the test could be chance"
    else:
        return evidence.why or "could be chance"
    return "; ".join(filter(None, [evidence.why, near]))
