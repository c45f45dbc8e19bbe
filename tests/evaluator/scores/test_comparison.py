"""Runs are compared query by query, and what makes a comparison doubtful is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluator_makers import log
from stb_core.errors import UsageError
from stb_core.store.runs import Run
from stb_core.values.manifest import Manifest
from stb_evaluator.judges.panel import panel_of_one
from stb_evaluator.scores.comparison import Side, compare_runs, comparison_warnings
from stb_evaluator.scores.pass_rate import score
from stb_evaluator.scores.verdict_table import build_verdict_table


def side(name: str, answers: dict[str, str], ids: str = "", **manifest: object) -> Side:
    expected = {"G1_tool": list(ids or answers)}
    done, marks = log(answers)
    settings = {"dataset": "d", "dataset_hash": "h", "agent": name, **manifest}
    made = Manifest.model_validate(settings)
    run = Run(name, name, made.dataset, name, None, made, expected, 1, "")
    return Side(run, build_verdict_table(expected, 1, done, marks))


def rows(*sides: Side) -> dict[str, dict[str, object]]:
    return {row["group"]: row for row in compare_runs(sides, panel_of_one("j", "r"))}


def test_a_difference_is_paired_by_query() -> None:
    """In points, first minus second, with the number of queries that each wins."""
    found = rows(side("a", {"1": "s", "2": "s", "3": "n"}), side("b", {"1": "s", "2": "n", "3": "u"}))

    row = found["G1_tool"]
    assert (row["run"], row["run_b"]) == ("a", "b")
    assert row["value"] == pytest.approx(100 / 6)
    assert (row["value_a"], row["value_b"]) == (pytest.approx(200 / 3), 50.0)
    assert (row["n_better"], row["n_equal"], row["n_worse"]) == (1, 1, 1)
    assert set(found) == {"G1_tool", "macro", "micro"}


def test_a_run_does_not_differ_from_itself() -> None:
    """Difference 0, p 1, and an interval that is not a point."""
    answers = {str(n): "sun"[n % 3] for n in range(60)}

    row = rows(side("a", answers), side("b", answers))["macro"]

    assert (row["value"], row["p"]) == (0.0, 1.0)
    assert row["ci_low"] < 0 < row["ci_high"]  # type: ignore[operator]


def test_a_clear_difference_is_found() -> None:
    """Eighty of a hundred queries better: p is small and the interval excludes 0."""
    rng = np.random.default_rng(1)
    first = {str(n): "s" if rng.random() < 0.9 else "n" for n in range(100)}
    second = {str(n): "s" if rng.random() < 0.2 else "n" for n in range(100)}

    row = rows(side("a", first), side("b", second))["macro"]

    assert row["p"] < 0.001  # type: ignore[operator]
    assert row["ci_low"] > 0  # type: ignore[operator]


def test_missing_answers_count_as_unsolved_and_make_it_incomplete() -> None:
    """A run cannot win by leaving queries out."""
    row = rows(side("a", {"1": "s"}, ids="12"), side("b", {"1": "s", "2": "s"}))["G1_tool"]

    assert (row["value"], row["n"], row["missing"], row["missing_b"]) == (-50.0, 2, 1, 0)
    assert row["complete"] is False


def test_a_query_without_a_score_is_left_out_and_counted() -> None:
    """A failed verdict makes no pair."""
    row = rows(side("a", {"1": "s", "2": "e"}), side("b", {"1": "n", "2": "s"}))["G1_tool"]

    assert (row["n"], row["n_total"], row["n_error"], row["complete"]) == (1, 2, 1, False)


def test_every_verdict_that_either_score_lacks_is_counted() -> None:
    """Also where the query is scored by others: two failed, two not given yet, one trial spoiled."""
    first = side("a", {"1": "sse", "2": "s.s", "3": "nnn"})
    second = side("b", {"1": "nnn", "2": "se.", "3": "i"})

    for row in rows(first, second).values():
        assert (row["n"], row["n_total"], row["n_error"], row["complete"]) == (2, 3, 5, False)
        assert (row["missing"], row["missing_b"]) == (0, 0)


def test_verdicts_on_queries_that_only_one_run_has_lack_nothing() -> None:
    """They are not compared."""
    row = rows(side("a", {"1": "s", "2": "e"}), side("b", {"1": "n"}))["macro"]

    assert (row["n_total"], row["n_error"], row["complete"]) == (1, 0, True)


def test_the_scores_of_both_are_those_of_the_runs_alone() -> None:
    """Also where rounds lack verdicts."""
    sides = (
        side("a", {"1": "s...", "2": "g", "3": "ssnu", "4": "n.e."}),
        side("b", {"1": "g", "2": "us..", "3": "nnnn", "4": "ssse"}),
    )

    for name, row in rows(*sides).items():
        alone = [next(r for r in score(one.table, "faithful") if r.group == name) for one in sides]
        assert (row["value_a"], row["value_b"]) == pytest.approx([one.value for one in alone])
        assert row["n_error"] == sum(one.n_error for one in alone)


def test_clusters_never_make_a_comparison_surer() -> None:
    """Each cluster holds a query that was won and one that was lost, so that clusters hardly differ."""
    rng = np.random.default_rng(4)
    first = {str(n): "sn"[n % 2] if n < 160 else "sn"[rng.integers(2)] for n in range(200)}
    second = {str(n): "ns"[n % 2] if n < 160 else "sn"[rng.integers(2)] for n in range(200)}
    clusters = {("G1_tool", str(n)): str(n // 2) for n in range(200)}
    sides = side("a", first), side("b", second)

    plain = rows(*sides)
    found = {row["group"]: row for row in compare_runs(sides, panel_of_one("j", "r"), clusters=clusters)}

    for name in ("macro", "micro"):
        assert found[name]["ci_low"] <= plain[name]["ci_low"]  # type: ignore[operator]
        assert plain[name]["ci_high"] <= found[name]["ci_high"]  # type: ignore[operator]
        assert plain[name]["p"] <= found[name]["p"]  # type: ignore[operator]
        assert plain[name]["detectable"] <= found[name]["detectable"]  # type: ignore[operator]


def test_clusters_that_hang_together_widen_a_comparison() -> None:
    """Forty queries in eight clusters, each won or lost as a whole, are no forty queries."""
    first = {str(n): "sn"[n // 5 % 2] for n in range(40)}
    clusters = {("G1_tool", str(n)): str(n // 5) for n in range(40)}
    sides = side("a", first), side("b", dict.fromkeys(first, "u"))

    plain = rows(*sides)["macro"]
    found = next(
        r for r in compare_runs(sides, panel_of_one("j", "r"), clusters=clusters) if r["group"] == "macro"
    )

    assert found["ci_high"] - found["ci_low"] > 1.5 * (plain["ci_high"] - plain["ci_low"])  # type: ignore[operator]


def test_p_values_are_adjusted_over_all_pairs() -> None:
    """Three runs make three pairs, and Holm's p is never below the plain one."""
    answers = [{str(n): "sn"[(n * k) % 2] for n in range(40)} for k in (1, 2, 3)]

    found = compare_runs(
        [side(name, a) for name, a in zip("abc", answers, strict=True)], panel_of_one("j", "r")
    )

    assert sum(row["group"] == "macro" for row in found) == 3
    assert all(row["p_holm"] >= row["p"] for row in found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": "other"}, "differ in dataset (d and other)"),
        ({"dataset_hash": "k"}, "differ in dataset content (h and k)"),
        ({"snapshot_hash": "s"}, "differ in snapshot of responses (unknown and s)"),
        ({"mode": "auto"}, "differ in cache mode (replay and auto)"),
    ],
)
def test_different_grounds_are_said_loudly(change: dict[str, str], words: str) -> None:
    """Dataset, its content, the snapshot and the cache mode."""
    found = comparison_warnings([side("a", {"1": "s"}), side("b", {"1": "s"}, **change)])

    assert found == [f"WARNING: a and b {words}."]


