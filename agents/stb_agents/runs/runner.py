"""The runner: all trials of a run, many at a time, each stored as soon as it is finished.

A run that was stopped, by whatever, goes on where it was: finished trials are skipped, model replies
that were paid for are used again. One trial that fails never stops the others.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from stb_agents.environment.agent import Agent, Task
from stb_agents.environment.blame import REFUSED, Accepted, HeardModel, Refused, blame
from stb_agents.environment.budget import Budget, RunStopped
from stb_agents.environment.environment import Environment, Sampling, with_seed
from stb_agents.environment.server_client import VirtualClient
from stb_agents.runs.journal import Journal, JournalledModel
from stb_agents.runs.selection import Selection
from stb_agents.runs.trial import run_trial
from stb_core.llm.protocol import Model
from stb_core.store import Store
from stb_core.store.group_commit import GroupCommit
from stb_core.store.lease import Lease
from stb_core.store.runs import Run
from stb_core.store.shielded import ShieldedTasks
from stb_core.telemetry import logs, traces
from stb_core.values.functions import Functions
from stb_core.values.queries import Query
from stb_core.values.trajectories import StopReason, Trajectory

# So many trials in a row that infrastructure spoiled, and the run stops: the rest would fare no better.
_MAX_SPOILED_IN_A_ROW = 20


@dataclass(frozen=True)
class Conduct:
    """How the trials of a run are done."""

    sampling: Sampling
    budget: Budget
    max_observation: int
    connections: int
    """Trials at a time."""
    fail_fast: bool = False
    """Stop at the first trial that fails."""
    episodes: bool = False
    """Tell the server which calls belong to one trial, so that simulated answers agree."""


class Runner:
    """Does the trials of a run that are not done."""

    def __init__(
        self,
        store: Store,
        run: Run,
        selection: Selection,
        agent: Agent,
        client: VirtualClient,
        model: Model | None,
        conduct: Conduct,
        on_finished: Callable[[Trajectory], None] = lambda _: None,
        lease: Lease | None = None,
    ) -> None:
        self._store = store
        self._run = run
        self._selection = selection
        self._agent = agent
        self._client = client
        self._conduct = conduct
        self._on_finished = on_finished
        self._lease = lease
        self._tasks = ShieldedTasks()
        self._journal = Journal(store, run.run, self._tasks)
        self._finished: GroupCommit[Trajectory, None] = GroupCommit(self._store_all, self._tasks)
        self._functions: dict[tuple[str, str], Functions] = {}
        self._spoiled = 0
        self._accepted = Accepted(self._journal.shapes)
        self._model = HeardModel(model, self._accepted) if model else None
        self._refused: list[tuple[Trajectory, Refused]] = []
        """Trials that were refused when no request of that shape had been accepted."""

    async def run(self, trials: Iterable[tuple[Query, int]]) -> str:
        """Do these trials; why it stopped before the last of them, "" when it did not.

        Raises:
            StoreError, UsageError, BusyError: the run cannot go on; what was finished is kept.
        """
        stopped = await self._do(iter(trials))
        await self._look_again()
        return stopped

    async def _do(self, left: Iterator[tuple[Query, int]]) -> str:
        """Why the work stopped before the last trial, "" when it did not."""
        workers = [asyncio.create_task(self._work(left)) for _ in range(self._conduct.connections)]
        try:
            await asyncio.gather(*workers)
        except RunStopped as stopped:
            return str(stopped)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await self._tasks.wait_until_done()
        return ""

    async def _look_again(self) -> None:
        """Blame anew for what was refused while the first replies of the run were still being written."""
        for trajectory, refused in self._refused:
            stop = await blame(refused, self._accepted)
            if stop is not trajectory.stop:
                await self._store_all([trajectory.model_copy(update={"stop": stop})])

    async def _work(self, left: Iterator[tuple[Query, int]]) -> None:
        """One trial after the other until none is left; one is written down while the next is done."""
        keeping: asyncio.Task[None] | None = None
        for query, trial in left:
            model = await self._model_of(query, trial)
            trajectory = await self._trial(query, trial, model)
            if model:  # else a crash would cost two calls, this trial's last and the next one's first
                await model.settle()
            if keeping:
                await asyncio.shield(keeping)
            keeping = self._tasks.begin(self._keep(trajectory))
            self._watch(trajectory)
        if keeping:
            await asyncio.shield(keeping)

    async def _keep(self, trajectory: Trajectory) -> None:
        await self._finished.begin(trajectory)
        self._on_finished(trajectory)

    async def _store_all(self, trajectories: Sequence[Trajectory]) -> list[None]:
        await self._store.runs.put_trajectories(self._run.run, trajectories, self._lease)
        return [None] * len(trajectories)

    async def _trial(self, query: Query, trial: int, model: JournalledModel | None) -> Trajectory:
        seed = self._conduct.sampling.seed
        task = Task(query, trial, None if seed is None else seed + trial)
        environment = Environment(
            self._functions_of(query),
            self._client,
            model=model,
            sampling=with_seed(self._conduct.sampling, task.seed),
            budget=self._conduct.budget,
            max_observation=self._conduct.max_observation,
            episode=self._episode(query, trial),
            accepted=self._accepted,
        )
        agent, name = self._agent.name, model.name if model else None
        place = f"{self._run.run}/{query.group}/{query.query_id}/{trial}"
        about = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": agent,
            "gen_ai.request.model": name,
            "gen_ai.conversation.id": place,
        }
        with logs.fields(trial=place), traces.span(f"invoke_agent {agent}", about) as span:
            trajectory = await run_trial(self._agent, task, environment, name)
            span.set({"stb.stop": trajectory.stop.value})
        refused = environment.refused if environment.fault is None else None
        if refused and trajectory.stop is StopReason.INFRASTRUCTURE:
            self._refused.append((trajectory, refused))
        return trajectory

    def _functions_of(self, query: Query) -> Functions:
        """Made once for all trials of a query."""
        place = (query.group, query.query_id)
        if place not in self._functions:
            self._functions[place] = Functions(self._selection.offered(query))
        return self._functions[place]

    def _episode(self, query: Query, trial: int) -> str:
        """A name for this attempt at a trial, used once; "" where the server is not told."""
        if not self._conduct.episodes:
            return ""
        run, group, query_id = (quote(n, safe="") for n in (self._run.run, query.group, query.query_id))
        return f"{run[:80]}/{group[:30]}/{query_id[:30]}/{trial}/{secrets.token_hex(8)}"

    async def _model_of(self, query: Query, trial: int) -> JournalledModel | None:
        if self._model is None:
            return None
        place = (query.group, query.query_id, trial)
        return JournalledModel(self._model, self._journal, place, await self._journal.replies(*place))

    def _watch(self, trajectory: Trajectory) -> None:
        """Stop when it is plain that nothing works any more, or at once if that was asked for."""
        failed = trajectory.stop in {StopReason.INFRASTRUCTURE, StopReason.AGENT_ERROR, *REFUSED}
        if failed and self._conduct.fail_fast:
            place = f"{trajectory.group}/{trajectory.query_id}"
            raise RunStopped(f"Stopped at the first failure, {place}: {trajectory.error}")
        if trajectory.stop is not StopReason.INFRASTRUCTURE:
            self._spoiled = 0
            return
        self._spoiled += 1
        if self._spoiled >= _MAX_SPOILED_IN_A_ROW:
            raise RunStopped(
                f"Stopped: {self._spoiled} trials in a row were spoiled, the last one since {trajectory.error}"
            )


async def trials_left(store: Store, run: str, selection: Selection, trials: int) -> list[tuple[Query, int]]:
    """The trials without a result, trial by trial through all queries."""
    done = {
        (trial.group, trial.query_id, trial.trial)
        for trial in await store.runs.done(run)
        if trial.stop is not StopReason.INFRASTRUCTURE
    }
    return [
        (query, trial)
        for trial in range(trials)
        for query in selection.queries
        if (query.group, query.query_id, trial) not in done
    ]
