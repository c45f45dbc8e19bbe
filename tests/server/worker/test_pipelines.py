"""What each cache mode lets answer a call, what it keeps, and how it says where an answer came from."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from hostile import LITERALS
from real_api import RealApi, running_real_api
from stb_core.store import Store
from stb_core.values.provenance import CacheMode, Provenance
from stb_server.pipeline.fault_plan import parse_faults
from stb_server.simulators.options import SimulatorOptions
from stb_server.worker.options import ServerOptions
from virtual_server import Running, put_weather, recorded, request, running

BONN = {"city": "Bonn"}
ROME = {"city": "Rome"}
SUNNY = recorded(BONN)
TEMPLATE = SimulatorOptions("template")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncGenerator[RealApi]:
    """A real API."""
    async with running_real_api(tmp_path) as started:
        yield started


def mentions(folder: Path, text: bytes) -> list[Path]:
    return [path for path in folder.glob("store.db*") if text in path.read_bytes()]


def serving(
    url: str, mode: CacheMode = CacheMode.REPLAY, api: RealApi | None = None, **more: object
) -> AbstractAsyncContextManager[Running]:
    options = ServerOptions(
        url, "weather", mode, upstream=api.config if api else None, watch_interval_s=0.05, **more
    )
    return running(options)


async def provenance(server: Running, arguments: dict, **headers: str) -> str:
    answer = await server.call(request(arguments), **headers)
    assert answer.status_code == 200, answer.text
    found: str = answer.headers["x-stb-provenance"]
    return found


@pytest.mark.parametrize(
    ("mode", "of_recorded", "of_new", "again"),
    [
        ("replay", "recorded", "miss", "miss"),
        ("auto", "recorded", "live", "recorded"),
        ("simulate", "recorded", "template", "template"),
        ("record", "recorded", "live", "recorded"),
        ("live", "live", "live", "live"),
        ("refresh", "live", "live", "live"),
    ],
)
async def test_what_answers(
    sqlite_store: Store,
    sqlite_store_url: str,
    api: RealApi,
    mode: str,
    of_recorded: str,
    of_new: str,
    again: str,
) -> None:
    """Of a recorded call, of a new one, and of the same one again.

    In ``record`` the real API is asked, but a recorded answer stays in force.
    """
    await put_weather(sqlite_store, SUNNY)
    async with serving(sqlite_store_url, CacheMode(mode), api, simulator=TEMPLATE) as server:
        found = [await provenance(server, arguments) for arguments in (BONN, ROME, ROME)]

    assert [of_recorded, of_new, again] == found


@pytest.mark.parametrize(
    ("mode", "kept"),
    [("replay", 1), ("auto", 2), ("simulate", 1), ("record", 2), ("live", 1), ("refresh", 2)],
)
async def test_what_is_kept(
    sqlite_store: Store, sqlite_store_url: str, api: RealApi, mode: str, kept: int
) -> None:
    """Answers of the real API, in the modes that record; never those of a template."""
    dataset = await put_weather(sqlite_store, SUNNY)
    async with serving(sqlite_store_url, CacheMode(mode), api, simulator=TEMPLATE) as server:
        await server.call(request(ROME))

    assert kept == (await sqlite_store.datasets.get("weather")).responses_count
    stored = await sqlite_store.responses.get(dataset.id, recorded(ROME).key)
    assert kept == 1 or (stored and stored.provenance is Provenance.RECORDED)


async def test_a_request_may_name_its_mode(sqlite_store: Store, sqlite_store_url: str, api: RealApi) -> None:
    """The header wins over the server's mode, for this request alone."""
    await put_weather(sqlite_store, SUNNY)
    async with serving(sqlite_store_url, api=api, simulator=TEMPLATE) as server:
        found = [
            await provenance(server, ROME, x_stb_mode="live"),
            await provenance(server, ROME),
            await provenance(server, ROME, x_stb_mode="simulate"),
        ]
        unknown = await server.call(request(ROME), x_stb_mode="sometimes")

    assert ["live", "miss", "template"] == found
    assert (400, "unknown_mode") == (unknown.status_code, unknown.headers["x-stb-error"])


