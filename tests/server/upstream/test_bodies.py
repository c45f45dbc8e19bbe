"""Bodies of any kind are read within their limit, or refused by type."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_server.upstream.bodies import Content, decode_text, parse_content, read_body
from stb_server.upstream.values import UpstreamError


async def chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(data: bytes, coding: str = "", *, limit: int = 10_000, size: int = 4_096) -> bytes:
    return await read_body(chunks(data, size), coding, limit)


def deflate(data: bytes, wbits: int) -> bytes:
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(data) + packer.flush()


@given(st.binary(max_size=3_000), st.sampled_from(["", "gzip", "deflate", "raw"]), st.integers(1, 50))
async def test_what_was_packed_is_unpacked(data: bytes, coding: str, size: int) -> None:
    """In every coding, however it is cut into pieces."""
    packed = {
        "": data,
        "gzip": gzip.compress(data),
        "deflate": deflate(data, 15),
        "raw": deflate(data, -15),
    }[coding]

    assert data == await read(packed, "deflate" if coding == "raw" else coding, size=size)


async def test_a_gzip_body_may_have_several_members_and_padding() -> None:
    """As gzip files may."""
    packed = gzip.compress(b"one ") + gzip.compress(b"two") + b"\0\0\0"

    assert b"one two" == await read(packed, "gzip", size=1)


@pytest.mark.parametrize("coding", ["", "identity"])
async def test_a_body_beyond_the_limit_is_refused(coding: str) -> None:
    """At the first byte too many."""
    assert 10_000 == len(await read(b"a" * 10_000, coding))

    with pytest.raises(UpstreamError) as caught:
        await read(b"a" * 10_001, coding)

    assert "too_large" == caught.value.kind


@pytest.mark.parametrize("wbits", [31, 15])
async def test_a_bomb_is_refused_before_it_goes_off(wbits: int) -> None:
    """A gigabyte in a megabyte is never unpacked beyond the limit."""
    packer = zlib.compressobj(9, wbits=wbits)
    block = bytes(1 << 20)
    bomb = b"".join(packer.compress(block) for _ in range(64)) + packer.flush()

    with pytest.raises(UpstreamError) as caught:
        await read(bomb, "gzip" if wbits == 31 else "deflate", size=len(bomb))

    assert "too_large" == caught.value.kind


@pytest.mark.parametrize(
    ("data", "coding"),
    [
        (b"not packed", "gzip"),
        (b"\xff\xff\xff\xff", "deflate"),
        (gzip.compress(b"cut" * 100, mtime=0)[:-9], "gzip"),
        (gzip.compress(b"cut", mtime=0)[:5], "gzip"),
        (b"x", "br"),
        (gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "gzip, gzip"),
    ],
)
async def test_what_is_not_packed_as_it_says_is_malformed(data: bytes, coding: str) -> None:
    """A wrong, cut or unknown coding."""
    with pytest.raises(UpstreamError) as caught:
        await read(data, coding)

    assert "malformed" == caught.value.kind


@pytest.mark.parametrize(
    ("body", "content_type", "value", "is_json"),
    [
        (b'{"a": 1}', "application/json", {"a": 1}, True),
        (b'\xef\xbb\xbf{"a": 1}\n', "text/plain", {"a": 1}, True),
        ('{"a": "é"}'.encode("latin-1"), "application/json; charset=ISO-8859-1", {"a": "é"}, True),
        ("Größe".encode(), "text/plain", "Größe", False),
        ("Größe".encode("utf-16"), 'text/plain; charset="utf-16"', "Größe", False),
        ("日本".encode("shift_jis"), "text/html; charset=Shift_JIS", "日本", False),
        (b"{'a': 1}", "application/json", "{'a': 1}", False),
        (b"", "image/png", "", False),
        (b"NaN", "application/json", "NaN", False),
        (b"1e999", "application/json", "1e999", False),
        (b"[123456789012345678901]", "application/json", [123456789012345678901], True),
    ],
)
def test_bodies_are_decoded(body: bytes, content_type: str, value: Any, is_json: bool) -> None:
    """JSON wherever it is JSON, and text in its character set."""
    content = parse_content(decode_text(body, content_type))

    assert (value, is_json) == (content.value, content.is_json)


@pytest.mark.parametrize(
    ("body", "content_type", "kind"),
    [
        (b"Gr\xf6\xdfe", "text/plain", "malformed"),
        (b"Gr\xf6\xdfe", "text/plain; charset=utf-8", "malformed"),
        (b"abc", "text/plain; charset=klingon", "malformed"),
        (b"nop", "text/plain; charset=rot13", "malformed"),
        (b"x\x9c", "text/plain; charset=zlib", "malformed"),
        (b"abc", "text/plain; charset=unicode_escape", "malformed"),
        (b"[" * 5_000 + b"]" * 5_000, "application/json", "malformed"),
        (b"[" * 300 + b"]" * 300, "application/json", "malformed"),
        (b"\x89PNG\r\n", "image/png", "not_text"),
        (b"%PDF-1.7", "application/pdf", "not_text"),
        (b"a\0b", "text/plain", "not_text"),
    ],
)
def test_what_cannot_be_decoded_is_refused(body: bytes, content_type: str, kind: str) -> None:
    """Wrong or unknown character sets, what is no text, and what is nested beyond reason."""
    with pytest.raises(UpstreamError) as caught:
        parse_content(decode_text(body, content_type))

    assert kind == caught.value.kind


@given(st.binary(), st.text())
def test_any_body_is_decoded_or_refused(body: bytes, content_type: str) -> None:
    """Nothing else happens."""
    try:
        content = parse_content(decode_text(body, content_type))
    except UpstreamError:
        return
    assert isinstance(content, Content)
    content.text.encode()
