"""Lessons: what a chapter learned, in a few sentences with number and interval, in a box near its end.

Each chapter has one function, which reads its own tables. Where a sentence tests a claim of the paper, its verdict
stands in front of it: reproduced, undecided, did not reproduce, broken baseline (a gain over what chooses worse than
chance) or, where nothing could differ, not tested. A verdict on a difference goes by the test's p, corrected as in the
chapter's table; a verdict on two shares or means by whether their intervals overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from asprm import generalize as g
from asprm import statistics as s
from asprm.claims import directions
from asprm.contests import told
from asprm.contests.places import LINE
from asprm.figures.base import Fragment
from asprm.policy import about, quality
from asprm.problems.load import title
from asprm.results.evidence import UNTESTED
from asprm.results.format import interval, number, p_value, percent, points
from asprm.results.paper import Saving, Statement, load_claims
from asprm.results.verdicts import BROKEN, NO_DIFFERENCE
from asprm.run import names
from asprm.run.open import Run
from asprm.site.quantities import BEST, GREEDY, GUIDED, OVER_GREEDY, OVER_SINGLE, POINTS, SHARE, SINGLE, quantities
from asprm.truth import SAMPLED

REPRODUCED, UNDECIDED, NOT_REPRODUCED = "reproduced", "undecided", "did not reproduce"
SYMBOLS = {REPRODUCED: "✓", UNDECIDED: "≈", NOT_REPRODUCED: "✗", UNTESTED: "○", BROKEN: "◇"}


@dataclass(frozen=True)
class Lesson:
    """One sentence or two. verdict: on a claim of the paper, one of SYMBOLS; "" where none is tested."""

    says: str
    verdict: str = ""


def learned(run: Run) -> Fragment:
    """The box of this run's stage, for its policy. MissingArtifact: the stage has not run."""
    items = [f"<li>{_badge(lesson.verdict)}{escape(lesson.says)}</li>" for lesson in lessons(run)]
    who = "all policies" if run.stage in ("generalize", "claims") else f"policy {run.policy}"
    note = f"Of {who} in the run {run.profile.name}. In brackets: 95 % intervals. p: Holm's, as in the chapter's table."
    return Fragment(f'<div class="learned"><ul>{"".join(items)}</ul><p>{escape(note)}</p></div>')


def lessons(run: Run) -> list[Lesson]:
    """What this run's stage learned of its policy. MissingArtifact: the stage has not run."""
    return list(CHAPTERS[run.stage](run))


def _badge(verdict: str) -> str:
    return f"<strong>{SYMBOLS[verdict]} {escape(verdict)}:</strong> " if verdict else ""


# --- one function for each chapter ------------------------------------------------------------------------------------


def _policy(run: Run) -> Iterator[Lesson]:
    measured = quality({run.policy: about(run.policy_path())})
    if measured.empty:
        yield Lesson("How good this policy is was not measured when it was made; the next chapter measures it.")
    for row in _records(measured):
        greedy, best = (_of_count(row[column], row["count"]) for column in ("greedy", "pass@16"))
        yield Lesson(
            f"Greedy decoding is right on {greedy} of {row['count']} validation problems of {title(row['problems'])}; "
            f"one of 16 samples is right on {best}."
        )


def _sample(run: Run) -> Iterator[Lesson]:
    rows = quantities(run, "sample", run.policy)
    for name in dict.fromkeys(rows.loc[rows["set"] != "", "set"]):
        of_set = rows.loc[rows["set"] == name]
        greedy, single, most = (_row(of_set, what) for what in (GREEDY, SINGLE, "one of N right"))
        yield Lesson(
            f"{title(name)}: greedy decoding is right on {_shown(greedy)}, a single sample on {_shown(single)}, one of "
            f"{run.profile.sample.candidates} samples on {_shown(most)}. Choosing among samples could gain up to "
            f"{100 * (most['value'] - single['value']):.1f} points."
        )


