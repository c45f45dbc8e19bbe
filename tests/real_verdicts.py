"""Recorded judge verdicts of six systems on the 765 solvable queries, as arrays, for tests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from stb_core.values.queries import STANDARD_GROUPS
from stb_core.values.verdicts import POINTS, Status

SYSTEMS = (
    "toolllama_sft_cot",
    "baseline-rft_cot",
    "baseline-ppo_cot",
    "toolllama_sft_dfs",
    "baseline-rft_dfs",
    "baseline-ppo_dfs",
)
N_COT = 3


@dataclass(frozen=True)
class Verdicts:
    """``points``: (queries, systems, rounds); ``finished``: whether the judge was really asked."""

    groups: np.ndarray
    query_ids: np.ndarray
    points: np.ndarray
    finished: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """The mean over rounds, shape (queries, systems)."""
        return self.points.mean(axis=2)


@cache
def load(folder: Path) -> Verdicts:
    """Read ``pass_rate_results`` of the folder of real data."""
    groups, ids, points, finished = [], [], [], []
    for group in STANDARD_GROUPS:
        files = [folder / "pass_rate_results" / system / f"{group}.json" for system in SYSTEMS]
        records = [json.loads(file.read_text()) for file in files]
        for query_id in sorted(records[0]):
            groups.append(group)
            ids.append(query_id)
            points.append([_points(record[query_id]["is_solved"]) for record in records])
            finished.append(["'name': 'Finish'" in record[query_id]["final_step"] for record in records])
    return Verdicts(np.array(groups), np.array(ids), np.array(points), np.array(finished))


def _points(rounds: dict[str, str]) -> list[float]:
    return [POINTS[Status(rounds[key].removeprefix("AnswerStatus.").lower())] for key in sorted(rounds)]
