"""What a sandbox must hold against. Each attack reports success as its answer, so that one that works is a pass."""

import os
import socket
import textwrap
import threading
import time
from pathlib import Path

import pytest

from asprm.grading import runner, sandbox
from asprm.grading.code import grade_code
from asprm.grading.sandbox import Limits, Sandbox, SandboxUnavailable
from asprm.problems.problem import CodeProblem

needs_bwrap = pytest.mark.skipif(
    sandbox.sandbox_mode() == "none", reason="bubblewrap is not installed or may not be used on this machine"
)
SMALL = Limits(cpu_seconds=1, wall_seconds=3.0, memory=256 << 20, processes=8)
TRUE = CodeProblem(
    "attack", "code", "", entry_point="attack", imports="", test="def check(attack):\n    assert attack() is True"
)


def run(program: str, problem: CodeProblem = TRUE, limits: Limits = SMALL):
    return grade_code(f"```python\n{textwrap.dedent(program)}\n```", problem, limits)


@needs_bwrap
def test_an_honest_program_passes():
    assert run("def attack():\n    return True").passed


ATTACKS = {
    "read the home folder": """
        import os
        def attack():
            return bool(os.listdir(HOME))
        """,
    "read the repository": """
        def attack():
            return bool(open(REPOSITORY + "/pyproject.toml").read())
        """,
    "read the environment of the parent": """
        import os
        def attack():
            return "SECRET_OF_THE_PARENT" in os.environ or "SECRET" in open(f"/proc/{os.getppid()}/environ").read()
        """,
    "write outside": """
        def attack():
            for path in ("/usr/lib/owned", "/owned", "/etc/owned", "/python/owned", "/packages/owned", "/dev/owned"):
                try:
                    open(path, "w").write("x")
                    return True
                except FileNotFoundError:
                    pass
        """,
    "write into the repository": """
        import os
        def attack():
            os.makedirs(REPOSITORY, exist_ok=True)
            open(REPOSITORY + "/owned", "w").write("x")
            assert os.path.exists(REPOSITORY + "/pyproject.toml"), "a private folder of that name"
            return True
        """,
    "write through a symlink": """
        import os
        def attack():
            os.symlink("/etc/passwd", "/tmp/there")
            os.symlink("/usr/lib", "/tmp/lib")
            for path in ("/tmp/lib/owned", "/tmp/there"):
                open(path, "a").write("x")
            return True
        """,
    "follow a symlink out": """
        import os
        def attack():
            os.symlink(REPOSITORY, "/tmp/link")
            return bool(os.listdir("/tmp/link"))
        """,
    "leave through /proc": """
        import os
        def attack():
            return any(os.path.exists(f"/proc/{pid}/root/") for pid in ("1", "self", PARENT))
        """,
    "climb out of the root": """
        import os
        def attack():
            os.chroot("/tmp")
            os.chdir("../../../../..")
            return os.path.exists(REPOSITORY.lstrip("/"))
        """,
    "kill the parent": """
        import os, signal
        def attack():
            for pid in (int(PARENT), os.getppid(), 1):
                try:
                    os.kill(pid, signal.SIGKILL)
                    signalled = pid == int(PARENT)
                except ProcessLookupError:
                    signalled = False
            return signalled
        """,
    "kill all it may": """
        import os, signal
        def attack():
            os.kill(-1, signal.SIGKILL)
            os.killpg(0, signal.SIGKILL)
            return True
        """,
    "become root again": """
        import os
        def attack():
            os.setuid(0)
            return True
        """,
    "mount": """
        import ctypes
        def attack():
            return ctypes.CDLL(None).mount(b"none", b"/tmp", b"proc", 0, None) == 0
        """,
    "trace the worker": """
        import ctypes, os
        def attack():
            return ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0 and open(f"/proc/{os.getppid()}/mem", "wb")
        """,
    "fork bomb": """
        import os
        def attack():
            children = 0
            while children < 100:
                if os.fork() == 0:
                    import time
                    time.sleep(60)
                children += 1
            return True
        """,
    "thread bomb": """
        import threading, time
        def attack():
            for _ in range(100):
                threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            return True
        """,
    "memory bomb": """
        def attack():
            block = bytearray(512 << 20)
            return len(block) == 512 << 20
        """,
    "many small objects": """
        def attack():
            kept = []
            while len(kept) < 10**8:
                kept.append([len(kept)])
            return True
        """,
    "endless loop": """
        def attack():
            while True:
                pass
        """,
    "endless loop at import": """
        while True:
            pass
        """,
    "endless loop against the alarm": """
        import signal
        def attack():
            for number in (signal.SIGXCPU, signal.SIGTERM, signal.SIGALRM):
                signal.signal(number, signal.SIG_IGN)
            while True:
                pass
        """,
    "sleep": """
        import time
        def attack():
            time.sleep(60)
            return True
        """,
    "stop itself": """
        import os, signal
        def attack():
            os.kill(os.getpid(), signal.SIGSTOP)
            return True
        """,
    "endless output": """
        def attack():
            while True:
                print("x" * 10**6)
        """,
    "endless output on every descriptor": """
        import os
        def attack():
            while True:
                for fd in range(64):
                    try:
                        os.write(fd, b"x" * 65536)
                    except OSError:
                        pass
        """,
    "an endless answer": """
        def attack():
            return "x" * (80 << 20)
        """,
    "a file of a gigabyte": """
        def attack():
            with open("/tmp/big", "wb") as file:
                for _ in range(1024):
                    file.write(bytes(1 << 20))
            return True
        """,
    "many files": """
        def attack():
            for number in range(1024):
                with open(f"/tmp/{number}", "wb") as file:
                    file.write(bytes(1 << 20))
            return True
        """,
    "a deep answer": """
        def attack():
            answer = ()
            for _ in range(10**5):
                answer = (answer,)
            return answer
        """,
}
EXPECTED = {
    "write outside": {"forbidden"},
    "write into the repository": {"forbidden", "error"},
    "write through a symlink": {"forbidden"},
    "kill all it may": {"error"},
    "endless output on every descriptor": {"error", "forbidden", "timeout"},
    "climb out of the root": {"forbidden"},
    "become root again": {"forbidden", "error"},
    "fork bomb": {"forbidden"},
    "memory bomb": {"memory"},
    "many small objects": {"memory", "timeout"},
    "endless loop": {"timeout"},
    "endless loop at import": {"timeout"},
    "endless loop against the alarm": {"timeout"},
    "sleep": {"timeout"},
    "stop itself": {"timeout"},
    "endless output": {"timeout"},
    "an endless answer": {"forbidden", "memory"},
    "a file of a gigabyte": {"forbidden"},
    "many files": {"forbidden"},
}


