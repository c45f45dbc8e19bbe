"""How the proxy's requests reach a provider: at which address, with which headers and key."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from stb_server.episodes.model_apis import ProxyTarget

_PASSED_BACK = (
    *("content-type", "retry-after", "retry-after-ms", "x-should-retry"),
    *("x-request-id", "request-id"),
)
_KEYS = ("authorization", "x-api-key")
_ANTHROPIC_HOST = "api.anthropic.com"


def url_of(base: str, target: ProxyTarget, query: str) -> str:
    """Where a request goes.

    Args:
        base: the provider's address. Anthropic's is often given without the ``/v1`` that belongs to it.
        target: what the request is.
        query: that the client sent, without its question mark.
    """
    base = base.rstrip("/")
    if target.is_anthropic and not urlsplit(base).path:
        base += "/v1"
    return f"{base}/{target.quoted_path}" + (f"?{query}" if query else "")


def headers_for(url: str, target: ProxyTarget, given: Mapping[str, str], key: str | None) -> dict[str, str]:
    """The headers for the provider, with the server's key or else the caller's.

    Args:
        url: where the request goes.
        target: what the request is.
        given: the client's headers, names in lower case.
        key: the server's; None if it has none.
    """
    headers = {"content-type": "application/json"}
    keys = {name: given[name] for name in _KEYS if name in given}
    if not target.is_anthropic:
        keys.pop("x-api-key", None)
        return headers | ({"authorization": f"Bearer {key}"} if key else keys)
    headers |= {name: value for name, value in given.items() if name.startswith("anthropic-")}
    if key:
        keys = {"x-api-key": key}
        if urlsplit(url).hostname != _ANTHROPIC_HOST:  # others take the key as they do in OpenAI's API
            keys["authorization"] = f"Bearer {key}"
    return headers | keys


def secrets_in(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The keys in headers for the provider."""
    return tuple(dict.fromkeys(headers[name].removeprefix("Bearer ") for name in _KEYS if name in headers))


def headers_from(given: Mapping[str, str]) -> dict[str, str]:
    """The provider's headers that the client gets."""
    return {name: given[name] for name in _PASSED_BACK if name in given}
