"""Programs: the one that a completion holds, and whether it passes the problem's test (paper §4).

A program runs in a sandbox of its own. The test runs in a second one, the judge's, and reaches the program only through
calls whose arguments and answers are plain data (`runner.py`). This module carries the calls and answers between the
two; neither the program nor the test runs in this process. Without bubblewrap only programs for synthetic problems,
which this package has made, are run.

Programs for synthetic problems are harmless, and a study has tens of thousands of them. To save time the program and
its judge then share one worker, which serves many programs, and verdicts are cached.
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

from asprm.grading.fences import python_blocks
from asprm.grading.sandbox import INSTALL, Limits, Sandbox, require_sandbox, sandbox_mode
from asprm.problems.problem import CodeProblem

OUTCOMES = ("passed", "failed", "error", "timeout", "memory", "no_code", "forbidden")
JUDGE = Limits(cpu_seconds=60, wall_seconds=120.0, memory=2 << 30)


@dataclass(frozen=True)
class CodeVerdict:
    """Whether a program passed, and why.

    outcome: one of OUTCOMES.
        failed: it gave a wrong answer.
        error: it raised an exception, is no valid program, or ended without an answer.
        timeout, memory: it went over a limit.
        no_code: the completion holds no complete program.
        forbidden: the sandbox stopped it (network, files, processes, size of the answer).
    detail: the failing line, the exception or the limit.
    seconds: wall time of the program.
    """

    passed: bool
    outcome: str
    detail: str
    seconds: float


def grade_code(completion: str, problem: CodeProblem, limits: Limits | None = None) -> CodeVerdict:
    """Whether the last complete ```python block of `completion` passes the problem's test.

    limits: by default the problem's processor time, five times that as wall time, and the defaults of `Limits`.
    SandboxUnavailable: bubblewrap does not work here and the problem is not synthetic.
    ValueError: the problem's own test does not run.
    """
    if sandbox_mode() == "none":
        if not problem.synthetic:
            require_sandbox()
        warnings.warn(
            f"without bubblewrap programs run under resource limits only; install it: {INSTALL}", stacklevel=2
        )
    code = extract_code(completion)
    if code is None:
        return CodeVerdict(False, "no_code", "no complete ```python block", 0.0)
    if limits is None:
        limits = Limits(cpu_seconds=problem.cpu_seconds, wall_seconds=5.0 * problem.cpu_seconds)
    if not problem.synthetic:
        return _grade(code, problem, limits)
    key = (problem, code, limits)
    if (known := _verdicts.get(key)) is not None:
        return known
    verdict = _grade_pair(code, problem, limits)
    if verdict.outcome != "timeout":  # which a busy machine may have caused
        if len(_verdicts) >= _MOST_VERDICTS:
            _verdicts.clear()
        _verdicts[key] = verdict
    return verdict


_MOST_VERDICTS = 100_000
_verdicts: dict[tuple[CodeProblem, str, Limits], CodeVerdict] = {}  # of synthetic problems


def grade_programs(
    pairs: Iterable[tuple[str, CodeProblem]], limits: Limits | None = None, workers: int | None = None
) -> Iterator[CodeVerdict]:
    """The verdicts on (completion, problem) pairs, in their order. Reads pairs only as it needs them.

    limits: as in `grade_code`. workers: how many programs run at a time; by default one per core.
    """
    workers = workers or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        jobs = (pool.submit(grade_code, *pair, limits) for pair in pairs)
        running = deque(islice(jobs, 2 * workers))
        while running:
            verdict = running.popleft().result()
            running.extend(islice(jobs, 1))
            yield verdict


def extract_code(completion: str) -> str | None:
    """The code of the last closed ```python block, without its indentation; None where there is no such block."""
    blocks = [block for block in python_blocks(completion) if block.closed]
    return textwrap.dedent(completion[blocks[-1].start : blocks[-1].end]) if blocks else None


