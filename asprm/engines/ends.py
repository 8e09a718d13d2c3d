"""Ends: the token with which a text ends, by its id or by a stop text that it completes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class Ends:
    """Where texts end.

    eos: ids that end any text. stops: texts, one of which ends a text as soon as it is written; they stay in it.
    reach: how many tokens before the last one have to be known to see a stop text.
    """

    def __init__(self, eos: Sequence[int], tokenizer: Any = None, stops: Sequence[str] = ()) -> None:
        self.eos, self.stops, self.tokenizer = np.array(eos, np.int64), tuple(stops), tokenizer
        self.reach = max((len(stop.encode()) for stop in stops), default=0)  # a token is a byte at least
        self._may: dict[int, bool] = {}

    def closes(self, before: np.ndarray, token: int) -> bool:
        """Whether a text ends with `token`. before: the tokens before it, at least `reach` of them where there are."""
        if token in self.eos:
            return True
        if not self.stops or not self._may_complete(token):
            return False
        seen = before[max(0, len(before) - self.reach) :]
        earlier, text = self.tokenizer.decode(seen), self.tokenizer.decode([*seen, token])
        return any(text.count(stop) > earlier.count(stop) for stop in self.stops)

    def _may_complete(self, token: int) -> bool:
        """Whether a stop text's last character is in the token's text, or the token is a part of a character."""
        if token not in self._may:
            text = self.tokenizer.decode([token])
            self._may[token] = "\ufffd" in text or any(stop[-1] in text for stop in self.stops)
        return self._may[token]


def ends_of(tokenizer: Any, *configs: Any) -> Ends:
    """Where a model's texts end: by the first of `configs` that says it, else by its tokenizer.

    configs: the model's generation config, if it has one (its stop texts count), then its config.
    """
    stops = getattr(configs[0], "stop_strings", None) or []
    return Ends(_eos(*configs, tokenizer), tokenizer, [stops] if isinstance(stops, str) else list(stops))


def _eos(*sources: Any) -> list[int]:
    for source in sources:
        ids = getattr(source, "eos_token_id", None)  # not every configuration has it
        if ids is not None:
            return [ids] if isinstance(ids, int) else list(ids)
    return []
