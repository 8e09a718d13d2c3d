r"""Answers that are not one plain number: words, numerals, lists, sets, tuples, intervals, unions, matrices.

Structure is compared here, element by element, because brackets and order matter: `3, 5` and `5, 3` are the same set,
`(3, 5)` and `(5, 3)` are different points, `(2, 4]` and `(2, 4)` are different intervals. Single expressions go to
`asprm.grading.symbolic`. All texts must be tidied (`asprm.grading.numbers.tidy`).
"""

import re

from asprm.grading.numbers import parse_number, same_number
from asprm.grading.structure import EMPTY_SETS, alternatives, structure
from asprm.grading.tidy import tidy
from asprm.grading.units import known_unit

Verdict = tuple[bool, str]  # whether two answers are equal, and why

_DEEPEST = 6  # levels of nesting in an answer
_MOST = 64  # elements of a list


def compare_expressions(answer: str, gold: str, depth: int = 0) -> Verdict:
    """Whether two tidied answers have the same value, and why. depth: levels of brackets already removed."""
    if _squeeze(answer) == _squeeze(gold):
        return True, "same text"
    number, true_number = parse_number(answer), parse_number(gold)
    if number and true_number:
        return (True, "same value") if same_number(number, true_number) else (False, "different value")
    if depth > _DEEPEST:
        return False, "nested too deeply"
    if "\\in" in answer and "\\in" in gold:
        answer, gold = _with_k(answer), _with_k(gold)
        if _squeeze(answer) == _squeeze(gold):
            return True, "same text"
    if ("=" in answer) != ("=" in gold):
        answer, gold = _without_letters(answer), _without_letters(gold)
    if answer.startswith("(") != gold.startswith("("):
        answer, gold = _one_tuple(answer), _one_tuple(gold)
    if (choice := _compare_choices(answer, gold, depth)) is not None:
        return choice
    if _other_case(answer, gold) or answer.count("'") != gold.count("'"):
        return False, "different names"

    (left_name, left), (right_name, right) = _named(answer), _named(gold)
    equations = (left_name == "" and _is_equation(left)) or (
        right_name == "" and _is_equation(right)
    )  # of one curve, perhaps
    sums = left_name == right_name == "="
    if _names_differ(left_name, right_name, left + right) or (sums and _sides(answer) != _sides(gold)):
        return False, "another name"
    if left_name == right_name != "" or (bool(left_name) != bool(right_name) and not equations):
        return compare_expressions(left, right, depth + 1)
    (left, unit), (right, true_unit) = _without_unit(answer), _without_unit(gold)
    if (left, right) != (answer, gold):
        if unit and true_unit and unit != true_unit:
            return False, "different unit"
        return compare_expressions(left, right, depth + 1)

    for compare in (_compare_words, _compare_bases, _compare_ratios, _compare_structure):
        verdict = compare(answer, gold, depth)
        if verdict is not None:
            return verdict
    if _is_equation(answer) != _is_equation(gold):
        return False, "an equation for a value" if _is_equation(answer) else "a value for an equation"
    if "\\infty" in answer + gold:
        return False, "different value"
    if (number or true_number) and not re.search(r"[0-9\\π√]|pi|sqrt", answer if true_number else gold):
        return False, "different value"

    from asprm.grading.symbolic import same_expression

    return same_expression(answer, gold)


_WHOLE = re.compile(r"(?<![a-zA-Z\\])([a-z]) ?\\in ?\\mathbb ?\{? ?Z ?\}?")
_SUCH_THAT = re.compile(r"\\\{ ?([^{}|:]+?) ?(?::|\||\\vert|\\mid) ?([^{}]*\{?[^{}]*\}?[^{}]*?) ?\\\}")


def _with_k(text: str) -> str:
    """The text with k for the name of its whole-number parameter, and one spelling of `such that`."""
    text = _SUCH_THAT.sub(r"\\{\1\\mid \2\\}", text)
    name = _WHOLE.search(text)
    if name is None or re.search(r"(?<![a-zA-Z\\])k(?![a-zA-Z])", text):
        return text
    return re.sub(rf"(?<![a-zA-Z\\]){name[1]}(?![a-zA-Z])", "k", text)


