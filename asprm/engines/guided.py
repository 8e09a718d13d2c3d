"""Token-level value-guided decoding (TVD, paper §TVD): greedy, except where the policy is unsure.

Where the policy's top-1 probability is below the trigger, the PRM scores the policy's W most probable next tokens, each
appended to the prefix, and the best-scored one is emitted: s_i = argmax_m R(q, s_<i, s_i^m). Ties go to the more
probable token. The end of text is a candidate like any other.

Problems are decoded side by side. The policy and the PRM have a cache each (`asprm.engines.values`). A row that waits
for the PRM stands still until several rows wait, so that their decisions are made in one call.

Nothing is drawn at random: a problem's decodings by several PRMs, or at several triggers, are the same text until they
choose different tokens. `decode_together` makes them one row until then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch

from asprm.engines.batch import NEW, Batch, Fork
from asprm.engines.decisions import Decision, Guided, Made, Walk, Where, best_of, guided_of
from asprm.engines.guided_vllm import decode_in_vllm
from asprm.engines.local import LocalEngine
from asprm.engines.protocol import Completion, Engine, Request
from asprm.engines.values import Guide, Question, Values, values_of
from asprm.engines.vllm import VllmEngine

_SHARE = 16  # the PRM is asked when more than one in this many rows waits


def guided_decode(
    engine: Engine,
    prm: Guide,
    requests: Iterable[Request],
    *,
    trigger: float,
    candidates: int = 8,
    max_new_tokens: int = 256,
    where: Where | None = None,
) -> Iterator[tuple[Request, Guided]]:
    """Decode the requests, in the order in which they end; they are pulled only when there is room for them.

    engine: decodes by the policy; one of vLLM must have been loaded for it (`load_engine(…, guided=True)`).
    prm: a token classification model with one label over the policy's own vocabulary, whose sigmoid at a token is the
        score of the text up to there; or its executor (`load_executor`), to be made once for many calls; or a
        `Translator` or `Rater` for a reward model that reads other tokens.
    requests: prompts; their seeds play no part.
    trigger: in [0, 1]; 0 is greedy decoding.
    candidates: W, at most the size of the vocabulary.
    max_new_tokens: length limit of a solution.
    where: positions at which the PRM may choose; None for all.
    ValueError: a trigger or number of candidates out of range, a PRM of another kind or vocabulary, a decision beyond
    the PRM's positions.
    """
    walk = Walk("", trigger)
    decoded = decode_together(
        engine,
        {walk.guide: prm},
        ((request, [walk]) for request in requests),
        candidates=candidates,
        max_new_tokens=max_new_tokens,
        where=where,
    )
    return ((request, by_walk[walk]) for request, by_walk in decoded)


def decode_together(
    engine: Engine,
    guides: Mapping[str, Guide],
    requests: Iterable[tuple[Request, Sequence[Walk]]],
    *,
    candidates: int = 8,
    max_new_tokens: int = 256,
    where: Where | None = None,
) -> Iterator[tuple[Request, dict[Walk, Guided]]]:
    """`guided_decode` for all walks of each request, which share policy rows, PRM reading and scores while equal.

    Yields, as they end, the walks that came to the same text (equal `ids` and `confidences`): a request comes once for
    each text that its walks came to. The cache holds at most one row for each walk of as many requests as the engine
    has rows.

    engine, candidates, max_new_tokens, where: as for `guided_decode`.
    guides: by name, each as `prm` there.
    requests: prompts, each with its walks.
    ValueError: as there, and a walk whose guide is not among `guides`.
    """
    if candidates < 1:
        raise ValueError(f"tvd: candidates is {candidates}, expected at least 1")
    vocabulary = engine.vocabulary
    width = min(candidates, vocabulary)
    values = {name: values_of(guide, vocabulary) for name, guide in guides.items()}
    if isinstance(engine, VllmEngine):
        asked = ((request, _known(walks, values)) for request, walks in requests)
        return decode_in_vllm(engine, values, asked, width, max_new_tokens, where)
    assert isinstance(engine, LocalEngine)
    queue = (replace(request, key=_start(request, walks, values)) for request, walks in requests)
    return _decode(engine, values, queue, width, max_new_tokens, where)


_Walks = dict[Walk, list[Made]]
"""Walks, each with the decisions that it has made so far."""


class _Text:
    """What is known of a row's text. A row is a request whose key this is.

    request: as it was asked. walks: those that have come to this text. trigger: the greatest of theirs.
    waits: the decision for which the row stands still.
    """

    def __init__(self, request: Request, walks: _Walks) -> None:
        self.request = request
        self.keep(walks)

    def keep(self, walks: _Walks) -> None:
        """Continue with only `walks`; the row waits no more."""
        self.waits: Decision | None = None
        self.walks, self.trigger = walks, max((walk.trigger for walk in walks), default=0.0)

    @property
    def guides(self) -> set[str]:
        return {walk.guide for walk in self.walks}

    def guided(self, completion: Completion, width: int) -> dict[Walk, Guided]:
        return {walk: guided_of(completion, made, width) for walk, made in self.walks.items()}


def _start(request: Request, walks: Sequence[Walk], values: Mapping[str, Values]) -> _Text:
    """The text of a request that comes in. ValueError: a walk by an unknown guide."""
    return _Text(request, {walk: [] for walk in _known(walks, values)})


def _known(walks: Sequence[Walk], values: Mapping[str, Values]) -> Sequence[Walk]:
    """The walks. ValueError: one of them is by an unknown guide."""
    if unknown := {walk.guide for walk in walks} - values.keys():
        raise ValueError(f"tvd: walks by {sorted(unknown)}, but the guides are {sorted(values)}")
    return walks


def _decode(
    engine: LocalEngine,
    values: Mapping[str, Values],
    queue: Iterator[Request],
    width: int,
    max_new_tokens: int,
    where: Where | None,
) -> Iterator[tuple[Request, dict[Walk, Guided]]]:
    """The loop of `decode_together`. queue: requests with a `_Text` as the key. width: W."""
    with engine.batch(max_new_tokens) as batch, ExitStack() as lent:
        for scorer in values.values():
            scorer.begin(lent)
        while True:
            # 1. New requests get rows.
            batch.admit(list(islice(queue, batch.room)))
            if not batch.live:
                return
            # 2. A step for all rows. Rows that wait are not advanced: in the next step they give the same outputs.
            texts: list[_Text] = [request.key for request in batch.live]  # (B,)
            tokens, confidences = _step(batch, texts, width, where)  # (B,) each
            waiting = np.array([text.waits is not None for text in texts])
            sure = np.flatnonzero(~waiting)
            ended = batch.advance(sure, tokens[sure], confidences[sure])
            # 3. Decide, when enough rows wait.
            if waiting.sum() > (len(texts) - len(ended)) // _SHARE:
                ended += _decide(batch, np.flatnonzero(waiting).tolist(), values)
            # 4. Hand out what ended.
            for request, completion in ended:
                for scorer in values.values():
                    scorer.release(request.key)
                yield request.key.request, request.key.guided(completion, width)


@torch.inference_mode()
def _step(batch: Batch, texts: Sequence[_Text], width: int, where: Where | None) -> tuple[np.ndarray, np.ndarray]:
    """Each row's most probable token, (B,) int32, and its probability, (B,) float32.

    Rows whose probability is below their trigger begin to wait, where `where` allows it.
    """
    probabilities = batch.step().softmax(-1)  # (B, V)
    confidences, tokens = probabilities.max(-1)
    both = torch.stack([tokens.int(), confidences.view(torch.int32)]).cpu().numpy()  # in one transfer
    tokens, confidences = both[0], both[1].view(np.float32)
    triggers = np.array([text.trigger for text in texts], np.float32)
    unsure = [row for row in np.flatnonzero(confidences < triggers).tolist() if texts[row].waits is None]
    if where is not None:
        unsure = [row for row in unsure if where(batch.ids[row, : batch.state[NEW, row]])]
    if unsure:
        best, ids = (x.cpu().numpy() for x in best_of(probabilities[unsure], width))  # (U, W) each
        for row, own, candidates in zip(unsure, best, ids.astype(np.int32), strict=True):
            texts[row].waits = Decision(int(batch.state[NEW, row]), candidates, own)
    return tokens, confidences


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A text that stands still, its decision, and the same as a guide is asked about it."""

    text: _Text
    decision: Decision
    question: Question

    def asking(self, guide: str) -> list[Walk]:
        """The walks of a guide whose trigger is above the top-1 probability."""
        confidence = self.decision.probabilities[0]
        return [walk for walk in self.text.walks if walk.guide == guide and confidence < walk.trigger]


