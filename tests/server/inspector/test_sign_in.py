"""A server with a token lets a browser in by a form, and by nothing less."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx
import pytest

from stb_core.store import Store
from stb_server.worker.options import ServerOptions
from virtual_server import Running, put_weather, recorded, running

TOKEN = "an open secret"
HTML = {"accept": "text/html"}


@pytest.fixture
async def server(sqlite_store: Store, sqlite_store_url: str) -> AsyncGenerator[Running]:
    """A server with a token."""
    await put_weather(sqlite_store, recorded({"city": "Bonn"}))
    async with running(ServerOptions(sqlite_store_url, "weather", token=TOKEN)) as started:
        yield started


async def test_a_browser_is_sent_to_the_form_and_back(server: Running) -> None:
    """To the page that was asked for, with a cookie that no script reads and no other site sends."""
    refused = await server.client.get("/cache/weather?text=sky", headers=HTML)
    form = await server.client.get(refused.headers["location"], headers=HTML)
    let_in = await server.client.post("/login", data={"token": TOKEN, "next": "/cache/weather?text=sky"})
    seen = await server.client.get(let_in.headers["location"], headers=HTML)

    assert (303, "/login?next=%2Fcache%2Fweather%3Ftext%3Dsky") == (
        refused.status_code,
        refused.headers["location"],
    )
    assert 'value="/cache/weather?text=sky"' in form.text
    cookie = let_in.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert 200 == seen.status_code


async def test_a_token_in_the_address_is_taken_once(server: Running) -> None:
    """It leaves a cookie and is gone from the address."""
    answer = await server.client.get("/runs", params={"token": TOKEN, "agent": "x"}, headers=HTML)

    assert (303, "/runs?agent=x") == (answer.status_code, answer.headers["location"])
    assert 200 == (await server.client.get("/runs", headers=HTML)).status_code


async def test_a_wrong_token_is_refused(server: Running) -> None:
    """By the form with 401 and words, in an address by way of the form."""
    by_form = await server.client.post("/login", data={"token": "guess", "next": "/"})
    by_address = await server.client.get("/", params={"token": "guess"}, headers=HTML)

    assert 401 == by_form.status_code
    assert "This is not the server's token." in by_form.text
    assert "set-cookie" not in by_form.headers
    assert "/login" in by_address.headers["location"]


async def test_other_clients_are_refused_as_before(server: Running) -> None:
    """401 and JSON; with the token as a header everything is open."""
    refused = await server.client.get("/v1/datasets")
    bearer = {"authorization": f"Bearer {TOKEN}"}

    assert (401, "unauthorized") == (refused.status_code, refused.headers["x-stb-error"])
    assert 200 == (await server.client.get("/cache/weather", headers=bearer)).status_code


async def test_the_cookie_writes_nothing_but_our_own_forms(server: Running) -> None:
    """With it data can be read, and a try can be made; snapshots and calls need the token itself."""
    await server.client.post("/login", data={"token": TOKEN, "next": "/"})
    call = {"category": "Weather", "tool": "sky_watch", "api": "current", "arguments": '{"city":"Bonn"}'}

    assert 200 == (await server.client.get("/v1/datasets")).status_code
    assert 200 == (await server.client.post("/cache/weather/try", data=call)).status_code
    assert 401 == (await server.client.post("/v1/datasets/weather/snapshots")).status_code
    assert 401 == (await server.client.post("/virtual", json={})).status_code
    async with httpx.AsyncClient(base_url=server.url) as another:
        assert 401 == (await another.get("/v1/datasets")).status_code


async def test_a_form_of_another_site_is_not_followed(server: Running) -> None:
    """By what the browser says of where it comes from."""
    await server.client.post("/login", data={"token": TOKEN, "next": "/"})
    call = {"category": "Weather", "tool": "sky_watch", "api": "current", "arguments": "{}"}

    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "http://elsewhere.example"}):
        answer = await server.client.post("/cache/weather/try", data=call, headers=headers)
        assert 403 == answer.status_code


@pytest.mark.parametrize(
    "elsewhere", ["https://elsewhere.example", "//elsewhere.example", "/\\elsewhere", "x", ""]
)
async def test_the_form_leads_nowhere_else(server: Running, elsewhere: str) -> None:
    """Whatever ``next`` says, the way goes to a page of this server."""
    answer = await server.client.post("/login", data={"token": TOKEN, "next": elsewhere})

    assert "/" == answer.headers["location"]


async def test_signing_out_takes_the_cookie_back(server: Running) -> None:
    """Afterwards the form is asked for again."""
    await server.client.post("/login", data={"token": TOKEN, "next": "/"})
    await server.client.post("/logout")

    assert 303 == (await server.client.get("/", headers=HTML)).status_code
