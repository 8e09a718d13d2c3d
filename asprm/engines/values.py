"""Values: the scores that a reward model gives to the candidates of a decision (`asprm.engines.guided`).

`values_of` makes a `Values` of any kind of guide. `CachedValues` runs a PRM with a cache of its own, which catches up
with a text only when a decision comes; one forward then scores all candidates. `RatedValues` asks a `Rater`, which
needs no cache here.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from transformers import PreTrainedModel

from asprm.engines.executor import Executor
from asprm.engines.executors import load_executor
from asprm.engines.packed import common_length
from asprm.engines.protocol import Request
from asprm.engines.rows import Rows


@dataclass(frozen=True, eq=False)
class Question:
    """A decision that waits for scores.

    text: identifies the text in the calls of `Values`.
    request: the prompt's.
    ids: (L,) int32, the prompt and the solution so far.
    candidates: (W,) int32, the most probable next tokens, the most probable first.
    """

    text: Hashable
    request: Request
    ids: np.ndarray
    candidates: np.ndarray

    @property
    def solution(self) -> np.ndarray:
        """The solution's ids so far, (T,) int32."""
        return self.ids[self.request.start :]


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores (W,) float32 in [0, 1] of a question's candidates, and the index of the best, the first of equals."""

    values: np.ndarray
    best: int


@runtime_checkable
class Rater(Protocol):
    """A reward model that rates candidates by the text that they make, whatever its tokenizer."""

    def rate(self, questions: Sequence[Question]) -> list[np.ndarray]:
        """Scores (W,) in [0, 1] per question."""
        ...


@runtime_checkable
class Translator(Protocol):
    """A PRM that is scored at the last token of a text and reads other tokens than the policy's."""

    executor: Executor

    def translate(self, questions: Sequence[Question]) -> list[list[np.ndarray]]:
        """Per question and candidate the ids (L,) int32 that the PRM reads: prompt, solution and the candidate."""
        ...


Guide = PreTrainedModel | Executor | Translator | Rater
"""A reward model as guided decoding takes it. A model or an executor is a PRM over the policy's own tokens."""


class Values(Protocol):
    """A guide at work. A call of `begin` starts a decoding; the other calls name its texts."""

    def begin(self, lent: ExitStack) -> None:
        """Start with an empty cache; what it borrows is given back when `lent` is closed."""
        ...

    def rate(self, questions: Sequence[Question]) -> list[Scores]:
        """The scores of each question; no two questions are of the same text."""
        ...

    def fork(self, text: Hashable, copy: Hashable) -> None:
        """A text `copy` begins as `text` does."""
        ...

    def release(self, text: Hashable) -> None:
        """Forget the text."""
        ...


def values_of(guide: Guide, vocabulary: int) -> Values:
    """The guide at work. vocabulary: the policy's number of tokens.

    ValueError: a PRM without a head of one label, or one of another vocabulary that is no `Translator`.
    """
    if isinstance(guide, Rater):
        return RatedValues(guide)
    if isinstance(guide, Translator):
        return CachedValues(guide.executor, guide)
    values = CachedValues(guide if isinstance(guide, Executor) else load_executor(guide))
    size = values.executor.config.vocab_size
    if size != vocabulary:
        raise ValueError(
            f"tvd: the PRM has a vocabulary of {size} tokens and the policy one of {vocabulary}; "
            "expected a PRM that reads the policy's tokens"
        )
    return values


@dataclass(frozen=True, eq=False)
class _Held:
    """What the cache holds of a text: ids (L,) int32, in this row."""

    row: int
    ids: np.ndarray


@dataclass(frozen=True, eq=False)
class _Reading:
    """What the PRM reads for a question.

    shared: (L,) ids, the same whichever candidate follows. ends: the rest for each candidate, one token or more.
    """

    shared: np.ndarray
    ends: list[np.ndarray]

    @property
    def single(self) -> np.ndarray:
        """The ends of one token, (S,) int32."""
        return np.array([end[0] for end in self.ends if len(end) == 1], np.int32)

    @property
    def longer(self) -> list[np.ndarray]:
        """The ends of several tokens."""
        return [end for end in self.ends if len(end) > 1]


@dataclass(frozen=True, eq=False)
class _Branch:
    """An end of several tokens, read after the first `length` tokens of a row."""

    row: int
    length: int
    end: np.ndarray


