"""Guides: how guided decoding asks a reward model for the value of a candidate token, whichever tokenizer it reads."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from asprm.engines.executor import Executor
from asprm.engines.executors import load_executor
from asprm.engines.guided import Asked
from asprm.engines.local import LocalEngine
from asprm.reward.published import Scorer, StepTagPRM, Text, TokenScorer, scorer_for
from asprm.reward.score import PRM, Item, check, limits


def guide_for(prm: PRM | StepTagPRM, engine: LocalEngine, template: str | None = None) -> Guide:
    """What `guided_decode` asks of a reward model, whichever kind. One that reads the policy's tokens, or others and is
    scored at the last one, reads on in its cache; any other one reads the text with each candidate appended.
    template: as `asprm.reward.published.scorer_for` takes it.
    """
    scorer = scorer_for(prm, engine.tokenizer, template)
    if isinstance(scorer, PRM):
        if prm.model.config.vocab_size == engine.executor.config.vocab_size:
            return load_executor(prm.model)
        scorer = TokenScorer(prm, template)  # it lacks weights of tokens that the policy may consider
    kind = TokenGuide if isinstance(scorer, TokenScorer) else TextGuide
    return kind(scorer, engine.tokenizer)


class TextGuide:
    """A `Rater` (`asprm.engines.guided`) by a `Scorer` that rates texts.

    tokenizer: the policy's. A request's key is its problem. A candidate is rated at the end of the text that it makes;
    an end of text spells nothing, and the text has come to its end there.
    """

    def __init__(self, scorer: Scorer, tokenizer: Any) -> None:
        self.scorer, self.tokenizer = scorer, tokenizer

    def rate(self, asked: Asked) -> list[np.ndarray]:
        """Scores (M,) float32 per decision."""
        found = np.concatenate(list(self.scorer.rate(_texts(asked, self.tokenizer))))
        return np.split(found, np.cumsum([len(candidates) for *_, candidates in asked])[:-1])


class TokenGuide:
    """A `Translator` (`asprm.engines.guided`) of a PRM that is scored at its own tokens: what `TextGuide` gives, read on.

    tokenizer: the policy's. A request's key is its problem.
    """

    def __init__(self, scorer: TokenScorer, tokenizer: Any) -> None:
        self.scorer, self.tokenizer = scorer, tokenizer
        self.executor, self.limits = load_executor(scorer.prm.model), limits(scorer.prm.model)

    def translate(self, asked: Asked) -> list[list[np.ndarray]]:
        """The ids (L,) int32 of each decision's candidates. ValueError: the PRM cannot read them."""
        found = self.scorer.whole(_texts(asked, self.tokenizer))
        for number, ids in enumerate(found):
            check(Item(ids[:0], ids, [len(ids)]), *self.limits, f"text {number}")
        each = iter(found)
        return [list(islice(each, len(candidates))) for *_, candidates in asked]


Guide = Executor | TokenGuide | TextGuide


def _texts(asked: Asked, tokenizer: Any) -> list[Text]:
    """What each decision's candidates make of its text, to be rated at its end."""
    rows = [np.append(ids, one) for _, ids, candidates in asked for one in candidates]
    problems = [request.key.prompt for request, _, candidates in asked for _ in candidates]
    spelled = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [
        Text(problem, text, [len(text)], finished=row[-1] == tokenizer.eos_token_id)
        for problem, text, row in zip(problems, spelled, rows, strict=True)
    ]
