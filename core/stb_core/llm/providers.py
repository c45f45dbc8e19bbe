"""``PROVIDER/MODEL`` → a model: which variables say where it is, and which setting what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stb_core.errors import UsageError
from stb_core.llm.concurrency import Gate
from stb_core.llm.endpoint import Endpoint
from stb_core.llm.prices import price_of
from stb_core.llm.retries import DEFAULT_PATIENCE, Patience
from stb_core.settings import Settings, provider_prefix

if TYPE_CHECKING:
    from stb_core.llm.openai_client import OpenAIModel

__all__ = ["endpoint_of", "open_model", "price_of", "provider_address"]

_OPENAI_URL = "https://api.openai.com/v1"


def open_model(
    name: str,
    settings: Settings,
    *,
    patience: Patience = DEFAULT_PATIENCE,
    connections: int = 16,
    seed: int = 0,
) -> OpenAIModel:
    """The model of that name, not yet asked anything; close it after use.

    No more than ``connections`` requests are in flight, and fewer where the endpoint says "too many".
    ``openai/…`` is at api.openai.com unless OPENAI_BASE_URL says otherwise; any other provider is at
    ``<PROVIDER>_BASE_URL``. The key is ``<PROVIDER>_API_KEY``; endpoints at an address of one's own
    may need none.

    Raises:
        UsageError: the name is not ``PROVIDER/MODEL``, or it is not known where the provider is.
    """
    from stb_core.llm.openai_client import OpenAIModel  # noqa: PLC0415 - slow to import, and often not needed

    return OpenAIModel(
        name,
        endpoint_of(name, settings),
        patience=patience,
        price=price_of(name, settings.values),
        gate=Gate(connections),
        seed=seed,
    )


def endpoint_of(name: str, settings: Settings) -> Endpoint:
    """Where a model is.

    Raises:
        UsageError: as ``open_model``.
    """
    provider, _, model = name.partition("/")
    if not provider or not model:
        raise UsageError(
            f"{name!r} does not name a model.", hint="Write PROVIDER/MODEL, such as openai/gpt-4o-mini."
        )
    prefix = provider_prefix(provider)
    url, key = provider_address(provider, settings)
    if url == _OPENAI_URL and not key:
        raise UsageError(
            "OpenAI needs a key.",
            hint="Set OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint of your own.",
        )
    return Endpoint(
        base_url=url,
        api_key=key,
        url_variable=f"{prefix}_BASE_URL",
        key_variable=f"{prefix}_API_KEY",
    )


def provider_address(provider: str, settings: Settings) -> tuple[str, str | None]:
    """The base URL of a provider, and the key to it where there is one.

    Raises:
        UsageError: it is not known where the provider is.
    """
    url, key = settings.provider(provider)
    if url is None and provider != "openai":
        raise UsageError(
            f"It is not known where the provider {provider!r} is.",
            hint=f"Set {provider_prefix(provider)}_BASE_URL to its OpenAI-compatible address, "
            "such as http://127.0.0.1:8000/v1.",
        )
    return url or _OPENAI_URL, key
