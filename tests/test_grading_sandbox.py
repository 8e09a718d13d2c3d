"""What a sandbox must hold against. Each attack reports success as its answer, so that one that works is a pass."""

import json
import os
import shutil
import socket
import subprocess
import textwrap
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from attacks import ATTACKS, CHEATS, EXPECTED, HEADER

from asprm.grading import code, sandbox, values
from asprm.grading.code import grade_code
from asprm.grading.sandbox import Limits, Sandbox, SandboxUnavailable
from asprm.problems.problem import CodeProblem

needs_bwrap = pytest.mark.skipif(
    sandbox.sandbox_mode() == "none", reason="bubblewrap is not installed or may not be used on this machine"
)
SMALL = Limits(cpu_seconds=1, wall_seconds=3.0, memory=256 << 20, processes=8)
MODES = ["root", "user"] if sandbox.sandbox_mode() == "root" else ["user"]
TRUE = CodeProblem("attack", "code", "", entry_point="attack", test="def check(attack):\n    assert attack() is True")
ANSWER = CodeProblem(
    "answer",
    "code",
    "",
    entry_point="solve",
    imports="class Node:\n    def __init__(self, value):\n        self.value = value\n",
    test="def check(candidate):\n    assert candidate(6) == 42\n    assert candidate(7) == 49\n",
)
REPOSITORY = Path(__file__).resolve().parents[1]


def run(program: str, problem: CodeProblem = TRUE, limits: Limits = SMALL):
    return grade_code(f"```python\n{textwrap.dedent(program)}\n```", problem, limits)


POOLS: dict[str, code._Pool] = {}  # of workers, by mode


@pytest.fixture(scope="module", autouse=True)
def end_workers():
    yield
    for pool in POOLS.values():
        pool.close()


@pytest.fixture(params=[MODES[0], *(pytest.param(mode, marks=pytest.mark.slow) for mode in MODES[1:])])
def mode(request, monkeypatch):
    """Each way in which bubblewrap works here, with workers of its own."""
    for module in (code, sandbox):
        monkeypatch.setattr(module, "sandbox_mode", lambda: request.param)
    monkeypatch.setattr(code, "_pool", POOLS.setdefault(request.param, code._Pool()))
    return request.param


@pytest.fixture(params=["apart", "pair"])
def problems(request, monkeypatch):
    """What attacks and cheats are judged by: in two sandboxes, or by a worker that judges program after program."""
    monkeypatch.setattr(code, "_verdicts", {})
    return [replace(problem, synthetic=request.param == "pair") for problem in (TRUE, ANSWER)]


def assert_right_and_wrong_are_told_apart(problem: CodeProblem) -> None:
    assert run("def solve(n):\n    return 7 * n", problem).passed
    if problem.synthetic:  # by the same worker
        assert run("def solve(n):\n    return 8 * n", problem).outcome == "failed"


@needs_bwrap
def test_an_honest_program_passes(mode, problems):
    assert run("def attack():\n    return True", problems[0]).passed
    assert_right_and_wrong_are_told_apart(problems[1])


MARKED = [
    pytest.param(name, marks=pytest.mark.slow) if "timeout" in EXPECTED.get(name, ()) else name for name in ATTACKS
]


def attack_text(name: str) -> str:
    places = f"HOME, REPOSITORY, PARENT = {str(Path.home())!r}, {str(REPOSITORY)!r}, {str(os.getpid())!r}\n"
    return places + HEADER + textwrap.dedent(ATTACKS[name])


@needs_bwrap
@pytest.mark.parametrize("attack", MARKED)
def test_attacks_fail_and_leave_the_judge_fit(attack, mode, problems, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "SECRET")
    before = set(REPOSITORY.glob("[!.]*"))  # test tools make hidden folders at any time
    verdict = run(attack_text(attack), problems[0])
    assert not verdict.passed
    assert verdict.outcome in EXPECTED.get(attack, {"failed", "error", "forbidden"}), verdict
    assert set(REPOSITORY.glob("[!.]*")) == before
    assert_right_and_wrong_are_told_apart(problems[1])


