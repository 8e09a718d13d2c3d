"""Drops: the tokens after which a solution is less likely to come right, and who marks them.

The success probability before and after a token is estimated by J rollouts each, as for cliff tokens (arXiv
2606.25524) and pivotal tokens (the Phi-4 report). A token is *decisive* where a test says that the probability fell.
There are as many tests as tokens, so Benjamini and Hochberg's rule corrects them: of the tokens that are called
decisive, a share of at most alpha is expected not to be. Axes: S solutions, T tokens of a solution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from asprm.intervals import share_interval


def drop_p(right: ArrayLike, rollouts: int) -> NDArray[np.float64]:
    """(T,) one-sided p of "the token changes nothing or for the better": Fisher's exact test on two counts of J.

    right: (T + 1,) right rollouts before the first token and after each token. rollouts: J.
    """
    from scipy.stats import hypergeom  # late: it takes long to import

    right = np.asarray(right, np.int64)
    before, after = right[:-1], right[1:]
    # Of the J before, at least as many are right as were, if all 2J come from one urn.
    return hypergeom.sf(before - 1, 2 * rollouts, before + after, rollouts)


def decisive(p: Sequence[NDArray[np.float64]], alpha: float) -> list[NDArray[np.bool_]]:
    """(T,) of each solution: whether its tokens are decisive, by Benjamini and Hochberg over all tokens of all.

    p: (T,) of each solution, from `drop_p`.
    """
    from scipy.stats import false_discovery_control

    adjusted = false_discovery_control(np.concatenate(p))
    return np.split(adjusted <= alpha, np.cumsum([len(of_one) for of_one in p])[:-1])


def cliffs(right: ArrayLike, rollouts: int) -> NDArray[np.bool_]:
    """(T,) whether the probability falls by more than 0.1 + 1.645 standard errors: the rule of arXiv 2606.25524.

    right, rollouts: as in `drop_p`. The rule is of one token; over many it has more false ones than `decisive`.
    """
    share = np.asarray(right, np.float64) / rollouts
    error = np.sqrt((share * (1 - share) / rollouts)[:-1] + (share * (1 - share) / rollouts)[1:])
    return share[:-1] - share[1:] > 0.1 + 1.645 * error


def marks(
    marked: Mapping[str, Sequence[NDArray[np.bool_]]], wanted: Sequence[NDArray[np.bool_]], problems: Sequence[str]
) -> pd.DataFrame:
    """How well each way of marking tokens finds the wanted ones: one row per way.

    marked: by way, (T,) of each of S solutions. wanted: (T,) of each. problems: (S,), over which intervals are.
    Columns: by; marked, the share of tokens; precision, of the marked ones that are wanted; recall, of the wanted ones
    that are marked; the last two with …_low and …_high, NaN where there is nothing to count.
    """
    rows: list[dict[str, Any]] = []
    for way, of_each in marked.items():
        counts = np.array(
            [
                (len(want), mark.sum(), want.sum(), (mark & want).sum())
                for mark, want in zip(of_each, wanted, strict=True)
            ],
            float,
        )
        by_problem = pd.DataFrame(counts).groupby(np.asarray(problems), sort=False).agg("sum").to_numpy(float)
        tokens, chosen, want, hits = by_problem.T
        row: dict[str, Any] = {"by": way, "marked": chosen.sum() / tokens.sum()}
        for name, bottom in (("precision", chosen), ("recall", want)):
            value, low, high = share_interval(hits, bottom) if bottom.sum() else (np.nan,) * 3
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)
