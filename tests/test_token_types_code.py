"""Token types of Python in solutions, on lines that can be checked by eye, on cut code, and on any text."""

import re
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_data import real_rows

from asprm.grading.fences import extract_code, python_blocks
from asprm.results.paper import table as paper_table
from asprm.token_types import code as code_tokens
from asprm.token_types.code import (
    COMMENTS,
    OF_CODE,
    PLACES,
    TYPES,
    character_types,
    line_counts,
    plans_next_step,
    token_comments,
    token_places,
    token_table,
    token_types,
)
from asprm.token_types.python import lexemes

SOLUTION = '''We add both.
```python
from math import inf
def add(self, a: int) -> List[int]:
    """Adds."""
    # Check the sign first
    if not a and self.n > 0:  # a is 0
        total = 2 * abs(a)
        return [x for x in range(a)]
    raise ValueError("no")
```
Done.'''


def cut(text):
    """Tokens as a byte-level BPE would make them: words with their space, single signs, single newlines."""
    return [m.end() for m in re.finditer(r" ?\w+| ?[^\w\s]|\n|\s+?(?=\s|\S)|\s", text)]


def classes(text, names=TYPES, classify=token_types):
    ends = cut(text)
    return [(text[a:b].strip(" "), names[i]) for a, b, i in zip([0, *ends], ends, classify(text, ends), strict=False)]


def of_code(code):
    """The (token, type) of fenced code, without spaces and newlines."""
    found = classes(f"```python\n{code}\n```")[4:-4]
    return [(token, kind) for token, kind in found if token.strip()]


def test_types_of_a_solution():
    found = dict.fromkeys(classes(SOLUTION))
    assert list(found) == [
        *[(piece, "Prose") for piece in ("We", "add", "both", ".", "\n", "`", "python")],
        *[("from", "From / Import"), ("math", "Name"), ("import", "From / Import"), ("inf", "Name")],
        *[("\n", "New line break"), ("def", "Def / Class"), ("add", "Name"), ("(", "Punctuation Mark")],
        *[("self", "Name"), (",", "Punctuation Mark"), ("a", "Name"), (":", "Punctuation Mark")],
        *[("int", "Type Defination"), (")", "Punctuation Mark"), ("-", "Punctuation Mark"), (">", "Punctuation Mark")],
        *[("List", "Type Defination"), ("[", "Punctuation Mark"), ("]", "Punctuation Mark")],
        *[("", "Space Character"), ('"', "Comment"), ("Adds", "Comment"), (".", "Comment")],
        *[(piece, "Comment") for piece in ("#", "Check", "the", "sign", "first")],
        *[("if", "If / Else / Elif"), ("not", "Boolean Operators"), ("and", "Boolean Operators")],
        *[(".", "Punctuation Mark"), ("n", "Instance Method"), (">", "Comparison"), ("0", "Number")],
        *[("a", "Comment"), ("is", "Comment"), ("0", "Comment"), ("total", "Name"), ("=", "Assignment")],
        *[("2", "Number"), ("*", "Arithmetic Operators"), ("abs", "Build-in Function"), ("return", "Return")],
        *[("x", "Name"), ("for", "For / While"), ("in", "For / While"), ("range", "Build-in Function")],
        *[("raise", "Other Code"), ("ValueError", "Type Defination"), ('"', "String"), ("no", "String")],
        ("Done", "Prose"),
    ]


@pytest.mark.parametrize(
    ("code", "piece", "kind"),
    [  # the paper's Table 12
        ("x = 1\ni += num_bytes", "\n", "New line break"),
        ("dp[i][j] += dp[i - 1][j] * (j - k) ", " \n", "Space Character"),
        ("j = (target - x * 2) // 2", "2", "Number"),
        ("if c in count and c != a:", "and", "Boolean Operators"),
        ("dp = [[0] * (n+1) for _ in range(n+1)]", "*", "Arithmetic Operators"),
        ("def is_valid(r, c):", "def", "Def / Class"),
        ("class Solution:", "class", "Def / Class"),
        ("from collections import defaultdict", "from", "From / Import"),
        ("import collections", "import", "From / Import"),
        ("for size in list(dp[curr_sum]):", "list", "Type Defination"),
        ("if abs(next_count + 1) > 0:", "abs", "Build-in Function"),
        ("self.count = 0", "count", "Instance Method"),
        ("if len(tokens) < 4:", "if", "If / Else / Elif"),
        ("else:", "else", "If / Else / Elif"),
        ("elif level == 0 and expression[i] == ' ':", "elif", "If / Else / Elif"),
        ("for i in range(len(fronts)):", "for", "For / While"),
        ("while x != self.parent[x]:", "while", "For / While"),
        ("return (merged[n // 2 - 1] + merged[n // 2]) / 2.0", "return", "Return"),
        ("digit_sum = (l1.val if l1 else 0) + (l2.val if l2 else 0)", "(", "Punctuation Mark"),
    ],
)
def test_the_papers_own_examples(code, piece, kind):
    text = f"```python\n{code}\n```"
    start = text.index(piece, text.index(code))
    piece = piece.strip("\n") or piece
    ends = [start, start + len(piece), len(text)]
    assert TYPES[token_types(text, ends)[1]] == kind


