r"""Two single expressions, compared by math-verify in a process of its own.

sympy evaluates what it reads, so `9**9**9` would fill the memory. Here it fills the memory of a worker, up to `MEMORY`
bytes. All comparisons of one answer, the elements of a list among them, may use `CPU_SECONDS` of processor time
together (`one_limit`), which does not depend on how busy the machine is. When a limit kills the worker, another takes
its place and the verdict is "different". No signal handlers are used in the calling process, so any thread may call.
"""

import atexit
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from itertools import accumulate
from queue import Empty, LifoQueue
from typing import TYPE_CHECKING, Any, cast
from zlib import crc32

if TYPE_CHECKING:
    from sympy import Symbol

CPU_SECONDS = 3
WALL_SECONDS = 60.0  # ends only a worker that hangs: a busy machine must not change verdicts
MEMORY = 2 << 30
DEEPEST = 40  # brackets open at the same time: the parser's time grows fast with them


_left: ContextVar[float | None] = ContextVar("seconds left", default=None)


@contextmanager
def one_limit() -> Iterator[None]:
    """All comparisons inside share one limit of processor time."""
    token = _left.set(CPU_SECONDS)
    try:
        yield
    finally:
        _left.reset(token)


def same_expression(answer: str, gold: str) -> tuple[bool, str]:
    """Whether two tidied expressions have the same value, and why."""
    if max(_depth(answer), _depth(gold)) > DEEPEST:
        return False, "nested too deeply"
    shared = _left.get()
    seconds = CPU_SECONDS if shared is None else shared
    stopped = False, f"comparison stopped after {CPU_SECONDS} s of processor time or {MEMORY >> 30} GiB"
    if seconds <= 0:
        return stopped
    with _running:
        worker = _take()
        try:
            reply = worker.ask(answer, gold, seconds)
        except BaseException:
            worker.stop()
            raise
        if reply is None:
            worker.stop()
        else:
            _idle.put(worker)
    if shared is not None:
        _left.set(0 if reply is None else shared - reply["seconds"])
    return stopped if reply is None else (bool(reply["same"]), reply["reason"])


def _depth(text: str) -> int:
    """The greatest number of brackets open at the same time."""
    return max(accumulate((c in "([{") - (c in ")]}") for c in text), default=0)


class _Worker:
    """The process `python -m asprm.grading.symbolic BYTES`: one JSON line asks, one answers."""

    def __init__(self) -> None:
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "asprm.grading.symbolic", str(MEMORY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.questions, self.replies = self.process.stdin, self.process.stdout
        self._read()  # its first line says that math-verify is imported: that time counts for no comparison

    def ask(self, answer: str, gold: str, seconds: float) -> dict | None:
        """The worker's reply, for which it may use so many seconds; None when it died or hung."""
        try:
            self.questions.write(json.dumps([answer, gold, seconds]).encode() + b"\n")
            self.questions.flush()
        except BrokenPipeError:
            return None
        return self._read()

    def _read(self) -> dict | None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.replies, selectors.EVENT_READ)
            if not selector.select(WALL_SECONDS):
                return None
        line = self.replies.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.questions.close()
        self.replies.close()


_idle: LifoQueue = LifoQueue()
_running = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))  # limits how many work at a time


def _take() -> _Worker:
    try:
        return _idle.get_nowait()
    except Empty:
        return _Worker()


def _forget() -> None:
    """For a forked child: the workers and their pipes belong to its parent."""
    global _idle, _running
    _idle = LifoQueue()
    _running = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))


def _close() -> None:
    while not _idle.empty():
        _idle.get().stop()


os.register_at_fork(after_in_child=_forget)
atexit.register(_close)


# --- in the worker ----------------------------------------------------------------------------------------------------


