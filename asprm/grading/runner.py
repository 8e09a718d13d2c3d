"""Runner: the worker inside a sandbox, which runs programs and judges. Standard library only.

A worker takes one job after the other and forks for each. A program and its judge are in two sandboxes. For synthetic
problems, whose programs are harmless, they may be a pair: the judge forks the program and talks to it directly, which
takes one fork, one job and one verdict.

Under bubblewrap the worker is process 1 of its sandbox, so that no signal from inside ends it. It cannot be traced, and
nothing can read its memory or take its descriptors (`PR_SET_DUMPABLE`); a program may not even make the calls for that
(`seccomp.py`). Each job has a random number, which comes after the program was forked, and each verdict carries it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable

from asprm.grading.judge import Stop, judge, run_judge
from asprm.grading.program import clear_tmp, run_program
from asprm.grading.values import receive, send

# What problems tend to import: a worker that serves many jobs loads it once.
_USUAL = "bisect collections copy datetime decimal functools heapq itertools math operator random re string typing"
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_KEYCTL_JOIN_SESSION_KEYRING, _SECCOMP_MODE_FILTER = 1, 2


def main(settings: dict) -> None:
    """Set the limits, give up root, then serve jobs until stdin ends.

    settings: the fields of `sandbox.Limits`, and
        sandboxed: whether this is under bubblewrap.
        uid: the user to become; 0 to stay.
        warm: whether to import common modules at once.
        filter: `seccomp.call_filter` in hexadecimal.
        keyctl: the number of that call, or None.
    """
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
    confine = _withdraw(settings)
    sys.path.append("/packages")
    for name in _USUAL.split() if settings["warm"] else ():
        __import__(name)
    send(outbox, {"hello": os.geteuid()})
    gc.freeze()  # so that garbage collection in children does not copy what is here now
    while (job := receive(inbox)) is not None:
        if job["role"] == "pair":
            run_pair(job, inbox, outbox, confine)
        else:
            if job["role"] == "judge":
                child = fork(job, run_judge, inbox, outbox)
            else:
                child = fork(job, run_program, inbox, outbox, confine)
            send(outbox, wait(child) | {"number": job["number"]})


def _withdraw(settings: dict) -> Callable[[], None]:
    """Put this process out of others' reach. Returns what takes a program's rights from the process that calls it."""
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in (
        (_PR_SET_DUMPABLE, 0),
        (_PR_SET_NO_NEW_PRIVS, 1),
        (_PR_SET_PDEATHSIG, signal.SIGKILL),  # becoming another user has cleared bubblewrap's
    ):
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # process 1 is sent no signal that it does not handle
    if settings["keyctl"]:  # where the kernel has no keys, there are none to leave
        libc.syscall(settings["keyctl"], _KEYCTL_JOIN_SESSION_KEYRING, None)
    code = bytes.fromhex(settings["filter"])

    class Program(ctypes.Structure):  # struct sock_fprog
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    def confine() -> None:
        mine = code.replace(b"\xff" * 4, os.getpid().to_bytes(4, sys.byteorder))  # `seccomp.PROCESS`
        program = Program(len(code) // 8, mine)
        if code and libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
            raise OSError(ctypes.get_errno(), "the filter of system calls could not be set")

    return confine


def run_pair(job: dict, inbox: int, outbox: int, confine: Callable[[], None]) -> None:
    """Fork the program, judge it here, and send one verdict, or what came instead of an answer.

    The program gets no descriptors but those of its calls. The test and the job's number come in a second message,
    after the fork, and the last job's test is gone by then: the program finds neither in its memory.
    """
    sys.modules.pop("judge", None)
    gc.collect()
    (call_out, call_in), (answer_out, answer_in) = os.pipe(), os.pipe()
    child = fork(job, run_program, call_out, answer_in, confine, close=(inbox, outbox, call_in, answer_out))
    os.close(call_out)
    os.close(answer_in)
    instead = []  # of an answer: what the program sent, or None where it ended

    def answer(*kinds: str) -> dict:
        try:
            reply = receive(answer_out, job["answer"])
        except (ValueError, RecursionError):
            reply = "no JSON"
        if not isinstance(reply, dict) or next(iter(reply), "") not in kinds:
            if reply is not None and not isinstance(reply, dict):
                reply = {"raised": "ValueError", "text": "its answer is no message"}
            instead.append(reply)
            raise Stop
        return reply

    def ask(call: dict) -> dict:
        with contextlib.suppress(BrokenPipeError):
            send(call_in, call)
        reply = answer("value", "raised")
        if reply.get("wall") or reply.get("raised") == "MemoryError":
            instead.append(reply)
            raise Stop
        return reply

    test, verdict = receive(inbox), None
    with contextlib.suppress(Stop):
        first = answer("imported", "broken")
        if "broken" in first:
            verdict = first
        else:
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
    verdict = verdict or {"instead": end if silent else instead[0]}
    send(outbox, verdict | {"number": test["number"], "clean": clear_tmp()})


def fork(job: dict, work: Callable[..., None], *arguments: object, close: tuple[int, ...] = ()) -> int:
    """A child that does the work, with a group of its own and a limit of processor time. Returns its process id."""
    child = os.fork()
    if child == 0:
        try:
            for fd in close:
                os.close(fd)
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_seconds"], job["cpu_seconds"] + 1))
            work(job, *arguments)
        finally:
            os._exit(0)
    return child


def wait(child: int) -> dict:
    """How the child ended. Whatever it has left behind ends too."""
    _, status, usage = os.wait4(child, 0)
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    if os.getpid() == 1:  # of a sandbox: all other processes of it are the job's
        with contextlib.suppress(OSError):
            os.kill(-1, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
    return {"ended": os.waitstatus_to_exitcode(status), "cpu": usage.ru_utime + usage.ru_stime}
