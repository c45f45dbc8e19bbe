"""``stb compare``: on the recorded verdicts of six real systems, and where a judge failed."""

from __future__ import annotations

import asyncio
import json
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator_makers import make_run, trajectory
from llm_server import Answer, LLMServer, text
from real_verdicts import SYSTEMS as ALL_SYSTEMS
from real_verdicts import load
from stb_core.store import open_store

SYSTEMS = ("toolllama_sft_cot", "baseline-rft_cot", "baseline-ppo_cot")
SOLVED = "AnswerStatus.Solved"
SEARCHERS = ("toolllama_sft_dfs", "baseline-rft_dfs", "baseline-ppo_dfs")


@pytest.fixture(name="imported")
def _imported(run_stb, real_data: Path) -> None:
    assert run_stb("import", real_data / "pass_rate_results", "--json").code == 0


@pytest.mark.usefixtures("imported")
def test_a_worse_run_fails_the_comparison(run_stb) -> None:
    """A chain of thought against its own tree search: worse by about 8 points, which a margin of 20 accepts."""
    worse, better = "toolllama_sft_cot", "toolllama_sft_dfs"

    failed = run_stb("compare", worse, better, "--fail-if-worse", "--json")
    accepted = run_stb("compare", worse, better, "--fail-if-worse", "--margin", "20", "--json")
    reverse = run_stb("compare", better, worse, "--fail-if-worse")
    lone = run_stb("compare", better, worse, "--margin", "2")

    assert failed.document["headline"][0].startswith(f"FAILED: {worse} is worse than {better}: macro sopr -")
    assert "FAILED" not in " ".join(accepted.document["headline"]) + reverse.out
    assert failed.code == 1
    assert accepted.code == reverse.code
    assert (lone.code, "Add --fail-if-worse." in lone.err) == (2, True)


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
def test_rounds_that_nobody_judged_change_no_score(run_stb, real_data: Path) -> None:
    """Of five rounds three are on record: both commands give the means of these, query by query, and say so."""
    pair = SYSTEMS[0], SEARCHERS[0]
    rows = run_stb("score", *pair, "--judge", "recorded", "--rounds", "5", "--json").document["rows"]
    compared = run_stb("compare", *pair, "--judge", "recorded", "--rounds", "5", "--json")

    verdicts = load(real_data)
    means = [verdicts.scores[:, ALL_SYSTEMS.index(name)] for name in pair]
    groups = [verdicts.groups == group for group in dict.fromkeys(verdicts.groups)]
    macro = [100 * np.mean([one[group].mean() for group in groups]) for one in means]
    found = [row for row in rows if (row["block"], row["group"]) == ("faithful", "macro")]
    difference = next(row for row in compared.document["rows"] if row["group"] == "macro")
    assert [row["value"] for row in found] == pytest.approx(macro)
    assert (difference["value_a"], difference["value_b"]) == pytest.approx(macro)
    assert difference["value"] == pytest.approx(macro[0] - macro[1])
    for row, expected in zip(found, macro, strict=True):
        assert row["ci_low"] < expected < row["ci_high"]
        assert [value is None for value in row["round_values"]] == [False, False, False, True, True]
    n_error = sum(row["n_error"] for row in found)
    assert (compared.code, difference["n_error"], difference["complete"]) == (1, n_error, False)
    assert compared.document["headline"] == [
        f"INCOMPLETE: {pair[0]} and {pair[1]}: {n_error} verdicts failed, missing or lost to infrastructure (not scored)."
    ]


def test_a_vote_more_on_one_query_changes_no_other(run_stb, real_data: Path, tmp_path: Path) -> None:
    """It opens a fourth round, which lacks the verdicts of all others; the query was solved anyway."""
    copy = tmp_path / "results"
    shutil.copytree(real_data / "pass_rate_results" / SYSTEMS[0], copy / SYSTEMS[0])
    path = copy / SYSTEMS[0] / "G1_tool.json"
    answers = json.loads(path.read_text())
    solved = next(a["is_solved"] for a in answers.values() if set(a["is_solved"].values()) == {SOLVED})
    solved["3"] = SOLVED
    path.write_text(json.dumps(answers))
    run_stb("import", copy, "--json")

    rows = run_stb("score", "--judge", "recorded", "--json").document["rows"]
    row = next(r for r in rows if (r["block"], r["group"]) == ("faithful", "G1_tool"))

    verdicts = load(real_data)
    mine = verdicts.groups == "G1_tool"
    expected = 100 * verdicts.scores[mine, ALL_SYSTEMS.index(SYSTEMS[0])].mean()
    assert row["value"] == pytest.approx(expected)
    assert (row["rounds"], row["round_values"][3], row["complete"]) == (4, None, False)


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


@pytest.mark.parametrize("metric", ["sopr", "sowr"])
def test_verdicts_that_failed_are_said_though_others_decide(
    run_stb, llm: LLMServer, sqlite_store_url: str, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    """Of three verdicts on each of four answers one failed: two runs compare, but not as if all were there."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        for name in ("a", "b"):
            await make_run(store, [trajectory(str(n), answer=f"{name} {n}") for n in range(2)], run=name)
        await store.close()

    asyncio.run(fill())
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    llm.rule = good_judge
    run_stb("score", "a", "b", "--judge", "stub/any", "--rounds", "2")
    llm.rule = lambda _: text("hm")
    run_stb("score", "a", "b", "--judge", "stub/any", "--rounds", "3")
    llm.rule = good_judge

    ended = run_stb("compare", "a", "b", "--judge", "stub/any", "--metric", metric, "--json")

    assert ended.code == 1
    assert ended.document["headline"] == [
        "INCOMPLETE: a and b: 4 verdicts failed, missing or lost to infrastructure (not scored)."
    ]
    assert {(r["n"], r["n_error"], r["complete"]) for r in ended.document["rows"]} == {(2, 4, False)}


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