def _waiting(batch: Batch, row: int) -> _Waiting:
    request = batch.live[row]
    text: _Text = request.key
    assert text.waits is not None
    ids = np.concatenate([request.context[: request.start], batch.ids[row, : batch.state[NEW, row]]])
    return _Waiting(text, text.waits, Question(text, text.request, ids, text.waits.candidates))


def _decide(batch: Batch, rows: list[int], values: Mapping[str, Values]) -> list[tuple[Request, Completion]]:
    """Make the decisions of the waiting `rows`; returns what ended.

    A row goes on with the walks that choose one token; the walks that choose another one get a fork of the row.
    """
    # 1. The tokens that the walks choose.
    waiting = [_waiting(batch, row) for row in rows]
    chosen = _choose(waiting, values)

    # 2. Split each row by token. A fork's text starts in the caches as a copy, before the row's own text is let go.
    tokens: list[int] = []
    ended: list[tuple[Request, Completion]] = []
    forks: list[Fork] = []
    for row, own, by_token in zip(rows, waiting, chosen, strict=True):
        request, text, confidence = batch.live[row], own.text, own.decision.probabilities[0]
        parting = batch.part(row, by_token)
        tokens.append(parting.kept)
        others = {
            token: replace(request, key=_Text(text.request, by_token[token]))
            for token in (*parting.forked, *parting.ending)
        }
        ended += [(others[token], batch.ending(row, token, confidence)) for token in parting.ending]
        forks += [Fork(request, others[token], token, confidence) for token in parting.forked]
        text.keep(by_token[parting.kept])
        for name, scorer in values.items():
            for token in parting.forked:
                if name in others[token].key.guides:
                    scorer.fork(text, others[token].key)
            if name not in text.guides:
                scorer.release(text)

    # 3. Append the tokens, then fork: a fork replaces the newest token of a row that has advanced.
    confidences = np.array([own.decision.probabilities[0] for own in waiting])
    ended += batch.advance(np.array(rows), np.array(tokens), confidences)
    for fork in forks:
        batch.fork(fork)
    return ended


def _choose(waiting: Sequence[_Waiting], values: Mapping[str, Values]) -> list[dict[int, _Walks]]:
    """For each text that waits, its walks by the token that they choose, each with this decision if it made it."""
    # 1. A walk whose trigger is not above the probability takes the most probable token; the others ask their guide.
    chosen = [dict.fromkeys(own.text.walks, int(own.decision.candidates[0])) for own in waiting]
    for name, scorer in values.items():
        asking = [i for i, own in enumerate(waiting) if own.asking(name)]
        scored = scorer.rate([waiting[i].question for i in asking]) if asking else []
        for i, scores in zip(asking, scored, strict=True):
            own = waiting[i]
            for walk in own.asking(name):
                own.text.walks[walk].append(Made(own.decision, scores.values))
                chosen[i][walk] = int(own.decision.candidates[scores.best])
    # 2. By token.
    parts: list[dict[int, _Walks]] = [{} for _ in waiting]
    for own, by_token, tokens in zip(waiting, parts, chosen, strict=True):
        for walk, token in tokens.items():
            by_token.setdefault(token, {})[walk] = own.text.walks[walk]
    return parts
