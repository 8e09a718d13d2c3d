"""Sandboxes: processes under bubblewrap that run `runner.py`, and the pipes to them.

A sandbox has no network and sees no process of the host. Of the host's files it sees only the libraries of the system
and of Python, read-only; `/tmp` is private, small and in memory. Memory, processor time, processes and file sizes are
limited. Started by root, it gives up root before it runs anything. This module knows processes and messages; `code.py`
knows programs and verdicts.

A program is one process, so its limit of memory is that of all that it starts. `/tmp` comes on top, and what the kernel
keeps for pipes, sockets and empty files, which no limit counts: some tens of megabytes at most in a program's time. On
machines other than x86_64 and aarch64 a program may start processes, each with that limit of memory.
"""

import base64
import contextlib
import importlib.util
import itertools
import json
import marshal
import os
import selectors
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import IO

from asprm.grading import judge, program, runner, values
from asprm.grading.seccomp import call_filter, keyctl_number

INSTALL = "apt-get install bubblewrap"
PACKAGES = ("numpy", "sortedcontainers", "sympy", "mpmath")  # that programs may import, where they are installed


class SandboxUnavailable(RuntimeError):
    """A program that this package has not made needs bubblewrap, which does not work on this machine."""


@dataclass(frozen=True)
class Limits:
    """What one program may use. Wall time only ends programs that wait, so it is a multiple of processor time."""

    cpu_seconds: int = 3
    wall_seconds: float = 15.0
    memory: int = 1 << 30  # bytes of address space, per process
    processes: int = 16  # processes and threads at a time
    file: int = 32 << 20  # bytes of one file
    tmp: int = 64 << 20  # bytes of /tmp
    answer: int = 64 << 20  # bytes of one message