@needs_bwrap
@pytest.mark.parametrize("cheat", CHEATS)
def test_a_wrong_program_cannot_look_right(cheat, mode, problems):
    verdict = run(CHEATS[cheat], problems[1])
    assert not verdict.passed
    assert verdict.outcome in ("failed", "error"), verdict
    assert_right_and_wrong_are_told_apart(problems[1])


def test_there_are_attacks_of_all_kinds():
    assert len(ATTACKS) + len(CHEATS) >= 70


# What the filter alone prevents. It gives a program neither the judge's memory nor its descriptors.
BY_THE_FILTER = {
    "open the judge as a file",
    "end the judge by a limit of time",
    "take the judge's descriptors by a limit",
    "slow the judge down",
    "let the judge wait for idle time",
    "bind the judge to one core",
    "the judge's disk last",
}


@needs_bwrap
@pytest.mark.parametrize("attack", [name for name in ATTACKS if "judge" in name and name not in BY_THE_FILTER])
def test_the_judge_is_out_of_reach_even_without_a_filter_of_calls(attack, mode, problems, monkeypatch):
    monkeypatch.setattr(sandbox, "call_filter", lambda: b"")
    monkeypatch.setattr(code, "_pool", code._Pool())
    assert not run(attack_text(attack), problems[0]).passed
    assert_right_and_wrong_are_told_apart(problems[1])
    code._pool.close()


ORDINARY = """
import json, sys
sys.path.insert(0, sys.argv[1])
from asprm.grading.code import grade_code
from asprm.grading.sandbox import Limits, sandbox_mode
from asprm.problems.problem import CodeProblem
jobs = json.load(sys.stdin)
limits = Limits(**jobs["limits"])
for name, problem, program in jobs["programs"]:
    for synthetic in (False, True):
        verdict = grade_code("```python\\n" + program + "\\n```", CodeProblem(**problem, synthetic=synthetic), limits)
        print(json.dumps([sandbox_mode(), name, verdict.outcome]))
"""


@needs_bwrap
@pytest.mark.slow
def test_an_ordinary_user_is_as_safe():
    """The system's Python runs everything as `nobody`: a verdict that slips would be seen in the next program."""
    python = "/usr/bin/python3"
    ordinary = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-B"]
    if os.geteuid() != 0 or not shutil.which("setpriv") or not Path(python).exists():
        pytest.skip("needs root, setpriv and the system's Python to become another user")
    old = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); import asprm; sys.exit(sys.version_info < (3, 11))"
    if subprocess.run([*ordinary, "-c", old], cwd="/", stderr=subprocess.DEVNULL).returncode:
        pytest.skip("the system's Python is older than 3.11, or another user may not read the repository")
    fields = ("id", "domain", "prompt", "entry_point", "imports", "test")
    true, answer = ({name: vars(problem)[name] for name in fields} for problem in (TRUE, ANSWER))
    bad = [(name, true, attack_text(name)) for name in ATTACKS if "timeout" not in EXPECTED.get(name, ())]
    bad += [(name, answer, textwrap.dedent(program)) for name, program in CHEATS.items()]
    right = ("right", answer, "def solve(n):\n    return 7 * n")
    jobs = {"limits": asdict(SMALL), "programs": [job for attack in bad for job in (attack, right)]}
    command = [*ordinary, "-c", ORDINARY, str(REPOSITORY)]
    done = subprocess.run(command, input=json.dumps(jobs), cwd="/", capture_output=True, text=True)
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    if verdicts and verdicts[0][0] == "none":
        pytest.skip("an ordinary user may not make name spaces here")
    assert len(verdicts) == 4 * len(bad), done.stderr
    assert {mode for mode, _, _ in verdicts} == {"user"}
    assert [name for _, name, outcome in verdicts if (outcome == "passed") != (name == "right")] == []


@needs_bwrap
def test_there_is_no_network():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        verdict = run(f"""
            import socket
            def attack():
                socket.create_connection(("127.0.0.1", {listener.getsockname()[1]}), timeout=1)
                return True
            """)
        assert verdict.outcome == "forbidden", verdict
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    abstract = f"\0asprm-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(abstract)
        listener.listen()
        verdict = run(f"""
            import socket
            def attack():
                socket.socket(socket.AF_UNIX).connect({abstract!r})
                return True
            """)
        assert verdict.outcome == "forbidden", verdict


