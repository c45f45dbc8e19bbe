"""Shows one response: request, document, body, versions, other calls of the API, and a form to try it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response as HttpResponse

from stb_core.errors import NotFoundError
from stb_core.store import CurationAct, Dataset, Response, note_of
from stb_core.values import ApiRef, Provenance
from stb_server.inspector import json_view
from stb_server.inspector.diffs import compare_arguments, compare_lines, read_arguments
from stb_server.inspector.json_view import Token
from stb_server.inspector.pages import try_call
from stb_server.inspector.rendering import HEADERS, page, place, short_time
from stb_server.inspector.search import find_neighbours
from stb_server.inspector.sign_in import read_form
from stb_server.inspector.snippets import snippets

_NEIGHBOURS = 8
_USES = 12
_LONGEST_COPY = 20_000
ACTS = {
    CurationAct.NOTE: "noted",
    CurationAct.PIN: "pinned",
    CurationAct.UNPIN: "unpinned",
    CurationAct.RETIRE: "taken out of force",
    CurationAct.RESTORE: "put back into force",
    CurationAct.ERASE: "erased",
}
"""Manual changes, in words."""


@dataclass(frozen=True)
class BodyView:
    """A body as a page shows it: ``error`` separate if the body has the usual form."""

    error: str
    tokens: list[Token]
    is_text_json: bool
    is_cut: bool


def view_body(raw: bytes, budget: json_view.PageBudget | None = None) -> BodyView:
    """The view of a body; JSON in a string is parsed and marked so."""
    answer = json_view.view_answer(raw)
    tokens = json_view.make_tokens(answer.value, budget)
    return BodyView(answer.error, tokens, answer.is_unfolded, json_view.is_cut(tokens))


async def response(request: Request) -> HttpResponse:
    """Show a call's answer: the one in force, or the version in the address."""
    inspector = request.app.state.inspector
    store = inspector.store
    dataset = await store.datasets.get(request.path_params["dataset"])
    versions, chosen = await _load_version(request, dataset)
    ref = ApiRef(chosen.category, chosen.tool, chosen.api)
    near = [
        hit for hit in await find_neighbours(store, dataset.id, ref, _NEIGHBOURS + 1) if hit.key != chosen.key
    ]
    own = read_arguments(chosen.arguments)
    runs = [run for run in await inspector.runs() if run.dataset == dataset.name]
    uses, runs_read = await inspector.digests.uses(store, runs, chosen.key, limit=_USES)
    events = await store.curation.of(dataset.id, chosen.key)
    server = str(request.base_url).rstrip("/")
    return page(
        request,
        "response.html",
        dataset=dataset,
        ref=ref,
        chosen=chosen,
        versions=versions,
        arguments=json_view.make_tokens(
            json_view.read_json(chosen.arguments)[1], json_view.PageBudget(400, 20_000)
        ),
        arguments_text=json.dumps(own, indent=2, ensure_ascii=False),
        body=view_body(chosen.body),
        details=json_view.make_tokens(chosen.details, json_view.PageBudget(200, 8_000))
        if chosen.details
        else [],
        document=await store.datasets.api(dataset.id, ref),
        near=[(hit, compare_arguments(own, read_arguments(hit.arguments))) for hit in near[:_NEIGHBOURS]],
        note=note_of(events),
        events=events,
        acts=ACTS,
        uses=uses,
        runs_read=runs_read,
        snippets=snippets(
            server, dataset.name, *ref, chosen.arguments, has_token=inspector.clients.are_checked
        )
        if len(chosen.arguments) <= _LONGEST_COPY
        else [],
        can_send=inspector.worker is not None,
        mode=try_call.sending_mode(inspector.worker),
    )


async def raw(request: Request) -> HttpResponse:
    """Return the body as clients get it, byte for byte."""
    store = request.app.state.inspector.store
    dataset = await store.datasets.get(request.path_params["dataset"])
    _, chosen = await _load_version(request, dataset)
    headers = {**HEADERS, "X-STB-Provenance": chosen.provenance.value, "X-STB-Key": chosen.key}
    return HttpResponse(chosen.body, media_type="application/json", headers=headers)


async def difference(request: Request) -> HttpResponse:
    """Compare two versions of an answer, line by line."""
    store = request.app.state.inspector.store
    dataset = await store.datasets.get(request.path_params["dataset"])
    versions = {
        one.version: one for one in await store.responses.versions(dataset.id, request.path_params["key"])
    }
    before, after = (versions.get(_read_number(request.query_params.get(name, ""))) for name in ("a", "b"))
    if before is None or after is None:
        raise NotFoundError("There are no such versions of this response.")
    return page(
        request,
        "diff.html",
        dataset=dataset,
        before=before,
        after=after,
        difference=compare_lines(before.body, after.body),
    )


async def attempt(request: Request) -> HttpResponse:
    """Try a call: look it up, or send it through the server."""
    inspector = request.app.state.inspector
    store = inspector.store
    dataset = await store.datasets.get(request.path_params["dataset"])
    fields: dict[str, Any] = dict(request.query_params)
    if request.method == "POST":
        fields = await read_form(request)
    ref = ApiRef(*(str(fields.get(name, "")).replace("\x00", "") for name in ApiRef._fields))
    arguments = str(fields.get("arguments", "{}"))
    if not all(ref):
        raise NotFoundError("A call needs a category, a tool and an API.")
    is_sent = request.method == "POST" and fields.get("how") == "send" and inspector.worker is not None
    if is_sent:
        outcome = await try_call.send(inspector.worker, dataset, ref, arguments)
    else:
        outcome = await try_call.look_up(store, dataset, ref, arguments)
    changes = []
    if outcome.nearest and outcome.call:
        changes = compare_arguments(outcome.call.arguments, read_arguments(outcome.nearest.arguments))
    recorded = (
        outcome.call is not None and await store.responses.get(dataset.id, outcome.call.key) is not None
    )
    return page(
        request,
        "try.html",
        dataset=dataset,
        ref=ref,
        arguments_text=arguments,
        outcome=outcome,
        is_sent=is_sent,
        recorded=recorded,
        body=view_body(outcome.body) if outcome.body is not None else None,
        is_miss=outcome.provenance is Provenance.MISS,
        changes=changes,
        document=await store.datasets.api(dataset.id, ref),
        can_send=inspector.worker is not None,
        mode=try_call.sending_mode(inspector.worker),
        here=place("cache", dataset.name),
    )


async def _load_version(request: Request, dataset: Dataset) -> tuple[list[Response], Response]:
    store = request.app.state.inspector.store
    key = request.path_params["key"]
    versions: list[Response] = await store.responses.versions(dataset.id, key)
    if not versions:
        erased = [
            event for event in await store.curation.of(dataset.id, key) if event.act is CurationAct.ERASE
        ]
        when = f" It was erased by hand at {short_time(erased[0].created_at)} UTC." if erased else ""
        raise NotFoundError(f"Dataset {dataset.name} has no response {key[:80]!r}.{when}")
    number = _read_number(request.query_params.get("version", ""))
    if number:
        for one in versions:
            if one.version == number:
                return versions, one
        raise NotFoundError(f"This response has no version {number}.")
    return versions, next((one for one in versions if one.superseded_at is None), versions[0])


def _read_number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
