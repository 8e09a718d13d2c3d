"""Fenced blocks: where they start and end, whether they are closed, and which one is the program."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asprm.grading.fences import blocks, extract_code, python_blocks


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


G = "def g():\n    return 2\n"
DOCTEST = 'def g():\n    """Usage:\n    {}\n    g()\n    ```\n    """\n    return 2\n'


@pytest.mark.parametrize(
    "completion",
    [
        f"```python\n{G}```",
        f"```\n{G}```",
        f"```python\n{G}",  # cut
        f"```\n{G}",
        f"{G}```",  # never opened
        f"{G}```\nAn example:\n```\n>>> g()\n```",
        f"~~~python\n{G}~~~",
        f"~~~\n{G}~~~",
        f"~~~~py\n{G}~~~~~",
        f"````python\n{G}````",
        f"`````Python3\n{G}`````",
        f"```{{.python}}\n{G}```",
        f"```{{.python .numberLines}}\n{G}```",
        f"```{{python}}\n{G}```",
        f"```{{code-block}} python\n{G}```",
        f"```{{code-cell}} ipython3\n{G}```",
        f'```python title="solution.py"\n{G}```',
        f"```python:solution.py\n{G}```",
        f"```Python 3\n{G}```",
        f"``` python\n{G}```",
        f"```python \n{G}``` ",
        f"```PY\n{G}```",
        f"Code: ```python\n{G}```",
        f"**Solution** ```py\n{G}```\nand more",
        f"```python\n{G}```<|im_end|>",
        f"```python\n{G}```</s>",
        f"<think>\n```python\ndef g():\n    return 1\n```\n</think>\n```python\n{G}```",
        f"```python\ndef g():\n    return 1\n```\n</think>\n```python\n{G}```",
        f"```python\n{G}```\nFor example:\n```python\nprint(g(3))\n```",
        f"```python\n{G}```\nFor example:\n```python\nprint(g(3))",
        f"```python\nimport math\n```\nSo:\n```python\n{G}```\n```\n2\n```",
        f"```\n3 4\n```\nSo:\n```python\n{G}```\n```\n2\n```",
        f"```python\ndef g():\n    return 1\n```\nBetter:\n```python\n{G}```",
        f"```python\n{G}```\nBetter:\n```python\ndef g():\n    return 1",  # a closed one comes first
        f"```python\ndef g():\n    '''broken\n```\nSorry:\n```python\n{G}```",
        f"```python\ndef g():\n    return 1\n```python\n{G}```",  # the first one was never closed
        f"```cpp\nint g;\n```\n```python\n{G}```\n```bash\npython g.py\n```",
        f"```text\ndef g():\n    return 1\n```\n```\n{G}```",
    ],
)
def test_fences_of_every_usual_kind_hold_the_program(completion):
    assert extract_code(completion, "g") == G
    assert extract_code(completion.replace("def g", "class g"), "g().solve") == G.replace("def g", "class g")


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        (textwrap.indent(f"```python\n{G}```", "   "), G),
        ("1. So:\n" + textwrap.indent(f"```python\n{G}```", "   "), G),
        ("- ```python\n  def g():\n      return 2\n  ```", G),
        ("2) ```\n   def g():\n       return 2\n   ```", G),
        (textwrap.indent(f"```python\n{G}```", "> ", lambda line: True), G),
        (textwrap.indent(f"~~~\n{G}~~~", "> > ", lambda line: True), G),
        (f"```python\n{G}```".replace("\n", "\r\n"), G.replace("\n", "\r\n")),
        ("```python\ndef g():\n\treturn 2\n```", "def g():\n\treturn 2\n"),
        ("```python\ndef g():\n    return 2```\nIt returns 2.", "def g():\n    return 2"),
        ("```python\ndef g():\n    return 2```", "def g():\n    return 2"),
        ("```python\ndef g():\n    # so ```\n    return 2\n```", "def g():\n    # so ```\n    return 2\n"),
        ("```python\ns = '```'\ndef g(): return s\n```", "s = '```'\ndef g(): return s\n"),
        ("```python\nasync def g(): pass\n```\n```python\ng\n```", "async def g(): pass\n"),
        ("```python\ng = lambda: 2\n```\n```python\ng()\n```", "g = lambda: 2\n"),
        ("```python\ng: int = 2\n```\n```python\ng == 2\n```", "g: int = 2\n"),
        ("import math\n\ndef g():\n    return 2\n```", "import math\n\ndef g():\n    return 2\n"),
        ("@cache\ndef g():\n    return 2\n```", "@cache\ndef g():\n    return 2\n"),
        (f"```python\n{DOCTEST.format('```')}```", DOCTEST.format("```")),
        (f"```python\n{DOCTEST.format('```python')}```", DOCTEST.format("```python")),
        (f"```\n{DOCTEST.format('```python')}```", DOCTEST.format("```python")),
        (f"```python\n{DOCTEST.format('```')}", DOCTEST.format("```")),
        ("```python\ng = '''\n```\ny\n```\n'''\n```", "g = '''\n```\ny\n```\n'''\n"),
        ("````python\ndef g():\n    '''\n```\ny\n```\n'''\n````", "def g():\n    '''\n```\ny\n```\n'''\n"),
        ("~~~python\ndef g():\n    return '''\n```\n'''\n~~~", "def g():\n    return '''\n```\n'''\n"),
    ],
)  # fmt: skip
def test_margins_strings_and_comments_leave_the_program_whole(completion, code):
    assert extract_code(completion, "g") == code


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        ("First\n```python\nx = 1\n```\nbetter:\n```python\nx = 2\n```\nDone.", "x = 2\n"),
        ("```python\nx = 1\n```\nOutput:\n```\n3\n```", "x = 1\n"),
        ("```python\nx = 1\n```\nand\n```python\nx = 2", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("```python\nx = 1", "x = 1"),
        ("print(1)\n```", "print(1)\n"),
        ("import sys\nprint(1)\n```\nIt prints 1.", "import sys\nprint(1)\n"),
        ("for line in open(0):\n    print(line)\n```", "for line in open(0):\n    print(line)\n"),
        ("Some words\n```", None),
        ("```cpp\nint x;\n```", None),
        ("```python\n```", None),
        ("x = 1", None),
        ("", None),
        (f"<think>\n```python\n{G}```\n", None),
        (f"<think>\n```python\n{G}```\n</think>\nIt is 2.", None),
    ],
)
def test_a_program_without_entry_point_is_the_last_closed_block_of_python(completion, code):
    assert extract_code(completion) == code


