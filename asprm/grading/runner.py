"""What runs inside a sandbox: a program, or its judge. Standard library only, as `sandbox.py` sends this file's text.

A program and its judge are in two sandboxes. The judge runs the problem's test. The test's `candidate` is a stand-in,
which sends the arguments out and receives the program's answer as plain data. So the program never meets the test, and
nothing that it does to its own interpreter (`os._exit(0)`, its own `check`, objects that equal everything) can look
like a pass.

A message on stdin or stdout is four bytes of length, then JSON. A worker takes one job after the other and forks for
each. For synthetic problems, whose programs are harmless, program and judge may be a pair: the judge forks the program
and talks to it directly, which takes one fork, one job and one verdict.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import resource
import signal
import sys
import types
from collections.abc import Callable, Container

TYPE_CHECKING = False  # sandboxes start faster without the module `typing`
if TYPE_CHECKING:
    from typing import Any

# --- messages ---------------------------------------------------------------------------------------------------------


def send(fd: int, message: dict) -> None:
    """Write one message."""
    body = json.dumps(message).encode()
    data = len(body).to_bytes(4, "big") + body
    while data:
        data = data[os.write(fd, data) :]


def receive(fd: int, most: int = 1 << 32) -> Any:
    """The next message; None at the end of the stream; `oversize` for a message of more than `most` bytes."""
    header = _read(fd, 4)
    count = int.from_bytes(header or b"", "big")
    if count > most:
        return {"oversize": True}
    body = header and _read(fd, count)
    return json.loads(body) if body else None


def _read(fd: int, count: int) -> bytes | None:
    parts = []
    while count:
        part = os.read(fd, min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


# --- values as plain data ---------------------------------------------------------------------------------------------
# A value crosses as a flat table of objects, in which scalars stand for themselves and [i] for object number i. So long
# chains of linked nodes need no recursion, and shared or cyclic objects stay so.

_KINDS = {list: "list", tuple: "tuple", dict: "dict", set: "set", frozenset: "frozenset"}


def encode(value: object, classes: Container[str]) -> dict:
    """The value as plain data; other objects become `Opaque`.

    classes: names of the problem's classes, whose instances cross with their attributes.
    """
    places, objects = {}, []

    def reference(item: Any) -> object:
        if item is None or item is True or item is False:
            return item
        for base in (int, float, str):
            if isinstance(item, base):
                return item if type(item) is base else base(item)
        if id(item) not in places:
            places[id(item)] = len(objects)
            objects.append(item)
        return [places[id(item)]]

    def parts_of(item: Any) -> tuple[str, list]:
        kind = next((name for base, name in _KINDS.items() if isinstance(item, base)), type(item).__name__)
        if kind == "dict":
            return kind, [part for pair in dict.items(item) for part in pair]
        if isinstance(item, tuple(_KINDS)):
            return kind, list(item)
        if isinstance(item, (bytes, bytearray)):
            return "bytes", [item.decode("latin-1")]
        if isinstance(item, complex):
            return "complex", [item.real, item.imag]
        if kind in classes:
            return kind, [part for pair in vars(item).items() for part in pair]
        return "opaque", [kind]

    root, table = reference(value), []
    for item in objects:  # grows in this loop
        kind, parts = parts_of(item)
        table.append([kind, [reference(part) for part in parts]])
    return {"value": root, "table": table}


class Opaque:
    """An answer that is not plain data (a function, a generator, …). It equals nothing, not even itself."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # pyright: ignore[reportAssignmentType]


def decode(message: dict, classes: dict[str, type]) -> Any:
    """The value of `encode`'s plain data. classes: the problem's, by name."""
    table = message["table"]
    made: dict[int, Any] = {}

    # 1. Make all objects that can be filled later, empty.
    for place, (kind, parts) in enumerate(table):
        if kind in ("list", "dict", "set"):
            made[place] = {"list": list, "dict": dict, "set": set}[kind]()
        elif kind in classes:
            made[place] = object.__new__(classes[kind])
        elif kind == "bytes":
            made[place] = parts[0].encode("latin-1")
        elif kind == "complex":
            made[place] = complex(*parts)
        elif kind == "opaque":
            made[place] = Opaque(parts[0])

    def resolve(part: Any) -> Any:
        if not isinstance(part, list):
            return part
        place = part[0]
        if place not in made:
            kind, parts = table[place]
            made[place] = {"tuple": tuple, "frozenset": frozenset}[kind](map(resolve, parts))
        return made[place]

    # 2. Fill them.
    for place, (kind, parts) in enumerate(table):
        if kind == "list":
            made[place].extend(map(resolve, parts))
        elif kind == "set":
            made[place].update(map(resolve, parts))
        elif kind == "dict" or kind in classes:
            values = [resolve(part) for part in parts]
            target = made[place] if kind == "dict" else vars(made[place])
            target.update(zip(values[::2], values[1::2], strict=True))
    return resolve(message["value"])


