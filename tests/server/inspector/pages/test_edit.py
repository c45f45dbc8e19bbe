"""Responses are changed from the pages by whoever showed the write token, and by nobody else."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator

import httpx
import pytest

from stb_core.store import Store
from stb_core.store.curation import CurationAct
from stb_server.inspector.edit_session import MAX_AGE_S, begin_session, is_session
from stb_server.worker.options import ServerOptions
from virtual_server import Running, put_weather, recorded, request, running

TOKEN = "a token that nobody guesses"
BONN = recorded({"city": "Bonn"})
PLACE = f"/cache/weather/{BONN.key}"
KEY = re.compile(r'name="form_key" value="([0-9a-f]{64})"')


@pytest.fixture
async def server(sqlite_store: Store, sqlite_store_url: str) -> AsyncGenerator[Running]:
    """A server with a write token."""
    await put_weather(sqlite_store, BONN)
    async with running(ServerOptions(sqlite_store_url, "weather", write_token=TOKEN)) as started:
        yield started


async def signed_in(server: Running) -> str:
    """Show the token; returns the key that forms carry."""
    await server.client.post("/edit", data={"write_token": TOKEN, "next": PLACE})
    found = KEY.search((await server.client.get(PLACE)).text)
    assert found
    return found[1]


async def in_force(server: Running) -> bool:
    return await server.worker.resources.store.responses.get(1, BONN.key) is not None


async def test_the_token_opens_the_forms(server: Running) -> None:
    """They are not there before; the cookie is no token, no script reads it, and it leads back."""
    before = await server.client.get(PLACE)
    let_in = await server.client.post("/edit", data={"write_token": TOKEN, "next": PLACE})
    after = await server.client.get(PLACE)

    assert 'action="/edit"' not in before.text
    assert "form_key" not in before.text
    cookie = let_in.headers["set-cookie"]
    assert (303, PLACE) == (let_in.status_code, let_in.headers["location"])
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert KEY.search(after.text)
    await server.client.post("/edit/end", data={"next": PLACE})
    assert not KEY.search((await server.client.get(PLACE)).text)


async def test_responses_are_changed(server: Running) -> None:
    """Pinned, annotated, deleted and put back; agents see it at once and the record shows it all."""
    key = await signed_in(server)
    store = server.worker.resources.store
    assert (
        "memory" == [await server.call(request({"city": "Bonn"})) for _ in range(2)][1].headers["x-stb-cache"]
    )

    async def change(act: str, **more: str) -> httpx.Response:
        return await server.client.post(PLACE, data={"form_key": key, "act": act, **more})

    await change("pin")
    await change("note", note="doubtful <b>")
    pinned = await store.responses.get(1, BONN.key)
    await change("delete", reason="stale")
    missed = await server.call(request({"city": "Bonn"}))
    shown = (await server.client.get(PLACE)).text
    back = await change("restore")
    again = await server.call(request({"city": "Bonn"}))
    record = (await server.client.get("/cache/weather/record")).text

    assert pinned
    assert pinned.pinned
    assert "miss" == missed.headers["x-stb-provenance"]
    assert "no longer in force" in shown
    assert "doubtful &lt;b&gt;" in shown
    assert (303, f"{PLACE}#by-hand") == (back.status_code, back.headers["location"])
    assert "recorded" == again.headers["x-stb-provenance"]
    acts = [event.act for event in await store.curation.of(1, BONN.key)]
    assert [CurationAct.RESTORE, CurationAct.RETIRE, CurationAct.NOTE, CurationAct.PIN] == acts
    assert all(word in record for word in ("stale", "doubtful &lt;b&gt;", "put back into force"))


async def test_the_page_of_an_erased_response_says_so(server: Running) -> None:
    """It is not found, and not as if it had never been there."""
    await server.worker.resources.store.curation.delete(1, BONN.key, erase=True)

    answer = await server.client.get(PLACE)

    assert 404 == answer.status_code
    assert "It was erased by hand at" in answer.text


@pytest.mark.parametrize(
    ("headers", "form_key"),
    [
        ({}, ""),
        ({}, "0" * 64),
        ({"sec-fetch-site": "cross-site"}, None),
        ({"sec-fetch-site": "same-site"}, None),
        ({"origin": "http://elsewhere.example"}, None),
    ],
)
async def test_a_form_from_elsewhere_changes_nothing(
    server: Running, headers: dict[str, str], form_key: str | None
) -> None:
    """Even with the cookie: it must come from our page and carry the key that stands in it."""
    key = await signed_in(server)
    sent = {"act": "delete", "reason": "x", "form_key": key if form_key is None else form_key}

    answer = await server.client.post(PLACE, data=sent, headers=headers)

    assert 403 == answer.status_code
    assert await in_force(server)


async def test_without_the_cookie_nothing_changes(server: Running) -> None:
    """A wrong token leaves none, a key alone is worth nothing, and an old or foreign cookie neither."""
    key = await signed_in(server)
    server.client.cookies.clear()

    wrong = await server.client.post("/edit", data={"write_token": "guess", "next": "/"})
    answers = [wrong, await server.client.post(PLACE, data={"act": "delete", "form_key": key})]
    for cookie in ("", "x", begin_session("another token", 2e9), begin_session(TOKEN, 1.0)):
        sent = {"cookie": f"stb_inspector_edit={cookie}"}
        answers.append(await server.client.post(PLACE, data={"act": "delete", "form_key": key}, headers=sent))

    assert [403] * 6 == [answer.status_code for answer in answers]
    assert "set-cookie" not in wrong.headers
    assert await in_force(server)


async def test_a_server_without_a_write_token_changes_nothing(
    sqlite_store: Store, sqlite_store_url: str
) -> None:
    """It shows no form, and answers 403 whatever comes."""
    await put_weather(sqlite_store, BONN)
    async with running(ServerOptions(sqlite_store_url, "weather")) as server:
        sent = {"cookie": f"stb_inspector_edit={begin_session('', 2e9)}"}
        answers = [
            await server.client.get("/edit"),
            await server.client.post("/edit", data={"write_token": ""}),
            await server.client.post(PLACE, data={"act": "delete"}, headers=sent),
        ]
        shown = await server.client.get(PLACE)
        still = await in_force(server)

    assert [403] * 3 == [answer.status_code for answer in answers]
    assert "/edit" not in shown.text
    assert still


async def test_both_tokens_are_needed_where_there_are_both(
    sqlite_store: Store, sqlite_store_url: str
) -> None:
    """The token to look is not enough to change, nor is the write token enough to look."""
    await put_weather(sqlite_store, BONN)
    options = ServerOptions(sqlite_store_url, "weather", token="to look", write_token=TOKEN)
    async with running(options) as server:
        outside = await server.client.post("/edit", data={"write_token": TOKEN, "next": "/"})
        await server.client.post("/login", data={"token": "to look", "next": "/"})
        looking = await server.client.post(PLACE, data={"act": "delete"})
        key = await signed_in(server)
        deleted = await server.client.post(PLACE, data={"act": "delete", "form_key": key})

    assert [401, 403, 303] == [outside.status_code, looking.status_code, deleted.status_code]


def test_a_session_ends() -> None:
    """After eight hours, or when a character of it is changed."""
    session = begin_session(TOKEN, 1000.0)

    assert is_session(session, TOKEN, 1000.0 + MAX_AGE_S - 1)
    assert not is_session(session, TOKEN, 1000.0 + MAX_AGE_S)
    assert not is_session(session, TOKEN + "x", 1000.0)
    assert not is_session(session.replace("-", "0-", 1), TOKEN, 1000.0)
