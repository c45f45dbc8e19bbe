"""Guess a function's arguments without a model: from the task, from earlier observations, from examples.

A parameter's documented default shows what its values look like: ``H-101`` or ``2026-06-19`` in a task
is a value for the parameter whose default has that shape. Among parameters of one shape the words beside
the value decide: "2 nights", "from EUR to GBP", "hotel 'H-101'".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stb_core.values.functions import ApiFunction, Slot

MAX_GUESSES = 3

_MENTION = re.compile(
    r"(?<!\w)'(?P<single>[^'\n]{1,80})'(?!\w)"
    r'|"(?P<double>[^"\n]{1,80})"'
    r"|(?P<address>https?://[^\s,]+[^\s,.?!]|[\w.+-]+@[\w-]+\.[\w.]+\w)"
    r"|(?P<code>\b[A-Za-z]*\d[\w]*(?:[-_.:/]\w+)+\b|\b[A-Z]+(?:-[A-Z0-9]+)+\b)"
    r"|(?P<number>(?<![\w.-])-?\d+(?:\.\d+)?(?![\w-]))"
    r"|(?P<name>\b[A-Z][\w']*(?: [A-Z][\w']*)*)"
)
_FACT = re.compile(
    r"""["'\\]*([A-Za-z_]\w*)["'\\]+\s*:\s*"""
    r"""(?:(?P<escape>\\*)"(?P<text>[^"\\]+)(?P=escape)"|'(?P<quoted>[^'\\]+)'"""
    r"""|(?P<bare>-?\d[\d.eE+-]*|[Tt]rue|[Ff]alse))"""
)
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_WORD = re.compile(r"[A-Za-z]+")
_SENTENCE_START = re.compile(r"(?:\A|[.!?:]\s+)\Z")
_PLACE_NAMES = frozenset({"city", "location", "country", "place", "region", "state", "destination", "town"})
_PLACE_WORDS = frozenset({"in", "of", "near", "at", "for"})
_ALTERNATIVES = re.compile(r"\b(\w+)(?: or |/|, )\w+")

_SURE = 3.0
"""From this score on, a mention is what the task means, and not just a possible value."""
_NEVER = float("-inf")


@dataclass(frozen=True)
class Mention:
    """A value in the text of a task."""

    value: str
    start: int
    end: int
    quoted: bool = False


def mentions(text: str) -> list[Mention]:
    """Quoted words, addresses, codes, dates, numbers and names, in order."""
    found: list[Mention] = []
    for match in _MENTION.finditer(text):
        kind = match.lastgroup or ""
        if kind == "name" and _SENTENCE_START.search(text[: match.start()]):
            continue  # the first word of a sentence always has a capital letter
        value = match[kind]
        found.append(Mention(value, match.start(), match.end(), quoted=kind in {"single", "double"}))
    return found


def shape(value: Any) -> str:
    """``"H-101"`` → ``"A-9"``: letters by case, digits, and everything else as it is."""
    text = re.sub(r"[A-Z]+", "A", str(value))
    return re.sub(r"[0-9]+", "9", re.sub(r"[a-z]+", "a", text))


def facts(observation: str) -> list[tuple[str, str]]:
    """Names and values in a tool's answer, in order. The answer may be cut off, or not be JSON."""
    found = [(m[1], m["text"] or m["quoted"] or m["bare"]) for m in _FACT.finditer(observation)]
    return [(name, value) for name, value in found if name != "error"]


def guesses(function: ApiFunction, text: str, seen: Sequence[tuple[str, str]] = ()) -> list[dict[str, Any]]:
    """Arguments to try, the most likely first: up to three different guesses.

    Args:
        function: that is to be called.
        text: the task.
        seen: names and values from earlier observations.
    """
    required = [slot for slot in function.slots if slot.required]
    optional = [slot for slot in function.slots if not slot.required]
    ranked = _assign(function, required, text)
    best = {slot.name: _value(slot, ranked.get(slot.name, []), seen) for slot in required}
    extras = {
        slot.name: _typed(slot, found[0][1].value)
        for slot in optional
        if (found := _assign(function, [slot], text).get(slot.name)) and found[0][0] >= _SURE + 1
    }
    by_example = {slot.name: slot.example for slot in required}
    second = best | {
        slot.name: _typed(slot, ranked[slot.name][1][1].value)
        for slot in required
        if len(ranked.get(slot.name, [])) > 1
    }
    tried: list[dict[str, Any]] = []
    for guess in ({**best, **extras}, best, by_example, second):
        known = {name: value for name, value in guess.items() if value is not None}
        if known not in tried:
            tried.append(known)
    return tried[:MAX_GUESSES]


