"""What an endpoint's error means, and why it refused a request; endpoints have no common list of reasons.

OpenAI, Azure and some others send a code. vLLM, SGLang, llama.cpp, Ollama and others only send text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stb_core.errors import RefusalReason
from stb_core.llm.chat_format import error_text
from stb_core.telemetry import mask_of, mask_secrets

_MAX_ERROR_TEXT = 2000
"""Characters of an error's text that are searched; some endpoints append the whole request to it."""

_LONGEST_DESCRIPTION = 300
_REFUSED = frozenset({400, 413, 422})
_SERVER_ERROR = 500

_CONTEXT_CODES = frozenset(
    {
        "context_length_exceeded",  # OpenAI, Azure, and those who copy them
        "string_above_max_length",  # OpenAI, for one message
        "exceed_context_size_error",  # llama.cpp
        "request_too_large",  # Anthropic
        "tokens_limit_reached",  # GitHub
    }
)
_CONTEXT = re.compile(
    r"context (?:length|size|window|limit)"
    r"|maximum (?:model|prompt|input) length"
    r"|\b(?:prompt|input|inputs|request|conversation|context|messages)\b[^.;]{0,40}\btoo (?:long|large)\b"
    r"|request entity too large|payload too large"
    r"|too many (?:input |prompt )?tokens"
    r"|input token count .{0,40}exceeds"
    r"|\binputs?\b.{0,40}\b(?:must have less than|must be <=) ?\d+"
    r"|range of input length"
    r"|reduce the length of the (?:input|messages|prompt)",
    re.IGNORECASE | re.DOTALL,
)
_RATE = re.compile(r"per minute|rate.?limit", re.IGNORECASE)

_FILTER_CODES = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "responsibleaipolicyviolation",  # Azure
        "data_inspection_failed",  # Alibaba
    }
)
_FILTER = re.compile(
    r"content management policy|content (?:policy|filter)|usage polic|flagged as potentially"
    r"|inappropriate content|content exists risk|considered high risk|unsafe or sensitive content",
    re.IGNORECASE,
)

_UNPAID = re.compile(
    r"credit balance|insufficient[ _](?:credits?|balance|funds|quota)|billing", re.IGNORECASE
)


def reason_of(body: Any) -> RefusalReason:
    """Why a request was refused.

    Args:
        body: of the error, as ``chat_format.error_of`` returns it.
    """
    codes, words = _codes(body), error_text(body)[:_MAX_ERROR_TEXT]
    if codes & _FILTER_CODES or _FILTER.search(words):
        return "content_filter"
    if codes & _CONTEXT_CODES or (_CONTEXT.search(words) and not _RATE.search(words)):
        return "context_exceeded"
    return ""


def is_refusal(status: int, body: Any) -> bool:
    """Whether an error means that the endpoint does not accept this request.

    Some servers answer 500 to a conversation that is too long; their words tell. An account without money
    is no fault of the request.
    """
    if status in _REFUSED:
        return not _UNPAID.search(error_text(body)[:_MAX_ERROR_TEXT])
    return status >= _SERVER_ERROR and bool(reason_of(body))


def describe_error(status: int, body: Any, key: str | None = None) -> str:
    """An endpoint's error in one line without secrets.

    Args:
        status: of the HTTP response.
        body: of the error, as ``chat_format.error_of`` returns it.
        key: that the endpoint was sent.
    """
    if status in {401, 403}:  # their bodies often repeat the key
        return f"the key was refused with HTTP {status}"
    return in_one_line(f"HTTP {status}, {error_text(body)}".rstrip(", "), key)


def in_one_line(text: str, key: str | None = None) -> str:
    """The beginning of a text, without secrets, line breaks and a full stop at its end."""
    if key:
        text = mask_of(key).text(text)
    return " ".join(str(mask_secrets(text)).split())[:_LONGEST_DESCRIPTION].rstrip(".")


def _codes(body: Any) -> set[str]:
    """The codes and types that an error names, in lower case."""
    if not isinstance(body, Mapping):
        return set()
    inner = body.get("innererror")
    codes = (body.get("code"), body.get("type"), inner.get("code") if isinstance(inner, Mapping) else None)
    return {code.lower() for code in codes if isinstance(code, str)}
