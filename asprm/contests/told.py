"""Told: what the table of each contest says, in one or two sentences; no sentence has a number of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from asprm.contests.cheap import BINARY, EARLY
from asprm.contests.edited import NOTICED, NUMBER, POLICY, WORDS
from asprm.contests.places import CONFIDENCE, KINDS
from asprm.contests.searched import BEAM, BEST, GUIDED, TVD, VOTED
from asprm.results.format import interval, p_value, percent, points


def sided(rows: pd.DataFrame, name: str, gain: str, p: str, alpha: float) -> str:
    """Which rows are better by the test, which are worse: "better: a, b; worse: c", or that no difference is told.

    name, gain, p: columns. Rows that were not tested (NaN) are left out. The interval must agree with the test: it
    holds the spread between trainings too, of which the test knows nothing.
    """
    tested = rows.loc[rows[p].notna()]
    off_0 = tested[f"{gain}_low"] * tested[f"{gain}_high"] > 0
    told = []
    for word, sign in (("better", 1), ("worse", -1)):
        these = tested.loc[(tested[p] < alpha) & off_0 & (np.sign(tested[gain]) == sign)]
        if len(these):
            told.append(f"{word}: {', '.join(f'{row[name]} ({points(row[gain])} points)' for row in records(these))}")
    if told:
        return "; ".join(told)
    spread = tested[gain].to_numpy(float)
    if not len(spread):
        return "nothing was tested"
    return f"no difference is told from chance (from {points(spread.min())} to {points(spread.max())} points)"


def chance(search: pd.DataFrame) -> float:
    """How often one candidate is right that is taken at random; NaN where that is not in the table.

    search: from `asprm.rivals.search_table`.
    """
    alone = search.loc[(search["way"] == BEST) & (search["size"] == 1), "right"]
    return float(alone.iloc[0]) if len(alone) else float("nan")


def of_steps(table: pd.DataFrame, search: pd.DataFrame, alpha: float) -> str:
    """Where steps end. table, search: from `asprm.rivals.step_table` and `search_table`.

    A reward model that chooses worse than chance is named: to beat it shows nothing.
    """
    own = table.set_index("kind").loc[CONFIDENCE]
    cleanest = table.loc[table["wrong"].idxmin()]
    broken = ", ".join(str(kind) for kind in table.loc[table["bon"] < chance(search), "kind"])
    unfair = (
        f" But one candidate taken at random is right on {percent(chance(search))}: the reward models of {broken} "
        "choose worse than that, so a gain over them shows nothing."
    )
    return (
        f"With the same share of tokens and the same rollouts, Best-of-N by steps of {CONFIDENCE} is right on "
        f"{_share(own, 'bon')}. Against it, "
        f"{sided(table, 'kind', 'gain', 'p (Holm)', alpha)}. In F1 of the first error, "
        f"{sided(table, 'kind', 'f1_gain', 'f1_p (Holm)', alpha)}. Labels disagree with the truth least at steps by "
        f"{cleanest['kind']}: {_share(cleanest, 'wrong')}, at {CONFIDENCE} {_share(own, 'wrong')}."
        f"{unfair if broken else ''}"
    )


def of_tokens(table: pd.DataFrame, drops: pd.DataFrame) -> str:
    """Which tokens decide. table, drops: from `asprm.rivals.token_table` and `drop_table`."""
    count, cliffs = (int(drops[column].to_numpy().sum()) for column in ("decisive", "cliff"))
    start = (
        f"Of {len(drops):,} tokens {count} are decisive by the test (Benjamini and Hochberg over all of them); the "
        f"rule for one token calls {cliffs} a cliff."
    )
    wanted = table.loc[(table["wanted"] == "decisive") & table["recall"].notna()].set_index("by")
    if wanted.empty:
        return f"{start} So nothing can be said of who marks them."
    shown = [
        f"{kind} marks {percent(wanted.loc[kind, 'recall'], 0)} of them "
        f"({percent(wanted.loc[kind, 'recall_low'], 0)} to {percent(wanted.loc[kind, 'recall_high'], 0)})"
        for kind in KINDS
    ]
    return f"{start} {_sentence('; '.join(shown))}."


def of_labels(table: pd.DataFrame) -> str:
    """Cheaper labels. table: from `asprm.rivals.label_table`."""
    rows = table.set_index("way")
    early, binary = rows.loc[EARLY], rows.loc[BINARY]
    return (
        f"{_sentence(EARLY)} runs {percent(early['of_all'])} of the rollouts and gives the same labels by "
        f"construction. {_sentence(BINARY)} runs {percent(binary['of_all'])} ({percent(binary['of_all_low'])} to "
        f"{percent(binary['of_all_high'])}) and {percent(binary['of_tokens'])} of the tokens; "
        f"{percent(binary['equal'])} of its labels are the same, and its Best-of-N differs by "
        f"{points(binary['gain'])} points "
        f"({interval(binary['gain_low'], binary['gain_high'])}, {_p(binary['p'])})."
    )


def of_noise(table: pd.DataFrame, alpha: float) -> str:
    """Cleaner labels. table: from `asprm.rivals.noise_table`."""
    before, *after = records(table)
    shown = [
        f"{percent(row['wrong'])} by {row['filter']}, which keeps {row['kept']:,} of {before['kept']:,} solutions"
        for row in after
    ]
    return (
        f"Before any filter {percent(before['wrong'])} of the labels disagree with the truth "
        f"({percent(before['wrong_low'])} to {percent(before['wrong_high'])}); {'; '.join(shown)}. In Best-of-N, "
        f"against unfiltered labels, {sided(table, 'filter', 'gain', 'p (Holm)', alpha)}."
    )


def of_search(table: pd.DataFrame, alpha: float) -> str:
    """Search. table: from `asprm.rivals.search_table`."""
    named = table.assign(named=[f"{row['way']} ({row['size']})" for row in records(table)])
    frontier = ", ".join(f"{row['named']} {percent(row['right'])}" for row in records(named.loc[named["frontier"]]))
    searches = named.loc[named["way"].isin([TVD, BEAM, GUIDED, VOTED])]
    return (
        f"On the frontier, where nothing cheaper is as good, are {frontier}. Against {BEST} at no more operations, "
        f"{sided(searches, 'named', 'gain', 'p (Holm)', alpha)}."
    )


def of_edits(table: pd.DataFrame, prm: str, alpha: float) -> str:
    """Logic or fluency. table: from `asprm.contests.edited.edit_table`. prm: the reward model to tell of."""
    rows = {(row["by"], row["edit"]): row for row in records(table)}
    judge = prm if (prm, NUMBER) in rows else str(table["by"].iloc[0])
    number, words = rows[judge, NUMBER], rows[judge, WORDS]
    policy = rows[POLICY, NUMBER]
    which = "it minds the number more" if number["more"] > 0 else "it minds the words more"
    which = which if number["more_p (Holm)"] < alpha else "which it minds more is not told from chance"
    return (
        f"The score of {judge} falls by more than {NOTICED:g} in {percent(number['noticed'])} of {number['solutions']} "
        f"solutions with one number changed, and in {percent(words['noticed'])} with other words: {which} "
        f"({points(number['more'])} points, {interval(number['more_low'], number['more_high'])}, "
        f"{_p(number['more_p (Holm)'])}). "
        f"{_sentence(POLICY)} falls in {percent(policy['noticed'])} and {percent(rows[POLICY, WORDS]['noticed'])}."
    )


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame, each as a mapping by column."""
    rows: Any = frame.to_dict("records")
    return rows


def _share(row: Any, name: str) -> str:
    """A share with its interval."""
    return f"{percent(row[name])} ({percent(row[f'{name}_low'])} to {percent(row[f'{name}_high'])})"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _p(p: float) -> str:
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"
