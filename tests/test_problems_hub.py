"""Published sets become problems; what is malformed is refused by file and line; nothing of a pickle is executed."""

import base64
import gzip
import json
import pickle
import re
import sys
import types
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from real_data import real_file, real_rows
from test_grading_sandbox import needs_bwrap

from asprm.grading.code import grade_code
from asprm.grading.math import grade_math
from asprm.problems.hub import SOURCES, MalformedRow, describe, given_paths, load, read_paths
from asprm.problems.problem import unpack


def packed(value) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def case(given: str, answer: str, kind: str) -> dict:
    return {"input": given, "output": answer, "testtype": kind}


def contest(kind: str, cases: list[dict], **fields) -> dict:
    return {
        "question_id": f"q-{kind}",
        "question_content": "Add the numbers.",
        "starter_code": "class Solution:\n    def add(self, a, b):" if kind == "functional" else "",
        "public_test_cases": json.dumps(cases[:1]),
        "private_test_cases": packed(json.dumps(cases[1:])),
        "metadata": json.dumps({"func_name": "add"} if kind == "functional" else {}),
        **fields,
    }


FUNCTIONAL = contest("functional", [case("1\n2", "3", "functional"), case("20\n22", "42", "functional")])
STDIN = contest("stdin", [case("1 2\n", "3\n", "stdin"), case("20 22\n", "42\n", "stdin")])
LEETCODE = {
    "task_id": "add",
    "prompt": "from typing import *\n",
    "query": "Add two numbers.",
    "completion": "class Solution:\n    def add(self, a, b):\n        return a + b\n",
    "entry_point": "Solution().add",
    "test": "def check(candidate):\n    assert candidate(a = 1, b = 2) == 3\n",
}
HUMANEVAL = {
    "task_id": "HumanEval/32",
    "prompt": "import math\n\n\ndef poly(x):\n    return x * x\n\n\ndef root(y):\n    '''The root.'''\n",
    "canonical_solution": "    return math.sqrt(y)\n",
    "entry_point": "root",
    "test": "METADATA = {}\n\ndef check(candidate):\n    assert math.isclose(poly(candidate(2)), 2)\n",
}
MBPP = {
    "task_id": 601,
    "text": "Write a function to count pairs.",
    "code": "class Pair:\n    def __init__(self, a):\n        self.a = a\n\ndef count(pairs):\n    return len(pairs)",
    "test_list": ["assert count([Pair(1), Pair(2)]) == 2", "assert count([]) == 0"],
    "test_setup_code": "",
    "challenge_test_list": [],
}
ROWS = {
    "gsm8k": {"question": "How many?", "answer": "1,000 + 1 = <<1000+1=1001>>1,001\n#### 1,001"},
    "math500": {"problem": "Half?", "solution": "It is $\\boxed{\\frac12}$.", "answer": "\\frac12", "unique_id": "t/1"},
    "math": {"problem": "Half?", "solution": "Not \\boxed{1}: $\\boxed{\\frac{1}{2}}$.", "level": "Level 1"},
    "metamathqa": {"query": "How many?", "response": "Two.\n#### 2\nThe answer is: 2", "original_question": "Many?"},
    "gsm-symbolic-p2": {"id": 7, "instance": 3, "question": "How many?", "answer": "#### 5"},
    "leetcode": LEETCODE,
    "livecodebench": FUNCTIONAL,
    "mbpp": MBPP,
    "humaneval": HUMANEVAL,
}


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load_one(tmp_path, name, row):
    split = SOURCES[name].splits[-1] if name != "mbpp" else "test"
    return load(name, split, written(tmp_path / f"{split}.jsonl", [row]))[0]


@pytest.mark.parametrize("name", ["gsm8k", "math500", "math", "metamathqa", "gsm-symbolic-p2"])
def test_solutions_of_mathematics_are_right_by_their_own_answers(tmp_path, name):
    problem = load_one(tmp_path, name, ROWS[name])
    assert problem.domain == "math"
    assert problem.prompt in ("How many?", "Half?")
    assert grade_math(problem.solution, problem.answer).correct
    assert {"gsm-symbolic-p2": "7", "metamathqa": "Many?"}.get(name, "") == problem.template
    if name == "gsm-symbolic-p2":
        assert problem.id == "gsm-symbolic-p2-test-007-03"


