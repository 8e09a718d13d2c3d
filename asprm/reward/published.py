"""Published reward models, which read the score at a tag token, and one interface for them and this study's own.

The families of PRMs are read by different `asprm.models.conventions`. `StepTagPRM` follows one of them: it writes the
text with its tags, finds each tag by its place in the text (not by its id, which a solution may contain too), and reads
all steps of a solution in one forward.

A `Scorer` rates texts, whatever its tokenizer: Best-of-N and guided decoding need nothing else of a reward model.
`TokenScorer` makes a `Scorer` of a PRM that is scored at the steps' own last tokens. `load_reward_model` loads either
kind, and `scorer_for` says how it rates a policy's solutions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen2Model, Qwen2PreTrainedModel

from asprm.engines.packed import use_packs
from asprm.models.align import Speller, carry, same_tokens
from asprm.models.conventions import Convention, convention_of, known
from asprm.models.device import placement
from asprm.models.load import load_config, load_incomplete, load_tokenizer
from asprm.models.plain import Templated
from asprm.models.prompts import PromptEncoder
from asprm.reward.score import PRM, Item, limits, load_prm, score_stream


@dataclass(frozen=True, eq=False)
class Text:
    """A solution and where to rate it, as text, which any reward model can read.

    problem, solution: the texts.
    ends: (K,) characters, from 0 to len(solution), never falling; the score at `end` depends on solution[:end].
    finished: whether the solution has come to its end. A reward model with an end-of-text token then reads it at the
        end of the solution.
    """

    problem: str
    solution: str
    ends: Sequence[int] | np.ndarray
    finished: bool = False


class Scorer(Protocol):
    """A reward model, as Best-of-N and guided decoding need it."""

    def rate(self, texts: Iterable[Text]) -> Iterator[np.ndarray]:
        """Scores in (0, 1), one array (K,) float32 per text, in order. ValueError: a text that cannot be rated."""
        ...


class _ByItems(ABC):
    """A `Scorer` that turns each text into an `Item` of the model `prm`."""

    prm: PRM

    @abstractmethod
    def item(self, text: Text, name: str = "text") -> Item:
        """The ids that the model reads, and where its scores are read. ValueError: a text that cannot be rated."""

    def rate(self, texts: Iterable[Text], *, tokens: int | None = None) -> Iterator[np.ndarray]:
        """See `Scorer`. tokens: how many are read in one forward (None: by the device)."""
        items = (self.item(text, f"text {number}") for number, text in enumerate(texts))
        return score_stream(self.prm, items, tokens=tokens)


class StepTagPRM(_ByItems):
    """A `Scorer` that writes a tag after every step and reads the score there.

    model: a causal language model, or one with the convention's own head. It is changed so that it reads packs.
    tokenizer: the model's own, a fast one.
    convention: how the model is read, or the name of one of `CONVENTIONS`.

    ValueError: the tag or an answer is not one token of the tokenizer; the model lacks the head.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: Any, convention: str | Convention) -> None:
        self.convention = known(convention)
        if not tokenizer.is_fast:
            raise ValueError(
                f"published: {type(tokenizer).__name__} gives no character offsets; expected a fast tokenizer"
            )
        self.tokenizer, self.templated = tokenizer, Templated(tokenizer)
        self.tag = _one_token(tokenizer, self.convention.tag, "the tag")
        model = use_packs(model.eval())
        model.score = _head(model, tokenizer, self.convention)
        self.prm = PRM(model, tokenizer, {})

    @classmethod
    def load(
        cls,
        path: str | Path,
        convention: str | Convention | None = None,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
    ) -> StepTagPRM:
        """The reward model in a Hugging Face folder or of a hub name (`asprm.models.load`).

        convention: None for the one that `CONVENTIONS` has for the hub name.
        device, dtype: None for the defaults of `asprm.models.device.placement`.
        ValueError: no convention is known, or the model does not fit the convention.
        """
        convention = known(convention or convention_of(path))
        where, number_format = placement(path, device, dtype)
        kind, config = QwenPRM if convention.over == "classes" else AutoModelForCausalLM, load_config(path)
        if convention.over == "classes" and config.model_type != "qwen2":
            raise ValueError(
                f"published: {path} is a {config.model_type} model; this convention's head belongs to qwen2"
            )
        model, missing = load_incomplete(kind, path, config=config, dtype=number_format)
        if missing:
            raise ValueError(
                f"published: {path} lacks weights {missing[:3]}; is it read by another convention than "
                f"{convention.form}/{convention.over}?"
            )
        return cls(model.to(where), load_tokenizer(path), convention)

    @property
    def answers(self) -> tuple[int, int]:
        """The ids of the good and the bad answer, between which the model decides."""
        good, bad = (_one_token(self.tokenizer, x, "the answer") for x in (self.convention.good, self.convention.bad))
        return good, bad

    def item(self, text: Text, name: str = "text") -> Item:
        """The tagged text as ids, and where its scores are read. ValueError, with the name: it cannot be tagged."""
        # 1. Write the text with a tag after each piece. Ends that fall together share a piece: `piece_of` (K,).
        piece_ends, piece_of = np.unique(_checked_ends(text, name), return_inverse=True)
        solution, problem = self.templated.mark(text.solution), self.templated.mark(text.problem)
        pieces = [solution[start:end] for start, end in pairwise([0, *piece_ends])]
        tagged, tag_ends = self._written(problem, pieces, name)

        # 2. Find each tag's token by its place in the text. Of several tokens that end there it is the last.
        special = self.convention.form == "text" and self.convention.special
        found, offsets = self.templated.encode_with_offsets(tagged, add=special)
        ids = np.asarray(found, np.int32)
        token_at = {end: i for i, (_, end) in enumerate(offsets)}
        tags = np.array([token_at.get(end, -1) for end in tag_ends])
        for place, end in zip(tags, tag_ends, strict=True):
            if place < 1 or ids[place] != self.tag:
                before = tagged[: end - len(self.convention.tag)]
                raise ValueError(
                    f"{name}: the tokenizer joins the tag {self.convention.tag!r} with the text before it, "
                    f"{before[-20:]!r}; rate the solution where a word ends"
                )

        # 3. The score is read at the tag or just before it.
        read = tags if self.convention.read == "tag" else tags - 1
        return Item(np.empty(0, np.int32), ids, (read + 1)[piece_of].astype(np.int32))

    def _written(self, problem: str, pieces: Sequence[str], name: str) -> tuple[str, list[int]]:
        """The text that the model reads, and the character end of each piece's tag in it."""
        rule = self.convention
        opening = rule.prompt.replace("{problem}", problem)
        if pieces[0].startswith(" ") or not pieces[0].strip():
            opening = opening.removesuffix(" ")
        if rule.form == "turns":
            return self._turns([opening + pieces[0].rstrip(), *(piece.strip() for piece in pieces[1:])], name)
        written, tag_ends = opening if rule.form == "text" else "", []
        for piece in pieces:
            # No space may stand before the tag: sentence-piece tokenizers would take it for the tag's own.
            body = piece.rstrip(" ") if rule.breaks == "kept" else piece.rstrip(" \n")
            written += body + rule.tag
            tag_ends.append(len(written))
            written += rule.after + ("" if rule.breaks == "dropped" else piece[len(body) :])
        if rule.form == "text":
            return written, tag_ends
        return self._chat(problem, written, tag_ends, name)

    def _chat(self, problem: str, written: str, tag_ends: Sequence[int], name: str) -> tuple[str, list[int]]:
        """As `_written`, with the pieces and their tags in one assistant message."""
        system = [{"role": "system", "content": self.convention.system}] if self.convention.system else []
        messages = [{"role": "user", "content": problem}, {"role": "assistant", "content": written}]
        whole = self._templated([*system, *messages])
        start = whole.rfind(written)
        if start < 0:
            raise ValueError(f"{name}: the tokenizer's chat template changes the solution, so its tags cannot be found")
        return whole, [start + end for end in tag_ends]

    def _turns(self, messages: Sequence[str], name: str) -> tuple[str, list[int]]:
        """As `_written`, with each piece in a user message that the assistant answers with the tag."""
        chat, before_tags = [], []
        for message in messages:
            chat.append({"role": "user", "content": message})
            before_tags.append(self._templated(chat, add_generation_prompt=True))
            chat.append({"role": "assistant", "content": self.convention.tag})
        whole = self._templated(chat)
        if not all(whole.startswith(before + self.convention.tag) for before in before_tags):
            raise ValueError(
                f"{name}: in the tokenizer's chat template an answer does not follow the generation prompt, so that "
                "its tags cannot be found"
            )
        return whole, [len(before) + len(self.convention.tag) for before in before_tags]

    def _templated(self, messages: Sequence[Mapping[str, str]], **options: Any) -> str:
        if not self.tokenizer.chat_template:
            raise ValueError("published: the tokenizer has no chat template, which this convention needs")
        return self.tokenizer.apply_chat_template(list(messages), tokenize=False, **options)