def _threshold(run: Run) -> Iterator[Lesson]:
    rows = quantities(run, "threshold", run.policy)
    tau = _row(rows, "threshold τ")
    yield Lesson(f"τ = {_shown(tau)}: {percent(run.profile.threshold.share)} of all tokens are less confident.")
    ends, others = (_rows(rows, f"mean confidence at {where}") for where in ("line breaks", "other tokens"))
    if ends and others:
        yield Lesson(
            f"The mean confidence of line breaks is {_shown(ends[0])}, of other tokens {_shown(others[0])}; the paper "
            "finds that line breaks are confident.",
            _above(ends[0], others[0]),
        )


def _split(run: Run) -> Iterator[Lesson]:
    rows = quantities(run, "split", run.policy)
    steps = {row["what"].rpartition(", ")[2]: row for row in _records(rows) if row["what"].startswith("steps per")}
    own = steps.pop("adaptive", None)
    if own is None:
        return
    longer = _row(rows, "tokens per step, adaptive")
    yield Lesson(f"AdaptiveStep cuts a solution into {_shown(own)} steps of {_shown(longer)} tokens.")
    if line := steps.get("line"):
        yield Lesson(
            f"Ending steps with lines gives {_shown(line)}; the paper saves labels because AdaptiveStep's are fewer.",
            _above(line, own),
        )


def _rollout(run: Run) -> Iterator[Lesson]:
    rows = quantities(run, "rollout", run.policy)
    for row in _rows(rows, f"mean label, {run.method}"):
        yield Lesson(f"The mean label of a step is {_shown(row)}.")
    for row in _rows(rows, f"rollouts run per step, {run.method}"):
        yield Lesson(f"Of {run.profile.rollout.rollouts} rollouts a step needs {_shown(row)} until its label is known.")


def _prm(run: Run) -> Iterator[Lesson]:
    rows = quantities(run, "prm", run.policy)
    trainings = len(run.profile.seeds_of(run.profile.prm_of(run.policy)))
    for row in _rows(rows, "AUC on held-out steps", _own_prm(run)):
        spread = f", {number(row['low'])} to {number(row['high'])} over {trainings} trainings" if trainings > 1 else ""
        chance = "above" if row["low"] > 0.5 else "not above"
        yield Lesson(
            f"{row['prm']} tells good beginnings from bad ones with an AUC of {number(row['value'])}{spread}: "
            f"{chance} the ½ of a coin{' in every training' if trainings > 1 else ''}."
        )


def _best_of_n(run: Run) -> Iterator[Lesson]:
    rivals = {OVER_SINGLE: "a random sample", OVER_GREEDY: "greedy decoding"}
    yield from _gains(run, BEST, f"Best-of-{run.profile.sample.candidates}", rivals)


def _tvd(run: Run) -> Iterator[Lesson]:
    yield from _gains(run, GUIDED, "Guided decoding", {OVER_GREEDY: "greedy decoding"})


def _gains(run: Run, what: str, way: str, rivals: dict[str, str]) -> Iterator[Lesson]:
    """By how much a way beats its rivals on each test set, by the policy's own reward model; a verdict on the last one.

    what: the way, as quantities call it. way: in words. rivals: in words, by the end of the gain's name.
    """
    rows = quantities(run, run.stage, run.policy)
    own = rows.loc[rows["prm"] == _own_prm(run)]
    for share in _records(own.loc[own["what"] == what]):
        of_set = own.loc[own["set"] == share["set"]]
        gains = {rival: _row(of_set, what + over, share["prm"]) for over, rival in rivals.items()}
        said = ", ".join(f"{_shown(row)} points against {rival} ({_p(row['p'])})" for rival, row in gains.items())
        last = list(gains.values())[-1]
        yield Lesson(
            f"{title(share['set'])}: {way} by {share['prm']} is right on {_shown(share)}, {said}.",
            _sided(last["value"], last["p"], run),
        )


