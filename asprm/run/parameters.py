"""Parameters: what a notebook's first code cell, a mapping or the command line sets for one run of a stage.

A parameter is whatever a notebook's namespace holds under its name, however it was assigned. None means the profile's
own value. A name that the stage does not know, and a value that cannot be one, are refused by name.
"""

import ast
from collections.abc import Iterator, Mapping, Set
from types import FunctionType, ModuleType
from typing import Any

from asprm.run.sections import ProfileError, nearest

COMMON = ("profile", "policy", "method", "prm", "scratch", "seed", "workers")
"""What every stage takes beside the fields of its own section of the profile."""

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.comprehension)

INJECTED = "# Parameters"
"""How the cell begins that papermill adds."""


def given(namespace: Mapping[str, Any], known: Set[str], stage: str) -> dict[str, Any]:
    """The parameters that are set, by name; those that are None are left out.

    namespace: a notebook's locals(), of which only known names count, or a plain mapping, of which every name does.
    ProfileError: an unknown name in a plain mapping or in the notebook's parameters cell; a value that no parameter can
    have.
    """
    if _is_notebook(namespace):
        names = {name for name in known if name in namespace} | (_assigned(namespace["In"]) - known)
    else:
        names = {name for name in namespace if not _is_foreign(name, namespace[name])}
    for name in sorted(names - set(known)):
        raise ProfileError(f"{stage}: unknown parameter '{name}': {nearest(name, known)}")
    return {name: _plain(name, namespace[name], stage) for name in sorted(names) if namespace[name] is not None}


def assigned_names(source: str) -> set[str]:
    """The names that a cell's code assigns; none where it is not Python. IPython's own lines are left out."""
    lines = [line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))]
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError:
        return set()
    return {node.id for node in _own_nodes(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below `node` but those of functions, classes and comprehensions, whose names are their own."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _SCOPES):
            yield child
            yield from _own_nodes(child)


def _is_notebook(namespace: Mapping[str, Any]) -> bool:
    return "In" in namespace and "get_ipython" in namespace


def _assigned(cells: list[str]) -> set[str]:
    """What the newest parameters cell assigns, and the cells that papermill added after it.

    IPython keeps the source of every executed cell in `In`; the parameters cell is the one that assigns `profile`.
    """
    names: set[str] = set()
    for source in reversed(cells):
        here = assigned_names(source)
        injected = source.startswith(INJECTED)
        if injected or "profile" in here:
            names |= here
        if "profile" in here and not injected:
            break
    return names


def _is_foreign(name: str, value: Any) -> bool:
    return name.startswith("_") or isinstance(value, (ModuleType, FunctionType, type))


def _plain(name: str, value: Any, stage: str) -> Any:
    """The value as plain Python: numpy's numbers and arrays become numbers and lists."""
    value = value.tolist() if type(value).__module__ == "numpy" else value
    if isinstance(value, (list, tuple)):
        return [_plain(name, one, stage) for one in value]
    if not isinstance(value, (bool, int, float, str)):
        raise ProfileError(
            f"{stage}: {name} = {value!r} ({type(value).__name__}): expected a number, a text or a list\n"
            f"  '{name}' is a parameter of this stage: give another name to what a cell keeps for itself"
        )
    return value