def _serve(memory: int) -> None:
    """Answer one line after the other, within the limits."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # so that what a library prints is no reply
    _same_value("x", "1")  # imports all that comparisons need
    print("{}", file=out, flush=True)
    for line in sys.stdin:
        answer, gold, seconds = json.loads(line)
        start = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, seconds)  # of processor time; its signal ends the process
        try:
            same = _same_value(answer, gold)
            reply = {"same": same, "reason": "same value" if same else "different value"}
        except (Exception, RecursionError) as error:
            reply = {"same": False, "reason": f"not comparable: {type(error).__name__}"}
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(reply | {"seconds": time.process_time() - start}), file=out, flush=True)


def _same_value(answer: str, gold: str) -> bool:
    import math_verify

    right, left = _parse(gold), _parse(answer)
    if not (left and right):
        return False
    agree = []
    for point in _POINTS:
        a, b = _value_at(point, answer), _value_at(point, gold)
        if a is None or b is None:
            agree.append(False)
            break
        agree.append(abs(a - b) <= 10 ** (20 - _DIGITS) * max(abs(a), abs(b)))
        if not agree[-1] and point != "negative":
            return False  # both are exact; without a search for a simplification, which would be slow and find none
    letters = re.sub(r"\\[a-zA-Z]+", "", to_latex(answer + gold))
    if agree[0] and "i" in letters:
        return True  # math-verify takes i for a variable
    if all(agree) and _value_at("small", gold) != _value_at("large", gold):
        return True  # of constants, such as 100! and 100!+1, digits alone do not decide
    return math_verify.verify(right, left, numeric_precision=50, timeout_seconds=None)


_DIGITS = 80
_POINTS = ("small", "large", "negative")  # large: above pi, where functions are no longer undone by their inverses


@lru_cache(maxsize=1 << 12)
def _value_at(point: str, text: str) -> Any:
    """The expression's value (sympy) when each variable has a fixed value of this kind; None where there is none.

    Nor is there where a calculated value cannot be told from 0. i is the imaginary unit.
    """
    from sympy import Expr, I, Product, Rational, Sum, im, re

    (expression, *_) = _parse(text)
    if isinstance(expression, Expr) and expression.has(Sum, Product):
        expression = expression.doit()
    place = {"small": lambda x: x, "large": lambda x: x + 4, "negative": lambda x: -x}[point]
    if not isinstance(expression, Expr) or expression == 0:
        return expression if isinstance(expression, Expr) else None
    try:
        # By name, so that a variable has the same value on both sides.
        symbols = cast("set[Symbol]", expression.free_symbols)
        values: dict = {
            symbol: I if symbol.name == "i" else place(Rational(crc32(symbol.name.encode()) % 9973 + 5000, 10007))
            for symbol in symbols
        }
        value = expression.subs(values).evalf(_DIGITS, maxn=400)
        parts: list[Any] = [part for part in (re(value), im(value)) if part != 0]
        certain = parts and all(part.is_Float and part._prec > 50 and part.is_finite for part in parts)
    except Exception:
        return None
    return value if certain else None


@lru_cache(maxsize=1 << 12)
def _parse(text: str) -> list:
    """math-verify's parse of one expression; empty where it cannot read it. Units are gone by now."""
    import math_verify
    from math_verify.parser import NormalizationConfig

    normal = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none", equations=False
    )
    config = [math_verify.LatexExtractionConfig(normalization_config=normal)]
    no_timeout = cast("int", None)  # which the library allows, although it is annotated as int
    return math_verify.parse(f"${to_latex(text)}$", config, parsing_timeout=no_timeout, extraction_mode="first_match")


_FUNCTIONS = "sin cos tan cot sec csc log ln lg exp sqrt arcsin arccos arctan"
_PLAIN_NAMES = re.compile(rf"(?<![\\a-zA-Z])(pi|theta|alpha|beta|{'|'.join(_FUNCTIONS.split())})(?![a-zA-Z])")
_ROOT = re.compile(
    r"(?:\^\{?([2-9])\}?)?([√∛∜]) ?"
    r"(?:(\\sqrt(?:\[[0-9]\])?\{[^{}]*\})|\(([^()]*)\)|([0-9]+(?:\.[0-9]+)?|[a-zA-Z]|\\pi))"
)
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_DEGREES = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?\^ ?\{? ?\\circ ?\}?")


_CHOOSE = re.compile(
    r"(?:\{\})?(?<![0-9a-zA-Z}]) ?_ ?\{?([0-9]+)\}? ?C ?_ ?\{?([0-9]+)\}?|(?<![a-zA-Z0-9])([0-9]+) ?C ?([0-9]+)"
    r"|(?<![a-zA-Z0-9\\])C ?\( ?([0-9]+) ?, ?([0-9]+) ?\)"
)


def _choose(match: re.Match) -> str:
    over, under = (part for part in match.groups() if part)
    return f"\\binom{{{over}}}{{{under}}}"


def _root(match: re.Match) -> str:
    index = match[1] or {"∛": "3", "∜": "4"}.get(match[2], "")
    return f"\\sqrt{f'[{index}]' if index else ''}{{{match[3] or match[4] or match[5]}}}"


def to_latex(text: str) -> str:
    """The expression as LaTeX, with decimals as exact fractions: both sides are read alike and without floats."""
    for _ in range(2):  # a root of a root
        text = _ROOT.sub(_root, text)
    text = text.replace("√", "\\sqrt ")
    text = re.sub(r"^(-?[0-9.]+)[eE]([-+]?[0-9]+)$", r"\1\\cdot 10^{\2}", text)
    text = text.replace("π", "\\pi ").replace("**", "^").replace("°", "^\\circ")
    text = _PLAIN_NAMES.sub(r"\\\1 ", text)
    text = re.sub(r"\\exp ?(?:\\left)? ?\(([^()]*)(?:\\right)?\)", r"e^{\1}", text)
    text = re.sub(r"\\lg(?![a-z])", r"\\log_{10}", text)
    if _TRIGONOMETRIC.search(text):
        text = _DEGREES.sub(r"\\frac{\1\\pi}{180}", text)
    text = re.sub(r"\\sqrt ?\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"\^ ?(\\frac ?\{[^{}]*\} ?\{[^{}]*\})", r"^{\1}", text)
    text = _CHOOSE.sub(_choose, text)
    text = re.sub(r"^ ?([0-9]+) ?\\choose ?([0-9]+) ?$", r"\\binom{\1}{\2}", text)
    text = re.sub(r"\^ ?\(([^()]*)\)", r"^{\1}", text)
    text = re.sub(r"\^ ?(-?[0-9]{2,}|-[0-9]|[-+] ?[a-zA-Z](?![a-zA-Z]))", r"^{\1}", text)
    text = re.sub(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "", text)
    text = re.sub(r"([0-9]*)\.([0-9]+)", lambda m: f"\\frac{{{int(m[1] + m[2])}}}{{1{'0' * len(m[2])}}}", text)
    return text.replace("*", "\\cdot ")


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
