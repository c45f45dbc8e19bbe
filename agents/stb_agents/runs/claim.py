"""Which trials of a run this session does: those without a result, while it holds the run's lease."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from stb_agents.custom import check_agent
from stb_agents.environment import Agent
from stb_core.cli import sessions
from stb_core.store import Lease, Store
from stb_core.values import Query, StopReason, TrialPlace


async def claim_trials(
    store: Store, run: str, queries: Sequence[Query], trials: int, agent: Agent, stack: AsyncExitStack
) -> tuple[list[TrialPlace], Lease | None]:
    """The trials that are left, and the lease under which they are done; no lease where none is left.

    Args:
        store: where the run is.
        run: its id.
        queries: all that the run is to answer.
        trials: per query.
        agent: that does them; it must be reachable if any is left.
        stack: gives the lease back at its end.

    Raises:
        ServiceError: the agent cannot be reached.
        BusyError: another session is doing the run.
        StoreError: the store cannot be read, or does not take the lease.
    """
    if not await trials_left(store, run, queries, trials):
        return [], None
    await check_agent(agent)
    lease = await stack.enter_async_context(sessions.holding(store, [f"run {run}"], f"the run {run}"))
    # Another session may have done some of them before it gave the lease back.
    return await trials_left(store, run, queries, trials), lease


async def trials_left(store: Store, run: str, queries: Sequence[Query], trials: int) -> list[TrialPlace]:
    """The trials without a result: the first trial of all queries, then the second of all, and so on."""
    done = {
        (trial.group, trial.query_id, trial.trial)
        for trial in await store.runs.done(run)
        if trial.stop is not StopReason.INFRASTRUCTURE
    }
    places = [(query.group, query.query_id, trial) for trial in range(trials) for query in queries]
    return [place for place in places if place not in done]
