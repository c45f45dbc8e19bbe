"""The function-calling loop: turns, observations, Finish, silence and budgets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent_world import QUERIES, environment_of
from stb_agents.builtin.cot import SYSTEM_PROMPT, Cot
from stb_agents.environment.agent import Outcome, Task
from stb_agents.environment.budget import UNLIMITED, Budget
from stb_agents.environment.environment import Sampling
from stb_agents.environment.server_client import VirtualClient
from stb_agents.environment.turns import NUDGE
from stb_core.errors import FormatError, NotFoundError, RequestRefusedError
from stb_core.llm.protocol import Reply, Request
from stb_core.llm.scripted import ScriptedModel
from stb_core.values.trajectories import FunctionCall, StopReason

TASK = Task(QUERIES[0])


def calling(*calls: tuple[str, object]) -> Reply:
    made = (
        FunctionCall(id="", name=name, arguments=given if isinstance(given, str) else json.dumps(given))
        for name, given in calls
    )
    return Reply(tool_calls=tuple(made))


CURRENT = ("current_for_sky_watch", {"city": "Velmora"})
ANSWER = ("Finish", {"return_type": "give_answer", "final_answer": "Ten degrees."})


async def solve(
    client: VirtualClient, *replies: Reply, budget: Budget = UNLIMITED
) -> tuple[Outcome, ScriptedModel]:
    model = ScriptedModel(replies)
    outcome = await Cot().solve(TASK, environment_of(client, model=model, budget=budget))
    return outcome, model


async def test_calls_until_finish(client: VirtualClient) -> None:
    """The answer is what Finish carries; the model saw the observation before."""
    outcome, model = await solve(client, calling(CURRENT), calling(ANSWER))

    assert (outcome.stop, outcome.final_answer) == (StopReason.ANSWERED, "Ten degrees.")
    assert [m.role for m in model.requests[1].messages] == ["system", "user", "assistant", "tool"]
    assert '"degrees": 10' in (model.requests[1].messages[-1].content or "")


async def test_the_model_is_given_the_task_and_all_functions(client: VirtualClient) -> None:
    """Our system prompt, the query's text, the query's functions and Finish."""
    _, model = await solve(client, calling(ANSWER))

    (request,) = model.requests
    assert [m.content for m in request.messages] == [SYSTEM_PROMPT, TASK.text]
    assert [f.name for f in request.functions] == [
        "current_for_sky_watch",
        "forecast_for_sky_watch",
        "search_for_inns",
        "Finish",
    ]


async def test_several_calls_in_a_turn_are_all_answered(client: VirtualClient) -> None:
    """Each under its id, in order."""
    _, model = await solve(client, calling(CURRENT, ("teleport", {}), CURRENT), calling(ANSWER))

    assert [m.tool_call_id for m in model.requests[1].messages[-3:]] == [
        "call00001",
        "call00002",
        "call00003",
    ]


async def test_finish_ends_its_turn(client: VirtualClient) -> None:
    """What stands before it is done, what stands behind it is not."""
    outcome, _ = await solve(client, calling(CURRENT, ANSWER, ("teleport", {})))

    assert outcome.stop is StopReason.ANSWERED


async def test_a_torn_finish_is_told_and_can_be_mended(client: VirtualClient) -> None:
    """Its complaint is an observation, and calls behind it are answered too."""
    outcome, model = await solve(client, calling(("Finish", '{"return'), CURRENT), calling(ANSWER))

    assert outcome.stop is StopReason.ANSWERED
    last = model.requests[1].messages[-2:]
    assert "not one JSON object" in (last[0].content or "")
    assert last[1].content == "Not done: it stands behind Finish."


async def test_giving_up_is_an_outcome(client: VirtualClient) -> None:
    """Without an answer."""
    outcome, _ = await solve(client, calling(("Finish", {"return_type": "give_up_and_restart"})))

    assert (outcome.stop, outcome.final_answer) == (StopReason.GAVE_UP, "")


async def test_words_without_a_call_are_answered_with_a_nudge(client: VirtualClient) -> None:
    """Three of them in a row end it without an answer; empty words are sent as such."""
    outcome, model = await solve(client, Reply(content="Hm."), calling(CURRENT), *[Reply()] * 3)

    assert outcome.stop is StopReason.NO_FINISH
    assert [m.content for m in model.requests[1].messages[-2:]] == ["Hm.", NUDGE]
    assert [m.content for m in model.requests[3].messages[-2:]] == ["", NUDGE]


async def test_the_end_of_the_budget_keeps_the_conversation(client: VirtualClient) -> None:
    """With its own reason."""
    outcome, _ = await solve(client, *[calling(CURRENT)] * 2, budget=Budget(max_steps=2))

    assert outcome.stop is StopReason.MAX_STEPS
    assert outcome.messages
    assert len(outcome.messages) == 6


async def test_a_conversation_has_so_many_turns(client: VirtualClient) -> None:
    """The limit of the agent's own, with the same reason as that of the budget."""
    model = ScriptedModel([calling(CURRENT)] * 2)

    outcome = await Cot(turns=2).solve(TASK, environment_of(client, model=model))

    assert outcome.stop is StopReason.MAX_STEPS


