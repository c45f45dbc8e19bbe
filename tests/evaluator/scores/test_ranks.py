"""Ranks are as certain as the comparison of the runs, and only runs of the same queries have one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from evaluator_makers import log
from stb_core.store import Run
from stb_core.values import Manifest
from stb_evaluator.judges.panel import panel_of_one
from stb_evaluator.scores.comparison import Side, compare_runs
from stb_evaluator.scores.ranks import coverage_of_side, rank_runs
from stb_evaluator.scores.verdict_table import build_verdict_table


def side(name: str, answers: Mapping[str, str], ids: list[str] | None = None) -> Side:
    expected = {"G1_tool": ids or list(answers)}
    done, marks = log(answers)
    made = Manifest(dataset="d", dataset_hash="h", agent=name)
    run = Run(name, name, "d", name, None, made, expected, 1, "")
    return Side(run, build_verdict_table(expected, 1, done, marks))


def places(*sides: Side, n_dataset: int | None = None) -> dict[str, tuple[int, int, int] | str]:
    """By run, in the order of the ranking: rank, and its bounds; or why there is none."""
    coverage = {one.run.run: coverage_of_side(one, n_dataset) for one in sides}
    found = rank_runs(compare_runs(sides, panel_of_one("j", "r")), coverage)
    return {row["run"]: row["unranked"] or (row["rank"], row["rank_low"], row["rank_high"]) for row in found}


def some(share: float, n: int = 200, seed: int = 3) -> dict[str, str]:
    rng = np.random.default_rng(seed)
    return {str(number): "s" if rng.random() < share else "n" for number in range(n)}


def test_a_place_is_as_certain_as_the_differences() -> None:
    """One run is clearly the best, the two others cannot be told apart."""
    found = places(
        side("best", some(0.95)), side("one", some(0.3, seed=4)), side("other", some(0.32, seed=5))
    )

    assert found["best"] == (1, 1, 1)
    assert {one[1:] for name, one in found.items() if name != "best"} == {(2, 3)}


def test_equal_scores_share_a_place() -> None:
    """Also where they are won on other queries, and only rounding tells them apart."""
    thirds = {str(n): "sun"[n % 3] for n in range(30)}
    moved = {str(n): "sun"[(n + 1) % 3] for n in range(30)}

    found = places(side("a", thirds), side("b", moved), side("c", dict.fromkeys(thirds, "n")))

    assert found["a"] == found["b"]
    assert found["a"][0] == 1
    assert found["c"][0] == 3


def test_a_subset_has_no_place() -> None:
    """It stands apart, with how many queries it covers."""
    full = some(0.5)

    found = places(side("a", full), side("b", some(0.4)), side("few", {"1": "s", "2": "s"}), n_dataset=200)

    assert found["few"] == "2 of 200 queries"
    assert list(found)[-1] == "few"
    assert {found[name][2] for name in "ab"} <= {1, 2}


def test_runs_of_one_subset_are_ranked_among_themselves() -> None:
    """The same queries can be compared, whatever else the dataset has."""
    found = places(side("a", {"1": "s"}), side("b", {"1": "n"}), n_dataset=200)

    assert (found["a"][0], found["b"][0]) == (1, 2)


def test_runs_of_other_queries_have_no_place() -> None:
    """As many queries are not the same queries."""
    found = places(side("a", {"1": "s", "2": "s"}), side("b", {"2": "s", "3": "n"}), n_dataset=200)

    assert found == {"a": (1, 1, 1), "b": "other queries than those of a"}


def test_an_incomplete_run_has_no_place() -> None:
    """Its score may change."""
    found = places(
        side("a", {"1": "s", "2": "s"}),
        side("lost", {"1": "s", "2": "i"}),
        side("missing", {"1": "s"}, ids=["1", "2"]),
        side("judge", {"1": "s", "2": "e"}),
    )

    assert found == {
        "a": (1, 1, 1),
        "lost": "incomplete: 1 trial lost to infrastructure",
        "missing": "incomplete: 1 answer missing",
        "judge": "incomplete: 1 verdict failed",
    }
