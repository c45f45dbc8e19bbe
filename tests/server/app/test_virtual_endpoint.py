"""``POST /virtual`` takes what existing clients send and answers what was recorded."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from pathlib import Path

import httpx
import orjson
import pytest

from stb_core.store import Store
from stb_server.datasets.release import find_release, import_release
from stb_server.worker.options import ServerOptions
from virtual_server import Running, eventually, put_weather, quick_client, recorded, request, running

SUNNY = recorded({"city": "Bonn", "days": 3})


@pytest.fixture
async def server(store: Store, store_url: str):
    """A server of a small dataset, on each database."""
    await put_weather(store, SUNNY, recorded({}, b'{"error":"","response":"no city"}'))
    async with running(ServerOptions(store_url, "weather", flush_interval_s=0.05)) as started:
        yield started


@pytest.fixture
async def on_sqlite(sqlite_store: Store, sqlite_store_url: str):
    """A server of a small dataset, for facts that do not depend on the database."""
    await put_weather(sqlite_store, SUNNY, recorded({}, b'{"error":"","response":"no city"}'))
    async with running(ServerOptions(sqlite_store_url, "weather", flush_interval_s=0.05)) as started:
        yield started


async def test_a_recorded_call_gets_exactly_the_recorded_bytes(server: Running) -> None:
    """The body is what the store holds; the headers say where it came from."""
    first = await server.call(request('{"city": "Bonn", "days": 3}'))
    second = await server.call(request('{"city": "Bonn", "days": 3}'))

    assert (200, SUNNY.body) == (first.status_code, first.content)
    assert ("recorded", SUNNY.key, "store") == tuple(
        first.headers[f"x-stb-{name}"] for name in ("provenance", "key", "cache")
    )
    assert SUNNY.body == second.content
    assert second.headers["x-stb-cache"] == "memory"


@pytest.mark.parametrize(
    "tool_input",
    [
        '{"city":"Bonn","days":3}',
        '{\n  "days": 3,\n  "city": "Bonn"\n}',
        {"days": 3, "city": "Bonn"},
        '{"city": "\\u0042onn", "days": 3}',
    ],
)
async def test_key_order_and_white_space_do_not_matter(on_sqlite: Running, tool_input) -> None:
    """The same arguments are the same call, as text or as an object."""
    answer = await on_sqlite.call(request(tool_input))

    assert SUNNY.body == answer.content


@pytest.mark.parametrize("tool_input", ["", "  ", {}, "{}", None, "null"])
async def test_no_arguments_can_be_written_in_six_ways(on_sqlite: Running, tool_input) -> None:
    """An empty string, blanks, an empty object and null, and the texts of both, are all no arguments."""
    answer = await on_sqlite.call(request(tool_input))

    assert answer.json()["response"] == "no city"


async def test_members_that_may_be_missing(on_sqlite: Running) -> None:
    """Only the three names are needed; unknown members are ignored."""
    body = {"category": "Weather", "tool_name": "Sky Watch", "api_name": "Current", "more": [1]}

    answer = await on_sqlite.call(body)

    assert answer.json()["response"] == "no city"


@pytest.mark.parametrize(
    ("tool", "api"),
    [
        ("sky_watch", "current"),
        ("Sky Watch_for_Weather", "Current"),
        ("sky_watch_for_Weather", "current_for_sky_watch"),
    ],
)
async def test_names_may_be_in_any_form_that_clients_use(on_sqlite: Running, tool: str, api: str) -> None:
    """Standardised or not, with or without ToolBench's suffixes."""
    body = request({"city": "Bonn", "days": 3}) | {"tool_name": tool, "api_name": api}

    answer = await on_sqlite.call(body)

    assert SUNNY.body == answer.content


@pytest.mark.parametrize("value", ["3", 3.5, True, None, [3]])
async def test_another_value_or_type_is_another_call(on_sqlite: Running, value) -> None:
    """Only an equal argument of the same type is answered from the recording."""
    answer = await on_sqlite.call(request({"city": "Bonn", "days": value}))

    assert answer.headers["x-stb-provenance"] == "miss"


async def test_a_miss_is_an_observation(server: Running) -> None:
    """Status 200, a typed error, the same text every time, and nothing of other recordings in it."""
    answers = [await server.call(request({"city": "Rome"})) for _ in range(2)]

    assert {200} == {answer.status_code for answer in answers}
    assert answers[0].content == answers[1].content
    assert {
        "error": "No recorded response: current of sky_watch was not recorded with these arguments.",
        "response": "",
    } == answers[0].json()
    head = answers[0].headers
    assert ("miss", "miss", "miss") == (head["x-stb-error"], head["x-stb-provenance"], head["x-stb-cache"])


