"""The picture of the pipeline, as SVG text: six panels that follow real solutions of a run from sampling to use.

The landing page has it in its HTML, so that its colours follow the page's theme: two panels a row for a desk, one for a
phone. `python -m asprm.site.picture --profile tiny` writes both to `book/_static` for the README. What it shows is picked by
`asprm.site.story`; nothing here reads a table.
"""

import argparse
import math
import sys
import textwrap
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from asprm import REPOSITORY
from asprm.models.align import visible
from asprm.reward.aggregates import aggregate
from asprm.run.open import open_run
from asprm.run.sections import ProfileError
from asprm.run.store import BrokenArtifact, MissingArtifact
from asprm.site.story import BINS, LINE, LINES, Solution, Story, story

WIDTH, HEIGHT, GAP, MARGIN = 340, 276, 18, 14  # of a panel; from its edge to what stands in it
ADVANCE = {"title": 9.2, "": 6.9, "token": 8.0, "tick": 6.3}  # of a character, at most in the mean, by kind of text
SHOWN = 4  # steps and candidates that a row has room for

LABELS = {
    "hard": "up to {} times. Any right: label 1",
    "soft": "{} times. The share that is right is the label",
    "entropy": "{} times. The more are right, the higher the label",
}

STYLE = """
.pipeline { --ink: var(--pst-color-text-base, #1f2328); --paper: var(--pst-color-background, #ffffff);
  --line: var(--pst-color-border, #8c959f); --doubt: #d1453b; --good: #2d9a4e;
  --one: #2f6fd6; --two: #c77700; --three: #7a4fc9; --four: #1b8a8f;
  font-family: system-ui, "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: dark) { .pipeline { --ink: var(--pst-color-text-base, #e6edf3);
  --paper: var(--pst-color-background, #0d1117); } }
.pipeline text { fill: var(--ink); font-size: 13px; }
.pipeline .title { font-size: 16px; font-weight: 700; }
.pipeline .tick { font-size: 11.5px; }
.pipeline .token { font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
.pipeline .panel { fill: var(--paper); stroke: var(--line); }
.pipeline .bar { fill: var(--ink); fill-opacity: .45; }
.pipeline .rule { stroke: var(--ink); fill: none; stroke-width: 1.2; }
.pipeline .grid { stroke: var(--line); fill: none; stroke-opacity: .5; }
.pipeline .doubt { stroke: var(--doubt); fill: none; stroke-width: 2; }
.pipeline .low { fill: var(--doubt); }
.pipeline .box { fill: var(--line); fill-opacity: .16; }
.pipeline .s1 { fill: var(--one); fill-opacity: .28; }
.pipeline .s2 { fill: var(--two); fill-opacity: .28; }
.pipeline .s3 { fill: var(--three); fill-opacity: .28; }
.pipeline .s4 { fill: var(--four); fill-opacity: .28; }
.pipeline .pick { stroke: var(--good); fill: none; stroke-width: 2.2; }
"""


# --- shapes -----------------------------------------------------------------------------------------------------------


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3" class="{kind}"/>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" class="{kind}"/>'


def lines(y: float, words: str) -> str:
    """Running text as wide as the panel, from the baseline `y` down."""
    wrapped = textwrap.wrap(words, int((WIDTH - 2 * MARGIN) / ADVANCE[""]))
    return "".join(text(MARGIN, y + 17 * i, one) for i, one in enumerate(wrapped))


def token(x: float, y: float, words: str) -> str:
    """Text in which each character has a place of its own, so that boxes around it fit in every font."""
    shown = words.lstrip(" ")
    x += ADVANCE["token"] * (len(words) - len(shown))
    if not (shown := shown.rstrip(" ")):
        return ""
    size = f'textLength="{ADVANCE["token"] * len(shown):g}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{x:g}" y="{y:g}" class="token" {size}>{escape(shown)}</text>'


