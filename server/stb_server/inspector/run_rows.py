"""A run as the row of a table: how much of it is done, what it cost, its verdicts and scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from stb_core.plugins import ScoreRow
from stb_core.store import Run
from stb_server.inspector import standings
from stb_server.inspector import verdicts as outcomes
from stb_server.inspector.context import Inspector
from stb_server.inspector.rendering import share_bar
from stb_server.inspector.run_digests import RunDigest
from stb_server.inspector.standings import Whisker
from stb_server.inspector.verdicts import JudgeName

TOTAL = "macro"


@dataclass(frozen=True)
class Cost:
    """What one payer consumed; ``usd`` is None if no price is known."""

    payer: str
    tokens: int
    usd: float | None


@dataclass(frozen=True)
class RunRow:
    """A run in a table."""

    run: Run
    digest: RunDigest
    good: int
    """Trials that are done and did not fail by infrastructure."""
    verdicts: dict[JudgeName, Counter[str]]
    scores: dict[JudgeName, Whisker]
    """The mean score of all groups, by judge."""
    is_scored: bool
    """Whether the scores are ready, rather than still being computed."""
    places: dict[JudgeName, ScoreRow] = field(default_factory=dict)
    """The places that it may have on its dataset's leaderboard by each judge; see ``leaderboards``."""
    is_ranked: bool = True
    """Whether the places are ready, rather than still being computed."""

    @property
    def is_complete(self) -> bool:
        """Whether all expected trials are done."""
        return self.good >= self.run.n_expected

    @property
    def costs(self) -> list[Cost]:
        """Tokens and cost by payer; payers without either are left out."""
        costs = [Cost("agent", self.digest.usage.total_tokens, self.digest.usage.cost_usd)]
        if self.digest.simulator:
            usage = self.digest.simulator
            costs.append(Cost("simulator", usage.total_tokens, usage.cost_usd))
        for judge, score in self.scores.items():
            tokens, money = score.row.get("judge_tokens") or 0, score.row.get("judge_cost_usd")
            costs.append(Cost(f"judge {judge.name}", tokens, money))
        return [one for one in costs if one.tokens or one.usd is not None]

    @property
    def bar(self) -> list[tuple[str, float, float]]:
        """A bar of its tool answers by provenance."""
        return share_bar(self.digest.provenances)


async def make_run_rows(
    inspector: Inspector, runs: Sequence[Run], until: float | None = None
) -> list[RunRow]:
    """Runs with their totals. Scores that are not ready at ``until``, which is soon, are left out."""
    counts = await outcomes.count_verdicts(inspector.store, [run.run for run in runs])
    rows = []
    until = inspector.standings.soon() if until is None else until
    for run in runs:
        digest = await inspector.digests.get(inspector.store, run.run)
        row = RunRow(run, digest, count_good_trials(run, digest), counts[run.run], {}, is_scored=True)
        if row.verdicts:
            score_rows = await inspector.standings.scores(
                inspector.store, run.run, describe_state(row), until=until
            )
            totals = [one for one in score_rows or () if one["group"] == TOTAL]
            scores = {
                JudgeName(one.row["judge"], one.row["rubric"]): one
                for one in standings.draw_whiskers(totals, "run")
            }
            row = replace(row, scores=scores, is_scored=score_rows is not None)
        rows.append(row)
    return rows


def describe_state(row: RunRow) -> str:
    """A text that changes whenever a score of the run may have changed."""
    verdicts = sum(counts.total() for counts in row.verdicts.values())
    return f"{row.run.created_at} {row.digest.attempts} {verdicts} {row.run.n_expected}"


def count_good_trials(run: Run, digest: RunDigest) -> int:
    """The number of expected trials that are done and did not fail by infrastructure."""
    return run.count_done({place: trial.stop for place, trial in digest.trials.items()})


async def load_doubts(inspector: Inspector, row: RunRow, until: float) -> list[str] | None:
    """What to know before believing a score of the run; None if it is not ready at ``until``."""
    return await inspector.standings.headlines(inspector.store, row.run.run, describe_state(row), until=until)
