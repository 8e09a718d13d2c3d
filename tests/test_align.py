"""Character ends of tokens, against the tokenizer's own decoding of every prefix."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import byte_level_tokenizer, sentence_piece_tokenizer

from asprm.align import Speller


@pytest.fixture(scope="module")
def byte_level():
    return byte_level_tokenizer()


@pytest.fixture(scope="module")
def sentence_piece():
    return sentence_piece_tokenizer()


@given(text=st.text(alphabet=st.sampled_from("ab 12+=\n€ëЖ🍎"), max_size=30))
def test_char_ends_are_those_of_decoded_prefixes(byte_level, text):
    spell = Speller(byte_level)
    ids = [*byte_level(text)["input_ids"], byte_level.eos_token_id]
    spelled, ends = spell(ids)
    assert spelled == text
    assert ends.tolist() == spell._prefix_ends(ids, text).tolist()


def test_a_character_of_several_tokens_belongs_to_the_last_of_them(byte_level):
    ids = byte_level("a€b")["input_ids"]
    assert len(ids) == 5
    assert Speller(byte_level)(ids)[1].tolist() == [1, 1, 1, 2, 3]


def test_bytes_that_are_no_text_fall_back_on_decoded_prefixes(byte_level):
    euro, a = byte_level("€")["input_ids"], byte_level("a")["input_ids"]
    text, ends = Speller(byte_level)([*a, euro[1], *a])
    assert text == "a\ufffda"
    assert ends.tolist() == [1, 2, 3]


def test_sentence_pieces_lose_their_leading_space(sentence_piece):
    ids = [*sentence_piece("The answer Zoë 12")["input_ids"], sentence_piece.eos_token_id]
    spell = Speller(sentence_piece)
    text, ends = spell(ids)
    assert text == "The answer Zoë 12"
    assert ends.tolist() == spell._prefix_ends(ids, text).tolist()
    assert ends[0] == 3
