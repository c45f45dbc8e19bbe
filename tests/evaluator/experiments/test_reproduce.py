"""``stb experiment reproduce``, in real processes on the bundled dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DRIFTING = """
import dataclasses
import uuid

from stb_agents.builtin.scripted import Scripted


class Drifting(Scripted):
    name = "drifting"

    async def solve(self, task, environment):
        outcome = await super().solve(task, environment)
        return dataclasses.replace(outcome, final_answer=uuid.uuid4().hex)


agent = Drifting()
"""


@pytest.mark.slow
def test_a_script_repeats_itself_and_a_drifting_agent_is_found(
    run_stb: Callable[..., Any], tmp_path: Path, postgres_url: str
) -> None:
    """0 differing bytes over processes and databases; else which bytes, and that it was the agent."""
    (tmp_path / "drift.py").write_text(DRIFTING)

    ended = run_stb(
        *("experiment", "reproduce", "-k", "2", "--limit", "1", "--postgres-url", postgres_url),
        *("-a", "scripted", "-a", "drift.py:agent", "-o", "out", "--json"),
    )

    assert (1, "") == (ended.code, ended.err)
    rows = {(row["agent"] == "scripted", row["repetition"]): row for row in ended.document["rows"]}
    assert (0, "sqlite") == (rows[True, 1]["differing_bytes"], rows[True, 1]["store"])
    assert (0, "postgresql") == (rows[True, 2]["differing_bytes"], rows[True, 2]["store"])
    assert rows[False, 2]["differing_bytes"] > 0
    assert ("agent", True) == (
        rows[False, 2]["fault"],
        rows[False, 2]["first_difference"].startswith("trajectories G1_"),
    )
    assert "differing bytes" in (tmp_path / "out" / "README.md").read_text()
