"""Two commands at once never pay a judge for the same verdicts."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

import pytest

from conftest import clean_environment
from evaluator_makers import make_run, on_store, trajectory
from llm_server import LLMServer
from preloaded_stb import start_stb
from stb_core.store import Store
from stb_core.values.queries import Query

QUERIES = 6
SCORE = ("score", "one", "--judge", "stub/any", "--rounds", "2", "--max-connections", "2")


@pytest.fixture(name="filled_url")
def _filled_url(store_url: str) -> str:
    """A store with two runs and a dataset."""

    async def fill(store: Store) -> None:
        for run in ("one", "two"):
            made = [trajectory(str(n), answer=f"It is {n}, says {run}.") for n in range(QUERIES)]
            await make_run(store, made, run=run)
        dataset = await store.datasets.create("d")
        async with store.writing() as connection:
            await store.datasets.put_queries(
                connection,
                dataset.id,
                [Query(query_id=str(n), group="G1_tool", text=f"Question {n}?", apis=()) for n in range(4)],
            )

    on_store(store_url, fill)
    return store_url


@contextmanager
def started(url: str, llm: LLMServer, *args: str) -> Generator[subprocess.Popen[str]]:
    """A command in a process of its own, killed at the end of the block."""
    with start_stb(
        args,
        env=clean_environment(STB_DATABASE_URL=url, STUB_BASE_URL=llm.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def done(url: str, llm: LLMServer, *args: str) -> subprocess.CompletedProcess[str]:
    """A command that has ended."""
    with started(url, llm, *args) as process:
        out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(args, process.returncode, out, err)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until something is so, and not longer than the process lives."""
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.01)


def verdicts(url: str) -> int:
    """How many verdicts the store holds."""

    async def count(store: Store) -> int:
        return sum(judged.verdicts for judged in await store.verdicts.judges())

    found: int = on_store(url, count)
    return found


def sessions_of_anchors(url: str) -> set[int]:
    """How often judges were asked about the undisputed answers."""

    async def count(store: Store) -> set[int]:
        return {judged.rounds for judged in await store.verdicts.judges(metric="anchor")}

    found: set[int] = on_store(url, count)
    return found


def workers(url: str) -> int:
    """How many processes do work, each part of it counted."""

    async def count(store: Store) -> int:
        return len(await store.work.workers())

    found: int = on_store(url, count)
    return found


def test_two_scorings_pay_the_judge_once(filled_url: str, llm: LLMServer) -> None:
    """They share the questions, wait for the last verdict, and print the same."""
    llm.behaviour.held = True
    with started(filled_url, llm, *SCORE, "--json") as first:
        wait_for(lambda: llm.count == 2, first)
        with started(filled_url, llm, *SCORE, "--json") as second:
            wait_for(lambda: llm.count == 4, second)
            llm.behaviour.held = False
            said, noted = second.communicate(timeout=300)
        other, _ = first.communicate(timeout=300)

    assert (first.returncode, second.returncode) == (0, 0)
    assert json.loads(said) == json.loads(other)
    assert "Joining: another process asks for these verdicts already." in noted
    assert (llm.paid, verdicts(filled_url)) == (2 * QUERIES, 2 * QUERIES)


def test_anchors_are_asked_once_by_all_who_score_a_run(filled_url: str, llm: LLMServer) -> None:
    """By the first; the others wait until it knows whether the judge has changed, and say the same."""
    done(filled_url, llm, "score", "two", "--judge", "stub/any", "--rounds", "1")
    before = llm.paid
    llm.behaviour.held = True
    with started(filled_url, llm, *SCORE, "--json") as first:
        wait_for(lambda: llm.count == before + 2, first)
        with started(filled_url, llm, *SCORE, "--json") as second:
            wait_for(lambda: workers(filled_url) == 4, second)
            llm.behaviour.held = False
            said, _ = second.communicate(timeout=300)
        other, _ = first.communicate(timeout=300)

    asked = json.loads(other)["anchors"][0]["n"]
    assert (first.returncode, second.returncode, asked) == (0, 0, QUERIES)
    assert json.loads(said)["headline"] == json.loads(other)["headline"]
    assert (llm.paid - before, json.loads(said)["anchors"]) == (2 * QUERIES + QUERIES, [])


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_eight_scorings_pay_the_judge_once(filled_url: str, llm: LLMServer) -> None:
    """Ten times, each time with another judge; the anchors are asked once as well."""
    for number in range(10):
        judge = f"stub/judge{number}"
        done(filled_url, llm, "score", "two", "--judge", judge, "--rounds", "1")
        before = llm.paid
        with ExitStack() as stack:
            args = ("score", "one", "--judge", judge, "--rounds", "3", "--max-connections", "2", "--json")
            scoring = [stack.enter_context(started(filled_url, llm, *args)) for _ in range(8)]
            said = [process.communicate(timeout=600)[0] for process in scoring]
        sessions = on_store(filled_url, lambda store: store.verdicts.judges("judge-anchors"))

        assert [process.returncode for process in scoring] == [0] * 8
        assert len({json.dumps(json.loads(out)["rows"]) for out in said}) == 1
        asked = {one.rounds for one in sessions if one.judge == judge}
        assert (asked, llm.paid - before) == ({1}, 3 * QUERIES + QUERIES)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_scoring_that_was_stopped_goes_on_at_once(
    filled_url: str, llm: LLMServer, number: signal.Signals
) -> None:
    """The same command does not wait."""
    llm.behaviour.held = True
    with started(filled_url, llm, *SCORE) as first:
        wait_for(lambda: llm.count == 2, first)
        first.send_signal(number)
        first.communicate(timeout=300)
    llm.behaviour.held = False

    second = done(filled_url, llm, *SCORE)

    assert (second.returncode, verdicts(filled_url)) == (0, 2 * QUERIES)
    assert "Joining" not in second.stderr


