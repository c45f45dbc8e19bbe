"""Depth-first search visits the nodes that the rules give, shown as trees of hand-built worlds.

A world says, for each way through it, which turns the model makes from there, one after the other:
a letter is a call with that letter, ``!`` gives up, ``=`` answers, ``~`` is a conversation that the
model does not accept. A way is the letters of the calls that led to a place.
"""

from __future__ import annotations

import json
import re
from textwrap import dedent
from typing import Any

import pytest

from agent_world import QUERIES, environment_of
from stb_agents.builtin.dfsdt import Dfsdt
from stb_agents.environment.agent import Outcome, Task
from stb_agents.environment.budget import UNLIMITED, Budget
from stb_agents.environment.environment import Sampling
from stb_agents.environment.server_client import VirtualClient
from stb_core.errors import RequestRefusedError
from stb_core.llm.protocol import Reply, Request
from stb_core.llm.scripted import ScriptedModel
from stb_core.values.trajectories import FunctionCall, Message, StopReason

World = dict[str, str]
FUNCTION = "current_for_sky_watch"


def way_of(request: Request) -> str:
    """The letters of the calls that led to where the request is made."""
    calls = [call for message in request.messages for call in message.tool_calls]
    return "".join(json.loads(call.arguments)["city"] for call in calls)


def former(request: Request) -> int:
    """How many former children the request shows."""
    last = request.messages[-1].content or ""
    return len(re.findall(r"^\d+\. ", last, re.MULTILINE))


def model_of(world: World, prefers: str = "") -> ScriptedModel:
    """Moves by the world; of two candidates it prefers the one whose letter is in ``prefers``, else A."""

    def rule(request: Request) -> Reply:
        if request.response_schema:
            asked = request.messages[-1].content or ""
            second = asked.split("\n\nB: ")[1].split("\n\n")[0]
            letter = re.findall(r'"city": "(.)"', second)[-1]
            return Reply(content=json.dumps({"better": "B" if letter in prefers else "A"}))
        turns = world.get(way_of(request), "")
        assert former(request) < len(turns), f"not foreseen: child {former(request)} of {way_of(request)!r}"
        return turn(turns[former(request)])

    return ScriptedModel(rule)


def turn(sign: str) -> Reply:
    if sign == "~":
        raise RequestRefusedError("too long")
    finish = {
        "!": {"return_type": "give_up_and_restart"},
        "=": {"return_type": "give_answer", "final_answer": "42"},
    }
    name, arguments = ("Finish", finish[sign]) if sign in finish else (FUNCTION, {"city": sign})
    return Reply(tool_calls=(FunctionCall(id="", name=name, arguments=json.dumps(arguments)),))


async def search(
    client: VirtualClient,
    model: ScriptedModel,
    budget: Budget = UNLIMITED,
    seed: int | None = None,
    **settings: Any,
) -> Outcome:
    environment = environment_of(client, model=model, budget=budget, sampling=Sampling(seed=seed))
    return await Dfsdt(**{"width": 2, "depth": 4} | settings).solve(Task(QUERIES[0]), environment)


def drawn(outcome: Outcome) -> str:
    """The tree as text: a line a turn, the turns made from it below it, and why the search went no further."""
    nodes = outcome.tree or ()
    lines: list[str] = []

    def draw(number: int, indent: int) -> None:
        node = nodes[number]
        deeper = indent
        if node.message and node.message.role == "assistant":
            (made,) = node.message.tool_calls
            name = made.name if made.name == "Finish" else json.loads(made.arguments)["city"]
            lines.append(f"{'  ' * indent}{name}")
            deeper += 1
        if node.pruned or node.final:
            lines[-1] += f" [{node.pruned or 'answer'}]"
        for child, below in enumerate(nodes):
            if below.parent == number:
                draw(child, deeper)

    draw(0, 0)
    return "\n".join(lines)


def tree(text: str) -> str:
    return dedent(text).strip("\n")


async def test_a_search_without_ranking(client: VirtualClient) -> None:
    """Children are made when it is their turn: depth limit, give-up, refusal and answer, in that order.

    The second child of ``aa`` gives up, so ``aa`` is abandoned and ``a`` makes its next child, ``b``.
    From ``abc`` the model does not go on, so ``ab`` makes its next child, whose child answers. The
    root's second child is never made.
    """
    world = {"": "a", "a": "ab", "aa": "a!", "aaa": "xy", "ab": "cd", "abc": "~", "abd": "="}

    outcome = await search(client, model_of(world))

    assert drawn(outcome) == tree(
        """
        a
          a [abandoned: it gave up below]
            a
              x [at the depth limit]
              y [at the depth limit]
            Finish [gave up]
          b
            c [the model did not accept the conversation: too long]
            d
              Finish [answer]
        """
    )
    assert (outcome.stop, outcome.final_answer) == (StopReason.ANSWERED, "42")
    assert outcome.steps
    assert [step.arguments for step in outcome.steps][:-1] == [f'{{"city": "{letter}"}}' for letter in "abd"]