@needs_bwrap
@pytest.mark.parametrize("name", ["leetcode", "mbpp", "humaneval"])
def test_reference_programs_pass_and_others_do_not(tmp_path, name):
    problem = load_one(tmp_path, name, ROWS[name])
    assert problem.domain == "code"
    assert grade_code(f"```python\n{problem.solution}\n```", problem).passed
    wrong = problem.solution.replace("return ", "return -1 - ")
    assert grade_code(f"```python\n{wrong}\n```", problem).outcome == "failed"


# Tests that use more names than that of the function, after HumanEval/33 and MBPP 367, 533, 596 and 927.
TREE = """import dataclasses as dc
import sys

EMPTY = None

@dc.dataclass
class Tree:
    value: int
    left: object = EMPTY

def depth(tree):
    return 1 + depth(tree.left) if tree else 0

def size(value):
    return sys.getsizeof(value)

def without(values, kind):
    return [value for value in values if not isinstance(value, kind)]
"""
NAMES = {
    "a class and objects of the set-up": (
        {"test_setup_code": "root = Tree(1)\r\nroot.left = Tree(2)", "test_list": ["assert depth(root) == 2"]},
        "def depth(tree):\n    return {} + (depth(tree.left) if tree.left else 0)",
    ),
    "a module of the reference solution": (
        {"test_list": ["assert size((1, 'a')) == sys.getsizeof((1, 'a'))"]},
        "import sys\ndef size(value):\n    return {} * sys.getsizeof(value)",
    ),
    "a built-in type": (
        {"test_list": ["assert without((4, 7.5, 1.5), int) == [7.5, 1.5]"]},
        "def without(values, kind):\n    return [{} * value for value in values if type(value) is not kind]",
    ),
    "a constant in a set-up": (
        {"test_setup_code": "nothing = EMPTY", "test_list": ["assert depth(nothing) == 0 and depth(Tree(3)) == 1"]},
        "def depth(tree):\n    return {} if tree else 0",
    ),
}


@needs_bwrap
@pytest.mark.parametrize("name", NAMES)
def test_names_that_a_test_uses_besides_the_function_are_found(tmp_path, name):
    fields, program = NAMES[name]
    problem = load_one(tmp_path, "mbpp", {**MBPP, "code": TREE, **fields})
    assert grade_code(f"```python\n{TREE}\n```", problem).passed
    assert grade_code(f"```python\n{program.format(1)}\n```", problem).passed
    assert grade_code(f"```python\n{program.format(2)}\n```", problem).outcome == "failed"


@needs_bwrap
def test_a_test_of_humaneval_may_name_the_function_and_its_decorated_helpers(tmp_path):
    head = "import functools\n\n@functools.cache\ndef half(x):\n    return x / 2\n\ndef twice(x):\n    '''2 x.'''\n"
    test = "def check(candidate):\n    assert half(candidate(3)) == 3 and candidate(4) == twice(4)\n"
    test += "    assert half.cache_info().misses == 1\n"
    row = {
        **HUMANEVAL,
        "prompt": head,
        "canonical_solution": "    return 2 * x\n",
        "entry_point": "twice",
        "test": test,
    }
    problem = load_one(tmp_path, "humaneval", row)
    assert grade_code("```python\ndef twice(x):\n    return x + x\n```", problem).passed
    assert grade_code("```python\ndef twice(x):\n    return 3 * x\n```", problem).outcome == "failed"


