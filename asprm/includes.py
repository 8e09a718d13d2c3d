"""Includes: the tables and numbers that the prose pages show, made from a run's artifacts and never typed by hand.

Each function returns Markdown for one `{include} generated/<name>.md` of a page in `book/`. They read the profile, the
manifests and the tables of a finished run, and compute only what `asprm.statistics` does in one call.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from asprm.best_of_n import comparisons
from asprm.ledger import VERDICTS
from asprm.own_example import own_pages
from asprm.picture import figure
from asprm.problems import domain_of, programmer
from asprm.problems.student import MISCONCEPTIONS, SLIP
from asprm.profile import READS, Section, load_profile, packaged_profiles
from asprm.run import REPOSITORY, Run
from asprm.sample import problem_set
from asprm.statistics import compare
from asprm.story import story


def write_includes(run: Run, folder: Path) -> None:
    """Write every include into `folder`. MissingArtifact: the run has not finished the stage that an include shows."""
    folder.mkdir(parents=True)
    for name, make in INCLUDES.items():
        (folder / f"{name}.md").write_text(make(run), encoding="utf-8")
    for name, text in own_pages(run).items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")


def table(header: Sequence[str], rows: Iterable[Sequence[object]], numbers: Iterable[int] = ()) -> str:
    """A Markdown table; the columns in `numbers` are aligned to the right."""
    numbers = set(numbers)
    lines = [header, ["---:" if i in numbers else "---" for i in range(len(header))], *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in row) + " |" for row in lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("|", "\\|").replace("\n", "<br>")


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def p_value(p: float) -> str:
    return "< .001" if p < 0.001 else "= " + f"{p:.3f}".removeprefix("0")


# --- results ----------------------------------------------------------------------------------------------------------

HEADLINE = "minigsm"  # the family whose test set the landing page reports
NAMES = {
    "minigsm": "MiniGSM",
    "minimath": "MiniMATH",
    "minigsm-p2": "MiniGSM-P2",
    "minicode": "MiniCode",
    "minicode-new": "MiniCode-New",
}
RIVALS = {
    "single sample": "a single sample",
    "greedy": "greedy decoding",
    "majority": "majority vote",
}


def headline(run: Run) -> str:
    """What Best-of-N and guided decoding gain on the test set of one family, with intervals and tests."""
    policy, prm, n = run.policy, run.prm, run.profile.sample.candidates
    scored = run.read(f"best_of_n/{prm}/{policy}-{HEADLINE}")
    greedy = {row["problem"]: row["correct"] for row in run.read(f"sample/{policy}/{HEADLINE}-greedy").to_pylist()}
    how = run.profile.best_of_n.aggregate
    gains = comparisons(scored, how=how, greedy=greedy, seed=run.seed).set_index("against")
    chosen = gains.iloc[0]["a"]
    lines = [
        f"On {len(greedy)} test problems of {NAMES[HEADLINE]}, choosing among {n} samples by the reward model "
        f"(Best-of-{n}, {how} over the steps) is right for **{percent(chosen)}** of the problems.\n",
        table(
            [f"Best-of-{n} against", "accuracy", "gain in points", "95 % interval"],
            [
                (shown, percent(row["b"]), points(row["difference"]), interval(row["low"], row["high"]))
                for row, shown in ((gains.loc[name], shown) for name, shown in RIVALS.items())
            ],
            numbers=(1, 2, 3),
        ),
        guided(run),
        f"Profile `{run.profile.name}`, seed {run.seed}, commit {commits(manifests(run))}. A gain whose interval "
        "excludes 0 is unlikely to be chance. {doc}`../notebooks/07_best_of_n` and {doc}`../notebooks/08_tvd` show all "
        "of it, for the other test sets too.\n",
    ]
    return "\n".join(lines)


def guided(run: Run) -> str:
    """One sentence on guided decoding: the trigger chosen on validation problems, used once on the test problems."""
    folder = f"tvd/{run.prm}/{run.policy}"
    trigger = run.read_json(folder)["trigger"]
    test = run.read(f"{folder}-{HEADLINE}").to_pandas()
    test = test[test["trigger"] == trigger].set_index("problem")
    greedy = run.read(f"sample/{run.policy}/{HEADLINE}-greedy").to_pandas().set_index("problem")["correct"]
    against = compare(test["correct"], greedy.loc[test.index], seed=run.seed)
    return (
        f"Guided decoding, with its trigger of {trigger:g} chosen on validation problems, is right for "
        f"**{percent(against.a)}** of them, against {percent(against.b)} for greedy decoding: "
        f"{points(against.difference)} points, 95 % interval {interval(against.low, against.high)}. It solves "
        f"{against.only_a} problems that greedy decoding does not, and fails on {against.only_b} that greedy decoding "
        f"solves (exact McNemar test, p {p_value(against.p)}). It stepped in at "
        f"{percent(test['decisions'].sum() / test['tokens'].sum())} of the tokens.\n"
    )


def points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")


def interval(low: float, high: float) -> str:
    return f"{points(low)} to {points(high)}"


def picture(run: Run) -> str:
    """The pipeline on solutions of this run. Raw, in a fence that no solution contains."""
    return f"``````{{raw}} html\n{figure(story(run))}``````\n"


# --- the paper's claims -----------------------------------------------------------------------------------------------

ASPECTS = {
    "arrow": "arrows of its tables",
    "contrast": "numbers set side by side",
    "prose": "statements and figures",
    "level": "levels",
}


def tally(run: Run) -> str:
    """How many of the paper's claims got which verdict, from the claims chapter; or that it was not run."""
    file = run.base / "claims" / "tally.json"
    if not file.is_file():
        return "*The paper's claims have not been held against this run.*\n"
    counts = json.loads(file.read_text())
    rows = [
        (f"{VERDICTS[verdict]} {verdict}", *(by[aspect] for aspect in ASPECTS))
        for verdict, by in counts["verdicts"].items()
    ]
    return (
        table(["verdict", *ASPECTS.values()], rows, numbers=range(1, 5))
        + f"\nOf {counts['claims']} claims of the paper. A level is a number by itself, such as an accuracy, which "
        "small models on synthetic problems can neither reach nor miss. *Inconclusive* means that the difference could "
        f"be chance. Of the paper's own arrows, {counts['own_sample_too_small']} mark differences of so few problems "
        "that no paired test on its own sample could have shown them. {doc}`../notebooks/11_claims` has every one.\n"
    )


