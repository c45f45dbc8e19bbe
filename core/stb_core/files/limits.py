"""How much of a file of others is read: one set of limits, and one variable that lifts all of them.

They bound the memory of every command that reads such a file, whatever the file holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stb_core.errors import FormatError
from stb_core.settings import FILE_LIMITS, file_limit_factor

KIB, MIB, GIB = 1024, 1024**2, 1024**3
# A string of a JSON text; the last one may lack its end, so that the search stays linear.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


@dataclass(frozen=True)
class FileLimits:
    """Sizes in bytes; ``factor`` multiplies all of them."""

    factor: float = 1

    @property
    def line_bytes(self) -> int:
        """Of one line of a dump."""
        return int(16 * MIB * self.factor)

    @property
    def record_bytes(self) -> int:
        """Of one line of a bundle, which is validated as a whole, and of a member that is kept in memory."""
        return int(8 * MIB * self.factor)

    @property
    def file_bytes(self) -> int:
        """Of a JSON file, which is read as a whole."""
        return int(32 * MIB * self.factor)

    @property
    def values(self) -> int:
        """Brackets, commas and colons of one JSON text: each may cost a hundred bytes once it is read."""
        return int(1_500_000 * self.factor)

    @property
    def record_values(self) -> int:
        """The same of a JSON text that is validated as a whole, where each wrong value costs a kilobyte more."""
        return int(100_000 * self.factor)

    @property
    def total_bytes(self) -> int:
        """Of all that is unpacked from one compressed file."""
        return int(16 * GIB * self.factor)

    @property
    def free_bytes(self) -> int:
        """What any compressed file may unpack to; above it ``ratio`` holds."""
        return int(64 * MIB * self.factor)

    @property
    def ratio(self) -> int:
        """How many times as large as the file its unpacked content may be."""
        return int(200 * self.factor)

    @property
    def records(self) -> int:
        """Lines of which something is remembered until the last one is read."""
        return int(50_000 * self.factor)

    @property
    def window_bytes(self) -> int:
        """How far back a compressed file may refer, all of which has to be kept."""
        return int(64 * MIB * self.factor)

    @property
    def contents_bytes(self) -> int:
        """Of the list of members of an archive."""
        return int(MIB * self.factor)

    def unpacked_bytes(self, packed: int) -> int:
        """What a compressed file of ``packed`` bytes may unpack to."""
        return min(self.total_bytes, max(self.free_bytes, packed * self.ratio))


def file_limits() -> FileLimits:
    """The limits as the environment sets them.

    Raises:
        UsageError: the variable is not a factor.
    """
    return FileLimits(file_limit_factor())


class FileLimitError(FormatError):
    """A file of others is more than the limits allow."""


def too_much(reason: str) -> FileLimitError:
    """The error for a limit that is exceeded; its message is only the reason, and how to lift the limit."""
    return FileLimitError(f"{reason}. If you trust the file, {FILE_LIMITS}=4 allows four times as much")


def check_values(text: bytes, most: int, what: str = "") -> None:
    """Refuse a JSON text whose value would take far more memory than the text.

    Raises:
        FormatError: it holds too many values; the message is only the reason.
    """
    if len(text) <= most or _structure(text) <= most:
        return
    if _structure(_STRING.sub(b"", text)) > most:
        raise too_much(f"{what}holds more than {most:,} JSON values")


def in_words(size: int) -> str:
    """A limit as it is written in messages: ``"16 MiB"``."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"


def _structure(text: bytes) -> int:
    return sum(map(text.count, (b"{", b"[", b",", b":")))
