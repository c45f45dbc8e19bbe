"""Each client has its share, and no more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stb_core.store import Store
from stb_server.worker import rate_limit
from stb_server.worker.options import ServerOptions
from stb_server.worker.rate_limit import RateLimit
from virtual_server import put_weather, recorded, request, running


def test_a_client_may_make_as_many_calls_as_its_rate() -> None:
    """A full bucket at once, then one a moment; the wait it is told is the one it needs."""
    limit = RateLimit(per_second=2)

    waits = [limit.wait_s("a", now) for now in (0, 0, 0, 0.4, 0.5, 0.5)]

    assert [0, 0, 0.5, 0.1, 0, 0.5] == [round(wait, 3) for wait in waits]
    assert 3 == limit.refused


def test_clients_do_not_share() -> None:
    """What one has used up is not the other's loss."""
    limit = RateLimit(per_second=1)

    assert [0, 0] == [limit.wait_s(client, 0) for client in ("a", "b")]


@given(st.lists(st.floats(0, 0.3), max_size=200), st.floats(0.5, 50))
def test_in_no_stretch_of_time_is_the_rate_exceeded(pauses: list[float], rate: float) -> None:
    """However calls are spread, at most a bucket and the rate times the time get through."""
    limit, now, passed = RateLimit(rate), 0.0, 0

    for pause in pauses:
        now += pause
        passed += limit.wait_s("a", now) == 0

    assert passed <= max(1.0, rate) + rate * now + 1e-6


def test_the_memory_of_clients_is_bounded(monkeypatch) -> None:
    """The one not heard of for longest is forgotten."""
    monkeypatch.setattr(rate_limit, "MAX_CLIENTS", 2)
    limit = RateLimit(per_second=1)

    assert [0, 0, 0, 0] == [limit.wait_s(client, 0) for client in ("a", "b", "c", "a")]


async def test_too_many_calls_are_told_when_to_come_back(sqlite_store: Store, sqlite_store_url: str) -> None:
    """429 with Retry-After, in the usual form; other paths are not limited."""
    await put_weather(sqlite_store, recorded({}))
    async with running(ServerOptions(sqlite_store_url, "weather", rate_limit=0.5)) as server:
        first, second = await server.call(request()), await server.call(request())
        health = await server.client.get("/readyz")

    assert (200, 429, 200) == (first.status_code, second.status_code, health.status_code)
    assert ("rate_limited", "2") == (second.headers["x-stb-error"], second.headers["retry-after"])
    assert {"error", "response"} == second.json().keys()
