"""Strict JSON: what Python's reader lets pass is refused: a field named twice, a text that no file can hold.

Rows that people bring (`asprm.rows.jsonl`) and data sets (`asprm.problems.hub`) are read by the same rules.
"""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Sequence
from typing import Any

_MARKS = {  # the longer ones first: UTF-32's little-endian mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_UNMARKED = {"UTF-32LE": 4, "UTF-32BE": 4, "UTF-16LE": 2, "UTF-16BE": 2}  # bytes of a character
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"PAR1": "parquet"}


def read_json(text: str) -> Any:
    """The value of a JSON text. ValueError: it is not JSON, an object in it names a field twice, or an integer has more
    digits than Python reads.
    """
    return json.loads(text, object_pairs_hook=_fields, parse_int=_integer)


def _integer(digits: str) -> int:
    most = sys.get_int_max_str_digits()
    if 0 < most < len(digits.lstrip("-")):
        raise ValueError(
            f"the integer {digits[:12]}… has {len(digits.lstrip('-')):,} digits, expected at most {most:,}; write it "
            'as a text, in "quotes"'
        )
    return int(digits)


def _fields(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} appears twice; one value would be lost")
    return fields


def check_text(name: str, text: str) -> str:
    r"""The field's text itself. ValueError: half of a surrogate pair, such as "\ud83d", which is no character."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"'{name}' holds half a character, {text[error.start]!a}, at character {error.start}; write it whole"
        ) from None
    return text


def check_encoding(start: bytes) -> None:
    """ValueError: the first bytes of a file show that it is not UTF-8. The message says what to do."""
    encoding = next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), None)
    for unmarked, width in _UNMARKED.items():
        if len(start) >= width and start[:width].decode(unmarked, "replace") in ("{", "[", "\n"):
            encoding = encoding or unmarked
    if encoding:
        raise ValueError(f"it is {encoding}, expected UTF-8; convert it with `iconv -f {encoding} -t UTF-8`")
    packed = next((kind for mark, kind in _PACKED.items() if start.startswith(mark)), None)
    if packed:
        raise ValueError(f"it is a {packed} file, expected plain text; unpack it first")