@needs_bwrap
def test_livecodebench_programs_meet_their_public_and_private_cases(tmp_path):
    problem = load_one(tmp_path, "livecodebench", FUNCTIONAL)
    assert (problem.entry_point, "def add" in problem.prompt) == ("Solution().add", True)
    right = "class Solution:\n    def add(self, a, b):\n        return {}"
    assert grade_code(f"```python\n{right.format('a + b')}\n```", problem).passed
    assert grade_code(f"```python\n{right.format('3')}\n```", problem).outcome == "failed"  # the public case alone
    problem = load_one(tmp_path, "livecodebench", STDIN)
    assert (problem.entry_point, "stdin" in problem.prompt) == ("", True)
    assert grade_code("```python\nprint(sum(map(int, input().split())))\n```", problem).passed
    assert grade_code("```python\nprint(f'{sum(map(int, input().split())):.1f} ')\n```", problem).passed
    assert grade_code("```python\nprint(3)\n```", problem).outcome == "failed"


def test_large_packed_cases_stay_packed_in_memory():
    cases = [case("1 " * 10_000, "x", "stdin")] * 50
    problem = SOURCES["livecodebench"].convert(contest("stdin", cases), "id")
    assert sum(map(len, problem.cases)) < 50_000
    assert problem.unpacked_cases() == cases


