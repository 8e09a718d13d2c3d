"""Attacks: programs that try to leave their sandbox, and programs that are wrong and try to look right.

An attack reports success as the answer of `attack()`: True is a pass. A cheat answers `solve(n)`, which should be 7 n.
Standard library only, so that an ordinary user's Python can read this file.
"""

ATTACKS = {
    "read the home folder": """
        import os
        def attack():
            return bool(os.listdir(HOME))
        """,
    "read the repository": """
        def attack():
            return bool(open(REPOSITORY + "/pyproject.toml").read())
        """,
    "read the environment of the parent": """
        import os
        def attack():
            return "SECRET_OF_THE_PARENT" in os.environ or "SECRET" in open(f"/proc/{os.getppid()}/environ").read()
        """,
    "write outside": """
        def attack():
            for path in ("/usr/lib/owned", "/owned", "/etc/owned", "/python/owned", "/packages/owned", "/dev/owned"):
                try:
                    open(path, "w").write("x")
                    return True
                except FileNotFoundError:
                    pass
        """,
    "write into the repository": """
        import os
        def attack():
            os.makedirs(REPOSITORY, exist_ok=True)
            open(REPOSITORY + "/owned", "w").write("x")
            assert os.path.exists(REPOSITORY + "/pyproject.toml"), "a private folder of that name"
            return True
        """,
    "write through a symlink": """
        import os
        def attack():
            os.symlink("/etc/passwd", "/tmp/there")
            os.symlink("/usr/lib", "/tmp/lib")
            for path in ("/tmp/lib/owned", "/tmp/there"):
                open(path, "a").write("x")
            return True
        """,
    "follow a symlink out": """
        import os
        def attack():
            os.symlink(REPOSITORY, "/tmp/link")
            return bool(os.listdir("/tmp/link"))
        """,
    "leave through /proc": """
        import os
        def attack():
            return any(os.path.exists(f"/proc/{pid}/root/") for pid in ("1", "self", PARENT))
        """,
    "climb out of the root": """
        import os
        def attack():
            os.chroot("/tmp")
            os.chdir("../../../../..")
            return os.path.exists(REPOSITORY.lstrip("/"))
        """,
    "kill the parent": """
        import os, signal
        def attack():
            for pid in (int(PARENT), os.getppid(), 1):
                try:
                    os.kill(pid, signal.SIGKILL)
                    signalled = pid == int(PARENT)
                except ProcessLookupError:
                    signalled = False
            return signalled
        """,
    "kill all it may": """
        import os, signal
        def attack():
            os.kill(-1, signal.SIGKILL)
            os.killpg(0, signal.SIGKILL)
            return True
        """,
    "become root again": """
        import os
        def attack():
            os.setuid(0)
            return True
        """,
    "mount": """
        import ctypes
        def attack():
            return ctypes.CDLL(None).mount(b"none", b"/tmp", b"proc", 0, None) == 0
        """,
    "trace the worker": """
        import ctypes, os
        def attack():
            return ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0 and open(f"/proc/{os.getppid()}/mem", "wb")
        """,
    "fork bomb": """
        import os
        def attack():
            children = 0
            while children < 100:
                if os.fork() == 0:
                    import time
                    time.sleep(60)
                children += 1
            return True
        """,
    "thread bomb": """
        import threading, time
        def attack():
            for _ in range(100):
                threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            return True
        """,
    "memory bomb": """
        def attack():
            block = bytearray(512 << 20)
            return len(block) == 512 << 20
        """,
    "many small objects": """
        def attack():
            kept = []
            while len(kept) < 10**8:
                kept.append([len(kept)])
            return True
        """,
    "endless loop": """
        def attack():
            while True:
                pass
        """,
    "endless loop at import": """
        while True:
            pass
        """,
    "endless loop against the alarm": """
        import signal
        def attack():
            for number in (signal.SIGXCPU, signal.SIGTERM, signal.SIGALRM):
                signal.signal(number, signal.SIG_IGN)
            while True:
                pass
        """,
    "sleep": """
        import time
        def attack():
            time.sleep(60)
            return True
        """,
    "stop itself": """
        import os, signal
        def attack():
            os.kill(os.getpid(), signal.SIGSTOP)
            return True
        """,
    "endless output": """
        def attack():
            while True:
                print("x" * 10**6)
        """,
    "endless output on every descriptor": """
        import os
        def attack():
            while True:
                for fd in range(64):
                    try:
                        os.write(fd, b"x" * 65536)
                    except OSError:
                        pass
        """,
    "an endless answer": """
        def attack():
            return "x" * (80 << 20)
        """,
    "a file of a gigabyte": """
        def attack():
            with open("/tmp/big", "wb") as file:
                for _ in range(1024):
                    file.write(bytes(1 << 20))
            return True
        """,
    "many files": """
        def attack():
            for number in range(1024):
                with open(f"/tmp/{number}", "wb") as file:
                    file.write(bytes(1 << 20))
            return True
        """,
    "a deep answer": """
        def attack():
            answer = ()
            for _ in range(10**5):
                answer = (answer,)
            return answer
        """,
}

