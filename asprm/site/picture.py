"""The picture of the pipeline, as SVG text: six panels that follow real solutions of a run from sampling to use.

The landing page contains the picture as HTML, so that its colours follow the page's theme: two panels a row for a
desktop, one for a phone. `python -m asprm.site.picture --profile tiny` writes both to `book/_static` for the README.
`asprm.site.story` chooses what the picture shows; nothing here reads a table.
"""

import argparse
import math
import sys
from html import escape

from asprm import REPOSITORY
from asprm.models.align import visible
from asprm.results.format import percent
from asprm.reward.aggregates import aggregate
from asprm.run.open import open_run
from asprm.run.sections import ProfileError
from asprm.run.store import BrokenArtifact, MissingArtifact
from asprm.site.drawing import (
    ADVANCE,
    GAP,
    HEIGHT,
    MARGIN,
    STYLE,
    WIDTH,
    beginning,
    box,
    ending,
    flow,
    line,
    lines,
    plain,
    text,
    token,
)
from asprm.site.story import BINS, LINE, LINES, Solution, Story, story
from asprm.tvd import Decision

SHOWN = 4  # steps and candidates that a row has room for

LABELS = {  # what the panel on rollouts says of each estimate
    "hard": "up to {} times. Any right: label 1",
    "soft": "{} times. The share that is right is the label",
    "entropy": "{} times. The more are right, the higher the label",
}


# --- solutions --------------------------------------------------------------------------------------------------------


def color(step: int) -> str:
    """The class of a step in `STYLE`; steps count from 0."""
    return f"s{step % SHOWN + 1}"


def solution(y: float, pitch: float, of: Solution, tau: float, *, steps: bool = False, bars: bool = False) -> str:
    """A solution token by token, each in a box, with a red frame where its confidence is below tau.

    y: top of the first line. pitch: distance of the lines. steps: colour the boxes by step. bars: draw confidences.
    """
    places, more = flow(of.tokens)
    parts = []
    for at, shown, row, column in places:
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
    """The scores of the first steps, in the colours of the steps."""
    parts = []
    for step, score in enumerate(of.scores[:SHOWN]):
        parts.append(box(x + 48 * step, y, 44, 22, color(step)))
        parts.append(text(x + 48 * step + 22, y + 16, f"{score:.2f}", "", "middle"))
    if len(of.scores) > SHOWN:
        parts.append(text(x + 48 * SHOWN, y + 16, "…"))
    return "".join(parts)


# --- panels -----------------------------------------------------------------------------------------------------------


def sample(s: Story) -> str:
    """Panel 1: a solution with its confidences."""
    verdict = "right" if s.solution.correct else "wrong"
    return (
        lines(52, f"Policy {s.policy} solves training problems; we keep the confidence of every token.")
        + solution(82, 33, s.solution, s.tau, bars=True)
        + text(MARGIN, 264, f"bars: confidence, red below τ; answer {verdict}")
    )


def threshold(s: Story) -> str:
    """Panel 2: the histogram of all confidences with the threshold."""
    left, width, bottom, height = 64, 262, 222, 104
    most = math.log10(max(s.histogram)) + 0.3

    def top(count: int) -> float:
        return bottom - height * (math.log10(count) + 0.3) / most  # + 0.3, so that a single token has a bar

    parts = [
        lines(
            52,
            f"Of all {s.total:,} confidences a small share lies below the threshold τ, here "
            f"{percent(s.below / s.total)}.",
        )
    ]
    for power in range(int(math.log10(max(s.histogram))) + 1):
        y = top(10**power)
        parts += [line(left, y, left + width, y, "grid"), text(left - 6, y + 4, f"{10**power:,}", "tick", "end")]
    for i, count in enumerate(s.histogram):
        if count:
            begin, end, y = i / BINS, (i + 1) / BINS, top(count)
            border = min(max(s.tau, begin), end)  # red up to τ
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
    """Panel 3: the solution split into steps."""
    count = len(s.solution.ends)
    return (
        lines(52, "A step ends with each token below τ, not at the end of a line.")
        + solution(86, 30, s.solution, s.tau, steps=True)
        + text(MARGIN, 264, f"{count} steps, one colour each" if count > 1 else "one step: no token is below τ")
    )


