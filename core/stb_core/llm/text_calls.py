"""Reads calls that a model wrote as text, because its server's tool-call parser does not fit the model.

Read are JSON objects with a name and arguments, bare, fenced, in a list, or between the marks of Hermes, Qwen and
Mistral (``<tool_call>``, ``[TOOL_CALLS]``), Llama's ``<function=name>{…}</function>``, and a reply that is nothing but
calls in Python's notation. A name that was not offered counts only in an object that is nothing but a call: as
with a server that reads calls, the model is then told which functions there are.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Collection, Mapping
from typing import Any

from stb_core import json_text
from stb_core.errors import FormatError
from stb_core.llm.protocol import Reply
from stb_core.llm.structured_output import objects_in, unfenced, without_thinking
from stb_core.values import FunctionCall, parse_literal
from stb_core.values.functions import finish_name

_TAGGED = re.compile(r"<function=([^>\s]{1,200})>\s*(\{.*?\})\s*</function>", re.DOTALL)
_MARK = re.compile(r"```|<tool_call>|\[TOOL_CALLS\]|<function=|<\|python_tag\|>|[\[{]")
_LONGEST = 20_000


def with_text_calls(reply: Reply, known: Collection[str]) -> Reply:
    """The reply, with the calls in its text as calls; the words before them stay its content."""
    text = reply.content or ""
    if reply.tool_calls or not text:
        return reply
    calls = written_calls(text, known)
    if not calls:
        return reply
    mark = _MARK.search(text, len(text) - len(without_thinking(text)))
    before = text[: mark.start()].strip() if mark else ""
    return reply.model_copy(update={"content": before or None, "tool_calls": calls})


def written_calls(text: str, known: Collection[str]) -> tuple[FunctionCall, ...]:
    """The calls that a text holds, in order; none in a very long one."""
    if len(text) > _LONGEST:
        return ()
    found = [
        FunctionCall(id="", name=name, arguments=match[2])
        for match in _TAGGED.finditer(without_thinking(text))
        if (name := finish_name(match[1], known)) in known
    ]
    if not found:
        found = [call for value in objects_in(text) for call in _calls_of(value, known)]
    return tuple(found or _python_calls(text, known))


def _calls_of(value: Mapping[str, Any], known: Collection[str]) -> list[FunctionCall]:
    several = value.get("tool_calls")
    if isinstance(several, list):
        return [call for one in several if isinstance(one, dict) for call in _calls_of(one, known)]
    inner = value.get("function")
    if isinstance(inner, dict):
        return _calls_of(inner, known)
    name = value.get("name", inner)
    if not isinstance(name, str) or not name:
        return []
    name = finish_name(name, known)
    if name not in known and not _is_nothing_but_a_call(value):
        return []
    given = next((value[key] for key in ("arguments", "parameters", "args") if key in value), None)
    if given is None:
        given = {}
    if not isinstance(given, dict | str):
        return []
    arguments = given if isinstance(given, str) else _as_json(given)
    return [FunctionCall(id="", name=name, arguments=arguments)]


def _is_nothing_but_a_call(value: Mapping[str, Any]) -> bool:
    """Whether an object has the members of a call and no others, so that its name may also be one that was made up."""
    return any(
        value.keys() == {"name", key} and isinstance(value[key], dict) for key in ("arguments", "parameters")
    )


def _python_calls(text: str, known: Collection[str]) -> list[FunctionCall]:
    """The calls of a text that is nothing but calls with literal arguments by name, such as ``[f(a=1), g()]``."""
    bare = without_thinking(text).strip().removeprefix("<|python_tag|>").strip()
    try:
        with warnings.catch_warnings(action="ignore"):  # about escapes that Python does not know
            body = ast.parse(unfenced(bare).strip(), mode="eval").body
        parts = body.elts if isinstance(body, ast.List | ast.Tuple) else [body]
        calls = [_python_call(part, known) for part in parts]
    except (FormatError, SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return []
    return [call for call in calls if call] if all(calls) else []


def _python_call(part: ast.expr, known: Collection[str]) -> FunctionCall | None:
    if not (isinstance(part, ast.Call) and isinstance(part.func, ast.Name)):
        return None
    name = finish_name(part.func.id, known)
    if name not in known or part.args or not all(keyword.arg for keyword in part.keywords):
        return None
    given = {keyword.arg: parse_literal(ast.unparse(keyword.value)) for keyword in part.keywords}
    return FunctionCall(id="", name=name, arguments=_as_json(given))


def _as_json(arguments: Any) -> str:
    return json_text.replace_surrogates(json.dumps(arguments, ensure_ascii=False))
