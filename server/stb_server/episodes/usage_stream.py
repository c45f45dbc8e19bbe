"""Reads the token usage in a model's answer while it is forwarded: one document, or a stream of events."""

from __future__ import annotations

import re
from typing import Any

import orjson

from stb_core.usage import Price, Usage, usage_of_call

_END = re.compile(rb"\r?\n\r?\n")
_DONE = b"[DONE]"


def usage_in(document: Any, price: Price | None) -> Usage | None:
    """The usage in a chat completion, a response, or an event of either; None if it has none."""
    if not isinstance(document, dict):
        return None
    usage = document.get("usage")
    if not isinstance(usage, dict) and isinstance(response := document.get("response"), dict):
        usage = response.get("usage")  # in an event that ends a response
    if not isinstance(usage, dict):
        return None
    prompt = _count(usage, "prompt_tokens", "input_tokens")
    completion = _count(usage, "completion_tokens", "output_tokens")
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    cached = min(prompt, _count(details, "cached_tokens")) if isinstance(details, dict) else 0
    return usage_of_call(prompt, completion, cached, price)


def _count(usage: dict[str, Any], *names: str) -> int:
    found = next((usage[name] for name in names if name in usage), 0)
    return found if isinstance(found, int) and found > 0 else 0


class UsageReader:
    """Reads the events of a stream as they are forwarded.

    Args:
        price: the price of the model's tokens.
        hides_usage: whether to drop the event that has only the usage, because the client did not
            request it.
    """

    def __init__(self, price: Price | None, *, hides_usage: bool) -> None:
        self._price = price
        self._hides_usage = hides_usage
        self._begun = b""
        self.usage: Usage | None = None
        self.is_over = False
        """Whether the end or all usage was read; after that the client may make its next call."""

    def pass_on(self, chunk: bytes) -> bytes:
        """The whole events that can be forwarded now."""
        *events, self._begun = _whole_events(self._begun + chunk)
        return b"".join(event for event in events if not self._is_hidden(event))

    def rest(self) -> bytes:
        """The data after the last whole event."""
        return self._begun

    def _is_hidden(self, event: bytes) -> bool:
        lines = event.replace(b"\r\n", b"\n").split(b"\n")
        data = b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
        if data == _DONE:
            self.is_over = True
            return False
        try:
            document = orjson.loads(data)
        except ValueError:
            return False
        found = usage_in(document, self._price)
        if found is None:
            return False
        self.usage, is_alone = found, document.get("choices") == []
        self.is_over = is_alone or "response" in document
        return self._hides_usage and is_alone


def _whole_events(text: bytes) -> list[bytes]:
    """The events of a stream, each with the blank line that ends it, and the rest."""
    found, start = [], 0
    for end in _END.finditer(text):
        found.append(text[start : end.end()])
        start = end.end()
    return [*found, text[start:]]
