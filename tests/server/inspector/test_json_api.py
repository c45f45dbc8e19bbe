"""Programs get what the pages show: responses by search, runs, trials, trajectories."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from hostile import BODY, KEY, PROBE, PROBED_KEY, RUN, put_hostile, search_trajectory
from stb_core.store import Store
from stb_core.values.trajectories import Trajectory
from stb_server.worker.options import ServerOptions
from virtual_server import Running, running


@pytest.fixture
async def server(store: Store, store_url: str) -> AsyncGenerator[Running]:
    """A server of probes, on each database."""
    await put_hostile(store)
    async with running(ServerOptions(store_url, "weather")) as started:
        yield started


async def test_responses_are_searched(server: Running) -> None:
    """With the parameters of the page; the dataset of the server unless another is named."""
    everything = (await server.client.get("/v1/responses")).json()
    grey = (await server.client.get("/v1/responses", params={"dataset": "weather", "text": "grey"})).json()
    nowhere = (await server.client.get("/v1/responses", params={"dataset": "elsewhere"})).status_code

    assert {KEY, PROBED_KEY} == {row["key"] for row in everything["rows"]}
    assert [True] == [row["pinned"] for row in everything["rows"] if row["key"] == PROBED_KEY]
    assert ([KEY], 0) == ([row["key"] for row in grey["rows"]], grey["after"])
    assert 404 == nowhere


async def test_a_response_comes_in_all_versions(server: Running) -> None:
    """With what was done by hand; one that was erased has that alone."""
    two = (await server.client.get(f"/v1/responses/weather/{KEY}")).json()
    probed = (await server.client.get(f"/v1/responses/weather/{PROBED_KEY}")).json()
    absent = (await server.client.get(f"/v1/responses/weather/{'0' * 64}")).status_code

    assert [(2, None), (1, False)] == [
        (row["version"], row["superseded_at"] and False) for row in two["rows"]
    ]
    assert BODY.decode() == probed["rows"][0]["body"]
    assert [("pin", ""), ("note", PROBE)] == [(event["act"], event["text"]) for event in probed["by_hand"]]
    assert 404 == absent


async def test_runs_come_with_their_trials(server: Running) -> None:
    """How far each is, what it used, and every trajectory as it is stored."""
    (row,) = (await server.client.get("/v1/runs")).json()["rows"]
    one = (await server.client.get(f"/v1/runs/{RUN}")).json()
    stored = await server.client.get(f"/v1/runs/{RUN}/G1_tool/1")
    absent = [
        (await server.client.get(path)).status_code
        for path in ("/v1/runs/none", f"/v1/runs/{RUN}/G1_tool/99", f"/v1/runs/{RUN}/G1_tool/1?trial=7")
    ]

    assert (RUN, 1, 2, False) == (row["run"], row["done"], row["expected"], row["complete"])
    assert [("1", "answered", 5)] == [(t["query_id"], t["stop"], t["nodes"]) for t in one["rows"]]
    assert PROBE == one["manifest"]["agent"]
    assert search_trajectory() == Trajectory.model_validate_json(stored.content)
    assert [404] * 3 == absent
    assert [] == (await server.client.get("/v1/runs", params={"dataset": "other"})).json()["rows"]
