"""Values: messages between processes, and Python values as plain data in them.

Runs inside sandboxes, so it imports the standard library only. A message is four bytes of length, then JSON.

A value crosses as a flat table of objects, in which scalars stand for themselves and [i] for object number i. So long
chains of linked nodes need no recursion, and shared or cyclic objects stay so.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
from collections.abc import Callable, Container

TYPE_CHECKING = False  # sandboxes start faster without the module `typing`
if TYPE_CHECKING:
    from typing import Any

_DIGITS = 4300  # of a whole number in JSON: Python's own limit, because reading more takes long
_BITS = 4096  # of a whole number that crosses as JSON; larger ones cross in hexadecimal, which is read at once
_KINDS = {list: "list", tuple: "tuple", dict: "dict", set: "set", frozenset: "frozenset"}


def send(fd: int, message: dict) -> None:
    """Write one message."""
    body = json.dumps(message).encode()
    data = len(body).to_bytes(4, "big") + body
    while data:
        data = data[os.write(fd, data) :]


def receive(fd: int, most: int = 1 << 32) -> Any:
    """The next message; None at the end of the stream; `oversize` for a message of more than `most` bytes.

    ValueError: it is not JSON, or holds a number of more than 4,300 digits.
    """
    header = _read(fd, 4)
    count = int.from_bytes(header or b"", "big")
    if count > most:
        return {"oversize": True}
    body = header and _read(fd, count)
    if not body:
        return None
    digits = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(_DIGITS)
    try:
        return json.loads(body)
    finally:
        sys.set_int_max_str_digits(digits)


def _read(fd: int, count: int) -> bytes | None:
    parts = []
    while count:
        part = os.read(fd, min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def encode(value: object, classes: Container[str]) -> dict:
    """The value as plain data; other objects become `Opaque`.

    classes: names of the problem's classes, whose instances cross with their attributes.
    """
    places, objects = {}, []
    numpy = sys.modules.get("numpy")

    def reference(item: Any) -> object:
        if numpy and isinstance(item, numpy.generic):
            item = item.item()
        if item is None or item is True or item is False:
            return item
        for base in (int, float, str):
            if isinstance(item, base):
                item = item if type(item) is base else base(item)
                if base is not int or item.bit_length() <= _BITS:
                    return item
                break
        if id(item) not in places:
            places[id(item)] = len(objects)
            objects.append(item)
        return [places[id(item)]]

    def parts_of(item: Any) -> tuple[str, list]:
        kind = next((name for base, name in _KINDS.items() if isinstance(item, base)), type(item).__name__)
        if kind == "dict":
            return kind, [part for pair in dict.items(item) for part in pair]
        if isinstance(item, tuple(_KINDS)):
            return kind, list(item)
        if isinstance(item, int):
            return "int", [format(item, "x")]
        if isinstance(item, (bytes, bytearray)):
            return "bytes", [item.decode("latin-1")]
        if isinstance(item, complex):
            return "complex", [item.real, item.imag]
        if isinstance(item, type) and getattr(builtins, item.__name__, None) is item:
            return "type", [item.__name__]
        if kind in classes:
            return kind, [part for pair in vars(item).items() for part in pair]
        return "opaque", [kind]

    root, table = reference(value), []
    for item in objects:  # grows in this loop
        kind, parts = parts_of(item)
        table.append([kind, [reference(part) for part in parts]])
    return {"value": root, "table": table}


class Opaque:
    """An answer that is not plain data (a function, a generator, …). It equals nothing, not even itself."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # pyright: ignore[reportAssignmentType]


def _built_in(name: str) -> type:
    kind = getattr(builtins, name)
    if not isinstance(kind, type):
        raise ValueError(f"{name} is not a type")
    return kind


_EMPTY: dict[str, Callable[[], object]] = {"list": list, "dict": dict, "set": set}
_WHOLE: dict[str, Callable[..., object]] = {
    "bytes": lambda text: text.encode("latin-1"),
    "complex": complex,
    "int": lambda text: int(text, 16),
    "type": _built_in,
    "opaque": Opaque,
}


def decode(message: dict, classes: dict[str, type], real: Callable[[float], float] | None = None) -> Any:
    """The value of `encode`'s plain data.

    classes: the problem's, by name. real: makes each float of the value; None: they stay as they are.
    """
    table = message["table"]
    made: dict[int, Any] = {}

    # 1. Make all objects that can be filled later, empty, and those that hold no others.
    for place, (kind, parts) in enumerate(table):
        if kind in _EMPTY:
            made[place] = _EMPTY[kind]()
        elif kind in _WHOLE:
            made[place] = _WHOLE[kind](*parts)
        elif kind in classes:
            made[place] = object.__new__(classes[kind])

    def resolve(part: Any) -> Any:
        if not isinstance(part, list):
            return real(part) if real is not None and type(part) is float else part
        place = part[0]
        if place not in made:
            kind, parts = table[place]
            made[place] = {"tuple": tuple, "frozenset": frozenset}[kind](map(resolve, parts))
        return made[place]

    # 2. Fill them. Each part passes through Python code, where a timer can stop it: hashes that collide take long.
    for place, (kind, parts) in enumerate(table):
        if kind == "list":
            made[place].extend(map(resolve, parts))
        elif kind == "set":
            made[place].update(map(resolve, parts))
        elif kind == "dict" or kind in classes:
            values = map(resolve, parts)
            target = made[place] if kind == "dict" else vars(made[place])
            target.update(zip(values, values, strict=True))
    return resolve(message["value"])