def _generalize(run: Run) -> Iterator[Lesson]:
    results = run.read(names.RESULTS).to_pandas()
    kinds = {
        "Learning from another policy's steps, against one's own": g.against_own(run, results, "transfer"),
        "Learning from mathematics and code, against one alone": g.against_own(run, results, "mixture"),
        "On other problems than those learned from, against greedy decoding": g.on_other_problems(run, results),
    }
    for what, rows in kinds.items():
        if rows.empty:
            continue
        sides = [_sided(row["difference"], row["p (Holm)"], run) for row in _records(rows)]
        better, worse, undecided = (sides.count(one) for one in (REPRODUCED, NOT_REPRODUCED, UNDECIDED))
        gains: list[float] = rows["difference"].dropna().tolist() or [0.0]
        yield Lesson(
            f"{what}: better in {better}, worse in {worse} and undecided in {undecided} of "
            f"{better + worse + undecided} comparisons, with differences from {points(min(gains))} to "
            f"{points(max(gains))} points.",
            UNDECIDED if not better + worse else "",
        )


def _tokens(run: Run) -> Iterator[Lesson]:
    rows = quantities(run, "tokens", run.policy)
    pairs = {}
    for row in _records(rows):
        label, _, of = row["what"].rpartition(", ")
        pairs.setdefault(label, {})[of] = row
    both = {label: (of["of decision tokens"], of["of all tokens"]) for label, of in pairs.items()}
    if not both:
        return
    over = max(both, key=lambda label: both[label][0]["value"] - both[label][1]["value"])
    under = min(both, key=lambda label: both[label][0]["value"] - both[label][1]["value"])
    for label, much, (first, second) in ((over, "more", (0, 1)), (under, "less", (1, 0))):
        decision, every = both[label]
        sure = "" if _above(both[label][first], both[label][second]) == REPRODUCED else ", which could be chance"
        yield Lesson(
            f"“{label}” is {much} common among decision tokens: {_shown(decision)} of them, {_shown(every)} of all"
            f"{sure}."
        )


def _truth(run: Run) -> Iterator[Lesson]:
    entry, found, kinds = (
        run.read(names.truth(run.policy, table)).to_pandas() for table in ("entry", "first-error", "interventions")
    )
    by = {row["method"]: _named(row, "recall") for row in _records(entry.loc[entry["texts"] == SAMPLED])}
    decisions, lines, randoms = (by[method] for method in list(by)[:3])
    yield Lesson(
        f"Of the errors of sampled solutions, {_shown(decisions)} enter at a decision token, {_shown(randoms)} at one "
        f"of as many random tokens, {_shown(lines)} at a line break.",
        _above(decisions, randoms),
    )
    best = _named(_records(found)[0], "f1")
    yield Lesson(f"The first error is found best by {_records(found)[0]['by']}, with F1 {_shown(best)}.")
    counts = dict(zip(kinds["kind"], kinds["problems"], strict=True))
    yield Lesson(
        f"Guided decoding first put right {counts['put right']} of {int(kinds['problems'].sum())} problems and led "
        f"{counts['led astray']} astray."
    )


def _claims(run: Run) -> Iterator[Lesson]:
    by = directions(run.read_json(names.TALLY))
    margin = f"{100 * run.profile.claims.margin:g} points"
    yield Lesson(
        f"Of {by['tested']} directions of the paper that this run could test, {by['reproduced']} are reproduced, "
        f"{by['opposite']} contradicted and {by['inconclusive']} undecided; in {by[NO_DIFFERENCE]} arrows a difference "
        f"of {margin} is ruled out, and {by[BROKEN]} are wins over a reward model that chooses worse than a random "
        "candidate."
    )
    ledger = run.read(names.LEDGER).to_pandas().set_index("id")
    for statement in load_claims():
        if isinstance(statement, Statement) and isinstance(statement.compare, Saving) and statement.id in ledger.index:
            row = ledger.loc[statement.id]
            if pd.notna(row["here"]):
                saved = {"unit": SHARE} | {key: row[name] / 100 for key, name in _LEDGER.items()}
                verdict = {"reproduced": REPRODUCED, "opposite": NOT_REPRODUCED}.get(row["verdict"], UNDECIDED)
                yield Lesson(f"{statement.says} Here the saving is {_shown(saved)}.", verdict)


