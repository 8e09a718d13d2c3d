"""JSON that Python reads too leniently is refused, and files that are no UTF-8 are known by their beginning."""

import gzip

import pytest

from asprm.problems.strict import check_encoding, check_text, read_json


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '{"x": {"b": 1, "c": 2, "b": 3}}', '[{"a": 0, "\\u0061": 1}]'])
def test_a_field_that_appears_twice_is_refused(text):
    with pytest.raises(ValueError, match=r"the field '[ab]' appears twice"):
        read_json(text)


def test_an_integer_that_python_does_not_read_is_refused_with_its_digits():
    with pytest.raises(ValueError, match="the integer -99999999999… has 6,000 digits, expected at most 4,300"):
        read_json(f'{{"answer": -{"9" * 6000}}}')
    assert read_json("9" * 4300) == 10**4300 - 1


def test_other_values_are_those_of_json():
    assert read_json('{"a": [1, {"b": null}], "": "x"}') == {"a": [1, {"b": None}], "": "x"}


def test_half_a_character_is_no_text():
    assert check_text("problem", "🍎") == "🍎"
    for half in ("a\ud83d", "\udc00", "\udf4e\ud83c"):
        with pytest.raises(ValueError, match=r"'problem' holds half a character, '\\ud"):
            check_text("problem", half)


@pytest.mark.parametrize("start", ["{", "[", '\n{"a": 1}', '{"problem": "€"}'])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_other_encodings_are_known_by_their_beginning(start, encoding):
    with pytest.raises(ValueError, match=f"it is {encoding[:6].upper()}.*, expected UTF-8; convert it with `iconv"):
        check_encoding(start.encode(encoding))


@pytest.mark.parametrize("start", [b"", b"{", b'\xef\xbb\xbf{"a": 1}', b"\n", b"\0", b"\0\0x", "ä".encode(), b"\xff"])
def test_utf_8_and_single_damaged_bytes_are_no_other_encoding(start):
    assert check_encoding(start) is None


def test_packed_files_are_known():
    with pytest.raises(ValueError, match="it is a gzip file, expected plain text"):
        check_encoding(gzip.compress(b'{"a": 1}'))