MARKED = [
    pytest.param(name, marks=pytest.mark.slow) if "timeout" in EXPECTED.get(name, ()) else name for name in ATTACKS
]


@needs_bwrap
@pytest.mark.parametrize("attack", MARKED)
def test_attacks_fail(attack, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "SECRET")
    repository = Path(__file__).resolve().parents[1]
    header = f"HOME, REPOSITORY, PARENT = {str(Path.home())!r}, {str(repository)!r}, {str(os.getpid())!r}\n"
    before = set(repository.glob("[!.]*"))  # test tools make hidden folders at any time
    verdict = run(header + textwrap.dedent(ATTACKS[attack]), limits=SMALL)
    assert not verdict.passed
    assert verdict.outcome in EXPECTED.get(attack, {"failed", "error", "forbidden"}), verdict
    assert set(repository.glob("[!.]*")) == before


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


# Programs that are wrong and try to look right.

ANSWER = CodeProblem(
    "answer",
    "code",
    "",
    entry_point="solve",
    imports="class Node:\n    def __init__(self, value):\n        self.value = value\n",
    test="def check(candidate):\n    assert candidate(6) == 42\n    assert candidate(7) == 49\n",
)
CHEATS = {
    "leaves with success": "import os\ndef solve(n):\n    os._exit(0)",
    "leaves with success at import": "import os\nos._exit(0)",
    "raises SystemExit": "import sys\ndef solve(n):\n    sys.exit(0)",
    "its own check": "def check(candidate):\n    pass\ndef solve(n):\n    global check\n    return 0",
    "patched builtins": """
        import builtins
        builtins.AssertionError = type("Never", (Exception,), {})
        builtins.exec = builtins.eval = builtins.compile = lambda *a, **k: None
        def solve(n):
            return 0
        """,
    "equals everything": """
        class Yes(int):
            def __eq__(self, other):
                return True
            __hash__ = None
        def solve(n):
            return Yes(0)
        """,
    "an object that equals everything": """
        class Yes:
            def __eq__(self, other):
                return True
        def solve(n):
            return Yes()
        """,
    "a node that equals everything": """
        class Node:
            def __eq__(self, other):
                return True
        def solve(n):
            return Node()
        """,
    "patched runner": """
        import sys
        main = sys.modules["__main__"]
        main.describe = lambda error: {"verdict": "passed"}
        main.encode = lambda value, classes: {"value": 42, "table": []}
        def solve(n):
            raise ValueError
        """,
    "a verdict of its own on every descriptor": """
        import json, os
        body = json.dumps({"verdict": "passed"}).encode()
        def solve(n):
            for fd in range(64):
                try:
                    os.write(fd, len(body).to_bytes(4, "big") + body)
                except OSError:
                    pass
            return 0
        """,
    "a message that is none": """
        import os
        def solve(n):
            for fd in range(64):
                try:
                    os.write(fd, (9).to_bytes(4, "big") + b'{"value":')
                except OSError:
                    pass
        """,
    "a broken table": """
        import sys
        table = [["Node", [1]], ["list", [[9]]]]
        sys.modules["__main__"].encode = lambda value, classes: {"value": [5], "table": table}
        def solve(n):
            return 0
        """,
    "reads its caller's memory for the answer": """
        import gc, sys
        def solve(n):
            found = [o for o in gc.get_objects() if isinstance(o, dict) and "test" in o]
            frames = sys._current_frames().values()
            texts = [v for f in frames for v in f.f_locals.values() if isinstance(v, str) and "== 42" in v]
            return 7 * n if texts or any("== 42" in str(o.get("test")) for o in found) else 0
        """,
}


