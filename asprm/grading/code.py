"""Programs: which one a completion gives, and whether it passes the problem's test (paper §4).

A program runs in a sandbox of its own. The test runs in another, the judge's, and meets the program only through calls
whose arguments and answers are plain data (`runner.py`), which this module carries from one to the other. Nothing of
either runs in this process. Where bubblewrap is missing, only programs for problems made by this package are run.

Those mean no harm, and a study has tens of thousands of them: program and judge share a worker that stays warm, in two
processes of which one is forked, and a verdict once found is kept.
"""

import atexit
import json
import os
import re
import signal
import textwrap
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from asprm.grading.sandbox import INSTALL, Limits, Sandbox, require_sandbox, sandbox_mode
from asprm.problems.problem import CodeProblem

OUTCOMES = ("passed", "failed", "error", "timeout", "memory", "no_code", "forbidden")
JUDGE = Limits(cpu_seconds=60, wall_seconds=120.0, memory=2 << 30)


@dataclass(frozen=True)
class CodeVerdict:
    """outcome: one of OUTCOMES. detail: the failing line, the exception, the limit. seconds: wall time of the program.

    failed: the program answered, wrongly. error: it raised, could not be read, or ended itself. timeout, memory: it
    used more than its limits. forbidden: it ran into a wall of the sandbox (network, files, processes, answer's size).
    """

    passed: bool
    outcome: str
    detail: str
    seconds: float


def grade_code(completion: str, problem: CodeProblem, limits: Limits | None = None) -> CodeVerdict:
    """Whether the last complete ```python block of `completion` passes the problem's test.

    limits: the problem's processor time, with five times that as wall time, and the other defaults of `Limits`.
    SandboxUnavailable: bubblewrap does not work here and the problem is not of a synthetic family.
    ValueError: the problem's own test does not run.
    """
    if sandbox_mode() == "none":
        if not problem.synthetic:
            require_sandbox()
        warnings.warn(f"without bubblewrap programs run under resource limits only; {INSTALL}", stacklevel=2)
    code = extract_code(completion)
    if code is None:
        return CodeVerdict(False, "no_code", "no complete ```python block", 0.0)
    if limits is None:
        limits = Limits(cpu_seconds=problem.cpu_seconds, wall_seconds=5.0 * problem.cpu_seconds)
    if not problem.synthetic:
        return _grade(code, problem, limits)
    key = (problem, code, limits)
    if key not in _known:
        if len(_known) >= _KEPT:
            _known.clear()
        verdict = _grade_pair(code, problem, limits)
        if verdict.outcome == "timeout":  # which a busy machine may bring about
            return verdict
        _known[key] = verdict
    return _known[key]


_KEPT = 100_000
_known: dict[tuple[CodeProblem, str, Limits], CodeVerdict] = {}  # of synthetic problems


def grade_programs(
    pairs: Iterable[tuple[str, CodeProblem]], limits: Limits | None = None, workers: int | None = None
) -> Iterator[CodeVerdict]:
    """`grade_code` of each (completion, problem), `workers` (one per core) at a time; in the order of the pairs."""
    workers = workers or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        jobs = (pool.submit(grade_code, *pair, limits) for pair in pairs)
        running = deque(islice(jobs, 2 * workers))
        while running:
            verdict = running.popleft().result()
            running.extend(islice(jobs, 1))
            yield verdict


_FENCE = re.compile(r"^[ \t]*```+[ \t]*(\w*)[^\n`]*$", re.MULTILINE)


def extract_code(completion: str) -> str | None:
    """The last ```python block that is closed, without its fences and indentation; None without one."""
    opened, found = None, None
    for fence in _FENCE.finditer(completion):
        if opened is None or fence[1]:  # a fence with a language always opens: the block before it was never closed
            opened = fence
            continue
        if opened[1].lower() in ("python", "python3", "py"):
            found = completion[opened.end() + 1 : fence.start()]
        opened = None
    return None if found is None else textwrap.dedent(found)


class _Pool:
    """Idle workers, which need no start: judges, and the pairs of synthetic problems, whose programs mean no harm.

    A program from outside gets a sandbox that is made for it and ends with it.
    """

    def __init__(self) -> None:
        self.idle: dict[Limits, list[Sandbox]] = {}

    def take(self, limits: Limits, warm: bool = True) -> Sandbox:
        """warm: a new one loads what problems tend to import; the less it holds, the faster it forks."""
        try:
            return self.idle[limits].pop()
        except (KeyError, IndexError):
            return Sandbox(limits, warm=warm)

    def give(self, worker: Sandbox) -> None:
        """Back into the pool once its job has ended, which is waited for; a worker that does not answer is closed."""
        answer = worker.receive(time.monotonic() + 5)
        if answer and "ended" in answer:
            self.give_back(worker)
        else:
            worker.close()

    def give_back(self, worker: Sandbox) -> None:
        """Back into the pool at once: it is ready for the next job."""
        self.idle.setdefault(worker.limits, []).append(worker)

    def close(self) -> None:
        for workers in self.idle.values():
            while workers:
                workers.pop().close()


_pool = _Pool()
atexit.register(_pool.close)
os.register_at_fork(after_in_child=lambda: _pool.idle.clear())  # after a fork the workers are the parent's


