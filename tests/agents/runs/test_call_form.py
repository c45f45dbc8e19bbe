"""``--text-calls auto``: the model is asked once, and the run records what was found."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from llm_server import Answer, LLMServer, obliging, text
from stb_agents.runs.request import RunRequest
from stb_agents.runs.run import forecast_run, run_agent
from stb_core.settings import Settings

_FINISH = {"name": "Finish", "arguments": {"return_type": "give_answer", "final_answer": "Here."}}


def writing(body: dict[str, object]) -> Answer:
    """A model whose calls its server does not read."""
    is_probe = "read_weather" in json.dumps(body["tools"])
    called = {"name": "read_weather", "arguments": {"city": "Bonn"}} if is_probe else _FINISH
    return text(f"```json\n{json.dumps(called)}\n```")


@pytest.fixture
def settings(sqlite_store_url: str, llm: LLMServer) -> Settings:
    """Where the store and the model are."""
    return Settings(sqlite_store_url, {}, {"STUB_BASE_URL": llm.url})


async def test_calls_written_as_text_are_found_and_read(
    settings: Settings, world_url: str, llm: LLMServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command goes on with the run and asks nothing; a run in which they were not read decides nothing."""
    llm.rule = writing
    auto = RunRequest("cot", "world", "stub/any", limit=1, server=world_url, text_calls="auto")

    silent = await run_agent(settings, replace(auto, text_calls="off"), quiet=True)
    before = llm.count
    outcome = await run_agent(settings, auto, quiet=True)
    asked = llm.count
    again = await run_agent(settings, auto, quiet=True)

    assert {"no_finish": 2} == dict(silent.summary.tallies[-1].stops)
    assert {"answered": 2} == dict(outcome.summary.tallies[-1].stops)
    assert "auto: on" == outcome.run.manifest.model_settings["text_calls"]
    assert outcome.run.run == again.run.run != silent.run.run
    assert (asked - before, asked) == (3, llm.count)
    told = capsys.readouterr().err
    assert 1 == told.count("it writes calls as text")
    assert "The run has --text-calls on." in told


async def test_a_model_that_calls_functions_needs_nothing(
    settings: Settings, world_url: str, llm: LLMServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that is set up otherwise later makes no other run of it."""
    llm.rule = obliging
    auto = RunRequest("cot", "world", "stub/any", limit=1, server=world_url, text_calls="auto")

    outcome = await run_agent(settings, auto, quiet=True)
    llm.rule = writing
    again = await run_agent(settings, auto, quiet=True)
    expected = await forecast_run(settings, auto)
    fresh = await run_agent(settings, replace(auto, fresh=True), quiet=True)

    assert "auto: off" == outcome.run.manifest.model_settings["text_calls"]
    assert outcome.run.run == again.run.run == expected.run
    assert "auto: on" == fresh.run.manifest.model_settings["text_calls"]
    assert "it calls functions. The run has --text-calls off." in capsys.readouterr().err
