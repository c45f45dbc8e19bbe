"""Result rows: a score with everything that qualifies it, as JSON and tables show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from stb_core.store import Run
from stb_core.values import SOPR, StopReason, count_noun
from stb_evaluator.judges import METRICS, Panel
from stb_evaluator.scores.costs import Account
from stb_evaluator.scores.pass_rate import BLOCKS, MACRO, MICRO, Block, ResultRow, Score, score
from stb_evaluator.scores.reference_rules import PUBLISHED
from stb_evaluator.scores.run_reader import RunReader
from stb_evaluator.scores.tool_clusters import FEW, tool_clusters
from stb_evaluator.scores.trajectory_measures import measure
from stb_evaluator.scores.trial_facts import ScoredTrials, count_calls, provenance_fields

NOT_COMPARABLE = frozenset({"rules"})

# The block, and the name of the metric, of what is measured without a judge.
TRAJECTORY = "trajectory"


async def score_rows(
    reader: RunReader,
    panel: Panel,
    *,
    rounds: int | None,
    metric: str = SOPR,
    blocks: Sequence[Block] = BLOCKS,
    switches: Mapping[str, str] = PUBLISHED,
    clustered: bool = False,
    seed: int = 0,
) -> list[ResultRow]:
    """The rows of one run by one panel, block by block.

    ``clustered`` makes intervals allow for queries that share tools.
    """
    run, accounts = reader.run, await reader.accounts(panel, metric=metric)
    worded, trials = (await reader.summary()).worded, await reader.scored_trials()
    table = await reader.verdict_table(panel, rounds=rounds, metric=metric, worded=worded)
    tables = dict.fromkeys(blocks, table)
    reread = METRICS[metric].reread
    if reread is not None and switches[f"{metric}.reading"] == "words":
        statuses = await reader.reread(panel, metric, reread)
        marks = {place: replace(m, status=statuses.get(place, m.status)) for place, m in table.marks.items()}
        tables["reference"] = replace(table, marks=marks)
    queries = await reader.queries()
    whole = Counter(group for group, _ in queries)
    clusters = tool_clusters(queries.values())
    shared = {
        "judge": panel.name,
        "rubric": panel.rubric,
        "comparable": not NOT_COMPARABLE.intersection(member.judge for member in panel.members),
        "dataset": run.dataset,
        "agent": run.agent,
        "model": run.model,
        "trials": run.trials,
        "manifest_hash": run.manifest.hash,
        "brought_verdicts": await reader.brought_verdicts(panel, metric),
    }
    return [
        {
            "run": run.run,
            "metric": metric,
            **score_fields(row),
            "switches": dict(switches) if block == "reference" else None,
            "subset": reader.part_of is not None or _is_subset(row.group, run, whole),
            "part_of": reader.part_of,
            "n_dataset": whole.total() if row.group in {MACRO, MICRO} else whole[row.group],
            "n_clusters": _n_clusters(row.group, run, clusters),
            **shared,
            **_account(row.group, accounts).as_row(),
            **provenance_fields(_calls(row.group, trials)),
        }
        for block in blocks
        for row in score(
            tables[block],
            block,
            switches=switches,
            clusters=clusters if clustered and block == "faithful" else None,
            seed=seed,
        )
    ]


async def measure_rows(reader: RunReader, *, seed: int = 0) -> list[ResultRow]:
    """What the trajectories of a run say without a judge; ``metric`` is the measure's name."""
    run = reader.run
    asked = {(group, query_id) for group, ids in run.expected.items() for query_id in ids}
    trajectories = [t async for t in reader.trajectories() if (t.group, t.query_id) in asked]
    n_usable = Counter(t.group for t in trajectories if t.stop is not StopReason.INFRASTRUCTURE)
    n_usable[MICRO] = n_usable.total()
    return [
        {
            "run": run.run,
            "metric": found.name,
            "block": TRAJECTORY,
            "group": found.group,
            "value": found.value,
            "unit": found.unit,
            "n": found.n,
            "n_total": _n_expected(run, found.group),
            "ci_low": found.low,
            "ci_high": found.high,
            "interval_method": found.method,
            "complete": n_usable[found.group] == _n_expected(run, found.group) * run.trials,
            "manifest_hash": run.manifest.hash,
        }
        for found in measure(trajectories, seed=seed)
    ]


def _n_expected(run: Run, group: str) -> int:
    return sum(len(ids) for name, ids in run.expected.items() if group in {name, MICRO})


def score_fields(row: Score) -> ResultRow:
    """A score as the fields of a result row."""
    fields = asdict(row)
    block, group = fields.pop("block"), fields.pop("group")
    return {"block": block, "group": group, **fields}


def _is_subset(group: str, run: Run, whole: dict[str, int]) -> bool:
    """Whether the run was to answer only some of the dataset's queries of a group, or of all groups."""
    if group in {MACRO, MICRO}:
        return any(len(run.expected.get(name, [])) < size for name, size in whole.items())
    return len(run.expected[group]) < whole.get(group, 0)


