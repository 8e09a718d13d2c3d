"""Plain: the texts of people as token ids, in which "</s>" is four characters and no end of text.

A tokenizer reads the word of a special token as that token wherever it stands. In a template it is meant so. In a
problem or a solution it is text, whoever wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

_MARK, _OWN = 0xF0000, 0x100000  # characters without a meaning, for a special word: in a text, and in its template


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text, all of it plain. ValueError: the tokenizer has only a special token for a part of it."""
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    _check_plain(tokenizer, ids)
    return ids


class Templated:
    """Encodes texts made by templates: the special tokens of the template, and what it holds as plain text.

    `encode([template.replace("{problem}", mark(problem))])`. Where no text holds a special word, the ids are those of
    the tokenizer itself.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.special = [token for token in tokenizer.added_tokens_decoder.values() if token.special and token.content]
        longest_first = sorted((token.content for token in self.special), key=len, reverse=True)
        self._word = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        characters = "".join(longest_first)
        self._unmarked = {_MARK + i: character for i, character in enumerate(characters)}
        places = [0, *accumulate(map(len, longest_first))]
        self._place = dict(zip(longest_first, places, strict=False))  # of each word among the characters
        self._marks = re.compile(f"[{chr(_MARK)}-{chr(_MARK + len(characters))}]")
        self._plain: Any = None  # a tokenizer that knows the special words by other characters

    def mark(self, text: str) -> str:
        """The text with its special words marked as plain. Its length stays, and it may be cut anywhere.

        ValueError: it holds such marks itself.
        """
        if self._marks.search(text):
            raise ValueError("it holds characters without a meaning (private use, from U+F0000 on); take them out")
        return self._word.sub(lambda word: self._written(word[0], _MARK), text)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without what the tokenizer would add. ValueError: a word cannot be read as plain."""
        ids = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return [
            self._encode(text, False)[0] if self._marks.search(text) else of_text
            for text, of_text in zip(texts, ids, strict=True)
        ]

    def encode_with_offsets(self, text: str, *, add: bool) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of a text, and the characters where each token begins and ends.

        add: whether the tokenizer adds its special tokens. ValueError: a word cannot be read as plain.
        """
        if self._marks.search(text):
            return self._encode(text, add)
        encoded = self.tokenizer(text, add_special_tokens=add, return_offsets_mapping=True)
        return encoded["input_ids"], encoded["offset_mapping"]

    def _encode(self, text: str, add: bool) -> tuple[list[int], list[tuple[int, int]]]:
        if self._plain is None:
            self._plain = self._renamed()
        tokenizer, special = self._plain
        text = self._word.sub(lambda word: self._written(word[0], _OWN), text).translate(self._unmarked)
        _check_plain(self.tokenizer, tokenizer.encode(text, add_special_tokens=False).ids)
        encoded = tokenizer.encode(text, add_special_tokens=add)
        return [special.get(i, i) for i in encoded.ids], encoded.offsets

    def _written(self, word: str, first: int) -> str:
        """A special word in characters without a meaning, from `first` on."""
        place = first + self._place[word]
        return "".join(map(chr, range(place, place + len(word))))

    def _renamed(self) -> tuple[Any, dict[int | None, int]]:
        """A copy of the tokenizer with other words for special tokens, and the true ids by those of these words."""
        if not self.tokenizer.is_fast:
            kind = type(self.tokenizer).__name__
            raise ValueError(f"it holds the word of a special token, which {kind} cannot read as text; take it out")
        from tokenizers import AddedToken, Tokenizer

        copy = Tokenizer.from_str(self.tokenizer.backend_tokenizer.to_str())
        copy.no_padding()
        copy.no_truncation()
        names = [self._written(token.content, _OWN) for token in self.special]
        copy.add_tokens(
            [
                AddedToken(
                    name, lstrip=token.lstrip, rstrip=token.rstrip, single_word=token.single_word, normalized=False
                )
                for name, token in zip(names, self.special, strict=True)
            ]
        )
        copy.encode_special_tokens = True
        ids = self.tokenizer.convert_tokens_to_ids([token.content for token in self.special])
        return copy, {copy.token_to_id(name): i for name, i in zip(names, ids, strict=True)}


def _check_plain(tokenizer: Any, ids: Iterable[int]) -> None:
    found = set(ids) & (set(tokenizer.all_special_ids) - {tokenizer.unk_token_id})
    if found:
        word = tokenizer.convert_ids_to_tokens(min(found))
        raise ValueError(f"it holds {word!r}, for which the tokenizer has only its special token; take that out")
