"""An agent takes a query over HTTP, calls its tools, hands in an answer, and is on record like any other."""

from __future__ import annotations

import asyncio
import json

import pytest

from stb_core.store import Store
from stb_core.values import clock
from stb_core.values.episodes import later
from stb_core.values.trajectories import Step, StopReason
from stb_server.pipeline.fault_plan import parse_faults
from virtual_server import Running, eventually, recorded

from .conftest import open_episode, put_dataset, serving


async def test_an_episode_becomes_a_trajectory_of_a_run(server: Running, store: Store) -> None:
    """Steps, answer and stop reason are those of any agent's; the run has a manifest and is complete."""
    player = await open_episode(server, agent="mine", run="my run")
    called = await player.call()
    finished = await player.finish("No.")

    assert (200, 200) == (called.status_code, finished.status_code)
    run = await store.runs.get("my-run")
    assert ("mine", {"G1_tool": ["1"]}, "replay") == (run.agent, run.expected, run.manifest.mode)
    (dataset,) = await store.datasets.all()
    assert dataset.responses_hash == run.manifest.snapshot_hash
    (trajectory,) = [t async for t in store.runs.trajectories("my-run")]
    assert (StopReason.ANSWERED, "No.") == (trajectory.stop, trajectory.final_answer)
    assert ("Does it rain in Bonn?", "mine") == (trajectory.query, trajectory.agent)
    first, last = trajectory.steps
    assert {"city": "Bonn"} == json.loads(first.arguments)
    assert ("sky_watch", "current", "recorded") == (first.tool, first.api, first.provenance)
    assert '{"error":"","response":"sunny"}' == first.observation
    assert ("Finish", "give_answer") == (last.function, json.loads(last.arguments)["return_type"])
    assert ["user", "assistant", "tool", "assistant"] == [m.role for m in trajectory.messages]
    assert trajectory.answer_hash


async def test_opening_says_all_that_an_agent_needs(server: Running) -> None:
    """The query, its tools with Finish as the last, and where it is to be reached."""
    opened = (await open_episode(server)).opened

    assert "Does it rain in Bonn?" == opened["query"]
    assert ["current_for_sky_watch", "forecast_for_sky_watch", "Finish"] == [
        tool["function"]["name"] for tool in opened["tools"]
    ]
    assert f"{server.url}/e/{opened['token']}/mcp" == opened["mcp_url"]
    assert opened["proxy_url"] is None
    assert ("open", 200) == (opened["status"], opened["budget"]["max_tool_calls"])


@pytest.mark.parametrize(
    ("form", "keys"),
    [
        ("openai", {"type", "function"}),
        ("responses", {"type", "name", "description", "parameters", "strict"}),
        ("anthropic", {"name", "description", "input_schema"}),
        ("mcp", {"name", "description", "inputSchema"}),
    ],
)
async def test_tools_come_in_the_shape_that_is_asked_for(server: Running, form: str, keys: set[str]) -> None:
    """The same functions for each kind of client."""
    answer = await server.client.post(f"/v1/episodes?format={form}", json={"query_id": "1"})

    assert [keys] * 3 == [set(tool) for tool in answer.json()["tools"]]


async def test_an_observation_is_what_built_in_agents_see(server: Running) -> None:
    """Cut by the same rule, with the same provenance in fields and headers."""
    player = await open_episode(server, max_observation=100)
    answer = await player.call(arguments={"city": "Rome"})

    seen = answer.json()
    assert seen["observation"].endswith("… [100 of 2026 characters]")
    assert (True, "recorded", "") == (seen["truncated"], seen["provenance"], seen["error"])
    assert ("recorded", seen["key"]) == (answer.headers["x-stb-provenance"], answer.headers["x-stb-key"])


async def test_an_observation_can_have_the_form_of_the_published_client(server: Running) -> None:
    """JSON with spaces, cut with three dots; the episode says so."""
    player = await open_episode(server, max_observation=100, observation="reference")
    seen = (await player.call(arguments={"city": "Rome"})).json()
    unknown = (await player.call("rain_for_sky_watch")).json()
    state = await player.show()

    assert seen["observation"].startswith('{"error": "", "response": ')
    assert (len(seen["observation"]), seen["observation"][-3:], seen["truncated"]) == (103, "...", True)
    assert unknown["observation"] == '{"error": "No such function name: rain_for_sky_watch", "response": ""}'
    assert state["observation"] == "reference"


