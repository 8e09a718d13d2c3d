"""Includes about the problem families: their sizes, how the policies do on them, an example of each, and the
misconceptions that solutions err by.
"""

from asprm.problems import programmer
from asprm.problems.load import domain_of, title
from asprm.problems.sets import problem_set
from asprm.problems.student import MISCONCEPTIONS, SLIP
from asprm.run.open import Run
from asprm.site.includes.tables import percent, table


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
            rows.append((title(family), *sizes, policy, *map(percent, shares)))
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
    """The first test problem of every family that a policy solves, with its greedy solution."""
    parts = []
    for family in run.profile.problems.test:
        policy = next(iter(_policies(run, family)), None)
        if policy is None:
            continue
        problem = problem_set(run.profile, family)[0]
        solutions = run.read(f"sample/{policy}/{family}-greedy").to_pylist()
        solution = next(row for row in solutions if row["problem"] == problem.id)
        truth = f"wrong: the answer is {problem.answer}" if problem.answer else "wrong: it fails the tests"
        verdict = "right" if solution["correct"] else truth
        parts.append(
            f"**{title(family)}**\n\n```text\n{problem.prompt}\n```\n\n"
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
        rows = table(header, [(one.description, percent(one.rate)) for one in found], [1])
        parts.append(
            f"There are {len(found)} misconceptions of {who}; at {likely} of them more than half of the {who} are "
            f"wrong.\n\n:::{{dropdown}} All rates of {who}\n{rows}:::\n"
        )
    return "\n".join(parts)
