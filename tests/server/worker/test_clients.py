"""Tokens with names: who may do what, how often, and how it is taken back."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stb_core.errors import FormatError, NotFoundError
from stb_core.store import Store
from stb_core.values.provenance import CacheMode
from stb_server.simulators.options import SimulatorOptions
from stb_server.worker.clients import Clients, hash_of_token, read_tokens_file
from stb_server.worker.options import ServerOptions
from virtual_server import Running, eventually, put_weather, recorded, request, running

READER, WRITER, SLOW = "reader-token-0123456789", "writer-token-0123456789", "slow-token-0123456789"


def entry(name: str, token: str, **more: Any) -> str:
    """A table of the file."""
    settings = {"sha256": f'"{hash_of_token(token)}"', **more}
    return "\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in settings.items()), ""])


ALL = (
    entry("rita", READER)
    + entry("walter", WRITER, rights='"write"', max_misses=2)
    + entry("trainer-1", SLOW, rate_limit=0.001, rights='"write"')
)


def write(path: Path, text: str) -> None:
    """Replace the file, as an editor does."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a reader, a writer and a slow trainer."""
    file = tmp_path / "tokens.toml"
    write(file, ALL)
    return file


@pytest.fixture
async def server(path: Path, sqlite_store: Store, sqlite_store_url: str) -> AsyncGenerator[Running]:
    """A server in auto mode with that file, which it looks at very often."""
    await put_weather(sqlite_store, recorded({"city": "Bonn"}))
    options = ServerOptions(
        sqlite_store_url,
        "weather",
        CacheMode.AUTO,
        tokens_file=path,
        simulator=SimulatorOptions("template"),
        watch_interval_s=0.02,
        flush_interval_s=60,  # the tests write
    )
    async with running(options) as started:
        yield started


async def ask(server: Running, token: str, city: str = "Bonn", mode: str = "") -> httpx.Response:
    """A call with a token."""
    headers = {"authorization": f"Bearer {token}"} | ({"x_stb_mode": mode} if mode else {})
    return await server.call(request({"city": city}), **headers)


async def test_a_token_gives_the_rights_of_its_name(server: Running) -> None:
    """Reading is reading and replaying; what may be recorded or paid for needs the right to write."""
    answers = {
        (who, what): (await ask(server, token, mode=mode)).status_code
        for who, token in (("reader", READER), ("writer", WRITER), ("nobody", "wrong"))
        for what, mode in (("auto", ""), ("replay", "replay"), ("simulate", "simulate"))
    }
    taken = [
        (await server.client.post("/v1/datasets/weather/snapshots", headers=bearer(token))).status_code
        for token in (READER, WRITER, "wrong")
    ]
    read = [
        (await server.client.get("/v1/datasets", headers=bearer(token))).status_code
        for token in (READER, WRITER, "wrong")
    ]
    refused = await ask(server, READER)

    assert {
        ("reader", "auto"): 403,
        ("reader", "replay"): 200,
        ("reader", "simulate"): 403,
        ("writer", "auto"): 200,
        ("writer", "replay"): 200,
        ("writer", "simulate"): 200,
        ("nobody", "auto"): 401,
        ("nobody", "replay"): 401,
        ("nobody", "simulate"): 401,
    } == answers
    assert ([403, 201, 401], [200, 200, 401]) == (taken, read)
    assert "read_only" == refused.headers["x-stb-error"]
    assert "rita may only read" in refused.json()["error"]


def bearer(token: str) -> dict[str, str]:
    """The header with a token."""
    return {"authorization": f"Bearer {token}"}


async def test_each_name_has_its_own_rate(server: Running) -> None:
    """One that calls too often is told when to come back; the others do not notice."""
    slow = [await ask(server, SLOW) for _ in range(3)]
    others = [await ask(server, WRITER) for _ in range(5)]

    assert [200, 429, 429] == [answer.status_code for answer in slow]
    assert {200} == {answer.status_code for answer in others}
    assert 900 < int(slow[1].headers["retry-after"]) <= 1000
    assert "Too many calls by trainer-1." == slow[1].json()["error"]


async def test_a_token_is_taken_back_without_a_restart(server: Running, path: Path) -> None:
    """An edit counts within a second; a file that cannot be used changes nothing and is shown in the health."""
    episode = {"query_id": "none"}
    before = await ask(server, WRITER)
    write(path, entry("rita", READER) + entry("new", SLOW, rights='"write"'))
    await eventually(lambda: server.worker.clients.names == ["new", "rita"])
    after = [(await ask(server, token, mode="replay")).status_code for token in (WRITER, READER, SLOW)]
    write(path, "[rita]\nsha256 = 5\n")
    await eventually(lambda: server.worker.clients.problem)
    health = (await server.client.get("/readyz", headers=bearer(READER))).json()["parts"]["tokens"]
    still = (await ask(server, READER, mode="replay")).status_code
    opening = await server.client.post("/v1/episodes", json=episode, headers=bearer(WRITER))

    assert (200, [401, 200, 200], 200, 401) == (before.status_code, after, still, opening.status_code)
    assert {"status": "unusable", "names": 2}.items() <= health.items()
    assert "rita.sha256" in health["reason"]


