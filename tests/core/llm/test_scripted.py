"""The scripted model answers by its script and nothing else."""

from __future__ import annotations

import pytest

from stb_core.llm.protocol import Reply, Request
from stb_core.llm.scripted import ScriptedModel
from stb_core.values.trajectories import Message


def asked(text: str) -> Request:
    return Request(messages=(Message(role="user", content=text),))


async def test_a_rule_answers_by_the_request() -> None:
    """The reply is a function of the request; each counts as one call."""
    model = ScriptedModel(lambda request: Reply(content=(request.messages[-1].content or "").upper()))

    reply = await model.complete(asked("well"))

    assert (reply.content, reply.usage.model_calls, len(model.requests)) == ("WELL", 1, 1)


async def test_a_sequence_of_replies_is_given_in_order() -> None:
    """A request after the last one is an error in the test."""
    model = ScriptedModel([Reply(content="one"), Reply(content="two")])

    said = [(await model.complete(asked("?"))).content for _ in range(2)]

    assert said == ["one", "two"]
    with pytest.raises(AssertionError, match="no further reply"):
        await model.complete(asked("?"))
