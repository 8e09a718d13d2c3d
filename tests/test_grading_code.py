"""Programs: the right block is run, outcomes say what happened, verdicts agree with the authors' on their data."""

import textwrap

import pytest
from real_data import real_rows
from test_grading_sandbox import ANSWER, CHEATS, SMALL, needs_bwrap, run

from asprm.grading import code
from asprm.grading.code import extract_code, grade_code, grade_programs
from asprm.grading.grade import Verdict, grade
from asprm.grading.sandbox import Limits
from asprm.problems.problem import CodeProblem, Problem


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        ("```python\nx = 1\n```", "x = 1\n"),
        ("First\n```python\nx = 1\n```\nbetter:\n```python\nx = 2\n```\nDone.", "x = 2\n"),
        ("```python\nx = 1\n```\nOutput:\n```\n3\n```", "x = 1\n"),
        ("```python\nx = 1\n```\nand\n```python\nx = 2", "x = 1\n"),  # the last one was cut off
        ("```python\nx = 1\n```python\nx = 2\n```", "x = 2\n"),  # the first one was never closed
        ("1. So:\n   ```python\n   if x:\n       y\n   ```", "if x:\n    y\n"),
        ("```Python3\nx = 1\n```", "x = 1\n"),
        ("```python\ns = '''```'''\n```", "s = '''```'''\n"),
        ("```cpp\nint x;\n```", None),
        ("```\nx = 1\n```", None),
        ("x = 1", None),
        ("```python\nx = 1", None),
        ("", None),
    ],
)
def test_the_last_complete_python_block_is_taken(completion, code):
    assert extract_code(completion) == code


def test_extraction_is_linear():
    assert extract_code("```python\n" * 10**5) is None
    assert extract_code("`" * 10**6) is None


def test_without_a_block_nothing_is_run():
    verdict = grade_code("The answer is: 42", CodeProblem("none", "code", "", synthetic=True))
    assert (verdict.outcome, verdict.passed, verdict.seconds) == ("no_code", False, 0.0)


@needs_bwrap
@pytest.mark.parametrize(
    ("program", "outcome", "detail"),
    [
        ("def solve(n):\n    return 7 * n", "passed", ""),
        ("def solve(n):\n    return 42", "failed", "assert candidate(7) == 49"),
        ("def solve(n):\n    return", "failed", "assert candidate(6) == 42"),
        ("def solve(n):\n    return (k for k in ())", "failed", "assert candidate(6) == 42"),
        ("def solve(n):\n    return n / 0", "error", "ZeroDivisionError: division by zero (line 2)"),
        ("def solve(n):\n  return solve(n)", "error", "RecursionError"),
        ("def solve(n):\n    assert n > 6", "error", "AssertionError"),
        ("def solve(n)\n    return 1", "error", "SyntaxError: expected ':' (<program>, line 1) (line 1)"),
        ("def other(n):\n    return 1", "error", "NameError: name 'solve' is not defined"),
        ("import numpy_of_another_world", "error", "ModuleNotFoundError"),
        ("def solve(n):\n    return list(range(10**9))", "memory", "MemoryError"),
        ("def solve(n):\n    return 10**10000", "error", "ValueError"),
    ],
)
def test_outcomes(program, outcome, detail):
    verdict = run(program, ANSWER)
    assert verdict.outcome == outcome, verdict
    assert verdict.detail.startswith(detail)
    assert verdict.passed == (outcome == "passed")


@needs_bwrap
def test_verdicts_come_in_the_order_of_the_pairs():
    programs = [f"def solve(n):\n    for _ in range({10**5 * (9 - i)}): pass\n    return {i} * n" for i in range(10)]
    pairs = [(f"```python\n{program}\n```", ANSWER) for program in programs]
    drawn = []
    verdicts = grade_programs((drawn.append(1) or pair for pair in pairs), SMALL, workers=2)
    outcomes = [next(verdicts).outcome]
    assert len(drawn) < len(pairs)  # pairs are drawn as they are needed
    outcomes += [verdict.outcome for verdict in verdicts]
    assert outcomes == ["failed"] * 7 + ["passed"] + ["failed"] * 2


@needs_bwrap
def test_state_of_one_program_does_not_reach_the_next():
    problem = CodeProblem(**{**vars(ANSWER), "synthetic": True})  # its worker is used again
    assert run("import math\nmath.seven = 7\ndef solve(n):\n    return 7 * n", problem).passed
    verdict = run("import math\ndef solve(n):\n    return math.seven * n", problem)
    assert (verdict.outcome, "seven" in verdict.detail) == ("error", True)


SYNTHETIC = CodeProblem(**{**vars(ANSWER), "synthetic": True})