def test_different_queries_are_said_loudly() -> None:
    """Only those in common are compared."""
    sides = [side("a", {"1": "s", "2": "s"}), side("b", {"1": "n", "3": "s"})]

    assert "cover different queries" in comparison_warnings(sides)[0]
    assert rows(*sides)["G1_tool"]["n_total"] == 1


def test_nothing_in_common_is_refused() -> None:
    """There is no number to give."""
    with pytest.raises(UsageError, match="a and b have no scored query in common"):
        rows(side("a", {"1": "s"}), side("b", {"2": "s"}))


def test_passes_and_failures_are_tested_too() -> None:
    """McNemar on queries that one run alone passes by the majority of its verdicts: 1 and 7 give 0.0391."""
    first = {"1": "ssn", **{str(n): "nnn" for n in range(2, 9)}, "9": "sss"}
    second = {"1": "nns", **{str(n): "sns" for n in range(2, 9)}, "9": "uss"}

    row = rows(side("a", first), side("b", second))["macro"]

    assert (row["n_only_a"], row["n_only_b"]) == (1, 7)
    assert row["p_mcnemar"] == pytest.approx(0.0391, abs=0.0001)


def test_as_many_queries_are_named_as_would_find_two_points() -> None:
    """7.85 times the variance of a difference over the square of 0.02."""
    rng = np.random.default_rng(2)
    first, second = ({str(n): "sn"[rng.integers(2)] for n in range(400)} for _ in range(2))

    found = rows(side("a", first), side("b", second))["macro"]

    difference = np.array([(first[n] == "s") - float(second[n] == "s") for n in first])
    assert found["queries_for_2_points"] == pytest.approx(7.849 * difference.var(ddof=1) / 0.02**2, rel=0.01)