# --- problems ---------------------------------------------------------------------------------------------------------


def families(run: Run) -> str:
    """Sizes of the families, and how every policy does on the test sets of its domain."""
    counts = run.profile.problems
    n = run.profile.sample.candidates
    rows = []
    for family in counts.test:
        for policy in _policies(run, family):
            right = run.read(f"sample/{policy}/{family}").to_pandas().groupby("problem")["correct"]
            greedy = run.read(f"sample/{policy}/{family}-greedy").to_pandas()["correct"]
            sizes = [getattr(counts, part).get(family, "–") for part in ("train", "validation", "test")]
            shares = [greedy.mean(), right.mean().mean(), right.any().mean()]
            rows.append((NAMES.get(family, family), *sizes, policy, *map(percent, shares)))
    header = ["family", "train", "validation", "test", "policy", "greedy", "single sample", f"pass@{n}"]
    fresh = f" They are numbers {counts.test_from} and following of their families: choices were made on others."
    return (
        table(header, rows, numbers=(1, 2, 3, 5, 6, 7))
        + "\nThe last three columns say how a policy does on the test problems of this run: decoding greedily, "
        f"sampling once, and sampling {n} times with at least one right.{fresh if counts.test_from else ''}\n"
    )


def _policies(run: Run, family: str) -> list[str]:
    domain = domain_of(family)
    return [name for name, source in run.profile.policies.items() if source.domain == domain]


