"""The client of the virtual API server tells apart what another attempt can change and what it cannot."""

from __future__ import annotations

import pytest

from raw_server import reply, running_raw_server
from stb_agents.environment.server_client import VirtualClient
from stb_core.errors import ServiceError
from stb_core.http import MAX_RESPONSE_BYTES
from stb_core.llm.retries import Patience
from stb_core.values.tools import ApiRef

HASTY = Patience(deadline_s=120, first_wait_s=0.001, longest_wait_s=0.01)
REF = ApiRef("Weather", "sky_watch", "current")


async def test_a_response_that_is_too_long_is_an_error_at_once() -> None:
    """Whatever answers there is not a virtual API server; it is not asked again."""
    huge = reply(body=b" " * (MAX_RESPONSE_BYTES + 1))
    async with (
        running_raw_server(virtual=huge) as server,
        VirtualClient(server.url, patience=HASTY) as client,
    ):
        with pytest.raises(ServiceError, match=f"the response is longer than {MAX_RESPONSE_BYTES} bytes"):
            await client.call(REF, "{}")

    assert 1 == len(server.heard)


async def test_a_redirect_is_not_followed() -> None:
    """The token stays with the server that was named."""
    away = reply("307 Temporary Redirect", Location="http://127.0.0.1:9/virtual")
    async with (
        running_raw_server(virtual=away) as server,
        VirtualClient(server.url, patience=HASTY) as client,
    ):
        with pytest.raises(ServiceError, match="HTTP 307"):
            await client.call(REF, "{}")
