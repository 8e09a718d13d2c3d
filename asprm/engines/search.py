"""Search: several solutions of a problem side by side, of which a reward model keeps the best.

Guided decoding (`asprm.engines.guided`) writes one solution and never goes back. Its rivals keep `width` of them. At
the same decision points, where the policy's top-1 probability is below the trigger, each of them goes on with each of
the M most probable tokens:

- *beam search* (`ahead` 0) scores each of these tokens at once and keeps the best `width` of all;
- *value-guided search* (VG-Search, arXiv 2505.11730; VGS, arXiv 2505.17373) lets each of them be written up to the
  decision point `ahead` further on, or to its end, and scores what came of it: a verifier asked less often, about more.

In both the solutions that have ended compete with those that have not. Beam search of width 1 is guided decoding.
Nothing is drawn at random. Counted are tokens that the policy writes, and tokens that the reward model reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from asprm.engines.batch import NEW, Batch, Fork
from asprm.engines.decisions import Decision, best_of
from asprm.engines.local import LocalEngine
from asprm.engines.protocol import Completion, Engine, Request
from asprm.engines.values import Guide, Question, Scores, Values, values_of


@dataclass(frozen=True)
class Plan:
    """How to search.

    trigger: in [0, 1], below it the policy's top-1 probability makes a decision point.
    candidates: M, tokens that are tried there.
    width: how many solutions are kept.
    ahead: decision points to write on before what was tried is scored; 0: it is scored at once.
    ValueError: a number out of range.
    """

    trigger: float
    candidates: int
    width: int
    ahead: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.trigger <= 1 or self.candidates < 1 or self.width < 1 or self.ahead < 0:
            raise ValueError(f"search: {self}: expected a trigger in [0, 1], candidates and width ≥ 1, ahead ≥ 0")


@dataclass(frozen=True, eq=False)
class Beam:
    """A solution that was kept. ids: (T,) int32. score: the reward model's at its end; NaN where nobody had to ask."""

    ids: np.ndarray
    finished: bool
    score: float


@dataclass(frozen=True, eq=False)
class Searched:
    """What came of one problem: beams, the best first; tokens written by the policy; tokens read by the reward model.

    The prompt counts among what the reward model reads, and not among what the policy writes.
    """

    beams: list[Beam]
    written: int
    read: int


def search(
    engine: Engine, prm: Guide, requests: Iterable[Request], plan: Plan, *, max_new_tokens: int = 256
) -> Iterator[tuple[Request, Searched]]:
    """Search for a solution of each request, in the order in which they end.

    engine: the local one. prm: as for `asprm.engines.guided.guided_decode`.
    requests: prompts; their seeds play no part. max_new_tokens: length limit of a solution.
    ValueError: another engine; what `guided_decode` refuses.
    """
    if not isinstance(engine, LocalEngine):
        raise ValueError("search: expected the local engine, whose rows can be copied and dropped")
    plan = replace(plan, candidates=min(plan.candidates, engine.vocabulary))
    return _search(engine, values_of(prm, engine.vocabulary), iter(requests), plan, max_new_tokens)


@dataclass(eq=False)
class _Text:
    """A row's text, not ended. score: the reward model's of it, once known. passed: decision points since it was tried.

    known: tokens of it that the reward model has read. waits: the decision for which it stands still.
    """

    group: _Group
    score: float = np.nan
    passed: int = 0
    known: int = 0
    waits: Decision | None = None


@dataclass(eq=False)
class _Ended:
    """A solution that has ended. text: what it is called in the reward model's cache."""

    text: _Text
    completion: Completion
    score: float


@dataclass(eq=False)
class _Group:
    """One problem's texts: live ones and those that have ended."""

    request: Request
    live: list[_Text] = field(default_factory=list)
    ended: list[_Ended] = field(default_factory=list)
    written: int = 0
    read: int = 0

    @property
    def is_ready(self) -> bool:
        """Whether every live text waits."""
        return bool(self.live) and all(text.waits is not None for text in self.live)