async def test_mistakes_are_observations_and_counted(server: Running, store: Store) -> None:
    """A function that is not offered, arguments that are no object, a miss, and Finish without an answer."""
    player = await open_episode(server, run="r")
    invented = (await player.call("rain_for_sky_watch")).json()
    torn = (await player.call(arguments='{"city"')).json()
    missed = (await player.call(arguments={"city": "Oslo"})).json()
    unfinished = (await player.call("Finish", {"return_type": "give_answer"})).json()
    await player.finish(None)

    assert (True, False) == (invented["hallucinated"], missed["hallucinated"])
    assert invented["observation"].startswith('{"error": "There is no function \'rain_for_sky_watch\'')
    assert "is not one JSON object" in torn["error"]
    assert ("miss", "miss") == (missed["provenance"], missed["cache"])
    assert ("final_answer is missing; it is needed with give_answer.", "open") == (
        unfinished["error"],
        unfinished["status"],
    )
    (trajectory,) = [t async for t in store.runs.trajectories("r")]
    assert [True, False, False, False, False] == [step.hallucinated for step in trajectory.steps]
    assert StopReason.GAVE_UP is trajectory.stop


async def test_finish_is_also_a_function(server: Running) -> None:
    """As a model calls it."""
    player = await open_episode(server)
    arguments = {"return_type": "give_answer", "final_answer": "Yes."}
    called = (await player.call("Finish", arguments)).json()

    assert ("ended", "answered", "Yes.") == (called["status"], called["stop"], called["final_answer"])


async def test_a_finished_episode_refuses_calls(server: Running) -> None:
    """With 409 and a type; the same answer again is no mistake, another one is."""
    player = await open_episode(server)
    first = await player.finish("No.")
    again = await player.finish("No.")
    other = await player.finish("Yes.")
    late = await player.call()

    assert (200, 200, 409, 409) == tuple(a.status_code for a in (first, again, other, late))
    assert first.json() == again.json()
    assert {
        "error": "The episode has ended: answered. Open another one.",
        "type": "ended",
        "response": "",
    } == (late.json())
    assert "ended" == late.headers["x-stb-error"]


async def test_episodes_cannot_see_each_other(server: Running) -> None:
    """Neither with another's token nor without one."""
    mine, theirs = await open_episode(server, "1"), await open_episode(server, "2", group="G1_tool")
    theirs.opened["id"] = mine.opened["id"]

    assert [401, 401] == [(await theirs.call()).status_code, (await theirs.finish("x")).status_code]
    answer = await server.client.get(mine.path)
    assert (401, "unauthorized") == (answer.status_code, answer.json()["type"])
    assert [] == (await mine.show())["steps"]


async def test_an_episode_goes_on_after_a_restart(store: Store, store_url: str) -> None:
    """With the same token, and all that was done before."""
    await put_dataset(store)
    async with serving(store_url) as first:
        player = await open_episode(first, run="r")
        await player.call()
    async with serving(store_url) as second:
        player.client = second.client
        shown = await player.show()
        await player.call(arguments={"city": "Rome"})
        await player.finish("No.")

    assert ("open", 1, 3) == (shown["status"], len(shown["steps"]), len(shown["tools"]))
    (trajectory,) = [t async for t in store.runs.trajectories("r")]
    assert ["Bonn", "Rome"] == [json.loads(step.arguments)["city"] for step in trajectory.steps[:2]]


async def test_a_call_that_is_asked_again_is_made_once(server: Running) -> None:
    """Where the client names it: after a lost connection it gets what it missed."""
    player = await open_episode(server)
    first = await player.call(call_id="a")
    again = await player.call(call_id="a")

    assert first.json()["observation"] == again.json()["observation"]
    assert 1 == len((await player.show())["steps"])


async def test_an_episode_that_is_left_alone_expires(store: Store, store_url: str) -> None:
    """It ends by itself, with a stop reason of its own, and is a result."""
    await put_dataset(store)
    async with serving(store_url, episode_idle_s=1.0) as server:
        player = await open_episode(server, run="r")
        await player.call()

        async def is_over() -> bool:
            return [one.stop for one in await store.runs.done("r")] == [StopReason.EXPIRED]

        await eventually(is_over)
        late = await player.call()

    assert (409, "The episode has ended: expired. Open another one.") == (
        late.status_code,
        late.json()["error"],
    )


async def test_time_spent_waiting_for_us_is_not_the_agents(store: Store, store_url: str) -> None:
    """An answer that takes longer than an agent may be silent does not end its episode."""
    await put_dataset(store)
    faults = parse_faults("latency=fixed:4.5", 0)
    async with serving(store_url, episode_idle_s=3.0, faults=faults) as server:
        player = await open_episode(server)
        called = await player.call()

        assert (200, "open") == (called.status_code, (await player.show())["status"])


async def test_an_episode_whose_time_is_up_ends_by_itself(server: Running, store: Store) -> None:
    """Without waiting for its agent."""
    await open_episode(server, run="r", budget={"max_seconds": 0.5})

    async def is_over() -> bool:
        return [one.stop for one in await store.runs.done("r")] == [StopReason.MAX_SECONDS]

    await eventually(is_over)


