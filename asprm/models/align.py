"""Align: where each token ends in the text that its ids spell.

Within one model everything is token ids. Text matters where two tokenizers meet and where people read: there a step end
also carries its character offset, and this module is the only one that computes it (`Speller`) and that finds the
place again in another tokenizer's ids (`carry`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Speller:
    """Spells ids: `text, char_ends = Speller(tokenizer)(ids)`.

    text: the ids decoded without special tokens. char_ends: (T,) int32, exclusive: token i spells
    text[char_ends[i-1]:char_ends[i]]. A token that ends within a character (byte-level BPE cuts multi-byte characters)
    ends before it, and the token that completes the character holds all of it; special tokens spell nothing.

    Tokens are spelled from a table of bytes made once per tokenizer. What it spells is held against the tokenizer's own
    decoding; where they differ (a tokenizer with rules of its own, invalid UTF-8) every prefix is decoded instead,
    slower and as exactly as the tokenizer allows.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        special, added = set(tokenizer.all_special_ids), set(tokenizer.added_tokens_decoder)
        byte_level = "ByteLevel" in str(getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", ""))
        spell = _byte_level if byte_level else _sentence_piece
        self.table = [
            b"" if i in special or token is None else token.encode() if i in added else spell(token)
            for i, token in enumerate(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
        ]

    def __call__(self, ids: Sequence[int] | NDArray) -> tuple[str, NDArray[np.int32]]:
        ids = np.asarray(ids, np.int64).tolist()
        text = self._decode(ids)
        spelled = [self.table[i] for i in ids]
        joined = b"".join(spelled)
        for lost in (0, 1):  # sentence-piece tokenizers lose a leading space
            if joined == b" " * lost + text.encode():
                return text, np.maximum(_whole_characters(joined, [len(b) for b in spelled]) - lost, 0)
        return text, self._prefix_ends(ids, text)

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _prefix_ends(self, ids: list[int], text: str) -> NDArray[np.int32]:
        ends = [_shared(self._decode(ids[: i + 1]), text) for i in range(len(ids))]
        return np.maximum.accumulate(np.array(ends, np.int32))


def carry(text: str, char_ends: ArrayLike, tokenizer: Any, *, finished: bool) -> tuple[NDArray, NDArray]:
    """A solution in another model's tokens: ids (T,) int32 and, for each of its step ends (K,), the token end there.

    A step ends with the first token that holds its last character, so that two ends may become one. finished: the text
    came to its end, which `tokenizer`'s end-of-text token then says; the end of the whole text moves behind it.
    ValueError: a tokenizer without character offsets.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(f"align: {type(tokenizer).__name__} knows no character offsets; expected a fast tokenizer")
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = list(encoded["input_ids"]), np.array([end for _, end in encoded["offset_mapping"]], np.int64)
    char_ends = np.asarray(char_ends)
    ends = np.minimum(np.searchsorted(offsets, char_ends, side="left") + 1, len(ids))
    if finished:
        ids.append(tokenizer.eos_token_id)
    ends[char_ends == len(text)] = len(ids)
    return np.array(ids, np.int32), np.maximum(ends, 1).astype(np.int32)


def same_tokens(one: Any, other: Any) -> bool:
    """Whether two tokenizers give the same ids, so that nothing need be carried from the one to the other."""
    return one is other or (
        one.get_vocab() == other.get_vocab()
        and getattr(one, "backend_tokenizer", one).to_str() == getattr(other, "backend_tokenizer", other).to_str()
    )


def visible(token: str) -> str:
    """What a token spells, for people: line breaks as ⏎; ■ for one that spells nothing, as the end of text does."""
    return token.replace("\n", "⏎") or "■"


def _shared(prefix: str, text: str) -> int:
    """How many leading characters the two share; a character cut in two decodes to another one."""
    return next((i for i, (a, b) in enumerate(zip(prefix, text, strict=False)) if a != b), min(len(prefix), len(text)))


def _whole_characters(joined: bytes, lengths: ArrayLike) -> NDArray[np.int32]:
    """(T,) how many characters of a UTF-8 text are complete after each of its tokens of `lengths` bytes."""
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
