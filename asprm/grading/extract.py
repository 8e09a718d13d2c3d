r"""Extraction: the answer that a completion states.

1. What stands in `<think>…</think>` is not stated (`asprm.grading.thinking`).
2. The last marker with a complete answer counts: `The answer is: …`, `Final answer: …`, `Answer: …` at the beginning of
   a line, a heading `Final answer` over the answer, `#### …`, `\boxed{…}`. A heading of Markdown (`####` and words,
   or `2 cases` and words, with text below) is none; without a colon, `the answer is` needs something like mathematics
   behind it, a number in words, or a name that ends the line.
3. Markup around the answer is not part of it: fences, quotes, lists, emphasis, tags, special tokens, `\[…\]`.
4. The answer ends with its sentence, and an answer in mathematics where words begin that only explain it: after a
   comma, semicolon or dash, before `because`, `which`, `since` …, and before brackets that say the same again.
5. Boxes that only commas, semicolons, `and` or `or` separate are one answer.
"""

import re
from collections.abc import Iterator

from asprm.grading.numbers import Number, parse_number
from asprm.grading.thinking import without_thinking
from asprm.grading.tidy import tidy
from asprm.grading.words import NUMBER_WORDS

LONGEST_ANSWER = 1000  # characters; longer ones are not compared
_TRIES = 8  # markers that are tried, from the last one backwards, until one has a complete answer
_MARKERS = 100  # looked at, from the last one backwards
_NEAR = 120  # characters: most answers stand this near to the end, so markers are first looked for there
_LINES = 6  # lines after a marker in which the answer may begin


def extract_answer(completion: str) -> str | None:
    """The last complete answer that the completion states, as written; None where it states none."""
    if _MAY_BE_TAG.search(completion):
        completion = _first_turn(without_thinking(completion))
    if "\r" in completion:
        completion = completion.replace("\r\n", "\n")
    near_end = max(0, len(completion) - _NEAR)
    return _last_answer(completion, near_end) or (_last_answer(completion, 0) if near_end else None)


_MAY_BE_TAG = re.compile(r"<[a-zA-Z/|｜]")


def _first_turn(completion: str) -> str:
    """The text up to the first token that ends a turn of a chat: what follows is another one."""
    end = _TURN_END.search(completion)
    return completion[: end.start()] if end and completion[: end.start()].strip() else completion


_TURN_END = re.compile(
    r"<\|(?:im_end|eot_id|endoftext|end|end_of_text)\|>|<｜end▁of▁sentence｜>|</s>|<eos>|<end_of_turn>"
)


def _last_answer(completion: str, since: int) -> str | None:
    """The last complete answer whose marker stands at `since` or later."""
    tries = 0
    for marker in reversed([*_MARKER.finditer(completion, since)][-_MARKERS:]):
        start = _answer_starts(completion, marker)
        if start is None:
            continue
        tail = completion[start : start + LONGEST_ANSWER + 2]
        if marker[0].startswith("\\"):
            answer = _boxed(tail)
            answer = _with_boxes_before(completion[: marker.start()], answer) if answer else None
        else:
            answer = _stated(tail)
        if answer:
            return answer
        tries += 1
        if tries == _TRIES:
            break
    return None


# --- markers ----------------------------------------------------------------------------------------------------------

