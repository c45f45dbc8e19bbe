"""Response bodies: read and unpacked up to a limit, then decoded to a JSON value or to text."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import orjson

from stb_core import json_text
from stb_server.upstream.values import UpstreamError

# Compressing content that cannot shrink makes it a little larger.
_SLACK = 65_536
_MAX_DEPTH = 200


class _Unpacker:
    """Unpacks one content coding piece by piece; never holds more than ``limit`` + 1 bytes of output."""

    def __init__(self, coding: str, limit: int) -> None:
        self._limit = limit
        self._is_gzip = coding in {"gzip", "x-gzip"}
        self._inflate: zlib._Decompress | None = None
        self._begun = self._ended = False
        self.output = bytearray()

    def feed(self, data: bytes) -> None:
        while data and not self._ended:
            inflate = self._inflate or self._begin(data)
            if inflate is None:
                return
            self.output += inflate.decompress(data, self._limit + 1 - len(self.output))
            if len(self.output) > self._limit:
                raise _too_large(self._limit)
            if inflate.eof:
                self._inflate, data = None, inflate.unused_data
            else:
                self._inflate, data = inflate, inflate.unconsumed_tail

    def _begin(self, data: bytes) -> zlib._Decompress | None:
        # A gzip file may have several members; what follows the last one is padding.
        self._ended = self._begun and not (self._is_gzip and data.startswith(b"\x1f"))
        self._begun = True
        if self._ended:
            return None
        if self._is_gzip:
            return zlib.decompressobj(31)
        # Some servers send deflate without the header that the standard asks for (RFC 9110, 8.4.1.2).
        return zlib.decompressobj(15 if data[0] & 0x0F == 8 else -15)

    def finish(self) -> bytes:
        if self._inflate is not None:
            raise UpstreamError("malformed", "The compressed body ends early.")
        return bytes(self.output)


def _too_large(limit: int) -> UpstreamError:
    return UpstreamError("too_large", f"The body is larger than {limit} bytes.")


async def read_body(chunks: AsyncIterator[bytes], coding: str, limit: int) -> bytes:
    """Read a body as it arrives and undo its content coding.

    Args:
        chunks: the body as sent.
        coding: the value of the header Content-Encoding.
        limit: the most bytes that the body may have, before and after unpacking.

    Raises:
        UpstreamError: it is larger, or not compressed as it says.
    """
    coding = coding.strip().lower()
    if coding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
        raise UpstreamError("malformed", "The body has a content coding that was not asked for.")
    unpacker = _Unpacker(coding, limit) if coding not in {"", "identity"} else None
    plain = bytearray()
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > limit + (_SLACK if unpacker else 0):
            raise _too_large(limit)
        if unpacker is None:
            plain += chunk
            continue
        try:
            unpacker.feed(chunk)
        except zlib.error:
            raise UpstreamError("malformed", "The body is not compressed as it says.") from None
    return bytes(plain) if unpacker is None else unpacker.finish()


class Content(NamedTuple):
    """A decoded body: ``value`` as a JSON value, or text with ``is_json`` off; ``text`` is valid Unicode."""

    value: Any
    text: str
    is_json: bool


_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)
# Some of Python's codecs are not character sets; these are, and APIs use them.
_CHARSETS = re.compile(
    r"utf-?(8|16|32)(-?[bl]e)?|us-ascii|ascii|latin-?1|iso-?8859-\d{1,2}|windows-125\d|cp125\d|koi8-[ru]"
    r"|shift[_-]jis|euc-(jp|kr)|iso-2022-jp|gb2312|gbk|gb18030|big5",
    re.IGNORECASE,
)
_NOT_TEXT = re.compile(
    r"(image/(?!svg)|audio/|video/|font/|application/(octet-stream|pdf|zip|gzip))", re.IGNORECASE
)


def decode_text(body: bytes, content_type: str) -> str:
    """The text of a body, in the character set that its content type names; UTF-8 if it names none.

    Raises:
        UpstreamError: it is not text, or not in that character set.
    """
    if body and _NOT_TEXT.match(content_type.strip()):
        raise UpstreamError("not_text", "The body is not text.")
    named = _CHARSET.search(content_type)
    charset = named[1] if named else "utf-8"
    if not _CHARSETS.fullmatch(charset):
        raise UpstreamError("malformed", "The body is in a character set that is not known.")
    try:
        text = body.decode(charset).removeprefix("\ufeff")
    except (UnicodeDecodeError, LookupError):
        raise UpstreamError("malformed", "The body is not in the character set that it names.") from None
    if "\0" in text:
        raise UpstreamError("not_text", "The body is not text.")
    return text


def parse_content(text: str) -> Content:
    """The content of a text: its JSON value if it is JSON.

    Raises:
        UpstreamError: it is nested too deep.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as problem:
        if "depth" in problem.msg or "recursion" in problem.msg.lower():
            raise _too_deep() from None
        return Content(text, text, is_json=False)
    if _deeper_than(value, _MAX_DEPTH):
        raise _too_deep()
    if json_text.may_hold_long_integers(text.encode()):
        value = json.loads(text)  # the fast reader makes a float of an integer beyond 64 bits
    return Content(value, text.strip(" \t\r\n"), is_json=True)


def _too_deep() -> UpstreamError:
    return UpstreamError("malformed", f"The body is nested deeper than {_MAX_DEPTH} levels.")


def _deeper_than(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return any(isinstance(item, dict | list) for item in level)
