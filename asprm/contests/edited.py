"""Edited: what reward models, and the policy itself, make of solutions with a changed number and with other words."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from asprm.contests.bench import Bench
from asprm.contests.edits import Edited, edit_line
from asprm.engines.rescore import confidences, load_reader
from asprm.intervals import difference_interval, share_interval
from asprm.models.align import carry
from asprm.models.load import load_tokenizer
from asprm.reward.adapters import base_of
from asprm.reward.published import load_reward_model, scorer_for
from asprm.reward.score import PRM, Item, score
from asprm.run.chunks import map_chunks
from asprm.run.open import Run
from asprm.statistics import compare, holm, sign_flip_p

ORIGINAL, NUMBER, WORDS = "as it was", "one number changed", "rephrased"
POLICY = "the policy's confidence"  # geometric mean over the tokens of the edited line
NOTICED = 0.1  # by how much a score must fall to count as a notice


def edits(run: Run, bench: Bench) -> pd.DataFrame:
    """Scores at the end of the edited line: problem, edit (ORIGINAL, NUMBER, WORDS), by (who judges), score in [0, 1].

    One right solution of each of the first `rivals.edits` test problems that have one. Judges are the reward models
    that start from the policy and learn from its steps, their first trainings; and the policy's own confidence.
    """
    texts = _texts(run, bench)
    profile = run.profile
    judges = [name for name in profile.of_role("own", "baseline") if profile.reward_models[name].base == run.policy]
    with run.noting() as inputs:
        models: dict[str, Any] = {name: run.reward_model(name) for name in judges}
        for path, _ in models.values():
            run.running(base_of(path) or path)
        policy = run.running(run.policy_path())
    tables = map_chunks(
        partial(_judge_chunk, texts=texts, prompts=bench.prompts, models=models, policy=policy),
        [*judges, POLICY],
        size=1,
        folder=run.work(f"rivals/{run.policy}/edits"),
        key={"inputs": inputs | dict(run.inputs), "settings": profile.reads("rivals"), "judges": judges},
        workers=min(run.workers, len(judges) + 1),
        label=f"rivals: edits of {run.policy}",
        kept=run.kept,
    )
    return pd.concat([table.to_pandas() for table in tables], ignore_index=True)


@dataclass(frozen=True)
class _Text:
    """One text and the characters of it where the edited line begins and ends."""

    problem: str
    edit: str
    text: str
    start: int
    end: int


def _texts(run: Run, bench: Bench) -> list[_Text]:
    """The original and both edits of each solution that can be edited. ValueError: none can."""
    texts: list[_Text] = []
    seen: set[str] = set()
    for one in bench.solutions[bench.test]:
        if one.problem in seen or not one.correct or one.departs is not None:
            continue
        if len(seen) == run.profile.rivals.edits:
            break
        pair = edit_line(one.text, random.Random(f"{run.seed}/{one.problem}"))
        if pair is not None:
            seen.add(one.problem)
            for edit, edited in ((ORIGINAL, pair.original), (NUMBER, pair.number), (WORDS, pair.words)):
                texts.append(_Text(one.problem, edit, edited.text, _line_start(edited), edited.end))
    if not texts:
        raise ValueError(f"rivals: no right solution of {bench.test} has a line with a result; give it more problems")
    return texts


def _line_start(edited: Edited) -> int:
    return edited.text.rfind("\n", 0, edited.end) + 1


def _judge_chunk(
    judges: Sequence[str],
    state: None,
    *,
    texts: Sequence[_Text],
    prompts: Mapping[str, Any],
    models: Mapping[str, tuple[str, str | None]],
    policy: str,
) -> pa.Table:
    """The scores of the only judge: columns as of `edits`."""
    [judge] = judges
    tokenizer = load_tokenizer(policy)
    carried = [carry(one.text, [max(one.start, 1), one.end], tokenizer, finished=True) for one in texts]
    if judge == POLICY:
        solutions = [ids for ids, _ in carried]
        read = confidences(load_reader(policy), [prompts[one.problem] for one in texts], solutions)
        firsts = [int(ends[0]) if one.start else 0 for one, (_, ends) in zip(texts, carried, strict=True)]
        scores = [
            float(np.exp(np.log(row[first : ends[1]]).mean()))
            for row, first, (_, ends) in zip(read, firsts, carried, strict=True)
        ]
    else:
        prm = scorer_for(load_reward_model(*models[judge]), tokenizer)
        if not isinstance(prm, PRM):
            raise ValueError(f"rivals: {judge} reads other tokens than {policy}")
        items = [Item(prompts[x.problem], ids, ends[1:]) for x, (ids, ends) in zip(texts, carried, strict=True)]
        scores = [float(row[0]) for row in score(prm, items)]
    columns = {"problem": [one.problem for one in texts], "edit": [one.edit for one in texts]}
    return pa.table(columns | {"by": [judge] * len(texts), "score": scores})


def edit_table(frame: pd.DataFrame) -> pd.DataFrame:
    """What each judge notices: one row per judge and edit.

    frame: from `edits`. Columns: by, edit, solutions; fall, the mean by which the score falls, and p that it does not
    change (random signs); noticed, the share of solutions whose score falls by more than NOTICED; each with …_low and
    …_high; and on the rows of NUMBER: more, by how much larger a share is noticed than of WORDS, more_low, more_high,
    more_p (McNemar). p (Holm) and more_p (Holm) are over the table.
    """
    rows: list[dict[str, Any]] = []
    for by, of_judge in frame.groupby("by", sort=False):
        scores = of_judge.pivot(index="problem", columns="edit", values="score")
        falls = {edit: (scores[ORIGINAL] - scores[edit]).to_numpy(float) for edit in (NUMBER, WORDS)}
        noticed = {edit: (fall > NOTICED).astype(float) for edit, fall in falls.items()}
        both = compare(noticed[NUMBER], noticed[WORDS])
        for edit, fall in falls.items():
            row: dict[str, Any] = {"by": by, "edit": edit, "solutions": len(fall)}
            row |= dict(zip(("fall", "fall_low", "fall_high"), difference_interval(fall), strict=True))
            row["p"] = sign_flip_p(fall)
            row |= dict(zip(("noticed", "noticed_low", "noticed_high"), share_interval(noticed[edit]), strict=True))
            more = (both.difference, both.low, both.high, both.p) if edit == NUMBER else (np.nan,) * 4
            row |= dict(zip(("more", "more_low", "more_high", "more_p"), more, strict=True))
            rows.append(row)
    table = pd.DataFrame(rows)
    return table.assign(**{"p (Holm)": holm(table["p"]), "more_p (Holm)": holm(table["more_p"])})
