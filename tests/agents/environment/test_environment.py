"""What an agent can reach in a trial, over real HTTP: calls, observations, budgets, Finish."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from agent_world import CURRENT, environment_of
from stb_agents.environment.budget import Budget, BudgetSpent
from stb_agents.environment.environment import Sampling
from stb_agents.environment.server_client import VirtualClient
from stb_core.errors import ServiceError, UsageError
from stb_core.llm.protocol import Reply, Request
from stb_core.llm.retries import Patience
from stb_core.llm.scripted import ScriptedModel
from stb_core.usage import Usage
from stb_core.values.calls import ToolCall
from stb_core.values.observations import Finished, ObservationStyle, read_finish, truncate
from stb_core.values.trajectories import FunctionCall, Message, StopReason

VELMORA = '{"city": "Velmora"}'
ASKED = [Message(role="user", content="?")]


async def test_a_call_is_answered_from_the_recording(client: VirtualClient) -> None:
    """The step names the API and carries the key, the provenance and the body as it came."""
    step = await environment_of(client).call("current_for_sky_watch", VELMORA)

    assert step.model_dump(exclude_defaults=True) == {
        "function": "current_for_sky_watch",
        "arguments": VELMORA,
        "observation": '{"error": "", "response": {"city": "Velmora", "degrees": 10}}',
        "category": "Weather",
        "tool": "sky_watch",
        "api": "current",
        "key": ToolCall(*CURRENT, {"city": "Velmora"}).key,
        "provenance": "recorded",
    }


async def test_a_miss_is_an_observation(client: VirtualClient) -> None:
    """The agent is told, and the step says that nothing could answer."""
    step = await environment_of(client).call("current_for_sky_watch", '{"city": "Atlantis"}')

    assert (step.provenance, step.error[:20]) == ("miss", "No recorded response")


async def test_an_invented_function_is_an_observation(client: VirtualClient) -> None:
    """The agent is told which there are, nothing is called, and the step is marked."""
    step = await environment_of(client).call("teleport", "{}")

    assert step.hallucinated
    assert step.api is None
    assert json.loads(step.observation)["error"] == (
        "There is no function 'teleport'. Use one of: "
        "current_for_sky_watch, forecast_for_sky_watch, search_for_inns, Finish."
    )


@pytest.mark.parametrize("arguments", ['{"city": ', "[1]", '"x"', '{"a": NaN}', "[" * 100_000])
async def test_unusable_arguments_are_an_observation(client: VirtualClient, arguments: str) -> None:
    """They are the model's own output: it is told what is wrong, and no call is made."""
    step = await environment_of(client).call("current_for_sky_watch", arguments)

    assert step.error
    assert step.key is None
    assert "tool_input" not in step.observation


async def test_calls_of_one_turn_keep_their_order(client: VirtualClient) -> None:
    """On record as they were made, whichever answer came first."""
    environment = environment_of(client)
    calls = [
        FunctionCall(id="", name="current_for_sky_watch", arguments=json.dumps({"city": city}))
        for city in ("Osterby", "Nowhere", "Velmora")
    ]

    steps = await environment.call_all(calls)

    assert [step.arguments for step in steps] == [call.arguments for call in calls]
    assert environment.steps == steps


async def test_every_call_and_question_is_measured(client: VirtualClient) -> None:
    """In order, what a question consumed with it; a call that cannot be made took no time."""
    model = ScriptedModel(lambda _: Reply(content="…", usage=Usage(prompt_tokens=7, completion_tokens=2)))
    environment = environment_of(client, model=model)

    await environment.ask(ASKED)
    await environment.call_all(
        [
            FunctionCall(id=str(n), name=name, arguments=VELMORA)
            for n, name in enumerate(["current_for_sky_watch", "no"])
        ]
    )
    environment.finish("{}")

    timing = environment.timing
    assert [(7, 2)] == [(made.prompt_tokens, made.completion_tokens) for made in timing.model_calls]
    assert timing.model_calls[0].seconds <= timing.seconds
    called, refused = timing.tool_calls
    assert refused < called <= timing.tool_seconds


async def test_a_long_observation_is_cut_and_says_so(client: VirtualClient) -> None:
    """The first characters, then how many there were."""
    step = await environment_of(client, observations=ObservationStyle(20)).call(
        "current_for_sky_watch", VELMORA
    )

    assert (step.observation, step.truncated) == ('{"error": "", "respo… [20 of 61 characters]', True)
    assert truncate("x" * 20, 20) == "x" * 20