@pytest.mark.parametrize(
    "text",
    ["```python\n", "`", "```python\n'''\n```\n", "```\n'''x\n```\n", "> ", "> ```\n", '"""```\n', "```x\n~~~\n"],
)
def test_a_program_before_a_long_text_is_found(text):
    """Each text was once read in a time that grew with the square of its length."""
    long = text * 3 * 10**4
    for rest in (long, long + "'''", "```python\n" + long):
        assert extract_code(f"```python\n{G}```\n\n{rest}", "g") == G


FENCES = ["```python\n", "```\n", "~~~\n", "````py\n", "'''", '"""', "x\n", " ", "> ", "def g(): 1\n", "</think>", "# "]


@given(st.text("`~pytho\n x'#>", max_size=60) | st.lists(st.sampled_from(FENCES)).map("".join))
def test_blocks_do_not_overlap_and_the_program_is_one_of_them(text):
    found = list(blocks(text))
    bounds = [bound for block in found for bound in (block.start, block.end)]
    assert bounds == sorted(bounds)
    assert all(0 <= bound <= len(text) for bound in bounds)
    for entry_point in ("", "g"):
        code = extract_code(text, entry_point)
        assert code is None or code.strip()
    if "</think>" not in text:
        named = [text[block.start : block.end] for block in python_blocks(text) if block.closed]
        if any(code.strip() for code in named):
            assert extract_code(text) is not None