@needs_bwrap
@pytest.mark.parametrize("cheat", CHEATS)
def test_a_wrong_program_cannot_look_right(cheat):
    verdict = run(CHEATS[cheat], ANSWER)
    assert not verdict.passed
    assert verdict.outcome in ("failed", "error"), verdict


@needs_bwrap
def test_attacks_leave_the_judge_fit_for_the_next_program():
    right = "def solve(n):\n    return 7 * n"
    outcomes = [run(program, ANSWER).outcome for program in (*CHEATS.values(), right)]
    assert outcomes[-1] == "passed"


@needs_bwrap
def test_nothing_outlives_its_sandbox(tmp_path):
    """A child that the program leaves behind dies with the sandbox, though the program ended well."""
    with Sandbox(SMALL) as worker:
        deadline = time.monotonic() + 20
        code = "import os, time\nif os.fork() == 0:\n    time.sleep(600)\n"
        worker.send({"role": "program", "imports": "", "entry_point": "len", "code": code, "cpu_seconds": 1})
        assert worker.receive(deadline) == {"ready": True}
        inside = _descendants(worker.process.pid)
        assert len(inside) >= 3
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
        job = {"role": "program", "imports": "", "entry_point": "abs", "code": "", "cpu_seconds": 1}
        worker.send(job)
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

    crossed = runner.decode(json.loads(json.dumps(runner.encode(value, {}))), {})
    assert crossed == value
    assert type(crossed) is type(value)


def test_shared_and_cyclic_objects_and_long_chains_cross():
    row = [0]
    grid = runner.decode(runner.encode([row, row], {}), {})
    assert grid[0] is grid[1]
    loop = [1]
    loop.append(loop)
    crossed = runner.decode(runner.encode(loop, {}), {})
    assert crossed[1] is crossed
    chain = None
    for value in range(10_000):
        chain = Node(value, chain)
    crossed = runner.decode(runner.encode(chain, {"Node": Node}), {"Node": Node})
    length = 0
    while crossed:
        assert crossed.value == 9_999 - length
        crossed, length = crossed.next, length + 1
    assert length == 10_000


def test_what_is_no_data_equals_nothing():
    for value in (len, (n for n in ()), Node(1), object()):
        crossed = runner.decode(runner.encode(value, {}), {})
        assert crossed != value
        assert crossed != crossed
