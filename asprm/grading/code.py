"""Programs: the one that a completion holds, and whether it passes the problem's test (paper §4).

A program runs in a sandbox of its own. The test runs in a second one, the judge's, and reaches the program only through
calls whose arguments and answers are plain data (`runner.py`). This module carries the calls and answers between the
two; neither the program nor the test runs in this process. Without bubblewrap only programs for synthetic problems,
which this package has made, are run.

Every job has a random number, which its verdict carries: an answer that does not fit is refused.

Programs for synthetic problems are harmless, and a study has tens of thousands of them. To save time the program and
its judge then share one worker, which serves many programs, and verdicts are cached.
"""

import atexit
import json
import os
import re
import secrets
import signal
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from asprm.grading.check import check_problem
from asprm.grading.fences import extract_code
from asprm.grading.sandbox import INSTALL, PACKAGES, Limits, Sandbox, require_sandbox, sandbox_mode
from asprm.problems.problem import CodeProblem

OUTCOMES = ("passed", "failed", "error", "timeout", "memory", "no_code", "forbidden")
JUDGE = Limits(cpu_seconds=60, wall_seconds=120.0, memory=2 << 30)
TOLERANCE = 1e-6  # that is usual where answers are compared within one


@dataclass(frozen=True)
class CodeVerdict:
    """Whether a program passed, and why.

    outcome: one of OUTCOMES.
        failed: it gave a wrong answer.
        error: it raised an exception, is no valid program, or ended without an answer.
        timeout, memory: it went over a limit, or its answer keeps the test from ending.
        no_code: the completion holds no block of Python, or only thinks of one.
        forbidden: the sandbox stopped it (network, files, processes, size of the answer).
    detail: the failing line, the exception or the limit.
    seconds: wall time of the program.
    """

    passed: bool
    outcome: str
    detail: str
    seconds: float


def grade_code(
    completion: str, problem: CodeProblem, limits: Limits | None = None, tolerance: float = 0.0
) -> CodeVerdict:
    """Whether the program in `completion` (`fences.extract_code`) passes the problem's test.

    limits: by default the problem's processor time, five times that as wall time, and the defaults of `Limits`.
    tolerance: by how much floats that the program returns, and numbers that it writes, may differ from those that the
        test compares them with: absolutely, or in relation to values above 1 (`judge.near`). 0: not at all.
    SandboxUnavailable: bubblewrap does not work here and the problem is not synthetic.
    ValueError: the fault is the problem's: its test, imports, entry point or cases are no Python or do not run.
    """
    if sandbox_mode() == "none":
        if not problem.synthetic:
            require_sandbox()
        warnings.warn(
            f"without bubblewrap programs run under resource limits only; install it: {INSTALL}", stacklevel=2
        )
    code = extract_code(completion, problem.entry_point)
    if code is None:
        return CodeVerdict(False, "no_code", "no block of Python", 0.0)
    check_problem(problem)
    if limits is None:
        limits = Limits(cpu_seconds=problem.cpu_seconds, wall_seconds=5.0 * problem.cpu_seconds)
    job = _Job(code, problem, limits, tolerance)
    if not problem.synthetic:
        return _grade(job)
    if (known := _verdicts.get(job)) is not None:
        return known
    verdict = _grade_pair(job)
    if verdict.outcome != "timeout":  # which a busy machine may have caused
        if len(_verdicts) >= _MOST_VERDICTS:
            _verdicts.clear()
        _verdicts[job] = verdict
    return verdict


def grade_programs(
    pairs: Iterable[tuple[str, CodeProblem]],
    limits: Limits | None = None,
    workers: int | None = None,
    tolerance: float = 0.0,
) -> Iterator[CodeVerdict]:
    """The verdicts on (completion, problem) pairs, in their order. Reads pairs only as it needs them.

    limits, tolerance: as in `grade_code`. workers: how many programs run at a time; by default one per core.
    """
    workers = workers or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        jobs = (pool.submit(grade_code, *pair, limits, tolerance) for pair in pairs)
        running = deque(islice(jobs, 2 * workers))
        while running:
            verdict = running.popleft().result()
            running.extend(islice(jobs, 1))
            yield verdict


@dataclass(frozen=True)
class _Job:
    """A program to judge, and what its workers are sent."""

    code: str
    problem: CodeProblem
    limits: Limits
    tolerance: float

    def program(self) -> dict:
        """What the program's worker needs."""
        problem = self.problem
        job = {"imports": problem.imports, "entry_point": problem.entry_point, "code": self.code}
        return job | {"cpu_seconds": self.limits.cpu_seconds, "answer": self.limits.answer, "number": ""}

    def judge(self, number: str) -> dict:
        """What the judge needs, with the number that its verdict must carry."""
        problem = self.problem
        try:
            cases = problem.unpacked_cases()
        except ValueError as error:
            raise self.broken(f"its cases cannot be read: {error}") from None
        job = {"imports": problem.imports, "entry_point": problem.entry_point, "test": problem.test}
        return (
            job
            | {"cases": cases, "tolerance": self.tolerance}
            | {"number": number, "cpu_seconds": max(_JUDGING, 2 * problem.cpu_seconds)}
        )

    def broken(self, fault: str) -> ValueError:
        """The error that tells that the problem itself is at fault."""
        return ValueError(f"problem {self.problem.id}: {fault}")


