"""Conventions: how families of published reward models are read, as data, with the source of each fact.

All of them score a step at a token that follows it. They differ in which token that is, in how the problem and the
steps are joined, and in what the score is computed from. `asprm.reward.published` applies these data to a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from asprm.models.load import located


@dataclass(frozen=True)
class Convention:
    """How a family of reward models is read.

    tag: one token, written after every step.
    form: where the steps stand. "text": in one text, after the problem. "chat": in one assistant message, after the
        problem as a user message. "turns": each in a user message, which the assistant answers with the tag.
    over: what the probability of the good answer is taken over: the "pair" of answers, the whole "vocabulary", or the
        two "classes" of the model's own head.
    breaks: a line break that ends a step is "kept" before the tag, moved "after" it, or "dropped".
    stated: the source of all this.
    after: text after every tag.
    good, bad: the answers between which the model decides; a head of two classes has none.
    prompt: what the text or the first user message begins with; it contains {problem}.
    system: a system message, for "chat".
    read: the score is read at the "tag", or at the token "before" it, which predicts it.
    special: the tokenizer adds its special tokens to a text.
    models: hub names.
    """

    tag: str
    form: Literal["text", "chat", "turns"]
    over: Literal["pair", "vocabulary", "classes"]
    breaks: Literal["kept", "after", "dropped"]
    stated: str
    after: str = ""
    good: str = "+"
    bad: str = "-"
    prompt: str = "{problem} "
    system: str = ""
    read: Literal["tag", "before"] = "tag"
    special: bool = True
    models: tuple[str, ...] = ()


CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {
        "math-shepherd": Convention(
            tag=" ки",
            form="text",
            over="pair",
            breaks="after",
            models=("peiyi9979/math-shepherd-mistral-7b-prm",),
            stated="the model's card: ids 648, 387, 12902, which are ' +', ' -' and ' ки' in Mistral's v1 vocabulary",
        ),
        "asprm": Convention(
            tag=" ки",
            form="text",
            over="pair",
            breaks="kept",
            after=" ",
            special=False,
            models=tuple(
                f"Lux0926/ASPRM-{x}" for x in ("M", "L", "D", "D-ORM", "MATHCODE-Mistral", "MATHCODE-DeepSeek")
            ),
            stated="Lux0926/ASPRM: train/*.sh (--placeholder_token), its samples (the mark after a line break, a space "
            "after the mark); OpenRLHF: ProcessRewardDataset (no special tokens). How its `query` joins problem "
            "and solution is stated nowhere; Math-Shepherd's way is assumed",
        ),
        "er-prm": Convention(
            tag=" ки",
            good=" +",
            bad=" -",
            form="text",
            over="vocabulary",
            breaks="dropped",
            stated="hanningzhang/ER-PRM: evaluation/evaluate_gsm_reward_model.py at 5a996d4",
        ),
        "rlhflow": Convention(
            tag="+",
            form="turns",
            over="pair",
            breaks="dropped",
            read="before",
            models=("RLHFlow/Llama3.1-8B-PRM-Mistral-Data", "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data"),
            stated="RLHFlow/RLHF-Reward-Modeling: math-rm/prm_evaluate.py at 5b2a281, math/README.md",
        ),
        "qwen": Convention(
            tag="<extra_0>",
            form="chat",
            over="classes",
            breaks="dropped",
            system="Please reason step by step, and put your final answer within \\boxed{}.",
            models=("Qwen/Qwen2.5-Math-PRM-7B", "Qwen/Qwen2.5-Math-PRM-72B", "Qwen/Qwen2.5-Math-7B-PRM800K"),
            stated="the models' cards; head: vLLM, qwen2_rm.py (two linear layers, a ReLU between; class 1 is good)",
        ),
    }
)


def convention_of(path: str | Path) -> str:
    """The name of the convention of a model on the hub. ValueError: none is known for it."""
    model, _ = located(path)
    for name, convention in CONVENTIONS.items():
        if model in convention.models:
            return name
    raise ValueError(f"published: no convention is known for {model}; say which: {', '.join(CONVENTIONS)}")


def known(convention: str | Convention) -> Convention:
    """A convention by its name, or as given. ValueError: an unknown name."""
    if isinstance(convention, Convention):
        return convention
    if convention not in CONVENTIONS:
        raise ValueError(f"published: no convention is called {convention!r}; there are {', '.join(CONVENTIONS)}")
    return CONVENTIONS[convention]