def test_another_simulator_is_named() -> None:
    """It could change an answer."""
    sides = [side(name, {"1": "s"}, server={"simulator": name}) for name in "ab"]

    assert comparison_warnings(sides) == [
        "WARNING: a and b differ in simulator and faults (simulator a and simulator b)."
    ]


def sides_of() -> tuple[Side, Side]:
    """Two runs that were to answer two groups; the second answered only one."""
    expected = {"G1_tool": list("12"), "G2_category": list("12")}
    logs = [log({"1": "s", "2": "n"}, group) for group in expected]
    sides = []
    for name, groups in (("a", 2), ("b", 1)):
        made = Manifest(dataset="d", dataset_hash="h", agent=name)
        done = [one for answers, _ in logs[:groups] for one in answers]
        marks = [mark for _, given in logs[:groups] for mark in given]
        run = Run(name, name, "d", name, None, made, expected, 1, "")
        sides.append(Side(run, build_verdict_table(expected, 1, done, marks)))
    return sides[0], sides[1]


def test_nothing_is_concluded_over_a_group_that_one_run_lacks() -> None:
    """b has no answer in G2_category: that group has no difference, and macro and micro are over the other."""
    sides = sides_of()

    found = rows(*sides)

    lacked = found["G2_category"]
    assert (lacked["value"], lacked["p"], lacked["n"], lacked["n_total"]) == (None, None, 0, 2)
    assert lacked["missing_b"] == 2
    for name in ("macro", "micro"):
        assert (found[name]["value"], found[name]["n"], found[name]["n_total"]) == (0.0, 2, 4)
        assert found[name]["groups_left_out"] == ["G2_category"]
        assert found[name]["complete"] is False
    assert comparison_warnings(sides) == [
        (
            "WARNING: b has no answer in G2_category, so nothing is concluded there, and macro and micro of a and b"
            " are over the other groups."
        )
    ]


def test_a_pair_that_cannot_be_compared_does_not_stop_the_others() -> None:
    """Of three runs the third answered another query: its pairs have no difference."""
    made = [side("a", {"1": "s"}), side("b", {"1": "n"}), side("c", {"2": "s"})]

    found = [row for row in compare_runs(made, panel_of_one("j", "r")) if row["group"] == "macro"]

    assert [(row["run"], row["run_b"], row["value"]) for row in found] == [
        ("a", "b", 100.0),
        ("a", "c", None),
        ("b", "c", None),
    ]


def test_groups_that_only_one_run_covers_are_named() -> None:
    """The warning about other queries says which groups they are."""
    one, other = sides_of()
    expected = {"G1_tool": ["1", "2"]}
    narrow = Side(replace(other.run, expected=expected), replace(other.table, expected=expected))

    assert comparison_warnings([one, narrow])[0] == (
        "WARNING: a and b cover different queries (only a covers G2_category); only common queries are compared."
    )
