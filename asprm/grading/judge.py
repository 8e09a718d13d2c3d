"""Judge: how a problem's test judges a program that runs elsewhere.

Runs inside sandboxes, so it imports the standard library only. The test's `candidate` is a stand-in, which sends the
arguments out and receives the program's answer as plain data. So the program never meets the test, and nothing that it
does to its own interpreter (`os._exit(0)`, its own `check`, objects that equal everything) can look like a pass.

Each call has a random number, and an answer without its call's number is refused.
"""

from __future__ import annotations

import builtins
import contextlib
import math
import os
import re
import signal
import sys
import types
from collections.abc import Callable, Iterator

from asprm.grading.program import last_line
from asprm.grading.values import Opaque, decode, encode, receive, send

_READING = 5  # seconds of processor time that reading one answer may take


class Stop(BaseException):
    """The program is gone, so there is nothing left to judge."""


def run_judge(job: dict, inbox: int, outbox: int) -> None:
    """Run `check(candidate)` and send one verdict, with the job's number."""

    def ask(call: dict) -> dict:
        send(outbox, call)
        reply = receive(inbox)
        if not reply or "stop" in reply:
            raise Stop
        return reply

    verdict = judge(job, ask)
    if verdict:
        send(outbox, verdict | {"number": job["number"]})


def judge(job: dict, ask: Callable[[dict], dict]) -> dict | None:
    """The verdict of `check(candidate)`; None where `ask` raised `Stop`.

    job: imports, entry_point, test, cases and tolerance of the problem.
    ask: brings a call to the program, and its answer back.
    """
    # 1. The problem's own code. A test may name the function that it tests (HumanEval/33).
    module = sys.modules["judge"] = types.ModuleType("judge")
    space = vars(module)
    sys.set_int_max_str_digits(0)
    try:
        exec(compile(job["imports"], "<imports>", "exec"), space)
        classes = {name: kind for name, kind in space.items() if isinstance(kind, type) and kind.__module__ == "judge"}
        candidate, raised = _stand_in(job, classes, ask)
        if job["entry_point"].isidentifier():
            space[job["entry_point"]] = candidate
        space["CASES"] = job["cases"]
        exec(compile(job["test"], "<test>", "exec"), space)
        check = space["check"]
    except BaseException as error:
        return {"broken": f"{type(error).__name__}: {error}"}

    # 2. Run the test.
    try:
        check(candidate)
        return {"verdict": "passed"}
    except Stop:
        return None
    except BaseException as error:
        reply = next((reply for own, reply in raised if own is error), None)
        if reply is not None:  # the program's own exception came through the test
            return {"verdict": "raised", **reply}
        return {"verdict": "failed", "text": _failed_line(error, job["test"])}


def _stand_in(job: dict, classes: dict[str, type], ask: Callable[[dict], dict]) -> tuple[Callable, list]:
    """The function that stands for the program, and the list of (error, reply) that it has raised so far."""
    raised: list[tuple[BaseException, dict]] = []
    real, text = near(job["tolerance"]) if job["tolerance"] else (None, str)

    def candidate(*args: object, **kwargs: object) -> object:
        number = os.urandom(8).hex()
        try:
            reply = ask({"call": encode([list(args), kwargs], classes), "number": number})
            if reply.get("number") != number:
                raise ValueError("it is not the answer to this call")
            if "value" in reply:
                with _timer():
                    value = decode(reply["value"], classes, real)
                    if "arguments" in reply:
                        _write_back([args, kwargs], decode(reply["arguments"], classes, real))
                return text(value) if isinstance(value, str) and not job["entry_point"] else value
            kind = getattr(builtins, reply["raised"], RuntimeError)
            known = isinstance(kind, type) and issubclass(kind, Exception)
            error = (kind if known else RuntimeError)(reply["text"])
        except Exception as broken:
            reply, error = {"raised": type(broken).__name__, "text": f"the answer is malformed: {broken}"[:200]}, broken
        raised.append((error, reply))
        raise error

    return candidate, raised


@contextlib.contextmanager
def _timer() -> Iterator[None]:
    """TimeoutError: reading the answer takes too long, as that of a set of values whose hashes collide."""

    def late(*_: object) -> None:
        raise TimeoutError(f"reading it took more than {_READING} s")

    signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, _READING)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)


def _write_back(old: list, new: list) -> None:
    """Change the arguments `old` in place, as the program did to its own."""
    pairs = [*zip(old[0], new[0], strict=True), *((old[1][name], new[1][name]) for name in old[1])]
    for ours, theirs in pairs:
        if isinstance(ours, list):
            ours[:] = theirs
        elif isinstance(ours, (dict, set)):
            ours.clear()
            ours.update(theirs)
        elif hasattr(ours, "__dict__") and not isinstance(ours, Opaque):
            vars(ours).update(vars(theirs))


def _failed_line(error: BaseException, test: str) -> str:
    line = last_line(error, "<test>")
    text = test.splitlines()[line - 1].strip()[:200] if line else ""
    return text if isinstance(error, AssertionError) else f"{type(error).__name__}: {error} in {text}"[:300]


# --- numbers within a tolerance ---------------------------------------------------------------------------------------

_WORDS = re.compile(r"(\s+)")
_REAL = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def near(tolerance: float) -> tuple[type[float], type[str]]:
    """Types whose values equal what differs by at most `tolerance`, or by that part of a value above 1.

    The first is for floats. The second is for what a program wrote: words that are numbers, of which at least one is no
    whole number, are compared by value, everything else by its characters.
    """

    def close(ours: float, theirs: float) -> bool:
        if not (math.isfinite(ours) and math.isfinite(theirs)):
            return ours == theirs
        return abs(ours - theirs) <= tolerance * max(1.0, abs(ours), abs(theirs))

    class Near(float):
        def __eq__(self, other: object) -> bool:
            if isinstance(other, (int, float)) and not isinstance(other, bool):
                with contextlib.suppress(OverflowError):  # a whole number beyond all floats
                    return close(float(self), float(other))
            return float(self) == other

        def __ne__(self, other: object) -> bool:
            return not self == other

        __hash__ = float.__hash__

    def same(ours: str, theirs: str) -> bool:
        whole = ours.lstrip("+-").isdigit() and theirs.lstrip("+-").isdigit()
        numbers = _REAL.fullmatch(ours) and _REAL.fullmatch(theirs) and not whole
        return ours == theirs or (bool(numbers) and close(float(ours), float(theirs)))

    class NearText(str):
        def __eq__(self, other: object) -> bool:
            if not isinstance(other, str):
                return False
            ours, theirs = _WORDS.split(str(self)), _WORDS.split(str(other))
            return len(ours) == len(theirs) and all(map(same, ours, theirs))

        def __ne__(self, other: object) -> bool:
            return not self == other

        __hash__ = str.__hash__

        def split(self, *separators: object, **options: object) -> list:
            return [NearText(part) for part in str.split(self, *separators, **options)]  # pyright: ignore

        def splitlines(self, *keep: object, **options: object) -> list:
            return [NearText(part) for part in str.splitlines(self, *keep, **options)]  # pyright: ignore

        def strip(self, *characters: object) -> NearText:
            return NearText(str.strip(self, *characters))  # pyright: ignore

        def rstrip(self, *characters: object) -> NearText:
            return NearText(str.rstrip(self, *characters))  # pyright: ignore

        def lstrip(self, *characters: object) -> NearText:
            return NearText(str.lstrip(self, *characters))  # pyright: ignore

    return Near, NearText
