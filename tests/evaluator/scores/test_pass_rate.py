"""Scores are the contract's arithmetic, and an incomplete score never looks complete."""

from __future__ import annotations

import json
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator_makers import log
from stb_core.store.runs import StoredTrial
from stb_core.store.verdicts import Mark
from stb_core.values.trajectories import Step, StopReason
from stb_core.values.verdicts import Status
from stb_evaluator.scores.pass_rate import Score, score
from stb_evaluator.scores.reference_rules import PUBLISHED
from stb_evaluator.scores.verdict_table import VerdictTable, build_verdict_table, gate, gate_by_words


def table(answers: dict[str, str], ids: str = "", **more: int) -> VerdictTable:
    done, marks = log(answers)
    return build_verdict_table({"G1_tool": list(ids or answers)}, 1, done, marks, **more)


def row(made: VerdictTable, block: str = "faithful", group: str = "G1_tool") -> Score:
    return next(r for r in score(made, block) if r.group == group)  # type: ignore[arg-type]


def test_a_round_is_the_mean_of_points() -> None:
    """Solved 1, unsure one half, unsolved 0; the score is the mean over rounds in percent."""
    found = row(table({"1": "ss", "2": "us", "3": "nn", "4": "g"}))

    assert found.round_values == [37.5, 50.0]
    assert found.value == 43.75
    assert found.std_rounds == 6.25
    assert found.complete


def test_a_missing_answer_is_unsolved_and_shown() -> None:
    """Six of ten answered, all solved, is 60 percent and incomplete; the reference calls it 100."""
    made = table(dict.fromkeys("123456", "sss"), ids="1234567890")

    faithful, reference = row(made), row(made, "reference")

    assert (faithful.value, faithful.missing, faithful.n_total, faithful.complete) == (60.0, 4, 10, False)
    assert (reference.value, reference.n, reference.complete) == (100.0, 6, False)


def test_a_judge_error_is_not_scored_as_unsolved() -> None:
    """It is left out, counted, and makes row and round incomplete; the reference scores it 0."""
    made = table({"1": "se", "2": "ss"})

    assert (row(made).value, row(made).round_values) == (100.0, [100.0, None])
    assert (row(made).n_error, row(made).complete) == (1, False)
    assert row(made, "reference").round_values == [100.0, 50.0]


def test_a_verdict_that_is_still_to_be_given_makes_the_row_incomplete() -> None:
    """An interrupted round is none; the reference scores the rest 0."""
    made = table({"1": "ss", "2": "s."}, rounds=2)

    assert (row(made).value, row(made).round_values) == (100.0, [100.0, None])
    assert (row(made).n_error, row(made).complete) == (1, False)
    assert row(made, "reference").round_values == [100.0, 50.0]


@pytest.mark.parametrize("letters", ["sn", "sn..", "sne.", "s.n"])
def test_a_round_that_lacks_verdicts_is_no_round_of_failures(letters: str) -> None:
    """Half of the answers gave up, for which no judge is asked; the others stand for what was judged."""
    made = table({**dict.fromkeys("1234", letters), **dict.fromkeys("5678", "g")}, rounds=len(letters))

    found = row(made)

    assert found.value == 25.0
    assert found.ci_low is not None
    assert found.ci_high is not None
    assert found.ci_low < 25.0 < found.ci_high
    assert [value for value in found.round_values if value is not None] in ([50.0, 0.0], [50.0])
    assert found.n_error == 4 * (len(letters) - 2)


def test_a_round_without_verdicts_is_worth_nothing_in_the_published_way_alone() -> None:
    """The published code scores the missing rounds 0; the switch for gaps leaves them out."""
    made = table({"1": "s.", "2": "g"}, rounds=2)

    published = row(made, "reference")
    unscored = score(made, "reference", switches={**PUBLISHED, "sopr.gaps": "unscored"})[0]

    assert (published.value, published.round_values) == (25.0, [50.0, 0.0])
    assert (unscored.value, unscored.round_values, unscored.std_rounds) == (50.0, [50.0, None], 0.0)


def test_what_lacks_verdicts_weighs_no_less_than_a_trial_that_needs_none() -> None:
    """One trial gave up, the other was solved in the one round that was judged: 50 percent."""
    done = [
        StoredTrial("G1_tool", "1", 0, 0, StopReason.GAVE_UP),
        StoredTrial("G1_tool", "1", 1, 0, StopReason.ANSWERED, answer_hash="h"),
    ]
    marks = [Mark("G1_tool", "1", 1, 0, Status.SOLVED, "h")]

    found = row(build_verdict_table({"G1_tool": ["1"]}, 2, done, marks, rounds=3))

    assert (found.value, found.round_values, found.n_error) == (50.0, [50.0, None, None], 2)


