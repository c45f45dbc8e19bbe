"""The agents without a model: one careful, one hasty, both the same every time."""

from __future__ import annotations

import json

from agent_world import CURRENT, QUERIES, environment_of
from stb_agents.builtin.scripted import Scripted, ScriptedHasty
from stb_agents.environment.agent import Outcome, Task
from stb_agents.environment.server_client import VirtualClient
from stb_core.values.trajectories import StopReason


async def test_the_careful_one_calls_what_the_query_needs_and_tells_what_it_saw(
    client: VirtualClient,
) -> None:
    """Every relevant API by the task's own words, and the answer holds their data."""
    query = QUERIES[0]
    environment = environment_of(client, query)

    outcome = await Scripted().solve(Task(query), environment)

    assert [(step.function, json.loads(step.arguments)) for step in environment.steps[:-1]] == [
        ("current_for_sky_watch", {"city": "Velmora"}),
        ("forecast_for_sky_watch", {"city": "Velmora", "days": 3}),
    ]
    assert outcome.stop is StopReason.ANSWERED
    assert "degrees: 10" in outcome.final_answer
    assert "wind: 0" in outcome.final_answer


async def test_the_careful_one_tries_again_after_an_error(client: VirtualClient) -> None:
    """With the documented example, and gives up when that fails as well."""
    query = QUERIES[0].model_copy(update={"text": "The weather in Atlantis?", "relevant_apis": (CURRENT,)})
    environment = environment_of(client, query)

    outcome = await Scripted().solve(Task(query), environment)

    tried = [json.loads(step.arguments) for step in environment.steps[:-1]]
    assert tried == [{"city": "Atlantis"}, {"city": "Harborfield"}]
    assert outcome.stop is StopReason.GAVE_UP


async def test_the_hasty_one_makes_one_call(client: VirtualClient) -> None:
    """It answers from that, or gives up before."""
    stops = []
    for number in range(12):
        query = QUERIES[0].model_copy(update={"query_id": str(number)})
        environment = environment_of(client, query)
        outcome = await ScriptedHasty().solve(Task(query), environment)
        stops.append(outcome.stop)
        assert len(environment.steps) == (2 if outcome.stop is StopReason.ANSWERED else 1)

    assert set(stops) == {StopReason.ANSWERED, StopReason.GAVE_UP}


async def test_both_do_the_same_every_time(client: VirtualClient) -> None:
    """There is no chance in them."""

    async def outcomes(agent: Scripted | ScriptedHasty) -> list[Outcome]:
        return [await agent.solve(Task(query), environment_of(client, query)) for query in QUERIES]

    for agent in (Scripted(), ScriptedHasty()):
        assert await outcomes(agent) == await outcomes(agent)
