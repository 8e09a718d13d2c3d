"""Token-level value-guided decoding (TVD, paper §TVD): greedy, except where the policy hesitates.

Where the policy's top-1 probability is below the trigger, the PRM scores its M most probable next tokens, each appended
to the prefix, and the best-scored one is emitted: s_i = argmax_m R(q, s_<i, s_i^m). Ties go to the more probable token,
and the end of text is a candidate like any other.

Problems are decoded side by side. The policy has its cache; the PRM has one of its own, which catches up with a row's
text only when a decision comes, and the M candidates are scored in the same forward on that one prefix. A row that
waits for the PRM stands still, so that several decisions are made together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from transformers import PreTrainedModel

from asprm.engines import Completion, Request
from asprm.engines.batch import Batch
from asprm.engines.executor import Executor, load_executor
from asprm.engines.local import LocalEngine
from asprm.engines.rows import Rows

_SHARE = 16  # one in this many rows waits before the PRM is asked


@dataclass(frozen=True, eq=False)
class Guided:
    """One prompt's guided decoding: T tokens, D decisions, M candidates each.

    ids: (T,) int32, the end-of-text token included when the text came to its end (`finished`). confidences: (T,)
    float32, the policy's top-1 probability at each position, whichever token was emitted. decisions: (D,) int32, the
    positions in `ids` where it was below the trigger. candidates: (D, M) int32, the most probable tokens there, best
    first; probabilities: (D, M) float32, the policy's; scores: (D, M) float32 in [0, 1], the PRM's.
    """

    ids: np.ndarray
    confidences: np.ndarray
    finished: bool
    decisions: np.ndarray
    candidates: np.ndarray
    probabilities: np.ndarray
    scores: np.ndarray

    @property
    def changed(self) -> np.ndarray:
        """The decisions at which another than the most probable token was emitted."""
        return self.decisions[self.ids[self.decisions] != self.candidates[:, 0]]


class Rater(Protocol):
    """A reward model that rates candidates by what they spell, whatever its tokenizer."""

    def rate(self, asked: Sequence[tuple[Request, np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        """Scores (M,) in [0, 1] per decision: (prompt's request, ids of the solution so far (T,), candidates (M,))."""


def guided_decode(
    engine: LocalEngine,
    prm: PreTrainedModel | Executor | Rater,
    requests: Iterable[Request],
    *,
    trigger: float,
    candidates: int = 8,
    max_new_tokens: int = 256,
    where: Callable[[np.ndarray], bool] | None = None,
) -> Iterator[tuple[Request, Guided]]:
    """Decode the requests, in the order in which they end; they are pulled only when there is room for them.

    prm: a token classification model with one label over the policy's own vocabulary; its sigmoid at a token is the
    score of the text up to there. Its executor (`load_executor`) does as well, and need not be made at every call. A
    `Rater` serves a reward model that reads other tokens.
    requests: prompts; seeds play no part. trigger: in [0, 1]; 0 is greedy decoding. where: told the solution's ids so
    far, says whether the PRM may step in there (None: everywhere).
    ValueError: a trigger or number of candidates out of range, a PRM of another kind or vocabulary, a decision beyond
    the PRM's positions.
    """
    if not 0 <= trigger <= 1:
        raise ValueError(f"tvd: trigger is {trigger}, expected a probability in [0, 1]")
    if candidates < 1:
        raise ValueError(f"tvd: candidates is {candidates}, expected at least 1")
    scorer = _Rating(prm) if hasattr(prm, "rate") else _Scorer(prm, engine.executor.config.vocab_size)
    return _decode(engine, scorer, requests, trigger, candidates, max_new_tokens, where)


@dataclass(eq=False)
class _Text:
    """What is known of a row: it travels as the key of the row's request."""

    request: Request
    row: int | None = None  # the PRM's row for it, from the first decision on
    read: int = 0  # how many tokens that row holds
    waits: bool = False
    positions: list[int] = field(default_factory=list)
    candidates: list[np.ndarray] = field(default_factory=list)
    probabilities: list[np.ndarray] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)

    def guided(self, completion: Completion, width: int) -> Guided:
        def table(rows: list[np.ndarray], dtype: type) -> np.ndarray:
            return np.array(rows, dtype).reshape(-1, width)

        return Guided(
            completion.ids,
            completion.confidences,
            completion.finished,
            np.array(self.positions, np.int32),
            table(self.candidates, np.int32),
            table(self.probabilities, np.float32),
            table(self.scores, np.float32),
        )


