"""Align: where each token ends in the text that its ids spell.

Within one model everything is token ids. Text matters where two tokenizers meet and where people read: there a step end
also has its character offset. Only this module computes that offset (`Speller`) and finds the place again in another
tokenizer's ids (`carry`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Speller:
    """Spells ids: `text, char_ends = Speller(tokenizer)(ids)`.

    text: the ids decoded without special tokens.
    char_ends: (T,) int32, exclusive: token i spells text[char_ends[i-1]:char_ends[i]]. A token that ends within a
        character (byte-level BPE cuts multi-byte characters) ends before it, and the token that completes the character
        holds all of it. Special tokens spell nothing.

    Tokens are spelled from a table of bytes, made once per tokenizer. The result is compared with the tokenizer's own
    decoding. Where they differ (a tokenizer with rules of its own, invalid UTF-8), every prefix is decoded instead:
    slower, and as exact as the tokenizer allows.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        special, added = set(tokenizer.all_special_ids), set(tokenizer.added_tokens_decoder)
        byte_level = tokenizer.is_fast and "ByteLevel" in str(tokenizer.backend_tokenizer.decoder)
        spell = _byte_level if byte_level else _sentence_piece
        self.table = [
            b"" if i in special or token is None else token.encode() if i in added else spell(token)
            for i, token in enumerate(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
        ]

    def __call__(self, ids: ArrayLike) -> tuple[str, NDArray[np.int32]]:
        numbers: list[int] = np.asarray(ids, np.int64).tolist()
        text = self._decode(numbers)
        spelled = [self.table[i] for i in numbers]
        joined = b"".join(spelled)
        for lost in (0, 1):  # sentence-piece tokenizers lose a leading space
            if joined == b" " * lost + text.encode():
                return text, np.maximum(_whole_characters(joined, [len(piece) for piece in spelled]) - lost, 0)
        return text, self._prefix_ends(numbers, text)

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _prefix_ends(self, ids: list[int], text: str) -> NDArray[np.int32]:
        ends = [_shared(self._decode(ids[: i + 1]), text) for i in range(len(ids))]
        return np.maximum.accumulate(np.array(ends, np.int32))


def carry(
    text: str, char_ends: ArrayLike, tokenizer: Any, *, finished: bool
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """A solution in another model's tokens: its ids (T,), and the number of tokens (K,) up to the end of each step.

    text: the solution, all of it plain text (`asprm.models.plain`).
    char_ends: (K,) characters up to the end of each step. A step ends with the token that completes its last character,
        so that two steps may end at the same token. Characters that the tokenizer drops belong to no token: the step
        ends with the token before them.
    tokenizer: the other model's.
    finished: whether the solution ends with an end of text. If so, the tokenizer's end-of-text token is appended, and
        a step that ends where the text ends includes that token.

    ValueError: the tokenizer gives no character offsets, or none that say where a step ends.
    """
    if not tokenizer.is_fast:
        raise ValueError(f"align: {type(tokenizer).__name__} gives no character offsets; expected a fast tokenizer")
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    ids, places = list(encoded["input_ids"]), np.asarray(char_ends)
    spelled, token_ends = _speller(tokenizer, len(tokenizer))(ids)
    if spelled == text:
        ends = np.minimum(np.searchsorted(token_ends, places, side="left") + 1, len(ids))
    else:
        ends = _ends_by_offsets(np.array(encoded["offset_mapping"]).reshape(-1, 2), places)
    if finished and tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
    ends[places == len(text)] = len(ids)
    return np.array(ids, np.int32), np.maximum(ends, 1).astype(np.int32)


@lru_cache(8)
def _speller(tokenizer: Any, size: int) -> Speller:
    return Speller(tokenizer)


def _ends_by_offsets(offsets: NDArray, places: NDArray) -> NDArray[np.int64]:
    """(K,) the number of tokens that hold a character before each place, for a tokenizer that changes the text.

    offsets: (T, 2) characters of the text where each token begins and ends. ValueError: they do not rise, or a place
    lies within characters that several tokens share, so that none of them can be told to end there.
    """
    starts, ends = offsets[:, 0], offsets[:, 1]
    if (np.diff(starts) < 0).any():
        raise ValueError("align: the tokenizer's character offsets do not rise, so that step ends cannot be carried")
    shared = np.flatnonzero((np.diff(offsets, axis=0) == 0).all(axis=1))
    inside = (starts[shared] < places[:, None]) & (places[:, None] < ends[shared])  # (K, tokens like the next one)
    if inside.any():
        place = places[inside.any(axis=1)][0]
        raise ValueError(f"align: the tokenizer does not say which of its tokens ends at character {place}")
    return np.searchsorted(starts, places, side="left")


def same_tokens(first: Any, second: Any) -> bool:
    """Whether two tokenizers give the same ids to every text, so that step ends need not be carried over."""
    if first is second:
        return True
    if not (first.is_fast and second.is_fast) or first.get_vocab() != second.get_vocab():
        return False
    return first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()


def visible(token: str) -> str:
    """A token's text as people read it: ⏎ for a line break, ■ for a token without text, such as the end of text."""
    return token.replace("\n", "⏎") or "■"


def _shared(prefix: str, text: str) -> int:
    """The number of leading characters that the two share. A character that is cut in two decodes to another one."""
    return next((i for i, (a, b) in enumerate(zip(prefix, text, strict=False)) if a != b), min(len(prefix), len(text)))


def _whole_characters(joined: bytes, lengths: ArrayLike) -> NDArray[np.int32]:
    """(T,) the number of complete characters of a UTF-8 text after each token. lengths: (T,) bytes of each token."""
    starts = np.flatnonzero((np.frombuffer(joined, np.uint8) & 0xC0) != 0x80)
    character_ends = np.append(starts, len(joined))[1:]
    return np.searchsorted(character_ends, np.cumsum(lengths), side="right").astype(np.int32)


_PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
_OTHER = [b for b in range(256) if b not in _PRINTABLE]  # byte-level BPE writes these as characters from 256 on
_BYTE = {chr(b): b for b in _PRINTABLE} | {chr(256 + i): b for i, b in enumerate(_OTHER)}


def _byte_level(token: str) -> bytes:
    return bytes(_BYTE[c] for c in token) if all(c in _BYTE for c in token) else token.encode()


def _sentence_piece(token: str) -> bytes:
    byte = re.fullmatch("<0x([0-9A-F]{2})>", token)
    return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()