def beginning(words: str, length: int) -> str:
    return words if len(words) <= length else words[: length - 1] + "…"


def plain(words: str) -> str:
    """In one line."""
    return " ".join(words.split())


def ending(words: str, length: int) -> str:
    return words if len(words) <= length else "…" + words[len(words) - length + 1 :]


# --- solutions --------------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where a token stands, in characters and lines."""

    token: int
    shown: str
    line: int
    column: int


def flow(tokens: Sequence[str]) -> tuple[list[Place], bool]:
    """Tokens set in at most `LINES` lines of `LINE` characters, broken between words; whether any had to be left out.

    A line break is shown as ⏎, for which there is always room, and begins a new line, indented as the text is; a token
    that spells nothing, as the end of the text does, is ■.
    """
    placed: list[Place] = []
    row = column = 0
    for word in words_of(tokens):
        shown = [visible(tokens[i]) for i in word]
        if breaks(tokens[word[-1]]):
            shown[-1] = shown[-1].rstrip(" ")
        if column and column + sum(map(len, shown)) > LINE + (shown == ["⏎"]):
            row, column = row + 1, 0
            shown[0] = shown[0].lstrip(" ") or shown[0]
        for i, one in zip(word, shown, strict=True):
            if column and column + len(one) > LINE + (one == "⏎"):
                row, column = row + 1, 0
            if row == LINES:
                return placed, True
            placed.append(Place(i, beginning(one, LINE), row, column))
            column += len(one)
        if breaks(tokens[word[-1]]):
            row, column = row + 1, len(tokens[word[-1]]) - len(tokens[word[-1]].rstrip(" "))
    return placed, False


def words_of(tokens: Sequence[str]) -> Iterator[list[int]]:
    """Runs of tokens that should stay together: a new one begins with a space, and at and after a line break."""
    word: list[int] = []
    for i, one in enumerate(tokens):
        if word and (one.startswith((" ", "\n")) or breaks(tokens[i - 1])):
            yield word
            word = []
        word.append(i)
    if word:
        yield word


def breaks(token: str) -> bool:
    """Whether nothing but indentation follows the token's line break."""
    return token.rstrip(" ").endswith("\n")


def color(step: int) -> str:
    """The class of a step, which is counted from 0."""
    return f"s{step % SHOWN + 1}"


def solution(y: float, pitch: float, of: Solution, tau: float, *, steps: bool = False, bars: bool = False) -> str:
    placed, more = flow(of.tokens)
    parts = []
    for at, shown, row, column in placed:
        x, top, width = MARGIN + ADVANCE["token"] * column, y + pitch * row, ADVANCE["token"] * len(shown)
        step = sum(end <= at for end in of.ends)
        low = of.confidences[at] < tau
        parts.append(box(x + 0.5, top, width - 1, 19, color(step) if steps else "box"))
        parts.append(token(x, top + 14, shown))
        if bars:
            parts.append(box(x + 0.5, top + 21, (width - 1) * of.confidences[at], 4, "low" if low else "bar"))
        if low:
            parts.append(box(x + 0.5, top, width - 1, 19, "doubt"))
    if more:
        parts.append(text(WIDTH - 4, y + pitch * (LINES - 1) + 14, "…", "", "end"))
    return "".join(parts)


def scores(x: float, y: float, of: Solution) -> str:
    """The scores of the first steps, in the steps' colours."""
    parts = []
    for step, score in enumerate(of.scores[:SHOWN]):
        parts.append(box(x + 48 * step, y, 44, 22, color(step)))
        parts.append(text(x + 48 * step + 22, y + 16, f"{score:.2f}", "", "middle"))
    if len(of.scores) > SHOWN:
        parts.append(text(x + 48 * SHOWN, y + 16, "…"))
    return "".join(parts)


# --- panels -----------------------------------------------------------------------------------------------------------