def program_job(code: str) -> dict:
    job = {"role": "program", "imports": "", "entry_point": "abs", "code": code, "cpu_seconds": 1}
    return job | {"number": "1"}


@needs_bwrap
@pytest.mark.parametrize("mode", MODES)
def test_nothing_outlives_its_sandbox(mode):
    """The program and its threads die with the sandbox, though the program ended well."""
    with Sandbox(SMALL, mode=mode) as worker:
        deadline = time.monotonic() + 20
        worker.send(program_job("import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"))
        assert worker.receive(deadline) == {"imported": True}
        assert worker.receive(deadline) == {"ready": True}
        inside = _descendants(worker.process.pid)
        assert len(inside) >= 2
    while any(_alive(pid) for pid in inside) and time.monotonic() < deadline:
        os.sched_yield()
    assert not any(_alive(pid) for pid in inside)


def _descendants(pid: int) -> list[int]:
    children = [int(p) for task in Path(f"/proc/{pid}/task").iterdir() for p in (task / "children").read_text().split()]
    return children + [grandchild for child in children for grandchild in _descendants(child)]


def _alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@needs_bwrap
def test_a_worker_started_by_a_thread_outlives_the_thread():
    started = []
    thread = threading.Thread(target=lambda: started.append(Sandbox(SMALL)))
    thread.start()
    thread.join()
    with started[0] as worker:
        worker.send(program_job(""))
        assert worker.receive(time.monotonic() + 20) == {"imported": True}
        assert worker.receive(time.monotonic() + 20) == {"ready": True}


# Without bubblewrap


def test_programs_from_outside_are_refused_without_bubblewrap(monkeypatch):
    monkeypatch.setattr("asprm.grading.code.sandbox_mode", lambda: "none")
    monkeypatch.setattr(sandbox, "sandbox_mode", lambda: "none")
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    with pytest.raises(SandboxUnavailable, match="apt-get install bubblewrap"):
        run("def attack():\n    return True")


def test_synthetic_problems_run_under_limits_with_a_warning(monkeypatch):
    monkeypatch.setattr("asprm.grading.code.sandbox_mode", lambda: "none")
    monkeypatch.setattr(sandbox, "sandbox_mode", lambda: "none")
    problem = CodeProblem(**{**vars(ANSWER), "synthetic": True})
    limits = Limits(cpu_seconds=1, wall_seconds=3.0, memory=300 << 20)
    with pytest.warns(UserWarning, match="without bubblewrap"):
        assert run("def solve(n):\n    return 7 * n", problem, limits).passed
    with pytest.warns(UserWarning, match="without bubblewrap"):
        assert run("def solve(n):\n    while True: pass", problem, limits).outcome == "timeout"


# What crosses between program and judge


class Node:
    def __init__(self, value, next=None):
        self.value, self.next = value, next


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(10**40),
        0.1,
        float("inf"),
        "\ud800é",
        b"\x00\xff",
        1 + 2j,
        [],
        [1, [2, (3, 4)], {5: {"six"}, (7, frozenset({8})): None}],
        (((((),),),),),
    ],
)
def test_plain_data_crosses_unchanged(value):
    import json

    crossed = values.decode(json.loads(json.dumps(values.encode(value, {}))), {})
    assert crossed == value
    assert type(crossed) is type(value)


def test_shared_and_cyclic_objects_and_long_chains_cross():
    row = [0]
    grid = values.decode(values.encode([row, row], {}), {})
    assert grid[0] is grid[1]
    loop = [1]
    loop.append(loop)
    crossed = values.decode(values.encode(loop, {}), {})
    assert crossed[1] is crossed
    chain = None
    for value in range(10_000):
        chain = Node(value, chain)
    crossed = values.decode(values.encode(chain, {"Node": Node}), {"Node": Node})
    length = 0
    while crossed:
        assert crossed.value == 9_999 - length
        crossed, length = crossed.next, length + 1
    assert length == 10_000


def test_what_is_no_data_equals_nothing():
    for value in (len, (n for n in ()), Node(1), object()):
        crossed = values.decode(values.encode(value, {}), {})
        assert crossed != value
        assert crossed != crossed