def _grade(code: str, problem: CodeProblem, limits: Limits) -> CodeVerdict:
    """Starts the program, and once it stands, its judge."""
    program = Sandbox(limits)
    started = time.monotonic()
    job = {"imports": problem.imports, "entry_point": problem.entry_point, "code": code}
    program.send(job | {"role": "program", "cpu_seconds": limits.cpu_seconds})
    answer = program.receive_bytes(started + limits.wall_seconds)
    if _kind(answer) != "ready":
        program.close()
        return _without_answer(answer, started, limits)
    judge = _pool.take(JUDGE)
    try:
        job = {"imports": problem.imports, "test": problem.test, "cases": problem.unpacked_cases()}
        judge.send(job | {"role": "judge", "cpu_seconds": JUDGE.cpu_seconds})
        verdict = _carry(program, judge, problem, started)
    except BaseException:
        program.close()
        judge.close()
        raise
    _pool.give(judge)
    program.close()
    return verdict


def _grade_pair(code: str, problem: CodeProblem, limits: Limits) -> CodeVerdict:
    """`_grade` in one warm worker, for programs that mean no harm."""
    worker = _pool.take(limits, warm=False)
    started = time.monotonic()
    job = {"role": "pair", "imports": problem.imports, "entry_point": problem.entry_point, "code": code}
    worker.send(job | {"cpu_seconds": limits.cpu_seconds, "answer": limits.answer})
    worker.send({"imports": problem.imports, "test": problem.test, "cases": problem.unpacked_cases()})
    answer = worker.receive_bytes(started + limits.wall_seconds)
    kind = _kind(answer)
    if kind is None or kind == "oversize":
        worker.close()
        return _without_answer(answer, started, limits)
    _pool.give_back(worker)
    message = json.loads(answer)
    if kind == "broken":
        raise ValueError(f"problem {problem.id}: its own test does not run: {message['broken']}")
    if kind == "verdict":
        return _from_judge(message, started)
    return _without_answer(json.dumps(message["instead"]).encode(), started, limits)


def _carry(program: Sandbox, judge: Sandbox, problem: CodeProblem, started: float) -> CodeVerdict:
    """Takes the judge's calls to the program and the answers back, until there is a verdict."""
    deadline = started + program.limits.wall_seconds
    while True:
        message = judge.receive_bytes(time.monotonic() + JUDGE.wall_seconds)
        if _kind(message) == "verdict":
            return _from_judge(json.loads(message), started)
        if _kind(message) != "call":
            what = json.loads(message or "{}").get("broken", "it ended without a verdict")
            raise ValueError(f"problem {problem.id}: its own test does not run: {what}")
        program.send(message)
        answer = program.receive_bytes(deadline)
        if _kind(answer) != "value":
            verdict = _without_answer(answer, started, program.limits)
            if _kind(answer) != "raised" or verdict.outcome != "error":
                judge.send({"stop": True})
                return verdict
        judge.send(answer)  # the program's own exceptions too: a test may want them


def _kind(message: bytes | None) -> str | None:
    """The first key of a message: values may be large and are nobody's business here."""
    match = re.match(rb'\{"(\w+)"', message or b"")
    return match[1].decode() if match else None


def _from_judge(message: dict, started: float) -> CodeVerdict:
    seconds = time.monotonic() - started
    if message["verdict"] == "passed":
        return CodeVerdict(True, "passed", "", seconds)
    if message["verdict"] == "failed":
        return CodeVerdict(False, "failed", message["text"], seconds)
    return CodeVerdict(False, "error", _exception(message), seconds)


def _without_answer(body: bytes | None, started: float, limits: Limits) -> CodeVerdict:
    """The verdict on a program that raised, ended or kept silent where an answer was due."""
    seconds = time.monotonic() - started
    if body is None:
        late = seconds >= limits.wall_seconds
        detail = f"no answer in {limits.wall_seconds:g} s" if late else "its sandbox ended"
        return CodeVerdict(False, "timeout" if late else "error", detail, seconds)
    try:
        message = json.loads(body)
        return CodeVerdict(False, _outcome(message, limits), _detail(message, limits), seconds)
    except (ValueError, KeyError, TypeError, AttributeError):
        return CodeVerdict(False, "error", "its answer is no message", seconds)  # written past the runner


def _outcome(message: dict, limits: Limits) -> str:
    if "oversize" in message or message.get("wall"):
        return "forbidden"
    if message.get("raised") == "MemoryError":
        return "memory"
    if "ended" in message and (message["ended"] == -signal.SIGXCPU or message["cpu"] >= limits.cpu_seconds):
        return "timeout"
    return "error"


def _detail(message: dict, limits: Limits) -> str:
    if "raised" in message:
        return _exception(message)
    if "oversize" in message:
        return f"an answer of more than {limits.answer} bytes"
    if _outcome(message, limits) == "timeout":
        return f"more than {limits.cpu_seconds} s of processor time"
    status = int(message["ended"])
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
    return f"{how} before it answered"


def _exception(message: dict) -> str:
    where = f" (line {message['line']})" if message.get("line") else ""
    return f"{message['raised']}: {message['text']}{where}"
