"""Rows of published data sets as problems. Every field that is used is checked; nothing is guessed.

Each public function takes a row and an id, for sets whose rows have none. Its docstring lists the fields that it reads.
ValueError: what is wrong with the row; `hub.py` adds the file and line.
"""

import ast
import json
from collections.abc import Callable

from asprm.grading.math import extract_answer
from asprm.grading.numbers import parse_number
from asprm.grading.tidy import tidy
from asprm.problems.problem import CodeProblem, Problem, unpack
from asprm.problems.strict import check_text

Convert = Callable[[dict, str], Problem]


def _text(row: dict, *names: str, empty: bool = False) -> str:
    """The first of the fields `names` that the row has. empty: whether the text may be empty."""
    name = next((name for name in names if name in row), None)
    if name is None:
        raise ValueError(f"no field {' or '.join(map(repr, names))}; the row has {', '.join(map(repr, row)) or 'none'}")
    value = row[name]
    if not isinstance(value, str) or not (empty or value.strip()):
        raise ValueError(f"field {name!r} should be a text{'' if empty else ', not empty'}; it is {value!r:.60}")
    return check_text(name, value)


def _id(row: dict, name: str, default: str) -> str:
    """The row's own id: a text or a whole number. The default if it has none, which tables write as null."""
    value = default if row.get(name) is None else row[name]
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise ValueError(f"field {name!r} should be a text or a whole number; it is {value!r:.60}")
    return str(value)


def _texts(row: dict, name: str) -> list[str]:
    """The field's texts; none if the row does not have it, which tables write as null."""
    value = [] if row.get(name) is None else row[name]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"field {name!r} should be a list of texts; it is {value!r:.60}")
    return value


# --- mathematics ------------------------------------------------------------------------------------------------------


def gsm8k(row: dict, id: str) -> Problem:
    """question; answer: a worked solution whose last line is `#### 18`, or the number alone."""
    solution = _text(row, "answer")
    _, mark, answer = solution.rpartition("####")
    if not mark:
        answer = solution.strip().rpartition("\n")[2]
    if parse_number(tidy(answer)) is None:
        raise ValueError(
            f"field 'answer' should end in '#### ' and a number, or in a line that is a number; it ends in "
            f"{solution[-40:]!r}"
        )
    return Problem(id, "math", _text(row, "question"), answer.strip(), solution)


def gsm_symbolic(row: dict, id: str) -> Problem:
    """As GSM8K; id: the template's number; instance: the number of the problem made from it."""
    for name in ("id", "instance"):
        if type(row.get(name)) is not int:
            raise ValueError(f"field {name!r} should be a whole number; it is {row.get(name)!r}")
    problem = gsm8k(row, id)
    name = f"{id.rsplit('-', 1)[0]}-{row['id']:03d}-{row['instance']:02d}"
    return Problem(name, "math", problem.prompt, problem.answer, problem.solution, template=str(row["id"]))


def math(row: dict, id: str) -> Problem:
    r"""problem (or question), solution; answer where the set has one, else the last `\boxed{}` of the solution."""
    solution = _text(row, "solution")
    if "answer" in row:
        answer = _text(row, "answer")
    else:
        answer = extract_answer(solution[max(solution.rfind("\\boxed"), solution.rfind("\\fbox"), 0) :])
        if answer is None:
            raise ValueError("field 'solution' should hold its answer in \\boxed{}")
    return Problem(_id(row, "unique_id", id), "math", _text(row, "problem", "question"), answer, solution)


def metamath(row: dict, id: str) -> Problem:
    """query; response: a solution that ends in `The answer is: 42`; original_question: the problem's template."""
    response = _text(row, "response")
    _, mark, answer = response.rpartition("The answer is:")
    if not mark or not answer.strip():
        raise ValueError(f"field 'response' should end in 'The answer is: …'; it ends in {response[-40:]!r}")
    template = _text(row, "original_question") if row.get("original_question") is not None else ""
    return Problem(id, "math", _text(row, "query"), answer.strip(), response, template)