class _Pool:
    """Idle workers: judges, and those that run program and judge of synthetic problems.

    A program from outside never gets one of them, but a new sandbox that ends with it.
    """

    def __init__(self) -> None:
        self.idle: dict[Limits, list[Sandbox]] = {}

    def take(self, limits: Limits, warm: bool = True) -> Sandbox:
        """An idle worker, or a new one. warm: whether a new one imports common modules, which makes forks slower."""
        try:
            return self.idle[limits].pop()
        except (KeyError, IndexError):
            return Sandbox(limits, warm=warm)

    def await_and_put(self, worker: Sandbox) -> None:
        """Wait until the worker's job has ended, then put it back; close it if it does not answer."""
        answer = worker.receive(time.monotonic() + 5)
        if answer and "ended" in answer:
            self.put(worker)
        else:
            worker.close()

    def put(self, worker: Sandbox) -> None:
        """Put back a worker that is ready for the next job."""
        self.idle.setdefault(worker.limits, []).append(worker)

    def close(self) -> None:
        """Close all idle workers."""
        for workers in self.idle.values():
            while workers:
                workers.pop().close()


_pool = _Pool()
atexit.register(_pool.close)
os.register_at_fork(after_in_child=lambda: _pool.idle.clear())  # after a fork the workers are the parent's


def _grade(code: str, problem: CodeProblem, limits: Limits) -> CodeVerdict:
    """The verdict from two sandboxes. The judge starts once the program is defined."""
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
    _pool.await_and_put(judge)
    program.close()
    return verdict


def _grade_pair(code: str, problem: CodeProblem, limits: Limits) -> CodeVerdict:
    """The verdict from one worker that runs both program and judge, for harmless programs."""
    worker = _pool.take(limits, warm=False)
    started = time.monotonic()
    job = {"role": "pair", "imports": problem.imports, "entry_point": problem.entry_point, "code": code}
    worker.send(job | {"cpu_seconds": limits.cpu_seconds, "answer": limits.answer})
    worker.send({"imports": problem.imports, "test": problem.test, "cases": problem.unpacked_cases()})
    answer = worker.receive_bytes(started + limits.wall_seconds)
    kind = _kind(answer)
    if answer is None or kind is None or kind == "oversize":
        worker.close()
        return _without_answer(answer, started, limits)
    _pool.put(worker)
    message = json.loads(answer)
    if kind == "broken":
        raise ValueError(f"problem {problem.id}: its own test does not run: {message['broken']}")
    if kind == "verdict":
        return _from_judge(message, started)
    return _without_answer(json.dumps(message["instead"]).encode(), started, limits)


def _carry(program: Sandbox, judge: Sandbox, problem: CodeProblem, started: float) -> CodeVerdict:
    """Carry the judge's calls to the program and the answers back, until there is a verdict."""
    deadline = started + program.limits.wall_seconds
    while True:
        message = judge.receive_bytes(time.monotonic() + JUDGE.wall_seconds) or b"{}"
        if _kind(message) == "verdict":
            return _from_judge(json.loads(message), started)
        if _kind(message) != "call":
            fault = json.loads(message).get("broken", "it ended without a verdict")
            raise ValueError(f"problem {problem.id}: its own test does not run: {fault}")
        program.send(message)
        answer = program.receive_bytes(deadline)
        if answer is None or _kind(answer) != "value":
            verdict = _without_answer(answer, started, program.limits)
            if answer is None or _kind(answer) != "raised" or verdict.outcome != "error":
                judge.send({"stop": True})
                return verdict
        judge.send(answer)  # the program's own exceptions too: a test may expect them


def _kind(message: bytes | None) -> str | None:
    """The first key of a message, read without parsing the message, which may be large."""
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
    """The verdict on a program that raised, ended or did not answer in time. body: its last message, if any."""
    seconds = time.monotonic() - started
    if body is None:
        late = seconds >= limits.wall_seconds
        detail = f"no answer in {limits.wall_seconds:g} s" if late else "its sandbox ended"
        return CodeVerdict(False, "timeout" if late else "error", detail, seconds)
    try:
        message = json.loads(body)
        return CodeVerdict(False, _outcome(message, limits), _detail(message, limits), seconds)
    except (ValueError, KeyError, TypeError, AttributeError):
        # The program itself wrote to the pipe.
        return CodeVerdict(False, "error", "its answer is no message", seconds)


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
