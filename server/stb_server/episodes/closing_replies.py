"""What the proxy answers in a model's place after ``Finish``.

The loops of most frameworks hand the result of ``Finish`` back to the model and wait for its last words. These are
told here, in each API, whole or as a stream, so that the loop ends as it usually does. No model is asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import JSONResponse, Response

from stb_server.episodes.model_apis import ModelApi

CLOSING_WORDS = "The answer is handed in, and the task is over."
_HEADERS = {"x-stb-closing": "true"}
_EXAMPLES: dict[str, Any] = {
    "integer": 0,
    "number": 0,
    "boolean": False,
    "array": [],
    "object": {},
    "null": None,
}

Json = dict[str, Any]


@dataclass(frozen=True)
class _Closing:
    """The reply: words, or a call of the agent's own function for its answer."""

    model: str
    function: str = ""
    arguments: Json | None = None

    @property
    def arguments_text(self) -> str:
        return orjson.dumps(self.arguments or {}).decode()


def closing_reply(api: ModelApi, body: Mapping[str, Any], function: str) -> Response | None:
    """The reply to a call after ``Finish``; None if the API has none.

    Args:
        api: that was called.
        body: of the call.
        function: the agent's own function for its answer, which is called if it is offered; "" for none.
    """
    if api not in _WHOLE:
        return None
    schema = _offered(body, function) if function else None
    model = str(body.get("model"))
    closing = _Closing(model) if schema is None else _Closing(model, function, _sample(schema))
    whole = _WHOLE[api](closing)
    if not body.get("stream"):
        return JSONResponse(whole, headers=_HEADERS)
    events = b"".join(_STREAMED[api](whole, body))
    return Response(events, media_type="text/event-stream", headers=_HEADERS)


def _offered(body: Mapping[str, Any], name: str) -> Json | None:
    """The schema of the parameters of a function that a request offers, in any of the APIs."""
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function", tool) if isinstance(tool, dict) else {}
        if isinstance(function, dict) and function.get("name") == name:
            schema = function.get("parameters") or function.get("input_schema")
            return schema if isinstance(schema, dict) else {}
    return None


def _sample(schema: Json) -> Json:
    """Arguments with the required members, in which every text says that the task is over."""
    properties = schema.get("properties")
    members = properties if isinstance(properties, dict) else {}
    kinds = {
        name: members[name].get("type") if isinstance(members.get(name), dict) else None
        for name in schema.get("required") or members
    }
    return {
        name: _EXAMPLES.get(kind, CLOSING_WORDS) if isinstance(kind, str) else CLOSING_WORDS
        for name, kind in kinds.items()
    }


