"""``stb score``: judges, rounds, what is printed first, and what cannot be scored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from evaluator_makers import make_run, trajectory
from llm_server import LLMServer, text
from stb_core.store import Store, open_store
from stb_core.usage import Usage
from stb_core.values.queries import Query
from stb_core.values.trajectories import StopReason
from stb_core.values.verdicts import Status, Verdict

RECORDED = {"judge": "recorded", "rubric": "recorded"}


def fill(url: str, make: Callable[[Store], Awaitable[object]]) -> None:
    """Put something into the store before a command runs."""

    async def work() -> None:
        store = await open_store(url)
        try:
            await make(store)
        finally:
            await store.close()

    asyncio.run(work())


async def three_answers(store: Store) -> None:
    await make_run(store, [trajectory("1"), trajectory("2"), trajectory("3", stop=StopReason.GAVE_UP)])


async def recorded_run(store: Store) -> None:
    made = [trajectory("1"), trajectory("2")]
    await make_run(store, made, run="old", expected={"G1_tool": ["1", "2", "3"]})
    await store.verdicts.append(
        [
            Verdict(
                run="old",
                group="G1_tool",
                query_id=t.query_id,
                round=number,
                status=Status.SOLVED,
                answer_hash=t.answer_hash,
                **RECORDED,
            )
            for t in made
            for number in range(2)
        ]
    )


@pytest.fixture
def stub(llm: LLMServer, monkeypatch: pytest.MonkeyPatch) -> LLMServer:
    """The provider ``stub``, which finds everything solved."""
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    llm.rule = lambda _: text('{"reason": "so it is", "answer_status": "solved"}')
    return llm


def test_a_model_judges_over_http(run_stb, sqlite_store_url: str, stub: LLMServer) -> None:
    """Three rounds by default; the same command again asks nothing and prints the same."""
    fill(sqlite_store_url, three_answers)

    first = run_stb("score", "--judge", "stub/any", "--json")
    asked = stub.count
    second = run_stb("score", "--judge", "stub/any", "--json")

    row = next(r for r in first.document["rows"] if r["group"] == "G1_tool")
    assert (first.code, asked, stub.count) == (0, 6, 6)
    assert row["value"] == pytest.approx(200 / 3)
    assert (row["rounds"], row["counts"]["gave_up"], row["judge"]) == (3, 1, "stub/any")
    assert row["judge_tokens"] > 0
    assert first.out == second.out


def test_rounds_are_added(run_stb, sqlite_store_url: str, stub: LLMServer) -> None:
    """One round, then two more: no round is asked for twice."""
    fill(sqlite_store_url, three_answers)

    run_stb("score", "r", "--judge", "stub/any", "--rounds", "1", "--json")
    run_stb("score", "r", "--judge", "stub/any", "--no-anchors", "--json")

    assert stub.count == 6


def test_judge_errors_make_the_score_incomplete(run_stb, sqlite_store_url: str, stub: LLMServer) -> None:
    """The first line says so, the exit code is 1; --retry-errors mends it."""
    fill(sqlite_store_url, three_answers)
    obliging, stub.rule = stub.rule, lambda _: text("certainly!")

    broken = run_stb("score", "--judge", "stub/any", "--rounds", "1")
    stub.rule = obliging
    still = run_stb("score", "--judge", "stub/any", "--rounds", "1")
    mended = run_stb("score", "--judge", "stub/any", "--rounds", "1", "--retry-errors")

    assert (broken.code, still.code, mended.code) == (1, 1, 0)
    line = "INCOMPLETE: r: 2 verdicts failed (not scored), of 3 answers."
    assert broken.out.splitlines()[0] == still.out.splitlines()[0] == line
    assert mended.out.splitlines()[0] == "complete: 3 answers in 1 run(s), all present and judged."


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (["--fail-under", "60"], 0, ""),
        (["--fail-under", "70"], 1, "FAILED: r: macro sopr 66.7 is below 70."),
        (["--fail-under", "60", "--ci"], 1, "FAILED: r: the lower end of macro sopr 66.7 ["),
        (["--fail-under", "60", "--metric", "pass@k"], 2, "no score that could be below --fail-under"),
        (["--ci"], 2, "There is no threshold."),
    ],
)
def test_a_low_score_fails_the_command(
    run_stb, sqlite_store_url: str, stub: LLMServer, options: list[str], code: int, line: str
) -> None:
    """Exit code 1 and a line that says which score was too low; two of three queries are solved."""
    fill(sqlite_store_url, three_answers)

    ended = run_stb("score", "--judge", "stub/any", "--rounds", "1", *options)

    assert ended.code == code
    assert line in (ended.err if code == 2 else ended.out)
    assert ("FAILED" in ended.out) == (code == 1)


def test_rules_are_labelled_as_not_comparable(run_stb, sqlite_store_url: str) -> None:
    """In the first line, and in every row."""
    fill(sqlite_store_url, three_answers)

    shown = run_stb("score", "--judge", "rules")
    rows = run_stb("score", "--judge", "rules", "--json").document["rows"]

    assert shown.out.startswith("NOT COMPARABLE: judged by rules")
    assert {row["comparable"] for row in rows} == {False}


def test_recorded_verdicts_need_no_judge(run_stb, sqlite_store_url: str) -> None:
    """Without a run all runs that have some are scored; a missing answer makes it incomplete."""
    fill(sqlite_store_url, recorded_run)
    fill(sqlite_store_url, three_answers)

    ended = run_stb("score", "--judge", "recorded", "--json")

    assert ended.code == 1
    assert {row["run"] for row in ended.document["rows"]} == {"old"}
    found = {r["block"]: (r["value"], r["missing"]) for r in ended.document["rows"] if r["group"] == "macro"}
    assert found == {"faithful": (pytest.approx(200 / 3), 1), "reference": (100.0, 1)}
    assert ended.document["headline"][0].startswith("INCOMPLETE: old: 1 answer missing")


def test_recorded_is_the_default_where_it_can_be(run_stb, sqlite_store_url: str) -> None:
    """Otherwise a judge must be chosen."""
    fill(sqlite_store_url, recorded_run)
    fill(sqlite_store_url, three_answers)

    assert run_stb("score", "old", "--json").document["rows"][0]["judge"] == "recorded"
    refused = run_stb("score", "r")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("stb: The run 'r' has no verdicts yet. Choose a judge: --judge")


def test_the_two_blocks_never_share_a_table(run_stb, sqlite_store_url: str) -> None:
    """Two tables in the terminal, and --block chooses one."""
    fill(sqlite_store_url, recorded_run)

    both = run_stb("score", "old").out
    one = run_stb("score", "old", "--block", "reference").out

    assert (both.count("faithful SoPR"), both.count("reference SoPR")) == (1, 1)
    assert (one.count("faithful SoPR"), one.count("reference SoPR")) == (0, 1)


@pytest.mark.parametrize(
    ("args", "line", "code"),
    [
        (("score",), "stb: There are no runs yet. Make one: stb run, or stb import PATH.", 2),
        (("score", "nope"), "stb: There is no run 'nope'. List the runs in the store with: stb ls.", 2),
        (("score", "--judge", "recorded"), "stb: No run has recorded verdicts. Import some:", 2),
        (("score", "r", "--judge", "wise"), "stb: There is no judge 'wise'. Choose a judge:", 2),
        (
            ("score", "r", "--judge", "nowhere/x"),
            "stb: The address of the provider 'nowhere' is not known.",
            2,
        ),
    ],
)
def test_what_cannot_be_scored_is_one_line(
    run_stb, sqlite_store_url: str, args: tuple[str, ...], line: str, code: int
) -> None:
    """With the exit code of bad usage, and nothing on stdout."""
    if "r" in args:
        fill(sqlite_store_url, three_answers)

    ended = run_stb(*args)

    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith(line)
    assert len(ended.err.splitlines()) == 1


def test_a_judge_that_cannot_be_reached_is_one_line(
    run_stb, sqlite_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is asked."""
    fill(sqlite_store_url, three_answers)
    monkeypatch.setenv("GONE_BASE_URL", "http://127.0.0.1:9/v1")

    ended = run_stb("score", "--judge", "gone/x")

    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("stb: gone/x is not available: http://127.0.0.1:9/v1 cannot be reached")
    assert len(ended.err.splitlines()) == 1


