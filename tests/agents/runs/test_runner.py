"""A run: stored trial by trial, resumable at any point, paid for once, whatever fails on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent_world import QUERIES, SEARCH, put_world, recorded
from llm_server import LLMServer, obliging, status, text
from stb_agents.runs import runner as runner_module
from stb_agents.runs.cost_limit import read_spent_usd
from stb_agents.runs.forecast import Forecast
from stb_agents.runs.request import RunRequest
from stb_agents.runs.run import RunOutcome, forecast_run, run_agent
from stb_core.errors import ConflictError, ModelUnavailableError, ServiceError, UsageError
from stb_core.settings import Settings
from stb_core.store import Store, open_store
from stb_core.store.runs import Runs
from stb_core.store.work import EndedClaim
from stb_core.values.trajectories import StopReason, Trajectory

Carry = Callable[..., Any]


SWALLOWING = """
from stb_agents.environment.agent import Outcome
from stb_agents.environment.budget import Budget
from stb_core.values.trajectories import Message, StopReason

class Own:
    name, model_use, budget = "own", "optional", Budget()
    def settings(self):
        return {}
    async def solve(self, task, environment):
        try:
            await environment.ask([Message(role="user", content=task.text)])
        except Exception:
            pass
        return Outcome(StopReason.ANSWERED, "I know it all.")
"""


@pytest.fixture
def settings(sqlite_store_url: str, llm: LLMServer) -> Settings:
    """Where the store and the model are, and what its tokens cost."""
    return Settings(
        database_url=sqlite_store_url,
        values={"prices": {"stub/any": {"input": 1.0, "output": 1.0}}},
        environment={"STUB_BASE_URL": llm.url},
    )


@pytest.fixture
def foresee_run(settings: Settings, world_url: str) -> Carry:
    """``foresee_run(…)`` forecasts what ``carry(…)`` would do."""

    async def do(agent: str = "cot", dataset: str = "world", **options: Any) -> Forecast:
        return await forecast_run(settings, RunRequest(agent, dataset, **{"model": "stub/any"} | options))

    return do


@pytest.fixture
def carry(settings: Settings, world_url: str) -> Carry:
    """``carry(agent="cot", …)`` does a run against the small world and the scripted LLM server."""

    async def do(agent: str = "cot", dataset: str = "world", **options: Any) -> RunOutcome:
        if agent == "cot":
            options = {"model": "stub/any"} | options
        return await run_agent(
            settings, RunRequest(agent, dataset, **{"server": world_url} | options), quiet=True
        )

    return do


async def trajectories(store: Store, done: RunOutcome) -> list[Trajectory]:
    return [trajectory async for trajectory in store.runs.trajectories(done.run.run)]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another thread."""
    while not condition():  # noqa: ASYNC110 - an event cannot be set from there
        await asyncio.sleep(0.005)


async def test_every_query_gets_a_trajectory(carry: Carry, sqlite_store: Store) -> None:
    """With all that belongs to it."""
    done = await carry()

    found = await trajectories(sqlite_store, done)
    assert [(t.query_id, t.stop) for t in found] == [
        (number, StopReason.ANSWERED) for number in ("0", "1", "2", "3", "10", "11", "12", "13")
    ]
    assert found[0].available_tools == (
        "current_for_sky_watch",
        "forecast_for_sky_watch",
        "search_for_inns",
    )
    assert found[0].usage.model_calls == 4
    assert found[0].timing.seconds > 0
    assert (found[0].agent, found[0].model, done.summary.missing) == ("cot", "stub/any", ())


async def test_the_same_run_again_does_nothing(carry: Carry, llm: LLMServer) -> None:
    """It is the same run by its manifest, and it is done."""
    first = await carry()
    asked = llm.count

    again = await carry()

    assert (again.run.run, llm.count) == (first.run.run, asked)


async def test_two_runs_of_one_agent_have_the_same_content(carry: Carry, sqlite_store: Store) -> None:
    """Byte for byte but for the clock, whatever the order in which trials ended."""
    one = await carry(name="one", max_connections=1)
    other = await carry(name="other", max_connections=8)

    hashes = [[t.content_hash for t in await trajectories(sqlite_store, run)] for run in (one, other)]
    assert hashes[0] == hashes[1]