def examples(run: Run) -> str:
    """The first test problem of every family with a policy's greedy solution."""
    parts = []
    for family in run.profile.problems.test:
        policy = _policies(run, family)[0]
        problem = problem_set(run.profile, family)[0]
        solutions = run.read(f"sample/{policy}/{family}-greedy").to_pylist()
        solution = next(row for row in solutions if row["problem"] == problem.id)
        truth = f"wrong: the answer is {problem.answer}" if problem.answer else "wrong: it fails the tests"
        verdict = "right" if solution["correct"] else truth
        parts.append(
            f"**{NAMES.get(family, family)}**\n\n```text\n{problem.prompt}\n```\n\n"
            f"Policy {policy}'s greedy solution ({verdict}):\n\n"
            f"`````text\n{solution['text'].strip()}\n`````\n"
        )
    return "\n".join(parts)


def misconceptions(run: Run) -> str:
    """How often students and programmers fall for what."""
    care = {name: run.profile.recipe(name).care for name in run.profile.policies}
    careful = [
        f"Policy {name}'s students avoid {percent(share)} of all misreadings" for name, share in care.items() if share
    ]
    parts = [f"A plain slip happens in {percent(SLIP)} of the calculations. {'; '.join(careful)}.\n"]
    for who, known in (("students", MISCONCEPTIONS), ("programmers", programmer.MISCONCEPTIONS)):
        found = sorted(known.values(), reverse=True)
        likely = sum(one.rate > 0.5 for one in found)
        header = ["what invites it, and what is done", "rate"]
        rows = table(header, [(one.says, percent(one.rate)) for one in found], [1])
        parts.append(
            f"There are {len(found)} misconceptions of {who}; at {likely} of them more than half of the {who} are "
            f"wrong.\n\n:::{{dropdown}} All rates of {who}\n{rows}:::\n"
        )
    return "\n".join(parts)


# --- profiles ---------------------------------------------------------------------------------------------------------


def profiles(run: Run) -> str:
    loaded = [load_profile(name) for name in packaged_profiles()]
    rows = [
        (f"`{p.name}`", p.description, sum(p.problems.train.values()), sum(p.problems.test.values())) for p in loaded
    ]
    return table(["profile", "for", "training problems", "test problems"], rows, numbers=(2, 3))


def settings(run: Run) -> str:
    """All fields of the run's profile with what they mean."""
    rows = []
    for name, field in type(run.profile).model_fields.items():
        value = getattr(run.profile, name)
        if isinstance(value, Section):
            for key, inner in type(value).model_fields.items():
                rows.append((f"`{name}.{key}`", f"`{_plain(getattr(value, key))}`", inner.description or ""))
        else:
            rows.append((f"`{name}`", f"`{_plain(value)}`", field.description or ""))
    return table(["setting", "value", "meaning"], rows)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_plain(v)}" for k, v in value.items())
    if isinstance(value, Section):
        return ", ".join(_plain(v) for v in value.model_dump(exclude_defaults=True).values())
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)


# --- deviations -------------------------------------------------------------------------------------------------------

KINDS = {
    "scale": "This run is smaller",
    "release": "The released code does it otherwise",
    "choice": "Chosen here",
}


def deviations(run: Run) -> str:
    entries = yaml.safe_load((REPOSITORY / "data" / "paper" / "deviations.yml").read_text(encoding="utf-8"))
    p = run.profile
    facts = {"p": p, "train": sum(p.problems.train.values()), "triggers": _plain(p.tvd.triggers)}
    parts = []
    for kind, heading in KINDS.items():
        parts.append(f"## {heading}\n")
        for entry in entries:
            if entry["kind"] == kind:
                words = {key: entry[key].format(**facts) for key in ("paper", "here", "effect")}
                parts.append(
                    f"(dev-{entry['id']})=\n### {entry['title']}\n\n"
                    f"Paper\n: {words['paper']}\n\nHere\n: {words['here']}\n\nExpected effect\n: {words['effect']}\n"
                )
    return "\n".join(parts)


# --- provenance -------------------------------------------------------------------------------------------------------


