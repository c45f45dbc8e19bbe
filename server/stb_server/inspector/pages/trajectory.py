"""Shows one trajectory: messages and calls in order, the search tree, and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response

from stb_core.errors import NotFoundError
from stb_core.store import Run, Store, schema
from stb_core.values import FINISH, SOPR, Step, Trajectory, Verdict, made_calls
from stb_server.inspector import trajectory_trees
from stb_server.inspector import verdicts as outcomes
from stb_server.inspector.json_view import PageBudget
from stb_server.inspector.rendering import HEADERS, page, place
from stb_server.inspector.run_digests import RunDigest, key_of
from stb_server.inspector.trajectory_items import (
    MeasuredTimes,
    TrajectoryItem,
    find_turn,
    has_order,
    make_item,
    order_items,
)

_CHUNK = 400
_PAGE_NODES = 1_000
_PAGE_TEXT = 80_000
_MAX_ROWS = 150
_CALLS: dict[str, Any] = {
    "steps": {"__all__": {"function"}},
    "tree": {"__all__": {"step": {"function"}}},
}
_LIMITS = {
    "width": "children of a node",
    "depth": "turns of depth",
    "max_model_calls": "model calls",
    "max_tool_calls": "tool calls",
    "max_tokens": "tokens",
}


@dataclass(frozen=True)
class TrajectoryView:
    """A trajectory with everything that its page shows."""

    run: Run
    trajectory: Trajectory
    verdicts: list[Verdict]
    items: list[TrajectoryItem]
    left_out: int
    n_calls: int
    has_order: bool
    tree: trajectory_trees.TreeView | None
    nodes: dict[int, TrajectoryItem]
    address: str
    limits: str
    """The limits of the search, in words; "" if the manifest has none."""


async def trajectory(request: Request) -> Response:
    """Show a trajectory; with ``against=RUN`` two runs side by side on the same query."""
    inspector = request.app.state.inspector
    store = inspector.store
    run = await store.runs.get(request.path_params["run"])
    group, query_id = request.path_params["group"], request.path_params["query_id"]
    trial = _read_trial(request)
    latest, attempts = await _load(store, run, group, query_id, trial)
    against = request.query_params.get("against", "")
    digest = await inspector.digests.get(store, run.run)
    other = None
    if against:
        rival = await store.runs.get(against)
        loaded, _ = await _load(store, rival, group, query_id, min(trial, rival.trials - 1))
        other = await _make_view(store, rival, loaded, with_tree=False)
    previous, following = _find_adjacent(run, digest, (group, query_id, trial))
    return page(
        request,
        "pair.html" if other else "trajectory.html",
        side=await _make_view(store, run, latest, with_tree=other is None),
        other=other,
        attempts=attempts,
        rivals=_find_rivals(await inspector.runs(), run, group, query_id),
        previous=previous,
        following=following,
        signs=outcomes.SIGNS,
        finish=FINISH,
    )


async def raw(request: Request) -> Response:
    """Return the trajectory as it is stored."""
    store = request.app.state.inspector.store
    run = await store.runs.get(request.path_params["run"])
    where = run.run, request.path_params["group"], request.path_params["query_id"], _read_trial(request)
    document, _ = await load_document(store, *where)
    return Response(document, media_type="application/json", headers=HEADERS)


def address(run: str, group: str, query_id: str, trial: int = 0) -> str:
    """The page of a trajectory."""
    return place("runs", run, group, query_id) + (f"?trial={trial}" if trial else "")


def _read_trial(request: Request) -> int:
    text = request.query_params.get("trial", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


async def _load(store: Store, run: Run, group: str, query_id: str, trial: int) -> tuple[Trajectory, int]:
    document, attempts = await load_document(store, run.run, group, query_id, trial)
    return Trajectory.model_validate_json(document), attempts


async def load_document(store: Store, run: str, group: str, query_id: str, trial: int) -> tuple[str, int]:
    """(the last attempt of a trial, how many attempts there are)."""
    t = schema.trajectories.c
    statement = (
        sa.select(t.document, t.attempt)
        .where(t.run == run, t.group == group, t.query_id == query_id, t.trial == trial)
        .order_by(t.attempt.desc())
        .limit(1)
    )
    async with store.reading() as connection:
        row = (await connection.execute(statement)).first()
    if row is None:
        raise NotFoundError(f"Run {run} has no trajectory of {group} {query_id[:80]}, trial {trial}.")
    return row.document, row.attempt + 1


async def _make_view(store: Store, run: Run, trajectory: Trajectory, *, with_tree: bool) -> TrajectoryView:
    verdicts = await store.verdicts.of_query(run.run, trajectory.group, trajectory.query_id, metric=SOPR)
    tree = trajectory_trees.draw_tree(trajectory.tree) if with_tree and trajectory.tree else None
    drawn = {row.number: row.node for row in tree.rows if row.node} if tree else {}
    steps = [*trajectory.steps, *(node.step for node in drawn.values() if node.step)]
    recorded = await _find_recorded_pages(store, run.dataset, steps)
    share = 2 if tree else 1  # the tree and the path to the answer get half each
    budget, tree_budget = (PageBudget(_PAGE_NODES // share, _PAGE_TEXT // share) for _ in range(2))
    path = order_items(
        trajectory, tree or (trajectory_trees.draw_tree(trajectory.tree) if trajectory.tree else None)
    )
    measured = MeasuredTimes(trajectory)
    items = [
        make_item(number, step, message, recorded, budget, measured)
        for number, (step, message) in enumerate(path[:_MAX_ROWS], 1)
    ]
    nodes = {
        number: make_item(
            number, node.step, find_turn(trajectory.tree or (), node), recorded, tree_budget, measured
        )
        for number, node in drawn.items()
    }
    return TrajectoryView(
        run=run,
        trajectory=trajectory,
        verdicts=[one for one in verdicts if one.trial == trajectory.trial],
        items=items,
        left_out=max(0, len(path) - _MAX_ROWS),
        n_calls=len(made_calls(trajectory.model_dump(include=_CALLS))),
        has_order=has_order(trajectory),
        tree=tree,
        nodes=nodes,
        address=place("runs", run.run, trajectory.group, trajectory.query_id),
        limits=_describe_limits(run.manifest.agent_settings),
    )


def _describe_limits(settings: Mapping[str, Any]) -> str:
    budget = settings.get("budget")
    settings_and_budget = {**settings, **(budget if isinstance(budget, dict) else {})}
    return ", ".join(
        f"{value:,} {words}"
        for name, words in _LIMITS.items()
        if isinstance(value := settings_and_budget.get(name), int)
    )


async def _find_recorded_pages(store: Store, dataset: str, steps: list[Step]) -> dict[str, str]:
    """The pages of recorded answers, by the key of the call."""
    keys = sorted({key for step in steps if (key := key_of(step))})
    return {key: place("cache", dataset, key) for key in await find_recorded_keys(store, dataset, keys)}


async def find_recorded_keys(store: Store, dataset: str, keys: Sequence[str]) -> list[str]:
    """Those keys that have a response in force; none if there is no such dataset."""
    known = [one for one in await store.datasets.all() if one.name == dataset]
    recorded: list[str] = []
    if not known:
        return recorded
    r = schema.responses.c
    async with store.reading() as connection:
        for start in range(0, len(keys), _CHUNK):
            statement = sa.select(r.key).where(
                r.dataset_id == known[0].id,
                r.key.in_(keys[start : start + _CHUNK]),
                r.superseded_at.is_(None),
            )
            recorded += await connection.scalars(statement)
    return recorded


def _find_rivals(runs: Sequence[Run], run: Run, group: str, query_id: str) -> list[Run]:
    """Other runs with the same query of the same dataset."""
    return [
        other
        for other in runs
        if other.run != run.run and other.dataset == run.dataset and query_id in other.expected.get(group, ())
    ]


def _find_adjacent(run: Run, digest: RunDigest, here: tuple[str, str, int]) -> tuple[str, str]:
    """The addresses of the trajectories before and after this one, in the order of the run's page."""
    places = [
        (group, query_id, number)
        for group in run.expected
        for query_id in run.expected[group]
        for number in range(run.trials)
        if (group, query_id, number) in digest.trials
    ]
    if here not in places:
        return "", ""
    at = places.index(here)
    before = address(run.run, *places[at - 1]) if at else ""
    return before, address(run.run, *places[at + 1]) if at + 1 < len(places) else ""
