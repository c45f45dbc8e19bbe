"""``--max-cost`` holds for all processes of a run together, and none of it is withheld from those that wait."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

import agent_world as world
from llm_server import LLMServer
from stb_agents.runs import cost_limit
from stb_agents.runs.cost_limit import RunCostLimit, open_limit, read_spent_usd
from stb_core.llm import CostLimitReached
from stb_core.store import Store, WorkPlace
from stb_core.store.work import TRIAL
from stb_core.values.manifest import Manifest
from stb_processes import started


@pytest.fixture
async def two(store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[list[RunCostLimit]]:
    """A limit of 10 USD, as two processes of a run see it."""
    monkeypatch.setattr(cost_limit, "POLL_S", 0.01)
    monkeypatch.setattr(cost_limit, "IDLE_S", 0.02)
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1"]})
    async with AsyncExitStack() as stack:
        for owner in "ab":
            await store.work.register(WorkPlace("r", TRIAL), "", owner, 1)
        yield [await stack.enter_async_context(open_limit(10.0, store, "r", owner)) for owner in "ab"]


async def test_a_process_waits_for_what_another_may_not_need(two: list[RunCostLimit]) -> None:
    """It gets what is left of it; when too little is left, the message counts what both have spent."""
    first, second = two
    async with first.reserve(8.0) as spending:
        waiting = asyncio.create_task(spend(second, 8.0))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        spending.usd = 1.5
    await waiting

    with pytest.raises(CostLimitReached, match=r"\$9\.5000 of the \$10 that --max-cost allows are spent"):
        await spend(first, 1.0)
    await spend(second, 0.5)
    assert (first.spent_usd, second.spent_usd) == (1.5, 8.5)


async def spend(limit: RunCostLimit, usd: float) -> None:
    async with limit.reserve(usd) as spending:
        spending.usd = usd


async def test_processes_of_a_run_cost_no_more_than_it_may(
    store: Store, store_url: str, tmp_path: Path, llm: LLMServer
) -> None:
    """Two stop at the limit, four under a higher one go on and stop, and four end it; no reply is paid for twice."""
    await world.put_world(store)
    (tmp_path / "stb.toml").write_text('[prices]\n"stub/any" = { input = 1000.0, output = 1000.0 }\n')
    env = {"STB_DATABASE_URL": store_url, "STUB_BASE_URL": llm.url}
    args = (
        "run",
        "-a",
        "cot",
        "-m",
        "stub/any",
        "-d",
        "world",
        "-k",
        "3",
        "--max-connections",
        "2",
        "--json",
    )

    async def run(name: str, processes: int, limit_usd: float) -> tuple[set[int | None], set[bool], float]:
        """Exit codes, whether the run is complete, and what it has cost, kept or not."""
        before = paid_usd(llm)
        command = (*args, "--server", server, "--name", name, "--max-cost", str(limit_usd))
        with ExitStack() as stack:
            running = [stack.enter_context(started(tmp_path, *command, env=env)) for _ in range(processes)]
            said = [await asyncio.to_thread(process.communicate) for process in running]
        complete = {json.loads(out)["complete"] for out, _ in said}
        return {process.returncode for process in running}, complete, paid_usd(llm) - before

    async with world.serving(store_url) as server:
        _, _, whole_usd = await run("whole", 1, 1e6)
        *ended, half_usd = await run("shared", 2, whole_usd / 2)
        on_record_usd = await read_spent_usd(store, "shared")
        *ended_later, more_usd = await run("shared", 4, whole_usd * 3 / 4)
        *ended_last, rest_usd = await run("shared", 4, whole_usd * 2)

    assert (ended, ended_later, ended_last) == ([{1}, {False}], [{1}, {False}], [{0}, {True}])
    assert whole_usd / 4 < half_usd <= whole_usd / 2
    assert whole_usd / 2 < half_usd + more_usd <= whole_usd * 3 / 4
    assert half_usd == pytest.approx(on_record_usd)
    assert half_usd + more_usd + rest_usd == pytest.approx(whole_usd)


def paid_usd(llm: LLMServer) -> float:
    """What all replies have cost that the server has sent."""
    usages = [document["usage"] for _, document in llm.replies]
    return sum(usage["prompt_tokens"] + usage["completion_tokens"] for usage in usages) / 1000
