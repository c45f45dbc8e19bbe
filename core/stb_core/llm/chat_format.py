"""OpenAI's formats of chat and of text completions: requests into bodies, bodies into replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from stb_core import json_text
from stb_core.errors import FormatError, UnreadableReplyError
from stb_core.llm.protocol import Reply, Request
from stb_core.usage import Price, Usage, usage_of_call
from stb_core.values.functions import FunctionSchema
from stb_core.values.trajectories import FunctionCall, Message

# Servers of text completions stop after 16 tokens unless told otherwise.
_TEXT_TOKENS = 512

UNREADABLE_ARGUMENTS = "unreadable_arguments"
"""The only member of the object that stands in a conversation for arguments that are no JSON object."""


def path(request: Request) -> str:
    """The endpoint below the base URL that a request goes to."""
    return "/chat/completions" if request.prompt is None else "/completions"


def payload(request: Request, model_name: str) -> dict[str, Any]:
    """The body of a request to ``PROVIDER/MODEL``, structured output aside."""
    provider, _, model = model_name.partition("/")
    if request.prompt is not None:
        settings = {
            "temperature": request.temperature,
            "seed": request.seed,
            "stop": list(request.stop) or None,
        }
        return {
            "model": model,
            "prompt": request.prompt,
            "max_tokens": request.max_tokens or _TEXT_TOKENS,
            **{name: value for name, value in settings.items() if value is not None},
        }
    body: dict[str, Any] = {"model": model, "messages": [message_body(m) for m in request.messages]}
    if request.functions:
        body["tools"] = [{"type": "function", "function": function_body(f)} for f in request.functions]
        named = {"type": "function", "function": {"name": request.tool_choice}}
        is_word = request.tool_choice in {"auto", "none", "required"}
        body["tool_choice"] = request.tool_choice if is_word else named
    # OpenAI's newer models refuse the old name, and other servers may not know the new one.
    limit = "max_completion_tokens" if provider == "openai" else "max_tokens"
    optional = {"temperature": request.temperature, limit: request.max_tokens, "seed": request.seed}
    body |= {name: value for name, value in optional.items() if value is not None}
    if request.stop:
        body["stop"] = list(request.stop)
    return body


def function_body(function: FunctionSchema) -> dict[str, Any]:
    """One function as the format has it."""
    return {
        "name": function.name,
        "description": function.description,
        "parameters": function.parameters,
    }


def message_body(message: Message) -> dict[str, Any]:
    """One message as the format has it."""
    body: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        body["tool_calls"] = [
            {
                "id": c.id,
                "type": "function",
                "function": {"name": c.name, "arguments": _readable(c.arguments)},
            }
            for c in message.tool_calls
        ]
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    return body


def _readable(arguments: str) -> str:
    """Arguments of an earlier call as the text of a JSON object.

    Many servers parse them and refuse the conversation where they cannot, even if the model behind them
    wrote them so. An object stays as it was written; nothing, in any spelling, becomes ``{}``.
    """
    if not arguments.strip():
        return "{}"
    try:
        value = orjson.loads(arguments)
    except ValueError:
        value = arguments
    if isinstance(value, dict):
        return arguments
    return (
        "{}"
        if value is None
        else orjson.dumps({UNREADABLE_ARGUMENTS: json_text.replace_surrogates(arguments)}).decode()
    )


def with_schema_in_prompt(request: Request, schema: dict[str, Any]) -> Request:
    """The request with the schema in words, for endpoints that do not take it as a parameter."""
    asked = (
        "Answer with one JSON object that fits this JSON Schema, and with nothing else.\n"
        + orjson.dumps(schema).decode()
    )
    *before, last = request.messages
    if last.role == "user":  # two user messages in a row are not taken everywhere
        messages = (*before, last.model_copy(update={"content": f"{last.content}\n\n{asked}"}))
    else:
        messages = (*before, last, Message(role="user", content=asked))
    return request.model_copy(update={"messages": messages})


def read_reply(body: bytes, price: Price | None = None) -> Reply:
    """The first choice of a completion.

    Raises:
        UnreadableReplyError: the body is not a completion.
    """
    try:
        completion = json_text.parse_replacing_surrogates(body)
        choice = completion["choices"][0]
        message = {"content": choice["text"]} if "text" in choice else choice["message"]
        calls = tuple(_call(number, call) for number, call in enumerate(message.get("tool_calls") or ()))
        return Reply(
            content=_content(message.get("content")),
            tool_calls=calls,
            finish_reason=str(choice.get("finish_reason") or "stop"),
            usage=_usage(completion.get("usage"), price),
            model=str(completion.get("model") or ""),
        )
    except (FormatError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        text = body[:2000].decode(errors="replace")
        raise UnreadableReplyError("The body is not a chat completion.", reply=text) from None


def _content(content: Any) -> str | None:
    """Text of a message; some servers send it in parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part.get("type") == "text")
    if content is None or isinstance(content, str):
        return content
    raise TypeError("content is not text")


def _call(number: int, call: Mapping[str, Any]) -> FunctionCall:
    """A function call; what the model wrote as arguments is kept as it is."""
    function = call["function"]
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = "" if arguments is None else json_text.encode(arguments).decode()
    return FunctionCall(id=str(call.get("id") or number), name=str(function["name"]), arguments=arguments)


def _usage(usage: Any, price: Price | None) -> Usage:
    """Tokens of one call; without a count of tokens the cost is unknown."""
    if not isinstance(usage, dict):
        return Usage(model_calls=1)
    prompt, completion = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    details = usage.get("prompt_tokens_details") or {}
    cached = min(prompt, int(details.get("cached_tokens") or 0))
    return usage_of_call(prompt, completion, cached, price)


def error_of(body: str) -> Any:
    """What the body of an error holds: the object under ``error`` where there is one, else all of it."""
    try:
        found = orjson.loads(body)
    except ValueError:
        return body.strip()
    return found.get("error", found) if isinstance(found, dict) else found


def error_text(body: Any) -> str:
    """What an error body says, as far as it can be found; servers differ."""
    if isinstance(body, Mapping):
        for name in ("message", "detail", "error"):
            if body.get(name):
                return error_text(body[name])
        return ""
    return "" if body is None else str(body)
