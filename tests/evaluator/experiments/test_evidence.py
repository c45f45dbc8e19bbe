"""Differences between runs are counted in bytes and laid at somebody's door."""

from __future__ import annotations

import pytest

from evaluator_makers import trajectory
from stb_core.values.calls import canonical_json
from stb_core.values.trajectories import Step, Trajectory
from stb_experiments.evidence import PARTS, Evidence, compare_evidence, differing_bytes, whose_fault

PLACE = ("G1_tool", "1", "0")


def evidence(made: Trajectory, **other: dict[tuple[str, ...], bytes]) -> Evidence:
    """A run of one trajectory."""
    parts: dict[str, dict[tuple[str, ...], bytes]] = {part: {} for part in PARTS}
    return Evidence("r", {**parts, "trajectories": {PLACE: canonical_json(made.content())}, **other})


def one_call(arguments: str = "{}", observation: str = "4217") -> Trajectory:
    """A trajectory of one call."""
    return trajectory(steps=[Step(function="f", arguments=arguments, observation=observation)])


@pytest.mark.parametrize(
    ("a", "b", "expected"), [(b"abc", b"abc", 0), (b"abc", b"abd", 1), (b"abc", b"abcde", 2), (b"", b"xy", 2)]
)
def test_bytes_that_differ(a: bytes, b: bytes, expected: int) -> None:
    """Positions that differ, and the difference in length."""
    assert expected == differing_bytes(a, b)


def test_equal_runs_differ_in_nothing() -> None:
    """No byte, no entry, no fault."""
    found = compare_evidence(evidence(one_call()), evidence(one_call()))

    assert (0, "", "") == (found.total, found.first, found.fault)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (one_call(observation="4218"), "server"),
        (one_call(arguments='{"a": 1}', observation="other"), "agent"),
        (trajectory(steps=one_call().steps, answer="Other."), "agent"),
        (trajectory(steps=one_call().steps, query="Other?"), "dataset"),
    ],
)
def test_whose_fault_a_trajectory_is(changed: Trajectory, expected: str) -> None:
    """The server's where the same call was answered otherwise; else the agent's, or the question's."""
    assert expected == compare_evidence(evidence(one_call()), evidence(changed)).fault


def test_whose_fault_other_parts_are() -> None:
    """Each later part is blamed only where all before it agree."""
    named = {part: whose_fault(part, b"1", b"2") for part in ("manifest", "verdicts", "scores")}

    assert {"manifest": "dataset", "verdicts": "judge", "scores": "scoring"} == named


def test_an_entry_that_is_lacking_counts_whole() -> None:
    """And it is said which one."""
    found = compare_evidence(evidence(one_call(), verdicts={PLACE: b"solved"}), evidence(one_call()))

    assert (6, "judge") == (found.total, found.fault)
    assert found.first == "verdicts G1_tool/1/0: missing"
