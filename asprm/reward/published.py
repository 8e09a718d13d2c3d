"""Published reward models: those that read the score at a tag token, and one interface for them and this study's own.

Math-Shepherd, ASPRM, ER-PRM, RLHFlow's and Qwen's PRMs are read by different `asprm.models.conventions`. `StepTagPRM` follows
one of them: it writes the text with its tags, finds each tag by its place in the text (never by looking for its id,
which a solution may hold itself), and reads all steps of a solution in one forward.

A `Scorer` rates texts: whoever chooses among candidates or guides a policy needs no more than that of a reward model,
whatever its tokenizer. `TokenScorer` makes one of a PRM that is scored at the steps' own last tokens.
`load_reward_model` loads either kind, and `scorer_for` says how it rates a policy's solutions; Best-of-N takes that by
`asprm.reward.rating.score_table`, guided decoding by `asprm.reward.guides.guide_for`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen2Model, Qwen2PreTrainedModel

from asprm.engines.packed import use_packs
from asprm.models.align import Speller, carry, same_tokens
from asprm.models.conventions import Convention, convention_of, known
from asprm.models.device import this_device
from asprm.models.load import load_config, load_tokenizer, load_weights, quiet
from asprm.reward.score import PRM, Item, load_prm, score_stream
from asprm.rows.texts import Encoder


@dataclass(frozen=True, eq=False)
class Text:
    """A solution and where to rate it, as text: what any reward model reads, whatever its tokenizer.

    ends: (K,) characters, from 0 to len(solution), never falling: a score at `end` has seen solution[:end]. finished:
    the solution has come to its end, which a score there sees too, if its reward model knows an end of text.
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
    """A `Scorer` that makes an `Item` of each text: where `prm` reads it, and what."""

    prm: PRM

    @abstractmethod
    def item(self, text: Text, name: str = "text") -> Item:
        """What stands for the text."""

    def rate(self, texts: Iterable[Text], *, tokens: int | None = None) -> Iterator[np.ndarray]:
        """See `Scorer`. tokens: how many are read in one forward (None: by the device)."""
        items = (self.item(text, f"text {number}") for number, text in enumerate(texts))
        return score_stream(self.prm, items, tokens=tokens)


