"""The client of OpenAI-compatible endpoints, over real HTTP against a scripted server."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from llm_server import LLMServer, call, calls, drop, raw, status, text
from raw_server import reply, running_raw_server
from stb_core.errors import ModelUnavailableError, RequestRefusedError, UnreadableReplyError, UsageError
from stb_core.http import MAX_RESPONSE_BYTES
from stb_core.llm.concurrency import AdaptiveLimit
from stb_core.llm.openai_client import OpenAIModel
from stb_core.llm.protocol import Endpoint, Request
from stb_core.llm.retries import Patience
from stb_core.usage import Price, Usage
from stb_core.values.functions import FunctionSchema
from stb_core.values.trajectories import FunctionCall, Message

HASTY = Patience(deadline_s=120, first_wait_s=0.001, longest_wait_s=0.01)
KEY = "sk-very-secret-key"
SCHEMA = {
    "type": "object",
    "properties": {"status": {"type": "string", "enum": ["solved", "unsolved"]}},
    "required": ["status"],
    "additionalProperties": False,
}
ASKED = Request(messages=(Message(role="user", content="Well?"),))
ASKED_FOR_JSON = ASKED.model_copy(update={"response_schema": SCHEMA})


def model_at(url: str, **options: Any) -> OpenAIModel:
    endpoint = Endpoint(url, KEY, "STUB_BASE_URL", "STUB_API_KEY")
    return OpenAIModel("stub/any", endpoint, **{"patience": HASTY} | options)


class RecordingLimit(AdaptiveLimit):
    """Remembers for each answer whether it was a refusal."""

    def __init__(self, maximum: int) -> None:
        super().__init__(maximum)
        self.refusals: list[bool] = []

    def count_answer(self, *, refused: bool) -> None:
        self.refusals.append(refused)
        super().count_answer(refused=refused)


@pytest.fixture
async def model(llm: LLMServer) -> AsyncGenerator[OpenAIModel]:
    opened = model_at(llm.url)
    yield opened
    await opened.close()


async def test_a_reply_in_words(llm: LLMServer, model: OpenAIModel) -> None:
    """Content, tokens with the cached ones, and no cost without a price."""
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}}
    llm.answer(text("Hello.", usage=usage))

    reply = await model.complete(ASKED)

    assert reply.content == "Hello."
    assert reply.usage == Usage(model_calls=1, prompt_tokens=12, completion_tokens=3, cached_tokens=5)


async def test_a_reply_with_calls_keeps_the_arguments_as_they_were_written(
    llm: LLMServer, model: OpenAIModel
) -> None:
    """Arguments that are no JSON are the model's own output, and the agent's to deal with."""
    llm.answer(calls(("f", {"x": 1}), ("g", '{"torn')))

    reply = await model.complete(ASKED)

    assert reply.tool_calls == (
        FunctionCall(id="call_0_f", name="f", arguments='{"x": 1}'),
        FunctionCall(id="call_1_g", name="g", arguments='{"torn'),
    )
    assert llm.count == 1


async def test_the_request_is_sent_in_the_usual_form(llm: LLMServer, model: OpenAIModel) -> None:
    """Messages with calls and observations, functions, choice, and only the settings that were given."""
    asked = Request(
        messages=(
            Message(role="system", content="s"),
            Message(role="assistant", tool_calls=(FunctionCall(id="1", name="f", arguments="{}"),)),
            Message(role="tool", content="seen", tool_call_id="1", name="f"),
        ),
        functions=(FunctionSchema(name="f", description="d"),),
        tool_choice="f",
        temperature=0.0,
        max_tokens=9,
    )

    await model.complete(asked)

    schema = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
    made = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert llm.requests == [
        {
            "model": "any",
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "assistant", "content": None, "tool_calls": [made]},
                {"role": "tool", "content": "seen", "tool_call_id": "1"},
            ],
            "tools": [{"type": "function", "function": schema}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "temperature": 0.0,
            "max_tokens": 9,
        }
    ]


async def test_a_request_may_hold_any_number_and_any_text(llm: LLMServer, model: OpenAIModel) -> None:
    """Tools have defaults above 64 bits, and answers contain halves of surrogate pairs."""
    parameters = {"type": "object", "properties": {"id": {"type": "integer", "default": 2**70}}}
    torn = Message(role="user", content="\ud83d")
    llm.answer(text("Well."))

    await model.complete(
        Request(messages=(torn,), functions=(FunctionSchema(name="f", parameters=parameters),))
    )

    sent = llm.requests[0]
    assert sent["messages"][0]["content"] == "\ud83d"
    assert sent["tools"][0]["function"]["parameters"] == parameters


async def test_halves_of_surrogate_pairs_in_a_reply_are_replaced(llm: LLMServer, model: OpenAIModel) -> None:
    """The rest of the reply is used, and the request is not repeated."""
    llm.answer(text("half \ud83d"), text(r'{"why": "\ud83d"}'))
    free = ASKED.model_copy(update={"response_schema": {"type": "object"}})

    assert "half ?" == (await model.complete(ASKED)).content
    reply = await model.complete(free)

    assert ({"why": "?"}, 2) == (json.loads(reply.content or ""), llm.count)


async def test_a_prompt_is_continued(llm: LLMServer, model: OpenAIModel) -> None:
    """Models without a chat format are asked at /completions; the text is the reply's content."""
    llm.answer(text(" and so on."))

    reply = await model.complete(
        ASKED.model_copy(update={"prompt": "User: hello\nAssistant:", "stop": ("\n",)})
    )

    assert reply.content == " and so on."
    assert llm.requests == [
        {"model": "any", "prompt": "User: hello\nAssistant:", "max_tokens": 512, "stop": ["\n"]}
    ]