def sample(s: Story) -> str:
    verdict = "right" if s.solution.correct else "wrong"
    return (
        lines(52, f"Policy {s.policy} solves training problems; we keep how sure it was of every token.")
        + solution(82, 33, s.solution, s.tau, bars=True)
        + text(MARGIN, 264, f"bar: confidence, red below τ; it ends {verdict}")
    )


def threshold(s: Story) -> str:
    left, width, bottom, height = 64, 262, 222, 104
    most = math.log10(max(s.histogram)) + 0.3

    def top(count: int) -> float:
        return bottom - height * (math.log10(count) + 0.3) / most  # a single token is still to be seen

    parts = [
        lines(
            52,
            f"All {s.total:,} confidences together: the threshold τ is such that a small share of the tokens lies "
            f"below, here {s.below / s.total:.1%}.",
        )
    ]
    for power in range(int(math.log10(max(s.histogram))) + 1):
        y = top(10**power)
        parts += [line(left, y, left + width, y, "grid"), text(left - 6, y + 4, f"{10**power:,}", "tick", "end")]
    for i, count in enumerate(s.histogram):
        if count:
            begin, end, y = i / BINS, (i + 1) / BINS, top(count)
            border = min(max(s.tau, begin), end)  # a bar that τ cuts is red up to there
            for a, b, kind in ((begin, border, "low"), (border, end, "bar")):
                if b > a:
                    parts.append(f'<path d="M{left + width * a + 0.5:g} {bottom}V{y:g}H{left + width * b - 0.5:g}'
                                 f'V{bottom}Z" class="{kind}"/>')  # fmt: skip
    x = left + width * s.tau
    on_left = s.tau > 0.5
    parts += [
        line(left, bottom, left + width, bottom, "rule"),
        line(x, bottom - height - 4, x, bottom + 6, "doubt"),
        text(x + (-6 if on_left else 6), bottom - height + 8, f"τ = {s.tau:.3f}", "", "end" if on_left else "start"),
        text(left, bottom + 18, "0", "tick"),
        text(left + width, bottom + 18, "1", "tick", "end"),
        text(left + width / 2, bottom + 18, "confidence", "tick", "middle"),
        text(MARGIN, 264, "height: number of tokens, logarithmic"),
    ]
    return "".join(parts)


def split(s: Story) -> str:
    count = len(s.solution.ends)
    return (
        lines(52, "A step ends with each token below τ, not where a line happens to end.")
        + solution(86, 30, s.solution, s.tau, steps=True)
        + text(MARGIN, 264, f"{count} steps, each with a colour" if count > 1 else "one step: it never hesitated")
    )


def rollout(s: Story) -> str:
    rule = LABELS[s.estimate].format(s.rollouts)
    parts = [lines(52, f"From each step's end the policy tries again, {rule}.")]
    pitch = 176 // max(3, min(SHOWN, len(s.labels)))
    for step, label in enumerate(s.labels[:SHOWN]):
        y, last = 86 + pitch * step, step == len(s.labels) - 1
        prefix = "".join(s.solution.tokens[: s.solution.ends[step]])
        results = "✗" * (label.run - label.right) + "✓" * label.right
        said = "the solution itself" if last else f"{label.right} of {label.run} right"
        parts += [
            box(MARGIN, y, 126, 24, color(step)),
            token(MARGIN + 5, y + 17, ending(plain(prefix), 14)),
            line(144, y + 12, 156, y + 12, "rule"),
            text(162, y + 12, " ".join(beginning(results, 9)), "tick"),
            text(162, y + 27, said, "tick"),
            text(WIDTH - MARGIN, y + 17, f"label {label.value:.2g}", "", "end"),
        ]
    if len(s.labels) > SHOWN:
        parts.append(text(MARGIN, 264, f"and so on, {len(s.labels)} steps in all"))
    elif not 0 < sum(label.value for label in s.labels) < len(s.labels):
        parts.append(text(MARGIN, 264, "all steps of this solution fare alike"))
    return "".join(parts)


