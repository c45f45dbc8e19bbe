"""Requests in OpenAI's format: what is sent of a conversation."""

from __future__ import annotations

import json

import pytest

from stb_core.llm.chat_format import message_body
from stb_core.values.trajectories import FunctionCall, Message


def sent(arguments: str) -> str:
    """What is sent as the arguments of an earlier call."""
    call = FunctionCall(id="1", name="f", arguments=arguments)
    text: str = message_body(Message(role="assistant", tool_calls=(call,)))["tool_calls"][0]["function"][
        "arguments"
    ]
    return text


@pytest.mark.parametrize("arguments", ["", " ", "\n", "null", " null "])
def test_no_arguments_are_sent_as_an_empty_object(arguments: str) -> None:
    """However the model wrote them."""
    assert sent(arguments) == "{}"


@pytest.mark.parametrize("arguments", ["{}", '{ "city" : "Oslo"}', '{"n": 123456789012345678901234567890}'])
def test_an_object_is_sent_as_it_was_written(arguments: str) -> None:
    """Byte for byte, so that a server that caches prompts finds this one again."""
    assert sent(arguments) == arguments


@pytest.mark.parametrize(
    "arguments", ['{"city": "Os', "Oslo", '"{}"', "[]", "3", "\ufeff{}", '{"a": NaN}', "```json\n{}\n```"]
)
def test_other_arguments_are_sent_inside_an_object(arguments: str) -> None:
    """The server can parse it, and the model sees what it wrote."""
    assert json.loads(sent(arguments)) == {"unreadable_arguments": arguments}