def _n_clusters(group: str, run: Run, clusters: Mapping[tuple[str, str], str]) -> int | None:
    """How many collections of tools the queries use; None if the dataset is not in the store."""
    asked = [
        clusters.get((name, query_id))
        for name, ids in run.expected.items()
        for query_id in ids
        if group in {name, MACRO, MICRO}
    ]
    return None if None in asked else len(set(asked))


def _account(group: str, accounts: dict[str, Account]) -> Account:
    total = Account()
    for name, account in accounts.items():
        if group in {name, MACRO, MICRO}:
            total.add(account)
    return total


def _calls(group: str, trials: ScoredTrials) -> Counter[str]:
    return count_calls(trial for place, trial in trials.items() if group in {place[0], MACRO, MICRO})


def headline(rows: Sequence[ResultRow]) -> list[str]:
    """The first lines above a table: what is missing, or that nothing is missing."""
    lines: list[str] = []
    if any(not row["comparable"] for row in rows):
        lines.append(
            "NOT COMPARABLE: judged by rules, without a model; compare these scores only with"
            " other scores by the same rules."
        )
    brought: dict[str, Counter[str]] = {}
    for row in {(row["run"], row["metric"], row["judge"]): row for row in rows}.values():
        brought.setdefault(row["run"], Counter()).update(row["brought_verdicts"])
    lines += foreign_lines(brought)
    lines += copy_lines(rows)
    whole = {row["run"]: row for row in reversed(rows) if row["group"] == MICRO}
    lines += faults(rows)
    if whole and all(row["complete"] for row in rows):
        answers = sum(row["n_total"] * row["trials"] for row in whole.values())
        lines.append(f"complete: {answers} answers in {len(whole)} run(s), all present and judged.")
    few = {
        row["group"]: f"NOTE: the {row['n_total']} queries of {row['group']} use only"
        f" {row['n_clusters']} collections of tools, so the intervals may be too short:"
        " see stb score --clustered."
        for row in rows
        if row["n_clusters"] is not None
        and row["n_clusters"] < FEW <= row["n_total"] // 3
        and row["interval_method"] == "bootstrap"
    }
    lines += few.values()
    subsets = {row["run"]: row for row in rows if row["subset"] and row["group"] == MICRO}
    lines += [_subset(row) for row in subsets.values()]
    return lines


def _subset(row: ResultRow) -> str:
    if row["part_of"] is None:
        whole = f"{row['n_dataset']:,} queries of {row['dataset']}"
        return f"SUBSET: {row['run']} covers {row['n_total']:,} of the {whole}."
    return f"SUBSET: only {row['n_total']:,} of the {row['part_of']:,} queries of {row['run']} are scored."


def faults(rows: Sequence[ResultRow]) -> list[str]:
    """One line for each incomplete run: what is missing."""
    whole = {row["run"]: row for row in reversed(rows) if row["group"] == MICRO}
    return [fault for run in reversed(whole) if (fault := _fault(whole[run]))]


def foreign_lines(brought: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The verdicts that count and were not asked for in this store: of each run, how many each source brought."""
    found: dict[str, dict[str, int]] = {}
    for run, counts in brought.items():
        for source, count in counts.items():
            found.setdefault(source, {})[run] = count
    return [
        f"FOREIGN: {sum(counts.values())} verdicts on {', '.join(counts)} came with {source};"
        " nobody asked for them in this store."
        for source, counts in found.items()
    ]


def copy_lines(rows: Sequence[ResultRow]) -> list[str]:
    """The runs of whose verdicts some are copies of other rounds, and what that means."""
    whole = {(row["run"], row["judge"]): row for row in rows if row["group"] == MICRO}
    return [
        f"COPIED ROUNDS: {row['copied_verdicts']} verdicts of {judge} on {run} are copies of the first round (temperature"
        " 0): they cost nothing, and say nothing about how far the judge agrees with itself."
        for (run, judge), row in whole.items()
        if row["copied_verdicts"]
    ]


def _fault(row: ResultRow) -> str:
    counts, is_reference = row["counts"], row["block"] == "reference"
    names = {
        "missing": ("answer", f"missing ({'left out' if is_reference else 'counted as unsolved'})"),
        "infrastructure": ("trial", "lost to infrastructure failures (not scored)"),
        "error": ("verdict", "failed (not scored)"),
        "unjudged": ("verdict", "missing (not scored)"),
        "unknown_groups": ("group", "of which neither answers nor queries can be read (not scored)"),
    }
    found = [
        f"{count_noun(counts[name], noun)} {fate}" for name, (noun, fate) in names.items() if counts.get(name)
    ]
    if not found:
        return ""
    return f"INCOMPLETE: {row['run']}: {', '.join(found)}, of {row['n_total'] * row['trials']} answers."
