"""Fenced blocks of Python: where they start and end, and whether they are closed."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asprm.grading.code import extract_code
from asprm.grading.fences import python_blocks


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("a\n```python\nx\n```\nb", ["x\n"]),
        ("```python\nx\n```\n```\ny\n```\n```py\nz", ["x\n", "z"]),
        ("```python\nx\n```python\ny\n```", ["x\n", "y\n"]),
        ("```cpp\nx\n```", []),
        ("```python", [""]),
        ("x = 1", []),
    ],
)
def test_only_python_fences_are_code(text, blocks):
    assert [text[block.start : block.end] for block in python_blocks(text)] == blocks


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("```python\nx\n```\n```python\ny\n```", [True, True]),
        ("```python\nx\n```python\ny\n```", [False, True]),  # a language opens: the first block lacks its fence
        ("```python\nx\n```text\ny\n```", [False]),
        ("```python\nx", [False]),
    ],
)
def test_a_block_is_closed_by_a_fence_without_language(text, closed):
    assert [block.closed for block in python_blocks(text)] == closed


@given(
    st.text("`pytho\n x", max_size=60) | st.lists(st.sampled_from(["```python\n", "```\n", "x\n", " "])).map("".join)
)
def test_blocks_do_not_overlap_and_the_last_closed_one_is_graded(text):
    blocks = list(python_blocks(text))
    bounds = [bound for block in blocks for bound in (block.start, block.end)]
    assert bounds == sorted(bounds)
    assert all(0 <= bound <= len(text) for bound in bounds)
    closed = [textwrap.dedent(text[block.start : block.end]) for block in blocks if block.closed]
    assert extract_code(text) == (closed[-1] if closed else None)