class StepTagPRM(_ByItems):
    """A `Scorer` that writes a tag after every step and reads the score there.

    model: a causal language model, or one with the convention's own head; it is changed so that it reads packs.
    tokenizer: the model's own, a fast one. ValueError: the tag, or a token of the answers, is not one token of it; the
    model lacks the head.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: Any, convention: str | Convention) -> None:
        self.convention = known(convention)
        if not tokenizer.is_fast:
            raise ValueError("published: the tokenizer does not tell where its tokens stand; expected a fast tokenizer")
        self.tokenizer = tokenizer
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
        """From a Hugging Face folder or a hub name (`asprm.models.load`); convention: that of `CONVENTIONS` for this name.

        device: the accelerator if there is one, else the CPU. dtype: bfloat16 on an accelerator, float32 on the CPU.
        """
        convention = known(convention or convention_of(path))
        device = torch.device(device or this_device())
        dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
        kind, config = QwenPRM if convention.over == "classes" else AutoModelForCausalLM, load_config(path)
        if convention.over == "classes" and config.model_type != "qwen2":
            raise ValueError(
                f"published: {path} is a {config.model_type} model; this convention's head belongs to qwen2"
            )
        with quiet():
            model, info = load_weights(kind, path, config=config, dtype=dtype, output_loading_info=True)
        if info["missing_keys"]:
            raise ValueError(
                f"published: {path} lacks weights {sorted(info['missing_keys'])[:3]}; another convention than "
                f"{convention.form}/{convention.over}?"
            )
        return cls(model.to(device), load_tokenizer(path), convention)

    def item(self, text: Text, name: str = "text") -> Item:
        """The tagged text as ids, and where its scores are read. ValueError, with the name: it cannot be tagged."""
        ends, which = np.unique(_checked(text, name), return_inverse=True)
        pieces = [text.solution[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        marked, tags = self._written(text.problem, pieces, name)
        special = self.convention.form == "text" and self.convention.special
        encoded = self.tokenizer(marked, add_special_tokens=special, return_offsets_mapping=True)
        ids = np.asarray(encoded["input_ids"], np.int32)
        last = {end: i for i, (_, end) in enumerate(encoded["offset_mapping"])}  # of several that end there, the last
        at = np.array([last.get(end, -1) for end in tags])
        for place, end in zip(at, tags, strict=True):
            if place < 1 or ids[place] != self.tag:
                raise ValueError(
                    f"{name}: the tokenizer does not keep the tag {self.convention.tag!r} apart after "
                    f"{marked[: end - len(self.convention.tag)][-20:]!r}; rate it where a word ends"
                )
        read = at if self.convention.read == "tag" else at - 1
        return Item(np.empty(0, np.int32), ids, (read + 1)[which].astype(np.int32))

    def _written(self, problem: str, pieces: Sequence[str], name: str) -> tuple[str, list[int]]:
        """The text that the model reads, and the character end of each piece's tag in it."""
        rule = self.convention
        opening = rule.prompt.replace("{problem}", problem)
        if pieces[0].startswith(" ") or not pieces[0].strip():
            opening = opening.removesuffix(" ")
        if rule.form == "turns":
            return self._turns([opening + pieces[0].rstrip(), *(piece.strip() for piece in pieces[1:])], name)
        written, tags = opening if rule.form == "text" else "", []
        for piece in pieces:
            # Spaces never stand before the tag: sentence-piece tokenizers would take its own away.
            body = piece.rstrip(" ") if rule.breaks == "kept" else piece.rstrip(" \n")
            written += body + rule.tag
            tags.append(len(written))
            written += rule.after + ("" if rule.breaks == "dropped" else piece[len(body) :])
        if rule.form == "text":
            return written, tags
        system = [{"role": "system", "content": rule.system}] if rule.system else []
        messages = [{"role": "user", "content": problem}, {"role": "assistant", "content": written}]
        whole = self._chat([*system, *messages])
        start = whole.rfind(written)
        if start < 0:
            raise ValueError(f"{name}: the tokenizer's chat template changes the solution, so its tags cannot be found")
        return whole, [start + end for end in tags]

    def _turns(self, messages: Sequence[str], name: str) -> tuple[str, list[int]]:
        chat, befores = [], []
        for message in messages:
            chat.append({"role": "user", "content": message})
            befores.append(self._chat(chat, add_generation_prompt=True))
            chat.append({"role": "assistant", "content": self.convention.tag})
        whole = self._chat(chat)
        if not all(whole.startswith(before + self.convention.tag) for before in befores):
            raise ValueError(
                f"{name}: the tokenizer's chat template does not begin an answer where it is asked for one"
            )
        return whole, [len(before) + len(self.convention.tag) for before in befores]

    def _chat(self, messages: Sequence[Mapping[str, str]], **options: Any) -> str:
        if not self.tokenizer.chat_template:
            raise ValueError("published: this convention needs the tokenizer's chat template, and it has none")
        return self.tokenizer.apply_chat_template(list(messages), tokenize=False, **options)


class TokenScorer(_ByItems):
    """A `Scorer` of a PRM that is scored at the steps' own last tokens (`asprm.reward.score`), for texts of any policy.

    The solution is encoded anew by the PRM's tokenizer; a step ends with the token that holds its last character.
    template: how a problem is put to the PRM (`asprm.rows.texts.Encoder`); None: as it was in training. ValueError: no
    template, and the tokenizer has none either.
    """

    def __init__(self, prm: PRM, template: str | None = None) -> None:
        self.prm = prm
        positions = prm.model.config.get_text_config().max_position_embeddings
        template = template or prm.about.get("template")
        self.encoder = Encoder(prm.tokenizer, template=template, positions=positions)

    def item(self, text: Text, name: str = "text") -> Item:
        """The text as ids of the PRM, and where its scores are read. ValueError, with the name: it cannot be rated."""
        marks, prompt = _checked(text, name), self.encoder.prompt({"problem": text.problem})
        ids, ends = carry(text.solution, marks, self.prm.tokenizer, finished=text.finished)
        if not len(ids):  # nothing is written yet: the problem alone is rated
            return Item(prompt[:-1], prompt[-1:], ends)
        return Item(prompt, ids, ends)

    def whole(self, texts: Sequence[Text]) -> list[np.ndarray]:
        """What is read of texts that are rated at their ends alone, prompt and all: the items' tokens, (L,) int32."""
        tokenizer = self.prm.tokenizer
        problems = dict.fromkeys(text.problem for text in texts)
        prompts = {problem: self.encoder.prompt({"problem": problem}) for problem in problems}
        encoded = tokenizer([text.solution for text in texts], add_special_tokens=False)["input_ids"]
        return [
            np.append(prompts[text.problem], [*ids, tokenizer.eos_token_id] if text.finished else ids).astype(np.int32)
            for text, ids in zip(texts, encoded, strict=True)
        ]