def _decode(
    engine: LocalEngine,
    scorer: _Scorer | _Rating,
    requests: Iterable[Request],
    trigger: float,
    candidates: int,
    max_new_tokens: int,
    where: Callable[[np.ndarray], bool] | None,
) -> Iterator[tuple[Request, Guided]]:
    width = min(candidates, engine.executor.config.vocab_size)
    queue = (replace(request, key=_Text(request)) for request in requests)
    with engine.batch(max_new_tokens) as batch:
        while True:
            batch.admit(list(islice(queue, batch.room)))
            if not batch.live:
                return
            texts: list[_Text] = [request.key for request in batch.live]
            tokens, confidences = _hesitate(batch, texts, trigger, width, where)
            waiting = np.array([text.waits for text in texts])
            sure = np.flatnonzero(~waiting)
            ended = batch.advance(sure, tokens[sure], confidences[sure])
            if waiting.sum() > (len(texts) - len(ended)) // _SHARE:
                asked = np.flatnonzero(waiting)
                asking = [texts[row] for row in asked]
                chosen = scorer.choose(asking, [_ids(batch, row) for row in asked])
                ended += batch.advance(asked, chosen, np.array([text.probabilities[-1][0] for text in asking]))
            for request, completion in ended:
                scorer.release(request.key)
                yield request.key.request, request.key.guided(completion, width)


@torch.inference_mode()
def _hesitate(
    batch: Batch, texts: Sequence[_Text], trigger: float, width: int, where: Callable[[np.ndarray], bool] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Each row's most probable token and its probability; rows that newly fall below the trigger begin to wait."""
    probabilities = batch.step()[0].softmax(-1)
    confidences, tokens = probabilities.max(-1)
    both = torch.stack([tokens.int(), confidences.view(torch.int32)]).cpu().numpy()
    tokens, confidences = both[0], both[1].view(np.float32)
    unsure = [row for row in np.flatnonzero(confidences < trigger) if not texts[row].waits]
    if where is not None:
        unsure = [row for row in unsure if where(batch.ids[row, : batch.state[3, row]])]
    if unsure:
        # A stable sort, so that of equally probable tokens the lower id comes first, as it does in argmax.
        best = probabilities[unsure].sort(descending=True, stable=True)
        for row, values, ids in zip(unsure, best.values[:, :width].cpu(), best.indices[:, :width].cpu(), strict=True):
            text = texts[row]
            text.waits = True
            text.positions.append(int(batch.state[3, row]))
            text.candidates.append(ids.numpy().astype(np.int32))
            text.probabilities.append(values.numpy())
    return tokens, confidences


def _ids(batch: Batch, row: int) -> np.ndarray:
    """The row's prompt and what follows it so far."""
    request = batch.live[row]
    return np.concatenate([request.context[: request.start], batch.ids[row, : batch.state[3, row]]])


class _Scorer:
    """The PRM with a cache row for every text that has come to a decision."""

    def __init__(self, prm: PreTrainedModel | Executor, vocabulary: int) -> None:
        self.executor = prm if isinstance(prm, Executor) else load_executor(prm)
        config = self.executor.config
        if config.num_labels != 1:
            raise ValueError(f"tvd: the PRM has {config.num_labels} labels, expected a head with one")
        if config.vocab_size != vocabulary:
            raise ValueError(
                f"tvd: the PRM has a vocabulary of {config.vocab_size} tokens and the policy one of {vocabulary}; "
                "expected a PRM that reads the policy's tokens"
            )
        self.rows = Rows(self.executor.shape)
        self.free: list[int] = []
        self.taken = 0

    def choose(self, texts: Sequence[_Text], ids: Sequence[np.ndarray]) -> np.ndarray:
        """The best-scored of each text's last candidates, after its ids so far; scores are written to the text."""
        longest = max(map(len, ids))
        if longest >= self.executor.positions:
            raise ValueError(
                f"tvd: a decision comes after {longest} tokens, but the PRM has {self.executor.positions} positions; "
                "lower max_new_tokens or take a PRM with more"
            )
        for text in texts:
            if text.row is None:
                text.row = self.free.pop() if self.free else self.taken
                self.taken = max(self.taken, text.row + 1)
        if self.taken > self.rows.count:
            self.rows.reserve(2 * self.taken, 0)
        branches = [text.candidates[-1] for text in texts]
        chunks = [seen[text.read :] for text, seen in zip(texts, ids, strict=True)]
        outputs = self.executor.read(
            self.rows, [text.row for text in texts], [text.read for text in texts], chunks, branches
        )
        logits = torch.stack(outputs)[..., 0]
        scores, best = logits.sigmoid().cpu().numpy(), logits.cpu().numpy().argmax(-1)  # argmax: the first of equals
        for text, seen, row in zip(texts, ids, scores, strict=True):
            text.waits, text.read = False, len(seen)
            text.scores.append(row)
        return np.array([ids[i] for ids, i in zip(branches, best, strict=True)])

    def release(self, text: _Text) -> None:
        if text.row is not None:
            self.free.append(text.row)


class _Rating:
    """A `Rater` in the place of `_Scorer`."""

    def __init__(self, rater: Rater) -> None:
        self.rater = rater

    def choose(self, texts: Sequence[_Text], ids: Sequence[np.ndarray]) -> np.ndarray:
        """As `_Scorer.choose`."""
        asked = [(x.request, seen[x.request.start :], x.candidates[-1]) for x, seen in zip(texts, ids, strict=True)]
        scores = self.rater.rate(asked)
        for text, row in zip(texts, scores, strict=True):
            text.waits = False
            text.scores.append(row)
        return np.array([text.candidates[-1][int(np.argmax(row))] for text, row in zip(texts, scores, strict=True)])

    def release(self, text: _Text) -> None:
        pass
