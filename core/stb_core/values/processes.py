"""A mark of 32 characters that names one process: its machine, its number there and when it began.

Whoever reads the mark on the same machine can say whether that process is still there.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import secrets
import socket
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

_FORM = struct.Struct(">8sIQ4s")  # machine, process, its start, chance: 24 bytes, 32 characters in base 64
_PROC = Path("/proc")


@dataclass(frozen=True)
class Holder:
    """The process that made a mark."""

    machine: bytes
    pid: int
    started: int
    """In clock ticks since the machine was started; 0 where the system does not tell."""

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this machine and sees the same process numbers as we do."""
        return self.machine == _machine()

    @property
    def is_gone(self) -> bool:
        """Whether it certainly ended: it was on this machine, and it is not there or another has its number."""
        if not self.is_here or os.name != "posix":
            return False
        if (_PROC / "self/stat").exists():
            return _start(self.pid) != self.started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def make_mark() -> str:
    """A new mark of this process; no two are equal."""
    pid = os.getpid()
    packed = _FORM.pack(_machine(), pid, _start(pid) or 0, secrets.token_bytes(4))
    return base64.urlsafe_b64encode(packed).decode()


def read_mark(mark: str) -> Holder | None:
    """Who made a mark; None where it is not one."""
    try:
        machine, pid, started, _ = _FORM.unpack(base64.urlsafe_b64decode(mark))
    except (ValueError, struct.error):
        return None
    return Holder(machine, pid, started)


@functools.cache
def _machine() -> bytes:
    """This machine since it was started last, as far as process numbers go: a container counts as another machine."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        numbers = str((_PROC / "self/ns/pid").stat().st_ino)
    except OSError:
        boot, numbers = str(uuid.getnode()), ""
    return hashlib.sha256(f"{boot} {numbers} {socket.gethostname()}".encode()).digest()[:8]


def _start(pid: int) -> int | None:
    """When a process began, in clock ticks since the machine was started; None where it is not, or is dead."""
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    fields = stat.rpartition(b")")[2].split()  # the name before it may hold anything
    if fields[0] in {b"Z", b"X"}:  # it ended, and its parent has not asked how
        return None
    return int(fields[19])
