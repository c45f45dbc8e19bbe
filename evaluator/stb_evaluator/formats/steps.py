"""ToolBench's texts of calls read into steps: Python's notation of a dict, whole or cut off."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from stb_core.errors import FormatError
from stb_core.values import FINISH, Message, Step, parse_literal

_MARKER = re.compile(r"(?:^|\n)Step (\d+): ")
_CUT_CALL = re.compile(r"\{'name': '(?P<name>[^'\\]*)'(?:, 'arguments': (?P<rest>.*))?", re.DOTALL)
_LITERAL = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_CUT_LITERAL = re.compile(r"""(?P<quote>['"])(?P<body>(?:[^\\]|\\.)*)""", re.DOTALL)
_ERROR = re.compile(r'\s*\{\s*"error"\s*:\s*("(?:[^"\\]|\\.)*")', re.DOTALL)


def split_steps(text: str) -> Iterator[str]:
    """The bodies of ``Step 1: …``, ``Step 2: …`` and so on, in order.

    A call is one line, because Python's notation escapes line breaks. Free text may have several
    lines; it ends where the next number in turn begins, so that a ``Step 7:`` quoted in the
    middle of a text does not split it.
    """
    position, number = 0, 1
    while found := _next_marker(text, position, number):
        start = found.end()
        following = _next_marker(text, start, number + 1)
        end = following.start() if following else len(text)
        yield text[start:end]
        position, number = end, number + 1


def _next_marker(text: str, position: int, number: int) -> re.Match[str] | None:
    return next((m for m in _MARKER.finditer(text, position) if int(m[1]) == number), None)


def read_call(text: str, tools: tuple[str, ...]) -> Step | None:
    """The call that a text describes; None when the text is not a call.

    Args:
        text: ``{'name': …, 'arguments': …, 'response': …}``, perhaps cut off at the end.
        tools: names of the functions that the agent was offered.
    """
    try:
        value = parse_literal(text)
    except FormatError:
        return _read_cut_call(text, tools)
    return make_step(value, tools) if isinstance(value, dict) and "name" in value else None


def make_step(call: dict[str, Any], tools: tuple[str, ...], *, cut: bool = False) -> Step:
    """A step from its name, arguments and response, whether these are texts or JSON values."""
    name = as_text(call.get("name"))
    observation = as_text(call.get("response"))
    error, observation_cut = read_error(observation)
    return Step(
        function=name,
        arguments=as_text(call.get("arguments")),
        observation=observation,
        error=error,
        hallucinated=bool(tools) and name != FINISH and not any(tool.endswith(name) for tool in tools),
        truncated=cut or observation_cut,
    )


def _read_cut_call(text: str, tools: tuple[str, ...]) -> Step | None:
    found = _CUT_CALL.match(text)
    if not found:
        return None
    arguments, rest = _read_literal(found["rest"] or "")
    response, _ = (
        _read_literal(rest.removeprefix(", 'response': ")) if rest.startswith(", 'resp") else ("", "")
    )
    return make_step({"name": found["name"], "arguments": arguments, "response": response}, tools, cut=True)


def _read_literal(text: str) -> tuple[str, str]:
    """(value, what follows) of a text in Python's notation that begins here and may be cut off."""
    if found := _LITERAL.match(text):
        try:
            return str(parse_literal(found[0])), text[found.end() :]
        except FormatError:  # an escape that means nothing
            return found[0][1:-1], text[found.end() :]
    if found := _CUT_LITERAL.match(text):
        body = found["body"].replace("\n", "\\n")
        try:
            return str(parse_literal(found["quote"] * 3 + body + " " + found["quote"] * 3))[:-1], ""
        except FormatError:
            return found["body"], ""
    return "", ""


def as_text(value: Any) -> str:
    """Text as it is; anything else as JSON, or in Python's notation if it has keys that JSON lacks; "" for None."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except TypeError:
        return str(value)


def read_error(observation: str) -> tuple[str, bool]:
    """(the error that a tool's answer carries, whether the answer was cut off)."""
    if not observation.lstrip().startswith("{"):
        return "", False
    try:
        body = orjson.loads(observation)
    except orjson.JSONDecodeError:
        found = _ERROR.match(observation)
        return (json.loads(found[1], strict=False) if found else ""), observation.rstrip().endswith("...")
    return as_text(body.get("error")) if isinstance(body, dict) else "", False


def read_text(text: str, tools: tuple[str, ...]) -> tuple[tuple[Step, ...], tuple[Message, ...]]:
    """The calls and the free texts of an ``answer_steps`` text, each in their order."""
    steps: list[Step] = []
    messages: list[Message] = []
    for body in split_steps(text):
        if call := read_call(body, tools):
            steps.append(call)
        elif body.strip():
            messages.append(Message(role="assistant", content=body))
    return tuple(steps), tuple(messages)
