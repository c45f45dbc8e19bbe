"""Finds out with one request how a model answers where a function is offered, as agents offer theirs."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from stb_core.errors import RequestRefusedError
from stb_core.llm.protocol import Model, Reply, Request
from stb_core.llm.structured_output import without_thinking
from stb_core.llm.text_calls import written_calls
from stb_core.usage import Usage
from stb_core.values import FunctionSchema, Message

_WEATHER = FunctionSchema(
    name="read_weather",
    description="The weather of a city now.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
_QUESTION = Request(
    messages=(Message(role="user", content="What is the weather in Bonn? Call the function to find out."),),
    functions=(_WEATHER,),
    tool_choice="auto",
    max_tokens=512,  # a model that thinks first needs some room
    temperature=0,
)


class CallForm(StrEnum):
    """How a model called the function that it was offered."""

    CALLS = "it calls functions"
    TEXT = "it writes calls as text, which its server's tool-call parser does not read"
    WORDS = "it answers in words where a function was to be called"
    THOUGHTS = "its reply holds only thoughts"
    EMPTY = "its reply is empty"
    REFUSED = "the endpoint refuses requests with functions"


class FunctionProbe(NamedTuple):
    """What was found: the form, the endpoint's words where it refused, and what the request consumed.

    ``thinks`` says that the model wrote thoughts before.
    """

    form: CallForm
    reason: str = ""
    usage: Usage = Usage()
    thinks: bool = False


async def probe_function_calls(model: Model) -> FunctionProbe:
    """Offer a model one function and ask it to call it.

    Raises:
        ModelUnavailableError: the model gave no reply.
    """
    try:
        reply = await model.complete(_QUESTION)
    except RequestRefusedError as problem:
        return FunctionProbe(CallForm.REFUSED, problem.message.rstrip("."), problem.usage or Usage())
    text = reply.content or ""
    thinks = bool(reply.thoughts) or without_thinking(text) != text
    return FunctionProbe(_form_of(reply), usage=reply.usage, thinks=thinks)


def _form_of(reply: Reply) -> CallForm:
    if any(made.name == _WEATHER.name for made in reply.tool_calls):
        return CallForm.CALLS
    text = reply.content or ""
    if written_calls(text, {_WEATHER.name}):
        return CallForm.TEXT
    if without_thinking(text).strip():
        return CallForm.WORDS
    return CallForm.THOUGHTS if reply.thoughts or text.strip() else CallForm.EMPTY