def manifests(run: Run) -> list[dict[str, Any]]:
    """The manifests of all artifacts of the run, in the order of the stages."""
    order = list(READS)
    found = [json.loads(path.read_text()) for path in run.base.rglob("*.manifest.json") if not _hidden(path, run.base)]
    return sorted(found, key=lambda m: (order.index(m["stage"]) if m["stage"] in order else -1, m["artifact"]))


def _hidden(path: Path, base: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(base).parts)


def commit_of(made: dict[str, Any]) -> str:
    """The commit that something was made with, in words."""
    name = f"`{made['commit'][:10]}`" if made["commit"] else "an unknown commit"
    return name + (" with uncommitted changes" if made["dirty"] else "")


def commits(found: list[dict[str, Any]]) -> str:
    """The commit, or commits, that made the artifacts, in words."""
    stages = defaultdict(list)
    for m in found:
        stages[commit_of(m)].append(m["stage"])
    if len(stages) == 1:
        return next(iter(stages))
    return "; ".join(f"{name} ({', '.join(dict.fromkeys(of))})" for name, of in stages.items())


def provenance(run: Run) -> str:
    found = manifests(run)
    seconds = seconds_of(found)
    devices = sorted({m["device"] for m in found})
    versions = {f"{name} {value}" for m in found for name, value in m["versions"].items()}
    return table(
        ["of the run", "value"],
        [
            ("profile", f"`{run.profile.name}`: {run.profile.description}"),
            ("seed", run.seed),
            ("commit", commits(found)),
            ("machine", ", ".join(devices)),
            ("versions", ", ".join(sorted(versions, key=str.lower))),
            ("computed for", duration(sum(seconds.values()))),
            ("largest process", f"{max(max(m['peak_memory_mb'].values()) for m in found):,} MB"),
        ],
    )


def artifacts(run: Run) -> str:
    return table(
        ["artifact", "rows", "seconds", "kB", "digest"],
        [
            (
                f"`{m['artifact']}`",
                m["facts"].get("rows", ""),
                m["seconds"],
                m["bytes"] // 1000,
                f"`{m['digest'][:10]}`",
            )
            for m in manifests(run)
        ],
        numbers=(1, 2, 3),
    )


# --- performance ------------------------------------------------------------------------------------------------------


def promises(run: Run) -> str:
    """The last measured rows of every benchmark, beside their targets."""
    file = REPOSITORY / "benchmarks" / "results" / "latest.json"
    rows = json.loads(file.read_text()) if file.is_file() else []
    if not rows:
        return "*Not measured.* `make bench` measures.\n"
    marks = {True: "✓", False: "✗", None: ""}
    shown = []
    for row in rows:
        ratio, low, high = (_ratio(row[name]) for name in ("ratio", "low", "high"))
        met = marks[meets(row["ratio"], row["target"])]
        shown.append((row["promise"], row["against"], ratio, f"{low} to {high}", row["target"], met))
    machines = "; ".join(sorted({row["machine"] for row in rows}))
    commands = ", ".join(f"`{command}`" for command in sorted({row["command"] for row in rows}))
    return (
        table(["promise", "against", "ratio", "spread", "target", "met"], shown, numbers=(2,))
        + f"\nMedians of {min(row['repeats'] for row in rows)} or more paired repeats, with least and greatest, "
        f"on {machines}. A ✗ stands where the median misses the target. Made by {commands}.\n"
    )


def meets(ratio: float, target: str) -> bool | None:
    """Whether a ratio keeps a target such as "≥ 3" or "≤ 1.3"; None: the row has none."""
    sense, _, limit = target.partition(" ")
    if sense not in ("≥", "≤"):
        return None
    return ratio >= float(limit) if sense == "≥" else ratio <= float(limit)


def _ratio(x: float) -> str:
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def gpu(run: Run) -> str:
    """What was measured on a GPU, or that nothing was."""
    file = REPOSITORY / "benchmarks" / "results" / "gpu.json"
    if not file.is_file():
        return "*Not measured.* No GPU was at hand when this site was built, and nothing is invented.\n"
    rows = json.loads(file.read_text())
    return table(list(rows[0]), [tuple(row.values()) for row in rows])


