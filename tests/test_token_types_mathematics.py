"""Token types and roles, on lines that can be checked by eye."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asprm.token_types import mathematics as tokens
from asprm.token_types.mathematics import ROLES, TYPES, Tagger, load_tagger, token_roles, token_table, token_types
from asprm.token_types.tables import samples_by_type

SOLUTION = "Anna has 12 + 5 = 17 apples.\nSo they have 17 * 2 = 34.\nThe answer is: 34"


def cut(text, pattern=r"\s?[^\W\d]+|\s?\d|\s?[^\w\s]|\s"):
    """Tokens as a small byte-level BPE would make them: words with their space, single digits."""
    return [m.end() for m in re.finditer(pattern, text)]


def pieces(text, ends):
    return [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def types_of(text):
    ends = cut(text)
    return list(
        zip([p.strip(" ") for p in pieces(text, ends)], [TYPES[i] for i in token_types(text, ends)], strict=True)
    )


def roles_of(text):
    """(token, role) of all tokens with a role."""
    ends = cut(text)
    named = zip([p.strip() for p in pieces(text, ends)], [ROLES[i] for i in token_roles(text, ends)], strict=True)
    return [(token, role) for token, role in named if role != "other"]


def role_string(text):
    """One letter per visible character: o operand, p operation, = equals, r result, a answer, n number, . other."""
    letters = dict(zip(ROLES, "po=ran.", strict=True))
    ends = range(1, len(text) + 1)
    return "".join(c if c == " " else letters[ROLES[i]] for c, i in zip(text, token_roles(text, ends), strict=True))


def test_types_of_a_solution():
    found = types_of(SOLUTION)
    assert found[:10] == [
        ("Anna", "Noun"),
        ("has", "Verb"),
        *[(piece, "Math Formula") for piece in ["1", "2", "+", "5", "=", "1", "7"]],
        ("apples", "Noun"),
    ]
    assert found[10:14] == [
        (".", "Punctuation"),
        ("\nSo", "New line break"),
        ("they", "Other"),
        ("have", "Verb"),
    ]
    assert found[-6:] == [
        ("\nThe", "New line break"),
        ("answer", "Noun"),
        ("is", "Verb"),
        (":", "Punctuation"),
        ("3", "Symbolic Reasoning"),
        ("4", "Symbolic Reasoning"),
    ]


@pytest.mark.parametrize(
    ("text", "piece", "kind"),
    [  # the paper's Table 11
        ("works on 4 of them each day.\nAfter 5 days,", "\n", "New line break"),
        ("If Billie has 18 crayons, and Bobbie has three times", ",", "Punctuation"),
        ("gives them 3 points. So in total, Joe’s team has 3 + 3 = 6", "3", "Symbolic Reasoning"),
        ("so x + 4x - 10 = 25", "+", "Math Formula"),
        ("Ron gets to pick a new book 1 out of 13", "book", "Noun"),
        ("their ages is 34, so we can write the equation L + (L + 4) = 34.", "so", "Conjunction"),
        ("In 14 days, each dog will eat 250 grams/day", "eat", "Verb"),
        ("we can round this to the nearest whole number.", "this", "Determiner"),
    ],
)
def test_the_papers_own_examples(text, piece, kind):
    start = text.index(piece)
    ends = sorted({start, start + len(piece), len(text)} - {0})
    index = ends.index(start + len(piece))
    assert TYPES[token_types(text, ends)[index]] == kind


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("has 12 + 5 = 17 apples", "... oo p o = rr ......"),
        ("n - 3 = 6 + 9 = 15.", "o p o = o p o = rr."),
        ("2 cups + 1 cup of milk = 3 cups", "o .... p o ... .. .... = r ...."),
        ("3 x 20 = 60, so x + 4x = 5", "o p oo = rr. .. o p oo = r"),
        ("9 * $2 = $18 (50%)", "o p oo = rrr .nnn."),
        ("2 * (-3) = -6", "o p .oo. = rr"),
        ("eats 3/4 of 12 pies", ".... nnn .. nn ...."),
        ("2/2 = 1, x = 3/5.", "opo = r. o = rrr."),
        ("a well-known 5-year plan, 7 km/h", ". .......... n..... ..... n ...."),
        ("$80,000 x 2.5 = $200,000, or so", "ooooooo p ooo = rrrrrrrr. .. .."),
        ("So the answer is: 3/5", ".. ... ...... ... aaa"),
        ("The answer is: \\boxed{34}", "... ...... ... .......aa."),
        ("Thus \\boxed{-7}.", ".... .......aa.."),
        ("#### 1,250", ".... aaaaa"),
        ("The answer is: Monday", "... ...... ... aaaaaa"),
    ],
)
def test_roles(text, roles):
    assert role_string(text) == roles


def test_a_space_has_the_role_of_what_follows_it_and_every_digit_that_of_its_number():
    text = "so 12 + 5 = 17"
    ends = list(range(1, len(text) + 1))
    named = [ROLES[i] for i in token_roles(text, ends)]
    assert named[2:5] == ["operand"] * 3  # the space, 1, 2
    assert named[5:7] == ["operation"] * 2
    assert roles_of(text) == [
        ("1", "operand"),
        ("2", "operand"),
        ("+", "operation"),
        ("5", "operand"),
        ("=", "equals"),
        ("1", "result"),
        ("7", "result"),
    ]


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("We get $\\frac{3}{4} + x$ now", "$\\frac{3}{4} + x$"),
        ("Then \\(y = 2\\) and", "\\(y = 2\\)"),
        ("it is \\boxed{35}.", "\\boxed{35}"),
        ("costs $5 and $6 today", ""),
        ("3 \\times 4 \\text{ cups}", "3 \\times 4"),
    ],
)
def test_latex_is_formula_and_dollars_are_not(text, formula):
    kinds = token_types(text, range(1, len(text) + 1))
    found = {i for i, kind in enumerate(kinds) if TYPES[kind] == "Math Formula" and text[i] != " "}
    start = text.index(formula)
    assert {i for i in range(start, start + len(formula)) if text[i] != " "} <= found
    assert formula or not found


def test_pieces_of_words_and_the_end_of_text():
    text = "apples don't"
    kinds = [TYPES[i] for i in token_types(text, [3, 6, 10, 12, 12])]
    assert kinds[0] == "Noun"
    assert kinds[1] == kinds[3] == "Split word"
    assert kinds[4] == "End of text"
    assert [TYPES[i] for i in token_types("", [0])] == ["End of text"]
    assert token_types("", []).tolist() == token_roles("", []).tolist() == []


@given(st.text(alphabet="ax 12+-=/*().,$%{}\\\n#'é", max_size=40), st.data())
def test_every_token_of_any_text_has_a_type_and_a_role(text, data):
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=6))
    ends = [*sorted(cuts), len(text)]
    kinds, roles = token_types(text, ends), token_roles(text, ends)
    assert len(kinds) == len(roles) == len(ends)
    assert ((kinds >= 0) & (kinds < len(TYPES))).all()
    assert ((roles >= 0) & (roles < len(ROLES))).all()
    for piece, kind in zip(pieces(text, ends), kinds, strict=True):
        assert (TYPES[kind] == "New line break") == ("\n" in piece) or not piece.strip()


def test_offsets_must_cover_the_text():
    with pytest.raises(ValueError, match="length of the text, 5; they end at 4"):
        token_types("apple", [4])
    with pytest.raises(ValueError, match="must rise"):
        token_roles("apple", [4, 2, 5])


def test_the_packaged_tagger_needs_no_corpus(monkeypatch):
    monkeypatch.setattr(tokens.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("NLTK_DATA", "/nonexistent")
    tagger = load_tagger.__wrapped__()
    assert tagger.name == load_tagger.__wrapped__("textblob").name == "TextBlob PatternTagger"
    with pytest.raises(ModuleNotFoundError, match="spacy download en_core_web_sm"):
        load_tagger.__wrapped__("spacy")
    with pytest.raises(ValueError, match="unknown tagger 'hanta'"):
        load_tagger.__wrapped__("hanta")
    assert [TYPES[i] for i in tagger.tag(["the", "dog", "eats", "and", "sleeps", "well"])] == [
        "Determiner",
        "Noun",
        "Verb",
        "Conjunction",
        "Verb",
        "Other",
    ]


def test_spacy_is_fed_words_and_its_universal_tags_are_understood():
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed")
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("attribute_ruler")
    for word, tag in {"dog": "NOUN", "Rex": "PROPN", "is": "AUX", "the": "DET", "of": "ADP", "2": "NUM"}.items():
        ruler.add([[{"ORTH": word}]], {"POS": tag})
    kinds = tokens._spacy_tags(nlp, ["the", "dog", "of", "Rex", "is", "2", "big"])
    assert [TYPES[i] for i in kinds] == [
        "Determiner",
        "Noun",
        "Conjunction",
        "Noun",
        "Verb",
        "Symbolic Reasoning",
        "Other",
    ]


# --- counts -----------------------------------------------------------------------------------------------------------


def table(by, **changes):
    text = "So 2 + 3 = 5.\n"
    ends = cut(text)  # So, 2, +, 3, =, 5, ., newline
    doubts = {"plus": np.where(np.arange(8) == 2, 0.1, 0.9), "result": np.where(np.arange(8) == 5, 0.1, 0.9)}
    arguments = {
        "texts": iter([text] * 4),
        "char_ends": iter([ends] * 4),
        "confidences": [doubts["plus"], doubts["plus"], doubts["result"], np.ones(8)],
        "problem": ["a", "a", "b", "c"],
        "tau": 0.5,
    }
    return token_table(**arguments | changes, by=by)


def test_table_counts_all_and_decision_tokens():
    frame = table("role").set_index("role")
    assert frame["tokens"].sum() == 32
    assert frame.loc[["operation", "operand", "result", "equals"], "tokens"].tolist() == [4, 8, 4, 4]
    assert frame.loc[["operation", "operand", "result"], "decision_tokens"].tolist() == [2, 0, 1]
    assert frame.loc["operation", ["share", "decision_share", "rate"]].tolist() == pytest.approx([1 / 8, 2 / 3, 1 / 2])
    assert (frame["decision_share_low"] <= frame["decision_share"]).all()
    assert frame.loc["operation", "decision_share_low"] < 0.01  # the decisions are of two problems
    assert frame.loc["operation", "decision_share_high"] > 0.99


def test_table_by_type_has_the_papers_rows():
    frame = table("type", tagger=Tagger("all nouns", lambda words: [TYPES.index("Noun")] * len(words)))
    counts = frame.set_index("type")["tokens"]
    assert tuple(frame["type"]) == TYPES
    assert counts[["Math Formula", "Conjunction", "Punctuation", "New line break"]].tolist() == [20, 4, 4, 4]


def test_table_names_wrong_input():
    with pytest.raises(ValueError, match="by is 'word'"):
        table("word")
    with pytest.raises(ValueError, match="problem 'a' has 8 offsets and 1 confidences"):
        table("role", confidences=[np.ones(1)] * 4)
    with pytest.raises(ValueError, match="no solutions"):
        table("role", texts=[], char_ends=[], confidences=[], problem=[])


def test_a_sample_of_each_type_is_a_decision_token_of_that_type():
    tag = load_tagger("textblob")
    texts = ["So 1 + 2 = 3.\nThe answer is: 3", "Then he has 5 apples."]
    ends = [np.arange(1, len(text) + 1) for text in texts]  # a token a character
    confidences = [np.where(np.array(list(text)) == "+", 0.1, 0.9) for text in texts]
    confidences[1][5:7] = 0.2  # "he"
    given = (texts, ends, confidences)
    found = samples_by_type(*given, 0.5, TYPES, lambda text, e: token_types(text, e, tag))
    assert set(found["confidence"]) == {0.1, 0.2}
    for row in found.itertuples():
        # Contexts reach back to the beginning.
        text = next(text for text in texts if text.startswith(row.before + row.token + row.after))
        assert TYPES[token_types(text, np.arange(1, len(text) + 1), tag)[len(row.before)]] == row.type
    assert samples_by_type(*given, 0.05, TYPES, lambda text, e: token_types(text, e, tag)).empty