def test_the_rows_are_the_papers():
    assert set(paper_table(9).droplevel(0).index) - {""} == set(TYPES[:14])
    assert set(paper_table(10).index) - {"Total"} == set(PLACES[:2])


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("max = 3\nmax(a)", [("max", "Name"), ("max", "Name")]),  # the program's own
        ("class A:\n    def sum(self):\n        return sum(a)", [("sum", "Name"), ("sum", "Build-in Function")]),
        ("a.sum()", [("sum", "Name")]),
        ("a not in b", [("not", "Comparison"), ("in", "Comparison")]),
        ("a is not b", [("is", "Comparison"), ("not", "Comparison")]),
        ("[i in s for i in (s in t)]", [("in", "Comparison"), ("in", "For / While"), ("in", "Comparison")]),
        ("@cache\ndef f(): pass", [("@", "Punctuation Mark")]),
        ("a @ b", [("@", "Arithmetic Operators")]),
        ("yield from a", [("from", "Other Code")]),
        ("é: List = 1", [("List", "Type Defination")]),
        ("x = '''a\n# b\n'''", [("b", "String")]),
        ("def f():\n    '''a\n    # b\n    '''", [("b", "Comment")]),
        ("f'{a} {max(b)}' % c", [("max", "String"), ("c", "Name")]),
    ],
)
def test_words_in_their_places(code, found):
    names = {name for name, _ in found}
    assert [(token, kind) for token, kind in of_code(code) if token in names] == found


@pytest.mark.parametrize(
    ("code", "last"),
    [
        ("def f(a: List[int", ("int", "Type Defination")),  # the tree is lost, the built-in type is not
        ("x = 'abc", ("abc", "String")),
        ("x = '''abc\ndef f", ("f", "String")),
        ('"""It adds\ntwo', ("two", "Comment")),
        ("x = [1, 2\ny = 3 # so", ("so", "Comment")),
        ("x = (1]\nreturn y", ("y", "Name")),
        ("if a:\n        b\n    c = 'x\nwhile d", ("d", "Name")),
        ("x = 3 $ ?\nprint", ("print", "Build-in Function")),
        ("x = 1 + \\", ("\\", "Other Code")),
    ],
)
def test_code_that_is_cut_or_broken(code, last):
    text = f"```python\n{code}"
    ends = cut(text)
    token = text[ends[-2] :].strip(), TYPES[token_types(text, ends)[-1]]
    assert token == last


def test_every_cut_of_a_solution_keeps_what_came_before():
    """Cutting a solution changes the types of its last line only, and of names whose binding is cut off."""
    whole = character_types(SOLUTION)
    for end in range(len(SOLUTION)):
        same = SOLUTION.rfind("\n", 0, end) + 1
        changed = np.flatnonzero(character_types(SOLUTION[:end])[:same] != whole[:same])
        # In the annotations of a function without a body, names that are no built-in types are just names.
        assert {SOLUTION[i] for i in changed} <= set("List")


ANY = st.text(max_size=80) | st.text("'\"#\\\n ()[]:=if\tr\rf{}0é\x0c", max_size=80)


@given(ANY)
def test_lexemes_of_any_text_are_in_order_and_cover_what_can_be_seen(code):
    found = lexemes(code)
    covered = 0
    for this in found:
        assert covered <= this.start <= this.end <= len(code)
        assert len(this.text) == this.end - this.start
        assert all(a == b or b in " ?" for a, b in zip(code[this.start : this.end], this.text, strict=True))
        covered = max(covered, this.end)
    seen = np.zeros(len(code), bool)
    for this in found:
        seen[this.start : this.end] = True
    assert all(seen[i] or c.isspace() or c in "\\\r\x0c" for i, c in enumerate(code))


@given(ANY, st.booleans(), st.data())
def test_every_token_of_any_text_has_exactly_one_class(code, fenced, data):
    text = f"So:\n```python\n{code}" if fenced else code
    ends = [*sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8))), len(text)]
    kinds, places, comments = (f(text, ends) for f in (token_types, token_places, token_comments))
    assert len(kinds) == len(places) == len(comments) == len(ends)
    assert ((kinds >= 0) & (kinds < len(TYPES))).all()
    of_types = [PLACES.index(p) for p in ["Code"] * len(OF_CODE) + ["Code comment", "Prose", "End of text"]]
    assert [of_types[kind] for kind in kinds] == places.tolist()
    assert ((comments != COMMENTS.index("no comment")) == (kinds == TYPES.index("Comment"))).all()
    assert line_counts(text).sum() == sum(bool(line.strip()) for line in text.split("\n"))
    if not fenced and "```" not in text:
        assert set(places) <= {PLACES.index("Prose"), PLACES.index("End of text")}


def test_hostile_code_has_types_in_time():
    for code in (")" * 2000, "(" * 2000, "'" * 2001, "if x:\n" * 300, "- " * 3000, "a." * 3000, "\x00'''\ud800"):
        assert len(character_types(f"```python\n{code}")) == 10 + len(code)


