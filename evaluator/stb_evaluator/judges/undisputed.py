"""Answers whose grade nobody would dispute: they show whether a judge is fit at all."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import yaml

from stb_core.values import FINISH, Query, Status, Step, StopReason, Trajectory

_GROUP = "anchors"


@dataclass(frozen=True)
class Anchor:
    """An answer that a judge is asked about again and again, and the grade that is expected."""

    trajectory: Trajectory
    expected: Status
    query: Query | None = None
    """What was asked, for a judge that needs to know the query; it names no API."""


def load_undisputed() -> tuple[str, list[Anchor]]:
    """The name of the set, and its answers."""
    text = (resources.files(__package__) / "anchors.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    found = [
        Anchor(
            Trajectory(
                group=_GROUP,
                query_id=str(number),
                query=case["query"],
                agent="anchor",
                steps=(
                    *(Step(function=f, arguments=a, observation=o) for f, a, o in case["calls"]),
                    Step(function=FINISH, arguments="{}"),
                ),
                stop=StopReason.ANSWERED,
                final_answer=case["answer"],
            ),
            Status(case["expected"]),
            Query(query_id=str(number), group=_GROUP, text=case["query"], apis=()),
        )
        for number, case in enumerate(document["cases"])
    ]
    return document["name"], found
