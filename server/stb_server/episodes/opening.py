"""Opens episodes: finds the query, fixes the terms, and assigns the run."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.errors import ConflictError, UsageError
from stb_core.llm import price_of
from stb_core.store import Dataset, Run
from stb_core.values import Episode, Finished, Manifest, Query, StopReason, clock
from stb_core.values.manifest import run_id, slug
from stb_core.values.observations import ObservationStyle
from stb_core.values.provenance import is_frozen
from stb_server.calls import BadRequestError
from stb_server.episodes.requests import Opening
from stb_server.worker import ServerOptions, ViewRequest, Worker

_LONGEST_RUN = 200


@dataclass(frozen=True)
class EpisodePlan:
    """A planned episode: its query, its terms, and the manifest of its run, if it has one."""

    query: Query
    terms: dict[str, Any]
    manifest: Manifest | None
    run: str | None


async def plan_episode(worker: Worker, opening: Opening) -> EpisodePlan:
    """Check a request for an episode, and fix its terms.

    Raises:
        BadRequestError: there is no such dataset, query, mode or snapshot, or the terms contradict
            each other.
        StoreError: the store cannot be read.
    """
    if opening.trial >= opening.trials:
        raise BadRequestError(
            400,
            "no_such_trial",
            f"Trials are numbered from 0 to {opening.trials - 1}; set their number with trials.",
        )
    if opening.finish == "text" and not worker.options.proxy:
        text = (
            "An episode that ends by text needs the recording proxy: start the server with --proxy PROVIDER."
        )
        raise BadRequestError(400, "no_proxy", text)
    if opening.answer_function and opening.finish != "text":
        text = "A function for the answer (answer_function) needs finish=text."
        raise BadRequestError(400, "no_text", text)
    mode = (opening.mode or worker.mode).value
    view = await worker.view(ViewRequest(opening.dataset, mode, opening.snapshot))
    store = worker.resources.store
    dataset = await store.datasets.get(view.names.dataset.name)
    query = await _query(worker, dataset, opening)
    existing = await store.runs.find(slug(opening.run)) if opening.record and opening.run else None
    snapshot = opening.snapshot or _snapshot(existing, dataset, mode)
    budget = _budget(worker.options, opening)
    terms = {
        "query": query.text,
        "agent": opening.agent,
        "model": opening.model,
        "dataset": dataset.name,
        "dataset_hash": dataset.content_hash,
        "mode": mode,
        "snapshot": snapshot,
        "stateful": opening.stateful,
        **ObservationStyle(opening.max_observation, opening.observation).settings(),
        "budget": budget,
        **_ending(opening),
    }
    # Freeze what the run sees now, whatever is recorded later.
    await worker.view(ViewRequest(dataset.name, mode, snapshot))
    if not opening.record:
        return EpisodePlan(query, terms, None, None)
    manifest = _manifest(worker.options, opening, terms)
    try:
        run = run_id(manifest, (), opening.run or None)
    except UsageError:
        run = ""
    if not 0 < len(run) <= _LONGEST_RUN:
        text = f"A run's name has up to {_LONGEST_RUN} letters, digits, '.', '_' and '-'; set one with run."
        raise BadRequestError(400, "bad_name", text)
    return EpisodePlan(query, terms, manifest, run)


def _ending(opening: Opening) -> dict[str, str]:
    """How an agent ends where that is not by ``Finish`` alone."""
    if opening.finish == "call":
        return {}
    return {"finish": opening.finish, "answer_function": opening.answer_function}


async def _query(worker: Worker, dataset: Dataset, opening: Opening) -> Query:
    queries = await worker.resources.store.datasets.queries_with_id(dataset.id, opening.query_id)
    queries = [query for query in queries if opening.group in {"", query.group}]
    if not queries:
        place = (
            f"group {opening.group!r} of dataset {dataset.name}"
            if opening.group
            else f"dataset {dataset.name}"
        )
        raise BadRequestError(404, "unknown_query", f"There is no query {opening.query_id!r} in {place}.")
    if len(queries) > 1:
        groups = ", ".join(query.group for query in queries)
        raise BadRequestError(
            400, "ambiguous_query", f"Query {opening.query_id!r} is in several groups: {groups}. Say which."
        )
    return queries[0]


def _snapshot(existing: Run | None, dataset: Dataset, mode: str) -> str:
    """The responses that may answer: those of the run being resumed, else those in force."""
    if existing:
        return existing.manifest.snapshot_hash
    return dataset.responses_hash if is_frozen(mode) else ""


def _budget(options: ServerOptions, opening: Opening) -> dict[str, Any]:
    budget = opening.budget.model_dump(exclude_none=True)
    allowed = options.max_episode_calls
    budget["max_tool_calls"] = min(budget.get("max_tool_calls", allowed), allowed)
    if "max_cost_usd" in budget and not (
        opening.model and price_of(opening.model, {"prices": options.prices})
    ):
        raise BadRequestError(
            400,
            "no_price",
            "A limit on cost needs the model, as PROVIDER/MODEL, and its price in the server's settings.",
        )
    return budget


def _manifest(options: ServerOptions, opening: Opening, terms: dict[str, Any]) -> Manifest:
    server: dict[str, Any] = {}
    if options.simulator:
        server["simulator"] = options.simulator.identity
    if options.faults:
        server["faults"] = str(options.faults)
    if opening.stateful:
        server["episodes"] = True
    return Manifest(
        dataset=terms["dataset"],
        dataset_hash=terms["dataset_hash"],
        snapshot_hash=terms["snapshot"],
        agent=opening.agent,
        agent_settings={
            "over": "http",
            "budget": terms["budget"],
            **ObservationStyle(opening.max_observation, opening.observation).settings(),
            **_ending(opening),
        },
        model=opening.model,
        mode=terms["mode"],
        server=server,
        trials=opening.trials,
    )


async def open_episode(
    worker: Worker, opening: Opening, planned: EpisodePlan, functions: tuple[str, ...], client: str
) -> tuple[Episode, str]:
    """Open an episode; returns it with its token, which is not stored.

    Args:
        worker: what the server holds.
        opening: the client's request.
        planned: the plan for it.
        functions: the names of the functions that the query offers.
        client: the address of the client.

    Raises:
        BadRequestError: the run has other settings, the trial has a result or an open episode, or too
            many episodes are open.
        StoreError: the store does not answer.
    """
    query, now, token = planned.query, clock.now(), secrets.token_urlsafe(24)
    episode = Episode(
        id=f"e{secrets.token_hex(8)}",
        token_hash=hash_of(token),
        client=client[:64],
        run=planned.run,
        group=query.group,
        query_id=query.query_id,
        trial=opening.trial,
        terms={**planned.terms, "available_tools": list(functions)},
        created_at=now,
        expires_at=now,
    )
    episode = replace(episode, expires_at=episode.left_alone_at(now, worker.options.episode_idle_s))
    if planned.run and planned.manifest:
        try:
            await worker.resources.store.runs.create(planned.run, planned.manifest, {})
        except ConflictError:
            text = f"A run {planned.run!r} exists with other settings; choose another name."
            raise BadRequestError(409, "other_settings", text) from None
    refusal = await worker.resources.writer.do(lambda connection: _put(worker, connection, episode, opening))
    if refusal:
        raise refusal
    return episode, token


async def _put(
    worker: Worker, connection: AsyncConnection, episode: Episode, opening: Opening
) -> BadRequestError | None:
    """Add the episode, and its query to its run; returns the refusal if that is not possible."""
    store, options, run = worker.resources.store, worker.options, episode.run
    which = f"Trial {episode.trial} of query {episode.query_id}"
    if await store.episode_records.open_within(connection, run=run, client=episode.client) >= (
        options.max_open_episodes
    ):
        text = f"{options.max_open_episodes} episodes of this run or client are open. Finish one first."
        return BadRequestError(429, "too_many_open", text, headers=((b"retry-after", b"1"),))
    if run:
        place = (run, episode.group, episode.query_id, episode.trial)
        stop = await store.runs.stop_within(connection, *place)
        if stop and stop is not StopReason.INFRASTRUCTURE:
            text = f"{which} has a result in run {run}. Use another trial or run."
            return BadRequestError(409, "has_result", text)
        old = await store.episode_records.open_at_within(connection, place)
        if old and opening.restart:
            spoiled = Finished(StopReason.INFRASTRUCTURE)
            await store.episode_records.end_within(connection, old, spoiled, error="Its trial was restarted.")
        await store.runs.expect_within(connection, run, {episode.group: [episode.query_id]})
    if not await store.episode_records.put_within(connection, episode):
        text = f"{which} has an open episode in run {run}. Continue it, or end it with restart."
        return BadRequestError(409, "already_open", text)
    return None


def hash_of(token: str) -> str:
    """SHA-256 of a token, which is stored in its place."""
    return hashlib.sha256(token.encode()).hexdigest()