async def test_a_run_that_was_cut_off_goes_on_without_paying_twice(
    carry: Carry, llm: LLMServer, sqlite_store: Store
) -> None:
    """Cancelled in the middle of its trials: as many replies are paid for as without that."""
    whole = await carry(name="whole")
    needed = llm.paid
    llm.behaviour.latency_s = 0.02

    cut = asyncio.create_task(carry(name="cut", max_connections=3))
    await until(lambda: llm.paid >= needed + 9)
    cut.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut
    resumed = await carry(name="cut", max_connections=3)

    hashes = [[t.content_hash for t in await trajectories(sqlite_store, run)] for run in (whole, resumed)]
    assert hashes[0] == hashes[1]
    assert needed <= llm.paid - needed <= needed + 3  # those that were in flight


async def test_names_may_be_of_any_alphabet(carry: Carry, sqlite_store: Store) -> None:
    """Those of groups and queries, in runs that tell the server which calls belong together as well."""
    dataset = await sqlite_store.datasets.get("world")
    query = QUERIES[0].model_copy(update={"group": "été", "query_id": "北 京\n" * 20})
    async with sqlite_store.writing() as connection:
        await sqlite_store.datasets.put_queries(connection, dataset.id, [query])

    for episodes in (False, True):
        done = await carry("scripted", "world:été", episodes=episodes)
        (trajectory,) = await trajectories(sqlite_store, done)

        assert (StopReason.ANSWERED, "") == (trajectory.stop, trajectory.error)


async def test_trials_of_one_query_are_apart(carry: Carry, llm: LLMServer, sqlite_store: Store) -> None:
    """Each has its own seed and pays for its own replies."""
    done = await carry(dataset="world:G3_instruction", limit=1, trials=3, seed=5)

    assert {request["seed"] for request in llm.requests} == {5, 6, 7}
    assert [t.trial for t in await trajectories(sqlite_store, done)] == [0, 1, 2]
    assert len(llm.requests) == 9


async def test_without_a_seed_none_is_sent(carry: Carry, llm: LLMServer) -> None:
    """Some endpoints refuse the parameter."""
    await carry(limit=1)

    assert not any("seed" in request for request in llm.requests)


async def test_one_query_that_fails_does_not_stop_the_rest(
    carry: Carry, sqlite_store: Store, tmp_path: Path
) -> None:
    """Its error is recorded and is a result; a key in it is masked."""
    (tmp_path / "own.py").write_text(
        "from stb_agents.environment.budget import Budget\n"
        "class Own:\n"
        "    name, model_use, budget = 'own', 'none', Budget()\n"
        "    def settings(self): return {}\n"
        "    async def solve(self, task, environment):\n"
        "        if task.query.query_id == '1':\n"
        "            raise ValueError('odd\\n  sk-abcdefghijkl')\n"
        "        return environment_outcome()\n"
        "def environment_outcome():\n"
        "    from stb_agents.environment.agent import Outcome\n"
        "    from stb_core.values.trajectories import StopReason\n"
        "    return Outcome(StopReason.NO_FINISH)\n"
    )

    done = await carry(f"{tmp_path / 'own.py'}:Own", "world:G1_instruction")

    found = await trajectories(sqlite_store, done)
    assert [(t.query_id, t.stop.value, t.error) for t in found] == [
        ("0", "no_finish", ""),
        ("1", "agent_error", "ValueError: odd ***"),
        ("2", "no_finish", ""),
        ("3", "no_finish", ""),
    ]
    assert not done.summary.missing


