"""JSON without losing a digit: reading what comes from outside, writing, and replacing lone surrogates.

Three readers, from the strictest to the most lenient:

* ``parse_strictly`` takes what RFC 8259 allows: for calls, whose key must be the same everywhere.
* ``parse_replacing_surrogates`` also takes halves of surrogate pairs, as ``?``: for replies of models.
* ``parse`` also takes NaN and the infinities, which Python writes: for files.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from stb_core.errors import FormatError

# Every digit becomes "0" and every other byte " ": a search for a run of digits at memory speed.
_DIGITS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_BEYOND_64_BITS = b"0" * 19


def parse_strictly(raw: str | bytes) -> Any:
    """The value of a JSON text that keeps to the standard, integers of any length included.

    Raises:
        FormatError: the text is not JSON, or holds NaN, an infinity or half of a surrogate pair; the
            message is the reason alone.
    """
    try:
        value = orjson.loads(raw)
        # orjson makes a float of an integer beyond 64 bits.
        return json.loads(raw) if may_hold_long_integers(raw) else value
    except ValueError as problem:
        raise FormatError(str(problem).split(": line", maxsplit=1)[0]) from None
    except RecursionError:
        raise FormatError("nested too deeply") from None


def parse_replacing_surrogates(raw: bytes) -> Any:
    """As ``parse_strictly``, but halves of surrogate pairs become ``?``.

    Raises:
        FormatError: as ``parse_strictly``.
    """
    try:
        return parse_strictly(raw)
    except FormatError:
        return parse_strictly(replace_surrogates(json.dumps(parse_leniently(raw), ensure_ascii=False)))


def parse(raw: bytes) -> Any:
    """The value of a JSON text, integers of any length included.

    NaN and the infinities, which JSON does not have but Python writes, become floats.

    Raises:
        FormatError: the text is not JSON; the message is the reason alone.
    """
    if not may_hold_long_integers(raw):
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            pass  # Python's reader accepts more, and explains what it does not accept
    return parse_leniently(raw)


def parse_leniently(raw: bytes) -> Any:
    """The value as Python's own, slower reader reads it.

    Raises:
        FormatError: as ``parse``.
    """
    if not raw.strip():
        raise FormatError("is empty")
    try:
        return json.loads(raw)
    except UnicodeDecodeError as problem:
        raise FormatError(f"is not UTF-8 text: byte {problem.start}") from None
    except json.JSONDecodeError as problem:
        place = f"line {problem.lineno}, column {problem.colno}"
        raise FormatError(f"is not JSON: {problem.msg} at {place}") from None
    except ValueError as problem:  # an integer of more than 4,300 digits
        raise FormatError(f"is not JSON that can be read: {problem}") from None
    except RecursionError:
        raise FormatError("is nested too deeply") from None


def may_hold_long_integers(raw: str | bytes) -> bool:
    """Whether there is a run of digits that may be an integer beyond 64 bits."""
    data = raw.encode() if isinstance(raw, str) else raw
    return _BEYOND_64_BITS in data.translate(_DIGITS)


def replace_surrogates(text: str) -> str:
    """The text with ``?`` for each half of a surrogate pair, which no encoding and no store can hold."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def encode(value: Any) -> bytes:
    """Compact JSON of a decoded value, fields in their order and all values kept.

    Raises:
        FormatError: it holds what JSON cannot carry: NaN, an infinity, half of a surrogate pair.
    """
    try:
        body = orjson.dumps(value)
        if b"null" not in body:  # which is what it writes for NaN
            return body
    except orjson.JSONEncodeError:
        body = b""  # an integer beyond 64 bits, or nested beyond its limit
    try:
        exact = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError:
        raise FormatError("holds half of a surrogate pair, which is not text") from None
    except ValueError:
        raise FormatError("holds NaN or an infinity, which JSON cannot carry") from None
    except RecursionError:
        raise FormatError("is nested too deeply") from None
    return body or exact


def trim(data: bytes) -> bytes:
    """The same bytes in no more memory than they need: for what is kept.

    orjson writes into a buffer of at least four kilobytes, and leaves it at that, however short the text is.
    """
    return b"".join((data, b""))  # with the empty part it is a copy; bytes(data) would be the same object
