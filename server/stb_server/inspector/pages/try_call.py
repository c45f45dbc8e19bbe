"""Tries a call from a page: looks it up in the cache, or sends it through the server as agents do."""

from __future__ import annotations

from dataclasses import dataclass

from stb_core.errors import CallError
from stb_core.store import Dataset, Store
from stb_core.values import ApiRef, Provenance, ToolCall, parse_arguments
from stb_server.calls import BadRequestError, Neighbour, Refusal, VirtualRequest, recorded_arguments
from stb_server.calls.identify import as_given, identify
from stb_server.calls.nearest import nearest
from stb_server.worker import ViewRequest, Worker


@dataclass(frozen=True)
class TriedCall:
    """The result of a try: an answer with its provenance, or why there is none.

    ``call`` is None if the arguments are invalid; ``nearest`` is the recorded call closest to a missed one.
    """

    call: ToolCall | None
    problem: str = ""
    body: bytes | None = None
    provenance: Provenance | None = None
    nearest: Neighbour | None = None


def sending_mode(worker: Worker | None) -> str:
    """The mode of a server that can answer more than is recorded; "" if it cannot."""
    if worker is None or worker.mode.rules.is_frozen:
        return ""
    return worker.mode.value


async def look_up(store: Store, dataset: Dataset, ref: ApiRef, arguments: str) -> TriedCall:
    """Look a call up in the cache. Nothing is recorded, and a miss is not counted."""
    try:
        call = await as_given(ToolCall(*ref, parse_arguments(arguments)), dataset.id, store.datasets.api)
        stored = await store.responses.get(dataset.id, call.key)
    except CallError as problem:
        return TriedCall(None, problem.message)
    if stored is not None:
        return TriedCall(call, body=stored.body, provenance=stored.provenance)
    recorded = await recorded_arguments(store, dataset.id, ref)
    neighbour = nearest(call.canonical_arguments, recorded)
    return TriedCall(call, provenance=Provenance.MISS, nearest=neighbour)


async def send(worker: Worker, dataset: Dataset, ref: ApiRef, arguments: str) -> TriedCall:
    """Send a call as an agent would, in the server's mode: the answer may come from a real API and be recorded."""
    try:
        view = await worker.view(ViewRequest(dataset=dataset.name))
    except BadRequestError as problem:
        return TriedCall(None, problem.message)
    call = identify(VirtualRequest(*ref, arguments), view.names.catalogue)
    if isinstance(call, Refusal):
        return TriedCall(None, call.message)
    call = await as_given(call, dataset.id, worker.resources.store.datasets.api)
    answer = await worker.answer(view, view.call_request(call))
    return TriedCall(call, body=answer.body, provenance=answer.provenance)