def _rivals(run: Run) -> Iterator[Lesson]:
    tables = {table: run.read(names.rivals(run.policy, table)).to_pandas() for table in names.RIVALS}
    alpha = run.profile.claims.alpha
    lines = tables["steps"].set_index("kind").loc[LINE]
    verdict = _sided(-lines["gain"], lines[s.HOLM], run)
    if verdict == REPRODUCED and lines["bon"] < told.chance(tables["search"]):
        verdict = BROKEN
    yield Lesson(told.of_steps(tables["steps"], tables["search"], alpha), verdict)
    yield Lesson(told.of_tokens(tables["tokens"], tables["drops"]))
    yield Lesson(told.of_labels(tables["labels"]))
    yield Lesson(told.of_noise(tables["noise"], alpha))
    yield Lesson(told.of_search(tables["search"], alpha))
    yield Lesson(told.of_edits(tables["edits"], run.prm, alpha))


CHAPTERS: dict[str, Callable[[Run], Iterator[Lesson]]] = {
    "policy": _policy,
    "sample": _sample,
    "threshold": _threshold,
    "split": _split,
    "rollout": _rollout,
    "prm": _prm,
    "best_of_n": _best_of_n,
    "tvd": _tvd,
    "generalize": _generalize,
    "tokens": _tokens,
    "truth": _truth,
    "claims": _claims,
    "rivals": _rivals,
}


# --- numbers and verdicts ---------------------------------------------------------------------------------------------

_LEDGER = {"value": "here", "low": "low", "high": "high"}


def _above(a: dict[str, Any], b: dict[str, Any]) -> str:
    """The verdict on "a is above b", by their intervals."""
    if a["low"] > b["high"]:
        return REPRODUCED
    return NOT_REPRODUCED if a["high"] < b["low"] else UNDECIDED


def _sided(difference: float, p: float, run: Run) -> str:
    """The verdict on "the difference is above 0", by the p of its test."""
    if p != p:
        return UNTESTED
    if not p < run.profile.claims.alpha:
        return UNDECIDED
    return REPRODUCED if difference > 0 else NOT_REPRODUCED


def _shown(row: dict[str, Any]) -> str:
    """A value with its interval, if it has one."""
    if row["unit"] == POINTS:
        spread = "" if pd.isna(row["low"]) else f" [{interval(row['low'], row['high'])}]"
        return f"{points(row['value'])}{spread}"
    show = percent if row["unit"] == SHARE else _plain
    spread = "" if pd.isna(row["low"]) else f" [{show(row['low'])} to {show(row['high'])}]"
    return f"{show(row['value'])}{spread}"


def _plain(value: float) -> str:
    """With three digits or more; close to 1 with those that tell it from 1."""
    size = abs(value)
    digits = 1 if size >= 10 else 2 if size > 1 else 4 if size >= 0.99 else 3
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _of_count(share: float, count: int) -> str:
    """A share of independent problems, with Wilson's interval."""
    value = s.wilson(round(share * count), count)
    return _shown({"unit": SHARE, "value": float(value.value), "low": float(value.low), "high": float(value.high)})


def _named(row: dict[str, Any], column: str) -> dict[str, Any]:
    """A share of a table that stands in three columns: its value, low and high."""
    return {"unit": SHARE, "value": row[column], "low": row[f"{column}_low"], "high": row[f"{column}_high"]}


def _p(p: float) -> str:
    if p != p:
        return "nothing could differ"
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _own_prm(run: Run) -> str:
    """What the quantities call the reward model that the policy's chapters look at."""
    name = run.profile.prm_of(run.policy)
    return {own: part for part, own in run.profile.cast.items()}.get(name, name)


def _rows(frame: pd.DataFrame, what: str, prm: str = "") -> list[dict[str, Any]]:
    return _records(frame.loc[(frame["what"] == what) & (frame["prm"] == prm)])


def _row(frame: pd.DataFrame, what: str, prm: str = "") -> dict[str, Any]:
    [row] = _rows(frame, what, prm)
    return row


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    records: Iterable[Any] = frame.to_dict("records")
    return list(records)