# --- the program ------------------------------------------------------------------------------------------------------

_WALLS = {errno.EPERM, errno.EACCES, errno.EROFS, errno.EFBIG, errno.ENOSPC, errno.EAGAIN, errno.ENETUNREACH}
_WALLS |= {errno.ECONNREFUSED, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.ENOSYS}


def run_program(job: dict, inbox: int, outbox: int) -> None:
    """Define the program, then answer calls until there are no more."""
    module = sys.modules["solution"] = types.ModuleType("solution")
    space = vars(module)
    try:
        exec(compile(job["imports"], "<imports>", "exec"), space)
        names = [name for name, kind in space.items() if isinstance(kind, type) and kind.__module__ == "solution"]
        program = compile(job["code"], "<program>", "exec")
        if job["entry_point"]:
            exec(program, space)
            candidate = eval(job["entry_point"], space)
        else:
            candidate = lambda text: run_script(program, job["imports"], text)  # noqa: E731
    except BaseException as error:
        return send(outbox, describe(error))
    send(outbox, {"ready": True})
    while (message := receive(inbox)) and "call" in message:
        classes = {name: space[name] for name in names}
        try:
            arguments = decode(message["call"], classes)
            reply = {"value": encode(candidate(*arguments[0], **arguments[1]), classes)}
            after = encode(arguments, classes)
            if after != message["call"]:
                reply["arguments"] = after
        except BaseException as error:
            reply = describe(error)
        try:
            send(outbox, reply)
        except (MemoryError, RecursionError, ValueError) as error:  # the answer cannot be written as JSON
            send(outbox, describe(error))


def run_script(program: types.CodeType, imports: str, text: str) -> str:
    """What a program that reads stdin and writes stdout writes for the input `text`."""
    for place in (0, 1):  # the last call may have closed them
        os.dup2(2, place)
    files = [os.memfd_create(name) for name in ("stdin", "stdout")]
    os.write(files[0], text.encode())
    os.lseek(files[0], 0, os.SEEK_SET)
    for place, file in enumerate(files):
        os.dup2(file, place)
    sys.stdin, sys.stdout = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    space = {"__name__": "__main__", "__builtins__": __builtins__}
    exec(compile(imports, "<imports>", "exec"), space)
    with contextlib.suppress(SystemExit):
        exec(program, space)
    sys.stdout.flush()
    with open(files[1], "rb") as written:
        written.seek(0)
        answer = written.read().decode(errors="replace")
    os.close(files[0])
    return answer


def describe(error: BaseException) -> dict:
    """An exception as a message. wall: whether the sandbox caused it, not the program."""
    line = error.lineno if isinstance(error, SyntaxError) else _last_line(error, "<program>")
    try:
        text = str(error)[:300]
    except BaseException:
        text = ""
    wall = isinstance(error, OSError) and (error.errno in _WALLS or type(error).__name__ == "gaierror")
    return {"raised": type(error).__name__[:100], "text": text, "line": line, "wall": wall}


def _last_line(error: BaseException, file: str) -> int | None:
    """The line of the file that was running, innermost, when the error was raised."""
    line, trace = None, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


# --- the judge --------------------------------------------------------------------------------------------------------


class _Stop(BaseException):
    """The program is gone, so there is nothing left to judge."""


def run_judge(job: dict, inbox: int, outbox: int) -> None:
    """Run `check(candidate)` and send one verdict."""

    def ask(call: dict) -> dict:
        send(outbox, {"call": call})
        reply = receive(inbox)
        if not reply or "stop" in reply:
            raise _Stop
        return reply

    verdict = judge(job, ask)
    if verdict:
        send(outbox, verdict)


def judge(job: dict, ask: Callable[[dict], dict]) -> dict | None:
    """The verdict of `check(candidate)`; None where `ask` raised `_Stop`. ask: brings a call to the program."""
    # 1. Define the test.
    module = sys.modules["judge"] = types.ModuleType("judge")
    space = vars(module)
    try:
        exec(compile(job["imports"], "<imports>", "exec"), space)
        classes = {name: kind for name, kind in space.items() if isinstance(kind, type) and kind.__module__ == "judge"}
        space["CASES"] = job["cases"]
        exec(compile(job["test"], "<test>", "exec"), space)
        check = space["check"]
    except BaseException as error:
        return {"broken": f"{type(error).__name__}: {error}"}

    # 2. The stand-in for the program. It raises what the program raised.
    raised = []

    def candidate(*args: object, **kwargs: object) -> object:
        reply = ask(encode([list(args), kwargs], classes))
        try:
            if "value" in reply:
                value = decode(reply["value"], classes)
                if "arguments" in reply:
                    _write_back([args, kwargs], decode(reply["arguments"], classes))
                return value
            kind = getattr(__import__("builtins"), reply["raised"], RuntimeError)
            known = isinstance(kind, type) and issubclass(kind, Exception)
            error = (kind if known else RuntimeError)(reply["text"])
        except Exception as broken:
            reply, error = {"raised": type(broken).__name__, "text": "the answer is malformed"}, broken
        raised.append((error, reply))
        raise error

    # 3. Run the test.
    try:
        check(candidate)
        return {"verdict": "passed"}
    except _Stop:
        return None
    except BaseException as error:
        reply = next((reply for own, reply in raised if own is error), None)
        if reply is not None:  # the program's own exception came through the test
            return {"verdict": "raised", **reply}
        return {"verdict": "failed", "text": _failed_line(error, job["test"])}


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
    line = _last_line(error, "<test>")
    text = test.splitlines()[line - 1].strip()[:200] if line else ""
    return text if isinstance(error, AssertionError) else f"{type(error).__name__}: {error} in {text}"[:300]