async def test_a_search_with_ranking(client: VirtualClient) -> None:
    """All children first, then those that win the comparison: ``b`` before ``a``, ``d`` before ``c``.

    A child that gave up comes last, an answer first. With enough answers no more children are made.
    """
    world = {"": "ab", "b": "cd", "bd": "!e", "bde": "!~", "bc": "!!", "a": "=x"}
    model = model_of(world, prefers="bd")

    outcome = await search(client, model, ranking=True)

    assert drawn(outcome) == tree(
        """
        a
          Finish [answer]
        b
          c [abandoned: it gave up below]
            Finish [gave up]
            Finish [gave up]
          d [abandoned: it gave up below]
            Finish [gave up]
            e [the model did not accept the conversation: too long]
              Finish [gave up]
        """
    )
    compared = sum(request.response_schema is not None for request in model.requests)
    assert compared == 4


async def test_giving_up_abandons_the_node_where_it_happened(client: VirtualClient) -> None:
    """Its second child is not made; the node above makes its next."""
    world = {"": "ab", "a": "!x", "b": "="}

    outcome = await search(client, model_of(world))

    assert drawn(outcome) == tree(
        """
        a [abandoned: it gave up below]
          Finish [gave up]
        b
          Finish [answer]
        """
    )


async def test_a_brother_can_be_tried_first(client: VirtualClient) -> None:
    """With one level to climb after giving up."""
    world = {"": "ab", "a": "!="}

    outcome = await search(client, model_of(world), back_after_give_up=1)

    assert drawn(outcome) == tree(
        """
        a
          Finish [gave up]
          Finish [answer]
        """
    )


async def test_more_than_one_answer_can_be_wanted(client: VirtualClient) -> None:
    """The first is handed in; its node is left, and the search ends with the second."""
    world = {"": "ab", "a": "=x", "b": "="}

    outcome = await search(client, model_of(world), answers=2)

    assert drawn(outcome) == tree(
        """
        a [left: an answer was found below]
          Finish [answer]
        b
          Finish [answer]
        """
    )
    assert outcome.steps
    assert outcome.steps[0].arguments == '{"city": "a"}'


@pytest.mark.parametrize(
    ("world", "settings", "stop"),
    [
        ({"": "!"}, {}, StopReason.GAVE_UP),
        ({"": "ab", "a": "cd", "b": "cd"}, {"depth": 2}, StopReason.MAX_STEPS),
        ({"": "ab", "a": "c!"}, {"depth": 2, "width": 2}, StopReason.GAVE_UP),
        ({"": "a", "a": "~"}, {"width": 1}, StopReason.NO_FINISH),
    ],
)
async def test_a_search_without_an_answer_says_why(
    client: VirtualClient, world: World, settings: dict[str, Any], stop: StopReason
) -> None:
    """It gave up, went as deep as it may, or could not go on."""
    world = {"b": "!", **world}

    outcome = await search(client, model_of(world), **settings)

    assert (outcome.stop, outcome.final_answer) == (stop, "")


async def test_the_end_of_the_budget_keeps_the_tree(client: VirtualClient) -> None:
    """With its own reason, and the path to the last node."""
    outcome = await search(client, model_of({"": "a", "a": "b", "ab": "c"}), Budget(max_model_calls=2))

    assert outcome.stop is StopReason.MAX_MODEL_CALLS
    assert drawn(outcome) == "a\n  b"
    assert outcome.steps
    assert len(outcome.steps) == 2


async def test_a_turn_within_which_the_budget_ends_is_on_record(client: VirtualClient) -> None:
    """With the calls that were made, and what is said of the others."""
    reply = turn("a")
    twice = reply.model_copy(update={"tool_calls": reply.tool_calls * 2})

    outcome = await search(client, ScriptedModel([twice]), Budget(max_tool_calls=1))

    assert outcome.stop is StopReason.MAX_TOOL_CALLS
    assert outcome.steps
    assert len(outcome.steps) == 1
    assert outcome.messages
    assert [m.role for m in outcome.messages] == ["system", "user", "assistant", "tool", "tool"]
    assert outcome.messages[-1].content == "Not done: a budget is spent."


async def test_a_model_that_accepts_nothing_is_no_result(client: VirtualClient) -> None:
    """Nothing was searched."""
    with pytest.raises(RequestRefusedError):
        await search(client, model_of({"": "~"}))


async def test_former_children_are_shown(client: VirtualClient) -> None:
    """What they called and what they saw, with words that ask for something different."""
    model = model_of({"": "ab", "a": "!", "b": "="})

    await search(client, model)

    shown = model.requests[2].messages[-1].content or ""
    assert '1. current_for_sky_watch({"city": "a"}) → {"error":"No recorded response' in shown
    assert "Do something different now" in shown
    assert [message.role for message in model.requests[2].messages] == ["system", "user", "user"]


async def test_another_child_is_asked_for_with_another_seed(client: VirtualClient) -> None:
    """A fixed seed must not lead to the same child again."""
    model = model_of({"": "ab", "a": "!", "b": "="})

    await search(client, model, seed=100)

    assert [request.seed for request in model.requests] == [100, 100, 101, 100]


async def test_a_preference_for_a_place_is_no_preference(client: VirtualClient) -> None:
    """A model that always says A leaves the order as it was."""
    model = model_of({"": "ab", "a": "=x"})

    outcome = await search(client, model, ranking=True)

    assert outcome.steps
    assert outcome.steps[0].arguments == '{"city": "a"}'


async def test_a_path_is_a_conversation(client: VirtualClient) -> None:
    """The trajectory's messages are those of the answer's path alone."""
    outcome = await search(client, model_of({"": "ab", "a": "!", "b": "="}))

    assert outcome.messages
    assert [message.role for message in outcome.messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert isinstance(outcome.messages[-1], Message)