def prm(s: Story) -> str:
    return (
        lines(52, "A model learns the labels. It reads new solutions and scores each step at its end.")
        + solution(82, 27, s.best, s.tau, steps=True)
        + scores(MARGIN, 230, s.best)
        + text(MARGIN, 267, f"scores of {beginning(s.prm, 24)}, from 0 to 1", "tick")
    )


def use(s: Story) -> str:
    parts = [text(MARGIN, 52, f"Best-of-{s.candidates}: best {s.how} over the steps wins.")]
    for y, one in ((62, s.best), (90, s.worst)):
        parts += [
            scores(MARGIN, y, one),
            text(MARGIN + 4 * 48 + 14, y + 16, f"{s.how} {combined(s, one):.2f}"),
            text(WIDTH - MARGIN, y + 16, "right" if one.correct else "wrong", "", "end"),
        ]
    parts.append(box(MARGIN - 4, 59, WIDTH - 2 * MARGIN + 8, 28, "pick"))
    return "".join(parts) + guided(s)


def combined(s: Story, one: Solution) -> float:
    return aggregate(one.scores, s.how)


def guided(s: Story) -> str:
    """The lower half of the last panel: the decision, if there is one."""
    found = s.decision
    if found is None:
        return lines(142, "Guided decoding: at a doubt the best-scored token is written. Here it never came to that.")
    parts = [
        lines(
            138,
            f"Guided decoding: at a first choice below {found.trigger:g} the best-scored token is written.",
        ),
        token(MARGIN, 178, ending(plain(found.before), LINE - 2) + " ?"),
    ]
    shown = list(range(min(SHOWN, len(found.tokens))))
    if found.written not in shown:
        shown[-1] = found.written
    for place, i in enumerate(shown):
        x = MARGIN + 79 * place
        parts += [
            box(x, 190, 75, 62, "box"),
            token(x + 6, 206, beginning(visible(found.tokens[i]).strip() or "␣", 8)),
            text(x + 6, 226, f"prob. {found.probabilities[i]:.2f}", "tick"),
            text(x + 6, 243, f"score {found.scores[i]:.2f}", "tick"),
        ]
        if i == found.written:
            parts.append(box(x - 2, 188, 79, 66, "pick"))
    verdict = "right" if found.correct else "wrong"
    parts.append(text(MARGIN, 268, f"{beginning(found.problem, 24)}: the end is {verdict}", "tick"))
    return "".join(parts)


PANELS = [
    ("Sample", sample, lambda s: s.solution.problem),
    ("Threshold", threshold, lambda s: "all training solutions"),
    ("Split", split, lambda s: s.solution.problem),
    ("Rollout", rollout, lambda s: s.solution.problem),
    ("Reward model", prm, lambda s: s.best.problem),
    ("Use", use, lambda s: s.best.problem),
]


# --- the whole --------------------------------------------------------------------------------------------------------


