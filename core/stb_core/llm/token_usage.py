"""What a model's answer says that it consumed, in OpenAI's and Anthropic's APIs; also an event of a stream."""

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
    if "prompt_tokens" not in usage and not isinstance(details, Mapping):
        # Anthropic's API counts the tokens that it reads from its cache, or writes into it, beside the input.
        cached = token_count(usage.get("cache_read_input_tokens"))
        prompt += cached + token_count(usage.get("cache_creation_input_tokens"))
    return usage_of_call(prompt, completion, min(prompt, cached), price)


def merged_counts(earlier: Mapping[str, Any], document: Any) -> dict[str, Any]:
    """The counts of a stream so far, in which later events repeat some of the counts, or raise them.

    Args:
        earlier: the counts of the events before.
        document: the decoded event.
    """
    usage = _reported(document) if isinstance(document, Mapping) else None
    counts = {name: count for name, count in (usage or {}).items() if isinstance(count, int | float | str)}
    return {
        **earlier,
        **{name: max(token_count(earlier.get(name)), token_count(counts[name])) for name in counts},
    }


def _reported(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The object that holds the counts: a member of the document, of Groq's addition, or of a response or message in an event."""
    places = [document.get("usage")]
    for name in ("x_groq", "response", "message"):
        within = document.get(name)
        if isinstance(within, Mapping):
            places.append(within.get("usage"))
    return next((place for place in places if isinstance(place, Mapping)), None)


def _first(usage: Mapping[str, Any], *names: str) -> int:
    return next((token_count(usage[name]) for name in names if name in usage), 0)
