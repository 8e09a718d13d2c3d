"""Plain: the texts of people as token ids, in which "</s>" is four characters and no end of text.

A tokenizer reads the word of a special token as that token wherever it stands. In a template it is meant so. In a
problem or a solution it is text, whoever wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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
        self.words = [token for token in tokenizer.added_tokens_decoder.values() if token.special and token.content]
        longest_first = sorted((token.content for token in self.words), key=len, reverse=True)
        self._word = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._place = {token.content: place for place, token in enumerate(self.words)}
        self._marks = re.compile(f"[{chr(_MARK)}-{chr(_MARK + len(self.words))}]")
        self._plain: Any = None  # a tokenizer that knows the special words by other characters

    def mark(self, text: str) -> str:
        """The text with its special words marked as plain. Its length stays. ValueError: it holds such marks itself."""
        if self._marks.search(text):
            raise ValueError("it holds characters without a meaning (private use, from U+F0000 on); take them out")
        return self._word.sub(lambda word: chr(_MARK + self._place[word[0]]) * len(word[0]), text)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without what the tokenizer would add. ValueError: a word cannot be read as plain."""
        ids = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return [
            self._encode(text) if self._marks.search(text) else of_text
            for text, of_text in zip(texts, ids, strict=True)
        ]

    def _encode(self, text: str) -> list[int]:
        if self._plain is None:
            self._plain = self._renamed()
        tokenizer, special = self._plain
        text = self._word.sub(lambda word: chr(_OWN + self._place[word[0]]) * len(word[0]), text)
        for place, token in enumerate(self.words):
            text = text.replace(chr(_MARK + place) * len(token.content), token.content)
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        _check_plain(self.tokenizer, ids)
        return [special.get(i, i) for i in ids]

    def _renamed(self) -> tuple[Any, dict[int, int]]:
        """A copy of the tokenizer with other words for special tokens, and the true ids by those of these words."""
        if not self.tokenizer.is_fast:
            raise ValueError(
                f"it holds a special token of {type(self.tokenizer).__name__}, which cannot read it as text"
            )
        from tokenizers import AddedToken, Tokenizer

        copy = Tokenizer.from_str(self.tokenizer.backend_tokenizer.to_str())
        copy.no_padding()
        copy.no_truncation()
        names = [chr(_OWN + place) * len(token.content) for place, token in enumerate(self.words)]
        copy.add_tokens(
            [
                AddedToken(
                    name, lstrip=token.lstrip, rstrip=token.rstrip, single_word=token.single_word, normalized=False
                )
                for name, token in zip(names, self.words, strict=True)
            ]
        )
        copy.encode_special_tokens = True
        ids = self.tokenizer.convert_tokens_to_ids([token.content for token in self.words])
        return copy, {copy.token_to_id(name): i for name, i in zip(names, ids, strict=True)}


def _check_plain(tokenizer: Any, ids: Iterable[int]) -> None:
    found = set(ids) & (set(tokenizer.all_special_ids) - {tokenizer.unk_token_id})
    if found:
        word = tokenizer.convert_ids_to_tokens(min(found))
        raise ValueError(f"it holds {word!r}, for which the tokenizer has only its special token; take that out")
