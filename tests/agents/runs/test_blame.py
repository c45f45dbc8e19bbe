"""Refused requests: a fault of the endpoint where it accepts none of the kind, else a result of the trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_server import Answer, LLMServer, call, calls, obliging, status, text
from stb_agents.runs.request import RunRequest
from stb_agents.runs.run import RunOutcome, run_agent
from stb_core.llm.blame import shape_of
from stb_core.llm.protocol import Request
from stb_core.settings import Settings
from stb_core.store import Store
from stb_core.values.functions import FunctionSchema
from stb_core.values.trajectories import Message, StopReason, Trajectory

Carry = Callable[..., Any]

TOO_LONG = "This model's maximum context length is 4096 tokens."
FILTERED = "The response was filtered due to the prompt triggering content management policy"
NO_TOOLS = '"auto" tool choice requires --enable-auto-tool-choice'

TALKING = """
from stb_agents.environment.agent import Outcome
from stb_agents.environment.budget import Budget
from stb_core.errors import RequestRefusedError
from stb_core.values.trajectories import Message, StopReason

class Own:
    name, model_use, budget = "own", "required", Budget()
    def settings(self):
        return {}
    async def solve(self, task, environment):
        messages = [Message(role="user", content=task.text)]
        try:
            reply = await environment.ask(messages, functions=environment.functions.schemas)
        except RequestRefusedError:
            %s
        return Outcome(StopReason.ANSWERED, reply.content or "Nothing.")
