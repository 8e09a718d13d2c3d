"""The API reference: from syntax alone, public names only, nothing in a docstring taken for markup."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

from asprm import REPOSITORY
from asprm.site import api
from asprm.site.includes.tables import plain

PACKAGE = REPOSITORY / "asprm"
MODULE = '''"""Cuts texts. <b>Not bold</b>, *not* [a link](x), $x$.

    python -m cut

A second paragraph with `code_here` and ``a `tick` ``.
"""

LIMIT = 3
"""How many."""
HIDDEN = 4
_PRIVATE = 5
"""Not shown."""


def cut(text: str, at: int = 1) -> list[str]:
    """Pieces.

    text: any.
    at: a place,
    counted from 0.
    """


def long(first_argument: dict[str, int], *rest: tuple[str, ...], named: str = "a, b", other=None, **more: int) -> None:
    def inner(): ...


def _private(): ...


class Cutter(Base):
    """Cuts.

    - one
      and on
    - two
    """

    size: int
    """in tokens"""
    silent: int

    @property
    def width(self) -> int:
        """How wide."""

    def go(self, fast: bool) -> None: ...

    def _hide(self): ...
'''


@pytest.fixture
def section(tmp_path):
    file = tmp_path / "cut.py"
    file.write_text(MODULE)
    return api.module(file)


def test_public_names_are_shown_in_their_order_and_no_others(section):
    signatures = re.findall(r":class: api\n(.*?)\n```", section, re.DOTALL)
    assert [text.splitlines()[0] for text in signatures] == [
        "LIMIT",
        "cut(text: str, at: int=1) -> list[str]",
        "long(",
        "class Cutter(Base)",
    ]
    assert not re.search("PRIVATE|_private|_hide|inner|HIDDEN|silent", section)


def test_a_long_signature_has_one_parameter_a_line(section):
    assert (
        "long(\n    first_argument: dict[str, int],\n    *rest: tuple[str, ...],\n    named: str = 'a, b',\n"
        "    other=None,\n    **more: int,\n) -> None\n"
    ) in section


def test_methods_and_fields_with_a_docstring_are_listed_with_their_class(section):
    assert "- `size: int`: in tokens" in section.replace("\\", "")
    assert "- `width -> int`: How wide" in section.replace("\\", "")
    assert "- `go(fast: bool) -> None`" in section


def test_nothing_in_a_docstring_is_markup_but_code_and_lists(section):
    extensions = yaml.safe_load((REPOSITORY / "_config.yml").read_text())["parse"]["myst_enable_extensions"]
    parser = create_md_parser(MdParserConfig(enable_extensions={*extensions}), RendererHTML)
    html = parser.render(section)
    assert set(re.findall(r"<(\w+)", html)) <= {"h2", "p", "code", "pre", "ul", "li"}
    assert "&lt;b&gt;Not bold&lt;/b&gt;, *not* [a link](x), $x$." in html
    assert "<code>code_here</code>" in html
    assert "python -m cut\n</code></pre>" in html
    assert "<p>one and on</p>" in html
    assert "<li>at: a place, counted from 0.</li>" in html


def test_every_public_module_of_the_package_is_on_one_page():
    files = [file for those in api.folders().values() for file in those]
    public = {file for file in PACKAGE.rglob("*.py") if not file.name.startswith("_")}
    assert len(files) == len(set(files))
    assert set(files) == public
    assert set(re.findall(r"\{doc\}`api/([\w.]+)`", api.contents())) == set(api.folders())


@pytest.mark.parametrize(("name", "files"), api.folders().items(), ids=list(api.folders()))
def test_a_page_shows_every_public_function_of_its_folder(name, files):
    text = api.page(name, files)
    assert text.startswith(f"(api-{name})=\n# ")
    for file in files:
        assert f"\n## {plain(file.stem)}\n" in text
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                assert f"\n{node.name}(" in text, node.name


def test_no_module_of_the_package_is_imported_for_it():
    code = "import sys\nfrom asprm.site import api\nfor page in api.folders().items(): api.page(*page)\n"
    code += "print({'torch', 'transformers', 'vllm', 'asprm.engines.local'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert shown.stdout.strip() == "set()"


def test_the_site_has_the_reference(study):
    site = study / "data/runs/smoke/site"
    pages = {path.stem for path in Path(site / "book/api").glob("*.html")}
    assert pages == set(api.folders())
    assert "fit_threshold" in (site / "book/api/study.html").read_text()
    assert "api/run.html" in (site / "book/api.html").read_text()
