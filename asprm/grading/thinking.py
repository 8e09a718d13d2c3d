"""Thinking: the part of a completion that a model writes for itself, which states nothing."""

import re

_TAG = re.compile(r"<(/?)(?:think|thinking|thought|reasoning)>", re.IGNORECASE)


def without_thinking(completion: str) -> str:
    """What is said outside `<think>…</think>` (or thinking, thought, reasoning).

    Thinking that is never closed reaches to the end of the text, and thinking that is never opened begins with it.
    """
    said, start, thinking = [], 0, False
    for tag in _TAG.finditer(completion):
        if not tag[1] and not thinking:
            said.append(completion[start : tag.start()])
        elif tag[1] and not thinking:
            said.clear()  # the prompt ended with the opening tag, as many chat templates do
        thinking, start = not tag[1], tag.end()
    return "".join(said) + ("" if thinking else completion[start:])