_JUDGING = 10  # seconds of processor time of a test, at least
_MOST_VERDICTS = 100_000
_verdicts: dict[_Job, CodeVerdict] = {}  # of synthetic problems


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

    def await_and_put(self, worker: Sandbox, number: str) -> None:
        """Wait until the worker's job has ended, then put it back; close it if it does not say so."""
        answer = worker.receive(time.monotonic() + 5)
        if answer and "ended" in answer and answer.get("number") == number:
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


def _grade(job: _Job) -> CodeVerdict:
    """The verdict from two sandboxes. The judge starts once the program is defined."""
    program = Sandbox(job.limits)
    try:
        started = time.monotonic()
        program.send(job.program() | {"role": "program"})
        answer = program.receive_bytes(started + job.limits.wall_seconds)
        if _kind(answer) == "broken":  # said before the program runs, so it cannot say so of itself
            raise job.broken(json.loads(answer or b"")["broken"])
        if _kind(answer) == "imported":
            answer = program.receive_bytes(started + job.limits.wall_seconds)
        if _kind(answer) != "ready":
            return _without_answer(answer, started, job.limits)
        judge, number = _pool.take(JUDGE), secrets.token_hex(16)
        try:
            judge.send(job.judge(number) | {"role": "judge"})
            verdict = _carry(program, judge, job, number, started)
        except BaseException:
            judge.close()
            raise
        if verdict.detail in (_UNJUDGED, _MISFIT):
            judge.close()
        else:
            _pool.await_and_put(judge, number)
        return verdict
    finally:
        program.close()


_UNJUDGED = "the test did not come to an end with its answer"
_MISFIT = "an answer that does not fit the job was refused"


def _grade_pair(job: _Job) -> CodeVerdict:
    """The verdict from one worker that runs both program and judge, for harmless programs."""
    number = secrets.token_hex(16)
    messages = job.program() | {"role": "pair"}, job.judge(number)
    worker = _pool.take(job.limits, warm=False)
    started = time.monotonic()
    for message in messages:
        worker.send(message)
    answer = worker.receive_bytes(started + job.limits.wall_seconds)
    kind = _kind(answer)
    if answer is None or kind not in ("broken", "verdict", "instead"):
        worker.close()
        return _without_answer(answer, started, job.limits)
    message = json.loads(answer)
    if message.get("number") != number:
        worker.close()
        return CodeVerdict(False, "error", _MISFIT, time.monotonic() - started)
    if message.get("clean"):
        _pool.put(worker)
    else:
        worker.close()
    if kind == "broken":
        raise job.broken(_test_fault(message))
    if kind == "verdict":
        return _from_judge(message, started)
    return _without_answer(json.dumps(message["instead"]).encode(), started, job.limits)


def _carry(program: Sandbox, judge: Sandbox, job: _Job, number: str, started: float) -> CodeVerdict:
    """Carry the judge's calls to the program and the answers back, until there is a verdict.

    A judge that ends without one, or takes too long, has been held by the program's answer, if there was one.
    ValueError: the problem's own test does not run.
    """
    deadline, answered = started + program.limits.wall_seconds, False
    while True:
        message = judge.receive_bytes(time.monotonic() + JUDGE.wall_seconds)
        if message is None or _kind(message) not in ("call", "verdict", "broken"):
            if answered:
                return CodeVerdict(False, "timeout", _UNJUDGED, time.monotonic() - started)
            raise job.broken("its own test does not run: it ended without a verdict")
        if _kind(message) == "call":
            program.send(message)
            answer = program.receive_bytes(deadline)
            if answer is None or _kind(answer) != "value":
                verdict = _without_answer(answer, started, program.limits)
                if answer is None or _kind(answer) != "raised" or verdict.outcome != "error":
                    judge.send({"stop": True})
                    return verdict
            judge.send(answer)  # the program's own exceptions too: a test may expect them
            answered = True
            continue
        verdict = json.loads(message)
        if verdict.get("number") != number:
            return CodeVerdict(False, "error", _MISFIT, time.monotonic() - started)
        if "broken" in verdict:
            raise job.broken(_test_fault(verdict))
        return _from_judge(verdict, started)


def _test_fault(message: dict) -> str:
    return (
        message["broken"] if message["broken"].startswith("its ") else f"its own test does not run: {message['broken']}"
    )


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
    if message["raised"] == "ModuleNotFoundError":
        where += f"; programs may import the standard library and, where installed, {', '.join(PACKAGES)}"
    return f"{message['raised']}: {message['text']}{where}"
