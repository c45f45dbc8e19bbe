"""What a model's answer says that it consumed: a completion, a response, or an event of a stream of either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stb_core.usage import Price, Usage, token_count, usage_of_call


def usage_of_document(document: Any, price: Price | None) -> Usage | None:
    """The usage in an endpoint's answer, which counts as one call; None if it reports none.

    Args:
        document: the decoded answer, or one event of a stream.
        price: of the model's tokens; without it the cost is unknown.
    """
    if not isinstance(document, Mapping):
        return None
    usage = _reported(document)
    if usage is None:
        return None
    prompt = _first(usage, "prompt_tokens", "input_tokens")
    completion = _first(usage, "completion_tokens", "output_tokens")
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    cached = token_count(details.get("cached_tokens")) if isinstance(details, Mapping) else 0
    return usage_of_call(prompt, completion, min(prompt, cached), price)


def _reported(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The object that holds the counts: a member of the document, of Groq's addition, or of a response in an event."""
    places = [document.get("usage")]
    for name in ("x_groq", "response"):
        within = document.get(name)
        if isinstance(within, Mapping):
            places.append(within.get("usage"))
    return next((place for place in places if isinstance(place, Mapping)), None)


def _first(usage: Mapping[str, Any], *names: str) -> int:
    return next((token_count(usage[name]) for name in names if name in usage), 0)
