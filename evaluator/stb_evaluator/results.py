"""Result rows: a score with everything that qualifies it, as JSON and tables show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from stb_core.store import Store
from stb_core.store.runs import Run
from stb_evaluator.accounts import Account, accounts_of
from stb_evaluator.loading import dataset_queries, load_sheet
from stb_evaluator.scores import BLOCKS, MACRO, METRIC, MICRO, Block, Score, score
from stb_evaluator.switches import PUBLISHED

NOT_COMPARABLE = frozenset({"rules"})

Row = dict[str, Any]


async def score_rows(
    store: Store,
    run: Run,
    *,
    judge: str,
    rubric: str,
    rounds: int | None,
    blocks: Sequence[Block] = BLOCKS,
    switches: Mapping[str, str] = PUBLISHED,
    seed: int = 0,
) -> list[Row]:
    """The rows of one run, judge and rubric, block by block."""
    sheet = await load_sheet(
        store, run, judge=judge, rubric=rubric, rounds=rounds, by_words="reference" in blocks
    )
    accounts = await accounts_of(store, run.run, judge=judge, rubric=rubric)
    whole = Counter(group for group, _ in await dataset_queries(store, run))
    shared = {
        "judge": judge,
        "rubric": rubric,
        "comparable": judge not in NOT_COMPARABLE,
        "dataset": run.dataset,
        "agent": run.agent,
        "model": run.model,
        "trials": run.trials,
        "manifest_hash": run.manifest.hash,
    }
    return [
        {
            "run": run.run,
            "metric": METRIC,
            **_score_fields(row),
            "switches": dict(switches) if block == "reference" else None,
            "subset": _is_subset(row.group, run, whole),
            **shared,
            **_account(row.group, accounts).as_row(),
        }
        for block in blocks
        for row in score(sheet, block, switches=switches, seed=seed)
    ]


def _score_fields(row: Score) -> Row:
    fields = asdict(row)
    block, group = fields.pop("block"), fields.pop("group")
    return {"block": block, "group": group, **fields}


def _is_subset(group: str, run: Run, whole: dict[str, int]) -> bool:
    """Whether the run was to answer only some of the dataset's queries of a group, or of all groups."""
    if group in {MACRO, MICRO}:
        return any(len(run.expected.get(name, [])) < size for name, size in whole.items())
    return len(run.expected[group]) < whole.get(group, 0)


def _account(group: str, accounts: dict[str, Account]) -> Account:
    total = Account()
    for name, account in accounts.items():
        if group in {name, MACRO, MICRO}:
            total.add(account)
    return total


def headline(rows: Sequence[Row]) -> list[str]:
    """The first lines of a table: what is missing, or that nothing is; never a bare number."""
    lines: list[str] = []
    if any(not row["comparable"] for row in rows):
        lines.append(
            "NOT COMPARABLE: judged by rules, without a model; these scores compare with nothing but"
            " other scores by the same rules."
        )
    whole = {row["run"]: row for row in reversed(rows) if row["group"] == MICRO}
    faults = [fault for run in reversed(whole) if (fault := _fault(whole[run]))]
    lines += faults
    if whole and not faults:
        answers = sum(row["n_total"] * row["trials"] for row in whole.values())
        lines.append(f"complete: {answers} answers in {len(whole)} run(s), every one there and judged.")
    subsets = dict.fromkeys(row["run"] for row in rows if row["subset"] and row["group"] == MICRO)
    lines += [f"SUBSET: {run} was to answer only part of its dataset's queries." for run in subsets]
    return lines


def _fault(row: Row) -> str:
    counts = row["counts"]
    names = {
        "missing": "answers missing (counted as unsolved)",
        "infrastructure": "spoiled by infrastructure (not scored)",
        "error": "verdicts failed (not scored)",
        "unjudged": "verdicts not given yet (not scored)",
    }
    found = [f"{counts[name]} {words}" for name, words in names.items() if counts.get(name)]
    if not found:
        return ""
    return f"INCOMPLETE: {row['run']}: {', '.join(found)}, of {row['n_total'] * row['trials']} answers."
