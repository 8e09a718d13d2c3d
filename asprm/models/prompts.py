"""Prompts: how the text of a problem is put to a model, as token ids.

A model's chat template says it. `Form` changes the template, so that everything that reads it — sampling, rollouts,
scoring, guided decoding, and transformers itself — puts problems to the model in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from asprm.models.plain import Templated

PROBLEM = "{problem}"  # what an instruction or a template holds in the place of the problem


@dataclass(frozen=True)
class Form:
    """How a problem is put to a model, where its chat template alone does not say it as one wishes.

    instruction: the user's message, with {problem} in it. None: the problem alone.
    system: the system message. None: none, or the one that the chat template brings.
    template: the whole prompt, with {problem} in it, in place of a chat template.

    ValueError: no {problem} in an instruction or template, or both a template and what belongs into a chat.
    """

    instruction: str | None = None
    system: str | None = None
    template: str | None = None

    def __post_init__(self) -> None:
        for name, text in (("instruction", self.instruction), ("template", self.template)):
            if text is not None and PROBLEM not in text:
                raise ValueError(f"{name}: {text[:60]!r}: expected a text with {PROBLEM} in it")
        if self.template is not None and (self.instruction, self.system) != (None, None):
            raise ValueError(
                "template: it is the whole prompt; instruction and system belong into a model's chat template: "
                "say either the one or the others"
            )

    def chat_template(self, tokenizer: Any) -> str | None:
        """The tokenizer's chat template (Jinja), changed; its own if there is nothing to change.

        ValueError: an instruction or system message, and the tokenizer has no chat template.
        """
        if self.template is not None:
            bos = tokenizer.bos_token or ""
            begins = _beginning(tokenizer) and not self.template.startswith(bos)
            return f"{{{{ {_quoted(bos if begins else '')} ~ {_around_problem(self.template)} }}}}"
        if self == Form():
            return tokenizer.chat_template
        if not tokenizer.chat_template:
            raise ValueError(
                f"{tokenizer.name_or_path} has no chat template that could take an instruction; say the whole prompt "
                f"as template: with {PROBLEM} in it"
            )
        user = _around_problem(self.instruction or PROBLEM)
        system = "" if self.system is None else f'{{"role": "system", "content": {_quoted(self.system)}}}, '
        first = f'[{system}{{"role": "user", "content": {user}}}]'
        return f"{{%- set messages = {first} + messages[1:] -%}}\n{tokenizer.chat_template}"

    def apply(self, tokenizer: Any) -> None:
        """Give the tokenizer the `chat_template`; a whole prompt is left to `PromptEncoder`. ValueError: as there."""
        if self.template is None:
            tokenizer.chat_template = self.chat_template(tokenizer)


AS_IT_IS = Form()  # the model's chat template says all


def _around_problem(text: str) -> str:
    """A Jinja expression for the text with the first message in the place of {problem}."""
    return ' ~ messages[0]["content"] ~ '.join(map(_quoted, text.split(PROBLEM)))


def _quoted(text: str) -> str:
    """A string literal of Jinja's, which reads JSON's escapes."""
    return json.dumps(text, ensure_ascii=False)


def encode_prompts(tokenizer: Any, texts: Sequence[str]) -> list[np.ndarray]:
    """Prompt ids (L,) int32 of each problem's text, by the tokenizer's chat template. Special words in it are text."""
    templated = Templated(tokenizer)
    chats = [_chat(tokenizer, templated.mark(text)) for text in texts]
    return [np.asarray(ids, dtype=np.int32) for ids in templated.encode(chats)]


def _chat(tokenizer: Any, text: str) -> str:
    messages = [{"role": "user", "content": text}]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def prompts_of(tokenizer: Any, texts: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Prompt ids (L,) int32 by problem id. texts: each problem's text by its id."""
    return dict(zip(texts, encode_prompts(tokenizer, list(texts.values())), strict=True))


class PromptEncoder:
    """Prompt ids of one model, for problems that come one by one.

    template: a text with {problem} in it. None: the tokenizer's chat template. A prompt that a template makes begins
        with one beginning-of-text token if the tokenizer adds one or the chat template writes one, as in sampling; the
        template may write it itself.
    positions: the most tokens that the model reads. None: any number.

    ValueError: no template, and the tokenizer has none either.
    """

    def __init__(self, tokenizer: Any, *, template: str | None = None, positions: int | None = None) -> None:
        if template is None and not tokenizer.chat_template:
            raise ValueError(
                f"{tokenizer.name_or_path} has no chat template; say how a problem is put to it, for example\n"
                r"  --template 'Question: {problem}\nAnswer:'"
            )
        self.tokenizer, self.template = tokenizer, template
        self.positions = positions or 2**31
        self.templated = Templated(tokenizer)
        self.beginning = _beginning(tokenizer)
        self._cached = lru_cache(1024)(self._encode)  # the solutions of one problem come together

    def __call__(self, problem: str, template: str | None = None) -> np.ndarray:
        """Prompt ids (L,) int32 of a problem's text. template: in place of the encoder's own.

        ValueError: the model cannot read so many tokens, or there are none.
        """
        ids = self._cached(problem, template or self.template)
        if not 0 < len(ids) < self.positions:
            raise ValueError(f"its prompt has {len(ids)} tokens, expected 1 to {self.positions - 1} for this model")
        return ids

    def _encode(self, problem: str, template: str | None) -> np.ndarray:
        if template is None:
            return encode_prompts(self.tokenizer, [problem])[0]
        # Not str.format: problems and templates contain braces of their own.
        [ids] = self.templated.encode([template.replace(PROBLEM, self.templated.mark(problem))])
        start = [] if ids[: len(self.beginning)] == self.beginning else self.beginning
        return np.asarray([*start, *ids], np.int32)


def _beginning(tokenizer: Any) -> list[int]:
    """The ids that a text begins with: what the tokenizer adds, or the one token that its chat template writes."""
    whole, bare = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
    added = next((k for k in range(len(whole)) if whole[k : k + len(bare)] == bare), 0)
    if added or tokenizer.bos_token is None or not tokenizer.chat_template:
        return whole[:added]
    from jinja2.exceptions import TemplateError

    try:
        written = _chat(tokenizer, "a").startswith(tokenizer.bos_token)
    except TemplateError:  # it is made for other messages
        written = False
    return [tokenizer.bos_token_id] if written else []