_MARKER = re.compile(  # fast: no case to ignore, and each alternative begins with a letter or sign of its own
    r"\\boxed|\\fbox|####|answer|Answer|ANSWER|an[s](?=\s*[:=.])|An[s](?=\s*[:=.])"
    r"|correct (?:option|choice)|right (?:option|choice)|best (?:option|choice)"
)
_LETTER_OR_HASH = re.compile(r"[#a-zA-Z0-9]")
_MARKUP = re.compile(r"\\[a-z]+\{|[^a-zA-Z0-9\\]+|\\")
_VERB = r"(?:is|=|equals|was|becomes|(?:would|should|must|will|can only|turns out to) be|comes (?:out )?to)"
_ABOUT = r"(?:[ ,]{1,2}[a-zA-Z(][\w ,()'-]{0,40}?[ ,])?"  # "to this question", "in dollars"
_COLON = re.compile(
    rf"[\s*_\"'}}]{{0,4}}(?:{_ABOUT}({_VERB})[\s*_]{{0,4}})?[*_ ]{{0,3}}(?::|：|>(?=\s*[^\s]))", re.IGNORECASE
)
_AT_LINE_START = re.compile(
    r" (?:\([^)\n]{1,30}\)|in [a-z ]{1,30}):|[ *_]{0,4}(?:-|–|—|→|->|=>)\s|\.[*_ ]{0,3}(?=[0-9])|\](?=\s*\S)"
)
_HEADING = re.compile(r"[ \t*_]{0,4}(?:\n|$)")
_WITHOUT_COLON = re.compile(
    rf"[*_ ]{{0,4}}\s{{0,2}}{_ABOUT}(?P<verb>{_VERB})(?![a-zA-Z])"
    r"(?=(?:[\s*_(\[{}\"'`=]|<[a-z][^<>]{0,60}>){0,8}"
    r"(?:(?P<hedge>approximately|about|roughly|exactly|simply|just|equal to|option|choice|therefore|thus)\s)?"
    r"[*_(\[{\"'`+−–-]{0,6} ?"
    r"(?:\d|\.\d|[$€£¥₹]|US\$|Rs\.? ?\d|\\[(\[{a-zA-Z$]|[^\x00-\x7f]"
    r"|[a-zA-Z]{1,2}(?:_\w+)?(?:\([a-z]\))? ?[=^*/+<>²≤≥≠∈-]"
    r"|(?:sqrt|pi|sin|cos|tan|ln|log|exp|yes|no|true|false)(?![a-z])|[A-Z]\([0-9]|[A-Z]{2,4} ?=|area ?="
    r"|[A-J](?=[).,*_\"'`]|\s*$|,? and [A-J](?![a-z]))|[a-z](?=[).*_\"'`$]|\s*$)"
    rf"|(?:{NUMBER_WORDS})(?:(?: and |[ -])(?:{NUMBER_WORDS}))*(?: [a-z]+)?(?:[.,;!*_]|\s*$)"
    r"|(?-i:[A-Z][a-z]{2,}(?: [A-Z][a-z]+)?)[.*_]*\s*$))",
    re.IGNORECASE | re.MULTILINE,
)
_BEFORE = frozenset(["", "the", "final", "thefinal", "my", "myfinal", "short", "correct", "thecorrect", "required"])
_PARTS = r"(?:steps?|cases?|parts?|methods?|approaches|sections?|remarks?) [a-z]"
_WORDS_FIRST = re.compile(rf"[\s*_]*(?:[A-Za-z]{{2,}}|[0-9]{{1,2}}[.)] [A-Z][a-z]+|[0-9]{{1,2}} (?i:{_PARTS}))")


def _answer_starts(text: str, marker: re.Match) -> int | None:
    """Where the answer of a marker may begin; None where the marker is none."""
    start, end = marker.span()
    if marker[0].startswith("\\"):
        return None if text[end : end + 1].isalpha() else end
    joined = (start > 0 and _LETTER_OR_HASH.match(text, start - 1)) or _LETTER_OR_HASH.match(text, end)
    if joined and (marker[0] != "####" or "#" in (text[max(0, start - 1) : start], text[end : end + 1])):
        return None  # a part of another word, or a smaller heading
    line = text.find("\n", end)
    if marker[0] == "####":
        heading = line >= 0 and _WORDS_FIRST.match(text, end) and text[line : line + 200].strip()
        return None if heading else end
    before = text[text.rfind("\n", 0, marker.start()) + 1 : marker.start()] if marker.start() else ""
    alone = len(before) < 40 and _MARKUP.sub("", before).casefold() in _BEFORE
    named = before[-12:].casefold().rstrip(" *_").endswith(("final", "correct", "right", '"', "<", "final_"))
    colon = _COLON.match(text, end)
    if colon and (colon[1] or alone or named) and (colon[0][-1] != ">" or before.endswith(("<", "<final_"))):
        return colon.end()
    if verb := _WITHOUT_COLON.match(text, end):
        return verb.end("hedge") if verb["hedge"] in ("therefore", "thus") else verb.end("verb")
    heading = _HEADING.match(text, end) or _AT_LINE_START.match(text, end)
    return heading.end() if heading and alone else None