async def test_a_mode_that_the_server_cannot_work_in(sqlite_store: Store, sqlite_store_url: str) -> None:
    """It is refused with what is missing."""
    await put_weather(sqlite_store, SUNNY)
    async with serving(sqlite_store_url) as server:
        answers = [await server.call(request(BONN), x_stb_mode=mode) for mode in ("live", "refresh")]

    assert [(400, "mode_unavailable")] * 2 == [(a.status_code, a.headers["x-stb-error"]) for a in answers]
    assert "needs a real API" in answers[0].json()["error"]


async def test_a_real_api_that_fails_is_never_kept(
    sqlite_store: Store, sqlite_store_url: str, api: RealApi
) -> None:
    """The simulator stands in, or the call is a miss that enters the ledger; both answer again later."""
    dataset = await put_weather(sqlite_store, SUNNY)
    api.failing = True
    async with serving(sqlite_store_url, CacheMode.AUTO, api) as server:
        before = await provenance(server, ROME)
        api.failing = False
        after = await provenance(server, ROME)

    assert ["miss", "live"] == [before, after]
    assert [1] == [miss.count for miss in await sqlite_store.misses.most_frequent(dataset.id)]


async def test_a_real_answer_takes_the_place_of_a_simulated_one(
    store: Store, store_url: str, api: RealApi
) -> None:
    """In ``record``; the simulated one stays on record and was never called recorded."""
    simulated = recorded(ROME, b'{"error":"","response":"made up"}')
    dataset = await put_weather(
        store, type(simulated)(**{**vars(simulated), "provenance": Provenance.SIMULATED})
    )
    async with serving(store_url, CacheMode.RECORD, api) as server:
        before = await provenance(server, ROME, x_stb_mode="replay")
        during = await provenance(server, ROME)
        after = await provenance(server, ROME, x_stb_mode="replay")

    assert ["recorded-simulated", "live", "recorded"] == [before, during, after]
    versions = await store.responses.versions(dataset.id, simulated.key)
    assert [Provenance.RECORDED, Provenance.SIMULATED] == [version.provenance for version in versions]


async def test_refresh_keeps_the_old_answer_as_a_superseded_version(
    sqlite_store: Store, sqlite_store_url: str, api: RealApi
) -> None:
    """And everyone gets the new one from then on, the process that has the old one in memory too."""
    dataset = await put_weather(sqlite_store, SUNNY)
    async with serving(sqlite_store_url, CacheMode.REPLAY, api) as server:
        before = await server.call(request(BONN))
        fresh = await server.call(request(BONN), x_stb_mode="refresh")
        after = await server.call(request(BONN))

    assert SUNNY.body == before.content != fresh.content
    assert fresh.content == after.content
    versions = await sqlite_store.responses.versions(dataset.id, SUNNY.key)
    assert [(2, False), (1, True)] == [(v.version, v.superseded_at is not None) for v in versions]


async def test_the_callers_key_reaches_the_real_api_and_nothing_else(
    sqlite_store: Store, sqlite_store_url: str, api: RealApi, tmp_path: Path
) -> None:
    """It is handed on, and is not in the store."""
    await put_weather(sqlite_store)
    async with serving(sqlite_store_url, CacheMode.AUTO, api) as server:
        await server.call(request(ROME))

    assert {"tb-secret-key"} == api.keys
    assert not mentions(tmp_path, b"tb-secret-key")


async def test_faults_hit_recorded_calls_too(sqlite_store: Store, sqlite_store_url: str) -> None:
    """They are marked, counted, and never kept; without a plan for it a call is left alone."""
    await put_weather(sqlite_store, SUNNY)
    async with serving(sqlite_store_url, faults=parse_faults("down=1")) as server:
        answers = [await server.call(request(BONN)) for _ in range(3)]
        ready = (await server.client.get("/readyz")).json()["parts"]["faults"]
        metrics = (await server.client.get("/metrics")).text

    assert {("fault", "fault")} == {
        (a.headers["x-stb-provenance"], a.headers["x-stb-error"]) for a in answers
    }
    assert 3 == ready["faults"]["down"]["calls"]
    assert 'stb_faults_total{fault="down"} 3.0' in metrics
    assert 1 == (await sqlite_store.datasets.get("weather")).responses_count


