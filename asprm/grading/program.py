"""Program: how one is run and called. Runs inside sandboxes, so it imports the standard library only.

A function is defined once and keeps its state between the calls of one test, as in the authors' harnesses. A program
that reads stdin runs anew for each input, in a process of its own, so that nothing of it reaches the next test case.
Python is as people know it: `exit()`, `sys.argv`, `/dev/stdin`, threads and `atexit` work, and whole numbers of any
length are printed. What differs: a program may not start processes and has no network (`seccomp.py`).
"""

from __future__ import annotations

import _sitebuiltins
import atexit
import builtins
import contextlib
import errno
import fcntl
import io
import json
import math
import os
import resource
import signal
import sys
import types
from collections.abc import Callable

from asprm.grading.values import decode, encode, receive, send

_WALLS = {errno.EPERM, errno.EACCES, errno.EROFS, errno.EFBIG, errno.ENOSPC, errno.EAGAIN, errno.ENETUNREACH}
_WALLS |= {errno.ECONNREFUSED, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.ENOSYS}
_NAME = "solution.py"  # of a program, in `sys.argv`


def run_program(job: dict, inbox: int, outbox: int, confine: Callable[[], None]) -> None:
    """Define the program, then answer calls until there are no more.

    The first message is `imported`, or what is wrong with the row: the program has not run by then. Each answer carries
    the number of its call. confine: gives up the right to make the calls that `seccomp.py` refuses.
    """
    _be_usual_python()
    module = sys.modules["solution"] = types.ModuleType("solution")
    space = vars(module)
    try:
        exec(compile(job["imports"], "<imports>", "exec"), space)
    except BaseException as error:
        return send(outbox, {"broken": f"its imports do not run: {type(error).__name__}: {error}"[:300]})
    send(outbox, {"imported": True})
    names = [name for name, kind in space.items() if isinstance(kind, type) and kind.__module__ == "solution"]
    try:
        program = compile(job["code"], "<program>", "exec")
        if job["entry_point"]:
            confine()
            exec(program, space)
            candidate = eval(job["entry_point"], space)
        else:
            candidate = _script(program, job, confine)
    except BaseException as error:
        return send(outbox, describe(error))
    send(outbox, {"ready": True})
    while (message := receive(inbox)) and "call" in message:
        classes = {name: space[name] for name in names}
        number = {"number": message["number"]}
        try:
            arguments = decode(message["call"], classes)
            reply = {"value": encode(candidate(*arguments[0], **arguments[1]), classes)}
            after = encode(arguments, classes)
            if after != message["call"]:
                reply["arguments"] = after
        except _Ended as end:
            reply = end.reply
        except BaseException as error:
            reply = describe(error)
        try:
            send(outbox, reply | number)
        except (MemoryError, RecursionError, ValueError) as error:  # the answer cannot be written as JSON
            send(outbox, describe(error) | number)