def rollout(s: Story) -> str:
    """Panel 4: the rollouts of each step, and its label."""
    rule = LABELS[s.estimate].format(s.rollouts)
    parts = [lines(52, f"From each step's end the policy tries again, {rule}.")]
    pitch = 176 // max(3, min(SHOWN, len(s.labels)))
    for step, label in enumerate(s.labels[:SHOWN]):
        y, last = 86 + pitch * step, step == len(s.labels) - 1
        prefix = "".join(s.solution.tokens[: s.solution.ends[step]])
        results = "✗" * (label.run - label.right) + "✓" * label.right
        remark = "the solution itself" if last else f"{label.right} of {label.run} right"
        parts += [
            box(MARGIN, y, 126, 24, color(step)),
            token(MARGIN + 5, y + 17, ending(plain(prefix), 14)),
            line(144, y + 12, 156, y + 12, "rule"),
            text(162, y + 12, " ".join(beginning(results, 9)), "tick"),
            text(162, y + 27, remark, "tick"),
            text(WIDTH - MARGIN, y + 17, f"label {label.value:.2g}", "", "end"),
        ]
    if len(s.labels) > SHOWN:
        parts.append(text(MARGIN, 264, f"and so on, {len(s.labels)} steps in all"))
    elif not 0 < sum(label.value for label in s.labels) < len(s.labels):
        parts.append(text(MARGIN, 264, "all steps of this solution have one label"))
    return "".join(parts)


def prm(s: Story) -> str:
    """Panel 5: a candidate with the scores of its steps."""
    return (
        lines(52, "A model learns the labels. It reads new solutions and scores each step at its end.")
        + solution(82, 27, s.best, s.tau, steps=True)
        + scores(MARGIN, 230, s.best)
        + text(MARGIN, 267, f"scores of {beginning(s.prm, 24)}, from 0 to 1", "tick")
    )


def use(s: Story) -> str:
    """Panel 6: Best-of-N in its upper half, guided decoding in its lower half."""
    parts = [text(MARGIN, 52, f"Best-of-{s.candidates}: best {s.how} over the steps wins.")]
    for y, candidate in ((62, s.best), (90, s.worst)):
        parts += [
            scores(MARGIN, y, candidate),
            text(MARGIN + 4 * 48 + 14, y + 16, f"{s.how} {combined(s, candidate):.2f}"),
            text(WIDTH - MARGIN, y + 16, "right" if candidate.correct else "wrong", "", "end"),
        ]
    parts.append(box(MARGIN - 4, 59, WIDTH - 2 * MARGIN + 8, 28, "pick"))
    return "".join(parts) + guided(s)


def combined(s: Story, candidate: Solution) -> float:
    """The score of a candidate."""
    return aggregate(candidate.scores, s.how)


def guided(s: Story) -> str:
    """The lower half of panel 6: a decision of guided decoding, if there is one."""
    decision = s.decision
    if decision is None:
        rule = "Guided decoding: below the trigger the reward model chooses the token."
        return lines(142, f"{rule} Here that never happened.")
    parts = [
        lines(138, f"Guided decoding: below a probability of {decision.trigger:g} the reward model chooses the token."),
        token(MARGIN, 178, ending(plain(decision.before), LINE - 2) + " ?"),
    ]
    shown = list(range(min(SHOWN, len(decision.tokens))))
    if decision.written not in shown:
        shown[-1] = decision.written
    for place, i in enumerate(shown):
        x = MARGIN + 79 * place
        parts += [
            box(x, 190, 75, 62, "box"),
            token(x + 6, 206, beginning(visible(decision.tokens[i]).strip() or "␣", 8)),
            text(x + 6, 226, f"prob. {decision.probabilities[i]:.2f}", "tick"),
            text(x + 6, 243, f"score {decision.scores[i]:.2f}", "tick"),
        ]
        if i == decision.written:
            parts.append(box(x - 2, 188, 79, 66, "pick"))
    verdict = "right" if decision.correct else "wrong"
    parts.append(text(MARGIN, 268, f"{beginning(decision.problem, 24)}: the answer is {verdict}", "tick"))
    return "".join(parts)


PANELS = [  # title, function that draws it, words at the upper right
    ("Sample", sample, lambda s: s.solution.problem),
    ("Threshold", threshold, lambda s: "all training solutions"),
    ("Split", split, lambda s: s.solution.problem),
    ("Rollout", rollout, lambda s: s.solution.problem),
    ("Reward model", prm, lambda s: s.best.problem),
    ("Use", use, lambda s: s.best.problem),
]


