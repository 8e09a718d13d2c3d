"""What runs inside a sandbox: a program, or the judge of one. Standard library only; `sandbox.py` sends this text.

A program and its judge live in two sandboxes. The judge runs the problem's test, whose `candidate` is a stand-in that
sends the arguments out and receives the program's answer as plain data. So the program never meets the test, and what
it does to its own interpreter (`os._exit(0)`, its own `check`, objects that equal everything) cannot look like a pass.

Frames on stdin and stdout: four bytes of length, then JSON. A worker takes one job after the other and forks for each.
A pair, for problems of this package alone, is a judge that forks a program of its own and talks to it without detours:
one fork, one message in and one out.
"""

import contextlib
import errno
import gc
import json
import os
import resource
import signal
import sys
import types

# Messages


def send(fd, message):
    body = json.dumps(message).encode()
    data = len(body).to_bytes(4, "big") + body
    while data:
        data = data[os.write(fd, data) :]


def receive(fd, most=1 << 32):
    """The next message; None at the end of the stream, `oversize` where it has more than so many bytes."""
    header = _read(fd, 4)
    count = int.from_bytes(header or b"", "big")
    if count > most:
        return {"oversize": True}
    body = header and _read(fd, count)
    return json.loads(body) if body else None


def _read(fd, count):
    parts = []
    while count:
        part = os.read(fd, min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


# Values as plain data: a flat table of objects, in which scalars stand as they are and [i] means the i-th object. A
# chain of a million linked nodes needs no recursion, and what is shared or cyclic stays so.

_KINDS = {list: "list", tuple: "tuple", dict: "dict", set: "set", frozenset: "frozenset"}


def encode(value, classes):
    """`classes`: names whose instances may cross, as their attributes. What is no data becomes `Opaque` there."""
    places, objects = {}, []

    def reference(item):
        if item is None or item is True or item is False:
            return item
        for base in (int, float, str):
            if isinstance(item, base):
                return item if type(item) is base else base.__new__(base, item)
        if id(item) not in places:
            places[id(item)] = len(objects)
            objects.append(item)
        return [places[id(item)]]

    def describe(item):
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
    for item in objects:  # grows while its parts are described
        kind, parts = describe(item)
        table.append([kind, [reference(part) for part in parts]])
    return {"value": root, "table": table}


class Opaque:
    """A result that is no plain data (a function, a generator, …): it equals nothing, itself included."""

    def __init__(self, kind):
        self.kind = kind

    def __eq__(self, other):
        return False

    __hash__ = None


def decode(message, classes):
    """The value again. `classes`: {name: class} of those that may cross."""
    table = message["table"]
    made = {}
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

    def resolve(part):
        if not isinstance(part, list):
            return part
        place = part[0]
        if place not in made:
            kind, parts = table[place]
            made[place] = {"tuple": tuple, "frozenset": frozenset}[kind](map(resolve, parts))
        return made[place]

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


# The program

_WALLS = {errno.EPERM, errno.EACCES, errno.EROFS, errno.EFBIG, errno.ENOSPC, errno.EAGAIN, errno.ENETUNREACH}
_WALLS |= {errno.ECONNREFUSED, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.ENOSYS}


def run_program(job, inbox, outbox):
    """Defines the program, then answers calls until there are no more."""
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
        except (MemoryError, RecursionError, ValueError) as error:  # too large to write down
            send(outbox, describe(error))


def run_script(program, imports, text):
    """What a program that reads stdin and writes stdout makes of `text`."""
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


def describe(error):
    """An exception as a message; `wall` where the sandbox, not the program, is its cause."""
    line, trace = None, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "<program>":
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError):
        line = error.lineno
    try:
        text = str(error)[:300]
    except BaseException:
        text = ""
    wall = isinstance(error, OSError) and (error.errno in _WALLS or type(error).__name__ == "gaierror")
    return {"raised": type(error).__name__[:100], "text": text, "line": line, "wall": wall}


# The judge


class _Stop(BaseException):
    """The program is gone: there is nothing left to judge."""


def run_judge(job, inbox, outbox):
    """Runs `check(candidate)`; sends one verdict."""

    def ask(call):
        send(outbox, {"call": call})
        reply = receive(inbox)
        if not reply or "stop" in reply:
            raise _Stop
        return reply

    verdict = judge(job, ask)
    if verdict:
        send(outbox, verdict)