@pytest.mark.parametrize(
    "program",
    [
        "def solve(n):\n    return 7 * n",
        "def solve(n):\n    return 42",
        "def solve(n):\n    return (k for k in ())",
        "def solve(n):\n    return n / 0",
        "def solve(n):\n    return solve(n)",
        "def solve(n):\n    assert n > 6",
        "def solve(n)\n    return 1",
        "def other(n):\n    return 1",
        "import numpy_of_another_world",
        "def solve(n):\n    return list(range(10**9))",
        "def solve(n):\n    return 10**10000",
        pytest.param("def solve(n):\n    while n: pass", marks=pytest.mark.slow),
        "def solve(n):\n    return 'x' * (80 << 20)",
        *map(textwrap.dedent, CHEATS.values()),
    ],
)
@needs_bwrap
def test_the_fast_way_for_synthetic_problems_agrees_with_the_slow_one(program):
    fast, slow = run(program, SYNTHETIC), run(program, ANSWER)
    assert fast.passed == slow.passed
    if "malformed" not in slow.detail and "JSONDecodeError" not in slow.detail:  # what is no message has no name
        assert fast.outcome == slow.outcome, (fast, slow)
        assert fast.detail == slow.detail or slow.outcome not in ("passed", "failed")
    assert run("def solve(n):\n    return 7 * n", SYNTHETIC).passed


@needs_bwrap
def test_a_program_is_run_once_for_a_problem(monkeypatch):
    ran = []
    grade_pair = code._grade_pair
    monkeypatch.setattr(code, "_grade_pair", lambda *job: ran.append(job) or grade_pair(*job))
    monkeypatch.setattr(code, "_verdicts", {})
    programs = ["def solve(n):\n    return 7 * n", "def solve(n):\n    return 8 * n", "def solve(n):\n    return 7 * n"]
    assert [run(program, SYNTHETIC).passed for program in programs] == [True, False, True]
    assert len(ran) == 2
    other = CodeProblem(**{**vars(SYNTHETIC), "test": "def check(candidate):\n    assert candidate(6) == 48\n"})
    assert [run(program, other).passed for program in programs] == [False, True, False]


@needs_bwrap
def test_a_synthetic_problem_sees_what_is_done_to_its_arguments():
    problem = CodeProblem(
        "sort", "code", "", entry_point="sort", synthetic=True,
        test="def check(candidate):\n    given = [3, 1]\n    assert candidate(given) == [1, 3]\n"
        "    assert given == [3, 1]\n",
    )  # fmt: skip
    assert run("def sort(l):\n    return sorted(l)", problem).passed
    verdict = run("def sort(l):\n    l.sort()\n    return l", problem)
    assert (verdict.outcome, verdict.detail) == ("failed", "assert given == [3, 1]")
    with pytest.raises(ValueError, match="problem sort: its own test does not run"):
        run("def sort(l):\n    return l", CodeProblem(**{**vars(problem), "test": "check = 1 / 0"}))


@needs_bwrap
def test_grade_knows_the_domain():
    text = "```python\ndef solve(n):\n    return 7 * n\n```"
    assert grade(SYNTHETIC, text) == Verdict(True, "def solve(n):\n    return 7 * n\n")
    assert grade(SYNTHETIC, "no program") == Verdict(False, None)
    assert grade(Problem("sum", "math", "", "42"), "The answer is: 42.0") == Verdict(True, "42.0")


NODES = """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next
def list_node(values):
    head = None
    for value in reversed(values):
        head = ListNode(value, head)
    return head
def is_same_list(a, b):
    while a and b and a.val == b.val:
        a, b = a.next, b.next
    return a is b is None
"""


@needs_bwrap
def test_nodes_of_the_problem_cross_and_may_be_redefined_by_the_program():
    problem = CodeProblem(
        "reverse",
        "code",
        "",
        entry_point="Solution().reverse",
        imports=NODES,
        test="def check(candidate):\n"
        "    assert is_same_list(candidate(head = list_node(list(range(2000)))), list_node(list(range(2000))[::-1]))\n"
        "    assert candidate(head = None) is None\n",
    )
    program = """
        class Solution:
            def reverse(self, head):
                last = None
                while head:
                    head.next, head, last = last, head.next, head
                return last
        """
    node = "class ListNode:\n    def __init__(self, val=0, next=None):\n        self.val, self.next = val, next\n"
    assert run(program, problem).passed
    assert run(node + textwrap.dedent(program), problem).passed
    assert run(textwrap.dedent(program).replace("return last", "return head"), problem).outcome == "failed"


