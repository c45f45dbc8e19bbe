"""Final-answer correctness: from the field of the reply, on the answer alone."""

from __future__ import annotations

import asyncio
import json

import pytest

from evaluator_makers import make_run, trajectory
from llm_server import LLMServer, text
from stb_core.errors import UnreadableReplyError
from stb_core.llm.protocol import Reply
from stb_core.llm.scripted import ScriptedModel
from stb_core.store import open_store
from stb_core.values.verdicts import Status
from stb_evaluator.judges.final_answer import FinalAnswerJudge
from stb_evaluator.judges.judge import Case
from stb_evaluator.judges.replies import read_by_words, read_correctness
from stb_evaluator.judges.rubrics import load_rubric

PRAISE = json.dumps({"reason": "Solved: no part was left unsolved.", "answer_status": "solved"})


def test_the_grade_is_read_from_its_field() -> None:
    """The published code finds the word unsolved in the reason, and fails the answer."""
    assert read_correctness(PRAISE).status is Status.SOLVED
    assert read_by_words(PRAISE) is Status.UNSOLVED


@pytest.mark.parametrize("word", ["unsure", "partly solved", "error", ""])
def test_there_are_two_grades(word: str) -> None:
    """Unsure is none of them."""
    with pytest.raises(UnreadableReplyError):
        read_correctness(json.dumps({"reason": "", "answer_status": word}))


async def test_the_judge_sees_query_and_answer_alone() -> None:
    """At temperature 0, and nothing of the calls."""
    model = ScriptedModel(lambda _: Reply(content=PRAISE))

    found = await FinalAnswerJudge(model, load_rubric("fac-1")).judge(
        Case(trajectory(observation="WHAT CAME BACK")), 0
    )

    assert found.status is Status.SOLVED
    assert model.requests[0].temperature == 0
    assert "WHAT CAME BACK" not in str(model.requests[0].messages[-1].content)
    assert "It is 4217." in str(model.requests[0].messages[-1].content)


def test_the_reference_reads_words_on_demand(
    run_stb, sqlite_store_url: str, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same replies: 100 percent by the field, 0 by words, and the switch goes back."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        await make_run(store, [trajectory("1"), trajectory("2")])
        await store.close()

    asyncio.run(fill())
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    llm.rule = lambda _: text(PRAISE)
    command = "score", "--metric", "fac", "--judge", "stub/any", "--json"

    def value(block: str, *switches: str) -> float:
        rows = run_stb(*command, "--block", block, *switches).document["rows"]
        return next(r["value"] for r in rows if r["group"] == "micro")

    assert value("faithful") == 100.0
    assert value("reference") == 0.0
    assert value("reference", "--switch", "fac.reading=field") == 100.0
    assert llm.count == 2


def test_a_panel_has_a_row_of_its_own_beside_its_members(
    run_stb, sqlite_store_url: str, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two judges that disagree: one half, by the panel."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        await make_run(store, [trajectory("1")])
        await store.close()

    asyncio.run(fill())
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    llm.rule = lambda body: text(
        json.dumps({"reason": "", "answer_status": "solved" if body["model"] == "kind" else "unsolved"})
    )

    rows = run_stb("score", "--judge", "stub/kind,stub/strict", "--rounds", "1", "--json").document["rows"]

    assert {r["judge"]: r["value"] for r in rows if (r["group"], r["block"]) == ("micro", "faithful")} == {
        "panel(stub/kind, stub/strict)": 50.0,
        "stub/kind": 100.0,
        "stub/strict": 0.0,
    }


def test_a_metric_that_is_not_there_is_refused(run_stb) -> None:
    """With those that are."""
    ended = run_stb("score", "--metric", "beauty")

    assert ended.code == 2
    assert ended.err.startswith("stb: There is no metric 'beauty'. There are: sopr, fac, pass@k, trajectory.")
