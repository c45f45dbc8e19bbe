"""``stb score --metric pass@k``: several trials of each query."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from evaluator_makers import make_run, trajectory
from stb_core.store import open_store
from stb_core.values import StopReason
from stb_core.values.verdicts import Status, Verdict

# Which of three trials solve a query: by all three rounds, by two of them, by one.
SOLVED = {"1": (3, 3, 3), "2": (2, 0, 0), "3": (1, 1, 1), "4": (3, 2, 0)}


@pytest.fixture(name="judged")
def _judged(sqlite_store_url: str) -> None:
    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        made = [
            trajectory(query, trial=trial, answer=f"{query} {trial}")
            for query in SOLVED
            for trial in range(3)
        ]
        await make_run(store, made, trials=3)
        verdicts = [
            Verdict(
                run="r",
                group=t.group,
                query_id=t.query_id,
                trial=t.trial,
                judge="recorded",
                rubric="recorded",
                round=number,
                status=Status.SOLVED if number < SOLVED[t.query_id][t.trial] else Status.UNSOLVED,
                answer_hash=t.answer_hash,
            )
            for t in made
            for number in range(3)
        ]
        await store.verdicts.append(verdicts)
        await store.close()

    asyncio.run(fill())


def rows_of(run_stb: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    ended = run_stb("score", "r", "--judge", "recorded", "--metric", "pass@k", "--json")
    return {row["metric"]: row for row in ended.document["rows"] if row["group"] == "macro"}


@pytest.mark.usefixtures("judged")
def test_one_of_k_and_all_of_k(run_stb: Callable[..., Any]) -> None:
    """Of the queries 3, 1, 0 and 2 of 3 trials solve; the unbiased means, with intervals."""
    rows = rows_of(run_stb)

    assert rows["pass@1"]["value"] == rows["pass^1"]["value"] == pytest.approx(50)
    assert rows["pass@2"]["value"] == pytest.approx(100 * (1 + 2 / 3 + 0 + 1) / 4)
    assert rows["pass@3"]["value"] == pytest.approx(75)
    assert rows["pass^2"]["value"] == pytest.approx(100 * (1 + 0 + 0 + 1 / 3) / 4)
    assert rows["pass^3"]["value"] == pytest.approx(25)
    assert all(row["ci_low"] < row["value"] < row["ci_high"] for row in rows.values())
    assert all((row["n"], row["n_total"], row["complete"]) == (4, 4, True) for row in rows.values())


def test_trials_that_cannot_be_told_are_counted(run_stb: Callable[..., Any], sqlite_store_url: str) -> None:
    """One of two queries has no verdict: it is left out, and the exit code is 1."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        made = [trajectory("1"), trajectory("2")]
        await make_run(store, made)
        verdict = Verdict(
            run="r",
            group="G1_tool",
            query_id="1",
            judge="recorded",
            rubric="recorded",
            round=0,
            status=Status.SOLVED,
            answer_hash=made[0].answer_hash,
        )
        await store.verdicts.append([verdict])
        await store.close()

    asyncio.run(fill())

    ended = run_stb("score", "r", "--judge", "recorded", "--metric", "pass@k", "--json")

    row = next(row for row in ended.document["rows"] if row["group"] == "macro")
    assert ended.code == 1
    assert (row["value"], row["n"], row["n_total"], row["n_error"]) == (100, 1, 2, 1)


def test_a_missing_trial_makes_it_incomplete(run_stb: Callable[..., Any], sqlite_store_url: str) -> None:
    """It counts as unsolved, in the headline and with a star; n counts queries, also in the reference block."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        made = [trajectory(query, trial=trial, stop=StopReason.GAVE_UP) for query in "12" for trial in (0, 1)]
        lost = made[3].model_copy(update={"stop": StopReason.INFRASTRUCTURE})
        await make_run(store, [*made[:2], lost], trials=2, expected={"G1_tool": ["1", "2"]})
        await store.close()

    asyncio.run(fill())

    flags = "score", "r", "--judge", "rules", "--metric"
    shown = run_stb(*flags, "pass@k,trajectory,sopr")
    rows = run_stb(*flags, "pass@k,trajectory,sopr", "--json").document["rows"]

    line = (
        "INCOMPLETE: r: 1 answer missing (counted as unsolved), 1 trial lost to infrastructure failures (not scored),"
        " of 4 answers."
    )
    assert (shown.code, shown.out.count(line)) == (1, 1)
    assert "complete:" not in shown.out
    assert {row["complete"] for row in rows} == {False}
    assert all(row["n"] <= row["n_total"] == 2 for row in rows)
    assert len(re.findall(r"0\.0±0\.0\*", shown.out)) == 3
    assert "0.0* " in shown.out
