"""Includes about the problem families: sizes, the policies' accuracy, an example of each, and misconceptions."""

from asprm.problems import programmer
from asprm.problems.load import title
from asprm.problems.sets import problem_set, solvers
from asprm.problems.student import MISCONCEPTIONS, SLIP
from asprm.results.format import percent
from asprm.run import names
from asprm.run.open import Run
from asprm.site.includes.tables import table


def families(run: Run) -> str:
    """Sizes of the families, and the accuracy of every policy on the test sets of its domain."""
    counts = run.profile.problems
    n = run.profile.sample.candidates
    rows = []
    for family in counts.test:
        for policy in solvers(run.profile, family):
            right = run.read(names.samples(policy, family)).to_pandas().groupby("problem")["correct"]
            greedy = run.read(names.greedy_samples(policy, family)).to_pandas()["correct"]
            sizes = [getattr(counts, part).get(family, "–") for part in ("train", "validation", "test")]
            shares = [greedy.mean(), right.mean().mean(), right.any().mean()]
            rows.append((title(family), *sizes, policy, *map(percent, shares)))
    header = ["family", "train", "validation", "test", "policy", "greedy", "single sample", f"pass@{n}"]
    fresh = f" The test problems start at number {counts.test_from} of their families; no choice was made on them."
    return (
        table(header, rows, numbers=(1, 2, 3, 5, 6, 7))
        + "\nThe last three columns are the policy's accuracy on the test problems of this run: by greedy decoding, "
        f"by a single sample, and by {n} samples of which at least one is right."
        f"{fresh if counts.test_from else ''}\n"
    )


def examples(run: Run) -> str:
    """The first test problem of every family that a policy is tested on, with its greedy solution, right or wrong."""
    parts = []
    for family in run.profile.problems.test:
        policies = solvers(run.profile, family)
        if not policies:
            continue
        policy, problem = policies[0], problem_set(run.profile, family)[0]
        solutions = run.read(names.greedy_samples(policy, family)).to_pylist()
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
    """The misconceptions of simulated students and programmers, and how often they err by each."""
    care = {name: run.profile.recipe(name).care for name in run.profile.policies}
    careful = [
        f"Policy {name}'s students avoid {percent(share)} of all misreadings" for name, share in care.items() if share
    ]
    parts = [f"{percent(SLIP)} of the calculations have a slip. {'; '.join(careful)}.\n"]
    for who, known in (("students", MISCONCEPTIONS), ("programmers", programmer.MISCONCEPTIONS)):
        misconceptions = sorted(known.values(), reverse=True)
        likely = sum(misconception.rate > 0.5 for misconception in misconceptions)
        header = ["the situation, and the error", "rate"]
        rows = table(header, [(one.description, percent(one.rate)) for one in misconceptions], [1])
        parts.append(
            f"There are {len(misconceptions)} misconceptions of {who}. More than half of the {who} err by {likely} of "
            f"them.\n\n:::{{dropdown}} All rates of {who}\n{rows}:::\n"
        )
    return "\n".join(parts)
