"""Code: which files of the package a notebook or module depends on, and whether what they do has changed.

The Snakefile runs a stage again when the state of its code has changed; chunks are keyed by the fingerprints of files.
Source text is read, never imported.
"""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path

from asprm import REPOSITORY


def modules(start: Path, root: Path = REPOSITORY) -> list[Path]:
    """The files of the package `root/asprm` that a notebook or module imports, directly or not, sorted.

    Imports inside functions count too. A source that does not exist or does not parse imports nothing: running it will
    say why.
    """
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        new = set(_imports(waiting.pop(), root)) - found
        found |= new
        waiting += new
    return sorted(found)


def state(start: Path, root: Path = REPOSITORY) -> str:
    """A digest of what the modules do that a notebook or module imports."""
    return _together(modules(start, root), root)


def package_state(root: Path = REPOSITORY) -> str:
    """A digest of what all modules of the package do and say: the site shows their docstrings."""
    return _together(sorted((root / "asprm").rglob("*.py")), root, docstrings=True)


def _together(files: list[Path], root: Path, *, docstrings: bool = False) -> str:
    lines = [f"{file.relative_to(root).as_posix()} {fingerprint(file, docstrings=docstrings)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def fingerprint(file: Path, *, docstrings: bool = False) -> str:
    """A digest of what the module does: comments and formatting do not count, nor docstrings unless they are asked for.

    Hexadecimal text.
    """
    state = file.stat()
    return _fingerprint(file, state.st_mtime_ns, state.st_size, docstrings)


@cache
def _fingerprint(file: Path, changed: int, size: int, docstrings: bool) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in () if docstrings else ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [one for one in node.body if not _is_docstring(one)] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_docstring(node: ast.stmt) -> bool:
    """Whether the statement is nothing but a text, as docstrings are, of attributes too."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def _imports(file: Path, root: Path) -> tuple[Path, ...]:
    found: set[Path] = set()
    for source in _sources(file):
        for node in _nodes(source):
            if isinstance(node, ast.Import):
                for name in node.names:
                    found |= _files(name.name, root)
            elif isinstance(node, ast.ImportFrom):
                module = _absolute(node, file, root)
                found |= _files(module, root)
                for name in node.names:
                    found |= _files(f"{module}.{name.name}", root)
    return tuple(found)


def _nodes(source: str) -> list[ast.AST]:
    """The syntax of a text; where it does not parse as a whole, as with IPython's `x?`, of each line that does."""
    try:
        return list(ast.walk(ast.parse(source)))
    except SyntaxError:
        lines = [line.strip() for line in source.splitlines()]
        return [node for line in lines if line != source for node in _nodes(line)]


def _sources(file: Path) -> list[str]:
    """The module's text, or one text per code cell without IPython's own lines."""
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".ipynb":
        return [text]
    cells = [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    joined = [source if isinstance(source, str) else "".join(source) for source in cells]
    return ["\n".join(line for line in source.splitlines() if not line.startswith(("%", "!"))) for source in joined]


def _absolute(node: ast.ImportFrom, file: Path, root: Path) -> str:
    """The module that `from … import` names, with the dots of a relative import resolved."""
    if not node.level:
        return node.module or ""
    if not file.is_relative_to(root):  # of another package
        return ""
    package = file.relative_to(root).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def _files(module: str, root: Path) -> set[Path]:
    """The file of a module of asprm and the `__init__` of the packages around it; nothing for any other name."""
    parts = module.split(".")
    if parts[0] != "asprm":
        return set()
    packages = [root.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    candidates = [*packages, root.joinpath(*parts).with_suffix(".py")]
    return {path for path in candidates if path.is_file()}
