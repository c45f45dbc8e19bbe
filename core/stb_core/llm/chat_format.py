"""OpenAI's formats for chat and text completions: turns requests into bodies, and bodies into replies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from stb_core import json_text
from stb_core.errors import FormatError, UnreadableReplyError
from stb_core.llm.protocol import Reply, Request
from stb_core.llm.token_usage import usage_of_document
from stb_core.usage import Price, Usage
from stb_core.values import FunctionCall, FunctionSchema, Message

# Without a limit, servers of text completions stop after 16 tokens.
_TEXT_TOKENS = 512

UNREADABLE_ARGUMENTS = "unreadable_arguments"
"""The only member of the object that replaces arguments in a conversation if they are not a JSON object."""


UNNAMED = "unnamed"
"""Replaces an empty name of a function in a conversation."""
_NOT_LEGAL = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_NAME = 64


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
    body: dict[str, Any] = {"model": model, "messages": _conversation(request.messages)}
    if request.functions:
        body["tools"] = [{"type": "function", "function": function_body(f)} for f in request.functions]
        function = {"type": "function", "function": {"name": request.tool_choice}}
        is_word = request.tool_choice in {"auto", "none", "required"}
        body["tool_choice"] = request.tool_choice if is_word else function
    # OpenAI's newer models refuse the old name; other servers may not know the new one.
    is_newer = provider == "openai" and not request.older_limit
    limit = "max_completion_tokens" if is_newer else "max_tokens"
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


def _conversation(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages in the format; a call in the older form is answered in that form, as its server expects."""
    older = {call.id for message in messages for call in message.tool_calls if call.is_older_form}
    return [
        _function_message(message) if message.tool_call_id in older else message_body(message)
        for message in messages
    ]


def _function_message(message: Message) -> dict[str, Any]:
    return {"role": "function", "name": _as_legal_name(message.name or ""), "content": message.content}


def message_body(message: Message) -> dict[str, Any]:
    """One message in the format."""
    body: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls and message.tool_calls[0].is_older_form:
        body["function_call"] = _function_of(message.tool_calls[0])
    elif message.tool_calls:
        body["tool_calls"] = [
            {"id": call.id, "type": "function", "function": _function_of(call)} for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    return body


def _function_of(call: FunctionCall) -> dict[str, str]:
    return {"name": _as_legal_name(call.name), "arguments": _as_json_object(call.arguments)}


def _as_legal_name(name: str) -> str:
    """A function's name as every server takes it.

    A model may have made up a name with other characters, or a very long one; sent back, it would make the
    server refuse the whole conversation.
    """
    return _NOT_LEGAL.sub("_", name)[:_LONGEST_NAME] or UNNAMED


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
        message = _message(choice)
        return Reply(
            content=_words(message),
            tool_calls=_calls(message),
            finish_reason=str(choice.get("finish_reason") or "stop"),
            usage=usage_of_document(completion, price) or Usage(model_calls=1),
            model=str(completion.get("model") or ""),
            thoughts=_thoughts(message),
        )
    except (FormatError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        text = body[:2000].decode(errors="replace")
        raise UnreadableReplyError("The body is not a chat completion.", reply=text) from None


def _message(choice: Mapping[str, Any]) -> Any:
    """The message of a choice; a text completion has only its text."""
    if choice.get("error"):
        raise ValueError("the endpoint failed within its answer")
    return {"content": choice["text"]} if "text" in choice else choice["message"]


def status_of_error(body: bytes) -> int | None:
    """The status of an error that an endpoint sent as if it were an answer; None if the body holds no error."""
    try:
        document = orjson.loads(body)
        error = document.get("error") or document["choices"][0].get("error")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    if not error:
        return None
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 502


def _words(message: Mapping[str, Any]) -> str | None:
    """What a message says; a model that declines may say so in a member of its own."""
    content = _content(message.get("content"))
    return content or _content(message.get("refusal")) or content


def _thoughts(message: Mapping[str, Any]) -> str:
    """What the model thought, where the server keeps that apart from its words; servers have two names for it."""
    found = (message.get(name) for name in ("reasoning_content", "reasoning"))
    return next((text for text in found if isinstance(text, str) and text), "")


def _content(content: Any) -> str | None:
    """The text of a message; some servers send it in parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part.get("type") == "text")
    if content is None or isinstance(content, str):
        return content
    raise TypeError("content is not text")


def _calls(message: Mapping[str, Any]) -> tuple[FunctionCall, ...]:
    """The calls of a message; some servers write the only one in the older form ``function_call``."""
    calls = message.get("tool_calls")
    if not calls and (older := message.get("function_call")):
        return (_call("0", older, is_older_form=True),)
    return tuple(
        _call(str(call.get("id") or number), call["function"]) for number, call in enumerate(calls or ())
    )


def _call(call_id: str, function: Mapping[str, Any], *, is_older_form: bool = False) -> FunctionCall:
    """A function call; the arguments are kept as the model wrote them."""
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = "" if arguments is None else json_text.encode(arguments).decode()
    return FunctionCall(
        id=call_id, name=str(function["name"]), arguments=arguments, is_older_form=is_older_form
    )


def error_of(body: str) -> Any:
    """The content of an error's body: the object under ``error`` if there is one, else all of it."""
    try:
        document = orjson.loads(body)
    except ValueError:
        return body.strip()
    if not isinstance(document, dict):
        return document
    choices = document.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    return document.get("error") or first.get("error") or document


def error_text(body: Any) -> str:
    """The message in an error's body, as far as it can be found; servers differ."""
    if isinstance(body, Mapping):
        for name in ("message", "detail", "error"):
            if body.get(name):
                return error_text(body[name])
        return ""
    return "" if body is None else str(body)