class TokenScorer(_ByItems):
    """A `Scorer` of a PRM that is scored at the steps' own last tokens (`asprm.reward.score`), for texts of any policy.

    The solution is encoded by the PRM's tokenizer; a step ends with the token that holds its last character.

    prm: the PRM.
    template: how a problem is put to the PRM (`PromptEncoder`). None: as it was in training.

    ValueError: no template, and the tokenizer has none either.
    """

    def __init__(self, prm: PRM, template: str | None = None) -> None:
        self.prm = prm
        positions, _ = limits(prm.model)
        template = template or prm.about.get("template")
        self.prompts = PromptEncoder(prm.tokenizer, template=template, positions=positions)

    def item(self, text: Text, name: str = "text") -> Item:
        """The text as ids of the PRM, and where its scores are read. ValueError, with the name: it cannot be rated."""
        char_ends, prompt = _checked_ends(text, name), self.prompts(text.problem)
        ids, ends = carry(text.solution, char_ends, self.prm.tokenizer, finished=text.finished)
        if not len(ids):  # nothing is written yet: the problem alone is rated
            return Item(prompt[:-1], prompt[-1:], ends)
        return Item(prompt, ids, ends)

    def whole(self, texts: Sequence[Text]) -> list[np.ndarray]:
        """Token ids (L,) int32, prompt and solution, of texts that are scored only at the end: `item(text).tokens`."""
        tokenizer = self.prm.tokenizer
        end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        solutions = [text.solution for text in texts]
        encoded = tokenizer(solutions, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [
            np.append(self.prompts(text.problem), [*ids, *end] if text.finished else ids).astype(np.int32)
            for text, ids in zip(texts, encoded, strict=True)
        ]


def load_reward_model(
    path: str | Path, convention: str | None = None, *, device: str | torch.device | None = None
) -> PRM | StepTagPRM:
    """A reward model of either kind, from a Hugging Face folder or a hub name.

    convention: how it is read at tags. None: as is known of the hub name; for other names, and for folders, the model
        is one that `asprm.reward.train.train` wrote.
    device: None for the accelerator if there is one, else the CPU.
    ValueError: the model is not of that kind.
    """
    if convention is None:
        with suppress(ValueError):
            convention = convention_of(path)
    if convention is not None:
        return StepTagPRM.load(path, convention, device=device)
    return load_prm(path, device=device)


def scorer_for(prm: PRM | StepTagPRM, tokenizer: Any, template: str | None = None) -> PRM | Scorer:
    """How a reward model rates the solutions of a policy: a PRM by their tokens, or else a `Scorer` by their text.

    prm: a PRM rates tokens if its tokenizer gives the same ids as the policy's.
    tokenizer: the policy's.
    template: how a problem is put to a PRM whose `about` does not say how it was in training.
    """
    if isinstance(prm, PRM) and not same_tokens(prm.tokenizer, tokenizer):
        return TokenScorer(prm, prm.about.get("template") or template)
    return prm


def _checked_ends(text: Text, name: str) -> np.ndarray:
    """The text's ends (K,). ValueError: none, not in order, or outside the solution."""
    ends = np.asarray(text.ends)
    if not len(ends) or ends.min() < 0 or ends.max() > len(text.solution) or (np.diff(ends) < 0).any():
        raise ValueError(
            f"{name}: ends are {ends.tolist()}; expected at least one, never falling, from 0 to {len(text.solution)}, "
            "the characters of the solution"
        )
    return ends


def _one_token(tokenizer: Any, text: str, role: str) -> int:
    """The id of the token for a text: the one that the tokenizer gives, or else the only one that is spelled so.

    Sentence-piece tokenizers put a space of their own before a text, so that they give two tokens for " ки" alone.
    ValueError: there is no such token. role: names the text in the error.
    """
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
        return ids[0]
    spelled = [i for i, token in enumerate(Speller(tokenizer).table) if token == text.encode()]
    if len(spelled) == 1:
        return spelled[0]
    raise ValueError(
        f"published: {role} {text!r} is not one token of this tokenizer, which makes "
        f"{tokenizer.convert_ids_to_tokens(ids)} of it, so no score can be read there: is the tokenizer the "
        "model's own, and is this the model's convention?"
    )


class QwenPRM(Qwen2PreTrainedModel):
    """Qwen2 with the head of Qwen2.5-Math-PRM, two classes for every token. It holds weights and has no forward."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = Qwen2Model(config)
        size = config.hidden_size
        self.score = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, 2))
        self.post_init()


# --- heads ------------------------------------------------------------------------------------------------------------
# Each gives the log odds of the good answer, (N, 1) fp32 for hidden states (N, H). `asprm.reward.score` takes their
# sigmoid, which is the softmax that the convention asks for.


def _head(model: PreTrainedModel, tokenizer: Any, rule: Convention) -> nn.Module:
    if rule.over == "classes":
        if not isinstance(model, QwenPRM):
            raise ValueError(
                f"published: a {type(model).__name__} has no head of two classes; expected {QwenPRM.__name__}"
            )
        return _Classes(model.score)
    output: Any = model.get_output_embeddings()
    if output is None:
        raise ValueError(f"published: a {type(model).__name__} has no language-model head, which this convention reads")
    good, bad = (_one_token(tokenizer, answer, "the answer") for answer in (rule.good, rule.bad))
    return _Pair(output, good, bad) if rule.over == "pair" else _Vocabulary(output, good)


class _Classes(nn.Module):
    """Against the other class of the model's own head."""

    def __init__(self, head: nn.Sequential) -> None:
        super().__init__()
        self.head = head

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        bad, good = self.head(states).float().unbind(-1)
        return (good - bad)[:, None]


class _Pair(nn.Module):
    """Against the bad answer."""

    difference: torch.Tensor  # (H, 1)

    def __init__(self, output: nn.Linear, good: int, bad: int) -> None:
        super().__init__()
        difference = output.weight.detach()[good].float() - output.weight.detach()[bad].float()
        self.register_buffer("difference", difference[:, None], persistent=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states.float() @ self.difference


class _Vocabulary(nn.Module):
    """Against all other tokens."""

    def __init__(self, output: nn.Linear, good: int) -> None:
        super().__init__()
        self.output = (output,)  # in a tuple, so that its weights are not counted twice
        self.good = good

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        logits = self.output[0](states).float()
        others = logits.index_fill(-1, torch.tensor(self.good, device=logits.device), float("-inf"))
        return (logits[:, self.good] - others.logsumexp(-1))[:, None]
