"""A remote agent is asked turn by turn over HTTP; it needs no state and no way back."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from agent_world import QUERIES, environment_of
from llm_server import LLMServer, raw, status
from stb_agents.custom.registry import choose_agent
from stb_agents.custom.remote import Remote
from stb_agents.environment.agent import Outcome, Task
from stb_agents.environment.budget import Budget, BudgetSpent
from stb_agents.environment.environment import Environment
from stb_agents.environment.server_client import VirtualClient
from stb_core.errors import FormatError, ServiceError
from stb_core.http import MAX_RESPONSE_BYTES
from stb_core.llm.retries import Patience
from stb_core.values.trajectories import StopReason

HASTY = Patience(deadline_s=0.3, first_wait_s=0.001, longest_wait_s=0.01)
PATIENT = Patience(deadline_s=120, first_wait_s=0.001, longest_wait_s=0.01)
TASK = Task(QUERIES[0])
CALL = {"name": "current_for_sky_watch", "arguments": {"city": "Velmora"}}


@pytest.fixture
async def environment(client: VirtualClient) -> Environment:
    return environment_of(client)


def turn(document: Any) -> Any:
    return raw(json.dumps(document).encode())


async def solve(llm: LLMServer, environment: Environment, *answers: Any) -> Outcome:
    """The test server stands for the agent; any path of it does."""
    llm.answer(*answers)
    return await Remote(f"{llm.url}/completions", PATIENT).solve(TASK, environment)


async def test_it_calls_and_then_answers(llm: LLMServer, environment: Environment) -> None:
    """It is told the task, the tools, and all that it called and saw."""
    outcome = await solve(llm, environment, turn({"calls": [CALL]}), turn({"answer": "Ten."}))

    assert (outcome.stop, outcome.final_answer) == (StopReason.ANSWERED, "Ten.")
    first, second = llm.requests
    assert first["task"] == {
        "group": "G1_instruction",
        "query_id": "0",
        "trial": 0,
        "text": TASK.text,
    }
    assert [tool["function"]["name"] for tool in first["tools"]] == list(environment.functions.names)
    assert (first["calls"], first["format"]) == ([], "stabletoolbench-turn/1")
    assert second["calls"] == [
        {
            "name": "current_for_sky_watch",
            "arguments": '{"city": "Velmora"}',
            "observation": '{"error": "", "response": {"city": "Velmora", "degrees": 10}}',
        }
    ]
    assert [step.function for step in environment.steps] == ["current_for_sky_watch", "Finish"]


async def test_null_gives_up(llm: LLMServer, environment: Environment) -> None:
    """There is no answer."""
    outcome = await solve(llm, environment, turn({"answer": None}))

    assert outcome.stop is StopReason.GAVE_UP


async def test_passing_trouble_is_waited_out(llm: LLMServer, environment: Environment) -> None:
    """The same turn is asked for again."""
    outcome = await solve(llm, environment, status(503), status(429, retry_after=0), turn({"answer": "Ten."}))

    assert (outcome.final_answer, llm.count) == ("Ten.", 3)


async def test_an_agent_that_is_gone_is_infrastructure(environment: Environment) -> None:
    """It is no result."""
    with pytest.raises(ServiceError, match=r"The agent at 127\.0\.0\.1:9/act did not answer"):
        await Remote("http://127.0.0.1:9/act", HASTY).solve(TASK, environment)


NO_TURNS = [raw(b"<html>"), turn([]), turn({}), turn({"calls": []}), turn({"calls": "f"}), status(404)]


@pytest.mark.parametrize("answer", [*NO_TURNS, turn({"calls": [{"arguments": {}}]})])
async def test_what_is_no_turn_is_the_agents_fault(
    llm: LLMServer, environment: Environment, answer: Any
) -> None:
    """And a result, where it has answered with other turns."""
    with pytest.raises(FormatError):
        await solve(llm, environment, turn({"calls": [CALL]}), answer)


@pytest.mark.parametrize("answer", NO_TURNS)
async def test_what_never_answers_with_a_turn_is_no_agent(
    llm: LLMServer, environment: Environment, answer: Any
) -> None:
    """But a wrong address, say, which is no result."""
    with pytest.raises(ServiceError, match="Check what answers at the address"):
        await solve(llm, environment, answer)


async def test_a_turn_has_a_largest_size(llm: LLMServer, environment: Environment) -> None:
    """It is the agent's fault as well, and the agent is not asked again."""
    with pytest.raises(FormatError, match=f"answered too much: .* longer than {MAX_RESPONSE_BYTES} bytes"):
        await solve(llm, environment, turn({"calls": [CALL]}), raw(b" " * (MAX_RESPONSE_BYTES + 1)))

    assert 2 == llm.count