# --- programs ---------------------------------------------------------------------------------------------------------


def _parsed(name: str, text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{name} is not Python: {error}") from None


def _checked(problem: CodeProblem) -> CodeProblem:
    """The problem itself. ValueError: its imports or test are not Python, or do not define `check`."""
    _parsed("the imports", problem.imports)
    body = _parsed("the test", problem.test).body
    if not any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in body):
        raise ValueError("the test should define check(candidate)")
    return problem


def leetcode(row: dict, id: str) -> CodeProblem:
    """query (or src); prompt: the imports; test; entry_point; completion: a reference solution."""
    return _checked(
        CodeProblem(
            id=_id(row, "task_id", id),
            domain="code",
            prompt=_text(row, "query", "src"),
            solution=_text(row, "completion"),
            entry_point=_text(row, "entry_point"),
            imports=_text(row, "prompt"),
            test=_text(row, "test"),
        )
    )


def humaneval(row: dict, id: str) -> CodeProblem:
    """prompt: imports, helpers and the head of the function; canonical_solution: its body; test; entry_point."""
    head, name = _text(row, "prompt"), _text(row, "entry_point")
    solution = head + _text(row, "canonical_solution")
    body = _parsed("prompt with canonical_solution", solution).body
    function = next((node for node in body if isinstance(node, ast.FunctionDef) and node.name == name), None)
    if function is None:
        raise ValueError(f"prompt should define {name!r}, the entry point")
    helpers = [_segment(solution, node) for node in body[: body.index(function)]]
    return _checked(
        CodeProblem(
            id=_text(row, "task_id"),
            domain="code",
            prompt=f"Complete the following Python function:\n```python\n{head.rstrip()}\n```",
            solution=solution,
            entry_point=name,
            imports="\n\n".join(helpers) + "\n",
            test=_text(row, "test"),
        )
    )


def _segment(source: str, node: ast.stmt) -> str:
    """The lines of a statement, with its decorators, which Python's own segment leaves out."""
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
    return "\n".join(source.splitlines()[first - 1 : node.end_lineno])


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _defined(node: ast.stmt) -> set[str]:
    """The names that a statement at the top of a program defines."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.Import() | ast.ImportFrom():
            return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            return {
                name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
            }
    return set()


def _helpers(code: str, used: set[str], entry_point: str) -> list[str]:
    """The statements of a reference solution that define the names in `used`, and what these need in turn."""
    body, kept = ast.parse(code).body, set()
    while True:
        more = {place for place, node in enumerate(body) if _defined(node) & (used | {"*"}) - {entry_point}} - kept
        if not more:
            return [_segment(code, body[place]) for place in sorted(kept)]
        kept |= more
        used = used.union(*(_names(body[place]) for place in more))


def mbpp(row: dict, id: str) -> CodeProblem:
    """text (or prompt); code: a reference solution; test_list: assertions; test_setup_code and test_imports, if any.

    The assertions call one function of the code: the entry point. What else they or the set-up use of the code
    (classes, other functions, modules, constants), and what that needs in turn, becomes part of the imports, before the
    set-up. So objects of such a class have the reference's attributes, also for a program with a class of that name.
    """
    code, text = _text(row, "code"), _text(row, "text", "prompt")
    tests, imports = _texts(row, "test_list"), _texts(row, "test_imports")
    if not tests:
        raise ValueError("field 'test_list' should be a list of assertions; there are none")
    setup = _text(row, "test_setup_code", empty=True) if row.get("test_setup_code") is not None else ""
    functions = {node.name for node in _parsed("code", code).body if isinstance(node, ast.FunctionDef)}
    used = [node.id for node in ast.walk(_parsed("test_list", "\n".join(tests))) if isinstance(node, ast.Name)]
    called = [name for name in dict.fromkeys(used) if name in functions]
    if len(called) != 1:
        raise ValueError(f"the assertions should call one function of 'code'; they call {called or 'none'}")
    helpers = _helpers(code, {*used} | _names(_parsed("test_setup_code", setup)), called[0])
    asserts = "\n".join(f"    {line}" for test in tests for line in test.splitlines())
    return _checked(
        CodeProblem(
            id=f"mbpp-{_id(row, 'task_id', id)}" if row.get("task_id") is not None else id,
            domain="code",
            prompt=f"{text.strip()}\nYour code should pass these tests:\n```python\n" + "\n".join(tests) + "\n```",
            solution=code,
            entry_point=called[0],
            imports="\n".join([*imports, *helpers, setup]) + "\n",
            test=f"def check({called[0]}):\n{asserts}\n",
        )
    )


# What LiveCodeBench's programs may use without importing it.
_MODULES = "string re datetime collections heapq bisect copy math random statistics itertools functools operator typing"
_CONTEST = (
    "\n".join(f"from {name} import *" for name in _MODULES.split())
    + "\nfrom builtins import *\n"
    + "\n".join(f"import {name}" for name in [*_MODULES.split(), "sys", "io", "json"])
    + "\nsys.setrecursionlimit(50000)\n"
)
_CALLS = """
import json

