"""Special words in people's texts are text; those of a template are tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import byte_level_tokenizer, sentence_piece_tokenizer
from transformers import AddedToken

from asprm.models.plain import Templated, plain_ids


@pytest.fixture(scope="module")
def tokenizer():
    made = byte_level_tokenizer()
    made.add_special_tokens({"additional_special_tokens": ["<s>", AddedToken("<mask>", lstrip=True), "<s><s>"]})
    return made


def ids_of(tokenizer, template, problem):
    templated = Templated(tokenizer)
    [ids] = templated.encode([template.replace("{problem}", templated.mark(problem))])
    return ids


@pytest.mark.parametrize("word", ["</s>", "<s>", "<mask>", "<s><s>"])
@pytest.mark.parametrize("problem", ["{}", "a {} b", "{}{}", " {}\n€", "12{}"])
def test_a_special_word_of_a_problem_is_plain_and_one_of_the_template_is_not(tokenizer, word, problem):
    problem, special = problem.replace("{}", word), set(tokenizer.all_special_ids)
    ids = ids_of(tokenizer, "<s>Q {problem}<mask></s>", problem)
    own = tokenizer.convert_tokens_to_ids(["<s>", "<mask>", "</s>"])
    assert [i for i in ids if i in special] == own
    assert tokenizer.decode(ids) == f"<s>Q {problem}<mask></s>"
    assert tokenizer.decode(plain_ids(tokenizer, problem)) == problem
    assert not special & set(plain_ids(tokenizer, problem))


@given(text=st.text(alphabet=st.sampled_from("ab </s>€\n"), max_size=20))
def test_other_texts_have_the_ids_of_the_tokenizer_itself(tokenizer, text):
    if "</s>" in text or "<s>" in text:
        return
    template = "<s>{problem}</s>"
    assert ids_of(tokenizer, template, text) == tokenizer(template.replace("{problem}", text))["input_ids"]
    assert plain_ids(tokenizer, text) == tokenizer(text)["input_ids"]


def test_a_tokenizer_that_has_only_the_special_token_says_so():
    tokenizer = sentence_piece_tokenizer()  # "</s>" is one of its pieces
    with pytest.raises(ValueError, match="it holds '</s>', for which the tokenizer has only its special token"):
        plain_ids(tokenizer, "a</s>")
    with pytest.raises(ValueError, match="has only its special token"):
        ids_of(tokenizer, "{problem}", "a</s>")


def test_a_text_with_marks_of_its_own_is_refused(tokenizer):
    with pytest.raises(ValueError, match="private use"):
        Templated(tokenizer).mark("a\U000f0000")


def test_a_marked_text_may_be_cut_anywhere_and_keeps_its_offsets(tokenizer):
    templated = Templated(tokenizer)
    marked = templated.mark("a</s><s>b")
    assert len(marked) == len("a</s><s>b")
    for cut in range(len(marked)):
        text = marked[:cut] + "<mask>" + marked[cut:]
        ids, offsets = templated.encode_with_offsets(text, add=False)
        assert tokenizer.decode(ids) == "a</s><s>b"[:cut] + "<mask>" + "a</s><s>b"[cut:]
        assert [i for i in ids if i in tokenizer.all_special_ids] == [tokenizer.convert_tokens_to_ids("<mask>")]
        assert (cut, cut + 6) in offsets
        assert offsets[-1][1] == len(text)
