"""A judge is asked about earlier answers again before it judges new ones, so that a change of it shows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from evaluator_makers import make_run, trajectory
from llm_server import LLMServer, text
from stb_core.store import open_store

SOLVED = '{"reason": "so it is", "answer_status": "solved"}'
UNSOLVED = '{"reason": "no", "answer_status": "unsolved"}'
UNSURE = '{"reason": "hm", "answer_status": "unsure"}'
N = 14


def says(body: dict[str, Any]) -> str:
    """The prompt of a request."""
    return str(body["messages"][-1]["content"])


@pytest.fixture(name="judge")
def _judge(
    llm: LLMServer, monkeypatch: pytest.MonkeyPatch, sqlite_store_url: str, tmp_path: Path
) -> LLMServer:
    """A model that finds everything solved, and two runs with different answers."""
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    (tmp_path / "stb.toml").write_text('[prices]\n"stub/any" = { input = 1.0, output = 1.0 }\n')
    llm.rule = lambda _: text(SOLVED)

    async def work() -> None:
        store = await open_store(sqlite_store_url)
        try:
            for run in ("r", "s"):
                answers = [trajectory(str(n), answer=f"By {run} it is {n}.") for n in range(N)]
                await make_run(store, answers, run=run)
        finally:
            await store.close()

    asyncio.run(work())
    return llm


def score(run: str, *more: str) -> tuple[str, ...]:
    """The command that scores one run with one round."""
    return ("score", run, "--judge", "stub/any", "--rounds", "1", "--json", *more)


def test_a_steady_judge_is_asked_again_once_per_session(run_stb, judge: LLMServer) -> None:
    """At most 12 calls, none in the first session, and none where nothing is missing."""
    first = run_stb(*score("r"))
    asked_first = judge.count
    second = run_stb(*score("s"))
    asked_second = judge.count - asked_first
    run_stb(*score("s"))

    assert (asked_first, first.document["anchors"]) == (N, [])
    assert 6 <= asked_second - N <= 12
    assert judge.count == asked_first + asked_second
    (row,) = second.document["anchors"]
    assert (row["n"], row["better"], row["worse"], row["drift"]) == (asked_second - N, 0, 0, False)
    assert row["model_calls"] == row["n"]
    assert row["cost_usd"] > 0
    assert f"stub/any was asked about {row['n']} earlier answers again" in second.err
    assert second.document["headline"][0].startswith("complete: ")


def test_anchors_are_no_rounds(run_stb, judge: LLMServer) -> None:
    """Of the run whose answers are asked about again, rounds and score stay as they are, and so does the list of runs."""
    before = run_stb(*score("r")).document["rows"]
    judge.rule = lambda _: text(UNSOLVED)
    run_stb(*score("s"))

    assert run_stb(*score("r")).document["rows"] == before
    assert {row["run"] for row in run_stb("ls", "--json").document["rows"]} == {"r", "s"}


def test_drift_is_warned_of(run_stb, judge: LLMServer) -> None:
    """With what changed into what, and how likely chance is; the score is printed."""
    run_stb(*score("r"))
    judge.rule = lambda _: text(UNSOLVED)

    ended = run_stb(*score("s"))

    (line,) = [line for line in ended.document["headline"] if line.startswith("DRIFT: stub/any")]
    (row,) = ended.document["anchors"]
    assert f"0 got a better verdict and {row['n']} a worse one" in line
    assert f"solved → unsolved {row['n']}; McNemar p = " in line
    assert (ended.code, row["drift"]) == (0, True)


def test_a_few_changes_are_told_and_are_no_drift(run_stb, judge: LLMServer) -> None:
    """Chance explains them."""
    run_stb(*score("r"))
    judge.rule = lambda body: text(
        UNSOLVED if "By r it is 3." in says(body) or "By r it is 4." in says(body) else SOLVED
    )

    ended = run_stb(*score("s", "--strict"))

    lines = [line for line in ended.document["headline"] if "earlier answers" in line]
    assert ended.code == 0
    assert all(line.startswith("NOTE: stub/any: of ") for line in lines)


def test_strict_refuses_a_judge_that_has_drifted(run_stb, judge: LLMServer) -> None:
    """Again and again, before anything new is judged; a session without it warns."""
    run_stb(*score("r"))
    judge.rule = lambda _: text(UNSOLVED)
    asked = judge.count

    ended = [run_stb(*score("s", "--strict")) for _ in range(2)]

    assert [one.code for one in ended] == [1, 1]
    assert all(one.err.splitlines()[-1].startswith("stb: stub/any has drifted: of ") for one in ended)
    assert [one.out for one in ended] == ["", ""]
    assert judge.count - asked <= 24
    lenient = run_stb(*score("s"))
    assert lenient.code == 0
    assert any(line.startswith("DRIFT") for line in lenient.document["headline"])


def test_a_judge_that_is_unsure_takes_no_more_calls(run_stb, judge: LLMServer) -> None:
    """The bound is on calls, and not on answers."""
    judge.rule = lambda body: text(SOLVED if "calls" in says(body) else UNSURE)
    run_stb(*score("r"))
    asked = judge.count

    ended = run_stb(*score("s"))

    assert judge.count - asked - 2 * N == 12
    assert ended.document["anchors"][0]["n"] == 6


def test_anchors_can_be_left_out(run_stb, judge: LLMServer) -> None:
    """But not where drift is to be refused."""
    run_stb(*score("r"))
    asked = judge.count

    ended = run_stb(*score("s", "--no-anchors"))

    assert (ended.document["anchors"], judge.count - asked) == ([], N)
    assert run_stb(*score("s", "--no-anchors", "--strict")).code == 2


def test_a_judge_without_a_model_has_no_anchors(run_stb, judge: LLMServer) -> None:
    """Rules do not change."""
    run_stb("score", "r", "--judge", "rules")

    assert run_stb("score", "s", "--judge", "rules", "--json", "--strict").document["anchors"] == []


def test_anchors_are_foreseen(run_stb, judge: LLMServer) -> None:
    """A dry run has a line for them, and a limit on cost counts them."""
    run_stb(*score("r"))
    asked = judge.count

    rows = run_stb(*score("s", "--dry-run")).document["rows"]
    limited = run_stb(*score("s", "--max-cost", "0.0000001"))

    assert [(row["what"], row["verdicts"]) for row in rows] == [("s", N), ("anchors", 12)]
    assert (limited.code, judge.count) == (1, asked)


def test_each_rubric_has_its_own_anchors(run_stb, judge: LLMServer) -> None:
    """A first session with another metric has nothing to compare with."""
    run_stb(*score("r"))

    ended = run_stb(*score("r", "--metric", "fac"))

    assert ended.document["anchors"] == []
