r"""Text for people: counts with their nouns, and text as a terminal may be given it.

A terminal obeys nothing in it, and what an encoding lacks is in plain words.

What cannot be shown is written as in JSON, ``\u001b``: so a JSON document stays the same document.
"""

from __future__ import annotations

import codecs
import re

# Line breaks and tabs may stay. Besides C0 and C1 these change the direction of text, or are halves of a character.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_UNDECODED = re.compile("[\udc80-\udcff]+")

# Characters that our own texts use.
_PLAIN_WORDS = {
    "±": "+/-",
    "\N{MULTIPLICATION SIGN}": "x",
    "…": "...",
    "→": "->",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "≤": "<=",
    "≥": ">=",
}


def count_noun(count: int, noun: str) -> str:
    """A count and what it counts: ``1 answer``, ``3 answers``. The noun is one whose plural ends in s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def escape_control_characters(text: str) -> str:
    """Text in which everything that a terminal would obey is written out, except line breaks and tabs."""
    return _OBEYED.sub(lambda found: _escape(found[0]), text)


def fit_encoding(text: str, encoding: str | None, *, literally: bool = False) -> str:
    """Text with nothing in it that an encoding lacks.

    Args:
        text: of any characters.
        encoding: its name; None for one that holds everything.
        literally: use no words in place of signs such as "±", since the text is data.
    """
    if text.isascii() or not encoding or encoding.lower().replace("-", "").startswith("utf"):
        return text
    return text.encode(encoding, "stb.literal" if literally else "stb.plain").decode(encoding)


def decode_name(name: str) -> str:
    """A file's name, or an argument, as it is meant where the locale could not decode it; else unchanged."""
    return _UNDECODED.sub(lambda found: _decode(found[0]), name)


def _decode(text: str) -> str:
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError:
        return _escape(text)


def _escape(text: str) -> str:
    codes = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{codes[at]:02x}{codes[at + 1]:02x}" for at in range(0, len(codes), 2))


def _replace(problem: UnicodeError) -> tuple[str, int]:
    assert isinstance(problem, UnicodeEncodeError)
    lacking = problem.object[problem.start : problem.end]
    return "".join(_PLAIN_WORDS.get(one) or _escape(one) for one in lacking), problem.end


def _replace_literally(problem: UnicodeError) -> tuple[str, int]:
    assert isinstance(problem, UnicodeEncodeError)
    return _escape(problem.object[problem.start : problem.end]), problem.end


codecs.register_error("stb.plain", _replace)
codecs.register_error("stb.literal", _replace_literally)