def _chat(closing: _Closing) -> Json:
    message: Json = {"role": "assistant", "content": None if closing.function else CLOSING_WORDS}
    if closing.function:
        function = {"name": closing.function, "arguments": closing.arguments_text}
        message["tool_calls"] = [{"id": "call_closing", "type": "function", "function": function}]
    reason = "tool_calls" if closing.function else "stop"
    return {
        "id": "chatcmpl-closing",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": closing.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


def _chat_events(whole: Json, body: Mapping[str, Any]) -> Iterator[bytes]:
    choice, usage = whole["choices"][0], whole["usage"]
    head = {**whole, "object": "chat.completion.chunk", "usage": None}
    delta = dict(choice["message"])
    if "tool_calls" in delta:
        delta["tool_calls"] = [{"index": 0, **delta["tool_calls"][0]}]
    for part, reason in ((delta, None), ({}, choice["finish_reason"])):
        yield _event({**head, "choices": [{"index": 0, "delta": part, "finish_reason": reason}]})
    yield from _chat_end(head, usage, body)


def _text(closing: _Closing) -> Json:
    whole = _chat(closing)
    choice = {"index": 0, "text": CLOSING_WORDS, "logprobs": None, "finish_reason": "stop"}
    return {**whole, "object": "text_completion", "choices": [choice]}


def _text_events(whole: Json, body: Mapping[str, Any]) -> Iterator[bytes]:
    head = {**whole, "usage": None}
    yield _event(head)
    yield from _chat_end(head, whole["usage"], body)


def _chat_end(head: Json, usage: Json, body: Mapping[str, Any]) -> Iterator[bytes]:
    options = body.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage"):
        yield _event({**head, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _responses(closing: _Closing) -> Json:
    if closing.function:
        item: Json = {
            "type": "function_call",
            "id": "fc_closing",
            "call_id": "call_closing",
            "name": closing.function,
            "arguments": closing.arguments_text,
            "status": "completed",
        }
    else:
        part = {"type": "output_text", "text": CLOSING_WORDS, "annotations": [], "logprobs": []}
        item = {
            "type": "message",
            "id": "msg_closing",
            "role": "assistant",
            "status": "completed",
            "content": [part],
        }
    return {
        "id": "resp_closing",
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": closing.model,
        "output": [item],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": {
            "input_tokens": 0,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 0,
        },
    }


def _responses_events(whole: Json, _: Mapping[str, Any]) -> Iterator[bytes]:
    item = whole["output"][0]
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    place: Json = {"item_id": item["id"], "output_index": 0}
    events: list[tuple[str, Json]] = [("created", {"response": begun}), ("in_progress", {"response": begun})]
    if item["type"] == "message":
        part, at = item["content"][0], {**place, "content_index": 0}
        empty = {**item, "status": "in_progress", "content": []}
        events += [
            ("output_item.added", {"output_index": 0, "item": empty}),
            ("content_part.added", {**at, "part": {**part, "text": ""}}),
            ("output_text.delta", {**at, "delta": part["text"], "logprobs": []}),
            ("output_text.done", {**at, "text": part["text"], "logprobs": []}),
            ("content_part.done", {**at, "part": part}),
        ]
    else:
        empty = {**item, "status": "in_progress", "arguments": ""}
        events += [
            ("output_item.added", {"output_index": 0, "item": empty}),
            ("function_call_arguments.delta", {**place, "delta": item["arguments"]}),
            ("function_call_arguments.done", {**place, "name": item["name"], "arguments": item["arguments"]}),
        ]
    events += [("output_item.done", {"output_index": 0, "item": item}), ("completed", {"response": whole})]
    for number, (name, data) in enumerate(events):
        kind = f"response.{name}"
        yield _event({"type": kind, "sequence_number": number, **data}, kind)


def _messages(closing: _Closing) -> Json:
    block: Json = {"type": "text", "text": CLOSING_WORDS}
    if closing.function:
        block = {
            "type": "tool_use",
            "id": "toolu_closing",
            "name": closing.function,
            "input": closing.arguments,
        }
    return {
        "id": "msg_closing",
        "type": "message",
        "role": "assistant",
        "model": closing.model,
        "content": [block],
        "stop_reason": "tool_use" if closing.function else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def _messages_events(whole: Json, _: Mapping[str, Any]) -> Iterator[bytes]:
    block = whole["content"][0]
    if block["type"] == "text":
        empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        empty = {**block, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": orjson.dumps(block["input"]).decode()}
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    for data in (
        {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": empty},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": whole["usage"]},
        {"type": "message_stop"},
    ):
        yield _event(data, str(data["type"]))


def _event(data: Json, name: str = "") -> bytes:
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + orjson.dumps(data) + b"\n\n"


_WHOLE = {
    ModelApi.CHAT: _chat,
    ModelApi.TEXT: _text,
    ModelApi.RESPONSES: _responses,
    ModelApi.MESSAGES: _messages,
}
_STREAMED = {
    ModelApi.CHAT: _chat_events,
    ModelApi.TEXT: _text_events,
    ModelApi.RESPONSES: _responses_events,
    ModelApi.MESSAGES: _messages_events,
}