_LETTERS = re.compile(r"(?:[a-wA-Z](?: ?[-+*/]? ?[a-wA-Z])+|\\frac ?\{ ?[a-wA-Z] ?\} ?\{ ?[a-wA-Z] ?\}) ?= ?([^=]+)")


def _without_letters(text: str) -> str:
    r"""7 of `a + b = 7`, 3/4 of `\frac{a}{b} = 3/4`: variables alone name the value, but x, y, z make a curve."""
    match = _LETTERS.fullmatch(text)
    return match[1] if match and not re.search("[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", match[1])) else text


def _one_tuple(text: str) -> str:
    """`x = 2, y = 3` as `(x,y) = (2,3)`; other texts as they are. For a comparison with a tuple."""
    parts = [re.fullmatch(r"([a-zA-Z]) ?= ?([^=]+)", part) for part in alternatives(text)]
    if len(parts) < 2 or not all(parts):
        return text
    sides = ([part[k] for part in parts if part] for k in (1, 2))
    return " = ".join(f"({','.join(side)})" for side in sides)


_CHOICE = re.compile(r"\(([A-J])\),? ?(\S.*)|([A-J])(?:\)|\.|:| -) ?(\S.*)")


def _compare_choices(answer: str, gold: str, depth: int) -> Verdict | None:
    """The letter of a choice with its text, "(B) 12": equal to the letter, and to the text. None: no such answer."""
    choice, other = _CHOICE.fullmatch(answer), gold
    if choice is None:
        choice, other = _CHOICE.fullmatch(gold), answer
    if choice is None or _CHOICE.fullmatch(other):
        return None
    letter, content = choice[1] or choice[3], choice[2] or choice[4]
    if re.fullmatch(r"\(?[A-J]\)?", other):
        return (True, "same choice") if other.strip("()") == letter else (False, "another letter")
    return compare_expressions(tidy(content), other, depth + 1)


def _letters(text: str) -> set[str]:
    r"""Single letters and commands, such as x, R and \theta."""
    return {*re.findall(r"\\[a-zA-Z]+", text), *re.sub(r"\\[a-zA-Z]+", "", text)} - {*" 0123456789+-*/=^_{}(),."}


def _other_case(answer: str, gold: str) -> bool:
    """Whether two expressions name variables that differ in nothing but their case, as r and R do. Words may."""
    if re.search(r"[a-zA-Z]{3}", re.sub(r"\\[a-zA-Z]+", "", answer + " " + gold)):
        return False
    left, right = _letters(answer), _letters(gold)
    if left == right or len(answer.strip("()")) == len(gold.strip("()")) == 1 or answer.casefold() in ("no", "an"):
        return False
    return {x.casefold() for x in left - right} & {x.casefold() for x in right - left} != set()


def _is_equation(text: str) -> bool:
    """Whether there is an equals sign outside groups, where that of a sum's first index stands."""
    return "=" in re.sub(r"[_^] ?\{[^{}]*\}", "", text)


def _names_differ(left: str, right: str, values: str) -> bool:
    """Whether two names differ and are not two sides of one curve, whose values hold variables."""
    if left == right or {"", "="} & {left, right}:
        return False
    return "(" in left + right or not re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", values))


def _sides(text: str) -> str:
    """What stands left of a value, if it names something: a function or a sum, and no calculation with numbers."""
    left = text.rpartition("=")[0].replace(" ", "")
    return left if "\\" in left and re.search(r"\\(?:sin|cos|tan|lim|sum|int|log|ln|det|max|min)", left) else ""


def _squeeze(text: str) -> str:
    """The text without spaces, except in "2 1/2" and "1, 234", and with one spelling of infinity."""
    return re.sub(
        r"(?<![0-9]) (?!(?<=[0-9], )[0-9]{3})| (?![0-9])",
        "",
        text.replace("+\\infty", "\\infty").replace("∞", "\\infty"),
    )


