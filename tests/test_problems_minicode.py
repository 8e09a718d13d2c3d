"""MiniCode: what the pieces mean, what programmers write, and where their programs depart from the true one."""

import random
import re
from itertools import combinations
from pathlib import Path

import pytest
from test_grading_sandbox import needs_bwrap

from asprm import policy
from asprm.engines.load import load_engine
from asprm.grading.grade import grade
from asprm.problems import minicode, programmer
from asprm.problems.errors import first_error
from asprm.problems.families import SPLITS, attempt, scenes
from asprm.problems.load import load
from asprm.problems.problem import CodeProblem
from asprm.problems.programmer import MISCONCEPTIONS
from asprm.problems.student import Misconception
from asprm.run.profile import load_profile

NAMES = ("minicode", "minicode-new")


@pytest.fixture(scope="module")
def tasks():
    """Problems of both families with their tasks."""
    return {name: list(scenes(name, "train", 400)) for name in NAMES}


def passes(problem, program: str) -> bool:
    """Whether a program that this package wrote passes, run here."""
    space = {}
    exec(problem.test, space)
    try:
        space["check"](minicode.compiled(program, problem.entry_point))
    except Exception:
        return False
    return True


def program_of(completion: str) -> str:
    return re.fullmatch(r"```python\n(.*)```", completion, re.DOTALL)[1]


@pytest.mark.parametrize("name", NAMES)
def test_the_true_program_passes_and_has_no_error(tasks, name):
    for problem, _ in tasks[name]:
        assert isinstance(problem, CodeProblem)
        assert (problem.domain, problem.synthetic, problem.answer) == ("code", True, None)
        assert passes(problem, program_of(problem.solution)), problem
        assert first_error(problem, problem.solution) is None
        assert 6 <= problem.test.count("    assert ") <= 12


@pytest.mark.parametrize("name", NAMES)
def test_every_misreading_fails_unless_it_is_harmless_and_departs_where_it_shows(tasks, name):
    for problem, task in tasks[name]:
        true = problem.solution.splitlines()
        for piece, kind in programmer.misreadings(task):
            program = programmer.program(task, {piece: kind})
            completion = f"```python\n{program}```"
            harmless = (piece, kind) in task.harmless
            assert passes(problem, program) == harmless, (problem, program)
            place = first_error(problem, completion)
            assert completion[:place].count("\n") < len(completion.splitlines()) - 1
            before = completion[:place].splitlines()
            assert before == true[: len(before)]
            assert place == 0 or completion[place - 1] == "\n"


def test_hardly_any_misreading_is_harmless(tasks):
    harmless = {kind for name in NAMES for _, task in tasks[name] for _, kind in task.harmless}
    assert harmless < set(MISCONCEPTIONS)
    offered = [len(programmer.misreadings(task)) for name in NAMES for _, task in tasks[name]]
    assert sum(len(task.harmless) for name in NAMES for _, task in tasks[name]) < 0.1 * sum(offered)


def test_every_misconception_has_a_rate_and_is_invited():
    rng, invited = random.Random(0), set()
    for _ in range(9_000):
        try:
            invited |= {kind for _, kind in programmer.misreadings(minicode.draw(rng, new=False))}
        except ValueError:
            continue
    assert invited == set(MISCONCEPTIONS)
    assert {rate > 0.5 for rate, _ in MISCONCEPTIONS.values()} == {True, False}


def test_a_program_by_hand():
    source = next(piece for piece in minicode.SOURCES if piece.name == "list")
    selection = next(piece for piece in minicode.SELECTIONS if piece.name == "no_more")
    outcome = next(piece for piece in minicode.OUTCOMES if piece.name == "product")
    words = {"xs": "prices", "x": "price", "k": "limit"}
    task = minicode.Task("find_prices", source, None, selection, None, outcome, ("prices", "limit"), words, {"k": 5})
    assert task.expected([3, 5, 6, 2], 5) == 30
    assert task.expected([3, 5, 6, 2], 4) == 6
    assert task.expected([], 4) == 1
    assert programmer.write(task) == (
        "```python\ndef find_prices(prices, limit):\n    # start the product at 1\n    result = 1\n"
        "    for price in prices:\n        # keep those up to limit\n        if price <= limit:\n"
        "            result *= price\n    return result\n```"
    )
    wrong = programmer.program(task, {"no_more": "no-more"})
    assert "        # keep those below limit\n        if price < limit:\n" in wrong
    assert programmer.first_error(programmer.write(task), f"```python\n{wrong}```") == len("```python\n") + wrong.index(
        "        # keep"
    )


def test_an_error_is_made_at_its_rate(monkeypatch):
    problem, task = next(
        (p, t) for p, t in scenes("minicode", "train", 500) if programmer.misreadings(t) == [("at_least", "at-least")]
    )
    for rate in (0.0, 1.0):
        monkeypatch.setitem(MISCONCEPTIONS, "at-least", Misconception(rate, ""))
        texts = {attempt(task, random.Random(i)) for i in range(20)}
        assert len(texts) == 1
        assert (texts == {problem.solution}) == (rate == 0.0)


