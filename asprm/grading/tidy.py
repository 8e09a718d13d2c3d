r"""Tidy: one spelling for what is written in many ways, so that answers can be compared.

Digits and signs of any script become ASCII, and LaTeX that changes the look of an answer but not its value is removed:
spaces, sizes, colours, fonts, `$…$`, `\text{}`, a last period. A number in words becomes one in digits.
"""

import re
import unicodedata
from functools import lru_cache

from asprm.grading.words import in_digits

_LONGEST_PERIOD = 30  # digits of a repeating decimal that is read exactly


@lru_cache(maxsize=1 << 14)
def tidy(text: str) -> str:
    r"""The text without what does not change its value, in one line."""
    if not text.isascii():
        text = _ascii(text)
    text = text.replace("\n", " ").replace("~", " ").strip()
    if "\\" in text or "{" in text:
        text = _plain_latex(text)
    if "^o" in text or "^{o" in text:
        text = re.sub(r"\^ ?(?:o(?![a-zA-Z])|\{ ?o ?\})", r"^\\circ", text)
    if text[-2:-1].isalpha() or text.endswith("."):
        text = _CLOCK.sub(lambda m: f" {m[1].lower()}m", text)
    if text.startswith(("Rs", "US$", "US\\$")):
        text = re.sub(r"^(?:Rs\.? ?|US\\?\$ ?)(?=[0-9])", "$", text)
    if "." in text and ("\\" in text or "(" in text):
        text = _REPEATING.sub(_repeating, text)
    text = text.replace("**", "^") if _POWER.search(text) else text
    text = text.strip(" *`\"'").rstrip(".,;").rstrip()
    if "$" in text:
        text = _without_dollars(text)
    if text[:1].isalpha() or text.startswith(("\\approx", "~")):
        text = _SENTENCE.sub("", _APPROXIMATELY.sub("", text))
    text = " ".join(text.split())
    return in_digits(text) if text[-1:].isalnum() and not text.isdigit() else text


_POWER = re.compile(r"(?<=[0-9a-zA-Z)])\*\*(?=[-(0-9a-zA-Z])")
_CLOCK = re.compile(r"(?<=[0-9]) ?([aApP])\.?[mM]\.?$")
_APPROXIMATELY = re.compile(
    r"(?:(?:approximately|approx\.?|about|roughly|around|exactly|simply|just|only|equal to|equals|option|choice)\s+"
    r"(?=\S)|\\approx\s*)+",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"^(?:It is (?!not |no |never )(?=[a-z]{3})|(?:The|It|This)(?: [a-z]+){0,4} is +(?=[-0-9\\$]))")

# --- characters outside ASCII -----------------------------------------------------------------------------------------

_SIGNS = str.maketrans(
    {
        **dict.fromkeys("−–—‐‑‒－﹣", "-"),
        **dict.fromkeys("⁄∕", "/"),
        **dict.fromkeys("×∗·⋅∙•", "*"),
        **dict.fromkeys("’‘′", "'"),
        **dict.fromkeys("“”«»", '"'),
        **dict.fromkeys("。｡．", "."),
        **dict.fromkeys("、，", ","),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\ufe0f", None),
        "٫": ".",
        "٬": ",",
        "÷": "/",
        "º": "°",
        "±": "\\pm ",
        "≤": "\\le ",
        "≥": "\\ge ",
        "≠": "\\ne ",
        "≈": "\\approx ",
        "∈": "\\in ",
        "∪": "\\cup ",
        "∖": "\\setminus ",
        "∅": "\\emptyset ",
        "∞": "\\infty ",
        "π": "\\pi ",
        "ℝ": "\\mathbb{R}",
        "ℤ": "\\mathbb{Z}",
        "ℚ": "\\mathbb{Q}",
        "ℕ": "\\mathbb{N}",
        "ℂ": "\\mathbb{C}",
    }
)
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ"
_LOWERED = "₀₁₂₃₄₅₆₇₈₉₊₋ₐₑₒₓₙ"
_SCRIPTS = re.compile(rf"([{_RAISED}]+)|([{_LOWERED}]+)")
_VULGAR = re.compile(r"([0-9]?)([¼-¾⅐-⅞↉])")
_PICTURES = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff]+")


def _ascii(text: str) -> str:
    """Digits, letters and signs as ASCII or LaTeX writes them: ８, ½, x², ≤, ℝ; pictures are left out."""
    text = _PICTURES.sub(" ", text)
    text = _VULGAR.sub(lambda m: f"{m[1]} {unicodedata.normalize('NFKC', m[2])}" if m[1] else m[2], text)
    text = _SCRIPTS.sub(lambda m: f"{'^' if m[1] else '_'}{{{unicodedata.normalize('NFKC', m[0])}}}", text)
    text = unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS)
    return re.sub(r"[^\W\d_a-zA-Z]|\d", lambda m: str(unicodedata.digit(m[0], m[0])), text)


# --- LaTeX ------------------------------------------------------------------------------------------------------------