def _be_usual_python() -> None:
    """What a started Python script finds, and a program in a sandbox lacks."""
    builtins.exit, builtins.quit = (_sitebuiltins.Quitter(name, "Ctrl-D") for name in ("exit", "quit"))
    builtins.help = _sitebuiltins._Helper()
    sys.argv, sys.orig_argv = [_NAME], ["python", _NAME]
    sys.set_int_max_str_digits(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


# --- programs that read stdin and write stdout ------------------------------------------------------------------------


class _Ended(BaseException):
    """The process of a program has ended without an answer. reply: the message that says how."""

    def __init__(self, reply: dict) -> None:
        self.reply = reply


def _script(program: types.CodeType, job: dict, confine: Callable[[], None]) -> Callable[[str], str]:
    """The function from a program's input to its output, which runs it in a process of its own.

    _Ended: the program raised an exception, was killed, or left with a status by `os._exit`.
    """
    used = 0.0  # of processor time, for all inputs so far

    def run(text: str) -> str:
        nonlocal used
        if used >= job["cpu_seconds"]:
            raise _Ended({"ended": -signal.SIGXCPU, "cpu": used})
        if not clear_tmp():
            raise _Ended({"raised": "OSError", "text": "it left files that cannot be removed", "line": None})
        stdin, stdout, (fault_out, fault_in) = _opened("stdin", text), _opened("stdout"), os.pipe()
        left = math.ceil(job["cpu_seconds"] - used)
        child = os.fork()
        if child == 0:
            try:
                resource.setrlimit(resource.RLIMIT_CPU, (left, left + 1))
                for place, file in enumerate((stdin, stdout, 2, fault_in)):
                    os.dup2(file, place)  # all four are above 3, so none is overwritten before it is copied
                os.closerange(4, 64)
                _run_once(program, job["imports"], confine)
            finally:
                os._exit(0)
        os.close(fault_in)
        _, status, usage = os.wait4(child, 0)
        used += usage.ru_utime + usage.ru_stime
        with open(stdin, "rb"), open(stdout, "rb") as answer, open(fault_out, "rb") as fault:
            os.set_blocking(fault_out, False)
            if message := fault.read():
                raise _Ended(_fault(message))
            if status:
                raise _Ended({"ended": os.waitstatus_to_exitcode(status), "cpu": used})
            answer.seek(0)
            return answer.read().decode(errors="replace")

    return run


def _opened(name: str, text: str = "") -> int:
    """The descriptor of a file that holds `text`. In a sandbox /dev/stdin and /dev/stdout lead to it."""
    path = f"/tmp/.{name}"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC) if in_sandbox() else os.memfd_create(name)
    file, low = fcntl.fcntl(file, fcntl.F_DUPFD, 8), file  # above the places of stdin, stdout, stderr and faults
    os.close(low)
    data = text.encode()
    while data:
        data = data[os.write(file, data) :]
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _fault(message: bytes) -> dict:
    try:
        fault = json.loads(message)
        return {"raised": str(fault["raised"]), "text": fault["text"], "line": fault["line"], "wall": fault["wall"]}
    except (ValueError, KeyError, TypeError):  # the program itself wrote to this pipe
        return {"raised": "ValueError", "text": "its answer is no message", "line": None}


def _run_once(program: types.CodeType, imports: str, confine: Callable[[], None]) -> None:
    """Run a script as `python solution.py` does, up to the end of its threads. Exceptions go to descriptor 3."""
    try:
        sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
        sys.stdout = sys.__stdout__ = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8")
        module = sys.modules["__main__"] = types.ModuleType("__main__")
        space = vars(module)
        space.update({"__builtins__": builtins, "__file__": _NAME})
        exec(compile(imports, "<imports>", "exec"), space)
        confine()
        with contextlib.suppress(SystemExit):
            exec(program, space)
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        atexit._run_exitfuncs()
        for file in (sys.stdout, sys.__stdout__):
            with contextlib.suppress(ValueError):  # it may have closed them
                file.flush()
    except BaseException as error:
        body = json.dumps(describe(error)).encode()
        os.write(3, body)
        os._exit(1)


# --- what both need ---------------------------------------------------------------------------------------------------


def in_sandbox() -> bool:
    """Whether this is a sandbox, whose /tmp belongs to it. Without bubblewrap /tmp is the machine's."""
    try:
        return os.readlink("/dev/stdin") == "/tmp/.stdin"
    except OSError:
        return False


def clear_tmp() -> bool:
    """Remove what a program has left in a sandbox's /tmp. Returns whether nothing is left."""
    if not in_sandbox():
        return True
    with contextlib.suppress(OSError, RecursionError):
        _empty("/tmp")
        return not os.listdir("/tmp")
    return False


def _empty(folder: str) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.path, 0o700)  # a program may have taken its own rights away
                _empty(entry.path)
                os.rmdir(entry.path)
            else:
                os.unlink(entry.path)


def describe(error: BaseException) -> dict:
    """An exception as a message. wall: whether the sandbox caused it, not the program."""
    line = error.lineno if isinstance(error, SyntaxError) else last_line(error, "<program>")
    try:
        text = str(error)[:300]
    except BaseException:
        text = ""
    wall = isinstance(error, OSError) and (error.errno in _WALLS or type(error).__name__ == "gaierror")
    return {"raised": type(error).__name__[:100], "text": text, "line": line, "wall": wall}


def last_line(error: BaseException, file: str) -> int | None:
    """The line of the file that was running, innermost, when the error was raised."""
    line, trace = None, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
