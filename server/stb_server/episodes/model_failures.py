"""Whether a provider's answer to a model call is a failure: an error status, an error within an answer, no answer."""

from __future__ import annotations

from typing import Any

import orjson

from stb_core.llm.chat_format import error_of, status_of_error
from stb_core.llm.refusals import describe_error, is_refusal, reason_of
from stb_core.values.episodes import FailedCall


def failure_of_answer(model: str, shape: str, status: int, content: bytes) -> FailedCall | None:
    """Why an answer is none; None if it is one.

    Args:
        model: ``PROVIDER/MODEL``.
        shape: of the call, as ``stb_core.llm.shape_of_body`` says it.
        status: of the provider's response.
        content: its body, without the key that the provider was sent.
    """
    if status != 200:
        return _failure(model, shape, status, content)
    try:
        document = orjson.loads(content)
    except ValueError:
        document = None
    if isinstance(document, dict) and _is_reply(document):
        if status_of_error(content):
            return _failure(model, shape, 502, content)
        return _blocked(model, shape) if _is_blocked(document) else None
    if found := status_of_error(content):
        return _failure(model, shape, found, content)
    return FailedCall(message=f"{model} is not available: its answer is not a completion.")


def failure_of_event(model: str, shape: str, event: dict[str, Any]) -> FailedCall | None:
    """As ``failure_of_answer``, for one event of a stream."""
    response = event.get("response")
    error = event.get("error") or (response.get("error") if isinstance(response, dict) else None)
    if not error:
        return None
    content = orjson.dumps({"error": error})
    return _failure(model, shape, status_of_error(content) or 502, content)


def _is_reply(document: dict[str, Any]) -> bool:
    """Whether an answer is one of chat or text, of responses, of Anthropic's messages, or of embeddings."""
    if document.get("choices") or "output" in document:
        return True
    return any(isinstance(document.get(name), list) for name in ("content", "data"))


def _is_blocked(document: dict[str, Any]) -> bool:
    """Whether a filter has taken the whole reply away."""
    if document.get("stop_reason") == "refusal":
        return not document.get("content")
    choices = document.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict) or choice.get("finish_reason") != "content_filter":
        return False
    message = choice.get("message")
    return not (isinstance(message, dict) and (message.get("content") or message.get("tool_calls")))


def _blocked(model: str, shape: str) -> FailedCall:
    return FailedCall(
        message=f"{model} gave no reply: its content filter blocked the reply.",
        is_refusal=True,
        reason="content_filter",
        shape=shape,
    )


def _failure(model: str, shape: str, status: int, content: bytes) -> FailedCall:
    body = error_of(content.decode(errors="replace"))
    words = describe_error(status, body)
    if is_refusal(status, body):
        return FailedCall(
            message=f"{model} does not accept the request: {words}.",
            is_refusal=True,
            reason=reason_of(body),
            shape=shape,
        )
    return FailedCall(message=f"{model} is not available: {words}.")