async def test_a_further_try_begins_afresh(client: VirtualClient) -> None:
    """Until one leads to an answer; its seed is another one, and all tries are kept as a tree."""
    give_up = calling(("Finish", {"return_type": "give_up_and_restart"}))
    model = ScriptedModel([calling(CURRENT), give_up, *[Reply()] * 3, calling(CURRENT), calling(ANSWER)])
    environment = environment_of(client, model=model, sampling=Sampling(seed=50))

    outcome = await Cot(tries=5).solve(TASK, environment)

    assert (outcome.stop, outcome.final_answer) == (StopReason.ANSWERED, "Ten degrees.")
    assert [request.seed for request in model.requests] == [50, 50, 51, 51, 51, 52, 52]
    assert [len(model.requests[n].messages) for n in (0, 2, 5)] == [2, 2, 2]
    assert outcome.steps
    assert [step.function for step in outcome.steps] == ["current_for_sky_watch", "Finish"]
    assert outcome.tree
    assert [number for number, node in enumerate(outcome.tree) if node.parent == 1] == [2, 6, 12]


async def test_a_turn_within_which_the_budget_ends_is_on_record(client: VirtualClient) -> None:
    """With the call that was made; no further try begins."""
    model = ScriptedModel([calling(CURRENT, CURRENT, CURRENT)])
    environment = environment_of(client, model=model, budget=Budget(max_tool_calls=1))

    outcome = await Cot(tries=3).solve(TASK, environment)

    assert outcome.stop is StopReason.MAX_TOOL_CALLS
    assert outcome.steps
    assert len(outcome.steps) == 1
    assert outcome.messages
    assert [m.content for m in outcome.messages[4:]] == ["Not done: a budget is spent."] * 2


async def test_a_conversation_that_is_refused_is_the_end_of_its_try(client: VirtualClient) -> None:
    """The next one begins afresh; a refusal of the last one is the end."""

    def rule(request: Request) -> Reply:
        if len(request.messages) > 2:
            raise RequestRefusedError("too long")
        return calling(CURRENT if len(model.requests) < 3 else ANSWER)

    model = ScriptedModel(rule)
    environment = environment_of(client, model=model)

    assert (await Cot(tries=2).solve(TASK, environment)).stop is StopReason.ANSWERED
    model.requests.clear()
    with pytest.raises(RequestRefusedError):
        await Cot(tries=1).solve(TASK, environment)


async def test_arguments_beyond_all_measure_are_told(client: VirtualClient) -> None:
    """They are the model's mistake, and not sent."""
    huge = ("current_for_sky_watch", {"city": "x" * 200_000})

    outcome, _ = await solve(client, calling(huge), calling(ANSWER))

    assert outcome.stop is StopReason.ANSWERED
    assert outcome.steps
    assert "has more than 100000 characters" in outcome.steps[0].error


