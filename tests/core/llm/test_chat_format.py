"""Requests in OpenAI's format: what is sent of a conversation."""

from __future__ import annotations

import json

import pytest

from stb_core.llm.chat_format import message_body, read_reply, request_body, status_of_error
from stb_core.llm.protocol import Request
from stb_core.usage import Price
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


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("search_for_inns", "search_for_inns"),
        ("functions.search", "functions_search"),
        (" search\n", "_search_"),
        ("suche Gästehäuser", "suche_G_steh_user"),
        ("f" * 80, "f" * 64),
        ("", "unnamed"),
    ],
)
def test_a_name_is_sent_as_every_server_takes_it(name: str, legal: str) -> None:
    """A name that the model made up would make a server refuse the whole conversation."""
    call = FunctionCall(id="1", name=name, arguments="{}")

    assert (
        message_body(Message(role="assistant", tool_calls=(call,)))["tool_calls"][0]["function"]["name"]
        == legal
    )


def completion(message: object = None, **more: object) -> bytes:
    """A completion with this message."""
    choice = {"index": 0, "message": message or {"role": "assistant", "content": "Yes."}}
    return json.dumps({"choices": [choice], **more}).encode()


@pytest.mark.parametrize("arguments", ['{"city": "Oslo"}', "", None])
def test_a_call_in_the_older_form_is_a_call(arguments: str | None) -> None:
    """It is sent back, and answered, in the form in which its server wrote it."""
    reply = read_reply(completion({"content": None, "function_call": {"name": "f", "arguments": arguments}}))
    (call,) = reply.tool_calls
    result = Message(role="tool", content="Ten.", tool_call_id=call.id, name="f")

    body = request_body(Request(messages=(reply.as_message(), result)), "stub/any")

    assert call.arguments == (arguments or "")
    assert body["messages"] == [
        {
            "role": "assistant",
            "content": None,
            "function_call": {"name": "f", "arguments": arguments or "{}"},
        },
        {"role": "function", "name": "f", "content": "Ten."},
    ]


def test_a_call_in_todays_form_is_stored_as_before() -> None:
    """What marks the older form is left out, so that older bundles stay the same bytes."""
    call = FunctionCall(id="1", name="f", arguments="{}")

    assert call.model_dump() == {"id": "1", "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"usage": {"prompt_tokens": 7.0, "completion_tokens": "3.0"}}, 10),
        ({"usage": {"prompt_tokens": "7", "completion_tokens": 3}}, 10),
        ({"usage": {"prompt_tokens": -7, "completion_tokens": 3, "prompt_tokens_details": 1}}, 3),
        ({"usage": {"prompt_tokens": True, "completion_tokens": "many"}}, 0),
        ({"usage": {"prompt_tokens": 1e300, "completion_tokens": "nan"}}, 0),
        ({"x_groq": {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}}, 10),
        ({"usage": [1]}, 0),
        ({}, 0),
    ],
)
def test_tokens_are_counted_however_they_are_written(usage: dict[str, object], tokens: int) -> None:
    """A count that means nothing is none, and never makes a reply unreadable."""
    reply = read_reply(completion(**usage), Price(input=1, output=1))

    assert (reply.content, reply.usage.total_tokens, reply.usage.model_calls) == ("Yes.", tokens, 1)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": {"message": "No endpoints found", "code": 404}}, 404),
        ({"error": {"message": "overloaded", "code": "overloaded"}}, 502),
        ({"error": "overloaded"}, 502),
        ({"choices": [{"error": {"code": 429, "message": "slow down"}, "message": {"content": ""}}]}, 429),
        ({"choices": [{"message": {"content": "error"}}]}, None),
        ({"error": None, "choices": []}, None),
        ([], None),
    ],
)
def test_an_error_that_was_sent_as_an_answer_is_an_error(body: object, status: int | None) -> None:
    """With the status that it names, else as that of a gateway."""
    assert status_of_error(json.dumps(body).encode()) == status


def test_words_that_refuse_are_words() -> None:
    """A model that declines says so in a member of its own."""
    assert read_reply(completion({"content": None, "refusal": "I cannot."})).content == "I cannot."


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_are_kept_apart_from_the_reply(name: str) -> None:
    """They are no part of its words, and a reply without any is written as before."""
    thinking = read_reply(completion({"content": "Four.", name: "Two and two."}))
    plain = read_reply(completion({"content": "Four.", name: None}))

    assert ("Four.", "Two and two.") == (thinking.content, thinking.thoughts)
    assert "thoughts" not in plain.model_dump_json()