_GREEK = r"\\(?:alpha|beta|gamma|delta|epsilon|theta|lambda|mu|nu|rho|sigma|tau|phi|varphi|psi|omega|Delta|Omega|ell)"
_SUBSCRIPT = r"(?:_ ?\{?(?:\w+(?:,\w+)?|\\(?:min|max))\}?)?"
_VARIABLE = rf"(?:[a-zA-Z]|{_GREEK}) ?{_SUBSCRIPT}'{{0,2}}"
_SIDES = r"(?:m? ?\\(?:angle|triangle|overline|widehat|measuredangle|vec|hat|bar) ?\{? ?)?[a-zA-Z]{1,4} ?\}?"
_MEASURES = (
    r"(?:\||\\\| ?|\[)[A-Za-z]{1,4}(?:\||\\\||\])|[A-Z] ?_ ?\{?\\triangle ?[A-Z]{3}\}?"
    r"|\\(?:sin|cos|tan|det|Pr) ?[A-Z\\(\[][^=]*|[EP]\[[^=\[\]]+\]|\\(?:lim|sum|int)(?![a-z]).*"
)
_NAME = (
    rf"(?:{_VARIABLE}(?: ?\^ ?\{{?-1\}}?)? ?(?:\([^()]{{1,30}}\))?|{_SIDES}|{_MEASURES}"
    rf"|\({_VARIABLE}(?: ?, ?{_VARIABLE})+ ?\)|[a-zA-Z][a-z]+(?: [a-z]+){{0,5}})"
)
_NAMED = re.compile(rf"({_NAME}) ?(?::?=|\\in(?![a-z])) ?(.+)")
_TURNED = re.compile(rf"([^a-zA-Z=]+|[^=]*\\[^=]+) ?= ?({_VARIABLE}|{_SIDES})")


def _named(text: str) -> tuple[str, str]:
    """(name, value): ("x", "5") of `x = 5` and `5 = x`, ("f(3)", "5") of `f(3) = 5`; otherwise ("", text).

    A name is a variable, a function's value, a side or an angle, a tuple of variables, or words; so `2x = 10` has none.
    A sum with its result, `2 + 3 = 5`, gives ("=", "5").
    """
    if len(alternatives(text)) > 1 or not ("\\in" in text or _is_equation(text)):
        return "", text
    match = _NAMED.fullmatch(text)
    if match and match[1].split()[0] not in _FUNCTIONS and not re.search(r"[<>]|\\[lg]e|\\in(?![a-z])", match[2]):
        return match[1].replace(" ", ""), match[2].rsplit("=", 1)[-1].strip()
    if (turned := _TURNED.fullmatch(text)) and not re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", turned[1])):
        return turned[2].replace(" ", ""), turned[1].strip()
    terms, _, result = text.rpartition("=")
    if terms and result and not re.search(r"[a-zA-Z<>]", re.sub(r"\\[a-zA-Z]+", "", terms)):
        return "=", result.strip()
    return "", text


def _without_unit(text: str) -> tuple[str, str]:
    """(expression, dimension) of an expression with a unit behind it, such as `25 \\pi square feet`."""
    match = re.fullmatch(
        r"(.*?[0-9}\])a-zA-Z]) ((?:[a-z.]{2,} ){0,2}[a-z.]{2,}(?: ?/ ?[a-z]+)?(?: ?\^ ?\{?[23]\}?)?)", text
    )
    if match is None or not re.search(r"[0-9\\]", match[1]):
        return text, ""
    unit = known_unit(match[2])
    return (text, "") if unit is None else (match[1], unit.dimension)


# --- words ------------------------------------------------------------------------------------------------------------

_WORDS = re.compile(r"\(?[A-Za-z][A-Za-z .'’-]*\)?")
_FUNCTIONS = frozenset(["pi", "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt"])


def _compare_words(answer: str, gold: str, depth: int) -> Verdict | None:
    """Names, directions, letters of a choice: equal where the words are, whatever their case. None: not words."""
    if not (_WORDS.fullmatch(gold) and _WORDS.fullmatch(answer)):
        return None
    if len(alternatives(answer)) > 1 and len(alternatives(gold)) > 1:  # "red and blue"
        return None
    left, right = (re.sub(r"[().]|\b(?:[Aa]n?|[Tt]he) |(?<=olution)s\b", "", text).split() for text in (answer, gold))
    if [word.casefold() for word in left] == [word.casefold() for word in right] and _same_case(
        "".join(left), "".join(right)
    ):
        return True, "same words"
    right = [word.casefold() for word in right]
    if len(gold.strip("()")) == 1:  # a choice, or a variable
        return False, "another letter"
    spoken = any(len(word) > 1 and word.isalpha() and word not in _FUNCTIONS for word in right)
    return (False, "different words") if spoken else None


