"""Reads a model's stream of events while it is forwarded: its token usage, an error in it, and what it says."""

from __future__ import annotations

import re
from typing import Any

import orjson

from stb_core.llm import merged_counts, usage_of_document
from stb_core.usage import Price, Usage
from stb_server.episodes.model_apis import ModelApi
from stb_server.episodes.reply_reader import ReplyReader

_END = re.compile(rb"\r?\n\r?\n")
_DONE = b"[DONE]"


class UsageReader:
    """Reads the events of a stream as they are forwarded.

    Args:
        api: that was called.
        price: the price of the model's tokens.
        hides_usage: whether to drop the event that has only the usage, because the client did not
            request it.
        reply: reads what the model says; None if nobody wants to know.
    """

    def __init__(
        self, api: ModelApi, price: Price | None, *, hides_usage: bool, reply: ReplyReader | None = None
    ) -> None:
        self._api = api
        self._price = price
        self._hides_usage = hides_usage
        self._reply = reply
        self._begun = b""
        self._counts: dict[str, Any] = {}
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
        if self._reply:
            self._reply.read(document)
        if self._api is ModelApi.MESSAGES:
            self._read_message_event(document)
            return False
        found = usage_of_document(document, self._price)
        if found is None:
            return False
        # Some servers write null where others write an empty list.
        self.usage, is_alone = found, "choices" in document and not document["choices"]
        self.is_over = self.is_over or is_alone or "response" in document
        return self._hides_usage and is_alone

    def _read_message_event(self, document: dict[str, Any]) -> None:
        """Read an event of Anthropic's API, where several have some of the counts."""
        self._counts = merged_counts(self._counts, document)
        self.usage = usage_of_document({"usage": self._counts}, self._price) if self._counts else None
        self.is_over = self.is_over or document.get("type") == "message_stop"


def _whole_events(text: bytes) -> list[bytes]:
    """The events of a stream, each with the blank line that ends it, and the rest."""
    found, start = [], 0
    for end in _END.finditer(text):
        found.append(text[start : end.end()])
        start = end.end()
    return [*found, text[start:]]