async def test_cost_is_counted_by_the_users_price(llm: LLMServer) -> None:
    """Tokens times price."""
    model = model_at(llm.url, price=Price(input=1.0, output=3.0))
    llm.answer(text("x", usage={"prompt_tokens": 1000, "completion_tokens": 1000}))

    reply = await model.complete(ASKED)
    await model.close()

    assert reply.usage.cost_usd == pytest.approx(0.004)


async def test_without_a_count_of_tokens_the_cost_is_unknown(llm: LLMServer) -> None:
    """Not zero."""
    model = model_at(llm.url, price=Price(input=1.0, output=3.0))
    llm.answer(text("x", usage=None))

    reply = await model.complete(ASKED)
    await model.close()

    assert reply.usage == Usage(model_calls=1)


@pytest.mark.parametrize(
    "trouble",
    [
        status(408),
        status(409),
        status(429, retry_after=0),
        status(500),
        status(503, retry_after=0.01),
        drop(),
        raw(b"<html>busy</html>"),
        raw(b'{"choices": []}'),
        raw(b'{"choices": [{"message": {"content": 7}}]}'),
        raw(b'{"choices": [{"message": nul'),
        raw(b""),
    ],
)
async def test_temporary_failures_are_retried(llm: LLMServer, model: OpenAIModel, trouble) -> None:
    """Overload, server errors, a broken connection, and bodies that are not a completion."""
    llm.answer(trouble, trouble, text("at last"))

    reply = await model.complete(ASKED)

    assert (reply.content, llm.count) == ("at last", 3)


async def test_retry_after_is_obeyed(llm: LLMServer, model: OpenAIModel) -> None:
    """The next attempt comes no sooner than the server requested."""
    llm.answer(status(429, retry_after=0.3), text("now"))

    before = asyncio.get_running_loop().time()
    await model.complete(ASKED)

    assert asyncio.get_running_loop().time() - before >= 0.3


async def test_a_silent_endpoint_is_not_waited_for_without_end(llm: LLMServer) -> None:
    """A read timeout is a temporary failure, until the deadline."""
    model = model_at(llm.url, patience=Patience(deadline_s=3, read_timeout_s=0.1, first_wait_s=0.001))
    llm.behaviour.latency_s = 600

    with pytest.raises(ModelUnavailableError, match=r"stub/any is not available: no answer within 0\.1 s"):
        await model.complete(ASKED)
    await model.close()

    assert llm.count >= 2


async def test_a_late_reply_is_told_and_counted_as_a_lower_bound(llm: LLMServer) -> None:
    """With as many tokens per byte as the replies before it had; the user hears what to turn."""
    said: list[str] = []
    patience = Patience(deadline_s=60, read_timeout_s=1, first_wait_s=0.001)
    model = model_at(llm.url, patience=patience, say=said.append, price=Price(input=1, output=1))
    usage = {"prompt_tokens": 12, "completion_tokens": 3}
    llm.rule = lambda _: text("a", usage=usage)
    first = await model.complete(ASKED)
    n_before = llm.count
    llm.rule = lambda _: text("a", usage=usage, delay_s=600 if llm.count == n_before + 1 else 0.0)

    second = await model.complete(ASKED)
    await model.close()

    late = second.usage.timed_out
    assert late >= 1
    assert llm.count == 2 + first.usage.timed_out + late
    assert (1, 12 * (1 + late), 3) == (
        second.usage.model_calls,
        second.usage.prompt_tokens,
        second.usage.completion_tokens,
    )
    assert pytest.approx((12 * (1 + late) + 3) / 1e6) == second.usage.cost_usd
    assert said[0].startswith("stub/any is slow: 1 request took longer than 1 s")
    assert "--max-connections" in said[0]


