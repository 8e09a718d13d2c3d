"""API: the reference of the package, a page for each of its folders, made from docstrings and signatures.

Read from the files' syntax: nothing is imported, so that a page about vLLM needs no vLLM. Public is what has no
underscore in front: functions, classes with their methods and fields, and constants with a docstring.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from asprm import REPOSITORY
from asprm.site.includes.tables import code, plain

PAGE = "book/api"
"""The page that lists the others, which lie in a folder of its name."""
TOP = "study"
"""The page of the modules at the package's top."""
_WIDTH = 88  # characters of a signature's line
_PARAMETER = re.compile(r"^(?=[a-z_]\w*(?:, [a-z_]\w*)*: )", re.MULTILINE)
_CODE = re.compile(r"``([^`]+)``|`([^`]+)`")


def folders(package: Path = REPOSITORY / "asprm") -> dict[str, list[Path]]:
    """The modules of each page by its name: TOP, then the package's folders, by name."""
    pages: dict[str, list[Path]] = {TOP: _modules(package)}
    for folder in sorted(path for path in package.rglob("*") if path.is_dir() and (path / "__init__.py").is_file()):
        pages[".".join(folder.relative_to(package).parts)] = _modules(folder)
    return {name: files for name, files in pages.items() if files}


def _modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))


def page(name: str, files: list[Path]) -> str:
    """The Markdown page of one folder."""
    title = "The study's stages" if name == TOP else f"asprm.{name}"
    about = ast.get_docstring(ast.parse((files[0].parent / "__init__.py").read_text(encoding="utf-8"))) or ""
    heads = [f"(api-{name})=\n# {title}\n", *([_prose(about)] if name != TOP else [])]
    return "\n".join([*heads, *(module(file) for file in files)])


def contents() -> str:
    """A table of all pages, with the modules of each."""
    rows = [
        f"{{doc}}`api/{name}`\n: {', '.join(code(file.stem) for file in files)}\n" for name, files in folders().items()
    ]
    return "\n".join(rows)


def module(file: Path) -> str:
    """The section of one module: what it is for, then its public names in their order."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    parts = [f"## {plain(file.stem)}\n", _prose(ast.get_docstring(tree) or "")]
    parts += [_entry(*entry) for entry in _names(tree.body)]
    return "\n".join(parts)


def _names(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Signature and docstring of each public name of a module or class."""
    for node, following in zip(body, [*body[1:], None], strict=True):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if not node.name.startswith("_"):
                yield _signature(node), ast.get_docstring(node) or ""
            case ast.ClassDef() if not node.name.startswith("_"):
                bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
                yield f"class {node.name}{bases}", _class(node)
            case ast.AnnAssign(target=ast.Name(id=name)) if not name.startswith("_"):
                if text := _following(following):
                    yield f"{name}: {ast.unparse(node.annotation)}", text
            case ast.Assign(targets=[ast.Name(id=name)]) if not name.startswith("_"):
                if text := _following(following):
                    yield name, text


def _class(node: ast.ClassDef) -> str:
    """The docstring of a class, with a line for each of its public methods and fields."""
    text = ast.get_docstring(node) or ""
    lines = []
    for signature, about in _names(node.body):
        first = " ".join(about.partition("\n\n")[0].split())
        lines.append(f"- `{' '.join(signature.split())}`" + (f": {first}" if first else ""))
    return "\n\n".join(filter(None, [text, "\n".join(lines)]))


def _following(node: ast.stmt | None) -> str:
    """The docstring that stands below a constant or a field; "" if none does."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return textwrap.dedent(node.value.value).strip()
    return ""


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Name, parameters and result; one parameter a line where they do not fit into one."""
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    inside = ast.unparse(node.args).removeprefix("self, ").removeprefix("cls, ")
    line = f"{node.name}({'' if inside in ('self', 'cls') else inside}){result}"
    if any(isinstance(decorator, ast.Name) and "property" in decorator.id for decorator in node.decorator_list):
        return f"{node.name}{result}"
    if len(line) <= _WIDTH:
        return line
    parameters = ",\n    ".join(_split(inside))
    return f"{node.name}(\n    {parameters},\n){result}"


def _split(parameters: str) -> list[str]:
    """Parameters, as they are written, one by one: split at the commas that stand in no bracket or text."""
    call = ast.parse(f"def f({parameters}): ...").body[0]
    assert isinstance(call, ast.FunctionDef)
    a, pieces = call.args, []
    positional = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(positional) - len(a.defaults)) + list(a.defaults)
    pieces += [_parameter(*pair) for pair in zip(positional, defaults, strict=True)]
    if a.vararg:
        pieces.append(f"*{_parameter(a.vararg)}")
    elif a.kwonlyargs:
        pieces.append("*")
    pieces += [_parameter(*pair) for pair in zip(a.kwonlyargs, a.kw_defaults, strict=True)]
    return [*pieces, *([f"**{_parameter(a.kwarg)}"] if a.kwarg else [])]


def _parameter(arg: ast.arg, default: ast.expr | None = None) -> str:
    annotation = f": {ast.unparse(arg.annotation)}" if arg.annotation else ""
    equals = " = " if annotation else "="
    return arg.arg + annotation + (f"{equals}{ast.unparse(default)}" if default else "")


# --- docstrings as Markdown -------------------------------------------------------------------------------------------


def _entry(signature: str, docstring: str) -> str:
    return f"```{{code-block}} python\n:class: api\n{signature}\n```\n\n{_prose(docstring)}"


def _prose(docstring: str) -> str:
    """A docstring as Markdown that shows it as it is: paragraphs, lists, and what is indented as code."""
    blocks = []
    for block in re.split(r"\n\s*\n", docstring.replace("\b", "").strip("\n")):
        lines = block.splitlines()
        if lines and all(line.startswith("    ") for line in lines):
            blocks.append(f"```text\n{textwrap.dedent(block)}\n```")
        elif lines and all(line.startswith(("- ", "  ")) for line in lines):
            items = re.split(r"^- ", block, flags=re.MULTILINE)[1:]
            blocks.append("\n".join(f"- {_words(item)}" for item in items))
        elif len(_PARAMETER.findall(block)) > 1:  # one a line
            head, *items = _PARAMETER.split(block)
            blocks.append(
                "\n".join([*([f"{_words(head)}\n"] if head.strip() else []), *(f"- {_words(i)}" for i in items)])
            )
        elif lines:
            blocks.append(_words(block))
    return "\n\n".join(blocks) + "\n"


def _words(text: str) -> str:
    """Text of one paragraph: nothing in it is markup but what stands in backticks."""
    parts, end = [], 0
    text = " ".join(text.split())
    for match in _CODE.finditer(text):
        parts += [_escaped(text[end : match.start()]), code(match[1] or match[2])]
        end = match.end()
    return "".join([*parts, _escaped(text[end:])])


def _escaped(text: str) -> str:
    """`plain`, with the spaces at its ends kept."""
    if not text.strip():
        return text
    front, back = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    return front + plain(text) + back