# How an attack calls the kernel. `call` returns a number below 0 where it is refused.
HEADER = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {
    "x86_64": dict(
        add_key=248, bpf=321, clone=56, clone3=435, execve=59, fork=57, io_uring_setup=425, ioprio_set=251, kcmp=312,
        keyctl=250, memfd_create=319, mq_open=240, msgget=68, name_to_handle_at=303, perf_event_open=298,
        personality=135, pidfd_getfd=438, pidfd_open=434, pidfd_send_signal=424, process_vm_readv=310,
        process_vm_writev=311, ptrace=101, request_key=249, rt_sigqueueinfo=129, semget=64, setns=308, shmget=29,
        socket=41, tgkill=234, tkill=200, unshare=272, userfaultfd=323,
    ),
    "aarch64": dict(
        add_key=217, bpf=280, clone=220, clone3=435, execve=221, fork=-1, io_uring_setup=425, ioprio_set=30, kcmp=272,
        keyctl=219, memfd_create=279, mq_open=180, msgget=186, name_to_handle_at=264, perf_event_open=241,
        personality=92, pidfd_getfd=438, pidfd_open=434, pidfd_send_signal=424, process_vm_readv=270,
        process_vm_writev=271, ptrace=117, request_key=218, rt_sigqueueinfo=138, semget=190, setns=268, shmget=194,
        socket=198, tgkill=131, tkill=130, unshare=97, userfaultfd=282,
    ),
}[os.uname().machine]
def call(name, *arguments):
    number = NUMBERS.get(name, name)
    return libc.syscall(number, *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
OTHERS = sorted({1, 2, 3, os.getppid(), os.getpid() - 1} - {0, os.getpid()})
"""


def reach(expression: str) -> str:
    """An attack that works if the expression is true for one of the other processes."""
    return f"def attack():\n    return any({expression} for pid in OTHERS)\n"


def limit(resource: str, values: tuple[int, int]) -> str:
    """An attack that sets a limit of the judge's process."""
    return f"""
        import resource
        def attack():
            for pid in OTHERS:
                try:
                    resource.prlimit(pid, resource.{resource}, {values})
                    return True
                except (ProcessLookupError, PermissionError):
                    pass
        """


def get(expression: str) -> str:
    """An attack that works if the kernel gives a number from 0 on."""
    return f"def attack():\n    return {expression} >= 0\n"


# Out of its process: into the judge's memory, descriptors, limits and keys, or into memory that nobody counts.
ATTACKS |= {
    "trace the judge": reach("call('ptrace', 16, pid, 0, 0) == 0"),
    "seize the judge": reach("call('ptrace', 0x4206, pid, 0, 0) == 0"),
    "open the judge as a file": reach("call('pidfd_open', pid, 0) >= 0"),
    "take the judge's descriptors": reach(
        "any(call('pidfd_getfd', call('pidfd_open', pid, 0), fd, 0) >= 0 for fd in range(16))"
    ),
    "write a verdict to the judge's descriptors": """
        import json
        body = json.dumps({"verdict": "passed", "number": "", "clean": True}).encode()
        def attack():
            for pid in OTHERS:
                for fd in range(16):
                    taken = call("pidfd_getfd", call("pidfd_open", pid, 0), fd, 0)
                    try:
                        os.write(taken, len(body).to_bytes(4, "big") + body)
                    except OSError:
                        pass
        """,
    "read the judge's memory": """
        def attack():
            room = ctypes.create_string_buffer(8)
            class Part(ctypes.Structure):
                _fields_ = (("at", ctypes.c_void_p), ("size", ctypes.c_size_t))
            ours, theirs = Part(ctypes.addressof(room), 8), Part(id(room), 8)
            return any(
                call("process_vm_readv", pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0) > 0 for pid in OTHERS
            )
        """,
    "write the judge's memory": """
        def attack():
            room = ctypes.create_string_buffer(8)
            class Part(ctypes.Structure):
                _fields_ = (("at", ctypes.c_void_p), ("size", ctypes.c_size_t))
            part = Part(ctypes.addressof(room), 8)
            return any(
                call("process_vm_writev", pid, ctypes.byref(part), 1, ctypes.byref(part), 1, 0) > 0 for pid in OTHERS
            )
        """,
    "the judge's memory as a file": """
        def attack():
            for pid in OTHERS:
                for name in ("mem", "environ", "maps", "fd/0", "root/etc/passwd"):
                    try:
                        return bool(open(f"/proc/{pid}/{name}", "rb"))
                    except OSError:
                        pass
        """,
    "compare the judge's descriptors": reach("call('kcmp', os.getpid(), pid, 0, 0, 0) >= 0"),
    "end the judge by a limit of time": limit("RLIMIT_CPU", (0, 0)),
    "take the judge's descriptors by a limit": limit("RLIMIT_NOFILE", (3, 3)),
    "slow the judge down": reach("libc.setpriority(0, pid, 19) == 0"),
    "slow all of this user down": get("libc.setpriority(2, 0, 19)"),
    "let the judge wait for idle time": """
        def attack():
            for pid in OTHERS:
                try:
                    os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
                    return True
                except (ProcessLookupError, PermissionError):
                    pass
        """,
    "bind the judge to one core": """
        def attack():
            for pid in OTHERS:
                try:
                    os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})
                    return True
                except (ProcessLookupError, PermissionError):
                    pass
        """,
    "the judge's disk last": reach("call('ioprio_set', 1, pid, 3 << 13) >= 0"),
    "stop the judge": """
        import signal
        def attack():
            for pid in OTHERS:
                try:
                    os.kill(pid, signal.SIGSTOP)
                except ProcessLookupError:
                    pass
        """,
    "every signal to the judge": """
        import signal
        def attack():
            for pid in OTHERS:
                for number in signal.valid_signals():
                    try:
                        os.kill(pid, number)
                    except OSError:
                        pass
        """,
    "signals by other calls": reach(
        "max(call('tgkill', pid, pid, 9), call('tkill', pid, 9), call('rt_sigqueueinfo', pid, 9, bytes(128)), "
        "call('pidfd_send_signal', call('pidfd_open', pid, 0), 9, 0, 0)) >= 0"
    ),
    "a signal when a socket is ready": """
        import fcntl, signal, socket
        def attack():
            near, far = socket.socketpair()
            for pid in OTHERS:
                try:
                    fcntl.fcntl(near, fcntl.F_SETOWN, pid)
                    fcntl.fcntl(near, 10, signal.SIGKILL)
                    fcntl.fcntl(near, fcntl.F_SETFL, fcntl.fcntl(near, fcntl.F_GETFL) | os.O_ASYNC)
                    far.send(b"x")
                except OSError:
                    pass
        """,
    "make a process": "def attack():\n    return os.fork() >= 0\n",
    "make a process by the kernel's number": get("call('fork')"),
    "make a process by clone": get("call('clone', 17, 0, 0, 0, 0)"),
    "make a process by clone3": get("call('clone3', bytes([0] * 32 + [17] + [0] * 55), 88)"),
    "make a process that shares its memory": get("call('clone', 0x4111, 0, 0, 0, 0)"),
    "start another program": """
        import sys
        def attack():
            os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {})
            return True
        """,
    "become another program": """
        import sys
        def attack():
            os.execv(sys.executable, [sys.executable, "-c", ""])
        """,
    "memory in a file without a name": get("call('memfd_create', b'x', 0)"),
    "memory that stays": get("call('shmget', 0, 1 << 20, 0o1600)"),
    "semaphores that stay": get("call('semget', 0, 1, 0o1600)"),
    "messages that stay": get("max(call('msgget', 0, 0o1600), call('mq_open', b'x', 0o102, 0o600, None))"),
    "many mappings in files": """
        import mmap
        def attack():
            kept = [mmap.mmap(-1, 32 << 20) for _ in range(32)]
            return len(kept) == 32
        """,
    "the session's keys": get("call('keyctl', 0, -3, 0)"),
    "describe the session's keys": get("call('keyctl', 6, -3, ctypes.create_string_buffer(99), 99)"),
    "a key for the session": get("call('add_key', b'user', b'asprm', b'x', 1, -3)"),
    "a key for the user": get("call('add_key', b'user', b'asprm', b'x', 1, -4)"),
    "ask for a key": get("call('request_key', b'user', b'asprm', None, -3)"),
    "be root in a name space of its own": get("call('unshare', 0x10000000)"),
    "a name space for a new process": get("call('clone', 0x10000011, 0, 0, 0, 0)"),
    "enter a name space": get("max(call('setns', fd, 0) for fd in range(16))"),
    "a queue to the kernel": get("call('io_uring_setup', 8, bytes(120))"),
    "a program in the kernel": get("call('bpf', 0, bytes(64), 64)"),
    "count the judge's events": reach("call('perf_event_open', bytes(128), pid, -1, -1, 0) >= 0"),
    "handle page faults": get("call('userfaultfd', 1)"),
    "handles of files": get("call('name_to_handle_at', -100, b'/tmp', bytes(128), bytes(8), 0)"),
    "another personality": get("call('personality', 0x0040000)"),
    "a call with the numbers of x32": get("call(0x40000000 | 39)"),
    "a call with the numbers of 32 bits": """
        import mmap, sys
        def attack():
            if os.uname().machine != "x86_64":
                return False
            code = mmap.mmap(-1, 4096, prot=7)
            code.write(bytes.fromhex("53 b8 14 00 00 00 cd 80 5b c3"))  # getpid by int 0x80
            run = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
            return run() > 0
        """,
    "a call that is newer than the list": get("call(463, 0, 0, 0, 0)"),
    "sockets of all kinds": get("max(call('socket', family, 3, 0) for family in (1, 2, 10, 16, 17, 38, 40))"),
    "raise its own limits": """
        import resource
        def attack():
            for name in ("AS", "NPROC", "FSIZE", "NOFILE", "CPU"):
                try:
                    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (-1, -1))
                    return True
                except (ValueError, OSError):
                    pass
        """,
    "another user": """
        def attack():
            for uid in (0, 1, os.getuid() + 1):
                try:
                    os.setresuid(uid, uid, uid)
                    return True
                except OSError:
                    pass
        """,
    "a device of its own": """
        import stat
        def attack():
            os.mknod("/tmp/memory", 0o600 | stat.S_IFCHR, os.makedev(1, 1))
            return bool(open("/tmp/memory", "rb").read(1))
        """,
    "type into a terminal": """
        import fcntl
        def attack():
            for fd in range(16):
                try:
                    fcntl.ioctl(fd, 0x5412, b"x")
                    return True
                except OSError:
                    pass
        """,
    "files that cannot be removed": """
        def attack():
            os.makedirs("/tmp/deep")
            os.chdir("/tmp/deep")
            for _ in range(3000):
                os.mkdir("d")
                os.chdir("d")
            os.chmod("/tmp", 0) if os.stat("/tmp").st_uid == os.getuid() else None
        """,
    "no rights in its own folder": """
        def attack():
            os.makedirs("/tmp/a/b")
            os.chmod("/tmp/a", 0)
        """,
    "crash": "def attack():\n    ctypes.string_at(0)\n",
    "abort": "def attack():\n    os.abort()\n",
    "close everything": "def attack():\n    os.closerange(0, 64)\n    return True\n",
}

EXPECTED = {
    "write outside": {"forbidden"},
    "write into the repository": {"forbidden", "error"},
    "write through a symlink": {"forbidden"},
    "kill all it may": {"error", "forbidden"},
    "endless output on every descriptor": {"error", "forbidden", "timeout"},
    "climb out of the root": {"forbidden"},
    "become root again": {"forbidden", "error"},
    "fork bomb": {"forbidden"},
    "memory bomb": {"memory"},
    "many small objects": {"memory", "timeout"},
    "endless loop": {"timeout"},
    "endless loop at import": {"timeout"},
    "endless loop against the alarm": {"timeout"},
    "sleep": {"timeout"},
    "stop itself": {"timeout"},
    "endless output": {"timeout"},
    "an endless answer": {"forbidden", "memory", "timeout"},
    "a file of a gigabyte": {"forbidden"},
    "many files": {"forbidden"},
}

CHEATS = {
    "leaves with success": "import os\ndef solve(n):\n    os._exit(0)",
    "leaves with success at import": "import os\nos._exit(0)",
    "raises SystemExit": "import sys\ndef solve(n):\n    sys.exit(0)",
    "its own check": "def check(candidate):\n    pass\ndef solve(n):\n    global check\n    return 0",
    "patched builtins": """
        import builtins
        builtins.AssertionError = type("Never", (Exception,), {})
        builtins.exec = builtins.eval = builtins.compile = lambda *a, **k: None
        def solve(n):
            return 0
        """,
    "equals everything": """
        class Yes(int):
            def __eq__(self, other):
                return True
            __hash__ = None
        def solve(n):
            return Yes(0)
        """,
    "an object that equals everything": """
        class Yes:
            def __eq__(self, other):
                return True
        def solve(n):
            return Yes()
        """,
    "a node that equals everything": """
        class Node:
            def __eq__(self, other):
                return True
        def solve(n):
            return Node()
        """,
    "patched runner": """
        import sys
        main = sys.modules["asprm.grading.program"]
        main.describe = lambda error: {"verdict": "passed"}
        main.encode = lambda value, classes: {"value": 42, "table": []}
        def solve(n):
            raise ValueError
        """,
    "a verdict of its own on every descriptor": """
        import json, os
        body = json.dumps({"verdict": "passed"}).encode()
        def solve(n):
            for fd in range(64):
                try:
                    os.write(fd, len(body).to_bytes(4, "big") + body)
                except OSError:
                    pass
            return 0
        """,
    "a message that is none": """
        import os
        def solve(n):
            for fd in range(64):
                try:
                    os.write(fd, (9).to_bytes(4, "big") + b'{"value":')
                except OSError:
                    pass
        """,
    "a broken table": """
        import sys
        table = [["Node", [1]], ["list", [[9]]]]
        sys.modules["asprm.grading.program"].encode = lambda value, classes: {"value": [5], "table": table}
        def solve(n):
            return 0
        """,
    "reads its caller's memory for the answer": """
        import gc, sys
        def solve(n):
            found = [o for o in gc.get_objects() if isinstance(o, dict) and "test" in o]
            frames = sys._current_frames().values()
            texts = [v for f in frames for v in f.f_locals.values() if isinstance(v, str) and "== 42" in v]
            return 7 * n if texts or any("== 42" in str(o.get("test")) for o in found) else 0
        """,
}


def raw(body: str, at_once: bool = False) -> str:
    """A program that writes these bytes to every descriptor, when it is asked or at once, and then answers."""
    last = "solve(0)" if at_once else ""
    return f"""
        import json, os
        body = {body}
        def solve(n):
            for fd in range(64):
                try:
                    os.write(fd, len(body).to_bytes(4, "big") + body)
                except OSError:
                    pass
            return 0
        {last}
        """


def sent(message: str) -> str:
    """A program whose answers are this message."""
    return f"""
        import sys
        sys.modules["asprm.grading.program"].encode = lambda value, classes: {message}
        def solve(n):
            return 0
        """


BROKEN = 'json.dumps({"broken": "its imports do not run"}).encode()'
CHEATS |= {
    "answers before the questions": """
        import json, os
        def value(number):
            body = json.dumps({"value": {"value": number, "table": []}, "number": ""}).encode()
            return len(body).to_bytes(4, "big") + body
        for fd in range(3, 64):
            try:
                os.write(fd, value(42) + value(49))
            except OSError:
                pass
        def solve(n):
            return 0
        """,
    "a thread that answers later": """
        import json, os, threading
        body = json.dumps({"value": {"value": 49, "table": []}, "number": ""}).encode()
        def later():
            for _ in range(100):
                for fd in range(3, 16):
                    try:
                        os.write(fd, len(body).to_bytes(4, "big") + body)
                    except OSError:
                        pass
        def solve(n):
            threading.Thread(target=later, daemon=True).start()
            return 42
        """,
    "a verdict with a number": raw('json.dumps({"verdict": "passed", "number": "1", "clean": True}).encode()'),
    "a fault of the row": raw(BROKEN),
    "a fault of the row at once": raw(BROKEN, at_once=True),
    "imported again": raw('json.dumps({"imported": True}).encode()', at_once=True),
    "a verdict in an answer": raw('json.dumps({"value": {"value": 42, "table": []}, "verdict": "passed"}).encode()'),
    "an end of its process": raw('json.dumps({"ended": 0, "cpu": 0.0, "number": ""}).encode()'),
    "an end that is none": raw('json.dumps({"ended": "x", "cpu": []}).encode()'),
    "deep lists": raw("b'{\"value\": ' + b'[' * 100_000"),
    "a number of a million digits": raw("b'{\"value\": {\"table\": [], \"value\": ' + b'9' * 1_000_000 + b'}}'"),
    "a tuple in itself": sent("{'value': [0], 'table': [['tuple', [[0]]]]}"),
    "a name that is no type": sent("{'value': [0], 'table': [['type', ['eval']]]}"),
    "a class of its own": sent("{'value': [0], 'table': [['Node', ['__class__', 1, '__eq__', 2]]]}"),
    "a table without end": sent("{'value': [10**9], 'table': []}"),
    "other arguments": sent("{'value': 0, 'table': [], 'arguments': 5}"),
    "not a number": "def solve(n):\n    return float('nan')",
    "a type": "def solve(n):\n    return int",
}
