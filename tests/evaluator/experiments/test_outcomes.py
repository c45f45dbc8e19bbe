"""Runs of ``failures``, compared with each other."""

from __future__ import annotations

from stb_experiments.outcomes import FailureRun, changed_recorded, compare_scores, macro_mean

SCORES = {("G1_tool", str(n)): float(n % 2) for n in range(200)}


def test_the_same_scores_are_equivalent_and_no_recorded_answer_changed() -> None:
    """On 200 queries the interval of no difference lies within ±1.5 points."""
    one = FailureRun(SCORES, {}, {"k": "sunny"})

    test = compare_scores(one, one)

    assert (0.0, True, 0) == (test.difference, test.equivalent, changed_recorded(one, one))


def test_a_lost_answer_is_a_change() -> None:
    """Recorded calls that both runs made are compared by what the agent was shown."""
    before = FailureRun(SCORES, {}, {"k": "sunny", "only before": "x"})
    after = FailureRun(dict.fromkeys(SCORES, 0.0), {}, {"k": "no recording"})

    assert (-0.5, False, 1) == (
        compare_scores(before, after).difference,
        compare_scores(before, after).equivalent,
        changed_recorded(before, after),
    )


def test_groups_count_alike() -> None:
    """The macro score is the mean of the groups' means, whatever their sizes."""
    assert macro_mean({("G1_tool", "1"): 1.0, ("G2_category", "1"): 0.0, ("G2_category", "2"): 0.0}) == 0.5
