"""The scripted server in OpenAI's responses API and in Anthropic's messages API: requests read, completions written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

_PIECE = 9


def as_chat(body: Json, dialect: str) -> Json:
    """What a request says, in the format of chat completions, for the rule that answers."""
    if dialect == "messages":
        tools = [_function(tool["name"], tool.get("input_schema")) for tool in body.get("tools") or ()]
        messages = [{"role": role} for each in body["messages"] for role in _roles(each)]
    elif dialect == "responses":
        tools = [
            _function(tool["name"], tool.get("parameters"))
            for tool in _flat(body.get("tools") or ())
            if tool["type"] == "function"
        ]
        given = body["input"]
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        is_result = "function_call_output", "custom_tool_call_output"
        messages = [{"role": "tool" if item.get("type") in is_result else "user"} for item in items]
    else:
        return body
    choice = body.get("tool_choice")
    return {**body, "messages": messages, "tools": tools, "tool_choice": choice if choice == "none" else None}


def _flat(tools: Any) -> Iterator[Json]:
    """Tools, those within namespaces, as Codex offers them, with the namespace before a colon."""
    for tool in tools:
        if tool["type"] == "namespace":
            yield from ({**inner, "name": f"{tool['name']}:{inner['name']}"} for inner in tool["tools"])
        else:
            yield tool


def _function(name: str, schema: Any) -> Json:
    return {"type": "function", "function": {"name": name, "parameters": schema or {}}}


def _roles(message: Json) -> list[str]:
    content = message["content"]
    results = [part for part in content if part["type"] == "tool_result"] if isinstance(content, list) else []
    return ["tool"] * len(results) or [message["role"]]


def written(completion: Json, dialect: str) -> Json:
    """A chat completion in the dialect."""
    message = completion["choices"][0]["message"]
    usage = completion.get("usage") or {}
    calls = [call["function"] | {"id": call["id"]} for call in message.get("tool_calls") or ()]
    if dialect == "messages":
        content: list[Json] = [{"type": "text", "text": message["content"]}] if message.get("content") else []
        content += [
            {"type": "tool_use", "id": f"toolu_{each['id']}", "name": each["name"], "input": _loaded(each)}
            for each in calls
        ]
        return {
            "id": "msg_test",
            "type": "message",
            "role": "assistant",
            "model": completion["model"],
            "content": content,
            "stop_reason": "tool_use" if calls else "end_turn",
            "stop_sequence": None,
            "usage": _anthropic_usage(usage),
        }
    output: list[Json] = []
    if message.get("content"):
        part = {"type": "output_text", "text": message["content"], "annotations": []}
        output.append(
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
        )
    output += [
        {
            "type": "function_call",
            "id": f"fc_{each['id']}",
            "call_id": each["id"],
            **_named(each["name"]),
            "arguments": each["arguments"],
            "status": "completed",
        }
        for each in calls
    ]
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return {
        "id": "resp_test",
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": completion["model"],
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": usage.get("prompt_tokens", 0),
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": usage.get("completion_tokens", 0),
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0),
        },
    }


def _named(name: str) -> Json:
    namespace, colon, function = name.rpartition(":")
    return {"name": function, "namespace": namespace} if colon else {"name": name}


def _loaded(call: Json) -> Any:
    return json.loads(call["arguments"] or "{}")


def _anthropic_usage(usage: Json) -> Json:
    """What was read from a cache counts beside the input there."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return {
        "input_tokens": usage.get("prompt_tokens", 0) - cached,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage.get("completion_tokens", 0),
    }


def events(document: Json, dialect: str) -> Iterator[bytes]:
    """A reply as a stream of events."""
    found = _message_events(document) if dialect == "messages" else _response_events(document)
    for number, data in enumerate(found):
        more = {"sequence_number": number} if dialect == "responses" else {}
        yield f"event: {data['type']}\ndata: {json.dumps({**data, **more})}\n\n".encode()


def _message_events(message: Json) -> Iterator[Json]:
    usage = message["usage"]
    start = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": start}
    yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        at = {"index": index}
        is_text = block["type"] == "text"
        empty = {**block, "text": ""} if is_text else {**block, "input": {}}
        yield {"type": "content_block_start", **at, "content_block": empty}
        whole = block["text"] if is_text else json.dumps(block["input"])
        for piece in _pieces(whole):
            delta = (
                {"text_delta": {"text": piece}} if is_text else {"input_json_delta": {"partial_json": piece}}
            )
            ((kind, inner),) = delta.items()
            yield {"type": "content_block_delta", **at, "delta": {"type": kind, **inner}}
        yield {"type": "content_block_stop", **at}
    end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": usage["output_tokens"]}}
    yield {"type": "message_stop"}


def _response_events(response: Json) -> Iterator[Json]:
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response["output"]):
        at = {"output_index": index, "item_id": item["id"]}
        if item["type"] == "message":
            part = item["content"][0]
            inner = {**at, "content_index": 0}
            yield {"type": "response.output_item.added", **at, "item": {**item, "content": []}}
            yield {"type": "response.content_part.added", **inner, "part": {**part, "text": ""}}
            for piece in _pieces(part["text"]):
                yield {"type": "response.output_text.delta", **inner, "delta": piece, "logprobs": []}
            yield {"type": "response.output_text.done", **inner, "text": part["text"], "logprobs": []}
            yield {"type": "response.content_part.done", **inner, "part": part}
        else:
            yield {"type": "response.output_item.added", **at, "item": {**item, "arguments": ""}}
            for piece in _pieces(item["arguments"]):
                yield {"type": "response.function_call_arguments.delta", **at, "delta": piece}
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield {"type": "response.function_call_arguments.done", **at, **done}
        yield {"type": "response.output_item.done", **at, "item": item}
    yield {"type": "response.completed", "response": response}


def _pieces(text: str) -> list[str]:
    return [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
