"""Seccomp: which system calls a program may make, as a filter that the kernel applies before each call.

A program may compute, use its own files and start threads. It may not reach into another process, make processes, make
memory that its own limit does not count, change another process's limits or priority, open sockets, or use keyrings.
Calls that are newer than this list do not exist for it.
"""

import os
import struct

_LAST = 462  # number of the newest call that a program may make (mseal, of Linux 6.10): the same on all machines

# Name of a refused call: its number on x86_64 and on aarch64. None: that machine does not have it.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # other processes: their memory, descriptors, signals, limits and priorities
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "kcmp": (312, 272),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "perf_event_open": (298, 241),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setaffinity": (203, 122),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    # new processes, whose memory would count on its own
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    # memory and messages that stay when the program ends, or that no limit counts
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # keys, which the host's session may share
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # the network, name spaces, mounts and rare parts of the kernel
    "socket": (41, 198),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "modify_ldt": (154, None),
    "personality": (135, 92),
}
# The column above, the machine's number, and the calls clone, clone3, prlimit64, kill and tgkill.
_MACHINES = {
    "x86_64": (0, 0xC000003E, 56, 435, 302, 62, 234),
    "aarch64": (1, 0xC00000B7, 220, 435, 261, 129, 131),
}

_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06  # codes of instructions
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
_NUMBER, _MACHINE, _ARGUMENT = 0, 4, 16  # where the kernel puts a call's number, machine and first argument
_CLONE_THREAD = 0x10000
PROCESS = 0xFFFFFFFF  # in the filter: to be replaced by the program's own process


def call_filter() -> bytes:
    """The filter for this machine, as an array of `struct sock_filter`. Empty where its calls are not known."""
    if os.uname().machine not in _MACHINES:
        return b""
    column, machine, clone, clone3, prlimit, kill, tgkill = _MACHINES[os.uname().machine]
    refused = [numbers[column] for numbers in _REFUSED.values() if numbers[column] is not None]
    code = [
        (_LOAD, 0, 0, _MACHINE),
        (_EQUAL, 1, 0, machine),  # calls of another machine, such as those of 32 bits, have other numbers
        (_RETURN, 0, 0, _EPERM),
        (_LOAD, 0, 0, _NUMBER),
        (_ABOVE, 0, 1, _LAST),
        (_RETURN, 0, 0, _ENOSYS),
        (_EQUAL, 0, 1, clone3),  # its flags are out of the filter's sight; without it, libraries use clone
        (_RETURN, 0, 0, _ENOSYS),
        *_unless_first_argument(clone, _ANY_BIT, _CLONE_THREAD),
        *_unless_first_argument(prlimit, _EQUAL, 0),  # its own limits
        *_unless_first_argument(kill, _EQUAL, PROCESS),
        *_unless_first_argument(tgkill, _EQUAL, PROCESS),
    ]
    for number in refused:
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _unless_first_argument(call: int, compare: int, value: int) -> list[tuple[int, int, int, int]]:
    """Refuse a call, unless its first argument compares with the value. Other calls go on behind this."""
    return [
        (_EQUAL, 0, 4, call),
        (_LOAD, 0, 0, _ARGUMENT),
        (compare, 0, 1, value),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _EPERM),
    ]


def keyctl_number() -> int | None:
    """The number of the call `keyctl` on this machine; None where it is not known."""
    machine = _MACHINES.get(os.uname().machine)
    return _REFUSED["keyctl"][machine[0]] if machine else None