async def test_the_words_can_be_the_users_own(client: VirtualClient, tmp_path: Path) -> None:
    """They are read from a file, and are part of the settings."""
    (tmp_path / "prompt.txt").write_text("Be brief.\n")
    agent = Cot(system_prompt=tmp_path / "prompt.txt")
    model = ScriptedModel([calling(ANSWER)])

    await agent.solve(TASK, environment_of(client, model=model))

    assert model.requests[0].messages[0].content == "Be brief."
    assert agent.settings() == {"turns": 12, "tries": 1, "system_prompt": "Be brief."}


def test_a_prompt_file_that_is_no_use_is_named(tmp_path: Path) -> None:
    """Missing, or empty."""
    (tmp_path / "empty.txt").write_text("\n")

    with pytest.raises(NotFoundError, match=r"There is no prompt file .*nowhere\.txt"):
        Cot(system_prompt=tmp_path / "nowhere.txt").settings()
    with pytest.raises(FormatError, match="is empty"):
        Cot(system_prompt=tmp_path / "empty.txt").settings()


WRITTEN = Reply(
    content='Look:\n```json\n{"name": "current_for_sky_watch", "arguments": {"city": "Velmora"}}\n```'
)
WRITTEN_END = Reply(
    content='{"name": "finish", "arguments": {"return_type": "give_answer", "final_answer": "Ten degrees."}}'
)


async def test_calls_written_as_text_are_made_where_that_is_wanted(client: VirtualClient) -> None:
    """The conversation is then that of a server whose parser has read them; by default they are words."""
    outcomes = []
    for text_calls in (True, False):
        model = ScriptedModel([WRITTEN, WRITTEN_END, WRITTEN_END])
        environment = environment_of(client, model=model, sampling=Sampling(text_calls=text_calls))
        outcomes.append(await Cot().solve(TASK, environment))

    assert [StopReason.ANSWERED, StopReason.NO_FINISH] == [outcome.stop for outcome in outcomes]
    assert "Ten degrees." == outcomes[0].final_answer
    first = outcomes[0].messages[2] if outcomes[0].messages else None
    assert first is not None
    assert ("Look:", "current_for_sky_watch") == (first.content, first.tool_calls[0].name)


async def test_thoughts_are_measured_and_never_sent_back(client: VirtualClient) -> None:
    """A trajectory keeps their beginning, beside time and tokens."""
    replies = [Reply(content=None, thoughts="x" * 5000, finish_reason="length") for _ in range(3)]
    model = ScriptedModel(replies)
    environment = environment_of(client, model=model)

    outcome = await Cot().solve(TASK, environment)

    assert StopReason.NO_FINISH is outcome.stop
    assert ["x" * 2000] * 3 == [one.thoughts for one in environment.timing.model_calls]
    assert not any(
        "x" in (m.content or "") for r in model.requests for m in r.messages if m.role == "assistant"
    )


async def test_finish_is_finish_in_any_case(client: VirtualClient) -> None:
    """No function of the query has that name."""
    outcome, _ = await solve(client, calling(("FINISH", ANSWER[1])))

    assert (StopReason.ANSWERED, "Ten degrees.") == (outcome.stop, outcome.final_answer)


async def test_the_same_failing_call_ends_the_trial_where_that_is_limited(client: VirtualClient) -> None:
    """Other failing calls count for themselves, and calls that succeed do not."""
    wrong, other = ("teleport", {}), ("teleport", {"to": "x"})
    replies = [
        calling(CURRENT, CURRENT, CURRENT),
        calling(wrong),
        calling(other),
        calling(wrong),
        calling(wrong),
    ]

    outcome, model = await solve(client, *replies, budget=Budget(max_repeats=3))

    assert StopReason.MAX_REPEATS is outcome.stop
    assert 5 == len(model.requests)
    assert outcome.steps is not None
    assert 7 == len(outcome.steps)