async def test_budgets_end_an_episode(server: Running, store: Store) -> None:
    """The call that would be one too many ends it, with the stop reason of built-in agents."""
    player = await open_episode(server, run="calls", budget={"max_tool_calls": 2})
    answers = await asyncio.gather(*(player.call() for _ in range(4)))
    timed = await open_episode(server, run="seconds", budget={"max_seconds": 0.001})
    late = await timed.call()

    assert [200, 200, 409, 409] == sorted(answer.status_code for answer in answers)
    assert 409 == late.status_code
    assert [[StopReason.MAX_TOOL_CALLS], [StopReason.MAX_SECONDS]] == [
        [one.stop for one in await store.runs.done(run)] for run in ("calls", "seconds")
    ]


async def test_a_trial_has_one_open_episode_and_one_result(server: Running, store: Store) -> None:
    """A second one is refused, unless it ends the first, which stays on record as spoiled."""
    first = await open_episode(server, run="r")
    refused = await server.client.post("/v1/episodes", json={"query_id": "1", "run": "r"})
    second = await open_episode(server, run="r", restart=True)
    await second.finish("No.")
    again = await server.client.post("/v1/episodes", json={"query_id": "1", "run": "r", "restart": True})
    other = await server.client.post("/v1/episodes", json={"query_id": "1", "run": "r", "agent": "else"})

    assert [(409, "already_open"), (409, "has_result"), (409, "other_settings")] == [
        (answer.status_code, answer.json()["type"]) for answer in (refused, again, other)
    ]
    assert 409 == (await first.call()).status_code
    (done,) = await store.runs.done("r")
    assert (1, StopReason.ANSWERED) == (done.attempt, done.stop)


async def test_open_episodes_are_limited(store: Store, store_url: str) -> None:
    """For one client; an end makes room."""
    await put_dataset(store)
    async with serving(store_url, max_open_episodes=2) as server:
        player = await open_episode(server, "1")
        await open_episode(server, "2", group="G1_tool")
        full = await server.client.post("/v1/episodes", json={"query_id": "2", "group": "G2_category"})
        await player.finish(None)
        await open_episode(server, "2", group="G2_category")

    assert (429, "too_many_open", "1") == (
        full.status_code,
        full.json()["type"],
        full.headers["retry-after"],
    )


async def test_a_run_sees_the_responses_of_its_beginning(server: Running, store: Store) -> None:
    """What is recorded later does not answer its episodes, so that all of them are alike."""
    player = await open_episode(server, run="r")
    (dataset,) = await store.datasets.all()
    await store.responses.keep(dataset.id, [recorded({"city": "Oslo"})])
    later = await open_episode(server, "2", group="G1_tool", run="r")
    fresh = await open_episode(server, run="fresh")

    asked = {"city": "Oslo"}
    assert ["miss", "miss", "recorded"] == [
        (await each.call(arguments=asked)).json()["provenance"] for each in (player, later, fresh)
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("calls", r'{"name": "f", "arguments": {"a": "\ud83d"}}'),
        ("calls", r'{"name": "f", "arguments": {"\ud83d": 1}}'),
        ("calls", '{"name": "f", "arguments": [1]}'),
        ("finish", r'{"answer": "\ud83d"}'),
        ("finish", r'{"answer": {"a": ["\ud83d"]}}'),
    ],
)
async def test_what_cannot_be_written_down_is_refused(server: Running, path: str, body: str) -> None:
    """Half of a surrogate pair, or another form; in words, and the episode goes on."""
    player = await open_episode(server)
    headers = {**player.headers, "Content-Type": "application/json"}
    answer = await server.client.post(f"{player.path}/{path}", content=body, headers=headers)

    assert (422, "wrong_form") == (answer.status_code, answer.json()["type"])
    assert answer.json()["error"].startswith(f"body.{'arguments' if path == 'calls' else 'answer'}: ")
    assert 200 == (await player.finish("Ten.")).status_code


@pytest.mark.parametrize(
    ("asked", "status", "kind"),
    [
        ({"query_id": "9"}, 404, "unknown_query"),
        ({"query_id": "2"}, 400, "ambiguous_query"),
        ({"query_id": "1", "dataset": "none"}, 404, "unknown_dataset"),
        ({"query_id": "1", "mode": "live"}, 400, "mode_unavailable"),
        ({"query_id": "1", "snapshot": "0" * 64}, 404, "unknown_snapshot"),
        ({"query_id": "1", "trial": 1}, 400, "no_such_trial"),
        ({"query_id": "1", "run": "…"}, 400, "bad_name"),
        ({"query_id": "1", "run": "a/b"}, 400, "bad_name"),
        ({"query_id": "1", "budget": {"max_cost_usd": 1}}, 400, "no_price"),
    ],
)
async def test_what_cannot_be_opened_is_refused(server: Running, asked: dict, status: int, kind: str) -> None:
    """With a type, and nothing is left behind."""
    answer = await server.client.post("/v1/episodes", json=asked)

    assert (status, kind) == (answer.status_code, answer.json()["type"])
    assert [] == await server.worker.resources.store.runs.all()