def test_a_run_that_was_limited_says_so(run_stb, sqlite_store_url: str) -> None:
    """Two queries of a group of three are a subset."""

    async def make(store: Store) -> None:
        dataset = await store.datasets.create("d")
        queries = [Query(query_id=str(n), group="G1_tool", text="?", apis=()) for n in (1, 2, 3)]
        async with store.writing() as connection:
            await store.datasets.put_queries(connection, dataset.id, queries)
        await make_run(store, [trajectory("1"), trajectory("2")])

    fill(sqlite_store_url, make)

    ended = run_stb("score", "--judge", "rules", "--json")

    assert {row["subset"] for row in ended.document["rows"]} == {True}
    assert "SUBSET: r covers 2 of the 3 queries of d." in ended.document["headline"]


def test_consumption_is_told_by_who_paid(run_stb, sqlite_store_url: str) -> None:
    """Agent, simulator and judge each for itself; nothing is said where nobody knows."""

    async def spent(store: Store) -> None:
        made = trajectory("1").model_copy(
            update={
                "usage": Usage(model_calls=2, prompt_tokens=30, completion_tokens=5, cost_usd=0.25),
                "simulator_usage": Usage(model_calls=1, prompt_tokens=7, completion_tokens=1, cost_usd=0.5),
            }
        )
        await make_run(store, [made, trajectory("2")])

    fill(sqlite_store_url, spent)

    (row, *_) = run_stb("score", "r", "--judge", "rules", "--json").document["rows"]

    assert (row["agent_tokens"], row["agent_cost_usd"]) == (35, 0.25)
    assert (row["simulator_tokens"], row["simulator_cost_usd"]) == (8, 0.5)
    assert (row["judge_tokens"], row["judge_cost_usd"]) == (0, None)


def test_every_row_says_what_it_rests_on(run_stb, sqlite_store_url: str) -> None:
    """Value, counts, interval and its method, consumption by payer, provenance, manifest."""
    fill(sqlite_store_url, three_answers)

    row = run_stb("score", "--judge", "rules", "--json").document["rows"][0]

    assert row.keys() >= {
        *("run", "metric", "block", "group", "value", "n", "n_total", "n_error", "missing", "ci_low"),
        *("ci_high", "interval_method", "rounds", "std_rounds", "judge", "rubric", "complete", "counts"),
        *("agent_tokens", "judge_tokens", "simulator_tokens", "agent_cost_usd", "judge_cost_usd"),
        *("calls_by_provenance", "manifest_hash", "subset", "comparable"),
    }
    assert json.dumps(row)
