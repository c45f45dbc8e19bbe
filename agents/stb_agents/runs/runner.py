"""The runner: all trials of a run, many at a time, each stored as soon as it is finished.

A run that was stopped continues where it stopped: finished trials are skipped, and model replies that
were paid for are used again. A trial that fails does not stop the others.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from stb_agents.environment import (
    Agent,
    Budget,
    Environment,
    RunStopped,
    Sampling,
    Task,
    VirtualClient,
    with_seed,
)
from stb_agents.runs.claim import place_of
from stb_agents.runs.cost_limit import RunCostLimit
from stb_agents.runs.journal import Journal, JournalledModel
from stb_agents.runs.progress import FAILURES
from stb_agents.runs.selection import Selection
from stb_agents.runs.trial import run_trial
from stb_core.llm import AcceptedShapes, Model, RefusedRequest, ShapeRecordingModel, blame
from stb_core.store import Claim, ClaimQueue, EndedClaim, GroupCommit, Run, ShieldedTasks, Store
from stb_core.store.work import DONE, FAILED, MAX_TRIES
from stb_core.telemetry import logs, traces
from stb_core.values import Functions, Query, StopReason, Trajectory
from stb_core.values.observations import ObservationStyle

_MAX_LOST_IN_A_ROW = 20
"""After this many trials in a row were lost to infrastructure, the run stops: the rest would be lost too."""


@dataclass(frozen=True)
class TrialSettings:
    """How each trial of a run is done."""

    sampling: Sampling
    budget: Budget
    observations: ObservationStyle
    connections: int
    """Concurrent trials."""
    fail_fast: bool = False
    """Stop the run at the first trial that fails."""
    episodes: bool = False
    """Tell the server which calls belong to one trial, so that simulated answers agree with each other."""
    answer_timeout_s: float | None = None
    """Seconds that the server's answer to a call may take; None for the default."""


@dataclass(frozen=True)
class _Finished:
    trajectory: Trajectory
    ended: EndedClaim


@dataclass(frozen=True)
class _Refused:
    claim: Claim
    trajectory: Trajectory
    request: RefusedRequest


