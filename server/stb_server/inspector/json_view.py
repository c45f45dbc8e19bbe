"""A JSON value as a flat list of tokens that a page can fold, limited in size."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from stb_core import json_text
from stb_core.errors import FormatError
from stb_core.values.python_notation import parse_arguments_literal

MAX_NODES = 1_500
MAX_TEXT = 60_000
_LONGEST_STRING = 4_000
_LONGEST_NAME = 200
_MAX_DEPTH = 40
_OPEN_DEPTH = 2
_OPEN_MEMBERS = 12
_LARGEST = 8_000_000
_LONGEST_LITERAL = 200_000

TokenKind = Literal["open", "close", "value", "cut"]


@dataclass(frozen=True, slots=True)
class Token:
    """A line of the view, or the end of a container.

    ``name`` is the member's name or the item's number, None at the top; ``count`` the members of a
    container, or for ``cut`` how many members (or characters) are not shown.
    """

    kind: TokenKind
    name: str | None = None
    text: str = ""
    type: str = ""
    count: int = 0
    is_open: bool = False


@dataclass(slots=True)
class PageBudget:
    """How much a page may still show."""

    nodes: int = MAX_NODES
    text: int = MAX_TEXT


def read_json(raw: str | bytes) -> tuple[bool, Any]:
    """(whether it is JSON, its value or its text)."""
    if len(raw) <= _LARGEST:
        with suppress(FormatError):
            return True, json_text.parse_strictly(raw)
    return False, raw if isinstance(raw, str) else raw.decode(errors="replace")


@dataclass(frozen=True)
class AnswerView:
    """The parts of a body: ``value`` is its response, parsed if it was JSON as text."""

    error: str
    value: Any
    is_unfolded: bool


def view_answer(raw: str | bytes) -> AnswerView:
    """Split a body of the form ``{"error", "response"}``; any other body counts as response."""
    is_json, value = read_json(raw)
    if not is_json or not isinstance(value, dict) or value.keys() != {"error", "response"}:
        return AnswerView("", value, is_unfolded=False)
    error, response = value["error"], value["response"]
    unfolded = unfold(response)
    text = error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)
    return AnswerView(text, unfolded, is_unfolded=isinstance(response, str) and not isinstance(unfolded, str))


def is_cut(tokens: Iterable[Token]) -> bool:
    """Whether a part of the value is not shown."""
    return any(token.kind == "cut" or (token.kind == "value" and token.count) for token in tokens)


def unfold(text: Any) -> Any:
    """The value of text that is itself an object or array in JSON, or a dict in Python's notation.

    Anything else is returned as it is.
    """
    if not isinstance(text, str) or text.lstrip()[:1] not in {"{", "["}:
        return text
    is_json, value = read_json(text)
    if is_json:
        return value
    try:
        return parse_arguments_literal(text) if len(text) <= _LONGEST_LITERAL else text
    except FormatError:
        return text


def make_tokens(value: Any, budget: PageBudget | None = None) -> list[Token]:
    """The tokens of a value; reduces the budget by what they show."""
    budget = budget or PageBudget()
    tokens: list[Token] = []
    waiting: list[Iterator[tuple[str | None, Any]]] = [iter([(None, value)])]
    unread: list[int] = [1]
    while waiting:
        member = next(waiting[-1], None)
        if member is None or budget.nodes <= 0 or budget.text <= 0:
            if member is not None and unread[-1]:
                tokens.append(Token("cut", count=unread[-1]))
            waiting.pop()
            unread.pop()
            if waiting:
                tokens.append(Token("close"))
            continue
        unread[-1] -= 1
        budget.nodes -= 1
        name, item = member
        if name is not None:
            name = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
            budget.text -= len(name)
        if isinstance(item, tuple):
            item = list(item)
        if isinstance(item, dict | list) and item and len(waiting) <= _MAX_DEPTH:
            depth = len(waiting) - 1
            is_open = depth == 0 or (depth < _OPEN_DEPTH and len(item) <= _OPEN_MEMBERS)
            kind = "object" if isinstance(item, dict) else "array"
            tokens.append(Token("open", name, type=kind, count=len(item), is_open=is_open))
            waiting.append(_list_members(item))
            unread.append(len(item))
        else:
            tokens.append(_make_leaf(name, item, budget))
    return tokens


def _list_members(item: dict[str, Any] | list[Any]) -> Iterator[tuple[str | None, Any]]:
    if isinstance(item, dict):
        return ((str(name), member) for name, member in item.items())
    return ((str(position), member) for position, member in enumerate(item))


def _make_leaf(name: str | None, item: Any, budget: PageBudget) -> Token:
    if isinstance(item, str):
        shown = item[: min(_LONGEST_STRING, budget.text)]
        budget.text -= len(shown)
        return Token("value", name, shown, "string", len(item) - len(shown))
    text = _fold(item) if isinstance(item, dict | list) else json.dumps(item, default=str)
    budget.text -= len(text)
    return Token("value", name, text, _name_type(item))


def _fold(item: dict[str, Any] | list[Any]) -> str:
    if not item:
        return "{}" if isinstance(item, dict) else "[]"
    return "{…}" if isinstance(item, dict) else "[…]"


def _name_type(item: Any) -> str:
    if item is None:
        return "null"
    if isinstance(item, bool):
        return "boolean"
    return "number" if isinstance(item, int | float) else "empty"