# --- boxes ------------------------------------------------------------------------------------------------------------


def _boxed(tail: str) -> str | None:
    r"""The group after `\boxed`, or the token (`\boxed 5`). None where the group is not closed."""
    tail = tail.lstrip()
    if not tail.startswith("{"):
        token = re.match(r"-?[0-9A-Za-z.,/]+", tail)
        return token[0].rstrip(".,") if token else None
    end = _group_end(tail)
    return _ITS_MARKER.sub("", tail[1 : end - 1].strip()) if end else None


_ITS_MARKER = re.compile(r"\\text\w* ?\{ ?(?:the )?(?:final )?answer(?: is)?:? ?\}", re.IGNORECASE)


def _group_end(text: str) -> int:
    """Where the group that the text begins with ends; 0 where it does not. Escaped braces do not count."""
    depth = 0
    for brace in _BRACE.finditer(text):
        depth += (brace[0] == "{") - (brace[0] == "}")
        if depth == 0:
            return brace.end()
    return 0


_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


_BOX = re.compile(r"\\(?:boxed|fbox) ?(?=\{)")
_BETWEEN = re.compile(
    r"(?:[\s$~]|\\[,;:! ()\[\]]|\\q?quad(?![a-z])|\\text ?\{|\}|[,;&]|\band\b|\bor\b|\bas well as\b"
    r"|\b[a-zA-Z] ?=|\([a-e]\)|(?<=\n)[0-9][.)] )*"
)
_MOST_BOXES = 16
_NAME_AT_END = re.compile(r"(?<![\w\\])([a-zA-Z]) ?= ?[\s$]*$")


def _with_boxes_before(text: str, answer: str) -> str:
    """The answer with those of the boxes before it that nothing but commas or `and` separates from the next one.

    Of several boxes each keeps the name before it: `$x=\\boxed{2}$, $y=\\boxed{7}$` is x = 2, y = 7.
    """
    alone, answer = answer, _name_before(text) + answer
    end = len(text)
    boxes = [*_BOX.finditer(text, max(0, end - LONGEST_ANSWER))]
    for box in reversed(boxes[-_MOST_BOXES:]):
        size = _group_end(text[box.end() : end])
        between = text[box.end() + size : end]
        joined = (
            re.search(r"[,;&]|\band\b|\bor\b|\bas\b|\([a-e]\)|\n[0-9][.)] ", between)
            and "\n\n" not in between
            and _BETWEEN.fullmatch(between)
        )
        if not size or not joined:
            break
        comma = " or " if re.search(r"\bor\b", between) else ", "
        before = _name_before(text[: box.start()]) + text[box.end() + 1 : box.end() + size - 1].strip()
        answer, alone = (answer if before == answer else f"{before}{comma}{answer}"), ""
        end = box.start()
    return alone or answer


def _name_before(text: str) -> str:
    """`x = ` where the text ends so, before a box; else nothing."""
    name = _NAME_AT_END.search(text)
    return f"{name[1]} = " if name else ""


# --- answers in a line ------------------------------------------------------------------------------------------------

_TAGS = (
    "b i u em strong code pre span div p br answer final_answer final result output center math mark font small h[1-6]"
)
_TAG = re.compile(rf"</?(?:{'|'.join(_TAGS.split())})(?: [^<>]{{0,60}})?/?>", re.IGNORECASE)
_RAISED = re.compile(r"<(sup|sub)>([^<>]{1,40})</\1>", re.IGNORECASE)
# Tokens that chat models end or part their texts with: what follows them is another turn.
_END = re.compile(
    r"<\|[^|<>]{1,40}\|>|<｜[^｜<>]{1,40}｜>|</s>|<s>|<eos>|<pad>|<(?:end|start)_of_turn>|\[/?INST\]|<unk>"
    r"|</(?:final_)?answer>"
)
_FENCE = re.compile(r"\s*(?:```|~~~)\w*\s*")
_BULLET = re.compile(r"\s*(?:(?:[-*•+]|[0-9]{1,2}[.)])\s+|>\s*)+(?=\S)")
_DISPLAY = re.compile(r"\s*(\$\$|\\\[|\\begin ?\{(\w+\*?)\})")
_SENTENCE_END = re.compile(r"(?<=[0-9)\]}$%*_`])\.(?=\s)|(?<=[a-z]{3})\.(?=\s+[A-Z])|(?<=\b[A-Z])\.(?=\s+[A-Z])")


