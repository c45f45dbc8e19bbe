"""Answers made by rule: of the API's documented shape, and dependent only on the call.

No model and no clock is used. Values come from a generator that is seeded with the call's key. A member
named like an argument has the value of that argument, so that an agent finds what it asked for. The answers
have the provenance ``template``; they are plausible, not true.
"""

from __future__ import annotations

from random import Random
from typing import Any

from stb_core.values import ApiRef, JsonObject, Provenance
from stb_core.values.names import standardize_parameter
from stb_server.calls import (
    Answer,
    CallRequest,
    Decline,
    Documents,
    Leaf,
    encode_answer,
    fill_template,
    parse_template,
)

NAME = "template/1"


class TemplateSimulator:
    """Answers calls of APIs that are documented with a response template; declines all others."""

    by_rule = True

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def answer(self, request: CallRequest) -> Answer | Decline:
        """An answer in place of the API's."""
        call = request.call
        document = await self._documents(request.dataset.id, ApiRef(call.category, call.tool, call.api))
        template = None if document is None else parse_template(document.template_response)
        if template is None:
            return Decline("no_template", f"{call.api} of {call.tool} has no response template.")
        value = simulate(template, call.arguments, call.key)
        return Answer(encode_answer("", value), Provenance.TEMPLATE, details={"simulator": NAME})


def simulate(template: Any, arguments: JsonObject, key: str) -> Any:
    """A value of the template's shape; the same template, arguments and key give the same value."""
    rng = Random(key)
    echoes = {_plain(name): value for name, value in arguments.items()}

    def make(leaf: Leaf) -> Any:
        drawn = rng.random()  # always one draw, so that an echo does not move the values after it
        echo = _fitting(echoes.get(_plain(leaf.name)), leaf.type)
        return _draw(leaf, drawn) if echo is None else echo

    return fill_template(template, make)


def _plain(name: str) -> str:
    return standardize_parameter(name).removeprefix("is_").replace("_", "")


_LONGEST_ECHO = 500
_LARGEST_ECHO = 2**53


def _fitting(value: Any, leaf_type: str) -> Any:
    """An argument as a value of the leaf's type, or None if it does not fit."""
    if value is None or isinstance(value, list | dict):
        return None
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    match leaf_type:
        case "str":
            return text if len(text) <= _LONGEST_ECHO else None
        case "bool":
            return {"true": True, "false": False}.get(text.lower())
        case "int" | "float" if not isinstance(value, bool):
            return _number(text, leaf_type)
    return None


def _number(text: str, leaf_type: str) -> int | float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    if not abs(number) < _LARGEST_ECHO:  # nor if it is not a number
        return None
    if leaf_type == "float":
        return number
    return int(number) if number.is_integer() else None


_WORDS = ("Amber", "Birch", "Cobalt", "Delta", "Ember", "Fjord", "Granite", "Harbor", "Indigo", "Juniper")
_PLACES = ("Lisbon", "Nairobi", "Osaka", "Quito", "Riga", "Sydney", "Tallinn", "Utrecht")
_CURRENCIES = ("USD", "EUR", "GBP", "JPY")
_FAILURES = frozenset({"error", "errors", "err", "failed", "haserror", "errormessage"})
_DEGREES = frozenset({"lat", "lng", "lon", "latitude", "longitude"})

# What a text is about, by the end of its member's name; the first match counts.
_ENDINGS = {
    "nothing": tuple(_FAILURES),
    "link": ("url", "link", "href", "image", "img", "uri", "website", "thumbnail", "logo", "icon"),
    "address": ("email",),
    "identifier": ("id",),
    "day": ("date", "time", "edat", "timestamp"),
    "place": ("city", "country", "state", "location", "place"),
    "currency": ("currency",),
    "name": ("name", "title", "author", "artist"),
    "remark": ("status", "message", "msg"),
}


def _draw(leaf: Leaf, drawn: float) -> Any:
    plain = _plain(leaf.name)
    match leaf.type:
        case "str":
            value: Any = _text(leaf.name, plain, drawn)
        case "int":
            value = _integer(plain, drawn)
        case "float":
            value = round(drawn * (90 if plain in _DEGREES else 100), 2)
        case "bool":
            value = plain not in _FAILURES and (plain in {"success", "ok"} or drawn < 0.5)
        case "list" | "dict":
            value = [] if leaf.type == "list" else {}
        case _:
            value = None
    return value


def _text(name: str, plain: str, drawn: float) -> str:
    number = int(drawn * 9_000) + 1_000
    word = _pick(_WORDS, drawn)
    texts = {
        "nothing": "",
        "link": f"https://example.com/{plain}/{number}",
        "address": f"{word.lower()}.{number}@example.com",
        "identifier": f"{plain[:-2] or 'item'}-{number}",
        "day": f"2023-{int(drawn * 12) + 1:02}-{int(drawn * 336) % 28 + 1:02}",
        "place": _pick(_PLACES, drawn),
        "currency": _pick(_CURRENCIES, drawn),
        "name": f"{word} {number}",
        "remark": "ok",
    }
    for about, endings in _ENDINGS.items():
        if plain.endswith(endings):
            return texts[about]
    return f"{name or 'value'} {word.lower()} {number}"


def _pick(words: tuple[str, ...], drawn: float) -> str:
    return words[int(drawn * len(words))]


def _integer(plain: str, drawn: float) -> int:
    if plain.endswith("year"):
        return 1990 + int(drawn * 34)
    if "timestamp" in plain:
        return 1_672_531_200 + int(drawn * 31_536_000)  # within 2023
    if plain in {"status", "statuscode", "code"}:
        return 200
    return 1 if plain in {"page", "pages", "totalpages"} else int(drawn * 1_000)
