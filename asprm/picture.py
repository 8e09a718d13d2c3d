"""The picture of the pipeline, as SVG text: six panels that follow one small solution from sampling to use.

`python -m asprm.picture` writes `book/_static/pipeline.svg` (two panels a row, for a desk), `pipeline-tall.svg` (one a
row, for a phone) and the site's icon. The README shows the first; the landing page has both in its HTML, so that their
colours follow the page's theme. A drawing, not a result: its confidences and scores are made up; its caption says so.
"""

import sys
from html import escape
from pathlib import Path

WIDTH, HEIGHT, GAP = 300, 228, 18  # of a panel
# One solution: lines of (token, confidence). The second step ends at "+", the first at "−".
LINES = [
    [("Ben", 0.97), ("has", 0.99), ("12", 0.94), ("−", 0.52), ("5", 0.96), ("=", 0.99), ("7", 0.95), (".", 0.99)],
    [("12", 0.92), ("+", 0.61), ("7", 0.97), ("=", 0.99), ("19", 0.96), (".", 0.99)],
]
TAU = 0.7
SCORES = [0.93, 0.88, 0.91]  # of the three steps

STYLE = """
.pipeline { --ink: var(--pst-color-text-base, #1f2328); --paper: var(--pst-color-background, #ffffff);
  --line: var(--pst-color-border, #8c959f); --doubt: #d1453b; --good: #2d9a4e;
  --one: #2f6fd6; --two: #c77700; --three: #7a4fc9; font-family: system-ui, "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: dark) { .pipeline { --ink: var(--pst-color-text-base, #e6edf3);
  --paper: var(--pst-color-background, #0d1117); } }
.pipeline text { fill: var(--ink); font-size: 15px; }
.pipeline .title { font-size: 17px; font-weight: 700; }
.pipeline .small { font-size: 13.5px; }
.pipeline .token { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 14px; }
.pipeline .panel { fill: var(--paper); stroke: var(--line); }
.pipeline .bar { fill: var(--ink); fill-opacity: .45; }
.pipeline .rule { stroke: var(--ink); fill: none; stroke-width: 1.5; }
.pipeline .doubt { stroke: var(--doubt); fill: none; stroke-width: 2.2; }
.pipeline .low { fill: var(--doubt); }
.pipeline .box { fill: var(--line); fill-opacity: .16; }
.pipeline .s1 { fill: var(--one); fill-opacity: .28; }
.pipeline .s2 { fill: var(--two); fill-opacity: .28; }
.pipeline .s3 { fill: var(--three); fill-opacity: .28; }
.pipeline .pick { stroke: var(--good); fill: none; stroke-width: 2.5; }
"""


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" class="{kind}"/>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" class="{kind}"/>'


def place_tokens(y: float, pitch: float) -> list[tuple[str, float, float, float, float, int]]:
    """(token, confidence, x, y, width, step) of every token of the solution, lines `pitch` apart."""
    placed, step = [], 1
    for row, tokens in enumerate(LINES):
        x = 14.0
        for token, confidence in tokens:
            width = 9.0 * len(token) + 12
            placed.append((token, confidence, x, y + row * pitch, width, step))
            x += width + 4
            step += confidence < TAU
    return placed


def solution(y: float, pitch: float, *, steps: bool = False, bars: bool = False) -> str:
    parts = []
    for token, confidence, x, top, width, step in place_tokens(y, pitch):
        low = confidence < TAU
        parts.append(box(x, top, width, 24, f"s{step}" if steps else "box"))
        if low:
            parts.append(box(x, top, width, 24, "doubt"))
        parts.append(text(x + width / 2, top + 17, token, "token", "middle"))
        if bars:
            parts.append(box(x + 2, top + 28, (width - 4) * confidence, 5, "low" if low else "bar"))
        if steps and low:
            parts.append(line(x + width + 2, top - 6, x + width + 2, top + 30, "doubt"))
    return "".join(parts)


def sample() -> str:
    return (
        text(14, 56, "The policy writes solutions; we keep", "small")
        + text(14, 74, "how sure it was of every token.", "small")
        + solution(92, 48, bars=True)
        + text(14, 206, "bar: confidence; red: it hesitated", "small")
    )


def threshold() -> str:
    heights = [3, 4, 5, 7, 9, 12, 16, 22, 34, 52, 78]
    bars = [box(24 + 23 * i, 168 - h, 20, h, "low" if i < 2 else "bar") for i, h in enumerate(heights)]
    return (
        text(14, 56, "All confidences together: τ is the value", "small")
        + text(14, 74, "that the least sure 2 % lie below.", "small")
        + "".join(bars)
        + line(16, 168, 284, 168, "rule")
        + line(70, 96, 70, 176, "doubt")
        + text(76, 108, "τ")
        + text(22, 190, "0", "small")
        + text(284, 190, "1", "small", "end")
        + text(150, 206, "confidence of a token", "small", "middle")
    )


def split() -> str:
    return (
        text(14, 56, "A step ends with each token below τ,", "small")
        + text(14, 74, "not where a line happens to end.", "small")
        + solution(96, 48, steps=True)
        + text(14, 200, "three colours, three steps", "small")
    )