async def test_a_miss_enters_the_ledger_with_its_nearest_neighbour(server: Running, store: Store) -> None:
    """Counted by call, with the recorded call whose arguments are most alike."""
    for city in ("Bonm", "Bonm", "Rome"):
        await server.call(request({"city": city, "days": 3}))
    await server.worker.resources.ledger.flush()

    dataset = await store.datasets.get("weather")
    (bonm, rome) = await store.misses.most_frequent(dataset.id)
    assert (2, 1) == (bonm.count, rome.count)
    assert (SUNNY.key, b'{"city":"Bonn","days":3}') == (bonm.nearest_key, bonm.nearest_arguments)
    assert bonm.nearest_similarity
    assert 0.9 < bonm.nearest_similarity < 1


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"category": "Sport"}, "unknown_category"),
        ({"tool_name": "../../etc/passwd"}, "unknown_tool"),
        ({"tool_name": "sky\u0000"}, "unknown_tool"),
        ({"category": "n" * 300}, "unknown_category"),
        ({"api_name": "currents"}, "unknown_api"),
    ],
)
async def test_an_unknown_name_is_an_observation(server: Running, change, kind: str) -> None:
    """The agent reads which name is unknown; nothing is looked up in the file system."""
    answer = await server.call(request() | change)

    assert (200, kind) == (answer.status_code, answer.headers["x-stb-error"])
    assert answer.json()["error"]
    assert answer.json()["response"] == ""


@pytest.mark.parametrize(
    "tool_input",
    ["{", "[1]", '"text"', "{}{}", '{"a": 1} {"b": 2}', '{"a": NaN}', "{" + '"a":{' * 80 + "}" * 81],
)
async def test_unusable_arguments_are_an_observation(on_sqlite: Running, tool_input: str) -> None:
    """Text that is not one JSON object is refused with a reason, as is a chain of objects."""
    answer = await on_sqlite.call(request(tool_input))

    assert (200, "unusable_input") == (answer.status_code, answer.headers["x-stb-error"])
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"", 400, "not_json"),
        (b"not json", 400, "not_json"),
        (b"[]", 400, "not_json"),
        (b"\xff\xfe", 400, "not_json"),
        (b"[" * 100_000, 413, "too_deep"),
        (orjson.dumps({"category": "Weather", "tool_name": "Sky Watch"}), 422, "missing_name"),
        (orjson.dumps(request() | {"api_name": ""}), 422, "missing_name"),
        (orjson.dumps(request() | {"category": 5}), 422, "wrong_type"),
        (orjson.dumps(request([1])), 422, "wrong_type"),
        (b'{"a":"' + b"x" * (1 << 20) + b'"}', 413, "too_large"),
    ],
)
async def test_a_request_that_no_client_should_send(
    on_sqlite: Running, body: bytes, status: int, kind: str
) -> None:
    """A status of 4xx, with a body in the usual form all the same."""
    answer = await on_sqlite.client.post("/virtual", content=body)

    assert (status, kind) == (answer.status_code, answer.headers["x-stb-error"])
    assert {"error", "response"} == answer.json().keys()


async def test_a_body_of_a_hundred_megabytes_is_not_read(on_sqlite: Running) -> None:
    """It is refused by its announced length, or where its announced limit is passed."""

    async def chunks():
        for _ in range(100):
            yield b" " * (1 << 20)

    try:
        announced = await on_sqlite.client.post("/virtual", content=b" " * (100 << 20))
        assert announced.status_code == 413
        streamed = await on_sqlite.client.post("/virtual", content=chunks())
        assert streamed.status_code == 413
    except (httpx.WriteError, httpx.ReadError):  # the server hung up while we were still sending
        pass
    after = await on_sqlite.call(request())
    assert after.status_code == 200


async def test_chat_with_user_has_its_fixed_answer(on_sqlite: Running) -> None:
    """ToolBench's clients may call it under any tool; no server stands behind it."""
    answer = await on_sqlite.call(request("", api="chat_with_user_for_sky_watch"))

    assert {"error": "", "response": "Chat with user."} == answer.json()
    assert answer.headers["x-stb-provenance"] == "template"


async def test_another_dataset_can_be_named(on_sqlite: Running, sqlite_store: Store) -> None:
    """A header chooses among the datasets of the store; an unknown one is an error for the client."""
    other = recorded({}, b'{"error":"","response":"other"}')
    await put_weather(sqlite_store, other, name="other")

    chosen = await on_sqlite.call(request(), x_stb_dataset="other")
    unknown = await on_sqlite.call(request(), x_stb_dataset="no such")

    assert other.body == chosen.content
    assert (404, "unknown_dataset") == (unknown.status_code, unknown.headers["x-stb-error"])


