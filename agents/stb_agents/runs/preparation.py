"""What a run needs before a model or a server is asked: its agent, its queries and the APIs that they offer."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stb_agents.custom import PREFIX as REPLAY
from stb_agents.custom import AgentCode, ChosenAgent, Remote, choose_agent, load_replay
from stb_agents.runs.request import RunRequest, number_to_retrieve
from stb_agents.runs.runner import TrialSettings
from stb_agents.runs.selection import Selection, select_queries
from stb_agents.runs.toolsets import Toolset, open_toolset
from stb_core.errors import UsageError
from stb_core.llm import price_of
from stb_core.settings import Settings
from stb_core.store import Store, open_store
from stb_core.usage import Price
from stb_core.values import lockfile

if TYPE_CHECKING:
    from stb_core.values.lockfile import LockFile

PATIENCE_S = 60.0
"""Seconds that a run waits for a database that is restarted."""


@dataclass(frozen=True)
class PreparedRun:
    """A request that can be carried out, with everything that the store holds for it."""

    request: RunRequest
    store: Store
    agent: ChosenAgent
    price: Price | None
    """Of the model's tokens; None where it is not known."""
    lock: LockFile | None
    trial_settings: TrialSettings
    selection: Selection
    toolset: Toolset | None
    """How the APIs of each query are found; None where the query names them."""


async def prepare_run(settings: Settings, request: RunRequest, stack: AsyncExitStack) -> PreparedRun:
    """Check a request, and read its queries from the store; nothing is asked, started or written.

    Args:
        settings: where the store is, and the prices of models.
        request: what ``stb run`` was asked to do.
        stack: closes the store at its end.

    Raises:
        UsageError: the request cannot be carried out as it is.
        NotFoundError: there is no such agent, dataset, group or query.
        StoreError: the store cannot be read.
    """
    price = price_of(request.model, settings.values) if request.model else None
    if request.limits_cost and price is None:
        raise _no_price(request)
    to_retrieve, options, ids = number_to_retrieve(request.tools), request.options, request.ids
    agent = None if request.agent.startswith(REPLAY) else choose_agent(request.agent, options)
    _check_model_use(request, agent)
    lock = lockfile.read_lock(request.locked) if request.locked else None
    store = await open_store(settings.database_url)
    store.patience_s = PATIENCE_S
    stack.push_async_callback(store.close)
    if agent is None:
        agent = ChosenAgent(await load_replay(store, request.agent.removeprefix(REPLAY)), AgentCode())
    elif isinstance(agent.agent, Remote):
        remote = await agent.agent.asked_for_version()
        agent = ChosenAgent(remote, AgentCode(f"version {remote.version}" if remote.version else ""))
    trial_settings = request.trial_settings(agent.agent)
    selection = await select_queries(store, request.dataset, limit=request.limit, ids=ids)
    toolset = None
    if to_retrieve is not None:
        toolset = await open_toolset(store, selection.dataset, to_retrieve, request.embedding, settings)
        selection = replace(selection, asked_for={**selection.asked_for, "tools": toolset.note})
    return PreparedRun(request, store, agent, price, lock, trial_settings, selection, toolset)


def warnings_of(prepared: PreparedRun) -> list[str]:
    """What decides the results of a run and is not in its manifest, as far as it is known after the run."""
    chosen, version = prepared.agent, prepared.request.agent_version
    if not isinstance(chosen.agent, Remote):
        return chosen.code.changes()
    if chosen.code.is_seen or version:
        return []
    if chosen.agent.versions:
        said = (
            f"The agent states its version ({min(chosen.agent.versions)}) in its turns only, so the run is not named"
            " by it. Let a GET of its address state it, or name it with --agent-version."
        )
        return [said]
    return [f"The code of {chosen.agent.name} cannot be seen; name its version with --agent-version."]


def _no_price(request: RunRequest) -> UsageError:
    if not request.model:
        return UsageError(
            "Only the cost of a model that is named can be limited.",
            hint="Name it with -m PROVIDER/MODEL, or leave --max-cost and --max-trial-cost out.",
        )
    return UsageError(
        f"A limit on cost needs the price of {request.model}.",
        hint=f'Write into stb.toml: [prices]  "{request.model}" = {{ input = 0.15, output = 0.60 }}.',
    )


def _check_model_use(request: RunRequest, chosen: ChosenAgent | None) -> None:
    """Check that the request names a model if the agent asks one; a replayed run (None) asks none."""
    if chosen:
        chosen.agent.settings()  # fails for a prompt file that cannot be used
    model_use = chosen.agent.model_use if chosen else "none"
    if model_use == "required" and not request.model:
        raise UsageError(f"The agent {request.agent} asks a model.", hint="Name one with -m PROVIDER/MODEL.")
    if model_use == "none" and request.model:
        raise UsageError(f"The agent {request.agent} asks no model.", hint="Leave -m out.")