async def test_its_turns_are_limited(llm: LLMServer, client: VirtualClient) -> None:
    """As those of every agent."""
    llm.rule = lambda _: turn({"calls": [CALL]})

    with pytest.raises(BudgetSpent, match="max_steps"):
        await solve(llm, environment_of(client, budget=Budget(max_steps=3)))


def test_an_address_is_an_agent() -> None:
    """Named after it, without a password."""
    agent = choose_agent("http://me:secret@127.0.0.1:9/act/", {}).agent

    assert agent.name == "remote:127.0.0.1:9/act"


async def test_calls_win_over_an_answer_that_is_null(llm: LLMServer, environment: Environment) -> None:
    """As clients write it whose turn has both members."""
    first = turn({"calls": [CALL], "answer": None})
    outcome = await solve(llm, environment, first, turn({"calls": [], "answer": "Ten."}))

    assert "Ten." == outcome.final_answer
    assert ["current_for_sky_watch", "Finish"] == [step.function for step in environment.steps]


async def test_null_arguments_are_none(llm: LLMServer, environment: Environment) -> None:
    """As in an episode."""
    named = {"name": "current_for_sky_watch", "arguments": None}
    await solve(llm, environment, turn({"calls": [named]}), turn({"answer": "Ten."}))

    assert "{}" == environment.steps[0].arguments


def finish(**arguments: str) -> dict[str, Any]:
    return {"name": "Finish", "arguments": arguments}


@pytest.mark.parametrize(
    ("call", "stop", "text"),
    [
        (finish(return_type="give_answer", final_answer="Ten."), StopReason.ANSWERED, "Ten."),
        (finish(return_type="give_up_and_restart"), StopReason.GAVE_UP, ""),
    ],
)
async def test_it_may_call_finish(
    llm: LLMServer, environment: Environment, call: dict[str, Any], stop: StopReason, text: str
) -> None:
    """What stands before it is done, and nothing behind it."""
    outcome = await solve(llm, environment, turn({"calls": [CALL, call, CALL]}))

    assert (stop, text) == (outcome.stop, outcome.final_answer)
    assert ["current_for_sky_watch", "Finish"] == [step.function for step in environment.steps]


async def test_a_finish_that_means_nothing_is_told(llm: LLMServer, environment: Environment) -> None:
    """It goes on, with what is wrong among its calls."""
    await solve(llm, environment, turn({"calls": [finish()]}), turn({"answer": "Ten."}))

    (seen,) = llm.requests[1]["calls"]
    assert "return_type must be give_answer or give_up_and_restart." in seen["observation"]


def test_the_query_of_an_address_is_part_of_what_it_is() -> None:
    """As a hash, since it may hold a secret; nothing is said where there is none."""
    plain, one, two = (Remote(f"http://127.0.0.1:9/act{query}") for query in ("", "?v=1", "?v=2"))

    assert {} == plain.settings()
    assert {"query_sha256": hashlib.sha256(b"v=1").hexdigest()} == one.settings()
    assert one.settings() != two.settings()