async def test_what_infrastructure_spoiled_is_repeated(
    carry: Carry, llm: LLMServer, sqlite_store: Store
) -> None:
    """It is no result: the run is incomplete and says why, and the same command repeats it."""
    llm.answer(text("Let me see."), status(404, "no such model"))
    spoiled = await carry(dataset="world:G3_instruction", max_connections=1)
    paid = llm.paid

    mended = await carry(dataset="world:G3_instruction", max_connections=1)

    (missing,) = spoiled.summary.missing
    assert (missing["query_id"], "no such model" in missing["reason"]) == ("10", True)
    assert mended.summary.missing == ()
    assert llm.requests[-1]["messages"][2]["content"] == "Let me see."  # the paid reply was used again
    assert llm.paid - paid == 3
    attempts = [d.attempt for d in await sqlite_store.runs.done(mended.run.run)]
    assert attempts == [1, 0, 0, 0]


async def test_a_run_stops_when_nothing_works_any_more(
    carry: Carry, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says why in one line, rather than spoiling every query."""
    monkeypatch.setattr(runner_module, "_MAX_LOST_IN_A_ROW", 3)
    llm.rule = lambda _: status(404, "no such model")

    done = await carry(max_connections=1)

    assert done.stopped.startswith(
        "Stopped: infrastructure failed in 3 trials in a row. The last failure: stub/any is not"
    )
    assert (llm.count, len(done.summary.missing)) == (3, 8)


async def test_a_trial_is_written_down_while_the_next_is_done(
    carry: Carry, llm: LLMServer, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk holds nobody up for long, and all is on it when the run ends."""
    put = Runs.put_trajectories
    needed = 4  # calls of the model in the first trial

    async def put_slowly(
        runs: Runs, run: str, finished: Sequence[Trajectory], ended: Sequence[EndedClaim]
    ) -> list[bool]:
        await until(lambda: llm.count > needed)
        return await put(runs, run, finished, ended)

    monkeypatch.setattr(Runs, "put_trajectories", put_slowly)

    done = await carry(max_connections=1, limit=2)

    assert len(await trajectories(sqlite_store, done)) == done.run.n_expected
    assert not done.summary.missing


async def test_a_run_can_be_told_to_stop_at_the_first_failure(carry: Carry, llm: LLMServer) -> None:
    """What was finished before is kept."""
    llm.answer(*[text("Hm.")] * 4, status(400, "odd"))

    done = await carry(max_connections=1, fail_fast=True)

    assert done.stopped == (
        "Stopped at the first failure, G1_instruction/1: stub/any does not accept the request: HTTP 400, odd."
    )
    assert len(done.summary.missing) == 6


async def test_a_run_never_costs_more_than_it_may(carry: Carry, llm: LLMServer, sqlite_store: Store) -> None:
    """Over all its sessions; unfinished trials have no result, and a higher limit lets it go on."""
    whole = await carry(name="whole")
    full_cost, asked = whole.summary.tallies[-1].usage.cost_usd, llm.count
    assert full_cost

    halves = [await carry(name="half", max_cost=full_cost / 2) for _ in range(2)]
    spent = await read_spent_usd(sqlite_store, "half")
    done = await carry(name="half", max_cost=full_cost * 2)

    assert full_cost / 5 < spent <= full_cost / 2
    assert all("that --max-cost allows are spent" in half.stopped for half in halves)
    assert all(half.summary.missing for half in halves)
    assert (done.stopped, done.summary.missing) == ("", ())
    assert await read_spent_usd(sqlite_store, "half") == pytest.approx(full_cost)
    assert llm.count == 2 * asked


async def test_replies_that_are_of_no_use_are_paid_for(
    carry: Carry, llm: LLMServer, sqlite_store: Store
) -> None:
    """They count against the limits of the trial and of the run, and into its usage."""
    llm.rule = lambda body: obliging(body) if body.get("tools") else text("Neither.")

    done = await carry(
        "dfsdt",
        model="stub/any",
        agent_option=("ranking=true", "width=2", "depth=2"),
        limit=1,
        dataset="world:G1_instruction",
        max_model_calls=8,
    )

    (found,) = await trajectories(sqlite_store, done)
    assert found.stop is StopReason.MAX_MODEL_CALLS
    assert found.usage.model_calls == llm.count >= 8


async def test_a_trial_can_have_a_limit_on_its_cost(carry: Carry, sqlite_store: Store) -> None:
    """Its end is a result, with its own reason."""
    done = await carry(limit=1, dataset="world:G3_instruction", max_trial_cost=1e-6)

    (found,) = await trajectories(sqlite_store, done)
    assert (found.stop, found.usage.model_calls) == (StopReason.MAX_COST, 1)


async def test_a_limit_on_cost_needs_a_price(sqlite_store: Store, sqlite_store_url: str) -> None:
    """It says where to write it."""
    settings = Settings(sqlite_store_url, {}, {"STUB_BASE_URL": "http://127.0.0.1:9/v1"})

    with pytest.raises(UsageError, match=r"needs the price of stub/any\. Write into stb\.toml: \[prices\]"):
        await run_agent(settings, RunRequest("cot", "world", "stub/any", max_cost=1.0))


async def test_a_limit_on_cost_needs_a_model(carry: Carry) -> None:
    """What an agent spends by itself is not known."""
    with pytest.raises(UsageError, match="Only the cost of a model that is named can be limited"):
        await carry("scripted", max_trial_cost=1.0)


async def test_a_fault_that_an_agent_swallows_is_still_a_fault(
    carry: Carry, llm: LLMServer, sqlite_store: Store, tmp_path: Path
) -> None:
    """An agent that goes on without its model is not judged by what it says then."""
    (tmp_path / "own.py").write_text(SWALLOWING)
    llm.rule = lambda _: status(404, "no such model")

    done = await carry(f"{tmp_path / 'own.py'}:Own", limit=1, model="stub/any")

    found = await trajectories(sqlite_store, done)
    assert {t.stop for t in found} == {StopReason.INFRASTRUCTURE}


async def test_a_forecast_does_nothing_and_judges_by_what_was(
    carry: Carry, foresee_run: Carry, llm: LLMServer, sqlite_store: Store
) -> None:
    """By the latest run of that agent and model; the trials that are done already do not count."""
    unknown = await foresee_run()
    half = await carry(dataset="world:G1_instruction")
    asked, runs = llm.count, len(await sqlite_store.runs.all())

    known = await foresee_run(trials=2)
    done = await foresee_run(dataset="world:G1_instruction")

    usage = half.summary.tallies[-1].usage
    assert (unknown.trials_left, unknown.model_calls, unknown.cost_usd) == (8, None, None)
    assert (known.trials_left, known.based_on, known.model_calls) == (16, half.run.run, 64)
    assert known.cost_usd == pytest.approx(4 * (usage.cost_usd or 0))
    assert (done.run, done.trials_left, done.cost_usd) == (half.run.run, 0, 0.0)
    assert (llm.count, len(await sqlite_store.runs.all())) == (asked, runs)


async def test_an_unreachable_model_is_noticed_before_the_first_query(
    carry: Carry, llm: LLMServer, sqlite_store: Store
) -> None:
    """A refused key too; nothing is stored."""
    llm.behaviour.required_key = "other"

    with pytest.raises(ModelUnavailableError, match="Set STUB_API_KEY"):
        await carry()

    assert await sqlite_store.runs.all() == []


async def test_a_server_with_other_content_is_refused(world_url: str, tmp_path: Path) -> None:
    """It would answer about another dataset of the same name."""
    url = f"sqlite:///{tmp_path / 'other.db'}"
    store = await open_store(url)
    dataset = await put_world(store)
    async with store.writing() as connection:
        await store.datasets.set_content_hash(connection, dataset.id, "d" * 64)
    await store.close()

    request = RunRequest("scripted", "world", server=world_url)
    with pytest.raises(ServiceError, match="does not serve this dataset 'world': it has world, with other"):
        await run_agent(Settings(url, {}, {}), request, quiet=True)


async def test_a_mode_that_the_server_cannot_answer_in_is_refused(carry: Carry) -> None:
    """What answers a call is part of what a run is."""
    with pytest.raises(UsageError, match=r"cannot answer in live mode\. It can in: replay"):
        await carry("scripted", mode="live")


async def test_the_snapshot_is_the_one_in_force_or_the_one_that_is_named(
    carry: Carry, sqlite_store: Store
) -> None:
    """Answers that are recorded later do not change a run that names its snapshot."""
    dataset = await sqlite_store.datasets.get("world")
    before = await carry("scripted", name="before")
    await sqlite_store.responses.keep(dataset.id, [recorded(SEARCH, "new", city="Harborfield")])
    after = await carry("scripted", name="after")
    pinned = await carry("scripted", name="pinned", snapshot=before.run.manifest.snapshot_hash)

    assert before.run.manifest.snapshot_hash == dataset.responses_hash
    assert after.run.manifest.snapshot_hash != dataset.responses_hash
    assert pinned.run.manifest == before.run.manifest


async def test_a_snapshot_that_is_not_there_is_refused_before_the_first_query(
    carry: Carry, sqlite_store: Store
) -> None:
    """In the server's words; nothing is stored."""
    with pytest.raises(ServiceError, match="HTTP 404"):
        await carry("scripted", snapshot="0" * 64)

    assert await sqlite_store.runs.all() == []


async def test_a_name_is_for_one_manifest(carry: Carry) -> None:
    """The same name with other settings is refused."""
    await carry("scripted", name="mine", limit=1)

    with pytest.raises(ConflictError, match="exists with other settings"):
        await carry("scripted", name="mine", limit=2)


@pytest.mark.parametrize("name", ["模型", "rün", "a/b", "...", "a\nb"])
async def test_a_name_that_would_lose_what_tells_it_apart_is_refused(carry: Carry, name: str) -> None:
    """Two runs shall not be taken for one."""
    with pytest.raises(UsageError, match=r"A run cannot be called .*Choose a name of letters"):
        await carry("scripted", name=name)


async def test_the_name_of_a_run_says_what_it_is(carry: Carry) -> None:
    """Agent, model, dataset, the group if it is one, and digits of the manifest's hash."""
    one = await carry("scripted", "world:G1_instruction", limit=1)
    all_groups = await carry(limit=1)

    assert one.run.run == f"scripted-world-G1_instruction-{one.run.manifest.hash[:8]}"
    assert all_groups.run.run == f"cot-any-world-{all_groups.run.manifest.hash[:8]}"


async def test_the_manifest_holds_what_could_change_the_score(carry: Carry) -> None:
    """And not how many connections were used, or where the server was."""
    one = await carry("scripted", limit=1, max_connections=1)
    two = await carry("scripted", limit=1, max_connections=2)
    manifest = one.run.manifest

    assert one.run.run == two.run.run
    assert (manifest.dataset_hash, manifest.mode, manifest.model) == ("c" * 64, "replay", None)
    assert manifest.agent_settings == {"budget": {}, "max_observation": 1024}
    assert len(manifest.snapshot_hash) == 64


async def test_the_form_of_observations_is_a_setting_of_the_run(carry: Carry) -> None:
    """An agent sees what the published client writes, and such a run is another run."""
    usual = await carry("scripted", limit=1)
    other = await carry("scripted", limit=1, observation="reference")

    assert other.run.run != usual.run.run
    assert other.run.manifest.agent_settings == {
        "budget": {},
        "max_observation": 1024,
        "observation": "reference",
    }


async def test_a_summary_counts_by_group(carry: Carry) -> None:
    """Outcomes, calls by provenance, tokens and cost; all groups together last."""
    done = await carry()

    rows = [tally.row(done.run) for tally in done.summary.tallies]
    assert [(row["group"], row["n_done"], row["n_total"], row["stops"]) for row in rows] == [
        ("G1_instruction", 4, 4, {"answered": 4}),
        ("G3_instruction", 4, 4, {"answered": 4}),
        ("all", 8, 8, {"answered": 8}),
    ]
    assert rows[2]["calls"] == {"miss": 20}
    assert rows[2]["model_calls"] == 28
    assert rows[2]["cost_usd"] == pytest.approx(
        (rows[2]["prompt_tokens"] + rows[2]["completion_tokens"]) / 1e6
    )