def _same_case(left: str, right: str) -> bool:
    """Whether two equal texts may differ in case: words and the letters of a choice, A to E; not variables."""
    return left == right or len(left) > 2 or left.casefold() in (*"abcde", "no")


# --- numerals with a base ---------------------------------------------------------------------------------------------

_BASED = re.compile(r"([0-9A-Z]+) ?(?:_ ?\{? ?|\(?(?:in )?base )([0-9]+|[a-z]+) ?\}?\)?")
_BASES = dict(
    zip("two three four five six seven eight nine ten eleven twelve".split(), map(str, range(2, 13)), strict=True)
)


def _compare_bases(answer: str, gold: str, depth: int) -> Verdict | None:
    """Numerals like `52_8`: digits and base must both agree, so that 42 is not that answer. None: no base."""
    left, right = _BASED.fullmatch(answer), _BASED.fullmatch(gold)
    if left is None and right is None:
        return None
    left, right = (x and (x[1].lstrip("0"), _BASES.get(x[2], x[2])) for x in (left, right))
    same = left is not None and left == right
    return same, "same numeral" if same else "different numeral or base"


_RATIO = re.compile(r"[0-9.]+ ?: ?[0-9.]+")


def _compare_ratios(answer: str, gold: str, depth: int) -> Verdict | None:
    """A ratio like `3:4` may be a fraction, but is no whole number, so that 3 is not `3:1`. None: no such pair."""
    one_is = (_RATIO.fullmatch(answer) is None) != (_RATIO.fullmatch(gold) is None)
    whole = re.fullmatch(r"[0-9]+", answer) or re.fullmatch(r"[0-9]+", gold)
    return (False, "a whole number for a ratio") if one_is and whole else None


# --- lists, sets, tuples, intervals, unions, matrices -----------------------------------------------------------------


def _compare_structure(answer: str, gold: str, depth: int) -> Verdict | None:
    """Compound answers, element by element; in sets and unions the order is free. None: two single expressions.

    A set with one element is equal to this element, but inside another set it is not.
    """
    left, right = structure(answer), structure(gold)
    if left is None and right is None:
        return None
    kind, parts = left or ("set", [answer])
    true_kind, true_parts = right or ("set", [gold])
    if kind != true_kind and "set" in (kind, true_kind):
        if len(parts) == 1 and answer.startswith("\\{") and not _is_set(parts[0]):
            return compare_expressions(tidy(parts[0]), gold, depth + 1)
        if len(true_parts) == 1 and gold.startswith("\\{") and not _is_set(true_parts[0]):
            return compare_expressions(answer, tidy(true_parts[0]), depth + 1)
    if kind == true_kind == "set" and sum(map(_is_set, parts)) != sum(map(_is_set, true_parts)):
        return False, "a set for its element"
    if len(parts) == len(true_parts) == 1 and kind == true_kind == "set":  # an expression in brackets
        return compare_expressions(tidy(parts[0]), tidy(true_parts[0]), depth + 1)
    if kind != true_kind:
        return False, f"a {_name(kind)} for a {_name(true_kind)}"
    if len(parts) != len(true_parts) or len(parts) > _MOST:
        return False, f"{len(parts)} elements for {len(true_parts)}"
    unmatched = list(true_parts)
    for part in parts:
        reason = "an element differs"
        for place in range(len(unmatched)) if kind in ("set", "union") else (0,):
            same, reason = compare_expressions(tidy(part), tidy(unmatched[place]), depth + 1)
            if same and _is_set(part) == _is_set(unmatched[place]):
                unmatched.pop(place)
                break
        else:
            return False, reason if len(parts) == 1 else "an element differs"
    return True, "same elements"


def _is_set(text: str) -> bool:
    """Whether an element of a set is a set in braces, or the empty one."""
    return text.startswith("\\{") or text.replace(" ", "") in EMPTY_SETS


def _name(kind: str) -> str:
    """How a reason calls a kind of structure."""
    return {"set": "single value or set", "()": "tuple or open interval"}.get(kind, kind)
