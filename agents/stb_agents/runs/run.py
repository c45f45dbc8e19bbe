"""A run from its request to its summary.

Before the first trial the steps are these, each done once: prepare the run (agent, queries), open the model
and the server, identify the run (manifest, lock file, name), and claim the trials that are left.
``--dry-run`` takes the same steps, except that it opens nothing and claims nothing.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stb_agents.custom import check_agent
from stb_agents.environment import ServedDataset, VirtualClient
from stb_agents.runs.call_form import settle_text_calls
from stb_agents.runs.claim import claim_trials, trials_left
from stb_agents.runs.cost_limit import RunCostLimit, RunCostLimitedModel, open_limit
from stb_agents.runs.forecast import Forecast, estimate_run
from stb_agents.runs.manifest import identify_run, simulator_note
from stb_agents.runs.preparation import PreparedRun, prepare_run, warnings_of
from stb_agents.runs.progress import shown_progress
from stb_agents.runs.repeats import choose_run
from stb_agents.runs.request import RunRequest
from stb_agents.runs.runner import Runner
from stb_agents.runs.server import reach_server
from stb_agents.runs.summary import Summary, summarise
from stb_core.cli import console
from stb_core.errors import NotFoundError, UsageError
from stb_core.llm import Model, open_model
from stb_core.settings import Settings
from stb_core.store import Run, Store, WorkPlace
from stb_core.store.work import DRAINED, PAUSED, TRIAL
from stb_core.values import DEFAULT_MODE

if TYPE_CHECKING:
    from stb_core.llm.openai_client import OpenAIModel


@dataclass(frozen=True)
class NothingRun:
    """All trials of a run had results before the command: how many, and when the first and last was made.

    Times are in UTC, ISO 8601.
    """

    trials: int
    oldest: str
    newest: str


@dataclass(frozen=True)
class RunOutcome:
    """A run as it stands after the command.

    ``stopped`` says why the command ended before it had tried every trial; "" when it had not to.
    ``nothing_run`` is None where at least one trial was done. ``warnings`` say what the manifest cannot hold.
    """

    run: Run
    summary: Summary
    stopped: str = ""
    nothing_run: NothingRun | None = None
    warnings: tuple[str, ...] = ()


async def run_agent(settings: Settings, request: RunRequest, *, quiet: bool = False) -> RunOutcome:
    """Do the trials of a run that have no result yet.

    Args:
        settings: where the store is, the prices of models, and the environment of a private server.
        request: the agent, the queries, and how they are run.
        quiet: show no progress.

    Raises:
        UsageError: the request cannot be carried out as it is, or is not what was locked.
        NotFoundError: there is no such agent, dataset, group or query.
        ModelUnavailableError, ServiceError: the model or the server cannot be reached.
        StoreError: the store cannot be read or written.
    """
    async with AsyncExitStack() as stack:
        prepared = await prepare_run(settings, request, stack)
        store, selection = prepared.store, prepared.selection
        model: Model | None = await _open_model(request, settings, stack) if request.model else None
        server = await stack.enter_async_context(
            reach_server(
                selection.dataset,
                url=request.server,
                mode=request.mode or "",
                token=request.token,
                database_url=settings.database_url,
                environment=settings.environment,
                quiet=quiet,
            )
        )
        if note := simulator_note(server.dataset):
            console.print_note(note)
        prepared = await settle_text_calls(prepared, server.dataset, model)
        first, manifest = identify_run(prepared, server.dataset)
        name = await choose_run(store, first, manifest, fresh=request.fresh)
        client = await stack.enter_async_context(
            VirtualClient(
                server.url,
                server.dataset.name,
                mode=manifest.mode,
                snapshot=manifest.snapshot_hash,
                token="" if server.private else request.token,
                timeout_s=prepared.trial_settings.answer_timeout_s,
            )
        )
        await client.check()
        agent, repeats = prepared.agent.agent, first if name != first else ""
        left = await trials_left(store, name, selection.queries, request.trials)
        if left:
            await check_agent(agent)
        run = await store.runs.create(name, manifest, selection.expected, repeats=repeats)
        stopped = ""
        if left:
            if prepared.toolset:
                selection = await prepared.toolset.retrieve(selection)
            progress = await stack.enter_async_context(
                shown_progress(run, run.n_expected - len(left), quiet=quiet)
            )
            slots = prepared.trial_settings.connections
            claims = await claim_trials(store, name, left, slots, stack)
            claims.on_waiting = progress.wait_for
            limit: RunCostLimit | None = None
            if model and prepared.price and request.max_cost is not None:
                limit = await stack.enter_async_context(
                    open_limit(request.max_cost, store, name, claims.owner)
                )
                model = RunCostLimitedModel(model, limit, prepared.price)
            runner = Runner(
                store,
                run,
                selection,
                agent,
                client,
                model,
                prepared.trial_settings,
                claims,
                limit,
                on_finished=progress.advance,
            )
            stopped = await runner.run()
            if claims.is_drained and not stopped and await store.work.left(WorkPlace(name, TRIAL)):
                stopped = "Stopped, since --drain was asked for."
            if claims.late:
                console.print_note(
                    f"{claims.late} results came too late and were dropped; others had done those trials."
                )
        summary = await summarise(run, store.runs.trajectories(run.run))
        nothing = None if left else await _nothing_run(store, name)
        return RunOutcome(run, summary, stopped, nothing, tuple(warnings_of(prepared)))


@dataclass(frozen=True)
class ToldWorkers:
    """What the processes that do a run were told, ``paused`` or ``drained``, and how many there are."""

    run: str
    mode: str
    workers: int


async def tell_workers(settings: Settings, request: RunRequest) -> ToldWorkers:
    """Let all processes that do a run wait, or end, when they have done what they began.

    The same request without this goes on. The server is taken to serve what the store holds now.

    Raises:
        UsageError: the request cannot be carried out as it is, or both are asked for.
        NotFoundError: there is no such agent, dataset, group or query, or nobody does such a run.
        StoreError: the store cannot be read or written.
    """
    if request.pause and request.drain:
        raise UsageError("A run either waits or ends.", hint="Leave --pause or --drain out.")
    async with AsyncExitStack() as stack:
        prepared = await prepare_run(settings, request, stack)
        name = await _identify(prepared, request)
        place = WorkPlace(name, TRIAL)
        workers = [
            one for one in await prepared.store.work.workers(place) if one.is_alive and not one.is_gone
        ]
        if not workers:
            raise NotFoundError(
                f"No process does the run {name} now.", hint="See what there is with: stb ls."
            )
        mode = DRAINED if request.drain else PAUSED
        await prepared.store.work.set_mode(place, "", mode)
        return ToldWorkers(name, mode, len(workers))


async def _identify(prepared: PreparedRun, request: RunRequest) -> str:
    """The name of the run that a request means, where no server is asked."""
    dataset, mode = prepared.selection.dataset, request.mode or DEFAULT_MODE.value
    served = ServedDataset(dataset.name, dataset.content_hash, dataset.responses_hash, mode)
    prepared = await settle_text_calls(prepared, served, None)
    first, manifest = identify_run(prepared, served)
    return await choose_run(prepared.store, first, manifest, fresh=request.fresh)


async def forecast_run(settings: Settings, request: RunRequest) -> Forecast:
    """What ``run_agent`` would do and cost; no model and no server is asked, and nothing is stored.

    An agent at an address is asked for its version.

    The server is taken to serve what the store holds now.

    Raises:
        UsageError: the request cannot be carried out as it is, or is not what was locked.
        NotFoundError: there is no such agent, dataset, group or query.
        StoreError: the store cannot be read.
    """
    async with AsyncExitStack() as stack:
        prepared = await prepare_run(settings, request, stack)
        dataset, queries = prepared.selection.dataset, prepared.selection.queries
        name = await _identify(prepared, request)
        left = await trials_left(prepared.store, name, queries, request.trials)
        return await estimate_run(
            prepared.store,
            name,
            request.trials * len(queries),
            len(left),
            agent=prepared.agent.agent.name,
            model=request.model,
            dataset=dataset.name,
            price=prepared.price,
        )


async def _open_model(request: RunRequest, settings: Settings, stack: AsyncExitStack) -> OpenAIModel:
    """Open the model and check that it can be reached."""
    assert request.model
    model = open_model(
        request.model,
        settings,
        connections=request.max_connections,
        seed=request.seed or 0,
        timeout_s=request.model_timeout,
        say=console.print_note,
    )
    stack.push_async_callback(model.close)
    await model.check()
    return model


async def _nothing_run(store: Store, run: str) -> NothingRun | None:
    times = sorted(trial.created_at for trial in await store.runs.done(run))
    return NothingRun(len(times), times[0], times[-1]) if times else None
