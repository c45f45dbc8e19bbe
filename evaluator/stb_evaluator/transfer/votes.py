"""Importing recorded votes between two systems into the verdict log of their runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stb_core.errors import NotFoundError, UsageError
from stb_core.store import Store
from stb_core.values import SOWR, Judgement, Status, Trajectory, Verdict
from stb_evaluator.formats import Votes
from stb_evaluator.judges import RECORDED, Pair

_SOURCE_LENGTH = 100


@dataclass(frozen=True)
class ImportedVotes:
    """The result of importing one file of votes."""

    run: str
    run_b: str
    group: str
    queries: int
    votes: int
    new_votes: int


def source_name(path: Path) -> str:
    """The name under which the verdict log keeps that a file or folder brought a verdict."""
    return path.resolve().name.replace(":", "-")[:_SOURCE_LENGTH]


async def import_votes(store: Store, votes: Votes, source: str) -> ImportedVotes:
    """Append the votes that are not in the log yet, as brought by ``source``.

    The file says how many rounds each system won, not which ones; the first system's rounds come first here.

    Raises:
        UsageError: a run, or its answer to one of the queries, is not in the store.
    """
    try:
        first, second = await store.runs.get(votes.first), await store.runs.get(votes.second)
    except NotFoundError as problem:
        raise UsageError(
            f"The votes are on answers of runs that are not in the store ({problem.message.rstrip('.')}).",
            hint="Import the answers of both systems first.",
        ) from None
    answers = [await _answers(store, run.run, votes.group) for run in (first, second)]
    log: list[Verdict] = []
    for query_id, (won, lost) in votes.by_query.items():
        one, other = (found.get(query_id) for found in answers)
        if one is None or other is None:
            raise UsageError(
                f"{first.run} or {second.run} has no answer to {votes.group}/{query_id}, which was voted on.",
                hint="Import the answers of both systems first.",
            )
        pair = Pair(one, other, one.query)
        log += [
            _verdict(first.run, second.run, pair, one, number, won=number < won)
            for number in range(won + lost)
        ]
    held = await store.verdicts.by_answers(
        [verdict.answer_hash for verdict in log],
        metric=SOWR,
        judge=RECORDED,
        rubric=RECORDED,
        own=[first.run],
    )
    known = {(verdict.run, verdict.answer_hash, verdict.round) for verdict in held}
    new = [
        v.model_copy(update={"source": source}) for v in log if (v.run, v.answer_hash, v.round) not in known
    ]
    await store.verdicts.append(new)
    return ImportedVotes(first.run, second.run, votes.group, len(votes.by_query), len(log), len(new))


async def _answers(store: Store, run: str, group: str) -> dict[str, Trajectory]:
    return {t.query_id: t async for t in store.runs.trajectories(run, group=group) if t.trial == 0}


def _verdict(run: str, run_b: str, pair: Pair, trajectory: Trajectory, number: int, *, won: bool) -> Verdict:
    return Verdict.of(
        Judgement(Status.SOLVED if won else Status.UNSOLVED),
        (trajectory.group, trajectory.query_id, 0),
        run=run,
        metric=SOWR,
        judge=RECORDED,
        rubric=RECORDED,
        number=number,
        answer_hash=pair.hash,
        details={"first": run, "second": run_b},
    )