def _search(
    engine: LocalEngine, values: Values, queue: Iterator[Request], plan: Plan, max_new_tokens: int
) -> Iterator[tuple[Request, Searched]]:
    with engine.batch(max_new_tokens) as batch, ExitStack() as lent:
        values.begin(lent)
        groups: list[_Group] = []
        while True:
            # 1. New requests get rows, as long as there is room for all rows that they may come to need.
            room = batch.room // (plan.width * (plan.candidates if plan.ahead else 1)) or int(not groups)
            new = [_Group(request) for request in islice(queue, room)]
            for group in new:
                group.live.append(_Text(group, passed=plan.ahead))  # it is tried at its first decision point
            batch.admit([replace(group.request, key=group.live[0]) for group in new])
            groups += new
            if not batch.live:
                return
            # 2. A step for all rows; those at a decision point wait.
            for request, completion in _step(batch, plan):
                _end(request.key, completion)
            # 3. Groups all of whose rows wait choose.
            ready = [group for group in groups if group.is_ready]
            if ready:
                _choose(batch, ready, values, plan)
            # 4. Hand out what is over.
            over = [group for group in groups if not group.live]
            for group in over:
                yield group.request, _outcome(group, values, plan)
            groups = [group for group in groups if group.live]


@torch.inference_mode()
def _step(batch: Batch, plan: Plan) -> list[tuple[Request, Completion]]:
    """Append the most probable token to each row that does not wait; returns what ended."""
    texts: list[_Text] = [request.key for request in batch.live]
    probabilities = batch.step().softmax(-1)  # (B, V)
    confidences, tokens = (x.cpu().numpy() for x in probabilities.max(-1))
    sure = []
    for row, text in enumerate(texts):
        if text.waits is not None:
            continue
        if confidences[row] >= plan.trigger:
            sure.append(row)
        elif text.passed + 1 < plan.ahead:
            text.passed += 1
            sure.append(row)
        else:
            own, ids = (x[0].cpu().numpy() for x in best_of(probabilities[[row]], plan.candidates))
            text.waits = Decision(int(batch.state[NEW, row]), ids.astype(np.int32), own)
    for row in sure:
        texts[row].group.written += 1
    rows = np.array(sure, np.int64)
    return batch.advance(rows, tokens[rows].astype(np.int64), confidences[rows])


def _end(text: _Text, completion: Completion, score: float = np.nan) -> None:
    """The text has ended. score: of its last token, where it is known."""
    text.group.live.remove(text)
    text.group.ended.append(_Ended(text, completion, score))


# --- choosing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Try:
    """A token after a text, with the score of the text that it makes; NaN: not known."""

    text: _Text
    token: int
    score: float


def _choose(batch: Batch, ready: Sequence[_Group], values: Values, plan: Plan) -> None:
    """Keep the best `width` texts of each group, and go on with the tokens that are tried after them."""
    # 1. What each group goes on with.
    row_of = {id(request.key): row for row, request in enumerate(batch.live)}
    tries: list[_Try] = []
    for group in ready:
        tries += (_tried_later if plan.ahead else _tried_at_once)(batch, group, row_of, values, plan)
    by_text: dict[int, list[_Try]] = {}
    for one in tries:
        by_text.setdefault(id(one.text), []).append(one)

    # 2. A row keeps one of its tokens; others get forks of it, or end. A row without tokens is let go.
    kept: list[tuple[int, _Try]] = []
    forks: list[tuple[int, _Text, _Try]] = []
    dropped: list[int] = []
    for text in [text for group in ready for text in group.live]:
        row, own = row_of[id(text)], {one.token: one for one in by_text.get(id(text), [])}
        if not own:
            dropped.append(row)
            text.group.live.remove(text)
            values.release(text)
            continue
        parting = batch.part(row, own)
        confidence = _confidence(text)
        for token in (*parting.forked, *parting.ending):
            copy = _Text(text.group, own[token].score, known=text.known)
            values.fork(text, copy)
            text.group.live.append(copy)
            if token in parting.ending:
                _end(copy, batch.ending(row, token, confidence), own[token].score)
            else:
                forks.append((row, copy, own[token]))
        kept.append((row, own[parting.kept]))
        text.group.written += len(own)

    # 3. Append the tokens, then fork: a fork replaces the newest token of a row that has advanced.
    _append(batch, kept, forks, dropped)


def _append(
    batch: Batch, kept: list[tuple[int, _Try]], forks: list[tuple[int, _Text, _Try]], dropped: list[int]
) -> None:
    """Append each kept token to its row, and copy rows for the forks. kept, forks: rows with what they go on with."""
    rows = np.array([row for row, _ in kept], np.int64)
    sources = {row: batch.live[row] for row, _, _ in forks}
    confidences = np.array([_confidence(one.text) for _, one in kept], np.float32)
    of_forks = [_confidence(one.text) for _, _, one in forks]
    for _, one in kept:
        one.text.waits, one.text.score, one.text.passed = None, one.score, 0
    tokens = np.array([one.token for _, one in kept], np.int64)
    for request, completion in batch.advance(rows, tokens, confidences):
        _end(request.key, completion, request.key.score)
    batch.holes += dropped
    for (row, copy, one), confidence in zip(forks, of_forks, strict=True):
        source = sources[row]
        batch.fork(Fork(source, replace(source, key=copy), one.token, confidence))


