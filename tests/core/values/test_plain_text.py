"""Text as a terminal may be given it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_core.values.plain_text import decode_name, escape_control_characters, fit_encoding

ENCODINGS = st.sampled_from(["ascii", "cp1252", "latin-1", "utf-8", "koi8-r"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("red \x1b[31m", "red \\u001b[31m"),
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("\x9b2J\x7f\r", "\\u009b2J\\u007f\\u000d"),
        (
            "\u202eRTL\u202c \u2066x\u2069 \u200e\u200f\u061c",
            "\\u202eRTL\\u202c \\u2066x\\u2069 \\u200e\\u200f\\u061c",
        ),
        ("half \udcfc", "half \\udcfc"),
        ("one\n\ttwo, Øslo 北京 🌦", "one\n\ttwo, Øslo 北京 🌦"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    """Line breaks, tabs and letters of any script stay as they are."""
    assert escape_control_characters(text) == shown


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", "56.4+/-0.8 \\u00d8slo \\ud83c\\udf26 -> ..."),
        ("cp1252", "56.4±0.8 Øslo \\ud83c\\udf26 -> …"),
        ("utf-8", "56.4±0.8 Øslo 🌦 → …"),
        (None, "56.4±0.8 Øslo 🌦 → …"),
    ],
)
def test_what_an_encoding_lacks_is_in_plain_words(encoding: str | None, shown: str) -> None:
    """Our own signs as words, all else by number."""
    assert fit_encoding("56.4±0.8 Øslo 🌦 → …", encoding) == shown


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)), ENCODINGS)
def test_a_json_document_stays_the_same(document: object, encoding: str) -> None:
    """Whatever is written out, and whatever the encoding."""
    text = json.dumps(document, ensure_ascii=False)

    shown = fit_encoding(escape_control_characters(text), encoding, literally=True)

    assert json.loads(shown) == document
    assert shown.encode(encoding).decode(encoding) == shown


def test_a_name_that_the_locale_could_not_decode_is_decoded() -> None:
    """Where it is UTF-8; else its bytes are written out."""
    assert decode_name("caf\udcc3\udca9") == "café"
    assert decode_name("caf\udce9") == "caf\\udce9"