def description(s: Story) -> str:
    """What the six panels show, in words and with the same numbers."""
    right = {True: "right", False: "wrong"}
    doubts = [
        f"{one.strip() or visible(one)} ({confidence:.2f})"
        for one, confidence in zip(s.solution.tokens, s.solution.confidences, strict=True)
        if confidence < s.tau
    ]
    labels = [
        f"step {step}: {label.right} of {label.run} right, label {label.value:.2g}"
        for step, label in enumerate(s.labels[:-1], start=1)
    ]
    last = f"step {len(s.labels)}: the solution itself, label {s.labels[-1].value:.2g}"
    both = [
        f"{', '.join(f'{score:.2f}' for score in one.scores)}, {s.how} {combined(s, one):.2f}, {right[one.correct]}"
        for one in (s.best, s.worst)
    ]
    found = s.decision
    decision = "Guided decoding never stepped in."
    if found:
        candidates = "; ".join(
            f"{visible(one).strip()} with probability {probability:.2f} and score {score:.2f}"
            for one, probability, score in zip(found.tokens, found.probabilities, found.scores, strict=True)
        )
        decision = (
            f"Guided decoding of {found.problem}, trigger {found.trigger:g}: after “{plain(found.before)}” the "
            f"candidates are {candidates}; written is {visible(found.tokens[found.written]).strip()}, and the solution "
            f"ends {right[found.correct]}."
        )
    return f"""Six panels, from a run of profile {s.profile}.
1 Sample: policy {s.policy} solves training problem {s.solution.problem}: “{plain(s.solution.text)}”, which is
{right[s.solution.correct]}. It hesitated at {", ".join(doubts) or "no token"}.
2 Threshold: of {s.total:,} tokens {s.below:,}, {s.below / s.total:.1%}, have a confidence below {s.tau:.3f}.
3 Split: the solution is cut after each of these tokens, into {len(s.solution.ends)} steps.
4 Rollout: {"; ".join([*labels, last])}.
5 Reward model: {s.prm} scores a solution of test problem {s.best.problem}, “{plain(s.best.text)}”, at the end of
each step.
6 Use: of {s.candidates} candidates the best one has the scores {both[0]}; the worst one {both[1]}. {decision}"""


def pipeline_svg(s: Story, columns: int) -> str:
    """The picture with `columns` panels a row, as one <svg> element (no XML header, so that it can stand in HTML)."""
    rows = -(-len(PANELS) // columns)
    width, height = columns * (WIDTH + GAP) + GAP, rows * (HEIGHT + GAP) + GAP
    panels = []
    for i, (title, draw, source) in enumerate(PANELS):
        x, y = GAP + (i % columns) * (WIDTH + GAP), GAP + (i // columns) * (HEIGHT + GAP)
        heading = text(MARGIN, 28, f"{i + 1}  {title}", "title")
        heading += text(WIDTH - MARGIN, 28, beginning(source(s), 26), "tick", "end")
        panels.append(f'<g transform="translate({x},{y})">{box(0, 0, WIDTH, HEIGHT, "panel")}{heading}{draw(s)}</g>')
    name, drawn = f"pipeline-{columns}", "\n".join(panels)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" class="pipeline columns-{columns}"
 role="img" aria-labelledby="{name}-title {name}-text">
<title id="{name}-title">The pipeline in six panels, on solutions of a run of profile {escape(s.profile)}</title>
<desc id="{name}-text">{escape(description(s))}</desc>
<style>{STYLE}</style>
{drawn}
</svg>
"""


def figure(s: Story) -> str:
    """Both pictures, of which a page shows one, with a caption: HTML."""
    problems = [("1, 3 and 4", s.solution), ("5 and 6", s.best)] + ([("6, below", s.decision)] if s.decision else [])
    listed = "\n".join(
        f"<li>{where}: <code>{escape(one.problem)}</code>. {escape(one.prompt.strip())}</li>" for where, one in problems
    )
    drawn = "\n".join(pipeline_svg(s, columns) for columns in (2, 1))
    return f"""<figure class="picture">
{drawn}<figcaption>
<p>Real solutions of policy {s.policy} on their way through this run (profile {escape(s.profile)}). A rule picked them
because they are short and go both right and wrong: examples, no fair sample. The problems, by panel:</p>
<ul>
{listed}
</ul>
</figcaption>
</figure>
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m asprm.site.picture", description="Draw the README's picture of a run."
    )
    parser.add_argument("--profile", default="tiny", help="a profile's name or file (default: tiny)")
    options = parser.parse_args(arguments)
    try:
        told = story(open_run(options.profile, stage="tvd", quiet=True))
    except (ProfileError, MissingArtifact, BrokenArtifact) as error:
        print(error, file=sys.stderr)
        return 1
    for columns, name in ((2, "pipeline.svg"), (1, "pipeline-tall.svg")):
        (REPOSITORY / "book" / "_static" / name).write_text(pipeline_svg(told, columns), encoding="utf-8")
        print(f"wrote book/_static/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