class Sandbox:
    """One worker process, and the messages to it and from it. For one thread at a time."""

    def __init__(self, limits: Limits, *, warm: bool = False, mode: str | None = None) -> None:
        """Start the worker. SandboxUnavailable: it does not start.

        warm: import common modules at once, for a worker that will serve many jobs.
        mode: "root", "user" or "none" (limits only, no bubblewrap); by default `sandbox_mode()`.
        """
        self.limits, self.mode = limits, mode or sandbox_mode()
        uid = 10_000 + next(_numbers) % 50_000 if self.mode == "root" else 0
        settings = asdict(limits) | {"sandboxed": self.mode != "none", "uid": uid, "warm": warm}
        settings |= {"filter": call_filter().hex(), "keyctl": keyctl_number()}
        self.process = _start([*command_line(self.mode, limits.tmp), "-c", _START, json.dumps(settings), _modules()])
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.pipes: tuple[IO[bytes], IO[bytes]] = self.process.stdin, self.process.stdout
        os.set_blocking(self.pipes[0].fileno(), False)
        hello = self.receive(time.monotonic() + 30)
        if not hello or "hello" not in hello:
            self.close()
            raise SandboxUnavailable(f"a sandbox did not start (mode {self.mode!r})")

    def send(self, message: dict | bytes) -> None:
        """Write the message, for at most a program's wall time. If it does not arrive, no answer comes."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        left, pipe = memoryview(len(body).to_bytes(4, "big") + body), self.pipes[0].fileno()
        deadline = time.monotonic() + self.limits.wall_seconds
        with selectors.DefaultSelector() as selector, contextlib.suppress(BrokenPipeError):
            selector.register(pipe, selectors.EVENT_WRITE)
            while left and selector.select(max(0.0, deadline - time.monotonic())):
                left = left[os.write(pipe, left[:65536]) :]

    def receive_bytes(self, deadline: float) -> bytes | None:
        """The next message, unparsed. None: the deadline (`time.monotonic`) has passed, or the worker has ended."""
        header = self._read(4, deadline)
        if header is None:
            return None
        count = int.from_bytes(header, "big")
        return b'{"oversize": true}' if count > self.limits.answer else self._read(count, deadline)

    def receive(self, deadline: float) -> dict | None:
        """The next message. None: as `receive_bytes`, or it is no JSON object."""
        body = self.receive_bytes(deadline)
        try:
            message = json.loads(body) if body else None
        except ValueError:
            return None
        return message if isinstance(message, dict) else None

    def _read(self, count: int, deadline: float) -> bytes | None:
        parts, pipe = [], self.pipes[1].fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while count:
                left = deadline - time.monotonic()
                part = os.read(pipe, min(count, 1 << 20)) if left > 0 and selector.select(left) else b""
                if not part:
                    return None
                parts.append(part)
                count -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """End the worker and, under bubblewrap, everything that it started."""
        self.process.kill()
        self.process.wait()
        for pipe in self.pipes:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


_ENVIRONMENT = {
    "PATH": os.defpath,
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",  # sets keep their order
    "OPENBLAS_NUM_THREADS": "1",  # numpy starts no threads, for which a program's memory would be too small
}


def _start(command: list[str]) -> subprocess.Popen:
    """Start a process in a thread that lives as long as this process: `--die-with-parent` watches that thread."""

    def popen() -> subprocess.Popen:
        return subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=_ENVIRONMENT,
            start_new_session=True,
        )

    return _starter().submit(popen).result()


@cache
def _starter() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "sandbox-starter")


os.register_at_fork(after_in_child=_starter.cache_clear)
_numbers = itertools.count(os.getpid() * 131)  # of the users that sandboxes run as


@cache
def sandbox_mode() -> str:
    """How bubblewrap works here: "root", "user" (in a user namespace), or "none" where it does not work."""
    return next((mode for mode in ("root", "user") if _works(mode)), "none")


def require_sandbox() -> None:
    """SandboxUnavailable: bubblewrap does not work here; the message says what to do."""
    if sandbox_mode() == "none":
        if shutil.which("bwrap") is None:
            advice = f"install it: {INSTALL}"
        else:
            advice = "it is installed, but may not make namespaces here (is this a container without that right?)"
        raise SandboxUnavailable(f"programs for downloaded problems run only under bubblewrap; {advice}")


def _works(mode: str) -> bool:
    if shutil.which("bwrap") is None or (mode == "root" and os.geteuid() != 0):
        return False
    try:
        Sandbox(Limits(), mode=mode).close()
    except (SandboxUnavailable, OSError):
        return False
    return True


def command_line(mode: str, tmp: int) -> list[str]:
    """The command line up to Python's options; `-c`, the runner and its settings follow.

    mode: see `sandbox_mode`. tmp: bytes of /tmp.
    """
    python = os.path.realpath(sys.executable)
    options = ["-P", "-s", "-S", "-B"]  # without the working folder, site-packages and bytecode files
    if mode == "none":
        return [python, *options]

    # 1. Libraries of the system.
    folders = ("/usr", "/usr/local", "/etc", "/dev", "/dev/fd", "/proc", "/proc/self", "/proc/self/fd", "/packages")
    bind = [item for path in folders for item in ("--perms", "0755", "--dir", path)]  # by default 0700
    bind += [item for path in ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib") for item in _bound(path)]
    for path in map(Path, ("/lib", "/lib32", "/lib64")):
        bind += ["--symlink", os.readlink(path), str(path)] if path.is_symlink() else _bound(str(path))

    # 2. Python and packages.
    if os.path.realpath(sys.base_prefix) not in ("/usr", "/usr/local"):  # perhaps in a home folder
        bind += ["--ro-bind", sys.base_prefix, "/python", "--setenv", "LD_LIBRARY_PATH", "/python/lib"]
        python = f"/python/{os.path.relpath(python, os.path.realpath(sys.base_prefix))}"
    else:
        bind += _bound(python)
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        folder = os.path.dirname(spec.origin) if spec and spec.origin else ""
        for path in (folder, f"{folder}.libs"):  # the second holds the libraries of a package's wheel
            if folder and os.path.isdir(path):
                bind += ["--ro-bind", path, f"/packages/{os.path.basename(path)}"]

    # 3. Devices and rights.
    devices = [
        item
        for name in ("null", "zero", "random", "urandom")
        for item in ("--dev-bind", f"/dev/{name}", f"/dev/{name}")
    ]
    for number, name in enumerate(("stdin", "stdout")):  # which are files here (`program.py`); there is no /proc
        for path in (f"/dev/{name}", f"/dev/fd/{number}", f"/proc/self/fd/{number}"):
            devices += ["--symlink", f"/tmp/.{name}", path]
    user = ["--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534"]
    root = ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [
        *("bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *("--cap-drop", "ALL", *(root if mode == "root" else user)),
        *("--die-with-parent", "--as-pid-1", "--new-session", *bind, *_bound("/etc/ld.so.cache"), *devices),
        *("--perms", "1777", "--size", str(tmp), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp"),
        *("--", python, *options),
    ]


def _bound(path: str) -> list[str]:
    return ["--ro-bind", path, path] if os.path.exists(path) else []


# What Python runs in a sandbox: it makes the modules of the second argument, of which the last one has `main`.
_START = """
import binascii, json, marshal, sys, types
for name, code in marshal.loads(binascii.a2b_base64(sys.argv[2])):
    module = sys.modules[name] = types.ModuleType(name)
    exec(code, vars(module))
module.main(json.loads(sys.argv[1]))
"""


@cache
def _modules() -> str:
    """The modules that run inside, compiled: reading their text would take longer than all else of a start."""
    inside = [(module.__name__, module.__file__) for module in (values, program, judge, runner)]
    code = [(name, compile(Path(file or "").read_text(), name, "exec")) for name, file in inside]
    return base64.b64encode(marshal.dumps(code)).decode()
