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

from stb_core.values.functions import ApiFunction, FunctionParameter

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
    required = [parameter for parameter in function.parameters if parameter.required]
    optional = [parameter for parameter in function.parameters if not parameter.required]
    ranked = _assign(function, required, text)
    best = {parameter.name: _value(parameter, ranked.get(parameter.name, []), seen) for parameter in required}
    extras = {
        parameter.name: _typed(parameter, found[0][1].value)
        for parameter in optional
        if (found := _assign(function, [parameter], text).get(parameter.name)) and found[0][0] >= _SURE + 1
    }
    by_example = {parameter.name: parameter.example for parameter in required}
    second = best | {
        parameter.name: _typed(parameter, ranked[parameter.name][1][1].value)
        for parameter in required
        if len(ranked.get(parameter.name, [])) > 1
    }
    tried: list[dict[str, Any]] = []
    for guess in ({**best, **extras}, best, by_example, second):
        known = {name: value for name, value in guess.items() if value is not None}
        if known not in tried:
            tried.append(known)
    return tried[:MAX_GUESSES]


def _assign(
    function: ApiFunction, parameters: Sequence[FunctionParameter], text: str
) -> dict[str, list[tuple[float, Mention]]]:
    """Parameter → its possible mentions with their scores, the best first; no two parameters share their best value."""
    in_text = mentions(text)
    scores = {
        parameter.name: sorted(
            (
                (score, mention)
                for mention in in_text
                if (score := _score(parameter, mention, function, text)) > _NEVER
            ),
            key=lambda pair: (-pair[0], pair[1].start),
        )
        for parameter in parameters
    }
    used: set[str] = set()
    for name in sorted(scores, key=lambda name: -max((s for s, _ in scores[name]), default=_NEVER)):
        scores[name] = [pair for pair in scores[name] if pair[1].value not in used]
        if scores[name]:
            used.add(scores[name][0][1].value)
    return scores


def _score(parameter: FunctionParameter, mention: Mention, function: ApiFunction, text: str) -> float:
    """How well a mention fits a parameter; ``_NEVER`` if it cannot be its value."""
    is_number = _NUMBER.fullmatch(mention.value) is not None
    alike = (
        parameter.type == "string"
        and parameter.example is not None
        and shape(parameter.example) == shape(mention.value)
    )
    wants_number = parameter.type in {"number", "integer"}
    if parameter.type in {"boolean", "array", "object"} or (wants_number != is_number and not alike):
        return _NEVER
    score = 1.0 if mention.quoted or wants_number else 0.0
    if parameter.type == "string" and parameter.example is not None:
        score += 2.0 if alike else -1.0
        score += 1.0 if alike and _prefix(parameter.example) == _prefix(mention.value) else 0.0
        score += 2.0 if parameter.example == mention.value else 0.0
    if mention.value.lower() in _words(parameter.document.description):
        score += 4.0
    score += _cue(parameter, mention, text)
    return score + _nearness(mention, function, text)


def _cue(parameter: FunctionParameter, mention: Mention, text: str) -> float:
    """Score of the words beside a mention: high where they name the parameter."""
    names = _stems(_words(parameter.document.name.replace("_", " "))) - {"id", "of", "the", "name"}
    before = _words(text[: mention.start][-40:])
    after = _words(text[mention.end :][:40])
    if before and before[-1] in _words(parameter.document.name):
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


def _value(
    parameter: FunctionParameter, ranked: Sequence[tuple[float, Mention]], seen: Sequence[tuple[str, str]]
) -> Any:
    """A sure mention in the task, else a fact from an observation, else a possible mention, else the example."""
    if ranked and ranked[0][0] >= _SURE:
        return _typed(parameter, ranked[0][1].value)
    if (fact := _seen_value(parameter, seen)) is not None:
        return _typed(parameter, fact)
    if parameter.example is not None and not (ranked and ranked[0][0] >= 1.0):
        return parameter.example
    if ranked:
        return _typed(parameter, ranked[0][1].value)
    alternatives = _ALTERNATIVES.search(parameter.document.description)
    return alternatives[1] if alternatives and parameter.type == "string" else parameter.example


def _seen_value(parameter: FunctionParameter, seen: Sequence[tuple[str, str]]) -> str | None:
    """The first fact with the parameter's name, or with the shape of its example."""
    name = parameter.document.name.lower()
    for key, value in seen:
        if key.lower() == name:
            return value
    if parameter.example is None or not re.search(r"\d", str(parameter.example)):
        return None
    for _, value in seen:
        if shape(value) == shape(parameter.example) and _prefix(value) == _prefix(parameter.example) != "":
            return value
    return None


def _typed(parameter: FunctionParameter, value: str) -> Any:
    """The value in the parameter's type; unchanged if it cannot be converted."""
    if parameter.type in {"number", "integer"}:
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