class CachedValues:
    """The values of a PRM with a cache row for every text that came to a decision.

    translator: says what the PRM reads; None: it reads the policy's tokens.
    ValueError: the PRM's head has not one label.
    """

    def __init__(self, executor: Executor, translator: Translator | None = None) -> None:
        self.executor, self.translator = executor, translator
        if executor.config.num_labels != 1:
            raise ValueError(f"tvd: the PRM has {executor.config.num_labels} labels, expected a head with one")

    def begin(self, lent: ExitStack) -> None:
        """See `Values`."""
        # An accelerator's memory must not stay with a spare cache: the rows of the policy are counted by what is free.
        lends = self.executor.device.type == "cpu"
        self.rows = lent.enter_context(self.executor.lend()) if lends else Rows(self.executor.shape)
        self.held: dict[Hashable, _Held] = {}
        self.last: _Held | None = None  # the last text that was released: new texts may begin as it did
        self.free = list(range(self.rows.count))

    def rate(self, questions: Sequence[Question]) -> list[Scores]:
        """See `Values`. ValueError: a text is longer than the PRM's positions."""
        # 1. What to read, and in which row. A text keeps its row, of which the common beginning is not read again. A
        #    new text begins with what it has in common with another one.
        readings = self._readings(questions)
        longest = max(len(x.shared) + max(map(len, x.ends)) - 1 for x in readings)
        if longest >= self.executor.positions:
            raise ValueError(
                f"tvd: a decision comes after {longest} tokens, but the PRM has {self.executor.positions} positions; "
                "lower max_new_tokens or take a PRM with more"
            )
        held = [
            self.held.get(question.text) or self._begun(reading.shared)
            for question, reading in zip(questions, readings, strict=True)
        ]
        starts = [common_length(x.ids, reading.shared) for x, reading in zip(held, readings, strict=True)]

        # 2. Read. Ends of one token are branches of the text's own row; longer ones are read in forks of it.
        rows = [x.row for x in held]
        chunks = [reading.shared[start:] for reading, start in zip(readings, starts, strict=True)]
        outputs = self.executor.read(self.rows, rows, starts, chunks, [reading.single for reading in readings])
        branches = [
            _Branch(row, len(reading.shared), end)
            for row, reading in zip(rows, readings, strict=True)
            for end in reading.longer
        ]
        outputs = [*outputs, *self._read_forks(branches)]
        for question, row, reading in zip(questions, rows, readings, strict=True):
            self.held[question.text] = _Held(row, reading.shared)

        # 3. One number per candidate, N in all. Ends of one token came first: back to the order of the candidates.
        logits = torch.cat([x for x in outputs if len(x)])[:, 0]  # (N,)
        longer = [len(end) > 1 for reading in readings for end in reading.ends]
        order = np.argsort(longer, kind="stable").argsort()
        cuts = np.cumsum([len(reading.ends) for reading in readings])[:-1]
        by_logit, by_score = (np.split(x.cpu().numpy()[order], cuts) for x in (logits, logits.sigmoid()))
        # The best by logits: sigmoids of different logits may round to the same number.
        return [Scores(values, int(best.argmax())) for values, best in zip(by_score, by_logit, strict=True)]

    def _begun(self, ids: np.ndarray) -> _Held:
        """A row for a new text, with as much of its ids as another text begins with: prompts often begin alike."""
        others = [*self.held.values(), *([self.last] if self.last else [])]
        row = self._take()
        if not others:
            return _Held(row, ids[:0])
        lengths = [common_length(other.ids, ids) for other in others]
        nearest = int(np.argmax(lengths))
        self.rows.copy(row, self.rows, others[nearest].row, lengths[nearest])
        return _Held(row, ids[: lengths[nearest]])

    def _readings(self, questions: Sequence[Question]) -> list[_Reading]:
        if self.translator is None:
            return [_Reading(x.ids, list(x.candidates[:, None])) for x in questions]
        readings = []
        for texts in self.translator.translate(questions):
            shared = min(common_length(texts[0], text) for text in texts)
            shared = min(shared, *(len(text) - 1 for text in texts))  # an end has one token at least
            readings.append(_Reading(texts[0][:shared], [text[shared:] for text in texts]))
        return readings

    def _read_forks(self, branches: Sequence[_Branch]) -> list[torch.Tensor]:
        """The output (1, 1) after each branch."""
        if not branches:
            return []
        taken = [self._take() for _ in branches]
        for place, branch in zip(taken, branches, strict=True):
            self.rows.copy(place, self.rows, branch.row, branch.length)
        starts, ends = [x.length for x in branches], [x.end for x in branches]
        outputs = self.executor.read(self.rows, taken, starts, [x[:-1] for x in ends], [x[-1:] for x in ends])
        self.free += taken
        return outputs

    def fork(self, text: Hashable, copy: Hashable) -> None:
        """See `Values`."""
        if text in self.held:
            held, row = self.held[text], self._take()
            self.rows.copy(row, self.rows, held.row, len(held.ids))
            self.held[copy] = _Held(row, held.ids)

    def release(self, text: Hashable) -> None:
        """See `Values`."""
        if text in self.held:
            if self.last:
                self.free.append(self.last.row)
            self.last = self.held.pop(text)

    def _take(self) -> int:
        """A free row; when there is none, the cache doubles."""
        if not self.free:
            count = self.rows.count
            self.rows.reserve(2 * count + 1, 0)
            self.free += range(count, self.rows.count)
        return self.free.pop()


class RatedValues:
    """The values of a `Rater`."""

    def __init__(self, rater: Rater) -> None:
        self.rater = rater

    def begin(self, lent: ExitStack) -> None:
        """Nothing to do: a rater keeps nothing of a text."""

    def rate(self, questions: Sequence[Question]) -> list[Scores]:
        """See `Values`."""
        return [Scores(values, int(np.argmax(values))) for values in self.rater.rate(questions)]

    def fork(self, text: Hashable, copy: Hashable) -> None:
        """Nothing to do."""

    def release(self, text: Hashable) -> None:
        """Nothing to do."""
