"""Anchors are chosen once and for all, and compared with the last session that agreed with those before."""

from __future__ import annotations

import pytest

from evaluator_makers import make_run, trajectory
from stb_core.store import Store
from stb_core.values import Judgement, Status
from stb_evaluator.judges import Case, JudgingTally
from stb_evaluator.scores.anchors import (
    EARLIER,
    ask_anchors,
    choose_earlier,
    count_changes,
    last_agreeing,
    load_sessions,
)
from stb_evaluator.scores.pass_verdicts import fill_verdicts
from stb_evaluator.scores.run_reader import RunReader

S, U, N, E = Status.SOLVED, Status.UNSURE, Status.UNSOLVED, Status.ERROR
ANSWERS = [str(number) for number in range(10)]


class Certain:
    """A judge that finds everything solved."""

    name = "stub/certain"
    rubric = "r"
    reusable = True

    async def judge(self, case: Case, number: int) -> Judgement:
        """The same for every answer."""
        return Judgement(S)


def test_changes_are_counted_in_both_directions() -> None:
    """Failed verdicts, and answers without an earlier verdict, are left out."""
    found = count_changes({"a": S, "b": N, "c": U, "d": S}, {"a": U, "b": S, "c": E, "e": S})

    assert (found.n, found.n_better, found.n_worse, found.is_drift) == (2, 1, 1, False)
    assert found.in_words in {
        "solved → unsure 1, unsolved → solved 1",
        "unsolved → solved 1, solved → unsure 1",
    }


@pytest.mark.parametrize(("n_changed", "is_drift"), [(0, False), (4, False), (5, True), (10, True)])
def test_drift_is_what_chance_does_not_explain(n_changed: int, is_drift: bool) -> None:
    """Five changes in one direction are more than chance, four are not."""
    now = {answer: N if int(answer) < n_changed else S for answer in ANSWERS}

    assert count_changes(dict.fromkeys(ANSWERS, S), now).is_drift is is_drift


def test_a_session_with_drift_is_passed_over() -> None:
    """So a judge that has changed is still found to have changed the next time."""
    first = dict.fromkeys(ANSWERS, S)
    moved = first | {"0": N, "1": E}
    changed = dict.fromkeys(ANSWERS, N)

    reference = last_agreeing(first, [moved, changed])

    assert reference == first | {"0": N}
    assert count_changes(reference, changed).is_drift


async def test_the_choice_is_fixed(sqlite_store: Store) -> None:
    """Answers of former sessions come first, however many others have been judged since."""
    judge = Certain()
    few = await make_run(sqlite_store, [trajectory(str(n)) for n in range(5)])
    await fill_verdicts(RunReader(sqlite_store, few), judge, rounds=2)
    chosen = await choose_earlier(sqlite_store, judge, "sopr")
    await ask_anchors(sqlite_store, judge, EARLIER, chosen, 0, connections=2, tally=JudgingTally())
    more = await make_run(sqlite_store, [trajectory(str(n), answer="Other.") for n in range(50)], run="more")
    await fill_verdicts(RunReader(sqlite_store, more), judge, rounds=1)

    again = await choose_earlier(sqlite_store, judge, "sopr")

    assert len(chosen) == 5
    assert again[:5] == chosen
    assert len(again) == 12
    assert len(await load_sessions(sqlite_store, judge, EARLIER)) == 1


async def test_only_answers_that_are_there_are_chosen(sqlite_store: Store) -> None:
    """Neither of a run that was removed, nor of one that a bundle brought."""
    judge = Certain()
    gone = await make_run(sqlite_store, [trajectory("1")], run="gone")
    brought = await make_run(sqlite_store, [trajectory("2")], run="brought", brought=True)
    for run in (gone, brought):
        await fill_verdicts(RunReader(sqlite_store, run), judge, rounds=1)
    before = await choose_earlier(sqlite_store, judge, "sopr")
    await ask_anchors(sqlite_store, judge, EARLIER, before, 0, connections=2, tally=JudgingTally())
    await sqlite_store.runs.remove(gone.run)

    assert [one.trajectory.query_id for one in before] == ["1"]
    assert await choose_earlier(sqlite_store, judge, "sopr") == []