# --- comments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "comment",
    [
        "# Check whether both are even",
        "# Step 2: sort by the end",
        "#   2) then, move the window",
        "# If nothing is left, stop",
        "# For each row",
        "# We need to count the pairs",
        "# Let's try the other way",
        "# To avoid overflow, take the remainder",
        "# Otherwise, append it",
    ],
)
def test_orders_conditions_and_intentions_plan(comment):
    assert plans_next_step(comment)


@pytest.mark.parametrize(
    "comment",
    [
        "# dp[i] is the best sum that ends at i",
        "# The list is sorted now",
        "# Helper function to check a prime",
        "# O(n log n)",
        "# print(add(1, 2))  # 3",
        "# Sum of all digits",
        "# set of visited nodes",
        "# Example usage:",
        "#",
    ],
)
def test_descriptions_do_not_plan(comment):
    assert not plans_next_step(comment)


def test_only_a_comment_on_a_line_of_its_own_plans_and_its_further_lines_go_with_it():
    code = """
        # Count the pairs
        # that are even
        n = 1  # add one
        # It is done
        # Return it"""
    found = classes(f"```python{textwrap.dedent(code)}", COMMENTS, token_comments)
    kinds = {word: kind for word, kind in found if word.isalpha()}
    plans, says, none = COMMENTS
    assert [kinds[word] for word in ("Count", "pairs", "that", "even", "Return")] == [plans] * 5
    assert [kinds[word] for word in ("add", "one", "It", "done")] == [says] * 4
    assert kinds["n"] == none


# --- counts -----------------------------------------------------------------------------------------------------------


def counted(by, **changes):
    text = "Hi\n```python\n# Add one\nx = 1\n\ny = x  # so\n```"
    ends = cut(text)
    doubt = np.ones(len(ends))
    doubt[ends.index(text.index("Add") + 3)] = doubt[ends.index(text.index(" = x") + 2)] = 0.1
    arguments = {"texts": iter([text] * 2), "char_ends": [ends] * 2, "confidences": [doubt, np.ones(len(ends))]}
    return token_table(**arguments | {"problem": ["a", "b"], "tau": 0.5} | changes, by=by)


def test_table_of_types_is_of_code_and_has_the_columns_of_mathematics():
    from asprm.token_types import mathematics as tokens

    frame = counted("type").set_index("type")
    assert tuple(frame.index) == OF_CODE
    assert frame.loc[["New line break", "Name", "Assignment", "Number"], "tokens"].tolist() == [8, 6, 4, 2]
    assert frame["decision_tokens"].sum() == frame.loc["Assignment", "decision_tokens"] == 1
    assert frame.loc["Assignment", ["decision_share", "rate"]].tolist() == [1, 0.25]
    assert frame["share"].sum() == pytest.approx(1)
    maths = tokens.token_table(["a"], [[1]], [[1.0]], ["p"], 0.5, by="role")
    assert list(frame.columns) == list(maths.columns)[1:]


def test_table_of_places_counts_lines_too():
    frame = counted("place").set_index("place")
    assert tuple(frame.index) == ("Code", "Code comment")
    assert frame["lines"].tolist() == [4, 2]
    assert frame["line_share"].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert frame["decision_tokens"].tolist() == [1, 1]
    everything = counted("place", only=PLACES).set_index("place")
    assert everything["lines"].tolist() == [4, 2, 6, 0]
    assert everything["tokens"].sum() == 2 * len(cut("Hi\n```python\n# Add one\nx = 1\n\ny = x  # so\n```"))


def test_table_of_comments():
    frame = counted("comment").set_index("comment")
    assert frame["tokens"].tolist() == [6, 4]
    assert frame["decision_tokens"].tolist() == [1, 0]


def test_table_names_wrong_input():
    with pytest.raises(ValueError, match="by is 'role'; it must be one of type, place, comment"):
        counted("role")
    with pytest.raises(ValueError, match="no row is called Poetry"):
        counted("place", only=["Poetry"])
    with pytest.raises(ValueError, match=r"problem 'a' has \d+ offsets and 1 confidences"):
        counted("type", confidences=[[1.0], [1.0]])


# --- real solutions ---------------------------------------------------------------------------------------------------


def test_real_completions_whole_and_cut():
    """What a real model wrote for LeetCode: the blocks are those that are graded, and no word of them is unknown."""
    for row in real_rows("leetcode/dpo_test.generations.jsonl")[::4]:
        text = row["completion"]
        blocks = list(python_blocks(text))
        assert textwrap.dedent(text[blocks[-1].start : blocks[-1].end]) == extract_code(text)
        for block in blocks:
            assert not any(this.kind == "ERRORTOKEN" for this in lexemes(text[block.start : block.end]))
        half = (blocks[0].start + blocks[0].end) // 2
        whole, part = code_tokens.character_types(text), code_tokens.character_types(text[:half])
        line = text.rfind("\n", 0, half)
        assert (whole[:line] == part[:line]).mean() > 0.97
