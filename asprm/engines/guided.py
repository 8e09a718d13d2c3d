"""Token-level value-guided decoding (TVD, paper §TVD): greedy, except where the policy hesitates.

Where the policy's top-1 probability is below the trigger, the PRM scores its M most probable next tokens, each appended
to the prefix, and the best-scored one is emitted: s_i = argmax_m R(q, s_<i, s_i^m). Ties go to the more probable token,
and the end of text is a candidate like any other.

Problems are decoded side by side. The policy has its cache; the PRM has one of its own, which catches up with a row's
text only when a decision comes, and the M candidates are scored in the same forward on that one prefix. A PRM that
reads other tokens than the policy's has its cache, too: what it reads anew are the last tokens, which a candidate may
change. A row that waits for the PRM stands still, so that several decisions are made together.

Nothing is drawn at random: a problem's decodings by several PRMs, or at several triggers, are one text until they
choose different tokens. `decode_together` makes them one row until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from transformers import PreTrainedModel

from asprm.engines.batch import Batch
from asprm.engines.executor import Executor
from asprm.engines.executors import load_executor
from asprm.engines.local import LocalEngine
from asprm.engines.packed import common_length
from asprm.engines.protocol import Completion, Request
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


@dataclass(frozen=True)
class Walk:
    """A decoding by one guide at one trigger. ValueError: a trigger out of range."""

    guide: str
    trigger: float

    def __post_init__(self) -> None:
        if not 0 <= self.trigger <= 1:
            raise ValueError(f"tvd: trigger is {self.trigger}, expected a probability in [0, 1]")


# Decisions: the prompt's request, the solution's ids so far (T,), candidates (M,).
Asked = Sequence[tuple[Request, np.ndarray, np.ndarray]]


class Rater(Protocol):
    """A reward model that rates candidates by what they spell, whatever its tokenizer."""

    def rate(self, asked: Asked) -> list[np.ndarray]:
        """Scores (M,) in [0, 1] per decision."""


class Translator(Protocol):
    """A PRM that is scored at its last token, and reads other tokens than the policy's."""

    executor: Executor

    def translate(self, asked: Asked) -> list[list[np.ndarray]]:
        """The ids (L,) int32 that it reads, prompt and all, for each decision's candidates, each appended."""


