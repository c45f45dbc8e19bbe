"""OpenAI's formats for chat and text completions: turns requests into bodies, and bodies into replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from stb_core import json_text
from stb_core.errors import FormatError, UnreadableReplyError
from stb_core.llm.protocol import Reply, Request
from stb_core.usage import Price, Usage, usage_of_call
from stb_core.values import FunctionCall, FunctionSchema, Message

# Without a limit, servers of text completions stop after 16 tokens.
_TEXT_TOKENS = 512

UNREADABLE_ARGUMENTS = "unreadable_arguments"
"""The only member of the object that replaces arguments in a conversation if they are not a JSON object."""


def request_path(request: Request) -> str:
    """The path below the base URL that a request is sent to."""
    return "/chat/completions" if request.prompt is None else "/completions"


def request_body(request: Request, model_name: str) -> dict[str, Any]:
    """The body of a request to ``PROVIDER/MODEL``, without structured output."""
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
        function = {"type": "function", "function": {"name": request.tool_choice}}
        is_word = request.tool_choice in {"auto", "none", "required"}
        body["tool_choice"] = request.tool_choice if is_word else function
    # OpenAI's newer models refuse the old name; other servers may not know the new one.
    limit = "max_completion_tokens" if provider == "openai" else "max_tokens"
    optional = {"temperature": request.temperature, limit: request.max_tokens, "seed": request.seed}
    body |= {name: value for name, value in optional.items() if value is not None}
    if request.stop:
        body["stop"] = list(request.stop)
    return body


def function_body(function: FunctionSchema) -> dict[str, Any]:
    """One function in the format."""
    return {
        "name": function.name,
        "description": function.description,
        "parameters": function.parameters,
    }


def message_body(message: Message) -> dict[str, Any]:
    """One message in the format."""
    body: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        body["tool_calls"] = [
            {
                "id": c.id,
                "type": "function",
                "function": {"name": c.name, "arguments": _as_json_object(c.arguments)},
            }
            for c in message.tool_calls
        ]
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    return body


def _as_json_object(arguments: str) -> str:
    """Arguments of an earlier call as the text of a JSON object.

    Many servers parse arguments and refuse the whole conversation if they cannot, even if their own model
    wrote them. The text of an object is kept as it is; empty arguments and null become ``{}``.
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
    """The request with the schema in its prompt, for endpoints that do not accept it as a parameter."""
    instruction = (
        "Answer with one JSON object that fits this JSON Schema, and with nothing else.\n"
        + orjson.dumps(schema).decode()
    )
    *before, last = request.messages
    if last.role == "user":  # some endpoints refuse two user messages in a row
        messages = (*before, last.model_copy(update={"content": f"{last.content}\n\n{instruction}"}))
    else:
        messages = (*before, last, Message(role="user", content=instruction))
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
    """The text of a message; some servers send it in parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part.get("type") == "text")
    if content is None or isinstance(content, str):
        return content
    raise TypeError("content is not text")


def _call(number: int, call: Mapping[str, Any]) -> FunctionCall:
    """A function call; the arguments are kept as the model wrote them."""
    function = call["function"]
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = "" if arguments is None else json_text.encode(arguments).decode()
    return FunctionCall(id=str(call.get("id") or number), name=str(function["name"]), arguments=arguments)


def _usage(usage: Any, price: Price | None) -> Usage:
    """The tokens of one call; without a token count the cost is unknown."""
    if not isinstance(usage, dict):
        return Usage(model_calls=1)
    prompt, completion = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    details = usage.get("prompt_tokens_details") or {}
    cached = min(prompt, int(details.get("cached_tokens") or 0))
    return usage_of_call(prompt, completion, cached, price)


def error_of(body: str) -> Any:
    """The content of an error's body: the object under ``error`` if there is one, else all of it."""
    try:
        document = orjson.loads(body)
    except ValueError:
        return body.strip()
    return document.get("error", document) if isinstance(document, dict) else document


def error_text(body: Any) -> str:
    """The message in an error's body, as far as it can be found; servers differ."""
    if isinstance(body, Mapping):
        for name in ("message", "detail", "error"):
            if body.get(name):
                return error_text(body[name])
        return ""
    return "" if body is None else str(body)