async def test_a_snapshot_shows_what_was_in_force_when_it_was_taken(
    store: Store, store_url: str, api: RealApi
) -> None:
    """Neither what was added later nor what replaced an answer can be seen in it."""
    dataset = await put_weather(store, SUNNY)
    async with serving(store_url, CacheMode.REPLAY, api) as server:
        taken = await server.client.post("/v1/datasets/weather/snapshots")
        name = taken.json()["snapshot"]
        await server.call(request(BONN), x_stb_mode="refresh")
        await server.call(request(ROME), x_stb_mode="auto")

        frozen = await server.call(request(BONN), x_stb_snapshot=name)
        added = await server.call(request(ROME), x_stb_snapshot=name)
        now = await server.call(request(ROME))

    assert taken.status_code == 201
    assert dataset.responses_hash == name
    assert SUNNY.body == frozen.content
    assert ("miss", "recorded") == tuple(a.headers["x-stb-provenance"] for a in (added, now))


async def test_a_call_answered_within_a_snapshot_never_changes(
    store: Store, store_url: str, api: RealApi
) -> None:
    """In a mode that records, the first answer after the snapshot stays, though a newer one is in force."""
    dataset = await put_weather(store, SUNNY)
    frozen = {"x_stb_snapshot": dataset.responses_hash, "x_stb_mode": "auto"}
    async with serving(store_url, CacheMode.REPLAY, api) as server:
        first = await server.call(request(ROME), **frozen)
        fresh = await server.call(request(ROME), x_stb_mode="refresh")
        server.worker.memory.clear()
        again = await server.call(request(ROME), **frozen)

    assert first.content == again.content != fresh.content


async def test_the_hash_of_the_present_state_names_a_snapshot(
    sqlite_store: Store, sqlite_store_url: str
) -> None:
    """It need not be taken before; a hash that never was is an error for the client."""
    dataset = await put_weather(sqlite_store, SUNNY)
    async with serving(sqlite_store_url) as server:
        present = await server.call(request(BONN), x_stb_snapshot=dataset.responses_hash)
        never = await server.call(request(BONN), x_stb_snapshot="f" * 64)

    assert SUNNY.body == present.content
    assert (404, "unknown_snapshot") == (never.status_code, never.headers["x-stb-error"])


async def test_whatever_a_real_api_says_is_an_answer_or_a_miss(
    sqlite_store: Store, sqlite_store_url: str, api: RealApi
) -> None:
    """Text that looks like a value in Python's notation, and is none, is never a failure of the server."""
    await put_weather(sqlite_store)
    texts = [text for text in LITERALS if text.isascii()]  # others cannot be sent
    async with serving(sqlite_store_url, CacheMode.AUTO, api) as server:
        for n, text in enumerate(texts):
            api.response = text

            assert await provenance(server, {"n": n}) in {"live", "miss"}


async def test_answers_made_by_rule_cost_no_transaction(store: Store, store_url: str) -> None:
    """A template's answer is never kept, so no lease is taken for it."""
    await put_weather(store)
    async with serving(store_url, CacheMode.SIMULATE, simulator=TEMPLATE) as server:
        before = server.worker.resources.writer.transactions
        answers = [await provenance(server, {"city": f"city {number}"}) for number in range(20)]
        transactions = server.worker.resources.writer.transactions - before

    assert ({"template"}, 0) == (set(answers), transactions)


async def test_the_real_api_is_asked_in_a_flight_before_a_rule(
    sqlite_store: Store, sqlite_store_url: str, api: RealApi
) -> None:
    """In auto mode a call that the real API declines is answered by the template; both are tried in order."""
    await put_weather(sqlite_store)
    async with serving(sqlite_store_url, CacheMode.AUTO, api, simulator=TEMPLATE) as server:
        api.failing = True
        flights = server.worker.pipelines[CacheMode.AUTO].flights.counts
        answer = await provenance(server, ROME)

    assert ("template", 1) == (answer, flights["led"])
