"""Why an endpoint refused a request, as far as its error says; endpoints have no common list of reasons.

OpenAI, Azure and some others send a code. vLLM, SGLang, llama.cpp, Ollama and others only send text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stb_core.errors import RefusalReason
from stb_core.llm.chat_format import error_text

_MAX_ERROR_TEXT = 2000
"""Characters of an error's text that are searched; some endpoints append the whole request to it."""

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


def is_unpaid(body: Any) -> bool:
    """Whether the account has run out of money, which is no fault of the request."""
    return bool(_UNPAID.search(error_text(body)[:_MAX_ERROR_TEXT]))


def _codes(body: Any) -> set[str]:
    """The codes and types that an error names, in lower case."""
    if not isinstance(body, Mapping):
        return set()
    inner = body.get("innererror")
    codes = (body.get("code"), body.get("type"), inner.get("code") if isinstance(inner, Mapping) else None)
    return {code.lower() for code in codes if isinstance(code, str)}