def rollout() -> str:
    parts = [
        text(14, 56, "From each step's end the policy tries", "small"),
        text(14, 74, "again J times. Right once: label 1.", "small"),
    ]
    rows = [("Ben has 12 −", 1, "✗✓✓", 1), ("… 7. 12 +", 2, "✓✓✗", 1), ("Ben has 12 +", 1, "✗✗✗", 0)]
    for i, (prefix, step, results, label) in enumerate(rows):
        y = 104 + 40 * i
        parts += [box(14, y - 13, 114, 26, f"s{step}"), text(71, y + 5, prefix, "token", "middle")]
        for j, mark in enumerate(results):
            parts += [line(130, y, 160, y + 10 * (j - 1), "rule"), text(165 + 20 * j, y + 6, mark)]
        parts.append(text(288, y + 6, f"label {label}", "small", "end"))
    parts.append(text(14, 214, "last row: another solution's first step", "small"))
    return "".join(parts)


def prm() -> str:
    parts = [
        text(14, 56, "A model learns the labels. It reads a", "small"),
        text(14, 74, "prefix and scores it at step ends.", "small"),
        solution(92, 58, steps=True),
    ]
    placed = place_tokens(92, 58)
    ends = [i for i, token in enumerate(placed) if token[1] < TAU] + [len(placed) - 1]
    for end, score in zip(ends, SCORES, strict=True):
        _, _, x, top, width, _ = placed[end]
        parts += [text(x + width / 2, top + 44, f"{score:.2f}", "small", "middle")]
    return "".join(parts) + text(14, 214, "score: between 0 and 1", "small")


def use() -> str:
    parts = [
        text(14, 56, "Best-of-N: the solution whose worst", "small"),
        text(14, 74, "step scores best wins.", "small"),
    ]
    for i, (scores, picked) in enumerate([((0.93, 0.88, 0.91), True), ((0.93, 0.31), False)]):
        y = 84 + 28 * i
        for j, score in enumerate(scores):
            parts += [
                box(14 + 58 * j, y, 54, 22, f"s{j + 1}"),
                text(41 + 58 * j, y + 16, f"{score:.2f}", "small", "middle"),
            ]
        parts.append(text(196, y + 16, f"min {min(scores):.2f}", "small"))
        if picked:
            parts.append(box(11, y - 3, 262, 28, "pick"))
    parts += [
        text(14, 162, "Guided decoding: at a doubt, the", "small"),
        text(14, 180, "best-scored token is written.", "small"),
    ]
    for j, (token, score) in enumerate([("−", 0.93), ("+", 0.24), ("×", 0.08)]):
        x = 14 + 88 * j
        parts += [
            box(x, 188, 80, 24, "box"),
            text(x + 12, 205, token, "token"),
            text(x + 36, 205, f"{score:.2f}", "small"),
        ]
        if j == 0:
            parts.append(box(x - 2, 186, 84, 28, "pick"))
    return "".join(parts)


PANELS = [
    ("Sample", sample),
    ("Threshold", threshold),
    ("Split", split),
    ("Rollout", rollout),
    ("Reward model", prm),
    ("Use", use),
]
DESCRIPTION = """Six panels.
1 Sample: a policy writes a solution, Ben has 12 minus 5 = 7, 12 plus 7 = 19. A bar below a token shows its confidence;
it is short below the minus and the plus.
2 Threshold: a histogram of confidences; tau cuts off the lowest two per cent.
3 Split: the solution is cut after each of the two doubtful tokens, which gives three steps.
4 Rollout: three fresh continuations from the end of a step; a step with at least one right continuation has label 1, a
step with none, such as Ben has 12 plus, has label 0.
5 Reward model: a score between 0 and 1 at the end of each step.
6 Use: of two solutions the one whose lowest step score is higher is chosen; at a doubtful token the candidate with the
best score is written."""


def pipeline_svg(columns: int) -> str:
    """The picture with `columns` panels a row, as one <svg> element (no XML header, so that it can stand in HTML)."""
    rows = -(-len(PANELS) // columns)
    width, height = columns * (WIDTH + GAP) + GAP, rows * (HEIGHT + GAP) + GAP
    panels = []
    for i, (title, draw) in enumerate(PANELS):
        x, y = GAP + (i % columns) * (WIDTH + GAP), GAP + (i // columns) * (HEIGHT + GAP)
        heading = text(14, 30, f"{i + 1}  {title}", "title")
        panels.append(f'<g transform="translate({x},{y})">{box(0, 0, WIDTH, HEIGHT, "panel")}{heading}{draw()}</g>')
    name, drawn = f"pipeline-{columns}", "\n".join(panels)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" class="pipeline columns-{columns}"
 role="img" aria-labelledby="{name}-title {name}-text">
<title id="{name}-title">The pipeline in six panels</title>
<desc id="{name}-text">{DESCRIPTION}</desc>
<style>{STYLE}</style>
{drawn}
</svg>
"""


def icon_svg() -> str:
    """The site's icon: two steps and the doubt between them."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
        '<rect x="2" y="8" width="13" height="16" rx="3" fill="#2f6fd6"/>'
        '<rect x="19" y="8" width="11" height="16" rx="3" fill="#c77700"/>'
        '<path d="M17 3V29" stroke="#d1453b" stroke-width="3"/></svg>\n'
    )


def drawings() -> dict[str, str]:
    """What stands in book/_static, by file name."""
    return {"pipeline.svg": pipeline_svg(2), "pipeline-tall.svg": pipeline_svg(1), "favicon.svg": icon_svg()}


def main() -> int:
    folder = Path(__file__).parents[1] / "book" / "_static"
    for name, drawing in drawings().items():
        (folder / name).write_text(drawing, encoding="utf-8")
        print(f"wrote book/_static/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
