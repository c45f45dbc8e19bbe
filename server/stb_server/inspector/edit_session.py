"""Sessions that may change responses: a cookie signed with the write token, and a key in every form.

A form takes the token and sets the cookie. Scripts cannot read it, and pages of other sites cannot send it.
It holds a signature made with the token, not the token, so any worker can check it; it is valid for some
hours. Each form that changes something has a second signature, which only our own pages can contain.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from http.cookies import CookieError, SimpleCookie

from starlette.requests import HTTPConnection

COOKIE = "stb_inspector_edit"
MAX_AGE_S = 8 * 3600
_SESSION = re.compile(r"(?P<until>[0-9]{1,12})-(?P<salt>[0-9a-f]{32})-(?P<signature>[0-9a-f]{64})")


def begin_session(token: str, now: float) -> str:
    """The cookie for a browser that presented the token; ``now`` in seconds."""
    head = f"{int(now) + MAX_AGE_S}-{secrets.token_hex(16)}"
    return f"{head}-{_sign(token, 'session', head)}"


def is_session(session: str, token: str, now: float) -> bool:
    """Whether a cookie was made with this token and has not expired."""
    match = _SESSION.fullmatch(session)
    if not token or match is None:
        return False
    signature = _sign(token, "session", f"{match['until']}-{match['salt']}")
    return hmac.compare_digest(match["signature"], signature) and now < int(match["until"])


def form_key(request: HTTPConnection) -> str:
    """The key that forms of this browser need to change something; "" if it may not."""
    token: str = request.app.state.inspector.write_token
    session = _read_cookie(request)
    return _sign(token, "form", session) if is_session(session, token, time.time()) else ""


def _sign(token: str, purpose: str, text: str) -> str:
    return hmac.new(token.encode(), f"stb inspector {purpose} {text}".encode(), hashlib.sha256).hexdigest()


def _read_cookie(request: HTTPConnection) -> str:
    try:
        cookies = SimpleCookie(request.headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""
