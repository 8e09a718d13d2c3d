"""Character ends of tokens, against the tokenizer's own decoding of every prefix."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import byte_level_tokenizer, changing_tokenizer, sentence_piece_tokenizer

from asprm.models.align import Speller, carry, same_tokens


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


@given(text=st.text(alphabet=st.sampled_from("ab 12+=\nThe"), min_size=1, max_size=30), data=st.data())
def test_ends_that_are_carried_to_the_same_tokenizer_stay_where_they_are(byte_level, text, data):
    ids = byte_level(text)["input_ids"]
    char_ends = Speller(byte_level)(ids)[1]
    inner = data.draw(st.sets(st.integers(0, len(ids) - 1)))
    ends = np.array(sorted(inner | {len(ids) - 1})) + 1
    carried, found = carry(text, char_ends[ends - 1], byte_level, finished=False)
    assert carried.tolist() == ids
    assert found.tolist() == ends.tolist()
    carried, found = carry(text, char_ends[ends - 1], byte_level, finished=True)
    assert carried.tolist() == [*ids, byte_level.eos_token_id]
    assert found.tolist() == [*ends[:-1], len(ids) + 1]


@given(text=st.text(alphabet=st.sampled_from("abenoswThi Z125"), min_size=1, max_size=30), data=st.data())
def test_a_carried_step_holds_its_last_character_and_as_little_more_as_can_be(byte_level, text, data):
    place = data.draw(st.integers(1, len(text)))
    ids, [end] = carry(text, [place], byte_level, finished=False)
    ends = Speller(byte_level)(ids)[1]
    assert ends[end - 1] >= place
    assert end == 1 or ends[end - 2] < place or place == len(text)


def test_steps_that_end_where_the_text_ends_hold_its_end(byte_level):
    text = "12 = 5"
    ids, ends = carry(text, [2, len(text), len(text)], byte_level, finished=True)
    assert ids[-1] == byte_level.eos_token_id
    assert ends.tolist() == [1, len(ids), len(ids)]
    byte_level.eos_token, eos = None, byte_level.eos_token
    ids, ends = carry(text, [2, len(text)], byte_level, finished=True)  # this tokenizer has no end of text
    byte_level.eos_token = eos
    assert ids.tolist() == byte_level(text)["input_ids"]
    assert ends.tolist() == [1, len(ids)]


@pytest.mark.parametrize(
    ("text", "ends", "pieces"),
    [
        ("x is. So be", [6, 11], ["xis.", "sobe"]),  # the step ends with a space that no token holds
        ("x is.   So be", [6, 7, 8, 13], ["xis.", "", "", "sobe"]),
        ("x is.   So be", [5, 13], ["xis.", "sobe"]),
        ("  x is", [1, 2, 6], ["x", "", "is"]),  # no token is before it, so it ends with the first
        ("x² = 4", [2, 6], ["x2", "=4"]),
        ("ﬁt xﬁ so", [1, 2, 5, 8], ["fi", "t", "xfi", "so"]),
        ("so be  ", [2, 5, 7], ["so", "be", ""]),
    ],
)
def test_steps_are_carried_to_a_tokenizer_that_changes_the_text(text, ends, pieces):
    tokenizer = changing_tokenizer()
    ids, carried = carry(text, ends, tokenizer, finished=False)
    tokens = [token.removeprefix("##") for token in tokenizer.convert_ids_to_tokens(ids)]
    assert ["".join(tokens[a:b]) for a, b in pairwise([0, *carried])] == pieces


def test_a_step_that_ends_within_what_several_tokens_share_is_refused():
    class Vague:
        is_fast, eos_token_id = True, None

        def __call__(self, text, **options):
            return {"input_ids": [0, 1, 2], "offset_mapping": self.offsets}

        def __len__(self):
            return 3

    tokenizer = Vague()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asprm.models.align._speller", lambda *_: lambda ids: ("", np.zeros(3)))
        tokenizer.offsets = [(0, 3), (0, 3), (3, 4)]
        assert carry("abcd", [3, 4], tokenizer, finished=False)[1].tolist() == [2, 3]
        with pytest.raises(ValueError, match="does not say which of its tokens ends at character 2"):
            carry("abcd", [2, 4], tokenizer, finished=False)
        tokenizer.offsets = [(3, 4), (0, 3), (3, 4)]
        with pytest.raises(ValueError, match="do not rise"):
            carry("abcd", [3, 4], tokenizer, finished=False)


def test_a_carried_step_holds_whole_characters(byte_level, sentence_piece):
    text = "a€\nb"
    for tokenizer in (byte_level, sentence_piece):
        ids, ends = carry(text, [1, 2, 3, 4], tokenizer, finished=False)
        spelled = Speller(tokenizer)(ids)[1]
        assert spelled[ends - 1].tolist() == [1, 2, 3, 4]


def test_special_words_are_carried_as_text(byte_level):
    text = "12</s> = 5</s>"
    ids, ends = carry(text, [6, len(text)], byte_level, finished=False)
    assert byte_level.eos_token_id not in ids
    assert byte_level.decode(ids[: ends[0]]) == "12</s>"


def test_a_tokenizer_without_character_offsets_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match="Slow gives no character offsets; expected a fast tokenizer"):
        carry("12", [2], Slow(), finished=False)


def test_tokenizers_are_told_apart(byte_level, sentence_piece):
    assert same_tokens(byte_level, byte_level_tokenizer())
    assert not same_tokens(byte_level, sentence_piece)
