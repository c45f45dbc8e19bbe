"""Why an endpoint refused a request: told from the codes and the words of those that people use."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from llm_server import LLMServer, raw, status
from stb_core.errors import ModelUnavailableError, RequestRefusedError
from stb_core.llm.openai_client import OpenAIModel
from stb_core.llm.protocol import Endpoint, Request
from stb_core.llm.refusals import reason_of
from stb_core.values.trajectories import Message

ASKED = Request(messages=(Message(role="user", content="Rain?"),))

TOO_LONG: list[Any] = [
    {"message": "Too long.", "type": "invalid_request_error", "code": "context_length_exceeded"},
    {
        "message": "This model's maximum context length is 4096 tokens. However, your request has 5120 "
        "input tokens. Please reduce the length of the input messages.",
        "type": "BadRequestError",
        "code": 400,
    },
    {"message": "The decoder prompt (length 5120) is longer than the maximum model length of 4096."},
    {
        "code": 400,
        "message": "the request exceeds the available context size, try increasing it",
        "type": "exceed_context_size_error",
    },
    {"message": "The input (5120 tokens) is longer than the model's context length (4096 tokens)."},
    {"message": "the input length exceeds the context length"},
    {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"},
    {"message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."},
    "<html><head><title>413 Request Entity Too Large</title></head></html>",
]
FILTERED: list[Any] = [
    {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content "
        "management policy.",
        "type": None,
        "code": "content_filter",
        "innererror": {"code": "ResponsibleAIPolicyViolation"},
    },
    {"message": "Blocked.", "innererror": {"code": "ResponsibleAIPolicyViolation"}},
    {"message": "Invalid prompt: your prompt was flagged as potentially violating our usage policy."},
    {"message": "Input data may contain inappropriate content.", "code": "data_inspection_failed"},
    {"message": "Content Exists Risk", "type": "invalid_request_error"},
]
OTHER: list[Any] = [
    {"message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'},
    {"message": "Unsupported value: 'temperature' does not support 0.7 with this model."},
    {"message": "llama2 does not support tools", "type": "api_error", "code": None},
    {"message": "Request too large for model on tokens per minute (TPM)", "code": "rate_limit_exceeded"},
    [{"loc": ["body", "seed"], "msg": "extra fields not permitted"}],
    None,
]


@pytest.fixture
async def model(llm: LLMServer) -> AsyncGenerator[OpenAIModel]:
    """A model at the scripted server."""
    opened = OpenAIModel("stub/any", Endpoint(llm.url, None, "STUB_BASE_URL", "STUB_API_KEY"))
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    ("reason", "body"),
    [
        *(("context_exceeded", body) for body in TOO_LONG),
        *(("content_filter", body) for body in FILTERED),
        *(("", body) for body in OTHER),
    ],
)
def test_the_reason_of_a_refusal(reason: str, body: Any) -> None:
    """Too long, filtered, or anything else."""
    assert reason_of(body) == reason


async def test_the_reason_is_part_of_the_error(llm: LLMServer, model: OpenAIModel) -> None:
    """The caller can decide what to do."""
    llm.answer(raw(b'{"error": {"message": "no", "code": "context_length_exceeded"}}', 400))

    with pytest.raises(RequestRefusedError) as caught:
        await model.complete(ASKED)

    assert caught.value.reason == "context_exceeded"


async def test_a_conversation_that_is_too_long_is_not_sent_in_other_formats(
    llm: LLMServer, model: OpenAIModel
) -> None:
    """None of them makes it shorter."""
    llm.rule = lambda _: status(400, "This model's maximum context length is 4096 tokens.")

    with pytest.raises(RequestRefusedError):
        await model.complete(ASKED.model_copy(update={"response_schema": {"type": "object"}}))

    assert llm.count == 1


async def test_an_account_without_money_is_an_outage(llm: LLMServer, model: OpenAIModel) -> None:
    """Some endpoints answer 400 to it, as if the request were at fault."""
    llm.answer(status(400, "Your credit balance is too low to access the API."))

    with pytest.raises(ModelUnavailableError, match="Your credit balance is too low"):
        await model.complete(ASKED)