def test_other_judges_and_other_runs_may_be_scored_at_the_same_time(filled_url: str, llm: LLMServer) -> None:
    """They pay for other verdicts."""
    llm.behaviour.held = True
    with ExitStack() as stack:
        at_work = []
        for run, judge in (("one", "stub/any"), ("one", "stub/other"), ("two", "stub/any")):
            before = llm.count
            args = ("score", run, "--judge", judge, "--rounds", "1", "--max-connections", "2")
            at_work.append(stack.enter_context(started(filled_url, llm, *args)))
            wait_for(lambda before=before: llm.count > before, at_work[-1])  # type: ignore[misc]
        llm.behaviour.held = False
        for process in at_work:
            process.communicate(timeout=300)

    assert [process.returncode for process in at_work] == [0, 0, 0]
    assert (llm.paid, verdicts(filled_url)) == (3 * QUERIES, 3 * QUERIES)


def test_a_score_that_asks_nobody_is_printed_while_others_are_asked_for(
    filled_url: str, llm: LLMServer
) -> None:
    """Verdicts that are there need no judge, and rules cost nothing."""
    fewer = ("score", "one", "--judge", "stub/any", "--rounds", "1", "--json")
    done(filled_url, llm, *fewer)
    before = llm.count
    llm.behaviour.held = True
    with started(filled_url, llm, *SCORE) as first:
        wait_for(lambda: llm.count > before, first)
        there = done(filled_url, llm, *fewer)
        rules = done(filled_url, llm, "score", "one", "--judge", "rules", "--json")
        llm.behaviour.held = False
        first.communicate(timeout=300)

    assert (there.returncode, first.returncode) == (0, 0)
    assert "session" not in there.stderr + rules.stderr
    assert json.loads(there.stdout)["rows"]
    assert json.loads(rules.stdout)["rows"]


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("args", "other"),
    [
        (("compare", "one", "two", "--metric", "sowr"), ("compare", "two", "one", "--metric", "sowr")),
        (("experiment", "judge", "one", "--rounds", "1"),) * 2,
        (("solvable", "d"), ("solvable", "d", "--judge", "stub/new,stub/any,stub/third")),
    ],
    ids=["compare", "experiment judge", "solvable"],
)
def test_no_other_command_pays_twice(
    filled_url: str, llm: LLMServer, args: tuple[str, ...], other: tuple[str, ...]
) -> None:
    """Pairs in the other order are the same pairs, and a panel of voters has voters of another panel."""
    judge = ("--judge", "stub/any", "--max-connections", "1")
    for run in ("one", "two"):
        done(filled_url, llm, "score", run, *judge, "--no-anchors")
    paid, there = llm.paid, verdicts(filled_url)
    llm.behaviour.held = True
    with started(filled_url, llm, *args, *judge) as first:
        wait_for(lambda: llm.count > paid, first)
        with started(filled_url, llm, *other, *(() if "--judge" in other else judge)) as second:
            wait_for(lambda: llm.count > paid + 1 or workers(filled_url) > 2, second)
            llm.behaviour.held = False
            second.communicate(timeout=300)
        first.communicate(timeout=300)

    assert (first.returncode, second.returncode) == (0, 0)
    assert llm.paid - paid == verdicts(filled_url) - there
    assert sessions_of_anchors(filled_url) == ({1} if "experiment" in args else set())
