"""Two commands at once never pay a judge for the same verdicts."""

from __future__ import annotations

import json
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


def test_two_scorings_pay_the_judge_once(filled_url: str, llm: LLMServer) -> None:
    """The second is refused in one line with exit code 1; the first goes on, and then nothing is left."""
    llm.behaviour.held = True
    with started(filled_url, llm, *SCORE) as first:
        wait_for(lambda: llm.count > 0, first)
        second = done(filled_url, llm, *SCORE)
        llm.behaviour.held = False
        first.communicate(timeout=300)

    again = done(filled_url, llm, *SCORE)

    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr == (
        f"stb: Another session is doing the sopr verdicts of stub/any on one (process {first.pid} on this"
        " machine). Wait until it ends, or stop it; then run the same command again.\n"
    )
    assert (first.returncode, again.returncode) == (0, 0)
    assert (llm.paid, verdicts(filled_url)) == (2 * QUERIES, 2 * QUERIES)


def test_a_scoring_that_was_killed_goes_on_at_once(filled_url: str, llm: LLMServer) -> None:
    """After SIGKILL the same command neither waits nor is refused."""
    llm.behaviour.held = True
    with started(filled_url, llm, *SCORE) as first:
        wait_for(lambda: llm.count > 0, first)
    llm.behaviour.held = False

    second = done(filled_url, llm, *SCORE)

    assert (second.returncode, verdicts(filled_url)) == (0, 2 * QUERIES)
    assert "session" not in second.stderr


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
        done(filled_url, llm, "score", run, *judge)
    before = llm.count
    llm.behaviour.held = True
    with started(filled_url, llm, *args, *judge) as first:
        wait_for(lambda: llm.count > before, first)
        second = done(filled_url, llm, *other, *(() if "--judge" in other else judge))
        llm.behaviour.held = False
        first.communicate(timeout=300)

    assert (first.returncode, second.returncode, second.stdout) == (0, 1, "")
    assert second.stderr.startswith("stb: Another session is doing the ")
    assert second.stderr.count("\n") == 1