@needs_bwrap
def test_a_test_may_look_at_arguments_changed_in_place_and_at_exceptions():
    problem = CodeProblem(
        "sort",
        "code",
        "",
        entry_point="sort",
        test="def check(candidate):\n"
        "    values, seen = [3, 1, 2], {}\n"
        "    candidate(values, seen=seen)\n"
        "    assert values == [1, 2, 3] and seen == {'done': True}\n"
        "    try:\n"
        "        candidate(None)\n"
        "    except TypeError:\n"
        "        return\n"
        "    assert False, 'None was sorted'\n",
    )
    program = (
        "def sort(values, seen=()):\n    if {}:\n        raise TypeError\n    values.sort()\n    seen['done'] = True\n"
    )
    assert run(program.format("values is None"), problem).passed
    assert run(program.format("values is None") + "    values.reverse()\n", problem).outcome == "failed"
    assert run("def sort(values, seen=()):\n    pass", problem).outcome == "failed"


@needs_bwrap
def test_programs_that_read_stdin_and_write_stdout():
    problem = CodeProblem(
        "sum",
        "code",
        "",
        entry_point="",
        imports="import sys",
        test="def check(run):\n    assert run('1 2\\n').split() == ['3']\n    assert run('40 2').split() == ['42']\n",
    )
    for program in (
        "a, b = map(int, input().split())\nprint(a + b)",
        "print(sum(map(int, sys.stdin.read().split())))\nsys.exit(0)",
        "if __name__ == '__main__':\n    print(sum(map(int, open(0).read().split())))",
        "import sys\nsys.stdout.buffer.write(b'%d' % sum(map(int, sys.stdin.buffer.read().split())))",
        "import os\nos.write(1, b'%d' % sum(map(int, os.read(0, 99).split())))",
    ):
        assert run(program, problem).passed, program
    assert run("print(3)", problem).outcome == "failed"
    assert run("print(input() + input())", problem).outcome == "error"


@needs_bwrap
def test_a_problem_whose_own_test_does_not_run_is_an_error():
    program = "def solve(n):\n    return n"
    for test in ("def check(candidate):\n    assert", "x = 1", "import missing_module"):
        with pytest.raises(ValueError, match="problem broken: its own test does not run"):
            run(program, CodeProblem("broken", "code", "", entry_point="solve", test=test))
    assert run("def solve(n):\n    return 7 * n", ANSWER).passed


# Real programs: 175 LeetCode problems, their reference solutions, and the completions of two real models.


def leetcode() -> dict[int, CodeProblem]:
    return {
        row["meta"]["question_id"]: CodeProblem(
            row["task_id"],
            "code",
            row["query"],
            entry_point=row["entry_point"],
            imports=row["prompt"],
            test=row["test"],
        )
        for row in real_rows("leetcode/LeetCodeDataset-v0.1.0-test.jsonl.gz")
    }


# Where the verdicts differ from the authors', and why. Empty: all 350 agree. Number 3373 of sft_new_test imports sympy,
# which math-verify brings along; the four reference solutions that import sortedcontainers need that package installed.
EXPLAINED: dict[tuple[str, int], str] = {}


@pytest.mark.slow
@needs_bwrap
@pytest.mark.parametrize(("model", "passed"), [("dpo_test", 45), ("sft_new_test", 41)])
def test_verdicts_agree_with_the_authors(model, passed):
    problems = leetcode()
    theirs = {row["task_id"]: row["passed"] for row in real_rows(f"leetcode/{model}.evaluation.jsonl")}
    rows = real_rows(f"leetcode/{model}.generations.jsonl")
    assert len(rows) == len(theirs) == 175
    assert sum(theirs.values()) == passed
    verdicts = grade_programs([(row["completion"], problems[row["task_id"]]) for row in rows])
    ours = {row["task_id"]: verdict for row, verdict in zip(rows, verdicts, strict=True)}
    differ = {(model, task) for task, verdict in ours.items() if verdict.passed != theirs[task]}
    assert differ <= set(EXPLAINED), {key: ours[key[1]] for key in differ}


@pytest.mark.slow
@needs_bwrap
def test_all_reference_solutions_pass():
    pytest.importorskip("sortedcontainers")
    rows = real_rows("leetcode/LeetCodeDataset-v0.1.0-test.jsonl.gz")
    problems = leetcode()
    pairs = [(f"```python\n{row['completion']}\n```", problems[row["meta"]["question_id"]]) for row in rows]
    failed = {
        pair[1].id: verdict for pair, verdict in zip(pairs, grade_programs(pairs), strict=True) if not verdict.passed
    }
    assert len(pairs) == 175
    assert failed == {}


@needs_bwrap
def test_more_than_three_seconds_of_work_is_a_timeout():
    verdict = run("def solve(n):\n    while True: pass", ANSWER, Limits(cpu_seconds=1, wall_seconds=30))
    assert (verdict.outcome, verdict.detail) == ("timeout", "more than 1 s of processor time")
