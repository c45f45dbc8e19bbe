"""Filling the verdict log: only what is lacking, never twice, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from evaluator_makers import make_run, trajectory
from llm_server import LLMServer, text
from stb_core.errors import ModelUnavailableError
from stb_core.llm.openai_client import OpenAIModel
from stb_core.llm.protocol import Endpoint
from stb_core.llm.retries import Patience
from stb_core.store import Store
from stb_core.store.runs import Run
from stb_core.values.trajectories import StopReason
from stb_core.values.verdicts import SOPR, Judgement, Status, Verdict
from stb_evaluator.judges.judge import Case, ModelJudge
from stb_evaluator.judges.panel import panel_of_one
from stb_evaluator.judges.rubrics import load_rubric
from stb_evaluator.scores import pass_verdicts
from stb_evaluator.scores.pass_verdicts import fill_verdicts
from stb_evaluator.scores.run_reader import RunReader


class CountingJudge:
    """Gives the verdict of a table, and counts how often it was asked about what."""

    name = "test/judge"
    rubric = "r1"
    reusable = True

    def __init__(self, statuses: dict[str, Status] | None = None, fail_after: int | None = None) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()
        self.statuses = statuses or {}
        self.fail_after = fail_after
        self.busy = self.most_busy = 0

    async def judge(self, case: Case, number: int) -> Judgement:
        if self.fail_after is not None and self.asked.total() >= self.fail_after:
            raise ModelUnavailableError("down")
        self.asked[case.trajectory.query_id, number] += 1
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        await asyncio.sleep(0)
        self.busy -= 1
        return Judgement(self.statuses.get(case.trajectory.query_id, Status.SOLVED))


async def statuses(store: Store, run: Run, judge: CountingJudge) -> dict[tuple[str, int], Status]:
    marks = await store.verdicts.marks(run.run, metric=SOPR, judge=judge.name, rubric=judge.rubric)
    return {(m.query_id, m.round): m.status for m in marks}


async def test_every_answer_gets_a_verdict_in_every_round(store: Store) -> None:
    """And the same command again asks nothing."""
    run = await make_run(store, [trajectory("1"), trajectory("2")])
    judge = CountingJudge({"2": Status.UNSOLVED})

    first = await fill_verdicts(RunReader(store, run), judge, rounds=2)
    again = await fill_verdicts(RunReader(store, run), judge, rounds=2)

    assert (first.judged, again.judged) == (4, 0)
    assert set(judge.asked.values()) == {1}
    assert await statuses(store, run, judge) == {
        ("1", 0): Status.SOLVED,
        ("1", 1): Status.SOLVED,
        ("2", 0): Status.UNSOLVED,
        ("2", 1): Status.UNSOLVED,
    }


class OvertakenJudge(CountingJudge):
    """Finds everything solved, just after another session has found it unsolved."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store

    async def judge(self, case: Case, number: int) -> Judgement:
        answer = case.trajectory
        place = (answer.group, answer.query_id, answer.trial)
        theirs = Verdict.of(
            Judgement(Status.UNSOLVED),
            place,
            run="r",
            metric=SOPR,
            judge=self.name,
            rubric=self.rubric,
            number=number,
            answer_hash=answer.answer_hash,
        )
        assert await self.store.verdicts.append([theirs]) == 0
        return await super().judge(case, number)


async def test_a_verdict_that_another_session_gave_first_counts(store: Store) -> None:
    """Ours is dropped and counted, and the score of this session is that of the log."""
    run = await make_run(store, [trajectory("1"), trajectory("2")])
    judge, reader = OvertakenJudge(store), RunReader(store, run)
    panel = panel_of_one(judge.name, judge.rubric)
    await reader.verdict_table(panel, rounds=1)

    tally = await fill_verdicts(reader, judge, rounds=1)

    table = await reader.verdict_table(panel, rounds=1)
    assert (tally.judged, tally.dropped) == (2, 2)
    assert [mark.status for mark in table.marks.values()] == [Status.UNSOLVED] * 2
    assert await statuses(store, run, judge) == {("1", 0): Status.UNSOLVED, ("2", 0): Status.UNSOLVED}