class Bomb:
    """Unpickled the usual way, this calls a function of the attacker's choice."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (packed(Bomb()), "it asks for builtins.exec"),
        (packed([1, 2]), "a list, not a string"),
        (packed('{"input": "1"}'), "JSON of type dict, not a list"),
        (packed("no json"), "Expecting value"),
        (base64.b64encode(zlib.compress(b"cos\nsystem\n(S'true'\ntR.")).decode(), "it asks for os.system"),
        (base64.b64encode(zlib.compress(b"P1\n.")).decode(), "outside object"),
        (base64.b64encode(zlib.compress(b"\x82\x01.")).decode(), "neither JSON nor a packed string"),
        (base64.b64encode(b"no zlib").decode(), "neither JSON nor a packed string"),
        ("no base64!", "neither JSON nor a packed string"),
        (packed("[]")[:-8], "neither JSON nor a packed string"),
        ("", "neither JSON nor a packed string"),
    ],
)
def test_nothing_of_a_pickle_is_executed(text, why):
    with pytest.raises(ValueError, match=why):
        unpack(text)


def test_packed_and_plain_cases_are_the_same():
    cases = [case("1", "2", "stdin")]
    assert unpack(json.dumps(cases)) == unpack(packed(json.dumps(cases))) == cases


MALFORMED = [
    ("gsm8k", {"question": "q"}, "no field 'answer'; the row has 'question'"),
    ("gsm8k", {"question": "q", "answer": "many"}, "should end in '#### ' and a number"),
    ("gsm8k", {"question": "q", "answer": "#### "}, "should end in '#### ' and a number"),
    ("gsm8k", {"question": "", "answer": "#### 1"}, "field 'question' should be a text, not empty; it is ''"),
    ("gsm8k", {"question": None, "answer": "#### 1"}, "it is None"),
    ("gsm8k", [1], "expected an object with named fields, not a list"),
    ("math500", {"problem": "p", "solution": "s", "answer": 5}, "field 'answer' should be a text"),
    ("math", {"problem": "p", "solution": "It is 5."}, r"\\boxed"),
    ("metamathqa", {"query": "q", "response": "Five."}, "should end in 'The answer is: …'"),
    ("gsm-symbolic", {"id": "7", "instance": 1, "question": "q", "answer": "#### 1"}, "field 'id' should be a whole"),
    ("gsm-symbolic", {"id": True, "instance": 1, "question": "q", "answer": "#### 1"}, "field 'id' should be a whole"),
    (
        "math500",
        {"problem": "p", "solution": "s", "answer": "5", "unique_id": [1]},
        "field 'unique_id' should be a text",
    ),
    ("metamathqa", {"query": "q", "response": "The answer is: 5", "original_question": 5}, "field 'original_question'"),
    ("mbpp", {**MBPP, "test_imports": [1]}, "field 'test_imports' should be a list of texts"),
    ("mbpp", {**MBPP, "test_list": "assert f(1)"}, "field 'test_list' should be a list of texts"),
    ("leetcode", {**LEETCODE, "task_id": 1.5}, "field 'task_id' should be a text or a whole number"),
    ("leetcode", {**LEETCODE, "test": "def check(candidate:"}, "the test is not Python"),
    ("leetcode", {**LEETCODE, "test": "assert True"}, r"the test should define check\(candidate\)"),
    ("leetcode", {**LEETCODE, "entry_point": " "}, "field 'entry_point'"),
    ("humaneval", {**HUMANEVAL, "entry_point": "other"}, "prompt should define 'other', the entry point"),
    ("mbpp", {**MBPP, "test_list": []}, "field 'test_list' should be a list of assertions"),
    ("mbpp", {**MBPP, "test_list": ["assert other(1)"]}, "should call one function of 'code'; they call none"),
    ("livecodebench", {**STDIN, "private_test_cases": packed(Bomb())}, "field 'private_test_cases': .*builtins.exec"),
    ("livecodebench", {**STDIN, "public_test_cases": '[{"input": 1}]'}, "case 1: should have texts 'input' and"),
    ("livecodebench", {**FUNCTIONAL, "metadata": "{}"}, "should name the function in 'func_name'"),
    ("livecodebench", {**STDIN, "public_test_cases": FUNCTIONAL["public_test_cases"]}, "there are functional, stdin"),
]


@pytest.mark.parametrize(("name", "row", "message"), MALFORMED)
def test_a_malformed_row_is_refused_by_file_and_line(tmp_path, name, row, message):
    split = SOURCES[name].splits[-1] if name != "mbpp" else "test"
    good = ROWS.get(name) or ROWS["gsm-symbolic-p2"]
    path = written(tmp_path / f"{split}.jsonl", [good, row])
    with pytest.raises(MalformedRow, match=message) as caught:
        load(name, split, path)
    assert str(caught.value).startswith(f"{path}:2: ")


def test_damaged_files_are_refused_by_file_and_line(tmp_path):
    good = json.dumps(ROWS["gsm8k"])
    path = tmp_path / "test.jsonl"
    for text, line, why in (
        (f"{good}\n{{'question'", 2, "not JSON: Expecting property name .* column 2"),
        (f"\n{good}\n{good[:20]}\n", 3, "not JSON"),
        ("[" * 10**5, 1, "nested too deeply"),
    ):
        path.write_text(text)
        with pytest.raises(MalformedRow, match=why) as caught:
            load("gsm8k", "test", path)
        assert str(caught.value).startswith(f"{path}:{line}: ")
    path.write_bytes(good.encode() + b"\n\xff\n")
    with pytest.raises(MalformedRow, match="not UTF-8"):
        load("gsm8k", "test", path)
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress((good + "\n").encode() * 100)[:-20])
    with pytest.raises(MalformedRow, match="the file is damaged"):
        load("gsm8k", "test", cut)
    broken = tmp_path / "x.parquet"
    broken.write_bytes(b"PAR1 and no more")
    with pytest.raises(MalformedRow, match="the file is damaged"):
        load("gsm8k", "test", broken)


def test_a_mark_before_the_text_is_no_part_of_it(tmp_path):
    line = json.dumps(ROWS["gsm8k"])
    plain = load("gsm8k", "test", written(tmp_path / "plain-test.jsonl", [ROWS["gsm8k"]]))
    for name, content in (("x.jsonl", line), ("x.json", f"[{line}]"), ("x.jsonl.gz", line)):
        data = content.encode("utf-8-sig")
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        assert load("gsm8k", "test", tmp_path / name) == plain


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.jsonl", '{"question": "q", "question": "p", "answer": "#### 1"}', ":1: the field 'question' appears twice"),
        ("x.json", '[{"question": "q", "answer": "#### 1", "answer": "#### 2"}]', "the field 'answer' appears twice"),
        ("x.jsonl", '{"question": "q"}'.encode("utf-16"), ":1: it is UTF-16, expected UTF-8"),
        ("x.json", "[{}]".encode("utf-16-le"), "it is UTF-16LE, expected UTF-8"),
        ("x.jsonl", '[\n{"question": "q", "answer": "#### 1"}\n]', ":1: not JSON: .*; expected a row on each line"),
        ("x.json", '{"a": 1}\n{"a": 2}', "not JSON: Extra data in line 2, column 1; expected one list of rows"),
        ("x.jsonl", '{"question": NaN, "answer": "#### 1"}', "field 'question' should be a text"),
        ("x.jsonl", '{"question": "\\ud83d", "answer": "#### 1"}', "'question' holds half a character"),
        ("x.jsonl", '{"question": 1' + "0" * 5000 + "}", ":1: the integer 100000000000… has 5,001 digits"),
    ],
)
def test_a_file_that_would_lose_something_is_refused_by_its_place(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(MalformedRow, match=words) as caught:
        load("gsm8k", "test", path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("answer", ["5", "2 + 3 = <<2+3=5>>5\n5", "2 + 3 = 5\n5\n", "#### 5", "x ####5 "])
def test_an_answer_of_gsm_ends_in_the_mark_or_in_a_line_that_is_a_number(tmp_path, answer):
    row = {"id": 7, "instance": 3, "question": "q", "answer": answer}
    [problem] = load("gsm-symbolic", "test", written(tmp_path / "test.jsonl", [row]))
    assert (problem.answer, problem.solution) == ("5", answer)


def test_two_rows_of_one_id_are_refused(tmp_path):
    path = written(tmp_path / "test.jsonl", [ROWS["math500"]] * 2)
    with pytest.raises(MalformedRow, match=r"test.jsonl:2: its id 't/1' is that of .*test.jsonl:1"):
        load("math500", "test", path)


def test_files_of_any_kind_hold_the_same_problems(tmp_path):
    rows = [ROWS["gsm8k"], {"question": "Why?", "answer": "#### 7"}]
    lines = written(tmp_path / "a.jsonl", rows)
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.read_bytes()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    sets = [load("gsm8k", "test", tmp_path / f"a.{kind}") for kind in ("jsonl", "json", "jsonl.gz", "parquet")]
    assert [problem.answer for problem in sets[0]] == ["1,001", "7"]
    assert all(problems == sets[0] for problems in sets)
    assert load("gsm8k", "test", lines, count=1) == sets[0][:1]


def test_rows_may_start_anywhere_and_there_must_be_enough(tmp_path):
    rows = [{"question": "Why?", "answer": f"#### {i}"} for i in range(5)]
    path = written(tmp_path / "train.jsonl", rows)
    assert [problem.answer for problem in load("gsm8k", "train", path, count=2, start=3)] == ["3", "4"]
    assert [problem.answer for problem in load("gsm8k", "train", path, start=4)] == ["4"]
    assert load("gsm8k", "train", path, count=1, start=3)[0] == load("gsm8k", "train", path)[3]
    for options, needed in (({"count": 6}, 6), ({"count": 2, "start": 4}, 6), ({"start": 5}, 6)):
        with pytest.raises(ValueError, match=f"holds 5 rows of split 'train'; expected at least {needed}"):
            load("gsm8k", "train", path, **options)


def test_paths_are_given_by_name(monkeypatch):
    assert read_paths("gsm8k=a/b, math500 = c=d.jsonl,") == {"gsm8k": "a/b", "math500": "c=d.jsonl"}
    monkeypatch.setenv("ASPRM_DATA", "leetcode=x")
    assert given_paths() == {"leetcode": "x"}
    monkeypatch.delenv("ASPRM_DATA")
    assert given_paths() == {}
    for text in ("gsm9k=a", "gsm8k", "gsm8k="):
        with pytest.raises(ValueError, match=r"expected a set and the file .* like gsm8k=downloads/gsm8k; sets: gsm8k"):
            read_paths(text)


def test_a_folder_is_searched_for_the_split(tmp_path):
    rows = [ROWS["gsm8k"], {"question": "Why?", "answer": "#### 7"}]
    for name, row in (("X-v1-train.jsonl", rows[0]), ("latest.jsonl", rows[0]), ("X-v1-test.jsonl", rows[1])):
        written(tmp_path / name, [row])
    assert load("gsm8k", "test", tmp_path)[0].answer == "7"
    assert list(describe("gsm8k", "test", tmp_path)["files"]) == [str(tmp_path / "X-v1-test.jsonl")]
    for number, answer in ((2, 8), (10, 9)):
        written(tmp_path / f"X-v1-test{number}.jsonl", [{"question": "Why?", "answer": f"#### {answer}"}])
    assert [problem.answer for problem in load("gsm8k", "test", tmp_path)] == ["7", "8", "9"]
    written(tmp_path / "other-test.jsonl", rows)
    with pytest.raises(ValueError, match=r"expected one set of files for split 'test'; it holds X-v1-test.*other"):
        load("gsm8k", "test", tmp_path)


def test_wrong_requests_say_what_there_is(tmp_path):
    with pytest.raises(ValueError, match="unknown data set 'gsm9k'; known: gsm8k, "):
        load("gsm9k")
    with pytest.raises(ValueError, match="math500 has no split 'train'; it has test"):
        load("math500", "train")
    with pytest.raises(ValueError, match="no such file or folder"):
        load("gsm8k", "test", tmp_path / "missing")
    with pytest.raises(ValueError, match="it holds no readable file"):
        load("gsm8k", "test", tmp_path)
    (tmp_path / "test.csv").write_text("x")
    with pytest.raises(ValueError, match=r"expected one of .jsonl, .json, .parquet"):
        load("gsm8k", "test", tmp_path / "test.csv")
    with pytest.raises(ValueError, match="no rows for split 'test'"):
        load("gsm8k", "test", written(tmp_path / "test.jsonl", []))


def test_the_hub_is_asked_for_a_pinned_revision(monkeypatch):
    asked = []

    def load_dataset(repository, config=None, **options):
        asked.append((repository, config, options))
        name = next((name for name, source in SOURCES.items() if source.repository == repository), "livecodebench")
        row = ROWS.get(name) or ROWS["gsm-symbolic-p2"]
        return [{**row, "unique_id": config, "question_id": str(len(asked))}]

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    for name, source in SOURCES.items():
        asked.clear()
        assert load(name, source.splits[-1])
        record = describe(name, source.splits[-1])
        assert re.fullmatch("[0-9a-f]{40}", record["revision"])
        for repository, config, options in asked:
            assert record["revision"] in (options.get("revision"), options.get("data_files", "").partition("@")[2][:40])
            assert repository in (source.repository, "json")
            assert config in source.configs
            assert "trust_remote_code" not in options
        assert len(asked) == max(len(source.configs), len(source.files))


def test_without_a_network_the_error_says_which_files_to_name(monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("Couldn't reach the Hub\nbecause")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=unreachable))
    with pytest.raises(ValueError, match="cannot be read from the hub") as error:
        load("gsm8k", "test")
    assert "ASPRM_DATA=gsm8k=<file or folder>" in str(error.value)
    assert "data: {gsm8k: <file or folder>}" in str(error.value)


def test_without_datasets_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install datasets.*or give the path"):
        load("gsm8k")


# Real files


@pytest.mark.parametrize(
    ("name", "split", "file", "count"),
    [
        ("gsm8k", "train", "gsm8k", 7473),
        ("gsm8k", "test", "gsm8k", 1319),
        ("math500", "test", "math500", 500),
        ("leetcode", "train", "leetcode", 1570),
        ("leetcode", "test", "leetcode/LeetCodeDataset-v0.1.0-test.jsonl.gz", 175),
        ("leetcode", "test", "leetcode/1745_leetcode_problems_test.jsonl", 175),
    ],
)
def test_real_files_load_whole(name, split, file, count):
    problems = load(name, split, real_file(file))
    assert len(problems) == len({problem.id for problem in problems}) == count
    assert all(problem.prompt and problem.solution for problem in problems)


def test_the_authors_leetcode_file_is_the_published_one():
    theirs = {row["task_id"]: row["test"] for row in real_rows("leetcode/1745_leetcode_problems_test.jsonl")}
    problems = load("leetcode", "test", real_file("leetcode/LeetCodeDataset-v0.1.0-test.jsonl.gz"))
    assert {problem.id: problem.test for problem in problems} == theirs
