"""Changes responses from the pages: pins, notes and deletions, with the server's write token."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stb_core.errors import UsageError
from stb_core.store import Store
from stb_server.inspector.edit_session import COOKIE, MAX_AGE_S, begin_session, form_key
from stb_server.inspector.rendering import HEADERS, page, place
from stb_server.inspector.sign_in import check_path, read_form

_READ_ONLY = "This server is read-only: it was started without --write-token."
_SIGNED_OUT = "Changes need the write token. Sign in to edit, then submit the form again."
_FOREIGN = "The form came from another site, or from a page that was open for too long. Reload the page."

Edit = Callable[[Store, int, str, dict[str, str]], Coroutine[Any, Any, object]]


async def edit(request: Request) -> Response:
    """Show the form for the write token, or handle a submitted one."""
    token: str = request.app.state.inspector.write_token
    next_path = check_path(request.query_params.get("next", "/"))
    if not token:
        return refusal(request, _READ_ONLY)
    if request.method == "POST":
        form = await read_form(request)
        next_path = check_path(form.get("next", "/"))
        if hmac.compare_digest(form.get("write_token", "").encode(), token.encode()):
            response = RedirectResponse(next_path, 303, HEADERS)
            response.set_cookie(
                COOKIE,
                begin_session(token, time.time()),
                max_age=MAX_AGE_S,
                httponly=True,
                samesite="strict",
                secure=request.url.scheme == "https",
            )
            return response
        return page(request, "edit.html", status=403, next_path=next_path, refused=True)
    return page(request, "edit.html", next_path=next_path, refused=False)


async def end(request: Request) -> Response:
    """Delete the cookie."""
    form = await read_form(request)
    response = RedirectResponse(check_path(form.get("next", "/")), 303, HEADERS)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


async def change(request: Request) -> Response:
    """Pin, unpin, annotate, delete or restore a response, then show it again."""
    inspector = request.app.state.inspector
    if not inspector.write_token:
        return refusal(request, _READ_ONLY)
    form = await read_form(request)
    expected = form_key(request)
    if not expected:
        return refusal(request, _SIGNED_OUT)
    if not hmac.compare_digest(form.get("form_key", "").encode(), expected.encode()):
        return refusal(request, _FOREIGN)
    act = EDITS.get(form.get("act", ""))
    if act is None:
        raise UsageError("The form has no valid action.")
    store = inspector.store
    dataset = await store.datasets.get(request.path_params["dataset"])
    key = request.path_params["key"]
    await act(store, dataset.id, key, form)
    if inspector.worker is not None:
        await inspector.worker.refresh_datasets()  # other workers refresh by themselves, every second
    return RedirectResponse(place("cache", dataset.name, key) + "#by-hand", 303, HEADERS)


def refusal(request: Request, text: str) -> Response:
    """A page that says why something is not allowed."""
    return page(request, "error.html", status=403, title="Not allowed", text=text)


async def _pin(store: Store, dataset_id: int, key: str, _: dict[str, str]) -> None:
    await store.curation.pin(dataset_id, key, pinned=True)


async def _unpin(store: Store, dataset_id: int, key: str, _: dict[str, str]) -> None:
    await store.curation.pin(dataset_id, key, pinned=False)


async def _note(store: Store, dataset_id: int, key: str, form: dict[str, str]) -> None:
    await store.curation.note(dataset_id, key, _text(form, "note"))


async def _delete(store: Store, dataset_id: int, key: str, form: dict[str, str]) -> None:
    await store.curation.delete(dataset_id, key, _text(form, "reason"))


async def _restore(store: Store, dataset_id: int, key: str, _: dict[str, str]) -> None:
    await store.curation.restore(dataset_id, key)


EDITS: dict[str, Edit] = {
    "pin": _pin,
    "unpin": _unpin,
    "note": _note,
    "delete": _delete,
    "restore": _restore,
}


def _text(form: dict[str, str], name: str) -> str:
    return form.get(name, "").replace("\r\n", "\n").strip()
