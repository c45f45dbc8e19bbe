"""The published table of six systems comes out of their recorded verdicts, cell by cell."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stb_core.store import Store, open_store
from stb_evaluator.judges.panel import panel_of_one
from stb_evaluator.scores.pass_rate import ResultRow
from stb_evaluator.scores.rows import headline, score_rows
from stb_evaluator.scores.run_reader import RunReader
from stb_evaluator.transfer.importing import import_answers

GROUPS = "G1_instruction", "G1_category", "G1_tool", "G2_category", "G2_instruction", "G3_instruction"
PUBLISHED = {
    "toolllama_sft_cot": "56.4±1.8 49.0±1.2 46.3±1.8 48.4±0.0 45.6±1.7 43.7±2.0 48.2[44.7,51.8]",
    "baseline-rft_cot": "53.2±2.1 48.6±1.4 47.5±0.8 44.9±1.9 45.8±2.0 38.5±1.2 46.4[43.0,49.8]",
    "baseline-ppo_cot": "55.8±2.1 50.4±0.6 46.4±0.4 48.4±2.6 44.5±1.2 40.2±0.0 47.6[44.2,51.1]",
    "toolllama_sft_dfs": "63.1±1.4 55.9±1.2 57.8±0.7 56.2±1.0 50.5±0.8 56.8±3.9 56.7[53.3,60.1]",
    "baseline-rft_dfs": "58.3±2.9 51.3±0.5 53.1±1.0 48.7±0.8 50.2±2.2 58.5±2.4 53.3[49.9,56.7]",
    "baseline-ppo_dfs": "62.8±1.4 58.4±0.3 57.4±1.7 53.6±2.0 54.4±1.1 39.9±0.8 54.4[51.0,57.8]",
}


@pytest.fixture(scope="module")
def rows_of_all(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[ResultRow]]:
    """All rows of the six systems, imported once."""

    async def make() -> dict[str, list[ResultRow]]:
        store = await open_store(f"sqlite:///{tmp_path_factory.mktemp('real') / 'store.db'}")
        try:
            summary = await import_answers(store, real_data / "pass_rate_results")
            return {run.run: await _rows(store, run.run) for run in summary.runs}
        finally:
            await store.close()

    return asyncio.run(make())


async def _rows(store: Store, name: str) -> list[ResultRow]:
    run = await store.runs.get(name)
    return await score_rows(RunReader(store, run), panel_of_one("recorded", "recorded"), rounds=None)


def pick(rows: list[ResultRow], block: str, group: str) -> dict[str, Any]:
    return next(row for row in rows if (row["block"], row["group"]) == (block, group))


@pytest.mark.parametrize("system", PUBLISHED)
def test_the_reference_block_is_the_published_table(
    rows_of_all: dict[str, list[ResultRow]], system: str
) -> None:
    """Score and deviation of each of the 36 cells to 0.05."""
    cells = PUBLISHED[system].split()[:6]

    for group, cell in zip(GROUPS, cells, strict=True):
        value, deviation = map(float, cell.split("±"))
        row = pick(rows_of_all[system], "reference", group)
        assert row["value"] == pytest.approx(value, abs=0.0501), group
        assert row["std_rounds"] == pytest.approx(deviation, abs=0.0501), group


@pytest.mark.parametrize("system", PUBLISHED)
def test_the_faithful_average_has_an_honest_interval(
    rows_of_all: dict[str, list[ResultRow]], system: str
) -> None:
    """Its 95 percent interval is within 0.2 points of the one computed independently."""
    value, low, high = map(float, PUBLISHED[system].split()[6].replace("[", ",").rstrip("]").split(","))

    row = pick(rows_of_all[system], "faithful", "macro")

    assert row["value"] == pytest.approx(value, abs=0.0501)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high), abs=0.2)
    assert row["interval_method"] == "bootstrap"


def test_nothing_is_missing_from_the_six_systems(rows_of_all: dict[str, list[ResultRow]]) -> None:
    """765 queries each, all judged in three rounds."""
    rows = [row for rows in rows_of_all.values() for row in rows]

    assert all(row["complete"] and row["rounds"] == 3 for row in rows)
    assert headline(rows) == ["complete: 4590 answers in 6 run(s), all present and judged."]


async def test_an_import_with_deleted_answers_scores_lower_and_says_so(
    real_data: Path, tmp_path: Path, sqlite_store: Store, rows_of_all: dict[str, list[ResultRow]]
) -> None:
    """Three solved answers deleted from one system: three are missing, and its score falls."""
    copy = tmp_path / "results"
    for system in ("toolllama_sft_cot", "baseline-rft_cot"):
        shutil.copytree(real_data / "pass_rate_results" / system, copy / system)
    path = copy / "toolllama_sft_cot" / "G3_instruction.json"
    answers = json.loads(path.read_text())
    solved = [i for i, a in answers.items() if set(a["is_solved"].values()) == {"AnswerStatus.Solved"}]
    path.write_text(json.dumps({i: a for i, a in answers.items() if i not in solved[:3]}))

    await import_answers(sqlite_store, copy)
    rows = await _rows(sqlite_store, "toolllama_sft_cot")

    before = pick(rows_of_all["toolllama_sft_cot"], "faithful", "G3_instruction")
    after = pick(rows, "faithful", "G3_instruction")
    assert after["value"] == pytest.approx(before["value"] - 300 / 61)
    assert (after["missing"], after["complete"], after["n_total"]) == (3, False, 61)
    assert headline(rows)[0] == (
        "INCOMPLETE: toolllama_sft_cot: 3 answers missing (counted as unsolved), of 765 answers."
    )