# --- the whole picture ------------------------------------------------------------------------------------------------


def description(s: Story) -> str:
    """The six panels in words, with the same numbers: the text for people who cannot see the picture."""
    right = {True: "right", False: "wrong"}
    doubts = [
        f"{piece.strip() or visible(piece)} ({confidence:.2f})"
        for piece, confidence in zip(s.solution.tokens, s.solution.confidences, strict=True)
        if confidence < s.tau
    ]
    labels = [
        f"step {step}: {label.right} of {label.run} right, label {label.value:.2g}"
        for step, label in enumerate(s.labels[:-1], start=1)
    ]
    last = f"step {len(s.labels)}: the solution itself, label {s.labels[-1].value:.2g}"
    best, worst = (
        f"{', '.join(f'{score:.2f}' for score in x.scores)}, {s.how} {combined(s, x):.2f}, {right[x.correct]}"
        for x in (s.best, s.worst)
    )
    return f"""Six panels, from a run of profile {s.profile}.
1 Sample: policy {s.policy} solves training problem {s.solution.problem}: “{plain(s.solution.text)}”, which is
{right[s.solution.correct]}. Its confidence is low at {", ".join(doubts) or "no token"}.
2 Threshold: of {s.total:,} tokens {s.below:,}, {percent(s.below / s.total)}, have a confidence below {s.tau:.3f}.
3 Split: the solution is split after each of these tokens, into {len(s.solution.ends)} steps.
4 Rollout: {"; ".join([*labels, last])}.
5 Reward model: {s.prm} scores a solution of test problem {s.best.problem}, “{plain(s.best.text)}”, at the end of
each step.
6 Use: of {s.candidates} candidates the best one has the scores {best}; the worst one {worst}.
{_decision(s.decision)}"""


def _decision(decision: Decision | None) -> str:
    """The decision of guided decoding in words."""
    if decision is None:
        return "Guided decoding never asked the reward model."
    candidates = "; ".join(
        f"{visible(piece).strip()} with probability {probability:.2f} and score {score:.2f}"
        for piece, probability, score in zip(decision.tokens, decision.probabilities, decision.scores, strict=True)
    )
    verdict = "right" if decision.correct else "wrong"
    return (
        f"Guided decoding of {decision.problem}, trigger {decision.trigger:g}: after “{plain(decision.before)}” the "
        f"candidates are {candidates}; written is {visible(decision.tokens[decision.written]).strip()}, and the "
        f"solution is {verdict}."
    )


def pipeline_svg(s: Story, columns: int) -> str:
    """The picture with `columns` panels a row, as one <svg> element without XML header, as HTML needs it."""
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
    """HTML of both pictures, of which a page shows the one that fits, with their caption."""
    problems = [("1, 3 and 4", s.solution), ("5 and 6", s.best)] + ([("6, below", s.decision)] if s.decision else [])
    listed = "\n".join(
        f"<li>{panels}: <code>{escape(shown.problem)}</code>. {escape(shown.prompt.strip())}</li>"
        for panels, shown in problems
    )
    drawn = "\n".join(pipeline_svg(s, columns) for columns in (2, 1))
    return f"""<figure class="picture">
{drawn}<figcaption>
<p>Real solutions of policy {s.policy} in this run (profile {escape(s.profile)}). A rule chose them because they are
short, and some right and some wrong: they are examples, not a random sample. The problems, by panel:</p>
<ul>
{listed}
</ul>
</figcaption>
</figure>
"""


def main(arguments: list[str] | None = None) -> int:
    """Write both pictures. Exit status: 0, or 1 if the run lacks a table."""
    parser = argparse.ArgumentParser(
        prog="python -m asprm.site.picture", description="Draw the README's picture of a run."
    )
    parser.add_argument("--profile", default="tiny", help="a profile's name or file (default: tiny)")
    options = parser.parse_args(arguments)
    try:
        shown = story(open_run(options.profile, stage="tvd", quiet=True))
    except (ProfileError, MissingArtifact, BrokenArtifact) as error:
        print(error, file=sys.stderr)
        return 1
    for columns, name in ((2, "pipeline.svg"), (1, "pipeline-tall.svg")):
        (REPOSITORY / "book" / "_static" / name).write_text(pipeline_svg(shown, columns), encoding="utf-8")
        print(f"wrote book/_static/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