async def test_who_keeps_the_record_needs_no_run(server: Running, store: Store) -> None:
    """The server hands the record out and stores no trajectory."""
    player = await open_episode(server, record=False)
    await player.call()
    await player.finish("No.")
    shown = await player.show()

    assert [] == await store.runs.all()
    assert (None, "answered", 2) == (shown["run"], shown["stop"], len(shown["steps"]))


async def test_the_servers_token_opens_and_the_episodes_token_plays(store: Store, store_url: str) -> None:
    """An agent that plays needs not know the server's token."""
    await put_dataset(store)
    async with serving(store_url, token="s3cret") as server:
        refused = await server.client.post("/v1/episodes", json={"query_id": "1"})
        server.client.headers["Authorization"] = "Bearer s3cret"
        player = await open_episode(server)
        del server.client.headers["Authorization"]
        called = await player.call()

    assert (401, 200) == (refused.status_code, called.status_code)


async def test_the_token_is_kept_nowhere(server: Running, store: Store, tmp_path, caplog) -> None:
    """Only its hash is in the store, and no log has it."""
    player = await open_episode(server)
    await player.call()
    token = player.opened["token"]

    found = await store.episode_records.find(id=player.opened["id"])
    assert found
    assert token not in repr(found)
    assert not any(token.encode() in path.read_bytes() for path in tmp_path.glob("store.db*"))
    assert token not in caplog.text


async def test_old_episodes_are_forgotten(server: Running, store: Store) -> None:
    """Those that have ended; what came of them stays in their run."""
    ended, left = await open_episode(server, run="r"), await open_episode(server, "2", group="G1_tool")
    await ended.finish("No.")
    await store.episode_records.forget(later(clock.now(), 60))

    gone = await server.client.get(ended.path, headers=ended.headers)
    assert (401, "open") == (gone.status_code, (await left.show())["status"])
    assert [StopReason.ANSWERED] == [one.stop for one in await store.runs.done("r")]


async def test_large_bodies_are_not_read(store: Store, store_url: str) -> None:
    """413, with a type."""
    await put_dataset(store)
    async with serving(store_url, max_body_bytes=1000) as server:
        player = await open_episode(server)
        answer = await player.call(arguments={"city": "x" * 2000})

    assert (413, "too_large") == (answer.status_code, answer.json()["type"])


async def test_a_call_that_was_cut_off_spoils_the_trial(server: Running, store: Store) -> None:
    """What a dying worker owes is our fault and no result; made again, the call counts as answered."""
    records, writer = store.episode_records, server.worker.resources.writer
    server.app.state.episodes.accounting.longest_call_s = 0.2
    runs = {"cut": 0, "again": 1}
    for run, calls in runs.items():
        player = await open_episode(server, run=run)
        episode = await records.find(id=player.opened["id"])
        assert episode
        document = Step(function="current_for_sky_watch", arguments='{"city": "Bonn"}').model_dump_json()
        await writer.do(
            lambda connection, e=episode, d=document: records.begin_within(
                connection, e, "tool", d, expires_at=e.expires_at
            )
        )
        for _ in range(calls):
            await player.call()
        await player.finish("No.")

    assert [[StopReason.INFRASTRUCTURE], [StopReason.ANSWERED]] == [
        [one.stop for one in await store.runs.done(run)] for run in runs
    ]


@pytest.mark.parametrize("number", ["NaN", "1e400", "-Infinity", '{"a": [NaN]}'])
async def test_numbers_that_json_does_not_have(server: Running, number: str) -> None:
    """In an answer or in arguments they are refused in words, and the episode goes on."""
    player = await open_episode(server)
    address = f"/v1/episodes/{player.opened['id']}"
    headers = {"Authorization": f"Bearer {player.opened['token']}", "Content-Type": "application/json"}

    answers = [
        await server.client.post(f"{address}/{path}", content=body % number, headers=headers)
        for path, body in (
            ("finish", '{"answer": %s}'),
            ("calls", '{"name": "current_for_sky_watch", "arguments": {"city": %s}}'),
        )
    ]
    finished = await player.finish("No.")

    assert [422, 422] == [answer.status_code for answer in answers]
    assert 200 == finished.status_code
