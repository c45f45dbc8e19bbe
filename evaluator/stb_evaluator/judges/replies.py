"""Reading a judge's reply strictly: a verdict, or unreadable. Nothing is guessed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stb_core.errors import UnreadableReplyError
from stb_core.values import Status

VERDICTS = (Status.SOLVED, Status.UNSURE, Status.UNSOLVED)

VERDICT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "reason": {"type": "string"},
        "answer_status": {"type": "string", "enum": [status.value for status in VERDICTS]},
    },
    "required": ["reason", "answer_status"],
    "additionalProperties": False,
}

CORRECTNESS = (Status.SOLVED, Status.UNSOLVED)

CORRECTNESS_SCHEMA: dict[str, Any] = {
    **VERDICT_SCHEMA,
    "properties": {
        "reason": {"type": "string"},
        "answer_status": {"type": "string", "enum": [status.value for status in CORRECTNESS]},
    },
}

# Whether a query can be solved, as the status of its only "answer".
SOLVABILITY = {"solvable": Status.SOLVED, "unsure": Status.UNSURE, "unsolvable": Status.UNSOLVED}

SOLVABILITY_SCHEMA: dict[str, Any] = {
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

PREFERENCE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "better": {"type": "string", "enum": list(PREFERENCES)}},
    "required": ["reason", "better"],
    "additionalProperties": False,
}

_MAX_LENGTH = 100_000


@dataclass(frozen=True)
class ReadVerdict:
    """A verdict as the judge gave it."""

    status: Status
    reason: str


def read_verdict(reply: str) -> ReadVerdict:
    """The verdict in a reply that is one JSON object of ``VERDICT_SCHEMA`` and nothing else.

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

    So "Solved, no part was left unsolved" is unsolved.
    """
    return Status.UNSOLVED if "unsolved" in reply.lower() else Status.SOLVED


def read_preference(reply: str) -> ReadVerdict:
    """The preference in a reply of ``PREFERENCE_SCHEMA``, as the status of the answer shown first.

    Raises:
        UnreadableReplyError: the reply is anything else.
    """
    return _read(reply, "better", PREFERENCES)


def _read(reply: str, field: str, words: Mapping[str, Status]) -> ReadVerdict:
    value = read_object(reply)
    if value.keys() != {"reason", field}:
        raise UnreadableReplyError("The judge's reply has other members than asked for.", reply=reply)
    reason, word = value["reason"], value[field]
    if not is_text(reason) or not isinstance(word, str) or word not in words:
        raise UnreadableReplyError("The judge's reply is not one of those asked for.", reply=reply)
    return ReadVerdict(words[word], reason)


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