def test_a_round_is_left_out_of_the_average_where_a_group_lacks_a_verdict() -> None:
    """Of the score it is not: that is the mean of the groups' scores, and by queries of what they have."""
    done, marks = log({"1": "ss", "2": "ss", "3": "g"}, group="G1_tool")
    more, others = log({"1": "n.", "2": "ee"}, group="G2_category")
    expected = {"G1_tool": ["1", "2", "3"], "G2_category": ["1", "2"]}
    made = build_verdict_table(expected, 1, [*done, *more], [*marks, *others], rounds=2)

    macro, micro = row(made, group="macro"), row(made, group="micro")

    assert macro.value == pytest.approx(100 / 3)
    assert micro.value == pytest.approx(50.0)
    assert macro.round_values == micro.round_values == [None, None]
    assert (macro.std_rounds, macro.n, macro.n_error, macro.complete) == (None, 4, 3, False)


def test_a_perfect_average_is_a_hundred_percent() -> None:
    """Six weights of one sixth add up to a little less than 1."""
    logs = [log({"1": "s"}, group=f"G{n}") for n in range(6)]
    expected = {f"G{n}": ["1"] for n in range(6)}
    made = build_verdict_table(
        expected, 1, [d for done, _ in logs for d in done], [m for _, marks in logs for m in marks]
    )

    for block in ("faithful", "reference"):
        assert [row(made, block, name).value for name in ("macro", "micro")] == [100.0, 100.0]


def test_what_infrastructure_spoiled_is_not_scored() -> None:
    """Our own fault is never the agent's failure."""
    found = row(table({"1": "s", "2": "i"}))

    assert (found.value, found.n, found.n_total, found.n_error, found.complete) == (100.0, 1, 2, 1, False)


def test_the_reference_block_counts_what_infrastructure_spoiled() -> None:
    """The published code leaves it out; the row is incomplete all the same."""
    found = row(table({"1": "s", "2": "i"}), "reference")

    assert (found.value, found.n, found.n_total, found.n_error, found.complete) == (100.0, 1, 2, 1, False)
    assert found.counts == {"infrastructure": 1, "solved": 1}


def test_the_reference_block_counts_queries_and_not_trials() -> None:
    """Three trials of two queries are two queries; answers to queries that were not asked for do not count."""
    done = [
        StoredTrial("G1_tool", query, trial, 0, StopReason.GAVE_UP) for query in "123" for trial in range(3)
    ]

    found = row(build_verdict_table({"G1_tool": ["1", "2"]}, 3, done, []), "reference")

    assert (found.n, found.n_total, found.value, found.complete) == (2, 2, 0.0, True)


@given(
    answers=st.dictionaries(
        st.integers(1, 40).map(str),
        st.one_of(st.sampled_from("gfi"), st.text("sune.", min_size=3, max_size=3)),
        max_size=12,
    ),
    more=st.integers(0, 3),
)
def test_a_score_lies_within_its_interval(answers: dict[str, str], more: int) -> None:
    """Every row of both blocks; and no row that lacks something calls itself complete."""
    ids = [*answers, *(f"missing {n}" for n in range(more))]
    done, marks = log(answers)
    made = build_verdict_table({"G1_tool": ids, "G2_tool": ["1"]}, 1, done, marks, rounds=3)

    for block in ("faithful", "reference"):
        for found in score(made, block):
            assert found.n <= found.n_total
            is_known = not found.counts.get("unknown_groups")
            assert found.complete == (found.missing == 0 and found.n_error == 0 and is_known)
            if found.value is not None and found.ci_low is not None:
                assert found.ci_high is not None
                assert found.ci_low <= found.value <= found.ci_high


def test_a_round_that_is_judged_twice_adds_no_vote() -> None:
    """The first readable verdict of a round stands."""
    done, marks = log({"1": "sn"})
    again = [*marks, *(Mark(m.group, m.query_id, 0, m.round, Status.UNSURE, m.answer_hash) for m in marks)]

    once = build_verdict_table({"G1_tool": ["1"]}, 1, done, marks)
    twice = build_verdict_table({"G1_tool": ["1"]}, 1, done, again)

    assert score(once, "faithful") == score(twice, "faithful")


def test_a_verdict_takes_the_place_of_an_error() -> None:
    """A retry after an error counts, wherever it stands in the log."""
    done, marks = log({"1": "e"})
    retry = Mark("G1_tool", "1", 0, 0, Status.SOLVED, "hash 1")

    assert row(build_verdict_table({"G1_tool": ["1"]}, 1, done, [*marks, retry])).value == 100.0


