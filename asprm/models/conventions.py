"""Conventions: how families of published reward models are read, as data, with the place where each fact is stated.

They agree that a step is followed by a token at which it is scored, and on little else: which token, how problem and
steps are put together, what the score is made of. Knows names and words: no model, no tokenizer (`asprm.reward.published`).
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

    tag: follows every step, one token. form: where steps stand: in one text after the problem (`prompt`, with
    {problem} in it), in one assistant message (`chat`, after the message `system`), or each in a user's message that
    the assistant answers with the tag (`turns`; the first message begins with `prompt`). read: the score is read at the
    tag, or at the token before it, which predicts it. good, bad: the answers between which the model decides; over:
    what their probability is taken over: the `pair`, the whole `vocabulary`, or the two `classes` of a head of its own
    (which knows no such tokens). breaks: what becomes of a line break that ends a step: `kept` before the tag, moved
    `after` it, `dropped`. after: stands after every tag. special: the tokenizer adds its own special tokens to the
    text. models: hub names. stated: where all this is said.
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
            "and solution is stated nowhere: taken to be Math-Shepherd's way",
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
    name, _ = located(path)
    for convention, values in CONVENTIONS.items():
        if name in values.models:
            return convention
    raise ValueError(f"published: no convention is known for {name}; say which: {', '.join(CONVENTIONS)}")


def known(convention: str | Convention) -> Convention:
    """The convention of that name, or itself. ValueError: there is none."""
    if isinstance(convention, str) and convention not in CONVENTIONS:
        raise ValueError(f"published: no convention is called {convention!r}; there are {', '.join(CONVENTIONS)}")
    return CONVENTIONS[convention] if isinstance(convention, str) else convention
