"""A run from its request to its summary: everything is looked at before the first trial begins."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stb_agents.custom.registry import Chosen, choose_agent
from stb_agents.custom.replay import PREFIX as REPLAY
from stb_agents.custom.replay import load_replay
from stb_agents.environment.server_client import Served, VirtualClient
from stb_agents.runs.cost_limit import PaidModel, Purse
from stb_agents.runs.forecast import Forecast, forecast
from stb_agents.runs.journal import spent_usd
from stb_agents.runs.manifest import manifest_of
from stb_agents.runs.progress import Bar
from stb_agents.runs.request import RunRequest
from stb_agents.runs.runner import Runner, trials_left
from stb_agents.runs.selection import Selection, select
from stb_agents.runs.server import Reached, reach_server
from stb_agents.runs.summary import Summary, summarise
from stb_agents.runs.toolsets import Toolset, number_to_retrieve
from stb_core.cli import console, sessions
from stb_core.errors import UsageError
from stb_core.llm.protocol import Model
from stb_core.llm.providers import price_of
from stb_core.settings import Settings
from stb_core.store import Store, open_store
from stb_core.store.runs import Run
from stb_core.values import lockfile
from stb_core.values.manifest import run_id
from stb_core.values.provenance import DEFAULT_MODE

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
class Done:
    """A run as it stands after the command; ``stopped`` says why not all of it was tried."""

    run: Run
    summary: Summary
    stopped: str = ""
    nothing_run: NothingRun | None = None


async def carry_out(settings: Settings, request: RunRequest, *, quiet: bool = False) -> Done:
    """Do what is left of a run.

    Raises:
        UsageError: the request cannot be carried out as it is, or is not what was locked.
        ModelUnavailableError, ServiceError: the model or the server cannot be reached.
        StoreError: the store cannot be read or written.
        BusyError: another session is doing the run, or has taken it over.
    """
    installed = _check(request, settings)
    lock = lockfile.read_lock(request.locked) if request.locked else None
    async with AsyncExitStack() as stack:
        store = await open_store(settings.database_url)
        stack.push_async_callback(store.close)
        chosen = installed or await _stored(request, store)
        conduct = request.conduct(chosen.agent)
        selection = await select(store, request.dataset, limit=request.limit, ids=request.ids)
        toolset = await _toolset(store, selection, request, settings)
        selection = toolset.noted(selection) if toolset else selection
        model: Model | None = await _reached_model(request, settings, stack) if request.model else None
        reached = await stack.enter_async_context(_server(selection, request, settings))
        manifest = manifest_of(
            chosen, request.model, selection, reached.served, conduct, request.trials, request.snapshot
        )
        if lock:
            lockfile.check(lock, manifest)
        name = run_id(manifest, selection.groups, request.name)
        client = await stack.enter_async_context(
            VirtualClient(
                reached.url,
                reached.served.name,
                mode=manifest.mode,
                snapshot=manifest.snapshot_hash,
                token="" if reached.private else request.token,
            )
        )
        await client.check()
        run = await store.runs.create(name, manifest, selection.expected)
        lease = None
        if await trials_left(store, name, selection, request.trials):
            lease = await stack.enter_async_context(
                sessions.holding(store, [f"run {name}"], f"the run {name}")
            )
        price = price_of(request.model, settings.values) if request.model else None
        if model and price and request.max_cost is not None:
            model = PaidModel(model, Purse(request.max_cost, price, await spent_usd(store, name)))
        if toolset and await trials_left(store, name, selection, request.trials):
            selection = await toolset.found_for(selection)
        bar = Bar(stack.enter_context(console.progress(quiet=quiet)), run)
        runner = Runner(store, run, selection, chosen.agent, client, model, conduct, bar.advance, lease)
        trials = await trials_left(store, name, selection, request.trials)
        bar.start(run.n_expected - len(trials))
        stopped = await runner.run(trials)
        summary = await summarise(run, store.runs.trajectories(run.run))
        return Done(run, summary, stopped, None if trials else await _nothing_run(store, name))


async def _nothing_run(store: Store, run: str) -> NothingRun | None:
    made = sorted(trial.created_at for trial in await store.runs.done(run))
    return NothingRun(len(made), made[0], made[-1]) if made else None


async def foresee(settings: Settings, request: RunRequest) -> Forecast:
    """What ``carry_out`` would do; nothing is asked, started or stored.

    The server is taken to serve what the store holds now.

    Raises:
        UsageError: the request cannot be carried out as it is.
        StoreError: the store cannot be read.
    """
    installed = _check(request, settings)
    store = await open_store(settings.database_url)
    try:
        chosen = installed or await _stored(request, store)
        selection = await select(store, request.dataset, limit=request.limit, ids=request.ids)
        toolset = await _toolset(store, selection, request, settings)
        selection = toolset.noted(selection) if toolset else selection
        dataset = selection.dataset
        served = Served(
            dataset.name, dataset.content_hash, dataset.responses_hash, request.mode or DEFAULT_MODE.value
        )
        conduct = request.conduct(chosen.agent)
        manifest = manifest_of(
            chosen, request.model, selection, served, conduct, request.trials, request.snapshot
        )
        if request.locked:
            lockfile.check(lockfile.read_lock(request.locked), manifest)
        name = run_id(manifest, selection.groups, request.name)
        left = await trials_left(store, name, selection, request.trials)
        return await forecast(
            store,
            name,
            request.trials * len(selection.queries),
            len(left),
            agent=chosen.agent.name,
            model=request.model,
            dataset=dataset.name,
            price=price_of(request.model, settings.values) if request.model else None,
        )
    finally:
        await store.close()


def _check(request: RunRequest, settings: Settings) -> Chosen | None:
    """The agent, after a look at whether it and the request go together; None for one in the store."""
    limits_cost = request.max_cost is not None or request.max_trial_cost is not None
    if request.model and limits_cost and price_of(request.model, settings.values) is None:
        raise UsageError(
            f"A limit on cost needs the price of {request.model}.",
            hint=f'Write into stb.toml: [prices]  "{request.model}" = {{ input = 0.15, output = 0.60 }}.',
        )
    if limits_cost and not request.model:
        raise UsageError(
            "Only the cost of a model that is named can be limited.",
            hint="Name it with -m PROVIDER/MODEL, or leave --max-cost and --max-trial-cost out.",
        )
    number_to_retrieve(request.tools)
    chosen, uses = None, "none"
    if not request.agent.startswith(REPLAY):
        chosen = choose_agent(request.agent, request.options)
        chosen.agent.settings()  # a prompt file that is no use shows here
        uses = chosen.agent.model_use
    if uses == "required" and not request.model:
        raise UsageError(f"The agent {request.agent} asks a model.", hint="Name one with -m PROVIDER/MODEL.")
    if uses == "none" and request.model:
        raise UsageError(f"The agent {request.agent} asks no model.", hint="Leave -m out.")
    return chosen


async def _stored(request: RunRequest, store: Store) -> Chosen:
    """An agent that is made of a stored run."""
    return Chosen(await load_replay(store, request.agent.removeprefix(REPLAY)), "")


async def _toolset(
    store: Store, selection: Selection, request: RunRequest, settings: Settings
) -> Toolset | None:
    """How the APIs of each query are found; None where the query names them."""
    k = number_to_retrieve(request.tools)
    if k is None:
        return None
    from stb_core.retrieval.retriever import open_retriever  # noqa: PLC0415 - not always needed

    tools = tuple(await store.datasets.tools(selection.dataset.id))
    return Toolset(open_retriever(tools, request.embedding, settings), k, tools)


def _server(
    selection: Selection, request: RunRequest, settings: Settings
) -> AbstractAsyncContextManager[Reached]:
    return reach_server(
        selection.dataset,
        url=request.server,
        mode=request.mode or "",
        token=request.token,
        database_url=settings.database_url,
        environment=settings.environment,
    )


async def _reached_model(request: RunRequest, settings: Settings, stack: AsyncExitStack) -> OpenAIModel:
    """The model, after a look whether it can be reached."""
    from stb_core.llm.providers import open_model  # noqa: PLC0415 - slow to import, and not always needed

    assert request.model
    model = open_model(request.model, settings, connections=request.max_connections, seed=request.seed or 0)
    stack.push_async_callback(model.close)
    await model.check()
    return model