def plain(value):
    return list(map(plain, value)) if isinstance(value, (list, tuple)) else value

def check(candidate):
    for case in CASES:
        arguments = [json.loads(line) for line in case["input"].split("\\n")]
        assert plain(candidate(*arguments)) == json.loads(case["output"])
"""
_TEXTS = """
from decimal import Decimal, InvalidOperation

def lines(text):
    return [line.strip() for line in text.strip().split("\\n")]

def same(left, right):
    try:
        return left == right or list(map(Decimal, left.split())) == list(map(Decimal, right.split()))
    except InvalidOperation:
        return False

def check(candidate):
    for case in CASES:
        answer, expected = lines(candidate(case["input"])), lines(case["output"])
        assert len(answer) == len(expected) and all(map(same, answer, expected))
"""


def livecodebench(row: dict, id: str) -> CodeProblem:
    """question_content, starter_code, public_test_cases, private_test_cases (packed), metadata."""
    prompt, starter = _text(row, "question_content"), _text(row, "starter_code", empty=True)
    entry_point = ""
    if _test_type(row) == "functional":
        metadata = json.loads(_text(row, "metadata"))
        name = metadata.get("func_name") if isinstance(metadata, dict) else None
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"field 'metadata' should name the function in 'func_name'; it is {row['metadata']!r:.60}")
        entry_point = f"Solution().{name}"
        prompt += f"\n\nComplete the following Python code:\n```python\n{starter.rstrip()}\n```"
    else:
        prompt += "\n\nWrite a Python program that reads the input from stdin and writes the answer to stdout."
    return _checked(
        CodeProblem(
            id=_text(row, "question_id"),
            domain="code",
            prompt=prompt,
            entry_point=entry_point,
            imports=_CONTEST,
            test=_CALLS if entry_point else _TEXTS,
            cases=(row["public_test_cases"], row["private_test_cases"]),
            cpu_seconds=60,
        )
    )


def _test_type(row: dict) -> str:
    """How the test calls a program: "functional" or "stdin". Checks all cases."""
    types = set()
    for name in ("public_test_cases", "private_test_cases"):
        try:
            cases = unpack(_text(row, name))
        except ValueError as error:
            raise ValueError(f"field {name!r}: {error}") from None
        for number, case in enumerate(cases, 1):
            if not isinstance(case, dict) or not all(isinstance(case.get(key), str) for key in ("input", "output")):
                raise ValueError(f"field {name!r}, case {number}: should have texts 'input' and 'output'")
            types.add(case.get("testtype"))
    if len(types) != 1 or not types <= {"stdin", "functional"}:
        listed = ", ".join(sorted(map(str, types))) or "no cases"
        raise ValueError(f"the cases should all be of testtype 'stdin' or all 'functional'; there are {listed}")
    return types.pop()