class Runner:
    """Does trials of a run.

    Args:
        store: where trajectories and model replies are kept.
        run: whose trials are done.
        selection: the queries, and the APIs that they offer.
        agent: what solves them.
        client: of the virtual API server.
        model: what the agent asks; None for an agent without one.
        trial_settings: how each trial is done.
        claims: hands out the trials.
        limit: on the cost of the run, if it has one.
        on_finished: called with each trajectory once it is stored.
    """

    def __init__(
        self,
        store: Store,
        run: Run,
        selection: Selection,
        agent: Agent,
        client: VirtualClient,
        model: Model | None,
        trial_settings: TrialSettings,
        claims: ClaimQueue,
        limit: RunCostLimit | None = None,
        on_finished: Callable[[Trajectory], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._run = run
        self._selection = selection
        self._queries = {(query.group, query.query_id): query for query in selection.queries}
        self._agent = agent
        self._client = client
        self._settings = trial_settings
        self._claims = claims
        self._on_finished = on_finished
        self._tasks = ShieldedTasks()
        self._journal = Journal(store, run.run, self._tasks, limit)
        self._finished: GroupCommit[_Finished, bool] = GroupCommit(self._store_all, self._tasks)
        self._functions: dict[tuple[str, str], Functions] = {}
        self._lost = 0
        self._accepted = AcceptedShapes(self._journal.shapes)
        self._model = ShapeRecordingModel(model, self._accepted) if model else None
        self._refused: list[_Refused] = []
        """Trials that were refused before any request of that shape had been accepted."""

    async def run(self) -> str:
        """Do trials until none is left; returns why it stopped before the last of them, "" when it did not.

        Raises:
            StoreError, UsageError: the run cannot go on; what was finished is kept.
        """
        stopped = await self._do()
        await self._judge_refusals_again()
        return stopped

    async def _do(self) -> str:
        workers = [asyncio.create_task(self._work()) for _ in range(self._settings.connections)]
        try:
            await asyncio.gather(*workers)
        except RunStopped as stopped:
            return str(stopped)
        finally:
            self._claims.stop()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await self._tasks.wait_until_done()
        return ""

    async def _judge_refusals_again(self) -> None:
        """Decide again about trials that were refused before the run had its first replies."""
        for refused in self._refused:
            stop = await blame(refused.request, self._accepted)
            if stop is not refused.trajectory.stop and (
                claim := await self._claims.claim_again(refused.claim)
            ):
                await self._put(claim, refused.trajectory.model_copy(update={"stop": stop}))

    async def _work(self) -> None:
        """Do one trial after the other until none is left; one is stored while the next is done."""
        storing: asyncio.Task[None] | None = None
        while (claim := await self._claims.next()) is not None:
            group, query_id, trial = place_of(claim.item)
            query = self._queries[group, query_id]
            if claim.is_hopeless:
                trajectory, model = self._given_up(query, trial), None
            else:
                model = await self._model_of(claim, query, trial)
                trajectory = await self._trial(claim, query, trial, model)
            if model:  # else a crash would cost two calls, this trial's last and the next one's first
                await model.wait_until_written()
            if storing:
                await asyncio.shield(storing)
            storing = self._tasks.begin(self._store_one(claim, trajectory))
            self._stop_if_hopeless(trajectory)
        if storing:
            await asyncio.shield(storing)

    async def _store_one(self, claim: Claim, trajectory: Trajectory) -> None:
        if await self._put(claim, trajectory):
            self._on_finished(trajectory)

    async def _put(self, claim: Claim, trajectory: Trajectory) -> bool:
        """Store a trial and end its claim; False where the claim was lost."""
        is_lost = trajectory.stop is StopReason.INFRASTRUCTURE
        ended = claim.ended(FAILED if is_lost else DONE)
        is_kept = await self._finished.begin(_Finished(trajectory, ended))
        self._claims.count(claim, kept=is_kept)
        return is_kept

    async def _store_all(self, finished: Sequence[_Finished]) -> Sequence[bool]:
        trajectories = [one.trajectory for one in finished]
        return await self._store.runs.put_trajectories(
            self._run.run, trajectories, [one.ended for one in finished]
        )

    def _given_up(self, query: Query, trial: int) -> Trajectory:
        """The trajectory of a trial that has ended the processes that did it."""
        return Trajectory(
            group=query.group,
            query_id=query.query_id,
            query=query.text,
            trial=trial,
            agent=self._agent.name,
            model=self._model.name if self._model else None,
            stop=StopReason.INFRASTRUCTURE,
            error=f"The trial was begun {MAX_TRIES} times, and each time its process ended without a result.",
        )

    async def _trial(
        self, claim: Claim, query: Query, trial: int, model: JournalledModel | None
    ) -> Trajectory:
        seed = self._settings.sampling.seed
        task = Task(query, trial, None if seed is None else seed + trial)
        environment = Environment(
            self._functions_of(query),
            self._client,
            model=model,
            sampling=with_seed(self._settings.sampling, task.seed),
            budget=self._settings.budget,
            observations=self._settings.observations,
            episode=self._episode(query, trial),
            accepted=self._accepted,
        )
        agent, name = self._agent.name, model.name if model else None
        place = f"{self._run.run}/{query.group}/{query.query_id}/{trial}"
        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": agent,
            "gen_ai.request.model": name,
            "gen_ai.conversation.id": place,
        }
        with logs.fields(trial=place), traces.span(f"invoke_agent {agent}", attributes) as span:
            trajectory = await run_trial(self._agent, task, environment, name)
            span.set({"stb.stop": trajectory.stop.value})
        refused = environment.refused if environment.fault is None else None
        if refused and trajectory.stop is StopReason.INFRASTRUCTURE:
            self._refused.append(_Refused(claim, trajectory, refused))
        return trajectory

    def _functions_of(self, query: Query) -> Functions:
        """The functions of a query, made once for all its trials."""
        place = (query.group, query.query_id)
        if place not in self._functions:
            self._functions[place] = Functions(self._selection.offered(query))
        return self._functions[place]

    def _episode(self, query: Query, trial: int) -> str:
        """A new name for this attempt at a trial; "" where calls are independent of each other."""
        if not self._settings.episodes:
            return ""
        run, group, query_id = (quote(n, safe="") for n in (self._run.run, query.group, query.query_id))
        return f"{run[:80]}/{group[:30]}/{query_id[:30]}/{trial}/{secrets.token_hex(8)}"

    async def _model_of(self, claim: Claim, query: Query, trial: int) -> JournalledModel | None:
        if self._model is None:
            return None
        place = (query.group, query.query_id, trial)
        replies = await self._journal.replies(*place, was_begun=claim.fence > 1)
        return JournalledModel(self._model, self._journal, place, replies)

    def _stop_if_hopeless(self, trajectory: Trajectory) -> None:
        """Stop the run when infrastructure fails again and again, or at the first failure with ``fail_fast``."""
        if trajectory.stop in FAILURES and self._settings.fail_fast:
            place = f"{trajectory.group}/{trajectory.query_id}"
            raise RunStopped(f"Stopped at the first failure, {place}: {trajectory.error}")
        if trajectory.stop is not StopReason.INFRASTRUCTURE:
            self._lost = 0
            return
        self._lost += 1
        if self._lost >= _MAX_LOST_IN_A_ROW:
            raise RunStopped(
                f"Stopped: infrastructure failed in {self._lost} trials in a row. The last failure: {trajectory.error}"
            )