def _assign(
    function: ApiFunction, slots: Sequence[Slot], text: str
) -> dict[str, list[tuple[float, Mention]]]:
    """Slot → its possible mentions with their scores, the best first; no value is the best of two slots."""
    in_text = mentions(text)
    scores = {
        slot.name: sorted(
            (
                (score, mention)
                for mention in in_text
                if (score := _score(slot, mention, function, text)) > _NEVER
            ),
            key=lambda pair: (-pair[0], pair[1].start),
        )
        for slot in slots
    }
    used: set[str] = set()
    for name in sorted(scores, key=lambda name: -max((s for s, _ in scores[name]), default=_NEVER)):
        scores[name] = [pair for pair in scores[name] if pair[1].value not in used]
        if scores[name]:
            used.add(scores[name][0][1].value)
    return scores


def _score(slot: Slot, mention: Mention, function: ApiFunction, text: str) -> float:
    """How well a mention fits a slot; ``_NEVER`` when it cannot be its value."""
    is_number = _NUMBER.fullmatch(mention.value) is not None
    alike = slot.type == "string" and slot.example is not None and shape(slot.example) == shape(mention.value)
    wants_number = slot.type in {"number", "integer"}
    if slot.type in {"boolean", "array", "object"} or (wants_number != is_number and not alike):
        return _NEVER
    score = 1.0 if mention.quoted or wants_number else 0.0
    if slot.type == "string" and slot.example is not None:
        score += 2.0 if alike else -1.0
        score += 1.0 if alike and _prefix(slot.example) == _prefix(mention.value) else 0.0
        score += 2.0 if slot.example == mention.value else 0.0
    if mention.value.lower() in _words(slot.parameter.description):
        score += 4.0
    score += _cue(slot, mention, text)
    return score + _nearness(mention, function, text)


def _cue(slot: Slot, mention: Mention, text: str) -> float:
    """Score of the words beside a mention: high where they name the parameter."""
    names = _stems(_words(slot.parameter.name.replace("_", " "))) - {"id", "of", "the", "name"}
    before = _words(text[: mention.start][-40:])
    after = _words(text[mention.end :][:40])
    if before and before[-1] in _words(slot.parameter.name):
        return 3.0
    if names & _stems(before[-2:]) or names & _stems(after[:1]):
        return 3.0
    if names & _stems(after[1:4]):
        return 2.0
    is_place = bool(names & _PLACE_NAMES)
    return 2.0 if is_place and not mention.quoted and before and before[-1] in _PLACE_WORDS else 0.0


def _nearness(mention: Mention, function: ApiFunction, text: str) -> float:
    """1 beside a word of the API's name, 0 at the other end of the text."""
    names = {word for word in _stems(_words(function.api.document.name)) if len(word) > 3}
    places = [m.start() for m in _WORD.finditer(text) if _stems([m[0].lower()]) & names]
    if not places:
        return 0.0
    return 1.0 - min(abs(mention.start - place) for place in places) / len(text)


def _value(slot: Slot, ranked: Sequence[tuple[float, Mention]], seen: Sequence[tuple[str, str]]) -> Any:
    """A sure mention in the task, else a fact from an observation, else a possible mention, else the example."""
    if ranked and ranked[0][0] >= _SURE:
        return _typed(slot, ranked[0][1].value)
    if (fact := _seen_value(slot, seen)) is not None:
        return _typed(slot, fact)
    if slot.example is not None and not (ranked and ranked[0][0] >= 1.0):
        return slot.example
    if ranked:
        return _typed(slot, ranked[0][1].value)
    alternatives = _ALTERNATIVES.search(slot.parameter.description)
    return alternatives[1] if alternatives and slot.type == "string" else slot.example


def _seen_value(slot: Slot, seen: Sequence[tuple[str, str]]) -> str | None:
    """The first fact with the parameter's name, or with the shape of its example."""
    name = slot.parameter.name.lower()
    for key, value in seen:
        if key.lower() == name:
            return value
    if slot.example is None or not re.search(r"\d", str(slot.example)):
        return None
    for _, value in seen:
        if shape(value) == shape(slot.example) and _prefix(value) == _prefix(slot.example) != "":
            return value
    return None


def _typed(slot: Slot, value: str) -> Any:
    """The value in the slot's type; as it is where it cannot be converted."""
    if slot.type in {"number", "integer"}:
        try:
            number = float(value)
        except ValueError:
            return value
        return int(number) if number.is_integer() else number
    return value


def _prefix(value: Any) -> str:
    """The letters that a code begins with."""
    found = re.match(r"[A-Za-z]+(?=[-_\d])", str(value))
    return found[0] if found else ""


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _stems(words: Sequence[str] | Mapping[str, Any]) -> set[str]:
    """Words without a plural's s."""
    return {word.removesuffix("s") if len(word) > 3 else word for word in words}
