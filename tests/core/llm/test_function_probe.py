"""One request tells how a model calls functions."""

from __future__ import annotations

import json

import pytest

from llm_server import Answer, LLMServer, call, llm, llm_server, status, text
from stb_core.llm.function_probe import CallForm, probe_function_calls
from stb_core.llm.openai_client import OpenAIModel
from stb_core.llm.protocol import Endpoint

__all__ = ["llm", "llm_server"]

_WRITTEN = json.dumps({"name": "read_weather", "arguments": {"city": "Bonn"}})


@pytest.mark.parametrize(
    ("answer", "form", "thinks"),
    [
        (call("read_weather", city="Bonn"), CallForm.CALLS, False),
        (text(f"```json\n{_WRITTEN}\n```"), CallForm.TEXT, False),
        (text(f"<think>Hm.</think>{_WRITTEN}"), CallForm.TEXT, True),
        (text("It is sunny."), CallForm.WORDS, False),
        (text(f"<think>Perhaps {_WRITTEN}", finish_reason="length"), CallForm.THOUGHTS, True),
        (Answer({"content": None, "reasoning_content": "Let me think."}), CallForm.THOUGHTS, True),
        (Answer({"content": "", "reasoning": "Let me think."}), CallForm.THOUGHTS, True),
        (text(None), CallForm.EMPTY, False),
        (text(" "), CallForm.EMPTY, False),
        (status(400, "no functions"), CallForm.REFUSED, False),
    ],
)
async def test_it_tells_how_a_function_is_called(
    llm: LLMServer, answer: Answer, form: CallForm, *, thinks: bool
) -> None:
    """With one request, as agents make it; what the endpoint said where it refused, and the tokens."""
    llm.answer(answer)
    model = OpenAIModel("stub/any", Endpoint(llm.url, None, "URL", "KEY"))

    probe = await probe_function_calls(model)
    await model.close()

    assert (form, thinks) == (probe.form, probe.thinks)
    assert ["auto"] == [request["tool_choice"] for request in llm.requests]
    assert ("no functions" in probe.reason) == (form is CallForm.REFUSED)
    assert bool(probe.usage.prompt_tokens) == (form is not CallForm.REFUSED)
