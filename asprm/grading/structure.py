r"""Structure: the elements of lists, sets, tuples, intervals, unions and matrices, as texts.

All texts must be tidied (`asprm.grading.tidy`). `asprm.grading.compare` compares the elements.
"""

import re

from asprm.grading.numbers import parse_number, same_number
from asprm.grading.sets import interval_text, join_intervals
from asprm.grading.tidy import tidy

_MATRIX = re.compile(
    r"(?:[(\[] ?)?\\begin ?\{([pb]?matrix|smallmatrix|array)\} ?(?:\{[lcr| ]*\})?(.*)\\end ?\{\1\}(?: ?[)\]])?"
)


def _rows(text: str) -> list[list[str]]:
    """The rows of a matrix in LaTeX or of `[[1,2],[3,4]]`; none for other texts."""
    if matrix := _MATRIX.fullmatch(text):
        return [row.split("&") for row in re.split(r"\\\\", matrix[2]) if row.strip()]
    nested = _NESTED.fullmatch(text)
    return [_split(row, ",") for row in re.findall(r"\[([^\[\]]*)\]", nested[1])] if nested else []


_NESTED = re.compile(r"\[ ?(\[[^\[\]]*\](?: ?, ?\[[^\[\]]*\])+) ?\]")
EMPTY_SETS = frozenset(r"\{\} \emptyset \varnothing emptyset theemptyset nosolution nosolutions".split())


def structure(text: str) -> tuple[str, list[str]] | None:
    """(kind, elements) of a compound answer; None for a single expression.

    kind: "set" (in any order), "union", "2×3 matrix", or the pair of brackets, such as "(]".
    """
    text = text.strip()
    for old, new in (("\\lbrace", "\\{"), ("\\rbrace", "\\}"), ("∪", "\\cup ")):
        text = text.replace(old, new)
    text = interval_text(text) or text
    union = _split(text, "\\cup")
    if len(union) > 1:
        finite = all(part.startswith("\\{") and part.endswith("\\}") for part in union)
        if not finite:
            union = join_intervals(union)
            if len(union) > 1:
                return "union", union
            text = union[0]
    if len(union) > 1:
        text = f"\\{{{','.join(dict.fromkeys(x.strip() for part in union for x in _split(part[2:-2], ',')))}\\}}"
    if text.replace(" ", "") in EMPTY_SETS:
        return "empty set", []
    if rows := _rows(text):
        cells = [cell for row in rows for cell in row]
        if len(rows) == 1 or all(len(row) == 1 for row in rows):
            return "()", cells  # a vector is a tuple
        return f"{len(rows)}×{len(rows[0])} matrix", cells
    parts = alternatives(text)
    if len(parts) > 1 and "\\infty" in text and all(re.fullmatch(r"[(\[].*,.*[)\]]", part) for part in parts):
        return "union", parts
    if len(parts) > 1:
        return "set", [sign for part in _distinct(text, parts) for sign in _both_signs(part)]
    opening, closing = ("\\{" if text.startswith("\\{") else text[:1]), ("\\}" if text.endswith("\\}") else text[-1:])
    if text.startswith("{") and text.endswith("}") and "," in text:
        opening, closing, text = "\\{", "\\}", f"\\{text[:-1]}\\}}"
    inside = text[len(opening) : -len(closing)] if closing else ""
    if opening in ("(", "[", "\\{") and closing in (")", "]", "\\}") and _balanced(inside):
        parts = _split(inside, "," if "," in inside else ";")
        if opening == "\\{":
            return ("set", [sign for part in parts for sign in _both_signs(part)]) if closing == "\\}" else None
        if len(parts) > 1 and re.search(r"\\pm(?![a-z])|±", text):
            return "set", _both_signs(text)
        if len(parts) > 1:
            return opening + closing, parts
        return ("set", parts) if opening + closing == "()" else None
    signs = _both_signs(text)
    return ("set", signs) if len(signs) > 1 else None


def _both_signs(text: str) -> list[str]:
    """The two expressions that `a ± b` stands for; without ± the text alone."""
    text = text.replace("±", "\\pm ")
    if "\\pm" not in text:
        return [text]
    return [text.replace("\\pm", plus).replace("\\mp", minus).strip().removeprefix("+") for plus, minus in ("+-", "-+")]


_JOINED = re.compile(r"\s*[,;]?\s*(?<=[\s,;\d})])(?:or|and|\\&|&)(?=[\s\d\\({-])\s*|\s*;\s*")


def alternatives(text: str) -> list[str]:
    """The elements of "3, 5", "3 or 5", "3; 5" or "3, 4, and 5"."""
    if not re.search(r"or|and|vee|[;&,]", text) or "\\begin" in text or parse_number(text) is not None:
        return [text]
    text = re.sub(r"\\(?:lor|vee)(?![a-z])", " or ", text)
    if ";" in text and len(parts := _split(text, ";")) > 1:
        return parts
    text = re.sub(r"(?<![0-9,])([0-9]{1,3}(?:,[0-9]{3})+)(?=\\|[a-z])", lambda m: m[1].replace(",", ""), text)
    return _split(_JOINED.sub(", ", text), ",")


def _distinct(text: str, parts: list[str]) -> list[str]:
    """The parts; of "3/4 or 0.75", where "or" stands between two spellings of one number, the first."""
    numbers = [parse_number(tidy(part)) for part in parts]
    first = numbers[0]
    if first is None or not re.search(r"\bor\b", text):
        return parts
    same = all(number is not None and same_number(first, number) for number in numbers)
    return parts[:1] if same else parts


def _split(text: str, separator: str) -> list[str]:
    """The parts between the separators outside all brackets. A comma that groups digits is no separator."""
    if separator not in text:
        return [text]
    grouped = separator == "," and ", " in text
    parts, depth, start, place = [], 0, 0, 0
    while place < len(text):
        if text[place] in "([{":
            depth += 1
        elif text[place] in ")]}":
            depth -= 1
        elif depth == 0 and text.startswith(separator, place) and not (grouped and _groups_digits(text, place)):
            parts.append(text[start:place])
            start = place + len(separator)
        place += 1
    parts.append(text[start:])
    return [part.strip() for part in parts] if all(part.strip() for part in parts) else [text]


def _groups_digits(text: str, comma: int) -> bool:
    """Whether the comma at this place is like that of 1,000."""
    return re.match(r"[0-9],[0-9]{3}(?![0-9])", text[max(0, comma - 1) : comma + 5]) is not None


def _balanced(text: str) -> bool:
    """Whether every bracket in the text is closed in it, and none is closed that it does not open."""
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if depth < 0:
            return False
    return depth == 0
