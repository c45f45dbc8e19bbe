"""What a good answer is: the form that a model is asked for, and the one reading of it.

    served   {"answer": {"response": …}}                         the body, of the API's shape, never null
    refused  {"answer": {"refusal": "not found", "error": "…"}}  a kind of refusal, and the API's words

Every value of the asked-for schema is an answer that can be served. A grammar lets a small model write
the shortest thing that the schema admits, so the schema must admit nothing that is refused afterwards.

The two are told apart by their first member, and stand one level down, because OpenAI's strict mode
requires both. No keyword is used for "not empty", which endpoints refuse or ignore: a refusal without
words is served in those of its kind.

MirrorAPI was trained to write ``{"error": "…", "response": "…"}``, and is read in this form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stb_core.llm import Schema, fits
from stb_core.values import JsonObject
from stb_server.simulators.json_repair import Fault, Repair, read_object

REFUSALS = (
    "bad request",
    "unauthorized",
    "forbidden",
    "not found",
    "conflict",
    "too many requests",
    "server error",
)
"""Kinds of refusal; the words are those of HTTP."""

_ANYTHING = ("string", "object", "array", "number", "boolean")


def asked_form(shape: Schema | None) -> Schema:
    """The schema of a whole answer with a response of this shape; None allows any shape."""
    return _closed(answer={"anyOf": [_closed(response=_without_null(shape or {})), _REFUSED]})


FREE_FORM: Schema = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "response": {}},
    "required": ["error", "response"],
}
"""The form for models without structured output: any response counts, and members may be added."""


def _closed(**members: Schema) -> Schema:
    return {
        "type": "object",
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }


_REFUSED = _closed(refusal={"type": "string", "enum": list(REFUSALS)}, error={"type": "string"})


def _without_null(shape: Schema) -> Schema:
    """The shape without null, which is not an answer."""
    kinds = shape.get("type", _ANYTHING)
    left = [kind for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind != "null"]
    return {**shape, "type": left[0] if len(left) == 1 else left or list(_ANYTHING)}


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that can be served, with the repairs that reading it took."""

    body: JsonObject
    """The whole reply, decoded."""
    error: str
    """What the API says when it refuses; empty when it serves the call."""
    response: Any
    """What it serves; empty text when it refuses."""
    repairs: tuple[Repair, ...] = ()


def usable_answer(text: str, form: Schema) -> Answered | Fault:
    """The answer in a reply of a form, or why it cannot be served."""
    reading = read_object(text)
    body = reading.body
    if reading.fault is not None or body is None:
        return reading.fault or Fault.EMPTY
    if not all(name in body for name in form["required"]):
        return Fault.MISSING_FIELD
    if not fits(body, form):
        return Fault.UNFIT
    content = body["answer"] if "answer" in form["properties"] else body
    error = content.get("error", "")
    if "refusal" in content and not error.strip():
        error = content["refusal"]
    response = content.get("response")
    if not error and response is None:  # only the free form admits this
        return Fault.MISSING_FIELD
    return Answered(body, error, "" if response is None else response, reading.repairs)