async def test_a_scoring_that_comes_late_does_not_look_at_its_judge(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has given all verdicts after this one had read the log: nothing is left to ask."""
    run = await make_run(store, [trajectory("1"), trajectory("2")])
    judge, claim = CountingJudge(), pass_verdicts.claim_questions
    looked: list[str] = []

    @asynccontextmanager
    async def claim_after_another(*args: Any, **options: Any) -> AsyncGenerator[Any]:
        monkeypatch.setattr(pass_verdicts, "claim_questions", claim)
        await fill_verdicts(RunReader(store, run), judge, rounds=1, before=lambda _: look("first"))
        async with claim(*args, **options) as questions:
            yield questions

    async def look(who: str) -> None:
        looked.append(who)

    monkeypatch.setattr(pass_verdicts, "claim_questions", claim_after_another)
    tally = await fill_verdicts(RunReader(store, run), judge, rounds=1, before=lambda _: look("late"))

    assert looked == ["first"]
    assert (tally.judged, judge.asked.total()) == (0, 2)


async def test_more_rounds_add_to_those_that_are_there(sqlite_store: Store) -> None:
    """Only the new round is asked for."""
    run = await make_run(sqlite_store, [trajectory("1")])
    judge = CountingJudge()
    await fill_verdicts(RunReader(sqlite_store, run), judge, rounds=1)

    assert (await fill_verdicts(RunReader(sqlite_store, run), judge, rounds=3)).judged == 2


async def test_what_needs_no_judge_is_not_asked(sqlite_store: Store) -> None:
    """Unfinished, blank, spoiled, and answers to queries that were not asked."""
    stops = [stop for stop in StopReason if stop is not StopReason.ANSWERED]
    made = [trajectory(str(n), stop=stop) for n, stop in enumerate(stops)]
    blank = str(len(stops))
    expected = {"G1_tool": [*(one.query_id for one in made), blank]}
    run = await make_run(
        sqlite_store, [*made, trajectory(blank, answer=" "), trajectory("other")], expected=expected
    )

    assert (await fill_verdicts(RunReader(sqlite_store, run), CountingJudge(), rounds=1)).judged == 0


async def test_the_same_answer_in_another_run_is_not_paid_for_again(sqlite_store: Store) -> None:
    """Its verdicts are taken from the log, round by round, and marked."""
    one = await make_run(sqlite_store, [trajectory("1"), trajectory("2")], run="one")
    other = await make_run(sqlite_store, [trajectory("1"), trajectory("2", answer="Else.")], run="other")
    judge = CountingJudge({"1": Status.UNSURE})
    await fill_verdicts(RunReader(sqlite_store, one), judge, rounds=1)

    tally = await fill_verdicts(RunReader(sqlite_store, other), judge, rounds=1)

    assert (tally.reused, tally.judged) == (1, 1)
    (reused,) = await sqlite_store.verdicts.of_query("other", "G1_tool", "1", metric=SOPR)
    assert (reused.status, reused.details) == (Status.UNSURE, {"reused_from": "one"})


async def test_errors_are_retried_alone_and_only_when_asked(sqlite_store: Store) -> None:
    """A failed verdict stays until --retry-errors; then nothing else is asked."""
    run = await make_run(sqlite_store, [trajectory("1"), trajectory("2")])
    judge = CountingJudge({"1": Status.ERROR})
    await fill_verdicts(RunReader(sqlite_store, run), judge, rounds=1)
    judge.statuses = {}

    plain = await fill_verdicts(RunReader(sqlite_store, run), judge, rounds=1)
    retried = await fill_verdicts(RunReader(sqlite_store, run), judge, rounds=1, retry_errors=True)

    assert (plain.judged, retried.judged) == (0, 1)
    assert (await statuses(sqlite_store, run, judge))["1", 0] is Status.SOLVED


async def test_an_interrupted_scoring_goes_on_where_it_stopped(sqlite_store: Store) -> None:
    """Whatever was judged before the judge went away is not asked again."""
    run = await make_run(sqlite_store, [trajectory(str(n)) for n in range(40)])
    judge = CountingJudge(fail_after=25)

    cut = await fill_verdicts(RunReader(sqlite_store, run), judge, rounds=2, connections=4)
    judge.fail_after = None
    rest = await fill_verdicts(RunReader(sqlite_store, run), judge, rounds=2, connections=4)

    assert (cut.judged, cut.unavailable) == (25, 55)
    assert (rest.judged, rest.unavailable) == (55, 0)
    assert set(judge.asked.values()) == {1}


async def test_a_judge_that_is_gone_is_not_asked_for_ever(sqlite_store: Store) -> None:
    """After some refusals in a row the rest is left for another time."""
    run = await make_run(sqlite_store, [trajectory(str(n)) for n in range(100)])
    asked = 0

    class Gone(CountingJudge):
        async def judge(self, case: Case, number: int) -> Judgement:
            nonlocal asked
            asked += 1
            raise ModelUnavailableError("down")

    tally = await fill_verdicts(RunReader(sqlite_store, run), Gone(), rounds=1, connections=2)

    assert (tally.judged, tally.unavailable, tally.last_problem) == (0, 100, "down")
    assert asked < 15


async def test_no_more_requests_at_once_than_allowed(sqlite_store: Store) -> None:
    """The limit holds over all queries and rounds."""
    run = await make_run(sqlite_store, [trajectory(str(n)) for n in range(20)])
    judge = CountingJudge()

    await fill_verdicts(RunReader(sqlite_store, run), judge, rounds=3, connections=5)

    assert judge.most_busy == 5


async def test_a_trial_that_was_run_again_is_judged_again(sqlite_store: Store) -> None:
    """The verdict on its former answer does not count for the new one."""
    run = await make_run(sqlite_store, [trajectory("1")])
    judge = CountingJudge()
    await fill_verdicts(RunReader(sqlite_store, run), judge, rounds=1)
    await sqlite_store.runs.put_trajectories(run.run, [trajectory("1", answer="Another.")])

    assert (await fill_verdicts(RunReader(sqlite_store, run), judge, rounds=1)).judged == 1


def model_at(llm: LLMServer) -> OpenAIModel:
    endpoint = Endpoint(llm.url, None, "STUB_BASE_URL", "STUB_API_KEY")
    return OpenAIModel("stub/judge", endpoint, patience=Patience(first_wait_s=0.01, longest_wait_s=0.05))


async def test_a_storm_costs_no_verdict(sqlite_store: Store, llm: LLMServer) -> None:
    """Refusals, server errors, broken bodies and dropped connections: every verdict is given in the end."""
    run = await make_run(sqlite_store, [trajectory(str(n)) for n in range(30)])
    llm.behaviour.rate_limit_share = 0.5
    llm.behaviour.error_share = 0.2
    llm.behaviour.malformed_share = 0.05
    llm.behaviour.drop_share = 0.1
    llm.rule = lambda _: text('{"reason": "", "answer_status": "solved"}')
    model = model_at(llm)

    tally = await fill_verdicts(
        RunReader(sqlite_store, run), ModelJudge(model, load_rubric("sopr-1")), rounds=1
    )
    await model.close()

    marks = await sqlite_store.verdicts.marks(
        run.run, metric=SOPR, judge="stub/judge", rubric=load_rubric("sopr-1").hash
    )
    assert (tally.unavailable, {m.status for m in marks}) == (0, {Status.SOLVED})
    assert len(marks) == 30


async def test_odd_replies_are_errors_and_spoil_nothing_else(sqlite_store: Store, llm: LLMServer) -> None:
    """One query's judge talks nonsense to the end; the others are scored."""

    def rule(body: dict[str, object]) -> object:
        odd = "What is number 3?" in json.dumps(body["messages"])
        return text("I would say: solved" if odd else '{"reason": "", "answer_status": "solved"}')

    run = await make_run(sqlite_store, [trajectory(str(n)) for n in range(6)])
    llm.rule = rule  # type: ignore[assignment]
    model = model_at(llm)

    tally = await fill_verdicts(
        RunReader(sqlite_store, run), ModelJudge(model, load_rubric("sopr-1")), rounds=1
    )
    await model.close()

    (odd,) = await sqlite_store.verdicts.of_query(run.run, "G1_tool", "3", metric=SOPR)
    assert (tally.judged, tally.errors) == (6, 1)
    assert (odd.status, odd.raw[-1]) == (Status.ERROR, "I would say: solved")
    assert odd.usage.model_calls > 1