"""
SWALLOWING = TALKING % 'return Outcome(StopReason.ANSWERED, "I know it all.")'
STEPPING_DOWN = TALKING % "reply = await environment.ask(messages)"
FAILING = TALKING % 'raise ValueError("no reply")'


@pytest.fixture
def carry(sqlite_store_url: str, llm: LLMServer, world_url: str) -> Carry:
    """``carry("cot")`` does a run of four queries, one after the other, at the scripted LLM server."""
    settings = Settings(sqlite_store_url, {}, {"STUB_BASE_URL": llm.url})

    async def do(agent: str = "cot", **options: Any) -> RunOutcome:
        given = {"server": world_url, "max_connections": 1} | options
        request = RunRequest(agent, "world:G3_instruction", "stub/any", **given)
        return await run_agent(settings, request, quiet=True)

    return do


async def ends(store: Store, done: RunOutcome) -> list[str]:
    """How the trials ended, in the order of the queries."""
    return [t.stop.value for t in await trajectories(store, done)]


async def trajectories(store: Store, done: RunOutcome) -> list[Trajectory]:
    return [t async for t in store.runs.trajectories(done.run.run)]


def refusing(answer: Answer, where: str, *, after_calls: bool = False) -> Callable[[dict[str, Any]], Answer]:
    """Refuses conversations about a city, or only those in which a function was called; obliges otherwise."""

    def rule(body: dict[str, Any]) -> Answer:
        about = where in str([m.get("content") for m in body["messages"] if m["role"] == "user"])
        called = any(m["role"] == "tool" for m in body["messages"])
        return answer if about and (called or not after_calls) else obliging(body)

    return rule


@pytest.mark.parametrize("agent", ["cot", "dfsdt", "react"])
@pytest.mark.parametrize("answer", [status(400, NO_TOOLS), status(422, "extra"), status(400, TOO_LONG)])
async def test_an_endpoint_that_accepts_nothing_is_infrastructure(
    carry: Carry, llm: LLMServer, sqlite_store: Store, agent: str, answer: Answer
) -> None:
    """Nothing was measured, whatever the reason that it gives."""
    llm.rule = lambda _: answer

    done = await carry(agent)

    assert await ends(sqlite_store, done) == ["infrastructure"] * 4


async def test_the_same_command_asks_again_what_was_refused(
    carry: Carry, llm: LLMServer, sqlite_store: Store
) -> None:
    """Once the endpoint is set right, the run is complete."""
    llm.rule = lambda _: status(400, NO_TOOLS)
    await carry()
    llm.rule = obliging

    done = await carry()

    assert (await ends(sqlite_store, done), done.summary.missing) == (["answered"] * 4, ())


@pytest.mark.parametrize("agent", ["cot", "dfsdt"])
@pytest.mark.parametrize("after_calls", [False, True])
@pytest.mark.parametrize(("words", "stop"), [(TOO_LONG, "context_exceeded"), (FILTERED, "content_filter")])
async def test_length_and_content_are_reasons_of_their_own(
    carry: Carry, llm: LLMServer, sqlite_store: Store, agent: str, after_calls: bool, words: str, stop: str
) -> None:
    """Of a query that is refused while others are accepted, at its first request or a later one."""
    llm.rule = refusing(status(400, words), "Osterby", after_calls=after_calls)

    done = await carry(agent)

    assert await ends(sqlite_store, done) == ["answered", stop, "answered", "answered"]
    assert words[:30] in (await trajectories(sqlite_store, done))[1].error
    assert (done.summary.missing, done.summary.tallies[-1].refused) == ((), {stop: 1})


async def test_length_is_a_reason_of_the_text_protocol_too(
    carry: Carry, llm: LLMServer, sqlite_store: Store
) -> None:
    """What an agent asks in, functions or words, makes no difference."""
    finish = (
        'Thought: done\nAction: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "42"}'
    )
    refuse = refusing(status(400, TOO_LONG), "Osterby")
    llm.rule = lambda body: answer if (answer := refuse(body)).status != 200 else text(finish)

    done = await carry("react")

    assert await ends(sqlite_store, done) == ["answered", "context_exceeded", "answered", "answered"]


@pytest.mark.parametrize("after_calls", [False, True])
async def test_a_refusal_for_another_reason_has_a_name_as_well(
    carry: Carry, llm: LLMServer, sqlite_store: Store, after_calls: bool
) -> None:
    """Where the endpoint accepts other requests of the kind."""
    llm.rule = refusing(status(400, "Invalid schema"), "Osterby", after_calls=after_calls)

    done = await carry()

    assert await ends(sqlite_store, done) == ["answered", "request_refused", "answered", "answered"]


async def test_an_endpoint_that_was_set_up_anew_is_not_trusted_for_what_it_was(
    carry: Carry, llm: LLMServer, sqlite_store: Store
) -> None:
    """What it accepted in an earlier session says nothing about a server without a tool-call parser."""
    llm.answer(text("Let me see."), status(404, "no such model"))
    await carry(fail_fast=True)
    llm.rule = lambda _: status(400, NO_TOOLS)

    done = await carry()

    assert await ends(sqlite_store, done) == ["infrastructure"] * 4


async def test_a_refusal_before_the_first_acceptance_is_blamed_at_the_end(
    carry: Carry, llm: LLMServer, sqlite_store: Store
) -> None:
    """Refusals come faster than replies: by then it is known that the endpoint accepts others."""
    llm.rule = refusing(status(400, TOO_LONG), "Velmora")  # the first query

    done = await carry()

    assert await ends(sqlite_store, done) == ["context_exceeded", *["answered"] * 3]
    assert done.summary.missing == ()


async def test_what_earlier_sessions_were_answered_counts(
    carry: Carry, llm: LLMServer, sqlite_store: Store
) -> None:
    """A session that has only refused queries left need not be answered itself."""
    out = refusing(status(404, "no such model"), "Osterby")
    llm.rule = out
    await carry()
    llm.rule = lambda _: status(400, TOO_LONG)

    done = await carry()

    assert await ends(sqlite_store, done) == ["answered", "context_exceeded", "answered", "answered"]


@pytest.mark.parametrize("code", [SWALLOWING, FAILING])
async def test_an_agent_of_ones_own_without_a_model_is_not_judged(
    carry: Carry, llm: LLMServer, sqlite_store: Store, tmp_path: Path, code: str
) -> None:
    """Whatever it made of the refusal."""
    (tmp_path / "own.py").write_text(code)
    llm.rule = lambda _: status(400, NO_TOOLS)

    done = await carry(f"{tmp_path / 'own.py'}:Own")

    assert await ends(sqlite_store, done) == ["infrastructure"] * 4


async def test_an_agent_that_asks_in_another_way_goes_on(
    carry: Carry, llm: LLMServer, sqlite_store: Store, tmp_path: Path
) -> None:
    """Refused with functions, accepted without: what it says then stands."""
    (tmp_path / "own.py").write_text(STEPPING_DOWN)
    llm.rule = lambda body: status(400, NO_TOOLS) if body.get("tools") else text("Rain.")

    done = await carry(f"{tmp_path / 'own.py'}:Own")

    assert await ends(sqlite_store, done) == ["answered"] * 4


async def test_what_the_agent_did_about_a_conversation_that_is_too_long_stands(
    carry: Carry, llm: LLMServer, sqlite_store: Store, tmp_path: Path
) -> None:
    """It is its own, as others were accepted."""
    (tmp_path / "own.py").write_text(SWALLOWING)
    llm.rule = refusing(status(400, TOO_LONG), "Osterby")

    done = await carry(f"{tmp_path / 'own.py'}:Own")

    assert (await trajectories(sqlite_store, done))[1].final_answer == "I know it all."


def test_the_shape_of_a_request() -> None:
    """What an endpoint must support, and nothing of the conversation."""
    asked = Request(messages=(Message(role="user", content="Rain?"),))
    more = {"functions": (FunctionSchema(name="f"),), "stop": ("\n",)}

    assert [
        shape_of(asked),
        shape_of(asked.model_copy(update=more)),
        shape_of(asked.model_copy(update={**more, "tool_choice": "f"})),
        shape_of(asked.model_copy(update={"prompt": "Rain?"})),
        shape_of(asked.model_copy(update={"response_schema": {}})),
    ] == ["chat", "chat functions:auto stop", "chat functions:named stop", "text", "chat schema"]


@pytest.mark.parametrize("agent", ["cot", "dfsdt"])
@pytest.mark.parametrize("arguments", ["", "null", '{"city": "Os'])
async def test_a_server_that_parses_earlier_arguments_accepts_them(
    carry: Carry, llm: LLMServer, sqlite_store: Store, agent: str, arguments: str
) -> None:
    """It is sent JSON objects; the trajectory keeps what the model wrote."""

    def rule(body: dict[str, Any]) -> Answer:
        made = [made for message in body["messages"] for made in message.get("tool_calls") or ()]
        if not made:
            return calls(("search_for_inns", arguments))
        if not all(one["function"]["arguments"].startswith("{") for one in made):
            return status(400, "Expecting value: line 1 column 1 (char 0)")
        return call("Finish", return_type="give_answer", final_answer="42")

    llm.rule = rule

    done = await carry(agent)

    found = await trajectories(sqlite_store, done)
    assert [(t.stop, t.steps[0].arguments) for t in found] == [(StopReason.ANSWERED, arguments)] * 4
    written = [m.tool_calls[0].arguments for t in found for m in t.messages if m.tool_calls]
    assert arguments in written
