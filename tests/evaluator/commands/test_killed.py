"""A scoring that is killed in the middle goes on where it stopped, and ends with the same scores."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time

import pytest

from conftest import clean_environment
from evaluator_makers import make_run, trajectory
from llm_server import LLMServer, text
from preloaded_stb import start_stb
from stb_core.store import open_store

QUERIES, ROUNDS, CONNECTIONS = 30, 3, 4


@pytest.mark.parametrize("killed_after", [5, 40])
def test_nothing_is_lost_and_nothing_is_paid_for_twice(
    run_stb, sqlite_store_url: str, llm: LLMServer, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    """SIGKILL; then the same command asks for what is lacking, and at most for what was in flight again."""

    async def fill(name: str) -> None:
        store = await open_store(sqlite_store_url)
        made = [trajectory(str(n), query=f"What is number {n} for {name}?") for n in range(QUERIES)]
        await make_run(store, made, run=name)
        await store.close()

    asyncio.run(fill("killed"))
    llm.behaviour.latency_s = 0.05
    llm.rule = lambda body: text(
        '{"reason": "", "answer_status": "%s"}' % ("solved" if "number 1" in str(body) else "unsolved")
    )
    environment = clean_environment(STB_DATABASE_URL=sqlite_store_url, STUB_BASE_URL=llm.url)
    command = [
        "score",
        "killed",
        "--judge",
        "stub/any",
        "--no-anchors",
        "--max-connections",
        str(CONNECTIONS),
        "--json",
    ]
    with start_stb(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 60
        while llm.paid < killed_after and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    monkeypatch.setenv("STUB_BASE_URL", llm.url)

    ended = run_stb(*command)

    total = QUERIES * ROUNDS
    row = next(r for r in ended.document["rows"] if r["group"] == "G1_tool")
    assert (ended.code, row["complete"]) == (0, True)
    assert row["value"] == pytest.approx(100 * 11 / QUERIES)
    assert row["counts"] == {"judged": QUERIES, "solved": 11 * ROUNDS, "unsolved": 19 * ROUNDS}
    assert killed_after <= total <= llm.paid <= total + CONNECTIONS + 2
