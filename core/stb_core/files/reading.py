"""Reads files of others within limits: whole JSON files, lines, compressed streams, members of archives."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import zstandard

from stb_core.errors import FormatError
from stb_core.files.limits import FileLimits, check_values, file_limits, in_words, too_much

_CHUNK = 256 * 1024
# What reading a damaged archive may raise.
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, struct.error)
_COMPRESSIONS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


def read_document(path: Path, *, validated: bool = False) -> bytes:
    """The bytes of a JSON file, of which no more than the limit allows is in memory.

    One that is ``validated`` as a whole may hold fewer values.

    Raises:
        FormatError: it cannot be read, or is too much; the message is only the reason.
    """
    limits = file_limits()
    try:
        with path.open("rb") as file:
            data = file.read(limits.file_bytes + 1)
    except OSError as problem:
        raise FormatError(f"cannot be read: {problem.strerror}") from None
    if len(data) > limits.file_bytes:
        raise too_much(f"is larger than {in_words(limits.file_bytes)}")
    check_values(data, limits.record_values if validated else limits.values)
    return data


class LimitedLines:
    """The lines of a stream, each within the limits.

    Args:
        file: the stream.
        what: how messages begin.
        validated: whether each line is validated as a whole; it may hold fewer values then.
    """

    def __init__(self, file: IO[bytes], what: str = "", *, validated: bool = False) -> None:
        self._file, self._what = file, what
        limits = file_limits()
        self._line_bytes = limits.record_bytes if validated else limits.line_bytes
        self._values = limits.record_values if validated else limits.values

    def next(self) -> bytes:
        """The next line with its end; empty at the end of the stream.

        Raises:
            FormatError: it is too long, or holds too many values; the message is only the reason.
        """
        line = self._file.readline(self._line_bytes + 1)
        if len(line) > self._line_bytes:
            raise too_much(f"{self._what}is longer than {in_words(self._line_bytes)}")
        check_values(line, self._values, self._what)
        return line

    def __iter__(self) -> Iterator[bytes]:
        """All lines that are left."""
        while line := self.next():
            yield line


def open_zstd(path: Path) -> io.BufferedReader:
    """Open a Zstandard file as a stream of its content.

    Reading raises ``FormatError``, with only the reason as its message, when more is unpacked than the limits
    allow, and ``ZstdError`` where the file is damaged.
    """
    return io.BufferedReader(_Unpacked(path, file_limits()))


class _Unpacked(io.RawIOBase):
    """What a Zstandard file unpacks to."""

    def __init__(self, path: Path, limits: FileLimits) -> None:
        super().__init__()
        file = path.open("rb")
        self._packed = path.stat().st_size
        self._limits = limits
        self._size = 0
        decompressor = zstandard.ZstdDecompressor(max_window_size=limits.window_bytes)
        self._stream: Any = decompressor.stream_reader(file, read_across_frames=True, closefd=True)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """As any stream; FormatError beyond the limits."""
        try:
            size: int = self._stream.readinto(buffer)
        except zstandard.ZstdError as problem:
            if "memory" in str(problem):
                window = in_words(self._limits.window_bytes)
                raise too_much(f"needs more than {window} of memory to be unpacked") from None
            raise
        self._size += size
        most = self._limits.unpacked_bytes(self._packed)
        if self._size > most:
            raise too_much(f"unpacks to more than {in_words(most)}")
        return size

    def close(self) -> None:
        """Close the file as well."""
        if not self.closed:
            self._stream.close()
        super().close()


class Archive:
    """A zip file whose members are read as streams.

    Args:
        source: the file, or its bytes.
    """

    def __init__(self, source: Path | bytes) -> None:
        self._source = source
        self._limits = file_limits()

    def sizes(self) -> Counter[str]:
        """The size of all members of a name, as the archive says; no more is ever read of them.

        Raises:
            FormatError: it is damaged, or unpacks to too much; the message is only the reason.
        """
        with self._opened() as archive:
            infos = archive.infolist()
        if odd := [info.filename for info in infos if info.compress_type not in _COMPRESSIONS]:
            raise FormatError(f"cannot be unpacked: {odd[0]} is compressed in an unusual way")
        source = self._source
        most = self._limits.unpacked_bytes(
            len(source) if isinstance(source, bytes) else source.stat().st_size
        )
        if sum(info.file_size for info in infos) > most:
            raise too_much(f"unpacks to more than {in_words(most)}")
        sizes: Counter[str] = Counter()
        for info in infos:
            sizes[info.filename] += info.file_size
        return sizes

    def names(self) -> list[str]:
        """The names of the members, in order.

        Raises:
            FormatError: it is damaged; the message is only the reason.
        """
        with self._opened() as archive:
            return archive.namelist()

    @contextmanager
    def member(self, name: str) -> Generator[IO[bytes]]:
        """The content of a member as a stream, whose readers get ``FormatError`` where it is damaged."""
        with self._opened() as archive:
            with _as_damage(name):
                member = archive.open(name)
            with member, io.BufferedReader(_Member(member, name), _CHUNK) as stream:
                yield stream

    def read(self, name: str) -> bytes:
        """A member as a whole: a JSON text that is to be validated.

        Raises:
            FormatError: it is damaged, or is too much; the message is only the reason.
        """
        with self.member(name) as member:
            data = member.read(self._limits.record_bytes + 1)
        if len(data) > self._limits.record_bytes:
            raise too_much(f"holds a {name} of more than {in_words(self._limits.record_bytes)}")
        check_values(data, self._limits.record_values, f"holds a {name} that ")
        return data

    @contextmanager
    def _opened(self) -> Generator[zipfile.ZipFile]:
        source = self._source
        with ExitStack() as stack:
            with _as_damage():
                opened = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
                file = _FewReads(stack.enter_context(opened), self._limits.contents_bytes)
                archive = stack.enter_context(zipfile.ZipFile(file))
            yield archive


@contextmanager
def _as_damage(member: str = "") -> Generator[None]:
    try:
        yield
    except _DAMAGE as problem:
        what = f"is damaged: {member} cannot" if member else "cannot"
        raise FormatError(f"{what} be unpacked: {problem}") from None


class _Member(io.RawIOBase):
    """A member of an archive; damage is a ``FormatError``."""

    def __init__(self, member: IO[bytes], name: str) -> None:
        super().__init__()
        self._member, self._name = member, name

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As any stream."""
        with _as_damage(self._name):
            data = self._member.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _FewReads(io.RawIOBase):
    """A file of which no more is read at once than a limit: ``zipfile`` reads the list of members in one piece."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        super().__init__()
        self._file, self._most = file, most

    def read(self, size: int = -1) -> bytes:
        """As the file's; FormatError beyond the limit."""
        data = (
            self._file.read(self._most + 1)
            if size < 0
            else b""
            if size > self._most
            else self._file.read(size)
        )
        if max(size, len(data)) > self._most:
            raise too_much(f"has a list of members of more than {in_words(self._most)}")
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """As the file's."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As the file's."""
        return self._file.tell()

    def seekable(self) -> bool:
        """It is."""
        return True

    def readable(self) -> bool:
        """It is."""
        return True
