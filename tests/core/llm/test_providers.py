"""PROVIDER/MODEL says where a model is, and an error says which variable is missing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from stb_core.errors import UsageError
from stb_core.llm.providers import endpoint_of, price_of
from stb_core.settings import Settings
from stb_core.usage import Price


def settings(**environment: str) -> Settings:
    return Settings(database_url="", values={}, environment=environment)


def test_any_provider_is_found_by_its_variables() -> None:
    """<PROVIDER>_BASE_URL and <PROVIDER>_API_KEY, with underscores in place of signs."""
    here = settings(TOGETHER_AI_BASE_URL="http://x/v1", TOGETHER_AI_API_KEY="k")

    endpoint = endpoint_of("together-ai/meta/llama", here)

    assert (endpoint.base_url, endpoint.api_key) == ("http://x/v1", "k")


def test_the_address_of_openai_is_known() -> None:
    """The key alone is enough for openai/…."""
    assert endpoint_of("openai/m", settings(OPENAI_API_KEY="k")).base_url == "https://api.openai.com/v1"


def test_the_key_is_not_shown() -> None:
    """An endpoint can be printed."""
    assert "secret" not in repr(endpoint_of("openai/m", settings(OPENAI_API_KEY="secret")))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("any", "'any' does not name a model. Write PROVIDER/MODEL"),
        ("stub/", "'stub/' does not name a model."),
        ("stub/any", "The address of the provider 'stub' is not known. Set STUB_BASE_URL to"),
        ("openai/m", "OpenAI needs a key. Set OPENAI_API_KEY"),
    ],
)
def test_the_error_names_what_is_missing(name: str, message: str) -> None:
    """One line with the variable to set."""
    with pytest.raises(UsageError) as caught:
        endpoint_of(name, settings())

    assert str(caught.value).startswith(message)


def test_prices_are_the_users() -> None:
    """USD per million tokens, by the model's full name; an unknown model has no price."""
    values = {"prices": {"stub/any": {"input": 1.0, "output": 2.0}}}

    assert [price_of(name, values) for name in ("stub/any", "stub/other")] == [
        Price(input=1.0, output=2.0),
        None,
    ]


@pytest.mark.parametrize("entry", ["cheap", {"input": 1}, {"input": -1, "output": 1}, {"in": 1, "output": 1}])
def test_a_price_that_cannot_be_read_is_refused(entry: Any) -> None:
    """The error says how to write one."""
    with pytest.raises(UsageError, match="The price of stub/any cannot be read"):
        price_of("stub/any", {"prices": {"stub/any": entry}})


def test_cached_tokens_have_their_own_price() -> None:
    """They are part of the prompt's tokens."""
    price = Price(input=2.0, output=10.0, cached_input=1.0)

    assert price.cost_usd(1_000_000, 100_000, 500_000) == pytest.approx(1.0 + 0.5 + 1.0)


def test_the_sdk_is_imported_only_when_a_model_is_opened() -> None:
    """It is slow to import: all modules of the room but the client itself work without it, and so does retrieval."""
    program = """
import pkgutil, sys
import stb_core.llm, stb_core.retrieval
for room in (stb_core.llm, stb_core.retrieval):
    for module in pkgutil.iter_modules(room.__path__, room.__name__ + "."):
        if module.name != "stb_core.llm.openai_client":
            __import__(module.name)
print(*sorted({"openai", "aiohttp", "httpx2"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "" == done.stdout.strip()
