"""How often ``stb score`` goes to the store: answers, verdicts and trajectories of a run are read once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from evaluator_makers import make_run, trajectory
from llm_server import LLMServer, text
from stb_core.store import open_store
from stb_core.store.runs import Runs
from stb_core.store.verdicts import Verdicts

EVERY_METRIC = "sopr,fac,pass@k,trajectory"


@pytest.fixture(name="reads")
def _reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of these was read from the store."""
    counts: Counter[str] = Counter()

    def count(owner: type, name: str, label: str) -> None:
        read: Callable[..., Any] = getattr(owner, name)

        def counted(self: object, *args: Any, **more: Any) -> Any:
            counts[label] += 1
            return read(self, *args, **more)

        monkeypatch.setattr(owner, name, counted)

    count(Runs, "done", "answers")
    count(Runs, "documents", "trajectories")  # also those that are parsed as values
    count(Verdicts, "marks", "verdicts")
    return counts


@pytest.fixture(name="judge")
def _judge(llm: LLMServer, monkeypatch: pytest.MonkeyPatch, sqlite_store_url: str) -> LLMServer:
    """A model that finds everything solved, and a run of two answers."""
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    llm.rule = lambda _: text('{"reason": "so it is", "answer_status": "solved"}')

    async def work() -> None:
        store = await open_store(sqlite_store_url)
        try:
            await make_run(store, [trajectory("1"), trajectory("2")])
        finally:
            await store.close()

    asyncio.run(work())
    return llm


def test_a_judged_run_is_read_once(run_stb, judge: LLMServer, reads: Counter[str]) -> None:
    """One look at the answers, one at the verdicts of the judge, one at the trajectories."""
    run_stb("score", "--judge", "stub/any")
    asked = judge.count
    reads.clear()

    again = run_stb("score", "--judge", "stub/any")

    assert (again.code, judge.count) == (0, asked)
    assert reads == {"answers": 1, "verdicts": 1, "trajectories": 1}


def test_several_metrics_share_what_was_read(run_stb, judge: LLMServer, reads: Counter[str]) -> None:
    """Verdicts once per judge and metric; all else once, though measures need every trajectory whole."""
    run_stb("score", "--judge", "stub/a,stub/b", "--metric", EVERY_METRIC)
    reads.clear()

    again = run_stb("score", "--judge", "stub/a,stub/b", "--metric", EVERY_METRIC)

    assert again.code == 0
    assert reads == {"answers": 1, "verdicts": 4, "trajectories": 1}


def test_what_is_asked_for_is_looked_up_once(run_stb, judge: LLMServer, reads: Counter[str]) -> None:
    """Where no other process asks; the trajectories serve judge, accounts and measures."""
    first = run_stb("score", "--judge", "stub/any", "--metric", "sopr,trajectory")

    assert (first.code, judge.count) == (0, 6)
    assert reads == {"answers": 1, "verdicts": 1, "trajectories": 1}


def test_what_was_just_judged_is_scored_as_when_it_is_read(
    run_stb, judge: LLMServer, reads: Counter[str]
) -> None:
    """The verdicts that a command asked for count without being read again."""
    first = run_stb("score", "--judge", "stub/any", "--metric", EVERY_METRIC, "--json")
    second = run_stb("score", "--judge", "stub/any", "--metric", EVERY_METRIC, "--json")

    assert first.document["rows"] == second.document["rows"]


def test_runs_that_are_compared_in_pairs_are_read_once_each(
    run_stb, sqlite_store_url: str, reads: Counter[str]
) -> None:
    """By every judge of pairs: what headlines need, and what the judge is shown, of each of three runs."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        for run in ("a", "b", "c"):
            await make_run(store, [trajectory("1", answer=f"It is {run}.")], run=run)
        await store.close()

    asyncio.run(fill())
    run_stb("score", "a", "b", "c", "--judge", "rules")
    reads.clear()

    ended = run_stb("compare", "a", "b", "c", "--metric", "sowr", "--judge", "rules")

    assert ended.code == 0
    assert reads["trajectories"] == 3