async def test_the_callers_key_goes_nowhere(
    on_sqlite: Running, tmp_path, caplog: pytest.LogCaptureFixture
) -> None:
    """``toolbench_key`` is in no log, header or record."""
    caplog.set_level(logging.DEBUG)
    for arguments in ('{"city": "Bonn", "days": 3}', '{"city": "Rome"}', "broken"):
        answer = await on_sqlite.call(request(arguments))
        assert "tb-secret-key" not in answer.text + str(answer.headers)
    await on_sqlite.worker.resources.ledger.flush()

    assert "tb-secret-key" not in caplog.text
    assert not [path for path in tmp_path.glob("store.db*") if b"tb-secret-key" in path.read_bytes()]


async def test_a_server_with_a_token_wants_it(sqlite_store: Store, sqlite_store_url: str) -> None:
    """Every request needs it but the one that asks whether the process lives."""
    await put_weather(sqlite_store, SUNNY)
    async with running(ServerOptions(sqlite_store_url, "weather", token="t0ken")) as server:
        statuses = [
            (await server.call(request())).status_code,
            (await server.call(request(), authorization="Bearer wrong")).status_code,
            (await server.call(request(), authorization="Bearer t0ken")).status_code,
            (await server.client.get("/v1/datasets")).status_code,
            (await server.client.get("/healthz")).status_code,
        ]

    assert [401, 401, 200, 401, 200] == statuses


async def test_what_is_recorded_meanwhile_is_found(on_sqlite: Running, sqlite_store: Store) -> None:
    """A miss is not remembered: the next call sees what another process has recorded."""
    dataset = await sqlite_store.datasets.get("weather")
    before = await on_sqlite.call(request({"city": "Rome"}))
    await sqlite_store.responses.keep(dataset.id, [recorded({"city": "Rome"})])

    after = await on_sqlite.call(request({"city": "Rome"}))

    assert ("miss", "recorded") == tuple(a.headers["x-stb-provenance"] for a in (before, after))


async def test_what_is_superseded_meanwhile_is_noticed(sqlite_store: Store, sqlite_store_url: str) -> None:
    """An answer that another process replaced is dropped from memory within the watch interval."""
    dataset = await put_weather(sqlite_store, SUNNY)
    options = ServerOptions(sqlite_store_url, "weather", watch_interval_s=0.05)
    async with running(options) as server:
        await server.call(request({"city": "Bonn", "days": 3}))
        newer = recorded({"city": "Bonn", "days": 3}, b'{"error":"","response":"rain"}')
        await sqlite_store.responses.keep(dataset.id, [newer], supersede=True)

        async def is_newer() -> bool:
            return (await server.call(request({"city": "Bonn", "days": 3}))).content == newer.body

        await eventually(is_newer)


def recorded_in_release(row: dict, release: Path) -> dict | None:
    """What the release's cache holds for a call, found as the release describes it."""
    folder = release / "tool_response_cache" / row["category"] / f"{row['tool_name']}_for_{row['category']}"
    file = folder / f"{row['api_name']}.json"
    if not file.is_file():
        return None
    found: dict | None = json.loads(file.read_text()).get(str(json.loads(row["tool_input"] or "{}")))
    return found


def other_notations(tool_input: str) -> list:
    """The same arguments as an object, and as text in another order with other white space."""
    value = json.loads(tool_input or "{}")
    return [value, json.dumps(dict(reversed(value.items())), indent=3)]


async def test_every_recorded_call_of_real_agents_is_answered(
    real_data: Path, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """All in the cache are answered from the recording in any notation; the others miss; none fails."""
    release = find_release(real_data / "release")
    await import_release(sqlite_store, release, "real", advance=lambda *_: None)
    rows = [json.loads(line) for line in (real_data / "tool_calls.jsonl").read_text().splitlines()]
    by_file: dict[str, bool] = {}
    outcomes: Counter = Counter()

    async def replay(url: str, mine: list[dict]) -> None:
        async with quick_client(url) as client:
            for row in mine:
                body = {name: row[name] for name in ("category", "tool_name", "api_name", "tool_input")}
                answer = await client.call({**body, "strip": "truncate", "toolbench_key": "x"})
                outcomes[row["in_cache"], answer.status, answer.headers["x-stb-provenance"]] += 1
                key = answer.headers["x-stb-key"]
                if not row["in_cache"] or key in by_file:
                    continue
                file = recorded_in_release(row, real_data / "release")
                by_file[key] = file == json.loads(answer.content)
                for tool_input in other_notations(row["tool_input"]):
                    assert answer.content == (await client.call({**body, "tool_input": tool_input})).content

    async with running(ServerOptions(sqlite_store_url, "real")) as server:
        await asyncio.gather(*(replay(server.url, rows[part::8]) for part in range(8)))

    assert {(True, 200, "recorded"): 8124, (False, 200, "miss"): 3523} == outcomes
    # Two keys of the release's notation may be one call; the first one's answer stands.
    assert len(by_file) - sum(by_file.values()) <= 20