_NUMBER = re.compile(r"[ *]*([-$]?[0-9][0-9,]*(?:\.[0-9]+)?)\.?\**\s*(?:\n|$)")


def _stated(tail: str) -> str | None:
    """The answer after a marker: in the first line with text, or in the display of mathematics that begins there."""
    if number := _NUMBER.match(tail):  # most answers: what follows gives the same, slower
        return number[1]
    if "<" in tail or "[" in tail:
        tail = _END.split(tail, maxsplit=1)[0]
        tail = _RAISED.sub(lambda m: f"{'^' if m[1].lower() == 'sup' else '_'}{{{m[2]}}}", _TAG.sub("", tail))
    place = 0
    for number in range(_LINES):
        line = tail[place:].split("\n", 1)[0]
        if number and (bullet := _BULLET.match(line)):
            place, line = place + bullet.end(), line[bullet.end() :]
        if display := _DISPLAY.match(tail, place):
            if shown := _display(tail[display.start(1) :], display):
                return shown
        elif not _FENCE.fullmatch(line) and line.strip("$*:.`_#>=- \t\\[]"):
            return _of_line(line)
        place += len(line) + 1
        if place > len(tail):
            return None
    return None


def _display(text: str, opening: re.Match) -> str | None:
    """The mathematics between `$$`, `\\[` or `\\begin{…}` and its end; None where it has none or is empty."""
    mark, environment = opening[1], opening[2]
    if environment:
        closing = f"\\end{{{environment}}}"
        end = text.find(closing)
        return " ".join(text[: end + len(closing)].split()) if end >= 0 else None
    end = text.find("$$" if mark == "$$" else "\\]", 2)
    inside = " ".join(text[2:end].split()) if end >= 0 else ""
    return _without_explanation(inside.rstrip(".,")) or None


def _of_line(line: str) -> str | None:
    """The answer in a line of text; None where it was cut off within a group."""
    answer = _SENTENCE_END.split(line, maxsplit=1)[0].strip().strip("*_`").strip().rstrip(".").rstrip()
    answer = re.sub(r"^(?:\*\*|[:*_`=}]+|\([a-e]\) (?=\S))\s*", "", answer).strip()
    answer = re.sub(
        r"&nbsp;?|(?:\.\.\.|…).*|!+\s+[^\x00-\x7f]+$|\s*(?:#+|==|//.*|\?|\$?\\blacksquare\$?|\[/?[A-Z]+\])\s*$",
        "",
        answer,
    ).strip()
    if "{" in answer or "}" in answer:
        braces = _BRACE.findall(answer)
        unopened = braces.count("}") - braces.count("{")
        if unopened < 0:
            return None
        while unopened > 0 and answer.endswith("}") and not answer.endswith("\\}"):
            answer, unopened = answer[:-1].rstrip().rstrip("."), unopened - 1  # the marker stood in a group
    return _without_explanation(answer) or None


# --- explanations -----------------------------------------------------------------------------------------------------