async def test_what_timed_out_before_the_endpoint_was_given_up_is_told(llm: LLMServer) -> None:
    """The error carries how many requests were late; their tokens are not known."""
    model = model_at(llm.url, patience=Patience(deadline_s=3, read_timeout_s=1, first_wait_s=0.001))
    llm.behaviour.latency_s = 600

    with pytest.raises(ModelUnavailableError) as caught:
        await model.complete(ASKED)
    await model.close()

    assert caught.value.usage is not None
    assert llm.count == caught.value.usage.timed_out
    assert 0 == caught.value.usage.total_tokens


async def test_what_timed_out_before_a_refusal_is_told(llm: LLMServer) -> None:
    """The endpoint has worked for it, and a limit on tokens or cost has to know."""
    model = model_at(llm.url, patience=Patience(deadline_s=60, read_timeout_s=1, first_wait_s=0.001))
    refused = status(400, "the context is too long")
    llm.rule = lambda _: text("a", delay_s=600) if llm.count == 1 else refused

    with pytest.raises(RequestRefusedError) as caught:
        await model.complete(ASKED)
    await model.close()

    assert caught.value.usage is not None
    assert caught.value.usage.timed_out >= 1


async def test_an_error_within_a_200_is_one_answer(llm: LLMServer) -> None:
    """As the same error with its own status: the share of refusals, which lowers the limit, is that of the answers."""
    body = json.dumps({"error": {"message": "slow down", "code": 429}}).encode()
    within, own = RecordingLimit(8), RecordingLimit(8)
    for limit, answer in ((within, raw(body)), (own, status(429, "slow down"))):
        model = model_at(llm.url, concurrency=limit)
        llm.answer(answer, answer, text("a"))
        await model.complete(ASKED)
        await model.close()

    assert [True, True, False] == own.refusals == within.refusals


async def test_an_exhausted_quota_is_not_repeated(llm: LLMServer, model: OpenAIModel) -> None:
    """Waiting does not help against that 429."""
    body = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    llm.answer(raw(json.dumps(body).encode(), 429))

    with pytest.raises(ModelUnavailableError, match="You exceeded your quota"):
        await model.complete(ASKED)

    assert llm.count == 1


@pytest.mark.parametrize("code", [400, 413, 422])
async def test_a_refused_request_is_not_repeated(llm: LLMServer, model: OpenAIModel, code: int) -> None:
    """It is this request's fault, and the reason is passed on."""
    llm.answer(status(code, "the context is too long"))

    with pytest.raises(RequestRefusedError, match=f"HTTP {code}, the context is too long"):
        await model.complete(ASKED)

    assert llm.count == 1


async def test_a_refused_key_names_its_variable_and_not_itself(llm: LLMServer, model: OpenAIModel) -> None:
    """The server's text, which repeats the key, is not passed on."""
    llm.behaviour.required_key = "another"

    with pytest.raises(ModelUnavailableError) as caught:
        await model.complete(ASKED)

    assert str(caught.value) == (
        "stub/any is not available: the key was refused with HTTP 401. Check STUB_API_KEY."
    )


