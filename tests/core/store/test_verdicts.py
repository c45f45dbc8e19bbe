"""The verdict log keeps what was said, and runs keep what was answered."""

from __future__ import annotations

import pytest

from stb_core.store import Store
from stb_core.store.verdicts import BroughtVerdicts, Judged, Mark
from stb_core.values.manifest import Manifest
from stb_core.values.trajectories import Step, StopReason, Trajectory
from stb_core.values.verdicts import Status, Verdict


def trajectory(query_id: str = "1", answer: str = "42", stop: StopReason = StopReason.ANSWERED) -> Trajectory:
    step = Step(function="f", arguments="{}", observation="42")
    return Trajectory(
        group="G", query_id=query_id, query="?", agent="a", stop=stop, final_answer=answer, steps=(step,)
    )


def verdict(query_id: str = "1", round_: int = 0, status: Status = Status.SOLVED, run: str = "r") -> Verdict:
    answer = trajectory(query_id).answer_hash
    return Verdict(
        run=run,
        group="G",
        query_id=query_id,
        judge="j",
        rubric="x",
        round=round_,
        status=status,
        answer_hash=answer,
    )


async def test_marks_are_the_log_in_the_order_in_which_it_was_written(store: Store) -> None:
    """A repeated round stays in the log beside the first."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1"]})
    await store.verdicts.append([verdict(status=Status.ERROR)])
    await store.verdicts.append([verdict(status=Status.UNSURE)])

    marks = await store.verdicts.marks("r", metric="sopr", judge="j", rubric="x")

    answer = trajectory().answer_hash
    assert marks == [
        Mark("G", "1", 0, 0, Status.ERROR, answer),
        Mark("G", "1", 0, 0, Status.UNSURE, answer),
    ]


async def test_a_readable_verdict_that_is_there_already_is_dropped_and_counted(store: Store) -> None:
    """Of any status, in one transaction or in several; the first stays. A failure is no verdict yet."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1", "2"]})
    error, first = verdict(status=Status.ERROR), verdict(status=Status.UNSURE)

    dropped = [
        await store.verdicts.append([error, error]),
        await store.verdicts.append([first, verdict(), verdict("2")]),
        await store.verdicts.append([verdict(), error, verdict("2")]),
    ]

    marks = await store.verdicts.marks("r", metric="sopr", judge="j", rubric="x")
    assert dropped == [0, 1, 2]
    assert [(mark.query_id, mark.status) for mark in marks] == [
        *[("1", Status.ERROR)] * 2,
        *[("1", Status.UNSURE), ("2", Status.SOLVED)],
        ("1", Status.ERROR),
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"run": "s"},
        {"group": "H"},
        {"query_id": "2"},
        {"trial": 1},
        {"metric": "fac"},
        {"judge": "k"},
        {"rubric": "y"},
        {"round": 1},
        {"answer_hash": "another answer, or the same pair in the other order"},
        {"source": "a.zip", "is_foreign": True},
    ],
)
async def test_a_verdict_on_another_question_is_added(store: Store, other: dict[str, object]) -> None:
    """Whatever it is that differs."""
    for run in ("r", "s"):
        await store.runs.create(run, Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1", "2"]})
    await store.verdicts.append([verdict()])

    assert await store.verdicts.append([verdict().model_copy(update=other)]) == 0


async def test_foreign_verdicts_count_only_where_they_are_asked_for(store: Store) -> None:
    """Not among marks, judges or earlier verdicts; the log names where each came from."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1"]})
    foreign = verdict().model_copy(update={"source": "a.zip", "is_foreign": True})
    brought = verdict(round_=1).model_copy(update={"source": "b.zip"})
    await store.verdicts.append([foreign, brought])
    log, place = store.verdicts, {"metric": "sopr", "judge": "j", "rubric": "x"}

    assert [mark.round for mark in await log.marks("r", **place)] == [1]
    assert [mark.round for mark in await log.marks("r", **place, source="a.zip")] == [0]
    assert [one.verdicts for one in await log.judges("r")] == [1]
    assert await log.by_answers([foreign.answer_hash], **place) == [brought]
    assert await log.of_run("r") == [brought]
    assert await log.of_run("r", with_foreign=True) == [foreign, brought]
    assert await log.of_query("r", "G", "1", metric="sopr") == [foreign, brought]
    assert await log.brought("r") == [
        BroughtVerdicts(**place, source="a.zip", is_foreign=True, verdicts=1),
        BroughtVerdicts(**place, source="b.zip", is_foreign=False, verdicts=1),
    ]


async def test_judges_are_listed_with_their_rounds(store: Store) -> None:
    """One line for each judge, rubric, metric and run."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1", "2"]})
    await store.verdicts.append([verdict("1", 0), verdict("1", 1), verdict("2", 0)])

    assert await store.verdicts.judges("r") == [Judged("r", "sopr", "j", "x", verdicts=3, rounds=2)]


async def test_verdicts_are_found_by_what_was_judged(store: Store) -> None:
    """The same answer in another run finds the verdicts that were paid for."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1"]})
    await store.verdicts.append([verdict(round_=0), verdict(round_=1)])
    hashes = [trajectory("1").answer_hash, *(f"{n:064}" for n in range(1000))]

    found = await store.verdicts.by_answers(hashes, metric="sopr", judge="j", rubric="x")

    assert [v.round for v in found] == [0, 1]


def test_equal_answers_have_one_hash_whoever_gave_them() -> None:
    """Agent, query id and cost do not enter; the answer does."""
    other = trajectory("2").model_copy(update={"agent": "b"})

    assert trajectory().answer_hash == other.answer_hash
    assert trajectory().answer_hash != trajectory(answer="43").answer_hash


def test_nothing_to_judge_has_no_hash() -> None:
    """An unfinished trajectory and a blank answer are both empty."""
    unfinished = trajectory(stop=StopReason.NO_FINISH)

    assert [unfinished.answer_hash, trajectory(answer=" \n").answer_hash] == ["", ""]


async def test_many_trajectories_are_added_at_once(store: Store) -> None:
    """Each gets its own attempt number, also when a batch holds a trial twice."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {})
    await store.runs.put_trajectories("r", [trajectory("1", "one")])

    await store.runs.put_trajectories(
        "r", [trajectory("1", "two"), trajectory("1", "three"), trajectory("2")]
    )

    done = {d.query_id: d for d in await store.runs.done("r")}
    assert {name: d.attempt for name, d in done.items()} == {"1": 2, "2": 0}
    assert done["1"].answer_hash == trajectory("1", "three").answer_hash


async def test_expected_queries_are_added_and_never_taken_away(store: Store) -> None:
    """The denominator of a run only grows."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1", "2"]})

    await store.runs.expect("r", {"G": ["3", "1"], "H": ["1"]})

    assert (await store.runs.get("r")).expected == {"G": ["1", "2", "3"], "H": ["1"]}
