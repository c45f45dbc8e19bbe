"""A judge's endpoint that refuses follows the rule for all model requests: see Concepts, "Whose fault was it?"."""

from __future__ import annotations

import json
from typing import Any

import pytest

from evaluator_makers import make_run, trajectory
from llm_server import Answer, LLMServer, status, text
from stb_core.settings import Settings
from stb_core.store import Run, Store
from stb_core.values import Status
from stb_evaluator.judges.opening import open_judges
from stb_evaluator.scores.pass_verdicts import judge_run
from stb_evaluator.scores.run_reader import RunReader

TOO_LONG = status(400, "This model's maximum context length is 4096 tokens.")
SOLVED = text(json.dumps({"reason": "It is.", "answer_status": "solved"}))


async def statuses(store: Store, run: Run, llm: LLMServer) -> dict[str, Status]:
    """The verdict on each query after a session, as far as there is one."""
    settings = Settings("", {}, {"STUB_BASE_URL": llm.url})
    async with open_judges("stub/any", settings, connections=1, quiet=True) as judges:
        await judge_run(judges, RunReader(store, run), 1)
    log = await store.verdicts.of_run(run.run, metric="sopr", judge="stub/any", rubric=judges.panel().rubric)
    return {verdict.query_id: verdict.status for verdict in log}


@pytest.fixture
async def run(sqlite_store: Store) -> Run:
    return await make_run(sqlite_store, [trajectory(str(number)) for number in range(1, 21)])


async def test_an_endpoint_that_refuses_everything_leaves_no_verdict(
    sqlite_store: Store, run: Run, llm: LLMServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not asked about all of them, and its words are said once."""
    llm.rule = lambda _: status(400, "Unsupported value: 'temperature'")

    assert await statuses(sqlite_store, run, llm) == {}
    told = capsys.readouterr().err
    assert (1, True) == (told.count("Unsupported value: 'temperature'"), "20 verdicts are missing" in told)
    assert llm.count <= 8 * 3


async def test_a_question_that_is_refused_while_others_are_accepted_is_an_error(
    sqlite_store: Store, run: Run, llm: LLMServer
) -> None:
    """Also the first of all: it is asked again once another was accepted."""

    def rule(_: dict[str, Any]) -> Answer:
        return TOO_LONG if llm.count == 1 or llm.count > 20 else SOLVED

    llm.rule = rule

    found = await statuses(sqlite_store, run, llm)

    assert [Status.ERROR, *[Status.SOLVED] * 19] == sorted(found.values(), key=lambda status: status.value)
    assert 21 == llm.count