def guided_decode(
    engine: LocalEngine,
    prm: PreTrainedModel | Executor | Translator | Rater,
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
    `Translator` or a `Rater` serves a reward model that reads other tokens.
    requests: prompts; seeds play no part. trigger: in [0, 1]; 0 is greedy decoding. where: told the solution's ids so
    far, says whether the PRM may step in there (None: everywhere).
    ValueError: a trigger or number of candidates out of range, a PRM of another kind or vocabulary, a decision beyond
    the PRM's positions.
    """
    walk = Walk("", trigger)
    found = decode_together(
        engine,
        {walk.guide: prm},
        ((request, [walk]) for request in requests),
        candidates=candidates,
        max_new_tokens=max_new_tokens,
        where=where,
    )
    return ((request, guided[walk]) for request, guided in found)


def decode_together(
    engine: LocalEngine,
    guides: Mapping[str, PreTrainedModel | Executor | Translator | Rater],
    requests: Iterable[tuple[Request, Sequence[Walk]]],
    *,
    candidates: int = 8,
    max_new_tokens: int = 256,
    where: Callable[[np.ndarray], bool] | None = None,
) -> Iterator[tuple[Request, dict[Walk, Guided]]]:
    """`guided_decode` for all of each request's walks, which share what is equal: rows of the policy, reading, scores.

    guides: by name, each as `prm` there. Yields as they end the walks that came to the same text (the same `ids` and
    `confidences`), so that a request comes as often as its walks come to different ones.
    The cache holds at most one row for each walk of as many requests as the engine has rows.
    ValueError: as there, and a walk whose guide is not among `guides`.
    """
    if candidates < 1:
        raise ValueError(f"tvd: candidates is {candidates}, expected at least 1")
    vocabulary = engine.executor.config.vocab_size
    scorers = {name: _Rating(prm) if hasattr(prm, "rate") else _Scorer(prm, vocabulary) for name, prm in guides.items()}
    return _decode(engine, scorers, requests, min(candidates, vocabulary), max_new_tokens, where)


@dataclass(frozen=True, eq=False)
class _Decision:
    """A position below the trigger: candidates (M,) int32, best first, and their probabilities (M,) float32."""

    position: int
    candidates: np.ndarray
    probabilities: np.ndarray


_Made = list[tuple[_Decision, np.ndarray]]  # decisions, each with its scores (M,)


class _Text:
    """What is known of a row: it travels as the key of the row's request.

    walks: those that have come to this text, with the decisions that each has made. trigger: the greatest of theirs.
    waits: the decision for which the row stands still.
    """

    def __init__(self, request: Request, walks: dict[Walk, _Made]) -> None:
        self.request = request
        self.go_on(walks)

    def go_on(self, walks: dict[Walk, _Made]) -> None:
        """With these of its walks."""
        self.waits: _Decision | None = None
        self.walks, self.trigger = walks, max((walk.trigger for walk in walks), default=0.0)

    @property
    def guides(self) -> set[str]:
        return {walk.guide for walk in self.walks}

    def asking(self, guide: str) -> list[Walk]:
        """The walks of a guide that stop at the decision."""
        confidence = self.waits.probabilities[0]
        return [walk for walk in self.walks if walk.guide == guide and confidence < walk.trigger]

    def guided(self, completion: Completion, width: int) -> dict[Walk, Guided]:
        return {walk: _guided(completion, made, width) for walk, made in self.walks.items()}


def _guided(completion: Completion, made: _Made, width: int) -> Guided:
    def table(rows: list[np.ndarray], dtype: type) -> np.ndarray:
        return np.array(rows, dtype).reshape(-1, width)

    return Guided(
        completion.ids,
        completion.confidences,
        completion.finished,
        np.array([decision.position for decision, _ in made], np.int32),
        table([decision.candidates for decision, _ in made], np.int32),
        table([decision.probabilities for decision, _ in made], np.float32),
        table([scores for _, scores in made], np.float32),
    )


def _decode(
    engine: LocalEngine,
    scorers: Mapping[str, _Scorer | _Rating],
    requests: Iterable[tuple[Request, Sequence[Walk]]],
    width: int,
    max_new_tokens: int,
    where: Callable[[np.ndarray], bool] | None,
) -> Iterator[tuple[Request, dict[Walk, Guided]]]:
    queue = (replace(request, key=_start(request, walks, scorers)) for request, walks in requests)
    with engine.batch(max_new_tokens) as batch, ExitStack() as lent:
        for scorer in scorers.values():
            scorer.begin(lent)
        while True:
            batch.admit(list(islice(queue, batch.room)))
            if not batch.live:
                return
            texts: list[_Text] = [request.key for request in batch.live]
            tokens, confidences = _hesitate(batch, texts, width, where)
            waiting = np.array([text.waits is not None for text in texts])
            sure = np.flatnonzero(~waiting)
            ended = batch.advance(sure, tokens[sure], confidences[sure])
            if waiting.sum() > (len(texts) - len(ended)) // _SHARE:
                ended += _decide(batch, np.flatnonzero(waiting), scorers)
            for request, completion in ended:
                for scorer in scorers.values():
                    scorer.release(request.key)
                yield request.key.request, request.key.guided(completion, width)


def _start(request: Request, walks: Sequence[Walk], scorers: Mapping[str, _Scorer | _Rating]) -> _Text:
    if unknown := {walk.guide for walk in walks} - scorers.keys():
        raise ValueError(f"tvd: walks by {sorted(unknown)}, but the guides are {sorted(scorers)}")
    return _Text(request, {walk: [] for walk in walks})


@torch.inference_mode()
def _hesitate(
    batch: Batch, texts: Sequence[_Text], width: int, where: Callable[[np.ndarray], bool] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Each row's most probable token and its probability; rows that newly fall below their trigger begin to wait."""
    probabilities = batch.step().softmax(-1)
    confidences, tokens = probabilities.max(-1)
    both = torch.stack([tokens.int(), confidences.view(torch.int32)]).cpu().numpy()
    tokens, confidences = both[0], both[1].view(np.float32)
    triggers = np.array([text.trigger for text in texts], np.float32)
    unsure = [row for row in np.flatnonzero(confidences < triggers) if texts[row].waits is None]
    if where is not None:
        unsure = [row for row in unsure if where(batch.ids[row, : batch.state[2, row]])]
    if unsure:
        values, ids = (x.cpu().numpy() for x in _best(probabilities[unsure], width))
        for row, value, best in zip(unsure, values, ids.astype(np.int32), strict=True):
            texts[row].waits = _Decision(int(batch.state[2, row]), best, value)
    return tokens, confidences


def _best(probabilities: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `width` greatest of each row, (B, V) float32, and where they stand; of equals the first, as argmax takes."""
    # topk takes any of equals, so they are made unequal: a positive number's bits are in its order.
    places = torch.arange(probabilities.shape[-1], device=probabilities.device)
    order = (probabilities.view(torch.int32).long() << 32) - places
    best = order.topk(width).indices
    return probabilities.gather(-1, best), best


def _decide(
    batch: Batch, rows: np.ndarray, scorers: Mapping[str, _Scorer | _Rating]
) -> list[tuple[Request, Completion]]:
    """Let the waiting `rows` go on, each in as many forks as its walks choose tokens; returns what ended."""
    texts = [batch.live[row].key for row in rows]
    confidences = np.array([text.waits.probabilities[0] for text in texts])
    chosen = _choose(texts, [_ids(batch, row) for row in rows], scorers)
    tokens, ended, forks = [], [], []
    for row, text, confidence, parts in zip(rows, texts, confidences, chosen, strict=True):
        request = batch.live[row]
        kept, forked, ending = batch.part(row, parts)
        tokens.append(kept)
        others = {token: replace(request, key=_Text(text.request, parts[token])) for token in (*forked, *ending)}
        ended += [(others[token], batch.ending(row, token, confidence)) for token in ending]
        forks += [(request, others[token], token, confidence) for token in forked]
        text.go_on(parts[kept])
        for name, scorer in scorers.items():
            for token in forked:
                if name in others[token].key.guides:
                    scorer.fork(text, others[token].key)
            if name not in text.guides:
                scorer.release(text)
    ended += batch.advance(rows, np.array(tokens), confidences)
    for fork in forks:
        batch.fork(*fork)
    return ended


def _choose(
    texts: Sequence[_Text], ids: Sequence[np.ndarray], scorers: Mapping[str, _Scorer | _Rating]
) -> list[dict[int, dict[Walk, _Made]]]:
    """For each text that waits, after its `ids`: its walks by the token that they choose, this decision included."""
    chosen = [dict.fromkeys(text.walks, int(text.waits.candidates[0])) for text in texts]
    for name, scorer in scorers.items():
        asking = [i for i, text in enumerate(texts) if text.asking(name)]
        found = scorer.rate([texts[i] for i in asking], [ids[i] for i in asking]) if asking else []
        for i, (scores, best) in zip(asking, found, strict=True):
            decision = texts[i].waits
            for walk in texts[i].asking(name):
                texts[i].walks[walk].append((decision, scores))
                chosen[i][walk] = int(decision.candidates[best])
    parts: list[dict[int, dict[Walk, _Made]]] = [{} for _ in texts]
    for text, part, tokens in zip(texts, parts, chosen, strict=True):
        for walk, token in tokens.items():
            part.setdefault(token, {})[walk] = text.walks[walk]
    return parts


def _ids(batch: Batch, row: int) -> np.ndarray:
    """The row's prompt and what follows it so far."""
    request = batch.live[row]
    return np.concatenate([request.context[: request.start], batch.ids[row, : batch.state[2, row]]])


class _Scorer:
    """The PRM with a cache row for every text that has come to a decision."""

    def __init__(self, prm: PreTrainedModel | Executor | Translator, vocabulary: int) -> None:
        self.translate = getattr(prm, "translate", None)
        if self.translate:
            prm = prm.executor
        self.executor = prm if isinstance(prm, Executor) else load_executor(prm)
        config = self.executor.config
        if config.num_labels != 1:
            raise ValueError(f"tvd: the PRM has {config.num_labels} labels, expected a head with one")
        if not self.translate and config.vocab_size != vocabulary:
            raise ValueError(
                f"tvd: the PRM has a vocabulary of {config.vocab_size} tokens and the policy one of {vocabulary}; "
                "expected a PRM that reads the policy's tokens"
            )

    def begin(self, lent: ExitStack) -> None:
        """With an empty cache, which is given back when `lent` is closed."""
        # What an accelerator's cache takes would be missing where rows for the policy are counted.
        lends = self.executor.device.type == "cpu"
        self.rows = lent.enter_context(self.executor.lend()) if lends else Rows(self.executor.shape)
        self.held: dict[_Text, tuple[int, np.ndarray]] = {}  # its row, and the ids that this holds
        self.free = list(range(self.rows.count))

    def rate(self, texts: Sequence[_Text], ids: Sequence[np.ndarray]) -> list[tuple[np.ndarray, int]]:
        """For each text that waits, after its `ids`: its candidates' scores (M,), and which is the best."""
        known, ends = self._parted(texts, ids)
        longest = max(len(seen) + max(map(len, some)) - 1 for seen, some in zip(known, ends, strict=True))
        if longest >= self.executor.positions:
            raise ValueError(
                f"tvd: a decision comes after {longest} tokens, but the PRM has {self.executor.positions} positions; "
                "lower max_new_tokens or take a PRM with more"
            )
        nothing = np.empty(0, np.int32)
        index, held = zip(*(self.held.get(text) or (self._take(), nothing) for text in texts), strict=True)
        starts = [common_length(before, seen) for before, seen in zip(held, known, strict=True)]
        chunks = [seen[start:] for seen, start in zip(known, starts, strict=True)]
        # What ends in one token is a branch of the text's own row; what ends in several is read in a fork of it.
        single = [[end[0] for end in some if len(end) == 1] for some in ends]
        outputs = self.executor.read(self.rows, index, starts, chunks, [np.array(x, np.int32) for x in single])
        longer = [(row, len(seen), end) for row, seen, some in zip(index, known, ends, strict=True)
                  for end in some if len(end) > 1]  # fmt: skip
        outputs += self._read_forks(longer)
        self.held |= {text: (row, seen) for text, row, seen in zip(texts, index, known, strict=True)}
        found = torch.cat([x for x in outputs if len(x)])[:, 0]
        # Those of a single token came first: back to the candidates' order.
        order = np.argsort([len(end) > 1 for some in ends for end in some], kind="stable").argsort()
        cuts = np.cumsum([len(some) for some in ends])[:-1]
        logits, scores = (np.split(x.cpu().numpy()[order], cuts) for x in (found, found.sigmoid()))
        return [(mine, int(some.argmax())) for mine, some in zip(scores, logits, strict=True)]  # the first of equals

    def _parted(
        self, texts: Sequence[_Text], ids: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
        """For each text what the PRM reads whichever candidate follows (L,), and what with each, a token at least."""
        if not self.translate:
            return list(ids), [list(text.waits.candidates[:, None]) for text in texts]
        asked = [(x.request, seen[x.request.start :], x.waits.candidates) for x, seen in zip(texts, ids, strict=True)]
        known, ends = [], []
        for candidates in self.translate(asked):
            shared = min(common_length(candidates[0], one) for one in candidates)
            shared = min(shared, *(len(one) - 1 for one in candidates))
            known.append(candidates[0][:shared])
            ends.append([one[shared:] for one in candidates])
        return known, ends

    def _read_forks(self, asked: Sequence[tuple[int, int, np.ndarray]]) -> list[torch.Tensor]:
        """The output after `end` where it follows the first `length` tokens of `row`: (row, length, end) each."""
        if not asked:
            return []
        taken = [self._take() for _ in asked]
        for place, (row, length, _) in zip(taken, asked, strict=True):
            self.rows.copy(place, self.rows, row, length)
        _, starts, ends = zip(*asked, strict=True)
        found = self.executor.read(self.rows, taken, starts, [end[:-1] for end in ends], [end[-1:] for end in ends])
        self.free += taken
        return found

    def fork(self, text: _Text, other: _Text) -> None:
        """The other text begins as this one does."""
        if text in self.held:
            source, ids = self.held[text]
            row = self._take()
            self.rows.copy(row, self.rows, source, len(ids))
            self.held[other] = row, ids

    def release(self, text: _Text) -> None:
        if text in self.held:
            self.free.append(self.held.pop(text)[0])

    def _take(self) -> int:
        if not self.free:
            count = self.rows.count
            self.rows.reserve(2 * count + 1, 0)
            self.free += range(count, self.rows.count)
        return self.free.pop()


class _Rating:
    """A `Rater` in the place of `_Scorer`."""

    def __init__(self, rater: Rater) -> None:
        self.rater = rater

    def begin(self, lent: ExitStack) -> None:
        pass

    def rate(self, texts: Sequence[_Text], ids: Sequence[np.ndarray]) -> list[tuple[np.ndarray, int]]:
        """As `_Scorer.rate`."""
        asked = [(x.request, seen[x.request.start :], x.waits.candidates) for x, seen in zip(texts, ids, strict=True)]
        return [(scores, int(np.argmax(scores))) for scores in self.rater.rate(asked)]

    def fork(self, text: _Text, other: _Text) -> None:
        pass

    def release(self, text: _Text) -> None:
        pass