def _confidence(text: _Text) -> float:
    """The top-1 probability at the decision for which the text waits."""
    assert text.waits is not None
    return float(text.waits.probabilities[0])


def _tried_at_once(batch: Batch, group: _Group, row_of: dict[int, int], values: Values, plan: Plan) -> list[_Try]:
    """Beam search: the best of all candidates of all texts and of what has ended, which may push ended ones out."""
    questions = []
    for text in group.live:
        assert text.waits is not None
        questions.append(_question(text, _ids(batch, text, row_of), text.waits.candidates))
    scored = _rate(group, questions, values)
    if plan.width == 1:  # by logits, as guided decoding: scores of different logits may round to the same number
        [text], [question], [scores] = group.live, questions, scored
        return [_Try(text, int(question.candidates[scores.best]), float(scores.values[scores.best]))]
    _score_ended(group, values)
    tries = [
        _Try(text, int(token), float(score))
        for text, question, scores in zip(group.live, questions, scored, strict=True)
        for token, score in zip(question.candidates, scores.values, strict=True)
    ]
    return _keep(group, tries, values, plan.width)


def _tried_later(batch: Batch, group: _Group, row_of: dict[int, int], values: Values, plan: Plan) -> list[_Try]:
    """Value-guided search: the best texts as they are now, each with all its candidates, which are scored later."""
    if len(group.live) + len(group.ended) > plan.width:
        questions = [_question(text, _ids(batch, text, row_of)) for text in group.live]
        for text, scores in zip(group.live, _rate(group, questions, values), strict=True):
            text.score = float(scores.values[0])
        _score_ended(group, values)
    tries = []
    for one in _keep(group, [_Try(text, -1, text.score) for text in group.live], values, plan.width):
        assert one.text.waits is not None
        tries += [_Try(one.text, int(token), np.nan) for token in one.text.waits.candidates]
    return tries


def _keep(group: _Group, tries: list[_Try], values: Values, width: int) -> list[_Try]:
    """The tries among the best `width` of the tries and the ended texts; of equals the first. Other ended texts go."""
    pool: list[_Try | _Ended] = [*tries, *group.ended]
    if len(pool) <= width:
        return tries
    best = sorted(pool, key=lambda one: -one.score)[:width]
    for one in group.ended:
        if one not in best:
            values.release(one.text)
    group.ended = [one for one in group.ended if one in best]
    return [one for one in best if isinstance(one, _Try)]


def _score_ended(group: _Group, values: Values) -> None:
    """Score the ended texts whose score is not known, each at its end."""
    unknown = [one for one in group.ended if np.isnan(one.score)]
    prompt = group.request.context[: group.request.start]
    questions = [_question(one.text, np.concatenate([prompt, one.completion.ids])) for one in unknown]
    for one, scores in zip(unknown, _rate(group, questions, values), strict=True):
        one.score = float(scores.values[0])


def _ids(batch: Batch, text: _Text, row_of: dict[int, int]) -> np.ndarray:
    """The prompt and what the text's row has written, (L,)."""
    row, request = row_of[id(text)], text.group.request
    return np.concatenate([request.context[: request.start], batch.ids[row, : batch.state[NEW, row]]])


def _question(text: _Text, ids: np.ndarray, candidates: np.ndarray | None = None) -> Question:
    """What is asked about a text of ids (L,): the scores of candidates (M,) after it; None: its own score."""
    if candidates is None:
        ids, candidates = ids[:-1], ids[-1:]
    return Question(text, text.group.request, ids.astype(np.int32), candidates.astype(np.int32))


def _rate(group: _Group, questions: Sequence[Question], values: Values) -> list[Scores]:
    """The scores of the questions about a group's texts; what the reward model reads for them is counted."""
    for question in questions:
        text: Any = question.text
        group.read += max(0, len(question.ids) - text.known) + len(question.candidates)
        text.known = len(question.ids)
    return values.rate(questions) if questions else []


def _outcome(group: _Group, values: Values, plan: Plan) -> Searched:
    """What came of a group all of whose texts have ended."""
    if len(group.ended) > 1:
        _score_ended(group, values)
    _keep(group, [], values, plan.width)
    for one in group.ended:
        values.release(one.text)
    best = sorted(group.ended, key=lambda one: -one.score)
    beams = [Beam(one.completion.ids, one.completion.finished, one.score) for one in best]
    return Searched(beams, group.written, group.read)