_FUNCTION = r"(?:pi|sin|cos|tan|cot|sec|csc|log|ln|lg|exp|sqrt|alpha|beta|theta|infty|infinity|inf|lim|max|min)\b"
_CONDITION = r"(?:and|or|if|when|for|unless|otherwise|mod|where)\b"
_LOOSELY = r"or (?:about|approximately|roughly|equivalently|simply|just|in other words)"
_EXPLAINS = re.compile(
    rf"\s*[,;:](?=\s+(?!{_FUNCTION}|{_CONDITION})(?:an? )?[a-z][a-z']+)"
    r"|\s+(?:Therefore|Thus|Hence|So)\b|\s+but (?:only|not)\b|\s*;(?=\s+[A-Z][a-z]+ [a-z]{2,})|\s+~ (?=[0-9])"
    r"|\s*[,;]?(?=\s+(?:and|or|but) (?:so|that|this|these|there|the|it|he|she|they|we|you|I|[A-Z][a-z]+ [a-z]{2,})\b)"
    rf"|\s*[,;](?=\s+(?:where|{_LOOSELY})\b)"
    rf"|\s+(?:--?-?|–|—)\s+(?=(?!{_FUNCTION})[a-z][a-z']+(?:\s+[a-z]|\s*$|[.,]))"
    r"|\s+(?:because|since|as (?:we|the|it|there|required|desired|expected)|so (?:the|that|we|it|she|he|they"
    rf"|[A-Z][a-z]+)|which|thus|hence|therefore|namely|i\.e\.|that is|{_LOOSELY})(?![a-z])"
    r"|\s*(?:≈|\\approx(?![a-z]))"
)
_OPENING = re.compile(r"(?:[-+−($€£¥\\\[{|.√π∞½¼¾]|\d|[a-zA-Z](?![a-zA-Z])|(?:approximately|about|roughly|exactly) )")
_IN_WORDS = re.compile(
    r"(?<=^[Yy]es),|(?<=^[Nn]o),"
    r"|,? (?:which|because|since|as it|as he|as she|so that|i\.e\.|namely)\b|[,;] (?:so|that is|meaning)\b"
)
_AGAIN = re.compile(r"\s+\((?P<inside>[^()]*(?:\([^()]*\)[^()]*)*)\)\s*$")
_EXPLANATION = re.compile(rf"(?!{_FUNCTION}|mod\b|base\b)[a-z]{{3,}}|[a-z]+ [a-z]+|≈|\\approx", re.IGNORECASE)


def _without_explanation(answer: str) -> str:
    """The answer up to where words begin that explain it, or brackets that say it again."""
    if not _OPENING.match(answer):
        cut = _IN_WORDS.search(answer)
        return answer[: cut.start()].rstrip() if cut else answer
    if cut := next(_outside_groups(answer), None):
        answer = answer[:cut].rstrip().rstrip(".").rstrip()
    again = _AGAIN.search(answer) if answer.endswith(")") else None
    if again and _says_again(answer[: again.start()], again["inside"]):
        answer = answer[: again.start()].rstrip()
    return answer.rstrip(",;:").rstrip()


def _outside_groups(answer: str) -> Iterator[int]:
    """Where explanations begin that are in no group, no brackets and no `$…$`."""
    found = [*_EXPLAINS.finditer(answer)]
    if not found:
        return
    depth, inside, place = 0, False, 0
    for match in found:
        for character in answer[place : match.start()]:
            depth += (character in "([{") - (character in ")]}")
            inside ^= character == "$"
        place = match.start()
        paired = answer.count("$") % 2 == 0
        if place and depth <= 0 and not (inside and paired):
            yield place


def _says_again(answer: str, inside: str) -> bool:
    """Whether what stands in brackets after an answer explains it, or is its value in other digits."""
    if inside.startswith("=") or re.fullmatch(r"[0-9 .,]+(?: ?[-+*/×x·] ?[0-9 .,$]+)+", inside):
        return True  # the sum that it comes from
    number = parse_number(tidy(answer))
    other = parse_number(tidy(inside))
    if number is not None and other is not None:
        return _nearly(number, other)
    if number is None and re.search(r"(?:^[a-zA-Z]|\\[a-zA-Z]+|[-+*/=<>^,])\s*$", answer):
        return False  # the brackets belong to what stands before them
    if re.match(r"(?:in )?(?:base|mod|modulo)\b", inside):
        return False
    return _EXPLANATION.search(re.sub(r"\\[a-zA-Z]+", "", inside)) is not None


def _nearly(number: Number, other: Number) -> bool:
    values = {number.value, number.bare} & {other.value, other.bare}
    return bool(values) or abs(number.bare - other.bare) <= abs(number.bare) / 100