_LOOKS = (
    "left right middle displaystyle textstyle scriptstyle limits nolimits tiny scriptsize footnotesize small "
    "normalsize large Large LARGE huge Huge quad qquad hfill nonumber notag bf it rm sf tt bfseries itshape "
    "mathstrut strut"
)
# Commands for spacing and size do not change a value. `\!` joins the groups of digits in "10,\!080".
_NOTHING = re.compile(
    r"\\(?:left|right) ?\.|(?<!\\)\\[()]|"
    rf"\\(?:{'|'.join(_LOOKS.split())}|[bB]igg?[lrm]?)(?![a-zA-Z])|(?<!\\)\\[!,;:> ]|\{{\}}"
    r"|\\fontsize ?\{[^{}]*\} ?\{[^{}]*\}|\\selectfont(?![a-z])"
    r"|\\(?:color|hspace|vspace|phantom|hphantom|vphantom|label|tag)\*? ?\{[^{}]*\}"
    r"|\\(?:textcolor|colorbox) ?\{[^{}]*\}(?= ?\{)"
)
_GROUPED = re.compile(r",\\!\s*(?=[0-9]{3})")
_FONTS = (
    "text mbox mathrm textbf mathbf textit mathit hbox operatorname textrm textsf texttt mathsf mathtt mathnormal "
    "mathcal boldsymbol bm pmb emph underline uline boxed fbox textnormal textup ensuremath"
)
_GROUP = re.compile(rf"\\(?:{'|'.join(_FONTS.split())})\*?\s*\{{((?:[^{{}}]|\{{[^{{}}]*\}})*)\}}")
_SLASHED = re.compile(r"\\(?:nice|s|x|flat|d|t|c)frac(?![a-zA-Z])")
_GOES_ON = re.compile(r"([0-9]*)\.([0-9]*?)([0-9]{1,6}?)(?:\3){2,}()\s*(?:\\dots|\.\.\.)")
_REPEATING = re.compile(r"([0-9]*)\.([0-9]*)(?:\\(?:overline|bar|dot) ?\{? ?([0-9]+) ?\}?|\(([0-9]+)\))(?![0-9])")


def _plain_latex(text: str) -> str:
    """LaTeX without commands that change its look only."""
    text = text.replace("\\%", "%").replace("{,}", ",").replace("\\degree", "^\\circ").replace("\\euro", "€")
    text = _GROUPED.sub(",", text)
    text = _ENVIRONMENT.sub(_rows, text)
    text = re.sub(r"\\text ?\{[,;] [^{}]*\}\s*$", "", text)  # an explanation
    text = re.sub(r"\\(?:ldots|cdots|dotsc?)(?![a-z])", r"\\dots", text)
    text = re.sub(r"\\langle(?![a-z])", "(", re.sub(r"\\rangle(?![a-z])", ")", text))
    text = _GOES_ON.sub(_repeating, text)
    text = _SYMBOL.sub(" units", text)
    text = re.sub(r"(?<=[0-9])\s*\^? ?\{? ?\\text ?\{ ?(?:st|nd|rd|th) ?\} ?\}?\s*$", "", text)
    text = _SLASHED.sub(r"\\frac", text).strip()
    if text.startswith("\\[") and text.endswith("\\]"):
        text = text[2:-2]
    text = _NOTHING.sub("", re.sub(r"(?<=[a-zA-Z])\\[,;: ](?=[a-zA-Z])", " ", text))
    for _ in range(3):  # a font within a font
        text, count = _GROUP.subn(r" \1 ", text)
        if not count:
            break
    text = text.replace("{\\$", "{")  # in a fraction a currency's sign is no part of the value
    return re.sub(r"(?:\s*\\\\(?![a-zA-Z]))+\s*$", "", text.strip()).strip()


_ENVIRONMENT = re.compile(
    r"(?:\\left ?\\\{ ?)?\\begin ?\{((?:align|aligned|equation|gather|gathered|split)\*?|cases|array)\} ?(\{l\})?(.*?)"
    r"\\end ?\{\1\}(?: ?\\right ?\.)?",
    re.DOTALL,
)
_SYMBOL = re.compile(
    r"(?<=[0-9])(?:\\[,; ]|[\s~])*(?:\\(?:text|mathrm|mbox|textrm) ?\{[\s~]*(?:[NJKVWATCFH]|k[NJVWA])\s*\}|\\Omega)\s*$"
)


def _rows(match: re.Match) -> str:
    """The rows of a display as a list; a matrix, and cases with conditions, stay as they are."""
    kind, content = match[1], match[3]
    if (kind == "cases" and "&" in content) or (kind == "array" and not match[2]):
        return match[0]
    rows = [row.replace("&", "").strip() for row in re.split(r"\\\\", content)]
    return ", ".join(row for row in rows if row)


def _repeating(match: re.Match) -> str:
    r"""0.3\overline{6}, or 0.3666\dots, as the fraction that it is."""
    whole, start, period = match[1], match[2], match[3] or match[4]
    if len(whole + start + period) > _LONGEST_PERIOD:
        return match[0]
    over = int(whole + start + period) - int(whole + start or "0")
    return rf"\frac{{{over}}}{{{10 ** len(start) * (10 ** len(period) - 1)}}}"


def _without_dollars(text: str) -> str:
    """The text without the dollars that mark mathematics, which come in pairs; `\\$`, or a single one, is money."""
    marks = len(re.findall(r"(?<!\\)\$", text))
    if marks % 2 == 0:
        text = re.sub(r"(?<!\\)\$", "", text)
    return text.replace("\\$", "$").strip(" *`\"'").rstrip(".").rstrip()
