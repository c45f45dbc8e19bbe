"""Watches the judges of a command: each is asked about earlier answers again before it judges new ones."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from stb_core.cli import console
from stb_core.errors import StbError
from stb_core.store import Store, WorkPlace, claim_once
from stb_core.store.work import ANCHORS
from stb_core.usage import Price, Usage
from stb_core.values import Judgement, Verdict
from stb_evaluator.judges import (
    Allowance,
    Anchor,
    AskingJudge,
    Case,
    Judge,
    JudgingTally,
    VerdictForecast,
    build_prompts,
    forecast_verdicts,
    load_undisputed,
    reserving,
)
from stb_evaluator.scores.anchors import (
    EARLIER,
    MAX_CALLS,
    UNDISPUTED,
    AnchorChanges,
    AnchorSession,
    ask_anchors,
    choose_earlier,
    count_changes,
    last_agreeing,
    load_sessions,
    share_right,
)

FIT_PERCENT = 80.0
"""A judge that answers fewer of the undisputed answers rightly is not fit."""


class JudgeWatch:
    """Looks once in a command for drift of each judge and rubric.

    Args:
        store: with the verdict log.
        is_strict: whether a judge that has drifted is refused.
        is_asking: whether judges are asked again; if not, only what is known is told.
    """

    def __init__(self, store: Store, *, is_strict: bool = False, is_asking: bool = True) -> None:
        self._store = store
        self._is_strict = is_strict
        self._is_asking = is_asking
        self._known: set[tuple[str, str]] = set()
        self._asked: set[tuple[str, str]] = set()
        self.lines: list[str] = []
        """What to know of the judges before believing their scores."""
        self.rows: list[dict[str, Any]] = []
        """What was asked, and what it cost."""

    async def tell_fitness(self, judge: Judge) -> None:
        """Add a line if the judge is known to grade undisputed answers wrongly."""
        if (judge.name, judge.rubric) not in self._known:
            self._known.add((judge.name, judge.rubric))
            if line := await _fitness_warning(self._store, judge):
                self.lines.append(line)

    def is_due(self, judge: Judge) -> bool:
        """Whether a judge is still to be asked about anchors; one without a model cannot change."""
        was_asked = (judge.name, judge.rubric) in self._asked
        return self._is_asking and isinstance(judge, AskingJudge) and not was_asked

    async def look_for_drift(
        self,
        judge: Judge,
        metric: str,
        *,
        run: str,
        since: float = math.inf,
        connections: int,
        allowance: Allowance | None = None,
    ) -> None:
        """Ask a judge about anchors, unless that was done in this command or by another that judges the same.

        Args:
            judge: that is asked.
            metric: by which it is to judge.
            run: whose answers it is to judge.
            since: when the first of the processes that ask it about that run began, see ``claim_once``.
            connections: concurrent requests.
            allowance: what it may cost.

        Raises:
            StbError: it has drifted, and drift is refused.
        """
        if not self.is_due(judge):
            return
        self._asked.add((judge.name, judge.rubric))
        item = f"{EARLIER} {judge.name} {judge.rubric}"
        async with claim_once(self._store.work, WorkPlace(run, ANCHORS), item, since=since) as is_mine:
            anchors = await choose_earlier(self._store, judge, metric)
            sessions = [*await load_sessions(self._store, judge, EARLIER)]
            now: AnchorSession = {}
            usage: Usage | None = None
            if is_mine:
                if not anchors:
                    return
                verdicts = await self._ask(judge, anchors, len(sessions), connections, allowance)
                now = {verdict.answer_hash: verdict.status for verdict in verdicts}
                usage = sum((verdict.usage for verdict in verdicts), Usage())
            else:
                *sessions, now = [{}, *sessions]
        if not now:
            return
        first = {anchor.trajectory.answer_hash: anchor.expected for anchor in anchors}
        self._report(judge, metric, count_changes(last_agreeing(first, sessions), now), usage)

    async def _ask(
        self,
        judge: Judge,
        anchors: Sequence[Anchor],
        session: int,
        connections: int,
        allowance: Allowance | None,
    ) -> list[Verdict]:
        """Ask about anchors as long as ``MAX_CALLS`` suffice, even if every verdict takes all stages."""
        assert isinstance(judge, AskingJudge)
        n_stages = len(await build_prompts(judge, _asking(anchors[0])))
        verdicts: list[Verdict] = []
        tally = JudgingTally()
        waiting, calls_left = list(anchors), MAX_CALLS
        while waiting and calls_left >= n_stages and not (tally.unavailable or tally.stopped):
            size = calls_left // n_stages
            asked, waiting = waiting[:size], waiting[size:]
            given = await ask_anchors(
                self._store,
                judge,
                EARLIER,
                asked,
                session,
                connections=connections,
                tally=tally,
                reserve=reserving(allowance, judge, _asking),
            )
            verdicts += given
            calls_left -= sum(max(1, verdict.usage.model_calls) for verdict in given)
        return verdicts

    def _report(self, judge: Judge, metric: str, changes: AnchorChanges, usage: Usage | None) -> None:
        """Say what has changed, and what it cost to find out; None where another process has asked."""
        if usage:
            self._report_cost(judge, metric, changes, usage)
        if not changes.changes:
            return
        said = (
            f"of {changes.n} earlier answers, {changes.n_better} got a better verdict and"
            f" {changes.n_worse} a worse one than before ({changes.in_words}; McNemar p = {changes.p:.2g})"
        )
        if not changes.is_drift:
            self.lines.append(f"NOTE: {judge.name}: {said}, which chance explains.")
            return
        if self._is_strict:
            raise StbError(
                f"{judge.name} has drifted: {said}.",
                hint="Use a dated version of the model, or leave --strict out to score with a warning.",
            )
        self.lines.append(
            f"DRIFT: {judge.name} does not judge as before: {said}. Its verdicts from before and after do not compare."
        )

    def _report_cost(self, judge: Judge, metric: str, changes: AnchorChanges, usage: Usage) -> None:
        self.rows.append(
            {
                "judge": judge.name,
                "rubric": judge.rubric,
                "metric": metric,
                "n": changes.n,
                "better": changes.n_better,
                "worse": changes.n_worse,
                "p": changes.p,
                "drift": changes.is_drift,
                **usage.model_dump(),
            }
        )
        cost = "" if usage.cost_usd is None else f", ${usage.cost_usd:.4f}"
        console.print_note(
            f"{judge.name} was asked about {changes.n} earlier answers again, to notice drift:"
            f" {usage.model_calls} calls, {usage.total_tokens:,} tokens{cost}."
        )


async def forecast_anchors(store: Store, judge: Judge, metric: str, price: Price | None) -> VerdictForecast:
    """What ``JudgeWatch`` would ask a judge, and what that would cost; asks no one."""
    if not isinstance(judge, AskingJudge):
        return VerdictForecast()
    asks = [_asking(anchor) for anchor in await choose_earlier(store, judge, metric)]
    forecast = await forecast_verdicts(store, judge, metric, asks, price)
    if forecast.calls > MAX_CALLS:
        asks = asks[: MAX_CALLS * len(asks) // forecast.calls]
        forecast = await forecast_verdicts(store, judge, metric, asks, price)
    return forecast


def _asking(anchor: Anchor) -> Callable[[Any], Awaitable[Judgement]]:
    return lambda judge: judge.judge(Case(anchor.trajectory), 0)


async def _fitness_warning(store: Store, judge: Judge) -> str:
    sessions = await load_sessions(store, judge, UNDISPUTED)
    if not sessions:
        return ""
    _, anchors = load_undisputed()
    return unfit_in_words(judge.name, *share_right(anchors, sessions[-1]))


def unfit_in_words(judge: str, n_right: int, n: int) -> str:
    """A warning if too few of ``n`` undisputed answers are graded rightly; "" if not."""
    if not n or 100 * n_right >= FIT_PERCENT * n:
        return ""
    return (
        f"WARNING: {judge} answers {100 * n_right / n:.0f} % of the anchors rightly ({n_right} of {n} answers whose"
        " grade is beyond dispute): it is not fit to judge."
    )
