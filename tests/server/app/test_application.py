"""The application answers for its health, lists what it holds, and documents what it takes."""

from __future__ import annotations

import pytest

from stb_core.store import Store, bulk
from stb_core.values.queries import Query
from stb_core.values.tools import ApiRef
from stb_server.worker.options import ServerOptions
from virtual_server import Running, eventually, put_weather, recorded, request, running


@pytest.fixture
async def server(sqlite_store: Store, sqlite_store_url: str):
    """A server of a small dataset with two queries."""
    dataset = await put_weather(sqlite_store, recorded({"city": "Bonn"}))
    ref = ApiRef("Weather", "sky_watch", "current")
    queries = [
        Query(query_id=str(n), group=group, text="Rain?", apis=(ref,))
        for n, group in enumerate(["G1_tool", "G2_category"])
    ]
    async with sqlite_store.writing() as connection:
        await sqlite_store.datasets.put_queries(connection, dataset.id, queries)
    async with running(ServerOptions(sqlite_store_url, "weather", watch_interval_s=0.05)) as started:
        yield started


async def get(server: Running, path: str) -> dict:
    answer = await server.client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_readiness_names_every_part(server: Running) -> None:
    """Each part has a status, each dataset its hashes."""
    document = await get(server, "/readyz")

    assert document["status"] == "ready"
    assert {"store": "ok", "memory": "ok", "writes": "ok", "miss_ledger": "ok"} == {
        name: part["status"] for name, part in document["parts"].items()
    }
    (dataset,) = document["datasets"]
    assert ("weather", 1, True) == (dataset["name"], dataset["responses"], dataset["default"])
    assert 64 == len(dataset["responses_hash"]) == len(dataset["content_hash"])


async def test_a_server_whose_dataset_is_gone_is_not_ready(server: Running, sqlite_store: Store) -> None:
    """503, and the part that is to blame; the process still lives."""
    await sqlite_store.datasets.remove("weather")

    answer = await server.client.get("/readyz")

    assert (503, "gone") == (answer.status_code, answer.json()["parts"]["dataset"]["status"])
    assert {"status": "ok"} == await get(server, "/healthz")


async def test_an_api_that_came_in_with_a_dump_is_found(server: Running, sqlite_store: Store) -> None:
    """One that has responses and no document, loaded while the dataset is being served."""
    body = {**request({"city": "Bonn"}), "api_name": "Tides"}
    assert "unknown_api" == (await server.call(body)).headers["X-STB-Error"]
    tides = recorded({"city": "Bonn"}, api="tides")
    dataset = await sqlite_store.datasets.get("weather")
    async with sqlite_store.writing() as connection:
        row = (
            tides.key,
            tides.category,
            tides.tool,
            tides.api,
            tides.arguments,
            tides.body,
            "recorded",
            None,
        )
        await bulk.add_responses(sqlite_store, connection, dataset.id, [row])

    async def is_found() -> bool:
        return (await server.call(body)).content == tides.body

    await eventually(is_found)


async def test_datasets_can_be_read(server: Running) -> None:
    """Their hashes and counts, queries by group, tools by category, and one tool's document."""
    one = await get(server, "/v1/datasets/weather")
    groups = [await get(server, f"/v1/datasets/weather/queries?group={g}") for g in ("G1_tool", "")]
    tools = await get(server, "/v1/datasets/weather/tools?category=Weather")
    tool = await get(server, "/v1/datasets/weather/tools/Weather/sky_watch")

    assert (1, 2, 2, 1) == (one["tools"], one["apis"], one["queries"], one["responses"])
    assert [["0"], ["0", "1"]] == [[row["query_id"] for row in group["rows"]] for group in groups]
    assert [{"category": "Weather", "tool": "sky_watch", "apis": ["current", "forecast"]}] == tools["rows"]
    assert ["Current", "Forecast"] == [api["name"] for api in tool["api_list"]]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/datasets/none",
        "/v1/datasets/none/queries",
        "/v1/misses?dataset=none",
        "/v1/datasets/weather/tools/Weather/none",
    ],
)
async def test_what_is_not_there_is_not_found(server: Running, path: str) -> None:
    """404, with a body in the usual form that says what is missing."""
    answer = await server.client.get(path)

    assert answer.status_code == 404
    assert answer.json()["error"].startswith("There is no ")


async def test_misses_can_be_read(server: Running) -> None:
    """The ledger as JSON, the most frequent first."""
    await server.call(request({"city": "Berlin"}))
    await server.worker.resources.ledger.flush()

    document = await get(server, "/v1/misses")

    (row,) = document["rows"]
    assert ('{"city":"Berlin"}', 1, '{"city":"Bonn"}') == (
        row["arguments"],
        row["count"],
        row["nearest_arguments"],
    )


async def test_openapi_documents_the_hot_path(server: Running) -> None:
    """``/virtual`` is no FastAPI route, and is documented all the same."""
    document = await get(server, "/openapi.json")

    operation = document["paths"]["/virtual"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert ["category", "tool_name", "api_name"] == schema["required"]
    statuses = {"200", "400", "401", "403", "404", "413", "421", "422", "429", "503"}
    assert statuses == operation["responses"].keys()


async def test_misses_are_on_disk_after_a_graceful_stop(sqlite_store: Store, sqlite_store_url: str) -> None:
    """What waits to be written is written before the server ends."""
    dataset = await put_weather(sqlite_store)
    async with running(ServerOptions(sqlite_store_url, "weather", flush_interval_s=60)) as server:
        await server.call(request({"city": "Rome"}))

    assert [1] == [miss.count for miss in await sqlite_store.misses.most_frequent(dataset.id)]
