"""JSON that keeps every digit, read three ways, and text without halves of surrogate pairs."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from stb_core import json_text
from stb_core.errors import FormatError

LONG = 123456789012345678901234567890
READERS = [json_text.parse_strictly, json_text.parse_replacing_surrogates, json_text.parse]


@pytest.mark.parametrize("parse", READERS)
def test_every_reader_keeps_long_integers(parse: Callable[[bytes], Any]) -> None:
    """An integer beyond 64 bits has all its digits, and text of digits stays text."""
    assert {"n": LONG, "text": str(LONG)} == parse(b'{"n": %d, "text": "%d"}' % (LONG, LONG))


@pytest.mark.parametrize("raw", [b"", b"{", b"{} {}", b"[NaN]", b'"\\ud800"', b"\xff", b"[" * 100_000])
def test_the_strict_reader_refuses_what_the_standard_does_not_have(raw: bytes) -> None:
    """What is not JSON, NaN, half of a surrogate pair and endless nesting are one kind of error."""
    with pytest.raises(FormatError):
        json_text.parse_strictly(raw)


def test_text_and_bytes_are_read_alike() -> None:
    """The strict reader takes either."""
    assert json_text.parse_strictly("[1, 2]") == json_text.parse_strictly(b"[1, 2]")


def test_halves_of_surrogate_pairs_become_question_marks() -> None:
    """A reply of a model that holds one can be read, long integers beside it included."""
    raw = b'{"a": "x\\ud800y", "n": %d}' % LONG

    assert {"a": "x?y", "n": LONG} == json_text.parse_replacing_surrogates(raw)


def test_files_may_hold_nan() -> None:
    """Python writes NaN into JSON, so files have it."""
    (value,) = json_text.parse(b"[NaN]")

    assert math.isnan(value)


def test_text_without_halves_of_pairs_stays_as_it_is() -> None:
    """Whole pairs and other letters are left alone."""
    assert "ü😀?" == json_text.replace_surrogates("ü😀\ud83d")


def test_a_written_long_integer_is_read_back() -> None:
    """Writing keeps all digits too."""
    assert {"n": LONG} == json_text.parse(json_text.encode({"n": LONG}))


def test_trimmed_bytes_take_what_they_need() -> None:
    """What is encoded is in a buffer of kilobytes; the copy is not, and it is the same text."""
    tracemalloc.start()
    try:
        kept = [json_text.trim(json_text.encode({"number": number})) for number in range(1000)]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert b'{"number":7}' == kept[7]
    assert taken < 200 * len(kept)
