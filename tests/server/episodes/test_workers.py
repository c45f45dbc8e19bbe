"""Episodes over several workers, through SIGKILL, and on to their scores."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest

from conftest import clean_environment
from stb_core.store import Store

from .conftest import Player, put_dataset


@asynccontextmanager
async def served(store_url: str, *options: str) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    """``stb serve`` with two workers in processes of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stb_core.cli", "serve", "--json", "--port", "0", "--workers", "2", *options),
        env=clean_environment(STB_DATABASE_URL=store_url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout
    try:
        yield process, json.loads(await process.stdout.readline())["url"]
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def play(client: httpx.AsyncClient, trial: int) -> Player:
    """An episode with ten calls, not yet finished."""
    asked = {"query_id": "1", "agent": "mine", "run": "r", "trial": trial, "trials": 8}
    player = Player(client, (await client.post("/v1/episodes", json=asked)).raise_for_status().json())
    for _ in range(10):
        (await player.call()).raise_for_status()
    return player


@pytest.mark.slow
async def test_episodes_live_through_the_death_of_all_workers(
    store: Store, store_url: str, in_process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight at once over two workers; the server is killed; each goes on with its token and is scored."""
    await put_dataset(store)
    # A connection of its own for each request: the kernel spreads them over the workers.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with served(store_url) as (process, url):
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
            players = await asyncio.gather(*(play(client, trial) for trial in range(8)))
        process.kill()
    async with served(store_url) as (_, url), httpx.AsyncClient(base_url=url, limits=limits) as client:
        for player in players:
            player.client = client
            (await player.call(arguments={"city": "Rome"})).raise_for_status()
            (await player.finish("No.")).raise_for_status()

    trajectories = [t async for t in store.runs.trajectories("r")]
    assert [12] * 8 == [len(t.steps) for t in trajectories]
    assert list(range(8)) == [t.trial for t in trajectories]
    monkeypatch.setenv("STB_DATABASE_URL", store_url)
    scored = await asyncio.to_thread(in_process, "score", "r", "--judge", "rules", "--json")
    listed = await asyncio.to_thread(in_process, "ls", "--json")
    assert ("r", "mine", True) == tuple(listed.document["rows"][0][k] for k in ("run", "agent", "complete"))
    row = scored.document["rows"][0]
    assert ("r", "sopr", 1) == (row["run"], row["metric"], row["n_total"])
