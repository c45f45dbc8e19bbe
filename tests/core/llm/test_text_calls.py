"""Calls that a model wrote as text are read, and nothing else is taken for a call."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_core.llm.protocol import Reply
from stb_core.llm.text_calls import with_text_calls, written_calls
from stb_core.values.trajectories import FunctionCall

KNOWN = {"read_weather", "search", "Finish"}
CALL = '{"name": "read_weather", "arguments": {"city": "Bonn"}}'


@pytest.mark.parametrize(
    "thought",
    [
        f"<think>Maybe {CALL}",
        'Maybe <function=read_weather>{"city": "Bonn"}</function>? No.</think>I cannot do it.',
        '<think>Maybe <function=read_weather>{"city": "Bonn"}</function> hm',
    ],
)
def test_no_call_is_read_out_of_a_thought(thought: str) -> None:
    """Also out of one without an end, or whose beginning stands in the prompt."""
    assert () == written_calls(thought, KNOWN)


@pytest.mark.parametrize("thought", ["plan [1]</think>\n", "<think>plan [1]</think>\n"])
def test_a_call_after_a_thought_is_read(thought: str) -> None:
    """In Python's notation too; the thought stays in the content."""
    reply = with_text_calls(Reply(content=f"{thought}read_weather(city='Bonn')"), KNOWN)

    assert ["read_weather"] == [call.name for call in reply.tool_calls]


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        f"I look it up.\n```json\n{CALL}\n```",
        f"<tool_call>\n{CALL}\n</tool_call>",
        f"[TOOL_CALLS][{CALL}]",
        f'<think>maybe {{"name": "search", "arguments": {{}}}}</think>\n{CALL}',
        '{"type": "function", "function": {"name": "read_weather", "arguments": {"city": "Bonn"}}}',
        '{"name": "read_weather", "parameters": {"city": "Bonn"}}',
        f'{{"tool_calls": [{CALL}]}}',
        '<function=read_weather>{"city": "Bonn"}</function>',
        "[read_weather(city='Bonn')]",
        "```python\nread_weather(city='Bonn')\n```",
    ],
)
def test_one_call_is_read_in_each_form(text: str) -> None:
    """With its arguments as JSON."""
    (call,) = written_calls(text, KNOWN)

    assert ("read_weather", {"city": "Bonn"}) == (call.name, json.loads(call.arguments))


def test_several_calls_keep_their_order_and_finish_may_be_written_in_any_case() -> None:
    """A list, or one block after the other."""
    both = f'{CALL} and {{"name": "search", "arguments": "{{}}"}}'
    end = '{"name": "finish", "arguments": {"return_type": "give_up_and_restart"}}'

    assert ["read_weather", "search"] == [call.name for call in written_calls(both, KNOWN)]
    assert ["Finish"] == [call.name for call in written_calls(end, KNOWN)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I would call read_weather(city='Bonn') now.",
        '{"name": "rm", "arguments": {}, "why": "x"}',
        '{"name": "rm", "arguments": "all"}',
        '{"name": "rm"}',
        '{"name": "", "arguments": {}}',
        '{"city": "Bonn"}',
        '{"name": "read_weather", "arguments": [1]}',
        "read_weather('Bonn')",
        "__import__('os').system('x')",
        "[read_weather(city=open('x'))]",
        f"<think>{CALL}",
        CALL + " " * 20_001,
    ],
)
def test_other_text_is_no_call(text: str) -> None:
    """Words about a call, unknown functions, and code."""
    assert () == written_calls(text, KNOWN)


@pytest.mark.parametrize("members", ["arguments", "parameters"])
def test_a_made_up_name_in_nothing_but_a_call_is_a_call(members: str) -> None:
    """As a server would read it, so that the model is told which functions there are."""
    (call,) = written_calls(json.dumps({"name": "Find Concerts", members: {"city": "Bonn"}}), KNOWN)

    assert ("Find Concerts", '{"city": "Bonn"}') == (call.name, call.arguments)


@given(st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    """Nothing is raised."""
    written_calls(text, KNOWN)


def test_a_reply_keeps_the_words_before_its_calls() -> None:
    """And real calls are left alone."""
    reply = with_text_calls(Reply(content=f"I look.\n```json\n{CALL}\n```"), KNOWN)
    called = Reply(content=CALL, tool_calls=(FunctionCall(id="1", name="search", arguments="{}"),))

    assert ("I look.", "read_weather") == (reply.content, reply.tool_calls[0].name)
    assert called == with_text_calls(called, KNOWN)
    assert Reply(content="Hm.") == with_text_calls(Reply(content="Hm."), KNOWN)
