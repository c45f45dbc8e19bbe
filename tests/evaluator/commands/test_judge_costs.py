"""What judges cost: said before they are asked, limited while they are, and counted if they fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluator_makers import make_run, on_store, trajectory
from llm_server import LLMServer, raw, status, text
from stb_core.store import Store
from stb_core.values.queries import Query

PRICES = '[prices]\n"stub/any" = { input = 1000.0, output = 1000.0 }\n'
SOLVED = '{"reason": "so it is", "answer_status": "solved"}'
UNSURE = '{"reason": "hm", "answer_status": "unsure"}'
CONTEXT = "This model's maximum context length is 8192 tokens, you requested {} tokens."


def says(body: dict[str, Any]) -> str:
    """The prompt of a request."""
    return str(body["messages"][-1]["content"])


async def six_answers(store: Store) -> None:
    """A run of six answers in two groups, and another with other answers."""
    groups = ["G1_tool"] * 3 + ["G2_category"] * 3
    made = [trajectory(str(n), group=group) for n, group in enumerate(groups)]
    await make_run(store, made)
    others = [trajectory(str(n), group=group, answer=f"No: {n}.") for n, group in enumerate(groups)]
    await make_run(store, others, run="s")


@pytest.fixture(name="judge")
def _judge(
    llm: LLMServer, monkeypatch: pytest.MonkeyPatch, sqlite_store_url: str, tmp_path: Path
) -> LLMServer:
    """A model with a price that finds everything solved, and two runs."""
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    llm.rule = lambda _: text(SOLVED)
    (tmp_path / "stb.toml").write_text(PRICES)
    on_store(sqlite_store_url, six_answers)
    return llm


COMMAND = "score", "r", "--judge", "stub/any", "--rounds", "2", "--no-anchors", "--json"


def test_a_dry_run_says_what_judging_costs(run_stb, judge: LLMServer) -> None:
    """It asks nothing, and is right about calls; about tokens and USD it is near."""
    (said,) = run_stb(*COMMAND, "--dry-run").document["rows"]
    asked = judge.count
    row = run_stb(*COMMAND).document["rows"][-1]

    assert (asked, said["verdicts"], said["calls"], judge.count) == (0, 12, 12, 12)
    assert said["prompt_tokens"] + said["completion_tokens"] == pytest.approx(row["judge_tokens"], rel=0.3)
    assert said["cost_usd"] == pytest.approx(row["judge_cost_usd"], rel=0.3)
    assert said["most_cost_usd"] > row["judge_cost_usd"]
    left = run_stb(*COMMAND, "--dry-run").document["total"]
    assert (left["verdicts"], left["calls"], left["cost_usd"]) == (0, 0, 0)


def test_earlier_verdicts_tell_how_often_a_judge_is_unsure(run_stb, judge: LLMServer) -> None:
    """A verdict that took two calls is expected to take two again; at first it is expected to take one."""
    judge.rule = lambda body: text(SOLVED if "calls" in says(body) else UNSURE)
    first = run_stb(*COMMAND, "--dry-run").document["total"]
    run_stb(*COMMAND)

    second = run_stb("score", "s", *COMMAND[2:], "--dry-run").document["total"]

    assert (first["calls"], second["calls"], second["earlier"]) == (12, 24, 12)
    assert second["prompt_tokens"] > 1.5 * first["prompt_tokens"]
    assert second["completion_tokens"] < first["completion_tokens"]


def test_a_dry_run_needs_neither_price_nor_endpoint(run_stb, judge: LLMServer, tmp_path: Path) -> None:
    """Then it gives no USD, and says why."""
    (tmp_path / "stb.toml").unlink()

    ended = run_stb("score", "r", "--judge", "nowhere/x", "--metric", "fac", "--dry-run")

    assert ended.code == 0
    assert "without the price of nowhere/x" in ended.err


def test_a_dry_run_of_rules_costs_nothing(run_stb, judge: LLMServer) -> None:
    """No model is asked."""
    total = run_stb("score", "r", "--judge", "rules", "--dry-run", "--json").document["total"]

    assert (total["verdicts"], total["calls"], total["cost_usd"]) == (6, 0, 0)


def test_a_dry_run_of_a_comparison_has_both_orders_of_every_pair(run_stb, judge: LLMServer) -> None:
    """And the pass verdicts of both runs; a comparison of pass rates has these alone."""
    command = "compare", "r", "s", "--judge", "stub/any", "--rounds", "1", "--dry-run", "--json"

    pairs = run_stb(*command, "--metric", "sowr").document["rows"]
    rates = run_stb(*command).document["rows"]

    assert [(row["what"], row["metric"], row["calls"]) for row in pairs] == [
        ("r", "sopr", 6),
        ("s", "sopr", 6),
        ("r against s", "sowr", 12),
    ]
    assert rates == pairs[:2]
    assert judge.count == 0


def test_judging_stops_before_it_costs_more(run_stb, judge: LLMServer) -> None:
    """What was paid for is kept, the limit holds, and the same command goes on."""
    judge.rule = lambda body: text(SOLVED if "calls" in says(body) else UNSURE)
    most = run_stb(*COMMAND, "--dry-run").document["total"]["most_cost_usd"]
    limit = 1.1 * most / 12  # one verdict at its most expensive, and a little
    limited = *COMMAND, "--max-cost", str(limit)

    first = run_stb(*limited)

    paid = first.document["rows"][-1]["judge_cost_usd"]
    verdicts = judge.count // 2
    assert first.code == 1
    assert 0 < paid <= limit
    assert 0 < verdicts < 12
    assert f"r: {12 - verdicts} verdicts were not asked for: $" in first.err
    assert "that --max-cost allows are spent, and the next call could exceed it." in first.err
    for _ in range(12):
        ended = run_stb(*limited)
        if not ended.code:
            break
    assert (ended.code, judge.count) == (0, 24)


def test_a_limit_needs_a_price(run_stb, judge: LLMServer, tmp_path: Path) -> None:
    """Without one nothing is asked."""
    (tmp_path / "stb.toml").unlink()

    for command in (COMMAND, ("compare", "r", "s", "--judge", "stub/any")):
        ended = run_stb(*command, "--max-cost", "1")
        assert ended.code == 2
        assert ended.err.startswith("stb: A limit on cost needs the price of stub/any.")
    assert judge.count == 0


async def a_dataset(store: Store) -> None:
    """Three queries."""
    dataset = await store.datasets.create("d")
    queries = [Query(query_id=str(n), group="G1_tool", text=f"Which is {n}?", apis=()) for n in range(3)]
    async with store.writing() as connection:
        await store.datasets.put_queries(connection, dataset.id, queries)


def test_votes_are_foreseen_and_limited(run_stb, judge: LLMServer, sqlite_store_url: str) -> None:
    """As verdicts are."""
    on_store(sqlite_store_url, a_dataset)
    judge.rule = lambda _: text('{"reason": "", "task_status": "solvable"}')
    command = "solvable", "d", "--judge", "stub/any", "--json"

    said = run_stb(*command, "--dry-run").document["total"]
    limited = run_stb(*command, "--max-cost", str(1.05 * said["most_cost_usd"] / 3))
    asked = judge.count
    whole = run_stb(*command, "--max-cost", str(said["most_cost_usd"]))

    assert (said["calls"], limited.code, whole.code) == (3, 1, 0)
    assert 0 < asked < judge.count == 3


def test_what_was_paid_before_a_judge_went_away_is_counted(run_stb, judge: LLMServer) -> None:
    """The first stage was answered, the second was not: there is no verdict, but a cost."""
    judge.rule = lambda body: status(401) if "calls" in says(body) else text(UNSURE)

    ended = run_stb(*COMMAND)

    row = ended.document["rows"][-1]
    assert (ended.code, row["counts"]["unjudged"], row["n_error"]) == (1, 12, 12)
    assert row["judge_tokens"] > 0
    assert row["judge_cost_usd"] > 0
    before = row["judge_tokens"]
    judge.rule = lambda _: text(SOLVED)
    row = run_stb(*COMMAND).document["rows"][-1]
    assert (row["complete"], row["value"]) == (True, 100.0)
    assert row["judge_tokens"] > before


def test_what_was_paid_before_a_refusal_is_counted(run_stb, judge: LLMServer) -> None:
    """The verdict is an error, with the tokens of both stages."""
    judge.rule = lambda body: status(400, CONTEXT.format(1)) if "calls" in says(body) else text(UNSURE)

    row = run_stb(*COMMAND).document["rows"][-1]

    assert row["counts"]["error"] > 0
    assert row["judge_tokens"] > 0


def test_the_reason_of_failed_verdicts_is_told(run_stb, judge: LLMServer) -> None:
    """The most frequent one, numbers apart; and no advice that cannot help."""
    lengths = iter(range(9000, 10000))

    def refuse(body: dict[str, Any]) -> Any:
        long = "What is number 5?" not in says(body)
        return status(400, CONTEXT.format(next(lengths))) if long else text("mostly solved")

    judge.rule = refuse
    mixed = run_stb(*COMMAND)
    judge.rule = lambda body: text(SOLVED) if "What is number 5?" in says(body) else refuse(body)
    lasting = run_stb("score", "s", *COMMAND[2:], "--max-connections", "1")

    assert "the judge failed on 12 verdicts, most often: " in mixed.err
    assert "maximum context length is 8192 tokens" in mixed.err
    assert "Asking again with --retry-errors can help on 2 of them." in mixed.err
    assert "The judge would refuse the same questions again." in lasting.err
    assert "--retry-errors" not in lasting.err


def test_a_judge_is_tried_on_a_part(run_stb, judge: LLMServer) -> None:
    """The first queries of each group, or some by id; the score says that it is of a subset."""
    limited = run_stb(*COMMAND, "--limit", "1", "--rounds", "1")
    asked = judge.count
    chosen = run_stb(*COMMAND, "--task-ids", "0, 5", "--rounds", "1").document["rows"]

    assert (limited.code, asked, judge.count) == (0, 2, 3)
    assert {row["subset"] for row in limited.document["rows"]} == {True}
    assert "SUBSET: only 2 of the 6 queries of r are scored." in limited.document["headline"]
    assert [(row["group"], row["n_total"]) for row in chosen if row["block"] == "faithful"] == [
        *(("G1_tool", 1), ("G2_category", 1), ("macro", 2), ("micro", 2)),
    ]
    whole = run_stb(*COMMAND, "--rounds", "1").document
    assert (judge.count, whole["rows"][0]["part_of"], whole["rows"][0]["subset"]) == (6, None, False)


def test_a_part_that_is_not_there_is_named(run_stb, judge: LLMServer) -> None:
    """Nothing is asked."""
    ended = run_stb(*COMMAND, "--task-ids", "0,77")

    assert (ended.code, judge.count) == (2, 0)
    assert ended.err.startswith("stb: There is no query 77 among those that are scored.")


def test_measures_of_a_part_are_of_that_part(run_stb, judge: LLMServer) -> None:
    """Trajectories and tokens of other queries are left out."""
    rows = run_stb("score", "r", "--metric", "trajectory", "--limit", "2", "--json").document["rows"]

    assert {row["n_total"] for row in rows if row["group"] == "micro"} == {4}
    assert {row["n"] for row in rows if row["group"] == "micro" and row["metric"] == "finish_rate"} <= {4}


def test_a_body_that_is_none_leaves_the_judge_unavailable(run_stb, judge: LLMServer) -> None:
    """So the same command asks again."""
    judge.rule = lambda _: raw(json.dumps({"choices": None}).encode())

    ended = run_stb("score", "r", "--judge", "stub/any", "--limit", "1", "--rounds", "1", "--json")

    assert ended.code == 1
    assert "the judge was unavailable" in ended.err
