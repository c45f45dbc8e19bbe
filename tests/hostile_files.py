"""Files that try to take more memory than there is: small ones that unpack to gigabytes, endless lines, deep nesting."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import zstandard

from stb_evaluator.transfer.bundles import HEADER, MEMBERS

MIB = 1024**2


def packed(piece: bytes, times: int) -> bytes:
    """A deflate stream of a piece again and again, made without having it all."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    one = compressor.compress(piece) + compressor.flush(zlib.Z_FULL_FLUSH)
    return one * times + compressor.flush(zlib.Z_FINISH)


def bomb(path: Path, piece: bytes, times: int, *, said: int | None = None, header: bytes = b"{}") -> Path:
    """A zip file with the members of a bundle; one of them unpacks to a piece again and again.

    ``said`` is the size that the archive claims for it.
    """
    stream, size = packed(piece, times), len(piece) * times if said is None else said
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(HEADER, header)
        for name in MEMBERS:
            if name != "trajectories.jsonl":
                archive.writestr(name, b"")
    whole = path.read_bytes()
    start = whole.index(b"PK\x01\x02")
    listed, end = whole[start : whole.rindex(b"PK\x05\x06")], whole[whole.rindex(b"PK\x05\x06") :]
    name = b"trajectories.jsonl"
    common = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, 0, len(stream), size & 0xFFFFFFFF, len(name), 0)
    local = b"PK\x03\x04" + common + name + stream
    listed += b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, start) + name
    count = len(MEMBERS) + 1
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(listed), start + len(local), 0)
    path.write_bytes(whole[:start] + local + listed + end)
    return path


def many_members(path: Path, count: int) -> Path:
    """A zip file that lists a million members."""
    entry = (
        b"PK\x01\x02"
        + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
        + b"a"
    )
    listed = entry * count
    shown = min(count, 0xFFFF)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, shown, shown, len(listed), 0, 0)
    path.write_bytes(listed + end)
    return path


def zstd_of(path: Path, begin: bytes, piece: bytes, times: int) -> Path:
    """A Zstandard file of a beginning, and then of a piece again and again, in frames that are all the same."""
    compressor = zstandard.ZstdCompressor(level=19)
    path.write_bytes(compressor.compress(begin) + compressor.compress(piece) * times)
    return path


def wide_window(path: Path) -> Path:
    """A Zstandard file that asks for two gigabytes of memory."""
    descriptor = (31 - 10) << 3
    raw = (4 << 3 | 1).to_bytes(3, "little")
    path.write_bytes(b"\x28\xb5\x2f\xfd\x00" + bytes([descriptor]) + raw + b"{}{}")
    return path


def long_line(path: Path, begin: bytes, size: int) -> Path:
    """A file of a beginning and one line of that size, which takes no room on the disk."""
    with path.open("wb") as file:
        file.write(begin)
        file.truncate(len(begin) + size)
    return path


def zip_of(path: Path, members: Mapping[str, bytes]) -> Path:
    """A zip file of these members, whatever their names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path