def seconds_of(found: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds of each stage: of every policy's notebook up to its last artifact, added up."""
    last: dict[tuple[str, str], float] = {}
    for m in found:
        key = m["stage"], m["policy"]
        last[key] = max(last.get(key, 0.0), m["seconds"])
    total: dict[str, float] = defaultdict(float)
    for (stage, _), seconds in last.items():
        total[stage] += seconds
    return {stage: round(seconds, 1) for stage, seconds in total.items()}


def stage_seconds(run: Run) -> str:
    """Where the time of this run went."""
    found = manifests(run)
    seconds = seconds_of(found)
    stages = dict.fromkeys(m["stage"] for m in found)
    memory = {stage: max(max(m["peak_memory_mb"].values()) for m in found if m["stage"] == stage) for stage in stages}
    rows = [(stage, seconds[stage], memory[stage]) for stage in stages]
    return table(["stage", "seconds", "largest process, MB"], rows, numbers=(1, 2))


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


# --- verification -----------------------------------------------------------------------------------------------------

VERIFIED = REPOSITORY / "data" / "reference" / "verification.json"
NAMES_OF_GRADERS = {"ours": "here", "authors": "regex", "math_verify": "math-verify"}


def verified() -> dict[str, Any]:
    """The figures that `python -m asprm.verification` measured on real data."""
    return json.loads(VERIFIED.read_text(encoding="utf-8"))


def verification_held(run: Run) -> str:
    """What must hold, with its counts."""
    found = verified()
    rows = [
        (row["says"], row["asked"].replace(" ", "\u00a0"), f"{row['held']:,} of {row['of']:,}") for row in found["held"]
    ]
    samples = sorted((row["form"], row["ours_correct"]) for row in found["summary"] if row["data"] == _SAMPLES)
    said = ", ".join(f"{share:.3f}".removeprefix("0") for _, share in samples)
    return (
        table(["what must hold", "asked", "it holds for"], rows, numbers=(2,))
        + f"\nOf the authors' 256 samples for each of {len(samples)} GSM8K problems these shares are right: {said}.\n"
    )


_SAMPLES = "MetaMath-Llama samples"


def verification_graders(run: Run) -> str:
    """Per kind of answer, how often each grader is wrong; on samples, of unknown truth, how often it differs."""
    found = verified()["summary"]
    rows = []
    for row in found:
        if row["data"] != _SAMPLES:
            wrong = [
                "–" if row[f"{grader}_wrong"] is None else int(row[f"{grader}_wrong"]) for grader in NAMES_OF_GRADERS
            ]
            rows.append((f"{row['data']}: {row['form']}", row["completions"], *wrong))
    samples = [row for row in found if row["data"] == _SAMPLES]
    counts = [
        sum(int(row[key]) for row in samples) for key in ("completions", "authors_differs", "math_verify_differs")
    ]
    rows.append((_SAMPLES, counts[0], "–", *counts[1:]))
    return table(["answers", "count", *NAMES_OF_GRADERS.values()], rows, numbers=range(1, 5))


def verification_disagreements(run: Run) -> str:
    """Who says what where the graders differ, with examples."""
    rows = []
    for row in verified()["disagreements"]:
        says = [{True: "right", False: "wrong", None: "–"}[row[grader]] for grader in NAMES_OF_GRADERS]
        examples = [text[:48] + "…" * (len(text) > 48) for text in row["examples"].replace("`", "'").split("; ")[:3]]
        shown = "<br>".join(f"`{text}`" for text in examples)
        rows.append((f"{row['data']}: {row['form']}", *says, row["completions"], shown))
    header = ["answers", *NAMES_OF_GRADERS.values(), "count", "for example: true ← given"]
    return table(header, rows, numbers=(4,))


def verification_programs(run: Run) -> str:
    """Outcomes of the two models' programs beside the authors' verdicts, and every disagreement."""
    found = verified()
    rows = [
        (f"`{row['model']}`", "passed" if row["authors"] else "failed", row["outcome"], row["programs"])
        for row in found["programs"]
    ]
    differing, failing = found["differing_programs"], found["failing_references"]
    parts = [table(["completions of", "the authors say", "outcome here", "programs"], rows, numbers=(3,))]
    if differing:
        parts.append("Where the verdicts differ:\n")
        rows = [(f"`{x['model']}`", x["problem"], x["outcome"], f"`{x['detail']}`") for x in differing]
        parts.append(table(["completions of", "problem", "outcome here", "detail"], rows))
    else:
        total = sum(row["programs"] for row in found["programs"])
        parts.append(f"There is nothing to explain: all {total} verdicts agree.\n")
    if failing:
        parts.append(
            "Reference solutions that do not pass: " + ", ".join(f"{k} ({v})" for k, v in failing.items()) + "\n"
        )
    return "\n".join(parts)


def verification_types(run: Run) -> str:
    """The token types of the authors' marks beside their Table 8, as a figure and a table."""
    import pandas as pd

    from asprm.claims import table as paper_table
    from asprm.figures import types_beside_paper

    found = verified()
    types = pd.DataFrame(found["mark_types"]).set_index("type")
    paper = paper_table(8).droplevel(0).set_axis(["share", "decision_share"], axis=1) / 100
    types = types[types["tokens"] > 0]
    rows = [
        (name, percent(row["share"]), _of_paper(paper, name, "share"), percent(row["decision_share"]),
         f"{100 * row['decision_share_low']:.1f} to {100 * row['decision_share_high']:.1f}",
         _of_paper(paper, name, "decision_share"))
        for name, row in types.iterrows()
    ]  # fmt: skip
    header = ["type", "all tokens", "Table 8", "at marks", "95 % interval", "Table 8"]
    marks = found["marks"]
    return (
        f"The {marks['samples']:,} samples have {marks['mean']:.2f} marks each (median {marks['median']}, "
        f"{marks['least']} to {marks['most']}), and {marks['inner_mean']:.2f} without the one at the end. "
        f"{percent(marks['inner_after_newline'])} of these follow a line break, and "
        f"{percent(marks['newlines_marked'])} of the line breaks are marked.\n\n"
        f'<div class="cell_output">{types_beside_paper(types, paper).html()}</div>\n\n'
        + table(header, rows, numbers=range(1, 6)).replace(" %", "\u00a0%")
        + f"\nPunctuation, numbers and formulas together are {percent(types.loc[_SIGNS, 'share'].sum())} of the tokens "
        f"here and {percent(paper.loc[_SIGNS, 'share'].sum())} in Table 8.\n"
    )


_SIGNS = ["Punctuation", "Symbolic Reasoning", "Math Formula"]


def _of_paper(paper: Any, name: str, column: str) -> str:
    return percent(paper.loc[name, column]) if name in paper.index else "–"


def verification_made(run: Run) -> str:
    """From which files, when, and with what."""
    found = verified()
    versions = ", ".join(f"{name} {value}" for name, value in found["versions"].items())
    rows = [(f"`{name}`", f"`{digest[:16]}`") for name, digest in found["files"].items()]
    made = f"Made on {found['date']} with commit {commit_of(found)} and {versions}."
    return table(["file", "SHA-256 begins"], rows) + f"\n{made}\n"


INCLUDES: dict[str, Callable[[Run], str]] = {
    "headline": headline,
    "tally": tally,
    "picture": picture,
    "families": families,
    "examples": examples,
    "misconceptions": misconceptions,
    "profiles": profiles,
    "settings": settings,
    "deviations": deviations,
    "provenance": provenance,
    "artifacts": artifacts,
    "promises": promises,
    "gpu": gpu,
    "stage_seconds": stage_seconds,
    "verification_held": verification_held,
    "verification_graders": verification_graders,
    "verification_disagreements": verification_disagreements,
    "verification_programs": verification_programs,
    "verification_types": verification_types,
    "verification_made": verification_made,
}