def test_a_verdict_on_another_answer_does_not_count() -> None:
    """When a trial was run again, the verdict on its former answer is void."""
    done, _ = log({"1": "s"})
    stale = Mark("G1_tool", "1", 0, 0, Status.SOLVED, "another hash")

    found = row(build_verdict_table({"G1_tool": ["1"]}, 1, done, [stale]))

    assert (found.value, found.n_error, found.complete) == (None, 1, False)


def test_an_answer_to_a_query_that_was_not_asked_changes_nothing() -> None:
    """Only expected queries are scored."""
    assert row(table({"1": "s", "9": "n"}, ids="1")).value == 100.0


def test_trials_of_one_query_are_averaged() -> None:
    """Four trials, three solved: 75 percent of one query."""
    done = [StoredTrial("G1_tool", "1", t, 0, StopReason.ANSWERED, answer_hash="h") for t in range(4)]
    marks = [Mark("G1_tool", "1", t, 0, Status.SOLVED if t else Status.UNSOLVED, "h") for t in range(4)]

    found = row(build_verdict_table({"G1_tool": ["1"]}, 4, done, marks))

    assert (found.value, found.n) == (75.0, 1)


def test_macro_is_the_mean_of_groups_and_micro_that_of_queries() -> None:
    """Groups stand in their usual order before both."""
    done, marks = log({"1": "s"}, group="G3_instruction")
    more, others = log({"1": "n", "2": "n", "3": "n"}, group="G1_instruction")
    expected = {"G3_instruction": ["1"], "G1_instruction": ["1", "2", "3"]}

    rows = score(build_verdict_table(expected, 1, [*done, *more], [*marks, *others]), "faithful")

    assert [(r.group, r.value) for r in rows] == [
        ("G1_instruction", 0.0),
        ("G3_instruction", 100.0),
        ("macro", 50.0),
        ("micro", 25.0),
    ]


def test_the_deviation_of_the_published_average_is_the_mean_of_the_groups() -> None:
    """The faithful block gives that of the average itself, which is smaller."""
    done, marks = log({"1": "sn"}, group="G1_tool")
    more, others = log({"1": "ns"}, group="G2_category")
    made = build_verdict_table({"G1_tool": ["1"], "G2_category": ["1"]}, 1, [*done, *more], [*marks, *others])

    assert row(made, "reference", "macro").std_rounds == 50.0
    assert row(made, "faithful", "macro").std_rounds == 0.0


def test_the_first_rounds_count_when_fewer_are_asked_for() -> None:
    """More verdicts in the log do not change a score of one round."""
    found = row(table({"1": "snn"}, rounds=1))

    assert (found.value, found.rounds) == (100.0, 1)


@pytest.mark.parametrize(
    ("done", "reason"),
    [
        (StoredTrial("g", "1", 0, 0, StopReason.ANSWERED, answer_hash="h"), ""),
        (StoredTrial("g", "1", 0, 0, StopReason.ANSWERED), "empty"),
        (StoredTrial("g", "1", 0, 0, StopReason.GAVE_UP), "gave_up"),
        (StoredTrial("g", "1", 0, 0, StopReason.NO_FINISH), "no_finish"),
        (StoredTrial("g", "1", 0, 0, StopReason.MAX_STEPS), "no_finish"),
        (StoredTrial("g", "1", 0, 0, StopReason.CONTEXT_EXCEEDED), "no_finish"),
        (StoredTrial("g", "1", 0, 0, StopReason.CONTENT_FILTER), "no_finish"),
        (StoredTrial("g", "1", 0, 0, StopReason.REQUEST_REFUSED), "no_finish"),
    ],
)
def test_what_needs_no_judge_has_a_reason(done: StoredTrial, reason: str) -> None:
    """Unfinished, given up and blank answers are unsolved without a call."""
    assert gate(done) == reason


letters = st.text(alphabet="sun", min_size=3, max_size=3) | st.sampled_from(["g", "f"])


@given(st.dictionaries(st.sampled_from("123456789"), letters, min_size=2), st.data())
def test_deleting_answers_never_raises_the_score(answers: dict[str, str], data: st.DataObject) -> None:
    """Delete k answers: the score may only fall, and the row says that k are missing."""
    gone = data.draw(st.sets(st.sampled_from(sorted(answers)), min_size=1, max_size=len(answers) - 1))
    kept = {query_id: word for query_id, word in answers.items() if query_id not in gone}
    ids = "".join(answers)

    whole, less = row(table(answers, ids=ids, rounds=3)), row(table(kept, ids=ids, rounds=3))

    assert whole.value is not None
    assert less.value is not None
    assert less.value <= whole.value + 1e-9
    assert (less.missing, less.complete) == (len(gone), False)


gappy = st.text(alphabet="sune.", min_size=4, max_size=4) | st.sampled_from(["g", "f", "i"])


