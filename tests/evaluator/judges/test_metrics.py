"""A metric that a judge decides is one row of a table and a rubric."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from evaluator_makers import make_run, trajectory
from llm_server import LLMServer, text
from stb_core.store import open_store
from stb_evaluator.judges import rubrics
from stb_evaluator.judges.final_answer import FinalAnswerJudge
from stb_evaluator.judges.metrics import METRICS, Metric
from stb_evaluator.judges.rubrics import load_rubric


@pytest.fixture(name="politeness")
def _politeness(llm: LLMServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LLMServer:
    """A metric of one's own: polite answers are solved, and only the first answer is polite."""
    rubric = load_rubric("fac-1").model_dump(exclude={"hash"})
    own = {**rubric, "name": "polite-1", "metric": "polite", "system": "Is the answer polite? {{nonce}}"}
    (tmp_path / "polite-1.yaml").write_text(yaml.safe_dump(own))
    monkeypatch.setattr(rubrics, "FOLDER", tmp_path)
    monkeypatch.setitem(METRICS, "polite", Metric("Politeness", "polite-1", 2, FinalAnswerJudge))
    monkeypatch.setenv("STUB_BASE_URL", llm.url)

    def reply(body: dict) -> object:
        assert "Is the answer polite?" in body["messages"][0]["content"]
        word = "solved" if "please" in body["messages"][1]["content"] else "unsolved"
        return text(f'{{"reason": "so it is", "answer_status": "{word}"}}')

    llm.rule = reply
    return llm


def test_a_new_metric_is_scored(run_stb, politeness: LLMServer, sqlite_store_url: str) -> None:
    """Its judge is asked in its own number of rounds, and its rows have its name and label."""

    async def work() -> None:
        store = await open_store(sqlite_store_url)
        try:
            await make_run(store, [trajectory("1", answer="42, please."), trajectory("2")])
        finally:
            await store.close()

    asyncio.run(work())

    shown = run_stb("score", "--metric", "polite", "--judge", "stub/any")
    rows = run_stb("score", "--metric", "polite", "--judge", "stub/any", "--json").document["rows"]
    run_stb("export", "r", "-o", "r.zip")
    verified = run_stb("verify", "r.zip")

    assert (shown.code, politeness.count) == (0, 4)
    assert "faithful Politeness, %" in shown.out
    assert {row["value"] for row in rows if row["group"] == "micro"} == {50.0}
    assert {(row["metric"], row["rounds"]) for row in rows} == {("polite", 2)}
    assert verified.code == 0


def test_a_metric_without_rules_says_so(run_stb, politeness: LLMServer, sqlite_store_url: str) -> None:
    """The judge ``rules`` knows only the metrics that have rules."""

    async def work() -> None:
        store = await open_store(sqlite_store_url)
        try:
            await make_run(store, [trajectory("1")])
        finally:
            await store.close()

    asyncio.run(work())

    refused = run_stb("score", "--metric", "polite", "--judge", "rules")

    assert refused.err.startswith("stb: There are no rules for polite.")