TRUTH = "```python\ndef f(l):\n    # keep those above 3\n    kept = [x for x in l if x > 3]\n    return sum(kept)\n```"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (TRUTH, None),
        (TRUTH.replace("above 3", "larger than 3"), None),  # only the comment
        (TRUTH.replace("x > 3", "x>3").replace("    # keep those above 3\n", ""), None),
        (TRUTH.replace("> 3", ">= 3"), "    kept"),  # only the code
        (TRUTH.replace("> 3", ">= 3").replace("above 3", "of 3 or more"), "    # keep"),  # both
        (TRUTH.replace("sum", "len"), "    return"),
        (TRUTH.replace("    return sum(kept)\n", ""), "```\n"),
        (TRUTH.replace("    return", "  return"), "  return"),
        (TRUTH.replace("kept)\n", "kept)\n    x = 1\n"), "    x = 1"),
        ("I do not know.", "I do"),
    ],
)
def test_first_error_by_hand(text, where):
    expected = None if where is None else (text + "\n").rindex(where)
    assert programmer.first_error(TRUTH, text) == expected


def test_first_error_of_a_program_that_is_cut_off_is_its_end():
    assert programmer.first_error(TRUTH, TRUTH[:-20]) in (len(TRUTH[:-20]), TRUTH.index("    return"))
    assert programmer.first_error(TRUTH, TRUTH[:-4]) == len(TRUTH) - 4


def test_first_error_agrees_with_the_tests_nearly_always(tasks):
    same = total = 0
    for name in NAMES:
        for problem, task in tasks[name]:
            text = attempt(task, random.Random(problem.id))
            error = first_error(problem, text)
            right = passes(problem, program_of(text))
            assert right or error is not None
            same, total = same + (right == (error is None)), total + 1
    assert same / total > 0.99


@needs_bwrap
def test_the_sandbox_agrees(tasks):
    for name in NAMES:
        for problem, task in tasks[name][:25]:
            assert grade(problem, problem.solution).correct
            text = attempt(task, random.Random(1))
            assert grade(problem, text).correct == passes(problem, program_of(text))


def test_problems_are_the_same_for_ever_whatever_the_count():
    for name in NAMES:
        assert load(name, "test", 12)[:5] == load(name, "test", 5)
        assert load(name, "test", 3, start=2) == load(name, "test", 5)[2:]


@pytest.mark.slow
def test_splits_share_no_problem_and_hardly_any_stands_twice():
    texts = {split: [p.prompt for name in NAMES for p in load(name, split, 60)] for split in SPLITS}
    for prompts, others in combinations(texts.values(), 2):
        assert not set(prompts) & set(others)
    assert min(len(set(prompts)) for prompts in texts.values()) > 115


def test_new_problems_have_a_pair_that_is_held_out(tasks):
    def pairs(task):
        return set(combinations([piece.name for piece in task.pieces[1:]], 2))

    known = set().union(*(pairs(task) for _, task in tasks["minicode"]))
    for _, task in tasks["minicode-new"]:
        assert pairs(task) - known


def test_every_piece_stands_in_minicode_with_most_of_the_others():
    names = [p.name for p in (*minicode.SLICES, *minicode.SELECTIONS, *minicode.CHANGES, *minicode.OUTCOMES)]
    for name in names:
        held_out = sum(minicode._held_out((name, other)) or minicode._held_out((other, name)) for other in names)
        assert held_out < 0.5 * len(names)


def test_there_are_thousands_of_combinations(tasks):
    kinds = {tuple(piece.name for piece in task.pieces) for _, task in tasks["minicode"]}
    assert len(kinds) > 300
    assert len({problem.template for problem, _ in tasks["minicode"]}) > 60


def test_plans_are_a_fifth_to_a_third_of_the_lines_and_wording_is_fixed_by_the_verb(tasks):
    lines = [line for name in NAMES for p, _ in tasks[name] for line in program_of(p.solution).splitlines()]
    assert 0.2 < sum(line.lstrip().startswith("#") for line in lines) / len(lines) < 0.33
    for problem, task in tasks["minicode"][:100]:
        kinds = programmer.misreadings(task)
        texts = {attempt(task, random.Random(i)) for i in range(30)}
        assert len(texts) <= 2 ** len(kinds)  # nothing but decisions differs
        assert problem.solution in texts or len(kinds) > 1


def test_the_shipped_policy_is_what_its_recipe_says_and_neither_too_good_nor_too_bad():
    folder = Path(__file__).parents[1] / "data/policies/D"
    made = policy.about(folder)
    settings = load_profile("tiny").recipe("D").model_dump(exclude={"retrain", "checkpoint_steps"})
    assert {key: made[key] for key in settings} == settings
    assert (folder / "model.safetensors").stat().st_size < 6 << 20
    known, new = (next(row for row in made["held_out"] if row["problems"] == name) for name in NAMES)
    assert 0.3 <= known["greedy"] <= 0.75
    assert new["greedy"] < known["greedy"]
    for row in (known, new):
        assert row["count"] >= 200
        assert row["pass@16"] >= row["greedy"] + 0.15
        assert row["copied"] > 0.98


@pytest.mark.slow
@needs_bwrap
def test_the_shipped_policy_writes_programs():
    engine = load_engine(Path(__file__).parents[1] / "data/policies/D")
    problems = {"minicode": load("minicode", "validation", 12)}
    shares = policy.held_out(engine, problems, load_profile("tiny").sample, seed=0, samples=2)
    assert shares["greedy"][0] >= 0.3
    assert shares["copied"][0] == 1.0