def judge(job, ask):
    """What `check(candidate)` comes to; None where `ask`, which brings a call to the program, raises `_Stop`."""
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
    raised = []

    def candidate(*args, **kwargs):
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


# A program and its judge in one sandbox


def run_pair(job, inbox, outbox):
    """Forks the program, which gets no descriptor but those of its calls, then judges it here; one verdict.

    Where the program gives no answer, the verdict is what it sent instead, or how it ended. The test comes in a second
    message, after the fork, and the last one's is gone: the program cannot find it in its memory.
    """
    sys.modules.pop("judge", None)
    gc.collect()
    calls, answers = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for fd in (inbox, outbox, calls[1], answers[0]):
                os.close(fd)
            begin(job)
            run_program(job, calls[0], answers[1])
        finally:
            os._exit(0)
    os.close(calls[0])
    os.close(answers[1])
    instead = []

    def answer(*kinds):
        try:
            reply = receive(answers[0], job["answer"])
        except ValueError:
            reply = "no JSON"
        if not isinstance(reply, dict) or next(iter(reply), "") not in kinds:
            if reply is not None and not isinstance(reply, dict):
                reply = {"raised": "ValueError", "text": "its answer is no message"}
            instead.append(reply)
            raise _Stop
        return reply

    def ask(call):
        with contextlib.suppress(BrokenPipeError):
            send(calls[1], {"call": call})
        reply = answer("value", "raised")
        if reply.get("wall") or reply.get("raised") == "MemoryError":
            instead.append(reply)
            raise _Stop
        return reply

    test, verdict = receive(inbox), None
    with contextlib.suppress(_Stop):
        answer("ready")
        verdict = judge(test, ask)
    silent = verdict is None and instead[0] is None  # it has ended, or will by its limits
    if not silent:
        for kill in (os.killpg, os.kill):  # it may not have its group yet
            with contextlib.suppress(OSError):
                kill(child, signal.SIGKILL)
    end = wait(child)
    os.close(calls[1])
    os.close(answers[0])
    send(outbox, verdict or {"instead": end if silent else instead[0]})


def _write_back(old, new):
    """What a program did to its arguments in place."""
    pairs = [*zip(old[0], new[0], strict=True), *((old[1][name], new[1][name]) for name in old[1])]
    for ours, theirs in pairs:
        if isinstance(ours, list):
            ours[:] = theirs
        elif isinstance(ours, (dict, set)):
            ours.clear()
            ours.update(theirs)
        elif hasattr(ours, "__dict__") and not isinstance(ours, Opaque):
            vars(ours).update(vars(theirs))


def _failed_line(error, test):
    trace, line = error.__traceback__, 0
    while trace:
        if trace.tb_frame.f_code.co_filename == "<test>":
            line = trace.tb_lineno
        trace = trace.tb_next
    text = test.splitlines()[line - 1].strip()[:200] if line else ""
    return text if isinstance(error, AssertionError) else f"{type(error).__name__}: {error} in {text}"[:300]


# The worker

# What problems tend to import: a worker that serves many loads it once.
_USUAL = "bisect collections copy datetime decimal functools heapq itertools math operator random re string typing"


def main():
    settings = json.loads(sys.argv[1])
    inbox, outbox = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    for place in (0, 1, 2):
        os.dup2(null, place)
    limits = {"AS": settings["memory"], "FSIZE": settings["file"], "CORE": 0, "NOFILE": 64}
    limits["STACK"] = 64 << 20
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
    gc.freeze()  # what is here now need not be copied by the children's garbage collection
    while (job := receive(inbox)) is not None:
        if job["role"] == "pair":
            run_pair(job, inbox, outbox)
            continue
        child = os.fork()
        if child == 0:
            try:
                begin(job)
                (run_judge if job["role"] == "judge" else run_program)(job, inbox, outbox)
            finally:
                os._exit(0)
        send(outbox, wait(child))


def begin(job):
    """A child's first steps: a group of its own and a limit of processor time."""
    os.setpgid(0, 0)
    seconds = job["cpu_seconds"]
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def wait(child):
    """How the child ended; what it has left behind in its group ends too."""
    _, status, usage = os.wait4(child, 0)
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    return {"ended": os.waitstatus_to_exitcode(status), "cpu": usage.ru_utime + usage.ru_stime}


if __name__ == "__main__":
    main()