async def test_whoever_opened_an_episode_can_lose_it(path: Path) -> None:
    """What was begun under a name ends with the name; what was begun from an address does not."""
    clients = Clients("", path)

    found = [clients.of_name(name).name for name in ("walter", "10.0.0.1", "fe80::1", "")]
    write(path, entry("rita", READER))
    clients.refresh()

    assert ["walter", "", "", ""] == found
    with pytest.raises(Exception, match="The token of walter is not valid any more"):
        clients.of_name("walter")


async def test_a_quota_bounds_what_a_client_brings_into_the_ledger(
    server: Running, sqlite_store: Store
) -> None:
    """Per dataset, over all its calls and restarts; calls of others and calls that are known are counted on."""
    ledger = server.worker.resources.ledger
    for token, cities in ((WRITER, "abcdef"), (READER, "xyz"), (WRITER, "ab")):
        for city in cities:
            await ask(server, token, city, mode="replay")
            await ledger.flush()
    dataset = await sqlite_store.datasets.get("weather")
    misses = await sqlite_store.misses.most_frequent(dataset.id)
    metrics = (await server.client.get("/metrics", headers=bearer(READER))).text
    listed = (await server.client.get("/v1/misses?dataset=weather", headers=bearer(READER))).json()

    assert [("rita", 1)] * 3 + [("walter", 2)] * 2 == sorted((miss.client, miss.count) for miss in misses)
    assert {"walter", "rita"} == {row["client"] for row in listed["rows"]}
    assert 'stb_misses_over_quota_total{client="walter"} 4.0' in metrics
    assert "stb_misses_lost_total 0.0" in metrics
    assert 'stb_client_calls_total{client="rita",outcome="accepted"} 3.0' in metrics


async def test_a_browser_signs_in_with_a_name(server: Running) -> None:
    """The form takes a token of the file; the cookie opens pages as long as the token does, and calls nothing."""
    form = {"token": READER, "next": "/cache"}
    answer = await server.client.post("/login", data=form)
    cookie = {"cookie": answer.headers["set-cookie"].partition(";")[0]}
    seen = await server.client.get("/cache/weather", headers=cookie)
    tried = await server.client.post("/cache/weather/try", headers=cookie, data={})
    called = await server.client.post("/virtual", json=request({"city": "Bonn"}), headers=cookie)

    assert (303, 200, 403, 401) == (
        answer.status_code,
        seen.status_code,
        tried.status_code,
        called.status_code,
    )


async def test_names_are_logged_and_tokens_are_not(
    server: Running, caplog: pytest.LogCaptureFixture, path: Path
) -> None:
    """Neither the log nor the store nor the file holds a token."""
    caplog.set_level("DEBUG")
    stored = [path, *path.parent.glob("*.db*")]
    for token in (READER, WRITER, SLOW):
        await ask(server, token, "nowhere")
    await server.worker.resources.ledger.flush()

    everything = caplog.text + repr(server.worker.clients.__dict__)
    everything += "".join(file.read_text(errors="replace") for file in stored)
    assert [] == [token for token in (READER, WRITER, SLOW) if token in everything]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "it is not TOML"),
        ("name = 5", "name: Input should be a valid dictionary"),
        ("[rita]\ntoken = 'plain-text-token'", "rita.sha256: Field required"),
        (entry("rita", READER, rights='"all"'), "rita.rights: Input should be 'read' or 'write'"),
        (entry("rita", READER, speed=5), "rita.speed: Extra inputs are not permitted"),
        (entry("rita", READER, rate_limit="nan"), "rita.rate_limit"),
        (entry('"10.0.0.1"', READER), "'10.0.0.1' is not a name"),
        (entry("rita", READER) + entry("otto", READER), "rita and otto have the same token"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, reason: str) -> None:
    """With its place, and without the value, which may be a token."""
    path = tmp_path / "tokens.toml"
    path.write_text(text)

    with pytest.raises(FormatError) as caught:
        read_tokens_file(path)
    assert reason in caught.value.message
    assert "plain-text-token" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(NotFoundError, match="There is no file of tokens"):
        Clients("", tmp_path / "none.toml")


def test_the_servers_own_token_stays_what_it_was(path: Path) -> None:
    """It may do everything, has no name, and works beside the file."""
    clients = Clients("the-one-token-of-old", path)

    one = clients.of_header(b"Bearer the-one-token-of-old")
    named = clients.of_header(f"bearer {WRITER}".encode())

    assert one
    assert ("", True) == (one.name, one.writes)
    assert named
    assert ("walter", True, 2) == (named.name, named.writes, named.max_misses)
    assert [None] * 3 == [clients.of_header(header) for header in (b"", b"Bearer ", b"Basic dXNlcjpwYXNz")]
