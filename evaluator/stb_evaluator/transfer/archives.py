"""Whether a zip file is, byte for byte, what a bundle's members make; without relying on this machine's zlib.

What stands around the packed members is built again and compared. The members themselves are guarded by
their checksums; of the few bits of a packed member that mean nothing, those at its end, an alteration shows
where packing again differs in a single byte. Where it differs in more, another library has packed.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass

_LOCAL = struct.Struct("<4s2B4HL2L2H")
_ENTRY = struct.Struct("<4s4B4HL2L5H2L")
_END = struct.Struct("<4s4H2LH")
_VERSION, _UNIX, _DATE, _MODE = 20, 3, 33, 0o644 << 16


@dataclass(frozen=True)
class _Member:
    name: bytes
    packed: bytes
    checksum: int
    size: int


def first_odd_byte(data: bytes) -> str:
    """Where an archive differs from what its members make, in words; "" where it does not.

    ``data`` is an archive that could be read.
    """
    members = _members(data)
    again = _assembled(members)
    if again != data:
        at = next((i for i, (a, b) in enumerate(zip(data, again, strict=False)) if a != b), len(again))
        return f"byte {at} of the archive, {_around(members, at)}"
    for member in members:
        if _is_odd(member.packed):
            return f"a byte where {member.name.decode()} is packed"
    return ""


def _is_odd(packed: bytes) -> bool:
    """Whether a packed member has a byte that changes nothing of what it unpacks to, and was altered."""
    reader = zlib.decompressobj(-15)
    try:
        content = reader.decompress(packed)
    except zlib.error:
        return True
    if not reader.eof or reader.unused_data:
        return True
    packer = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -15)
    again = packer.compress(content) + packer.flush()
    return len(again) == len(packed) and sum(a != b for a, b in zip(packed, again, strict=True)) == 1


def _members(data: bytes) -> list[_Member]:
    found: list[_Member] = []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            start = info.header_offset + _LOCAL.size + len(info.filename.encode())
            packed = data[start : start + info.compress_size]
            found.append(_Member(info.filename.encode(), packed, info.CRC, info.file_size))
    return found


def _assembled(members: list[_Member]) -> bytes:
    """The archive as ``zipfile`` writes it."""
    parts: list[bytes] = []
    entries: list[bytes] = []
    offset = 0
    for m in members:
        common = (0, zipfile.ZIP_DEFLATED, 0, _DATE, m.checksum, len(m.packed), m.size, len(m.name), 0)
        parts += [_LOCAL.pack(b"PK\3\4", _VERSION, 0, *common), m.name, m.packed]
        entries.append(
            _ENTRY.pack(b"PK\1\2", _VERSION, _UNIX, _VERSION, 0, *common, 0, 0, 0, _MODE, offset) + m.name
        )
        offset += _LOCAL.size + len(m.name) + len(m.packed)
    listed = b"".join(entries)
    end = _END.pack(b"PK\5\6", 0, 0, len(members), len(members), len(listed), offset, 0)
    return b"".join([*parts, listed, end])


def _around(members: list[_Member], at: int) -> str:
    """Which member a byte is about."""
    offset = 0
    for member in members:
        offset += _LOCAL.size + len(member.name) + len(member.packed)
        if at < offset:
            return f"where {member.name.decode()} is packed"
    return "in its list of members"
