"""Guides: how guided decoding asks a reward model for the scores of candidate tokens, whichever tokenizer it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from asprm.engines.executors import load_executor
from asprm.engines.load import load_engine
from asprm.engines.protocol import Engine
from asprm.engines.values import Guide, Question
from asprm.reward.published import Scorer, StepTagPRM, Text, TokenScorer, load_reward_model, scorer_for
from asprm.reward.score import PRM, Item, check, limits


def guide_for(prm: PRM | StepTagPRM, engine: Engine, template: str | None = None) -> Guide:
    """A reward model of either kind, as `guided_decode` takes it.

    A PRM that is scored at a solution's last token goes on from what it has in its cache, also if it reads other tokens
    than the policy's. Any other reward model reads the whole text with each candidate appended.

    prm: the reward model.
    engine: of the policy.
    template: see `asprm.reward.published.scorer_for`.
    """
    scorer = scorer_for(prm, engine.tokenizer, template)
    if isinstance(scorer, PRM):
        if scorer.model.config.vocab_size == engine.vocabulary:
            return load_executor(scorer.model)
        scorer = TokenScorer(scorer, template)  # it lacks weights of tokens that the policy may consider
    if isinstance(scorer, TokenScorer):
        return TokenGuide(scorer, engine.tokenizer)
    return TextGuide(scorer, engine.tokenizer)


class Guides:
    """The policy's engine, and the reward models that guide it; each is loaded when it is first asked for.

    policy: folder or hub name. kind: of the engine, see `load_engine`.
    models: by training, what `load_reward_model` takes.
    domain: of the problems, "math" or "code".
    """

    def __init__(self, policy: str, kind: str, models: Mapping[str, tuple[str, str | None]], domain: str) -> None:
        self.engine = load_engine(policy, kind=kind, guided=True)
        self.tokenizer: Any = self.engine.tokenizer
        self.models, self.domain = models, domain
        self.ready: dict[str, Guide] = {}

    def of(self, training: str) -> Guide:
        if training not in self.ready:
            self.ready[training] = guide_for(load_reward_model(*self.models[training]), self.engine)
        return self.ready[training]

    @property
    def where(self) -> Callable[[np.ndarray], bool] | None:
        """In code the reward model may choose tokens within the program only (METHOD, step 7)."""
        return self.in_fence if self.domain == "code" else None

    def in_fence(self, ids: np.ndarray) -> bool:
        """Whether a text (T,) ends within a program: after an odd number of fences."""
        return self.tokenizer.decode(ids, skip_special_tokens=True).count("```") % 2 == 1


class TextGuide:
    """A `Rater` (`asprm.engines.values`) of a `Scorer`: it scores the text that each candidate makes, at its end.

    tokenizer: the policy's. A request's key is its problem. A candidate that is the end of text adds no text, but the
    text is finished then.
    """

    def __init__(self, scorer: Scorer, tokenizer: Any) -> None:
        self.scorer, self.tokenizer = scorer, tokenizer

    def rate(self, questions: Sequence[Question]) -> list[np.ndarray]:
        """Scores (W,) float32 per question."""
        scores = np.concatenate(list(self.scorer.rate(_texts(questions, self.tokenizer))))
        return np.split(scores, np.cumsum([len(question.candidates) for question in questions])[:-1])


class TokenGuide:
    """A `Translator` (`asprm.engines.values`) of a PRM that is scored at its own tokens.

    The scores are those of a `TextGuide`, but texts are not read anew. tokenizer: the policy's. A request's key is its
    problem.
    """

    def __init__(self, scorer: TokenScorer, tokenizer: Any) -> None:
        self.scorer, self.tokenizer = scorer, tokenizer
        self.executor, self.limits = load_executor(scorer.prm.model), limits(scorer.prm.model)

    def translate(self, questions: Sequence[Question]) -> list[list[np.ndarray]]:
        """The ids (L,) int32 of each question's candidates. ValueError: the PRM cannot read them."""
        texts = self.scorer.whole(_texts(questions, self.tokenizer))
        for number, ids in enumerate(texts):
            check(Item(ids[:0], ids, np.array([len(ids)])), *self.limits, f"text {number}")
        each = iter(texts)
        return [list(islice(each, len(question.candidates))) for question in questions]


def _texts(questions: Sequence[Question], tokenizer: Any) -> list[Text]:
    """Each question's solution with each of its candidates appended, to be rated at its end."""
    rows = [np.append(question.solution, token) for question in questions for token in question.candidates]
    problems = [question.request.key.prompt for question in questions for _ in question.candidates]
    spelled = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [
        Text(problem, text, [len(text)], finished=row[-1] == tokenizer.eos_token_id)
        for problem, text, row in zip(problems, spelled, rows, strict=True)
    ]