@given(st.dictionaries(st.sampled_from("123456789"), gappy, min_size=1))
def test_the_score_is_the_mean_of_the_verdicts_that_are_there(answers: dict[str, str]) -> None:
    """Query by query, with failed verdicts, some that lack, and answers that need none; its interval agrees."""
    worth = {"s": 1.0, "u": 0.5, "n": 0.0, "g": 0.0, "f": 0.0}
    known = [[worth[letter] for letter in letters if letter in worth] for letters in answers.values()]
    means = [sum(points) / len(points) for points in known if points]

    found = row(table(answers, rounds=4))

    assert found.n == len(means)
    if not means:
        assert found.value is None
        return
    assert found.value == pytest.approx(100 * sum(means) / len(means))
    assert found.ci_low is not None
    assert found.ci_high is not None
    assert found.ci_low - 1e-9 <= found.value <= found.ci_high + 1e-9
    for number, value in enumerate(found.round_values):
        lacks = any(letters[number] in "e." for letters in answers.values() if letters not in {"g", "f", "i"})
        assert (value is None) == lacks


@given(st.dictionaries(st.sampled_from("123456789"), letters, min_size=1), st.randoms())
def test_the_order_of_the_log_does_not_matter(answers: dict[str, str], random: Random) -> None:
    """Shuffled answers and marks give the same rows, to the last bit."""
    done, marks = log(answers)
    expected = {"G1_tool": list(answers)}
    before = score(build_verdict_table(expected, 1, done, marks, rounds=3), "faithful")
    random.shuffle(done)
    random.shuffle(marks)

    assert score(build_verdict_table(expected, 1, done, marks, rounds=3), "faithful") == before


@given(st.dictionaries(st.sampled_from("123456789"), letters, min_size=1))
def test_the_interval_holds_the_score(answers: dict[str, str]) -> None:
    """Whatever its method, and it stays between 0 and 100."""
    for found in score(table(answers, rounds=3), "faithful"):
        assert found.value is not None
        assert found.ci_low is not None
        assert found.ci_high is not None
        assert 0 <= found.ci_low <= found.value + 1e-9
        assert found.value - 1e-9 <= found.ci_high <= 100 + 1e-9
        assert not math.isnan(found.value)


def test_an_empty_run_has_no_score() -> None:
    """Nothing answered is all missing; the reference has nothing to divide by."""
    made = table({}, ids="123")

    assert (row(made).value, row(made).missing, row(made).complete) == (0.0, 3, False)
    assert (row(made, "reference").value, row(made, "reference", "macro").value) == (None, None)


def published(made: VerdictTable, **changes: str) -> Score:
    switches = {**PUBLISHED, **{name.replace("_", "."): value for name, value in changes.items()}}
    return next(r for r in score(made, "reference", switches=switches) if r.group == "G1_tool")


def test_a_switch_undoes_one_fault_of_the_reference() -> None:
    """Missing answers back in the denominator; lacking verdicts out of it."""
    made = table({"1": "ss", "2": "s."}, ids="1234", rounds=2)

    assert published(made).value == 75.0
    assert published(made, sopr_missing="unsolved").value == 37.5
    assert published(made, sopr_gaps="unscored").value == 100.0


QUOTED = "{'name': 'Finish', 'arguments': 'give_answer'}"


@pytest.mark.parametrize(
    ("answer", "observation", "stop", "expected"),
    [
        ("It is 42.", "", StopReason.ANSWERED, True),
        ("Call it with give_up_and_restart.", "", StopReason.ANSWERED, False),
        ("", QUOTED, StopReason.NO_FINISH, True),
        ("", "nothing", StopReason.NO_FINISH, False),
    ],
)
def test_the_published_gate_searches_for_words(
    answer: str, observation: str, stop: StopReason, expected: bool
) -> None:
    """An answer that mentions giving up fails, and a response that quotes a finish passes."""
    step = Step(function="f_for_t", arguments="{}", observation=observation)
    if stop is StopReason.ANSWERED:
        arguments = json.dumps({"return_type": "give_answer", "final_answer": answer})
        step = Step(function="Finish", arguments=arguments)

    assert gate_by_words(step) is expected


def test_the_published_gate_overrules_verdicts() -> None:
    """A solved answer with the words of giving up scores 0, unless the switch is set to structure."""
    done, marks = log({"1": "s", "2": "s"})
    worded = {("G1_tool", "1", 0): False, ("G1_tool", "2", 0): True}
    made = build_verdict_table({"G1_tool": ["1", "2"]}, 1, done, marks, worded=worded)

    assert published(made).value == 50.0
    assert published(made, sopr_gate="structure").value == 100.0
    assert row(made).value == 100.0
