"""Who wins a query: pass verdicts first, then a judge in both orders; each published fault a switch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator_makers import log, trajectory
from stb_core.errors import UsageError
from stb_core.values.trajectories import FunctionCall, Message, StopReason, Trajectory
from stb_core.values.verdicts import Status
from stb_evaluator.judges.pairs import Pair
from stb_evaluator.scores.reference_rules import OURS, PUBLISHED, SWITCHES, set_switches
from stb_evaluator.scores.verdict_table import build_verdict_table
from stb_evaluator.scores.win_rate import (
    answers_to_check,
    decide_outcome,
    pair_questions,
    solved_by_majority,
    toss_coin,
)

A, B = trajectory(answer="It is 4217."), trajectory(answer="No idea.")
PAIR = Pair(A, B, "What?")
TWINS = Pair(A, trajectory(answer="It is 4217.", observation="other way"), "What?")
COMPARED = {**PUBLISHED, "sowr.verdicts": "ignored"}
FIRST, SECOND, NEITHER = Status.SOLVED, Status.UNSOLVED, Status.UNSURE


def says(as_is: Status | None, swapped: Status | None, number: int = 0) -> dict[tuple[str, int], Status]:
    found = {(PAIR.hash, number): as_is, (PAIR.swapped.hash, number): swapped}
    return {key: status for key, status in found.items() if status is not None}


def test_a_solved_answer_beats_one_that_is_not() -> None:
    """Decided by the pass verdicts, without a question, unless these are ignored."""
    assert decide_outcome(PAIR, (True, False), 1, {}) == 1.0
    assert decide_outcome(PAIR, (False, True), 1, {}) == 0.0
    assert pair_questions(PAIR, (True, False), 1) == []
    assert pair_questions(PAIR, (True, False), 1, COMPARED) != []


@pytest.mark.parametrize("number", range(20))
def test_the_loser_never_wins_by_the_order_in_which_it_is_shown(number: int) -> None:
    """Verdicts belong to answers, not to places: a naive mend of the reference gets half of these wrong."""
    pair = Pair(trajectory(answer=f"good {number}"), trajectory(answer=f"bad {number}"), "What?")

    assert decide_outcome(pair, (True, False), 1, {}) == 1.0
    assert decide_outcome(pair.swapped, (False, True), 1, {}) == 0.0


@pytest.mark.parametrize("solved", [(True, True), (False, False)])
def test_otherwise_both_orders_are_asked(solved: tuple[bool, bool]) -> None:
    """The order swap of the reference is dead code: it asks once, in an order of chance."""
    assert pair_questions(PAIR, solved, 2) == [(PAIR, 0), (PAIR.swapped, 0), (PAIR, 1), (PAIR.swapped, 1)]
    assert len(pair_questions(PAIR, solved, 2, COMPARED)) == 2


@pytest.mark.parametrize(
    ("as_is", "swapped", "expected"),
    [
        (FIRST, SECOND, 1.0),
        (SECOND, FIRST, 0.0),
        (FIRST, FIRST, 0.5),
        (SECOND, SECOND, 0.5),
        (NEITHER, NEITHER, 0.5),
        (FIRST, NEITHER, 0.5),
        (FIRST, None, None),
        (None, None, None),
        (FIRST, Status.ERROR, None),
    ],
)
def test_both_orders_must_agree(as_is: Status, swapped: Status | None, expected: float | None) -> None:
    """A split is a tie; a question without a readable verdict cannot be told."""
    assert decide_outcome(PAIR, (True, True), 1, says(as_is, swapped)) == expected


def test_rounds_are_averaged() -> None:
    """A win and a tie are three quarters; a lacking round leaves it untold."""
    verdicts = says(FIRST, SECOND, 0) | says(FIRST, FIRST, 1)

    assert decide_outcome(PAIR, (True, True), 2, verdicts) == 0.75
    assert decide_outcome(PAIR, (True, True), 3, verdicts) is None


def test_identical_answers_are_a_tie_without_a_call() -> None:
    """However they were found; the reference tosses a coin, up to 45 percent of the queries of a pair."""
    assert (decide_outcome(TWINS, (True, True), 1, {}), pair_questions(TWINS, (True, True), 1)) == (0.5, [])
    twins = [Pair(trajectory(answer=f"{n}"), trajectory(answer=f"{n}", trial=1), "What?") for n in range(200)]
    tosses = [decide_outcome(pair, (True, True), 1, {}, PUBLISHED) for pair in twins]
    assert set(tosses) == {0.0, 1.0}
    assert 60 < sum(tosses) < 140


def test_no_answer_on_both_sides_is_a_tie() -> None:
    """Nothing is as good as nothing."""
    assert decide_outcome(Pair(None, None, "What?"), (False, False), 1, {}) == 0.5


def test_pass_verdicts_that_are_lacking_leave_it_untold() -> None:
    """A failed judge of one answer decides nothing about the other."""
    assert decide_outcome(PAIR, (None, True), 1, {}) is None
    assert pair_questions(PAIR, (None, True), 1) == []


def test_the_published_way_gives_the_query_to_the_most_rounds() -> None:
    """Two rounds of three won are the whole query."""
    switches = {**COMPARED, "sowr.identical": "tie"}
    rounds = dict(enumerate((FIRST, FIRST, SECOND)))
    verdicts = {(PAIR.hash, number): status for number, status in rounds.items()}

    assert decide_outcome(PAIR, (False, True), 3, verdicts, switches) == 1.0


def checked(first: Status, second: Status, pair: Pair = PAIR) -> dict[tuple[str, int], Status]:
    """Verdicts on both answers of a pair in round 0, in both orders."""
    return {
        (shown.hash_of(answer), 0): status
        for shown in (pair, pair.swapped)
        for answer, status in ((pair.first, first), (pair.second, second))
        if answer is not None
    }


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (Status.SOLVED, Status.UNSOLVED, 1.0),
        (Status.UNSOLVED, Status.SOLVED, 0.0),
        (Status.SOLVED, Status.UNSURE, 1.0),
        (Status.UNSOLVED, Status.UNSURE, 0.0),
        (Status.ERROR, Status.SOLVED, None),
    ],
)
@pytest.mark.parametrize("order", ["one", "both"])
def test_of_answers_judged_anew_the_better_status_wins(
    first: Status, second: Status, expected: float | None, order: str
) -> None:
    """Without a comparison, in whatever order they are shown, and whatever was recorded of them."""
    switches = {**PUBLISHED, "sowr.order": order}
    checks = checked(first, second)

    for recorded in ((True, True), (False, True), (None, None)):
        assert decide_outcome(PAIR, recorded, 1, {}, switches, checks) == expected
        assert pair_questions(PAIR, recorded, 1, switches, checks) == []


@pytest.mark.parametrize("status", [Status.SOLVED, Status.UNSURE, Status.UNSOLVED])
def test_of_answers_judged_anew_alike_the_better_is_asked_for(status: Status) -> None:
    """In the one order of the round."""
    shown = (PAIR, PAIR.swapped)[toss_coin(PAIR, 0, "order")]
    checks = checked(status, status)

    assert pair_questions(PAIR, (True, False), 1, PUBLISHED, checks) == [(shown, 0)]
    assert decide_outcome(PAIR, (True, False), 1, {}, PUBLISHED, checks) is None
    won = decide_outcome(PAIR, (True, False), 1, {(shown.hash, 0): FIRST}, PUBLISHED, checks)
    assert won == (1.0 if shown is PAIR else 0.0)


def test_both_answers_are_judged_anew_in_every_round() -> None:
    """Each of its own, and each order of its own; before that nothing is compared."""
    both = {**PUBLISHED, "sowr.order": "both"}

    wanted = answers_to_check(PAIR, 3, PUBLISHED)

    assert [(answer in (A, B), number) for _, answer, number in wanted] == [
        (True, number) for number in (0, 0, 1, 1, 2, 2)
    ]
    assert len({pair.hash_of(answer) for pair, answer, _ in answers_to_check(PAIR, 1, both)}) == 4
    assert pair_questions(PAIR, (None, None), 3, PUBLISHED) == []
    assert answers_to_check(PAIR, 3, COMPARED) == answers_to_check(PAIR, 3, OURS) == []


@pytest.mark.parametrize(
    "loser", [trajectory(stop=StopReason.GAVE_UP), trajectory(answer="give_up_and_restart")]
)
def test_no_answer_is_unsolved_without_judging_it_anew(loser: Trajectory) -> None:
    """Nor one that says the words of giving up."""
    pair = Pair(loser, A, "What?")
    checks = {(one.hash_of(A), 0): Status.SOLVED for one in (pair, pair.swapped)}

    assert [answer for _, answer, _ in answers_to_check(pair, 1, PUBLISHED)] == [A]
    assert decide_outcome(pair, (None, None), 1, {}, PUBLISHED, checks) == 0.0


def test_a_missing_answer_loses_without_judging_the_other() -> None:
    """In the published way; where both lack, the candidate wins."""
    pairs = Pair(A, None, "What?"), Pair(None, A, "What?"), Pair(None, None, "What?")

    assert [decide_outcome(pair, (None, None), 1, {}, PUBLISHED) for pair in pairs] == [1.0, 0.0, 1.0]
    assert [answers_to_check(pair, 1, PUBLISHED) for pair in pairs] == [[], [], []]


def test_a_spoiled_trial_is_not_judged_anew() -> None:
    """Nothing is known of it, so the outcome cannot be told."""
    pair = Pair(trajectory(stop=StopReason.INFRASTRUCTURE), A, "What?")

    assert answers_to_check(pair, 1, PUBLISHED) == pair_questions(pair, (None, None), 1, PUBLISHED) == []
    assert decide_outcome(pair, (None, None), 1, {}, PUBLISHED) is None


def test_the_published_coin_is_for_the_same_words_after_the_same_calls() -> None:
    """The same words after other calls are judged anew and compared, unless the same words are a tie."""
    same = Pair(A, trajectory(trial=1), "What?")

    assert decide_outcome(same, (None, None), 1, {}, PUBLISHED) in {0.0, 1.0}
    assert len(answers_to_check(TWINS, 1, PUBLISHED)) == 2
    assert decide_outcome(TWINS, (None, None), 1, {}, {**PUBLISHED, "sowr.identical": "tie"}) == 0.5


def test_the_published_way_compares_answers_that_differ_in_a_thought() -> None:
    """It tosses its coin only where everything that was said is the same, too."""
    calls = tuple(FunctionCall(id="1", name=s.function, arguments=s.arguments) for s in A.steps)
    said = (Message(role="assistant", content="Let me see.", tool_calls=calls),)
    pair = Pair(A, A.model_copy(update={"messages": said}), "What?")

    assert pair.identical
    assert len(answers_to_check(pair, 1, PUBLISHED)) == 2


statuses = st.sampled_from([FIRST, SECOND, NEITHER])


@given(statuses, statuses, st.booleans(), st.booleans())
def test_the_other_side_sees_the_mirror_image(as_is: Status, swapped: Status, one: bool, other: bool) -> None:
    """What the candidate wins the reference loses."""
    verdicts = says(as_is, swapped)

    mine = decide_outcome(PAIR, (one, other), 1, verdicts)
    theirs = decide_outcome(PAIR.swapped, (other, one), 1, verdicts)

    assert mine is not None
    assert theirs is not None
    assert mine + theirs == 1.0


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("ssn", True),
        ("snn", False),
        ("sun", False),
        ("ss", True),
        ("sn", False),
        ("see", True),
        ("e", None),
        ("g", False),
        ("i", None),
    ],
)
def test_the_majority_of_readable_verdicts_decides(letters: str, expected: bool | None) -> None:
    """More than half; errors are no votes; what was not answered is not solved, what was spoiled not known."""
    done, marks = log({"1": letters})

    assert (
        solved_by_majority(build_verdict_table({"G1_tool": ["1"]}, 1, done, marks), ("G1_tool", "1", 0))
        is expected
    )


def test_a_missing_answer_is_not_solved() -> None:
    """Without any trajectory."""
    assert (
        solved_by_majority(build_verdict_table({"G1_tool": ["1"]}, 1, [], []), ("G1_tool", "1", 0)) is False
    )


def test_switches_are_set_by_name() -> None:
    """The rest stays as published."""
    assert set_switches(["sowr.identical=tie"]) == {**PUBLISHED, "sowr.identical": "tie"}
    assert OURS.keys() == PUBLISHED.keys() == SWITCHES.keys()


@pytest.mark.parametrize("change", ["sowr.nothing=1", "sowr.identical=heads", "sowr.identical"])
def test_a_switch_that_is_not_there_is_refused(change: str) -> None:
    """With those that are."""
    with pytest.raises(UsageError, match=r"sowr\."):
        set_switches([change])