async def test_secrets_are_in_no_error_and_no_log(
    llm: LLMServer, model: OpenAIModel, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that repeats the key in its errors does not get it into ours."""
    caplog.set_level(logging.DEBUG)
    llm.answer(status(503, f"{KEY} is overloaded", retry_after=0), status(400, f"bad request by {KEY}"))

    with pytest.raises(RequestRefusedError) as caught:
        await model.complete(ASKED)

    assert KEY not in str(caught.value)
    assert KEY not in caplog.text
    assert all(KEY not in str(vars(record)) for record in caplog.records if record.name.startswith("stb_"))


@pytest.mark.parametrize("spelled", [str, lambda key: "".join(f"\\u{ord(char):04x}" for char in key)])
async def test_a_reply_that_repeats_the_key_is_masked(
    llm: LLMServer, model: OpenAIModel, spelled: Callable[[str], str]
) -> None:
    """However it is spelled: what a model says is recorded, shown and published."""
    said = f'{{"choices": [{{"message": {{"content": "I was asked with {spelled(KEY)}."}}}}], "usage": null}}'
    llm.answer(raw(said.encode()))

    reply = await model.complete(ASKED)

    assert "I was asked with ***." == reply.content


async def test_an_endpoint_that_is_not_there_is_named(llm: LLMServer) -> None:
    """The address, and the variable that holds it."""
    model = model_at("http://127.0.0.1:9/v1", patience=Patience(deadline_s=5, first_wait_s=0.001))

    with pytest.raises(ModelUnavailableError) as caught:
        await model.complete(ASKED)
    with pytest.raises(ModelUnavailableError, match="cannot be reached"):
        await model.check()
    await model.close()

    assert "http://127.0.0.1:9/v1 cannot be reached" in caught.value.message
    assert "STUB_BASE_URL" in caught.value.hint


async def test_a_response_that_is_too_long_is_an_error_at_once(llm: LLMServer, model: OpenAIModel) -> None:
    """A broken or hostile endpoint fills no memory, and is not asked again."""
    llm.answer(raw(b" " * (MAX_RESPONSE_BYTES + 1)))

    with pytest.raises(
        ModelUnavailableError, match=f"the response is longer than {MAX_RESPONSE_BYTES} bytes"
    ):
        await model.complete(ASKED)

    assert llm.count == 1


async def test_a_redirect_is_followed(llm: LLMServer) -> None:
    """To where the endpoint has moved, with the body."""
    moved = reply("308 Permanent Redirect", Location=f"{llm.url}/chat/completions")
    async with running_raw_server(**{"chat/completions": moved}) as server:
        model = model_at(server.url)
        llm.answer(text("Hello."))
        assert "Hello." == (await model.complete(ASKED)).content
        await model.close()

    assert "authorization" not in llm.headers[0]


async def test_checking_an_endpoint_asks_no_model(llm: LLMServer, model: OpenAIModel) -> None:
    """It costs nothing."""
    await model.check()

    assert llm.count == 0


async def test_no_more_requests_are_in_flight_than_the_limit_allows(llm: LLMServer) -> None:
    """All models that share the limit count."""
    limit = AdaptiveLimit(3)
    models = [model_at(llm.url, concurrency=limit) for _ in range(2)]
    llm.behaviour.latency_s = 0.1

    await asyncio.gather(*(models[n % 2].complete(ASKED) for n in range(9)))
    for model in models:
        await model.close()

    assert (llm.count, llm.max_in_flight) == (9, 3)


async def test_an_endpoint_that_says_too_many_is_asked_by_fewer(llm: LLMServer) -> None:
    """The limit falls in a storm, and every request is answered after it."""
    limit = AdaptiveLimit(32)
    model = model_at(llm.url, concurrency=limit)
    llm.behaviour.rate_limit_share = 0.95

    asked = [asyncio.create_task(model.complete(ASKED)) for _ in range(32)]
    await until(lambda: limit.allowed <= 4)
    llm.behaviour.rate_limit_share = 0
    replies = await asyncio.gather(*asked)
    await model.close()

    assert len(replies) == 32


async def test_a_storm_is_survived(llm: LLMServer) -> None:
    """A third of the answers 429, some broken: every request is answered in the end."""
    model = model_at(llm.url)
    behaviour = llm.behaviour
    behaviour.rate_limit_share, behaviour.malformed_share, behaviour.drop_share = 0.35, 0.05, 0.05

    replies = await asyncio.gather(*(model.complete(ASKED) for _ in range(60)))
    await model.close()

    assert {reply.content for reply in replies} == {text_of(llm)}


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - it comes about in many small steps
        await asyncio.sleep(0.005)


def text_of(llm: LLMServer) -> str:
    answer = llm.rule(llm.requests[0]).message
    assert answer
    return str(answer["content"])


async def test_structured_output_by_schema(llm: LLMServer, model: OpenAIModel) -> None:
    """The schema is sent, strictly where it allows that, and the content is the object."""
    reply = await model.complete(ASKED_FOR_JSON)

    assert json.loads(reply.content or "") == {"status": "solved"}
    assert llm.requests[0]["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
    }


@pytest.mark.parametrize(
    ("refused", "kinds"),
    [
        ({"json_schema"}, ["json_schema", "json_object", "json_object"]),
        ({"json_schema", "json_object"}, ["json_schema", "json_object", None, None]),
    ],
)
async def test_a_format_that_the_endpoint_refuses_is_tried_once(
    llm: LLMServer, model: OpenAIModel, refused: set[str], kinds: list[str | None]
) -> None:
    """The next one down is proven by its answer and used from then on, the schema in the prompt."""
    llm.behaviour.refused_formats = frozenset(refused)
    llm.rule = lambda _: text('Gladly: {"status": "unsolved"}')

    replies = [await model.complete(ASKED_FOR_JSON) for _ in range(2)]

    assert [json.loads(r.content or "") for r in replies] == [{"status": "unsolved"}] * 2
    assert [(r.get("response_format") or {}).get("type") for r in llm.requests] == kinds
    assert '"enum":["solved","unsolved"]' in llm.requests[-1]["messages"][-1]["content"]


async def test_a_format_that_the_endpoint_ignores_is_given_up(llm: LLMServer, model: OpenAIModel) -> None:
    """After a reply without JSON the schema goes into the prompt. Both replies are counted."""
    llm.behaviour.ignored_formats = frozenset({"json_schema"})
    llm.rule = lambda _: text('{"status": "solved"}')

    reply = await model.complete(ASKED_FOR_JSON)
    await model.complete(ASKED_FOR_JSON)

    kinds = [request["response_format"]["type"] for request in llm.requests]
    assert kinds == ["json_schema", "json_object", "json_object"]
    assert (reply.usage.model_calls, reply.repeats) == (2, 1)


async def test_one_bad_reply_does_not_rule_a_format_out(llm: LLMServer, model: OpenAIModel) -> None:
    """After half an object the request is repeated in the same format."""
    llm.answer(text('{"status": "sol'))

    await model.complete(ASKED_FOR_JSON)

    assert [request["response_format"]["type"] for request in llm.requests] == ["json_schema"] * 2


async def test_a_repeated_server_error_on_a_format_counts_as_a_refusal(
    llm: LLMServer, model: OpenAIModel
) -> None:
    """Some servers answer 500 if they do not know the response_format."""

    def rule(body: dict[str, Any]):
        kind = (body.get("response_format") or {}).get("type")
        return status(500, "KeyError") if kind == "json_schema" else text('{"status": "solved"}')

    llm.rule = rule

    reply = await model.complete(ASKED_FOR_JSON)

    assert json.loads(reply.content or "") == {"status": "solved"}
    assert llm.count == 3


async def test_a_format_is_given_up_after_two_replies_that_do_not_fit(
    llm: LLMServer, model: OpenAIModel
) -> None:
    """An endpoint may ignore the schema and still write JSON; then the schema goes into the prompt."""
    llm.answer(text('{"result": 1}'), text('{"result": 1}'), text('{"status": "solved"}'))

    await model.complete(ASKED_FOR_JSON)

    kinds = [request["response_format"]["type"] for request in llm.requests]
    assert kinds == ["json_schema", "json_schema", "json_object"]


@pytest.mark.parametrize(
    ("temperature", "seed", "asked"),
    [
        (0.0, 7, [(0.0, 7), (0.7, 1_000_007), (0.7, 2_000_007)]),
        (1.0, None, [(1.0, None), (1.0, 1_000_000), (1.0, 2_000_000)]),
        (None, None, [(None, None), (None, 1_000_000), (None, 2_000_000)]),
    ],
)
async def test_every_repeat_is_another_request(
    llm: LLMServer, model: OpenAIModel, temperature: float | None, seed: int | None, asked: list[Any]
) -> None:
    """It has another seed, and a temperature above zero where one is set; a third one is the last."""
    await model.complete(ASKED_FOR_JSON)  # the format is proven
    llm.requests.clear()
    llm.rule = lambda _: text('{"status": "perhaps"}')

    with pytest.raises(UnreadableReplyError) as caught:
        await model.complete(ASKED_FOR_JSON.model_copy(update={"temperature": temperature, "seed": seed}))

    assert [(request.get("temperature"), request.get("seed")) for request in llm.requests] == asked
    assert caught.value.usage
    assert caught.value.usage.model_calls == 3


async def test_a_second_reply_that_is_cut_is_the_last(llm: LLMServer, model: OpenAIModel) -> None:
    """The longest replies cost most, and the limit would probably cut the next one too."""
    llm.rule = lambda _: text('{"status": "sol', finish_reason="length")

    with pytest.raises(UnreadableReplyError):
        await model.complete(ASKED_FOR_JSON)

    assert llm.count == 2


async def test_if_a_repeat_is_refused_the_first_failure_is_reported(
    llm: LLMServer, model: OpenAIModel
) -> None:
    """The endpoint may accept no seed; the fault was in the reply, which was paid for."""
    await model.complete(ASKED_FOR_JSON)
    llm.rule = lambda body: status(400, "no seed, please") if "seed" in body else text("{}")

    with pytest.raises(UnreadableReplyError) as caught:
        await model.complete(ASKED_FOR_JSON)

    assert caught.value.reply == "{}"
    assert caught.value.usage
    assert caught.value.usage.model_calls == 1


async def test_an_error_carries_the_cost_of_earlier_replies(llm: LLMServer, model: OpenAIModel) -> None:
    """The key is refused after an unusable reply: the error has the reply's tokens."""
    llm.answer(text("{", usage={"prompt_tokens": 100, "completion_tokens": 20}), status(401, "bad key"))

    with pytest.raises(ModelUnavailableError) as caught:
        await model.complete(ASKED_FOR_JSON)

    assert caught.value.usage == Usage(model_calls=1, prompt_tokens=100, completion_tokens=20)


async def test_unreadable_bodies_are_requested_three_times(llm: LLMServer, model: OpenAIModel) -> None:
    """In total for one answer, as each may have been paid for."""
    llm.rule = lambda _: raw(b'{"choices": [{"mess')

    with pytest.raises(ModelUnavailableError):
        await model.complete(ASKED)

    assert llm.count == 3


async def test_a_schema_that_cannot_be_checked_is_not_sent(llm: LLMServer, model: OpenAIModel) -> None:
    """Nothing is paid for a reply that could not be checked."""
    schema = {"type": "object", "properties": {"day": {"type": "string", "pattern": "^[0-9]+$"}}}

    with pytest.raises(UsageError, match="'pattern'"):
        await model.complete(ASKED.model_copy(update={"response_schema": schema}))

    assert llm.count == 0


async def test_replies_without_json_end_in_an_error_with_the_last_one(
    llm: LLMServer, model: OpenAIModel
) -> None:
    """After three replies."""
    llm.rule = lambda _: text("I would rather not.")

    with pytest.raises(UnreadableReplyError) as caught:
        await model.complete(ASKED_FOR_JSON)

    assert (caught.value.reply, llm.count) == ("I would rather not.", 3)


async def test_a_refusal_in_every_format_gives_the_first_reason(llm: LLMServer, model: OpenAIModel) -> None:
    """The request itself was at fault."""
    llm.rule = lambda _: status(400, "the context is too long")

    with pytest.raises(RequestRefusedError, match="the context is too long"):
        await model.complete(ASKED_FOR_JSON)


async def test_settings_for_openai_are_not_sent_elsewhere(
    llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other providers do not learn the organisation and project that are set for OpenAI."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-mine")
    model = model_at(llm.url)
    llm.answer(call("f"))

    await model.complete(ASKED)
    await model.close()

    assert "mine" not in str(llm.headers)


async def test_a_conversation_that_is_too_long_may_be_answered_with_500(
    llm: LLMServer, model: OpenAIModel
) -> None:
    """The words tell; such a request is not repeated until the deadline."""
    llm.answer(status(500, "the request exceeds the available context size, try increasing it"))

    with pytest.raises(RequestRefusedError) as refused:
        await model.complete(ASKED)

    assert (refused.value.reason, llm.count) == ("context_exceeded", 1)


async def test_an_error_with_status_200_is_treated_by_its_code(llm: LLMServer, model: OpenAIModel) -> None:
    """A passing one is waited out, and a lasting one has the endpoint's words."""
    passing, lasting = (
        raw(json.dumps({"error": {"message": words, "code": code}}).encode())
        for words, code in (("overloaded", 503), ("No such model", 404))
    )
    llm.answer(passing, text("Yes."), lasting)

    assert (await model.complete(ASKED)).content == "Yes."
    with pytest.raises(ModelUnavailableError, match="HTTP 404, No such model"):
        await model.complete(ASKED)


async def test_a_reply_that_a_filter_took_away_is_a_refusal(llm: LLMServer, model: OpenAIModel) -> None:
    """It was paid for; a reply of which something is left is a reply."""
    llm.answer(text(None, finish_reason="content_filter"), text("Yes", finish_reason="content_filter"))

    with pytest.raises(RequestRefusedError) as refused:
        await model.complete(ASKED)

    assert (refused.value.reason, refused.value.usage and refused.value.usage.model_calls) == (
        "content_filter",
        1,
    )
    assert (await model.complete(ASKED)).content == "Yes"
