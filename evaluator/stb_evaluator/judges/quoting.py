"""Quoting foreign text in a prompt so that it cannot pretend to be part of the prompt.

Each piece stands between marker lines that carry a nonce. The nonce is made from the pieces, so the
same material is always quoted in the same way, and it occurs in none of them, so no piece can hold
a line that closes its own quotation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

_LENGTH = 24


def make_nonce(pieces: Mapping[str, str]) -> str:
    """24 hexadecimal digits that occur in no piece."""
    digest = hashlib.sha256()
    for name, text in pieces.items():
        data = text.encode("utf-8", "surrogatepass")
        digest.update(f"{name}:{len(data)}:".encode() + data)
    everything = "\0".join(pieces.values()).lower()
    while (nonce := digest.hexdigest()[:_LENGTH]) in everything:
        digest.update(b"again")
    return nonce


def quote(pieces: Mapping[str, str], nonce: str) -> str:
    """All pieces, each between its marker lines."""
    return "\n\n".join(
        f"[{nonce} begin {name}]\n{text}\n[{nonce} end {name}]" for name, text in pieces.items()
    )


def shorten(text: str, limit: int) -> str:
    """The first ``limit`` characters of a text, and how many were left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n[{len(text) - limit} further characters are not shown]"
