"""The inside of the sandbox: a script that walls itself in, then runs one program and its calls. Imports nothing of the lab.

`labkit.sandbox` starts it as `python -I -S jail.py`, one fresh process a program: stdin = {"program", "calls", "seconds",
"memory", "walls"} as JSON, stdout = one JSON value a line: "ready", then null or an error of the program itself, then for
every call its repr or {"error"}. The walls stand before the first character of the program is read as code.

Under "seccomp" the kernel lets the process compute, write to what is open, sleep and end; every other system call fails with
EPERM. So it can start no process and no thread, open no file (to read neither), reach no network, send no signal.
"""

import ctypes
import importlib
import json
import os
import resource
import struct
import sys
import types

# What programs may import: nothing can be loaded from disk later, and every program pays for all of them.
MODULES = "bisect collections datetime functools heapq itertools math operator re string typing".split()
LONGEST = 2000  # characters of a repr
OUTPUT = 64 * 2**10  # bytes of answers; the kernel refuses more
NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER, DIE_WITH_PARENT, KILL = 38, 22, 2, 1, 9  # of <linux/prctl.h>
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # instructions of the filter's little machine
ALLOW, REFUSE, END = 0x7FFF0000, 0x00050001, 0x80000000  # REFUSE carries the error 1, EPERM
# audit id of the machine, then the numbers of: read write close fstat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask
# rt_sigreturn sched_yield mremap madvise exit gettimeofday sigaltstack futex restart_syscall clock_gettime clock_nanosleep
# exit_group getrandom
MACHINES = {
    "x86_64": (0xC000003E, (0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 28, 60, 96, 131, 202, 219, 228, 230, 231, 318)),
    "aarch64": (
        0xC00000B7,
        (63, 64, 57, 80, 62, 222, 226, 215, 214, 134, 135, 139, 124, 216, 233, 93, 169, 132, 98, 128, 113, 115, 94, 278),
    ),
}


class Sink:
    """Where prints go: nowhere."""

    def write(self, text):
        return len(text)

    def flush(self):
        pass


def limit(seconds: float, memory: int) -> None:
    """Hard limits: CPU seconds, address space in bytes, size of a written file, no further process, few open files, no core."""
    limits = {"CPU": int(seconds) + 1, "AS": memory, "FSIZE": OUTPUT, "NPROC": 0, "NOFILE": 16, "CORE": 0}
    for name, most in limits.items():
        hard = most + 1 if name == "CPU" else most  # at the soft one the kernel says why it ends a process, at the hard one not
        try:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, hard))
        except (ValueError, OSError):
            if sys.platform == "linux":  # elsewhere the limit on address space cannot be set
                raise


def wall() -> None:
    """Let the kernel refuse every system call but those of `MACHINES`, for good. Raises `OSError` when it will not."""
    audit, numbers = MACHINES[os.uname().machine]
    steps = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, audit), (RETURN, 0, 0, END), (LOAD, 0, 0, 0)]
    steps += [(EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    steps += [(RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    held = ctypes.create_string_buffer(program)
    orders = [(DIE_WITH_PARENT, KILL, 0), (NO_NEW_PRIVILEGES, 1, 0), (SET_SECCOMP, FILTER, ctypes.addressof(held))]
    for order, value, more in orders:
        if prctl(order, value, more, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")


def main() -> None:
    asked = json.load(sys.stdin)
    out = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
    sys.stdout = sys.stderr = Sink()
    for name in MODULES:
        importlib.import_module(name)
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module

    def say(value):
        os.write(out, json.dumps(value).encode() + b"\n")

    def attempt(work):
        try:
            return work()
        except BaseException as wrong:  # SystemExit too: the next call has its own chance
            return {"error": type(wrong).__name__}

    limit(asked["seconds"], asked["memory"])
    if asked["walls"] == "seccomp":
        wall()
    say("ready")
    # The point of this process: it runs text that nobody checked, behind the walls above.
    say(attempt(lambda: exec(compile(asked["program"], "<candidate>", "exec"), module.__dict__)))  # noqa: S102
    for call in asked["calls"]:
        say(attempt(lambda call=call: repr(eval(compile(call, "<call>", "eval"), module.__dict__))[:LONGEST]))  # noqa: S307
    os._exit(0)


if __name__ == "__main__":
    main()
