"""Signs a browser in if the server has tokens: a form takes a token once and sets a cookie.

The cookie is a value derived from the server's token, or a token with a name itself, of which the server knows
only a hash. Scripts cannot read it, and pages of other sites cannot send it. It allows reads and the inspector's
own forms; other writes need the token.
"""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from stb_server.inspector.rendering import HEADERS, page
from stb_server.worker import ANYONE, Client, Clients

COOKIE = "stb_inspector"
_MAX_AGE_S = 30 * 24 * 3600
_MAX_FORM_BYTES = 64 * 1024
_OPEN = ("/login", "/static/")
_READS = frozenset({"GET", "HEAD"})
_FORMS = ("/login", "/logout", "/edit", "/cache/")


def is_open(path: str) -> bool:
    """Whether a path is open to everybody: the form itself and its static files."""
    return path.startswith(_OPEN)


def is_form(path: str) -> bool:
    """Whether a path is under the pages whose forms a signed-in browser may send."""
    return path.startswith(_FORMS)


def client_of_cookie(scope: Scope, clients: Clients) -> Client | None:
    """The client whose cookie a request has, if the cookie allows the request."""
    if scope["method"] not in _READS and not is_form(scope["path"]):
        return None
    try:
        cookies = SimpleCookie(Headers(scope=scope).get("cookie", ""))
    except CookieError:
        return None
    presented = cookies[COOKIE].value if COOKIE in cookies else ""
    if not presented:
        return None
    session = _session(clients.token) if clients.token else ""
    if session and hmac.compare_digest(presented.encode(), session.encode()):
        return ANYONE
    client = clients.of_token(presented.encode())
    return client if client and client.name else None


def redirect_browser(scope: Scope, clients: Clients) -> Response | None:
    """Where to redirect a browser without a cookie; None for other clients.

    An address with ``?token=…`` counts as a submitted form, and is redirected to itself without the token.
    """
    if scope["method"] != "GET" or "text/html" not in Headers(scope=scope).get("accept", ""):
        return None
    members = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    tokens = [value for name, value in members if name == "token"]
    rest = [(name, value) for name, value in members if name != "token"]
    address = scope["path"] + (f"?{urlencode(rest)}" if rest else "")
    if tokens and (client := clients.of_token(tokens[-1].encode())):
        return _let_in(address, client, tokens[-1], scope)
    return RedirectResponse(f"/login?{urlencode({'next': address})}", 303, HEADERS)


async def login(request: Request) -> Response:
    """Show the form, or handle a submitted one."""
    clients: Clients = request.app.state.inspector.clients
    next_path = check_path(request.query_params.get("next", "/"))
    if not clients.are_checked:
        return RedirectResponse(next_path, 303, HEADERS)
    if request.method == "POST":
        form = await read_form(request)
        next_path = check_path(form.get("next", "/"))
        token = form.get("token", "")
        if client := clients.of_token(token.encode()):
            return _let_in(next_path, client, token, request.scope)
        return page(request, "login.html", status=401, next_path=next_path, refused=True)
    return page(request, "login.html", next_path=next_path, refused=False)


async def logout(_: Request) -> Response:
    """Delete the cookie."""
    response = RedirectResponse("/login", 303, HEADERS)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form, the last of each name; empty if it is too large."""
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MAX_FORM_BYTES:
            return {}
    return dict(parse_qsl(raw.decode(errors="replace"), keep_blank_values=True))


def _session(token: str) -> str:
    return hmac.new(token.encode(), b"stb inspector session", hashlib.sha256).hexdigest()


def _let_in(where: str, client: Client, token: str, scope: Scope) -> Response:
    response = RedirectResponse(where, 303, HEADERS)
    response.set_cookie(
        COOKIE,
        token if client.name else _session(token),
        max_age=_MAX_AGE_S,
        httponly=True,
        samesite="strict",
        secure=scope["scheme"] == "https",
    )
    return response


def check_path(path: str) -> str:
    """A path on this server; the first page for anything that could lead to another site."""
    is_own = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_own else "/"