def load_reward_model(
    path: str | Path, convention: str | None = None, *, device: str | torch.device | None = None
) -> PRM | StepTagPRM:
    """A reward model of either kind, from a Hugging Face folder or a hub name.

    With a convention, its own or one that is known for its name, it is scored at tags; else it is one that
    `asprm.reward.train.train` wrote. ValueError: it is not what it is taken for.
    """
    if convention is None:
        with suppress(ValueError):
            convention = convention_of(path)
    if convention is not None:
        return StepTagPRM.load(path, convention, device=device)
    return load_prm(path, device=device)


def scorer_for(prm: PRM | StepTagPRM, tokenizer: Any, template: str | None = None) -> PRM | Scorer:
    """How a reward model rates solutions in the tokens of a policy's `tokenizer`: by these, if it reads the same ones,
    and else by their text. template: how a problem is put to a PRM that does not say how it was in training.
    """
    if isinstance(prm, PRM) and not same_tokens(prm.tokenizer, tokenizer):
        return TokenScorer(prm, prm.about.get("template") or template)
    return prm


def _checked(text: Text, name: str) -> np.ndarray:
    ends = np.asarray(text.ends)
    if not len(ends) or ends.min() < 0 or ends.max() > len(text.solution) or (np.diff(ends) < 0).any():
        raise ValueError(
            f"{name}: ends are {ends.tolist()}; expected at least one, never falling, from 0 to {len(text.solution)}, "
            "the characters of the solution"
        )
    return ends


def _one_token(tokenizer: Any, text: str, what: str) -> int:
    """The id of the token that spells the text: what the tokenizer makes of it, or the only token spelled so.

    Sentence-piece tokenizers put a space of their own before a text, so that they make two tokens of " ки" alone.
    """
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
        return ids[0]
    spelled = [i for i, token in enumerate(Speller(tokenizer).table) if token == text.encode()]
    if len(spelled) == 1:
        return spelled[0]
    raise ValueError(
        f"published: {what} {text!r} is not one token of this tokenizer, which makes "
        f"{tokenizer.convert_ids_to_tokens(ids)} of it, so no score can be read there: is the tokenizer the "
        "model's own, and is this the model's convention?"
    )


class QwenPRM(Qwen2PreTrainedModel):
    """Qwen2 with the head of Qwen2.5-Math-PRM, two classes of every token: its weights, no forward of its own."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = Qwen2Model(config)
        size = config.hidden_size
        self.score = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, 2))
        self.post_init()


# Heads. Each gives the log odds of the good answer, (N, 1) fp32 for hidden states (N, H): `asprm.reward.score` takes the
# sigmoid of it, which is the softmax that the convention asks for.


def _head(model: PreTrainedModel, tokenizer: Any, rule: Convention) -> nn.Module:
    if rule.over == "classes":
        if not isinstance(getattr(model, "score", None), nn.Sequential):
            raise ValueError(
                f"published: a {type(model).__name__} has no head of two classes; expected {QwenPRM.__name__}"
            )
        return _Classes(model.score)
    output = model.get_output_embeddings()
    if output is None:
        raise ValueError(f"published: a {type(model).__name__} has no language-model head, which this convention reads")
    good, bad = (_one_token(tokenizer, text, "the answer") for text in (rule.good, rule.bad))
    return _Pair(output, good, bad) if rule.over == "pair" else _Vocabulary(output, good)


class _Classes(nn.Module):
    def __init__(self, head: nn.Sequential) -> None:
        super().__init__()
        self.head = head

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        bad, good = self.head(states).float().unbind(-1)
        return (good - bad)[:, None]


class _Pair(nn.Module):
    def __init__(self, output: nn.Linear, good: int, bad: int) -> None:
        super().__init__()
        difference = output.weight.detach()[good].float() - output.weight.detach()[bad].float()
        self.register_buffer("difference", difference[:, None], persistent=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states.float() @ self.difference


class _Vocabulary(nn.Module):
    def __init__(self, output: nn.Linear, good: int) -> None:
        super().__init__()
        self.output = (output,)  # in a tuple: it belongs to the model already
        self.good = good

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        logits = self.output[0](states).float()
        others = logits.index_fill(-1, torch.tensor(self.good, device=logits.device), float("-inf"))
        return (logits[:, self.good] - others.logsumexp(-1))[:, None]
