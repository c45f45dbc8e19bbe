"""Reading a judge's reply: a verdict, or unreadable. Nothing is guessed.

A verdict is one of the words asked for, in the member asked for. Upper and lower case make no difference,
further members are ignored and a reason may be absent. But whatever could be another verdict makes
a reply unreadable.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stb_core.errors import UnreadableReplyError
from stb_core.llm import Schema, objects_in
from stb_core.values import Status

VERDICTS = (Status.SOLVED, Status.UNSURE, Status.UNSOLVED)

VERDICT_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "reason": {"type": "string"},
        "answer_status": {"type": "string", "enum": [status.value for status in VERDICTS]},
    },
    "required": ["reason", "answer_status"],
    "additionalProperties": False,
}

CORRECTNESS = (Status.SOLVED, Status.UNSOLVED)

CORRECTNESS_SCHEMA: Schema = {
    **VERDICT_SCHEMA,
    "properties": {
        "reason": {"type": "string"},
        "answer_status": {"type": "string", "enum": [status.value for status in CORRECTNESS]},
    },
}

# Whether a query can be solved, as the status of its only "answer".
SOLVABILITY = {"solvable": Status.SOLVED, "unsure": Status.UNSURE, "unsolvable": Status.UNSOLVED}

SOLVABILITY_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "reason": {"type": "string"},
        "task_status": {"type": "string", "enum": list(SOLVABILITY)},
    },
    "required": ["reason", "task_status"],
    "additionalProperties": False,
}

# What is better, in the order shown: the first answer wins, neither does, the second wins.
PREFERENCES = {"first": Status.SOLVED, "neither": Status.UNSURE, "second": Status.UNSOLVED}

PREFERENCE_SCHEMA: Schema = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "better": {"type": "string", "enum": list(PREFERENCES)}},
    "required": ["reason", "better"],
    "additionalProperties": False,
}

REASON = "reason"

_BLANKS = string.whitespace + "\u200b\ufeff"
_MAX_LENGTH = 100_000


@dataclass(frozen=True)
class ReadVerdict:
    """A verdict as the judge gave it."""

    status: Status
    reason: str


def find_reply(text: str, schema: Schema) -> dict[str, Any] | None:
    """The object with the judge's decision in a reply to one of the schemas above, as the judge wrote it.

    If several objects decide, they must agree; None if they do not, or if one of them is unreadable.
    """
    field, words = _decision_of(schema)
    deciding = [value for value in objects_in(text) if _members(value, field)]
    decisions = {_decision(value, field, words) for value in deciding}
    return deciding[-1] if len(decisions) == 1 and None not in decisions else None


def _decision_of(schema: Schema) -> tuple[str, Sequence[str]]:
    """The member of a schema that holds the decision, and the words for it."""
    return next((name, one["enum"]) for name, one in schema["properties"].items() if "enum" in one)


def read_verdict(reply: str) -> ReadVerdict:
    """The verdict in a reply that is one JSON object, see ``VERDICT_SCHEMA``, and nothing else.

    Raises:
        UnreadableReplyError: the reply is anything else; the error holds it.
    """
    return _read(reply, "answer_status", {status.value: status for status in VERDICTS})


def read_correctness(reply: str) -> ReadVerdict:
    """The verdict in a reply of ``CORRECTNESS_SCHEMA``: from its field, whatever words the reason has.

    Raises:
        UnreadableReplyError: the reply is anything else.
    """
    return _read(reply, "answer_status", {status.value: status for status in CORRECTNESS})


def read_solvability(reply: str) -> ReadVerdict:
    """The vote in a reply of ``SOLVABILITY_SCHEMA``.

    Raises:
        UnreadableReplyError: the reply is anything else.
    """
    return _read(reply, "task_status", SOLVABILITY)


def read_by_words(reply: str) -> Status:
    """What the published code makes of a reply about correctness: it searches it for a word.

    So "Solved, no part was left unsolved" is unsolved, and so is a reply without the word.
    """
    words = reply.lower()
    return Status.SOLVED if "solved" in words and "unsolved" not in words else Status.UNSOLVED


def read_preference(reply: str) -> ReadVerdict:
    """The preference in a reply of ``PREFERENCE_SCHEMA``, as the status of the answer shown first.

    Raises:
        UnreadableReplyError: the reply is anything else.
    """
    return _read(reply, "better", PREFERENCES)


def _read(reply: str, field: str, words: Mapping[str, Status]) -> ReadVerdict:
    value = read_object(reply)
    word = _decision(value, field, list(words))
    if word is None:
        raise UnreadableReplyError("The judge's reply is not one of those asked for.", reply=reply)
    return ReadVerdict(words[word], value.get(REASON, ""))


def _decision(value: Mapping[str, Any], field: str, words: Sequence[str]) -> str | None:
    """The word that an object decides for; None if it is unreadable."""
    named, reason = _members(value, field), value.get(REASON, "")
    word = plain_word(value[named[0]]) if len(named) == 1 else None
    if word not in words or not is_text(reason):
        return None
    others = {plain_word(other) for name, other in value.items() if name not in {*named, REASON}}
    return None if others & set(words) - {word} else word


def _members(value: Mapping[str, Any], field: str) -> list[str]:
    """The names of the members that mean ``field``, such as ``Answer Status``."""
    return [name for name in value if name.strip().casefold().replace(" ", "_") == field]


def plain_word(value: Any) -> str | None:
    """A word without blanks around it, in lower case; None for what is no text."""
    return value.strip(_BLANKS).casefold() if isinstance(value, str) else None


def is_text(value: Any) -> bool:
    """Whether a value is text that can be written down: without halves of surrogate pairs."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def read_object(reply: str) -> dict[str, Any]:
    """The JSON object that a reply consists of; repeated members, NaN and infinities are refused.

    Raises:
        UnreadableReplyError: the reply is anything else.
    """
    if len(reply) > _MAX_LENGTH:
        raise UnreadableReplyError("The judge's reply is too long.", reply=reply[:_MAX_LENGTH])
    try:
        value = json.loads(reply, object_pairs_hook=_without_repeats, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise UnreadableReplyError("The judge's reply is not one JSON object.", reply=reply) from None
    if not isinstance(value, dict):
        raise UnreadableReplyError("The judge's reply is not one JSON object.", reply=reply)
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a member is repeated")
    return dict(pairs)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
