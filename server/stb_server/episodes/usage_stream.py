"""Reads a model's stream of events while it is forwarded: its token usage, and an error in it."""

from __future__ import annotations

import re
from typing import Any

import orjson

from stb_core.llm import usage_of_document
from stb_core.usage import Price, Usage

_END = re.compile(rb"\r?\n\r?\n")
_DONE = b"[DONE]"


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
        self.error: dict[str, Any] | None = None
        """The event in which the provider reported an error."""
        self.is_over = False
        """Whether the end, all usage or an error was read; after that the client may make its next call."""

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
        if not isinstance(document, dict):
            return False
        response = document.get("response")
        if document.get("error") or (isinstance(response, dict) and response.get("error")):
            self.error, self.is_over = document, True
        found = usage_of_document(document, self._price)
        if found is None:
            return False
        # Some servers write null where others write an empty list.
        self.usage, is_alone = found, "choices" in document and not document["choices"]
        self.is_over = self.is_over or is_alone or "response" in document
        return self._hides_usage and is_alone


def _whole_events(text: bytes) -> list[bytes]:
    """The events of a stream, each with the blank line that ends it, and the rest."""
    found, start = [], 0
    for end in _END.finditer(text):
        found.append(text[start : end.end()])
        start = end.end()
    return [*found, text[start:]]