async def test_a_server_that_is_gone_is_infrastructure() -> None:
    """Not an observation: the agent has no part in it."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with VirtualClient(url, patience=Patience(deadline_s=0.05, first_wait_s=0.01)) as client:
            with pytest.raises(ServiceError, match="did not answer a call"):
                await environment_of(client).call("current_for_sky_watch", VELMORA)


async def test_a_server_without_the_dataset_is_infrastructure(world_url: str) -> None:
    """And it says what the server said."""
    async with VirtualClient(world_url, "elsewhere") as client:
        with pytest.raises(ServiceError, match="HTTP 404, There is no dataset 'elsewhere' here"):
            await environment_of(client).call("current_for_sky_watch", VELMORA)


async def test_something_else_at_the_address_is_told(llm) -> None:
    """A web server that is not ours."""
    async with VirtualClient(f"http://127.0.0.1:{llm.port}") as client:
        with pytest.raises(ServiceError, match="is not a virtual API server"):
            await client.read_datasets()


async def test_what_is_served_is_listed(client: VirtualClient) -> None:
    """With the hashes that a run needs to know."""
    (served,) = await client.read_datasets()

    assert (served.name, served.content_hash, served.mode) == ("world", "c" * 64, "replay")


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (Budget(max_tool_calls=2), StopReason.MAX_TOOL_CALLS),
        (Budget(max_model_calls=2), StopReason.MAX_MODEL_CALLS),
        (Budget(max_tokens=20), StopReason.MAX_TOKENS),
        (Budget(max_cost_usd=0.02), StopReason.MAX_COST),
        (Budget(max_steps=2), StopReason.MAX_STEPS),
    ],
)
async def test_each_budget_has_its_own_reason(
    client: VirtualClient, budget: Budget, reason: StopReason
) -> None:
    """After two rounds of step, question and call, exactly that budget is spent."""
    usage = Usage(model_calls=1, prompt_tokens=7, completion_tokens=3, cost_usd=0.01)
    model = ScriptedModel(lambda _: Reply(content="x", usage=usage))
    environment = environment_of(client, model=model, budget=budget)

    async def one_round() -> None:
        environment.begin_step()
        await environment.ask(ASKED)
        await environment.call("current_for_sky_watch", VELMORA)

    await one_round()
    await one_round()
    with pytest.raises(BudgetSpent) as spent:
        await one_round()

    assert spent.value.reason is reason


async def test_time_is_up_in_the_middle_of_a_question(client: VirtualClient) -> None:
    """The model is not waited for."""

    class Slow:
        name = "slow/model"

        async def complete(self, _: Request) -> Reply:
            await asyncio.sleep(60)
            return Reply()

    environment = environment_of(client, model=Slow(), budget=Budget(max_seconds=0.05))

    with pytest.raises(BudgetSpent, match="max_seconds"):
        await environment.ask(ASKED)
    with pytest.raises(BudgetSpent, match="max_seconds"):
        environment.begin_step()


async def test_calls_within_the_budget_are_made_before_it_ends_the_trial(client: VirtualClient) -> None:
    """Of two calls in one turn with one left, the first is on record."""
    environment = environment_of(client, budget=Budget(max_tool_calls=1))
    call = FunctionCall(id="", name="current_for_sky_watch", arguments=VELMORA)

    with pytest.raises(BudgetSpent):
        await environment.call_all([call, call])

    assert len(environment.steps) == 1


async def test_ids_of_calls_are_ours(client: VirtualClient) -> None:
    """Endpoints make random ones; a trajectory is to be the same every time."""
    made = FunctionCall(id="call_x8Zq", name="f", arguments="{}")
    model = ScriptedModel(lambda _: Reply(tool_calls=(made, made)))
    environment = environment_of(client, model=model)

    replies = [await environment.ask(ASKED) for _ in range(2)]

    assert [c.id for r in replies for c in r.tool_calls] == [f"call0000{n}" for n in (1, 2, 3, 4)]


async def test_the_model_is_asked_as_configured(client: VirtualClient) -> None:
    """Temperature, reply length and seed go into every request."""
    model = ScriptedModel([Reply(content="x")])
    sampling = Sampling(temperature=0.3, max_completion_tokens=50, seed=7)

    await environment_of(client, model=model, sampling=sampling).ask(ASKED, stop=["\nObservation"])

    (request,) = model.requests
    assert (request.temperature, request.max_tokens, request.seed, request.stop) == (
        0.3,
        50,
        7,
        ("\nObservation",),
    )


async def test_an_agent_without_a_model_cannot_ask_one(client: VirtualClient) -> None:
    """It is said how to name one."""
    with pytest.raises(UsageError, match="-m PROVIDER/MODEL"):
        await environment_of(client).ask(ASKED)


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        ('{"return_type": "give_answer", "final_answer": "42"}', Finished(StopReason.ANSWERED, "42")),
        (
            '{"return_type": "give_answer", "final_answer": {"a": "ü"}}',
            Finished(StopReason.ANSWERED, '{"a": "ü"}'),
        ),
        ('{"return_type": "give_up_and_restart"}', Finished(StopReason.GAVE_UP)),
        ('{"return_type": "give_answer"}', "final_answer is missing; it is needed with give_answer."),
        ('{"final_answer": "42"}', "return_type must be give_answer or give_up_and_restart."),
        ("", "return_type must be give_answer or give_up_and_restart."),
    ],
)
def test_what_finish_means(arguments: str, read: Finished | str) -> None:
    """An answer, giving up, or a complaint that the agent is shown."""
    assert read_finish(arguments) == read


def test_a_torn_finish_is_told() -> None:
    """What is wrong with its text."""
    assert str(read_finish('{"return_type": "give')).startswith("The argument text of Finish is not one JSON")
