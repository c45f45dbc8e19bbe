"""Exported files have the names and the form that the commands in the published README read."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluator_makers import make_run, on_store, trajectory
from stb_core.values.trajectories import Message, Node, StopReason, Trajectory
from stb_evaluator.formats.published import convert_raw

GROUP = "G1_tool"


def unbranched(found: Trajectory) -> Trajectory:
    """The same by a search that never branched."""
    root = Node(parent=None, message=Message(role="user", content=found.query))
    nodes = [Node(parent=number, step=step) for number, step in enumerate(found.steps)]
    nodes[-1] = nodes[-1].model_copy(update={"final": True})
    return found.model_copy(update={"agent": "dfsdt", "tree": (root, *nodes)})


@pytest.mark.parametrize(("agent", "method"), [("cot", "CoT@1"), ("dfsdt", "DFS_woFilter_w2")])
def test_the_documented_commands_read_an_export(
    run_stb: Callable[..., Any], sqlite_store_url: str, tmp_path: Path, agent: str, method: str
) -> None:
    """Conversion by the name of the method, and the table of verdicts that a comparison asks for."""
    made = [trajectory("1"), trajectory("2", answer="Tab\there."), trajectory("3", stop=StopReason.GAVE_UP)]
    made = [unbranched(one) if agent == "dfsdt" else one for one in made]
    on_store(sqlite_store_url, lambda store: make_run(store, made, run="mine"))
    run_stb("score", "mine", "--judge", "rules")

    run_stb("export", "mine", "--format", "toolbench", "-o", "out")

    out = tmp_path / "out"
    converted = json.loads((out / "model_predictions_converted" / "mine" / f"{GROUP}.json").read_text())
    raw = {
        path.name.split("_")[0]: json.loads(path.read_text())["answer_generation"]
        for path in (out / "answer" / "mine" / GROUP).iterdir()
        if path.name.endswith(".json") and method in path.name
    }
    assert raw.keys() == converted.keys() == {"1", "2", "3"}
    for query_id in ("1", "2"):
        assert convert_raw(raw[query_id], method) == converted[query_id]["answer"]
    saved = out / "pass_rate_results" / "mine"
    verdicts = json.loads((saved / f"{GROUP}_mine.json").read_text())
    with (saved / f"{GROUP}_mine.csv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert {row["query_id"]: row["is_solved"] for row in rows} == {
        query_id: str(record["is_solved"]) for query_id, record in verdicts.items()
    }
    assert [*rows[0]] == [
        "query",
        "available_tools",
        "model_intermediate_steps",
        "model_final_step",
        "model",
        "query_id",
        "is_solved",
    ]
    assert {row["model"] for row in rows} == {"mine"}
