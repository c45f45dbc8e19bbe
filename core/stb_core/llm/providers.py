"""Opens the model ``PROVIDER/MODEL``: finds its address and key in variables, and its price in the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from stb_core.errors import UsageError
from stb_core.llm.concurrency import AdaptiveLimit
from stb_core.llm.protocol import Endpoint
from stb_core.llm.retries import DEFAULT_PATIENCE, Patience
from stb_core.llm.structured_output import Schema, find_object
from stb_core.settings import Settings, provider_prefix
from stb_core.telemetry import remember_secrets
from stb_core.usage import Price

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
    find: Callable[[str, Schema], dict[str, Any] | None] = find_object,
    timeout_s: float | None = None,
    say: Callable[[str], None] | None = None,
) -> OpenAIModel:
    """Open a model by its name; no request is sent yet. Close it after use.

    At most ``connections`` requests are in flight, and fewer after the endpoint said "too many requests".
    ``openai/…`` is at api.openai.com unless OPENAI_BASE_URL says otherwise; any other provider is at
    ``<PROVIDER>_BASE_URL``. The key is ``<PROVIDER>_API_KEY``; your own endpoint may need
    none. ``find`` finds the object that fits a schema in a reply, see ``OpenAIModel``. ``timeout_s`` replaces the
    seconds that a reply may take, and ``say`` tells the user that the endpoint is slow.

    Raises:
        UsageError: the name is not ``PROVIDER/MODEL``, or the provider's address is not known.
    """
    from stb_core.llm.openai_client import OpenAIModel  # noqa: PLC0415 - imports the SDK, which is slow

    return OpenAIModel(
        name,
        endpoint_of(name, settings),
        patience=patience.with_timeout(timeout_s),
        price=price_of(name, settings.values),
        concurrency=AdaptiveLimit(connections),
        seed=seed,
        find=find,
        say=say,
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
        UsageError: the provider's address is not known.
    """
    url, key = settings.provider(provider)
    if url is None and provider != "openai":
        raise UsageError(
            f"The address of the provider {provider!r} is not known.",
            hint=f"Set {provider_prefix(provider)}_BASE_URL to its OpenAI-compatible address, "
            "such as http://127.0.0.1:8000/v1.",
        )
    remember_secrets(key or "")
    return url or _OPENAI_URL, key


def price_of(name: str, values: Mapping[str, Any]) -> Price | None:
    """The price of a model in the table ``[prices]`` of the settings; None if it is not there.

    Raises:
        UsageError: the entry is not a price.
    """
    table = values.get("prices")
    entry = table.get(name) if isinstance(table, Mapping) else None
    if entry is None:
        return None
    try:
        return Price.model_validate(entry)
    except ValidationError:
        raise UsageError(
            f"The price of {name} cannot be read.",
            hint=f'Write: [prices]  "{name}" = {{ input = 0.15, output = 0.60 }}  (USD per million tokens).',
        ) from None
