"""Reads what a model's reply says to the agent: its words, its calls of functions, and an answer for the user in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from stb_core import json_text
from stb_core.errors import FormatError
from stb_core.llm import without_thinking
from stb_core.values.trajectories import AnswerSource
from stb_server.episodes.model_apis import ModelApi


class ReplyReader:
    """Reads one reply, whole or event by event.

    ``words`` is its text; ``calls`` holds name and arguments of each function that it calls.
    """

    def __init__(self, api: ModelApi) -> None:
        self._api = api
        self._words: dict[int, list[str]] = {}
        self._calls: dict[int, list[str]] = {}
        self._is_paused = False

    @property
    def words(self) -> str:
        """The text of the reply."""
        return "".join(piece for _, pieces in sorted(self._words.items()) for piece in pieces)

    @property
    def calls(self) -> list[tuple[str, str]]:
        """The functions that it calls, with their arguments as text."""
        return [(name, "".join(pieces)) for _, (name, *pieces) in sorted(self._calls.items())]

    def read(self, document: Any) -> None:
        """Read a whole reply, or one event of a stream. What has no such form says nothing."""
        try:
            match self._api:
                case ModelApi.CHAT | ModelApi.TEXT:
                    self._chat(document)
                case ModelApi.RESPONSES:
                    self._responses(document)
                case ModelApi.MESSAGES:
                    self._messages(document)
                case ModelApi.EMBEDDINGS:
                    pass
        except (AttributeError, KeyError, IndexError, TypeError):
            return

    def answer(self, function: str) -> tuple[str, AnswerSource]:
        """The answer for the user, and where it was; "" if the reply is none.

        Args:
            function: the agent's own function for its answer; "" if it has none.
        """
        for name, arguments in reversed(self.calls):
            if function and name == function:
                return answer_in_arguments(arguments), "function"
        if self._calls or self._is_paused:
            return "", ""
        words = without_thinking(self.words).strip()
        return (words, "text") if words else ("", "")

    def _chat(self, document: Mapping[str, Any]) -> None:
        for choice in document["choices"]:
            if not choice.get("index"):  # an agent that asks for several reads the first
                self._choice(choice)

    def _choice(self, choice: Mapping[str, Any]) -> None:
        message = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
        self._say(0, _text_of(message.get("content")))
        for number, call in enumerate(message.get("tool_calls") or ()):
            function = call.get("function") or {}
            self._call(call.get("index", number), function.get("name"), function.get("arguments"))
        if older := message.get("function_call"):
            self._call(0, older.get("name"), older.get("arguments"))

    def _responses(self, document: Mapping[str, Any]) -> None:
        if document.get("type") == "response.output_item.done":
            self._item(document["output_index"], document["item"])
        response = document.get("response", document)
        for number, item in enumerate(response.get("output") or ()):
            self._words.pop(number, None)
            self._calls.pop(number, None)
            self._item(number, item)

    def _item(self, number: int, item: Mapping[str, Any]) -> None:
        if item["type"] == "message":
            self._say(number, _text_of(item["content"]))
        elif item["type"] in {"function_call", "custom_tool_call"}:
            self._call(number, item["name"], item.get("arguments", item.get("input")))
        elif item["type"].endswith("_call") and item.get("status") != "completed":
            self._call(number, item["type"], "")  # the client is to do it, as in a shell

    def _messages(self, document: Mapping[str, Any]) -> None:
        kind, number = document.get("type"), document.get("index", 0)
        if kind == "content_block_start":
            self._block(number, {**document["content_block"], "input": None})
        elif kind == "content_block_delta":
            delta = document["delta"]
            self._say(number, delta.get("text"))
            if "partial_json" in delta:
                self._call(number, None, delta["partial_json"])
        elif kind == "message_delta":
            self._is_paused = document["delta"].get("stop_reason") == "pause_turn"
        elif kind == "message":
            self._is_paused = document.get("stop_reason") == "pause_turn"
            for index, block in enumerate(document["content"]):
                self._block(index, block)

    def _block(self, number: int, block: Mapping[str, Any]) -> None:
        self._say(number, block.get("text"))
        if block["type"] == "tool_use":
            self._call(number, block["name"], block["input"])

    def _say(self, number: int, text: str | None) -> None:
        if text:
            self._words.setdefault(number, []).append(text)

    def _call(self, number: int, name: str | None, arguments: Any) -> None:
        pieces = self._calls.setdefault(number, [""])
        pieces[0] = pieces[0] or name or ""
        if arguments is not None:
            pieces.append(arguments if isinstance(arguments, str) else _as_json(arguments))


def answer_in_arguments(arguments: str) -> str:
    """The answer in a call of an agent's own function: its only argument, else all of them as JSON."""
    try:
        given = json_text.parse_replacing_surrogates(arguments.encode(errors="replace"))
    except (FormatError, ValueError, RecursionError):
        return arguments
    value = next(iter(given.values())) if isinstance(given, dict) and len(given) == 1 else given
    return value if isinstance(value, str) else _as_json(value)


def _text_of(content: Any) -> str:
    """The text of a message, which may be in parts."""
    if content is None or isinstance(content, str):
        return content or ""
    parts: Iterable[Any] = content
    return "".join(part.get("text") or part.get("refusal") or "" for part in parts)


def _as_json(value: Any) -> str:
    return orjson.dumps(value).decode()
