"""A chat completion as a stream of events, as OpenAI's endpoint sends it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

_PIECE = 7


async def send_stream(send: Any, completion: dict[str, Any], request: dict[str, Any]) -> None:
    """Send a completion in pieces, its usage at the end where that is asked for."""
    asks_usage = (request.get("stream_options") or {}).get("include_usage")
    found = chunks(completion, asks_usage=asks_usage)
    texts = (chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode() for chunk in found)
    await send_pieces(send, (b"data: " + text + b"\n\n" for text in texts))


async def send_pieces(send: Any, events: Iterable[bytes]) -> None:
    """Send a stream of events, each in pieces."""
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for event in events:
        for start in range(0, len(event), 20):  # cut anywhere, as networks do
            body = event[start : start + 20]
            await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def chunks(completion: dict[str, Any], *, asks_usage: bool | None) -> list[dict[str, Any] | bytes]:
    """The events: words in pieces, each call whole, the reason of the end, the usage, and DONE."""
    (choice,) = completion["choices"]
    message, words = choice["message"], choice["message"].get("content") or ""
    deltas: list[dict[str, Any]] = [{"role": "assistant"}]
    deltas += [{"content": words[start : start + _PIECE]} for start in range(0, len(words), _PIECE)]
    deltas += [
        {"tool_calls": [{"index": number, **call}]}
        for number, call in enumerate(message.get("tool_calls") or ())
    ]
    head = {**completion, "object": "chat.completion.chunk"}
    usage = head.pop("usage", None)
    found: list[dict[str, Any] | bytes] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    found.append({**head, "choices": [end]})
    if asks_usage:
        found.append({**head, "choices": [], "usage": usage})
    return [*found, b"[DONE]"]