# --- a program and its judge in one sandbox ---------------------------------------------------------------------------


def run_pair(job: dict, inbox: int, outbox: int) -> None:
    """Fork the program, judge it here, and send one verdict, or what came instead of an answer.

    The program gets no descriptors but those of its calls. The test comes in a second message, after the fork, and the
    last job's test is gone by then: the program finds no test in its memory.
    """
    sys.modules.pop("judge", None)
    gc.collect()
    (call_out, call_in), (answer_out, answer_in) = os.pipe(), os.pipe()
    child = fork(job, run_program, call_out, answer_in, close=(inbox, outbox, call_in, answer_out))
    os.close(call_out)
    os.close(answer_in)
    instead = []  # of an answer: what the program sent, or None where it ended

    def answer(*kinds: str) -> dict:
        try:
            reply = receive(answer_out, job["answer"])
        except ValueError:
            reply = "no JSON"
        if not isinstance(reply, dict) or next(iter(reply), "") not in kinds:
            if reply is not None and not isinstance(reply, dict):
                reply = {"raised": "ValueError", "text": "its answer is no message"}
            instead.append(reply)
            raise _Stop
        return reply

    def ask(call: dict) -> dict:
        with contextlib.suppress(BrokenPipeError):
            send(call_in, {"call": call})
        reply = answer("value", "raised")
        if reply.get("wall") or reply.get("raised") == "MemoryError":
            instead.append(reply)
            raise _Stop
        return reply

    test, verdict = receive(inbox), None
    with contextlib.suppress(_Stop):
        answer("ready")
        verdict = judge(test, ask)
    silent = verdict is None and instead[0] is None  # it has ended, or its limits will end it
    if not silent:
        for kill in (os.killpg, os.kill):  # it may not have its group yet
            with contextlib.suppress(OSError):
                kill(child, signal.SIGKILL)
    end = wait(child)
    os.close(call_in)
    os.close(answer_out)
    send(outbox, verdict or {"instead": end if silent else instead[0]})


# --- the worker -------------------------------------------------------------------------------------------------------

# What problems tend to import: a worker that serves many jobs loads it once.
_USUAL = "bisect collections copy datetime decimal functools heapq itertools math operator random re string typing"


def main() -> None:
    """Set the limits, give up root, then serve jobs until stdin ends."""
    settings = json.loads(sys.argv[1])
    inbox, outbox = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    for place in (0, 1, 2):
        os.dup2(null, place)
    limits = {"AS": settings["memory"], "FSIZE": settings["file"], "CORE": 0, "NOFILE": 64, "STACK": 64 << 20}
    if settings["sandboxed"]:  # elsewhere it would count all of this user's processes
        limits["NPROC"] = settings["processes"]
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    if settings["uid"]:  # from root to a user of its own, which also gives up every capability
        os.setgroups([])
        os.setresgid(*[settings["uid"]] * 3)
        os.setresuid(*[settings["uid"]] * 3)
    sys.path.append("/packages")
    for name in _USUAL.split() if settings["warm"] else ():
        __import__(name)
    send(outbox, {"hello": os.geteuid()})
    gc.freeze()  # so that garbage collection in children does not copy what is here now
    while (job := receive(inbox)) is not None:
        if job["role"] == "pair":
            run_pair(job, inbox, outbox)
        else:
            child = fork(job, run_judge if job["role"] == "judge" else run_program, inbox, outbox)
            send(outbox, wait(child))


def fork(job: dict, work: Callable[..., None], *descriptors: int, close: tuple[int, ...] = ()) -> int:
    """A child that does the work, with a group of its own and a limit of processor time. Returns its process id."""
    child = os.fork()
    if child == 0:
        try:
            for fd in close:
                os.close(fd)
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_seconds"], job["cpu_seconds"] + 1))
            work(job, *descriptors)
        finally:
            os._exit(0)
    return child


def wait(child: int) -> dict:
    """How the child ended. Whatever it has left behind in its group ends too."""
    _, status, usage = os.wait4(child, 0)
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    return {"ended": os.waitstatus_to_exitcode(status), "cpu": usage.ru_utime + usage.ru_stime}


if __name__ == "__main__":
    main()
