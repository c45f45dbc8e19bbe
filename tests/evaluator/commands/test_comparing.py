"""``stb compare``: on the recorded verdicts of six real systems, and where a judge failed."""

from __future__ import annotations

import asyncio
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from evaluator_makers import make_run, trajectory
from llm_server import Answer, LLMServer, text
from stb_core.store import open_store

SYSTEMS = ("toolllama_sft_cot", "baseline-rft_cot", "baseline-ppo_cot")
SEARCHERS = ("toolllama_sft_dfs", "baseline-rft_dfs", "baseline-ppo_dfs")


@pytest.fixture(name="imported")
def _imported(run_stb, real_data: Path) -> None:
    assert run_stb("import", real_data / "pass_rate_results", "--json").code == 0


@pytest.mark.usefixtures("imported")
def test_every_pair_of_six_systems_has_interval_and_p(run_stb) -> None:
    """Fifteen pairs; no two of the three CoT systems can be told apart, each search beats its CoT twin."""
    document = run_stb("compare", *SYSTEMS, *SEARCHERS, "--json").document

    macro = {(r["run"], r["run_b"]): r for r in document["rows"] if r["group"] == "macro"}
    assert document["headline"] == []
    assert set(macro) == set(combinations((*SYSTEMS, *SEARCHERS), 2))
    assert all(r["ci_low"] < r["value"] < r["ci_high"] for r in macro.values())
    assert all(macro[pair]["p"] > 0.05 for pair in combinations(SYSTEMS, 2))
    assert all(macro[pair]["p_holm"] < 0.01 for pair in zip(SYSTEMS, SEARCHERS, strict=True))


@pytest.mark.usefixtures("imported")
def test_the_table_says_in_words_what_it_shows(run_stb) -> None:
    """And nothing is bold."""
    ended = run_stb("compare", *SYSTEMS[:2])

    assert "toolllama_sft_cot and baseline-rft_cot: no difference shown" in ended.out
    assert (ended.code, "\x1b" in ended.out) == (0, False)


def test_one_run_is_no_comparison(run_stb, real_data: Path) -> None:
    """One line, exit code 2."""
    run_stb("import", real_data / "pass_rate_results_example", "--json")

    ended = run_stb("compare", "virtual_chatgpt_cot", "virtual_chatgpt_cot")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("stb: A comparison needs two runs.")


def good_judge(body: dict[str, Any]) -> Answer:
    """Every answer is solved; of two answers the first is better."""
    asked = body["response_format"]["json_schema"]["name"]
    word = {"better": "first"} if asked == "preference" else {"answer_status": "solved"}
    return text(json.dumps({"reason": "", **word}))


@pytest.mark.parametrize(("metric", "code"), [("sopr", 2), ("sowr", 1)])
def test_errors_are_asked_again_when_that_is_said(
    run_stb, llm: LLMServer, sqlite_store_url: str, monkeypatch: pytest.MonkeyPatch, metric: str, code: int
) -> None:
    """Not before, and they alone; without any verdict there is nothing to compare, else it is incomplete."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        for name in ("a", "b"):
            await make_run(store, [trajectory(str(n), answer=f"{name} {n}") for n in range(2)], run=name)
        await store.close()

    asyncio.run(fill())
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    command = "compare", "a", "b", "--judge", "stub/any", "--rounds", "1", "--metric", metric, "--json"
    llm.rule = good_judge
    if metric == "sowr":
        run_stb("score", "a", "b", "--judge", "stub/any", "--rounds", "1")
    llm.rule = lambda _: text("hm")
    first = run_stb(*command)

    llm.rule = good_judge
    before = llm.count
    again = run_stb(*command)
    unasked = llm.count - before
    mended = run_stb(*command, "--retry-errors")

    assert (first.code, again.code, mended.code) == (code, code, 0)
    assert (unasked, llm.count - before) == (0, 4)
    micro = next(row for row in mended.document["rows"] if row["group"] == "micro")
    assert (micro["n"], micro["complete"]) == (2, True)
