"""Turns templates into pages: escaping, formats of numbers and times, and security headers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from stb_core.json_text import replace_surrogates
from stb_core.values import Provenance, interval_text, p_text, score_text
from stb_core.values.trajectories import ANSWER_SOURCES
from stb_server.inspector.diffs import few_changes
from stb_server.inspector.edit_session import form_key

# Only files of this server may run, style or be shown. A page can neither be framed nor send a form to
# another site. Text from outside is escaped; if any is missed, it still cannot run.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# The same for static pages: browsers treat the files next to a file as another origin.
STATIC_POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file:; img-src 'self' file:; "
    "form-action 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}

_PREFIX = '{"error":"","response":'

MARKS = {
    Provenance.RECORDED: "●",
    Provenance.LIVE: "◆",
    Provenance.SIMULATED: "◇",
    Provenance.RECORDED_SIMULATED: "◈",
    Provenance.TEMPLATE: "▣",
    Provenance.FAULT: "✕",
    Provenance.MISS: "○",
}
"""A sign for each provenance, so that it does not depend on colour."""

MEANINGS = {
    Provenance.RECORDED: "imported, or captured earlier from the real API",
    Provenance.LIVE: "from the real API, at the time of the call",
    Provenance.SIMULATED: "made by a language model",
    Provenance.RECORDED_SIMULATED: "made by a language model earlier, served from the cache",
    Provenance.TEMPLATE: "made by a template from the API's document",
    Provenance.FAULT: "injected on purpose",
    Provenance.MISS: "not recorded, and nothing else could answer",
}


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("stb_server", "inspector/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number,
        percent=percent,
        time=short_time,
        size=size,
        short=short,
        bytes_text=bytes_text,
        answer_text=answer_text,
        few_changes=few_changes,
        score_text=score_text,
        interval_text=interval_text,
        p_text=p_text,
    )
    environment.globals.update(
        answer_sources=ANSWER_SOURCES,
        url=url,
        marks=MARKS,
        meanings=MEANINGS,
        provenances=tuple(Provenance),
        seconds=seconds,
        money=money,
    )
    return environment


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """One page as a response."""
    inspector = request.app.state.inspector
    text = (
        _environment()
        .get_template(template)
        .render(
            path=request.url.path,
            signed_in=inspector.clients.are_checked and request.url.path != "/login",
            can_unlock=bool(inspector.write_token),
            form_key=form_key(request),
            is_static=inspector.is_static,
            policy=STATIC_POLICY,
            version=inspector.version,
            **context,
        )
    )
    # A body may hold half of a surrogate pair, which no encoding can write.
    return HTMLResponse(replace_surrogates(text), status, headers=HEADERS)


def url(path: str, **query: Any) -> str:
    """A path with a query; empty values are left out."""
    members = {name: value for name, value in query.items() if value not in ("", None, 0, False)}
    return f"{path}?{urlencode(members, doseq=True)}" if members else path


def place(*segments: str) -> str:
    """A path of these segments, whatever characters they hold."""
    return "".join(f"/{quote(segment, safe='')}" for segment in segments)


def number(value: float | None) -> str:
    """``12345`` → ``12,345``."""
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def percent(part: float, whole: float) -> str:
    """A share in percent; a small share is never shown as 0, nor a large one as 100."""
    if not whole:
        return "-"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "< 0.1 %"
    if 99.9 < share < 100:
        return "> 99.9 %"
    return f"{share:.3g} %"


def short_time(stamp: str | None) -> str:
    """``2026-01-02T03:04:05.678+00:00`` → ``2026-01-02 03:04``."""
    if not stamp:
        return "-"
    try:
        return datetime.fromisoformat(stamp).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return stamp[:16]


def size(count: float) -> str:
    """A number of bytes in a suitable unit."""
    for unit in ("B", "kB"):
        if count < 1000:
            return f"{count:,.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} MB"


def seconds(value: float) -> str:
    """A duration in a suitable unit."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"


def money(usd: float) -> str:
    """An amount of dollars; a small amount is never shown as 0."""
    if not usd or usd >= 1:
        return f"${usd:,.2f}"
    if usd < 0.0001:
        return "< $0.0001"
    whole = f"${usd:.4f}"
    return whole[:-2] + whole[-2:].rstrip("0")


def short(text: str | None, length: int = 120) -> str:
    """Text in one line, cut if it is too long."""
    line = " ".join((text or "")[: 4 * length].split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def bytes_text(raw: bytes | None) -> str:
    """Bytes as text; invalid ones are replaced."""
    return (raw or b"").decode(errors="replace")


def answer_text(raw: bytes | None, size: int = 0) -> str:
    """The beginning of a body of ``size`` bytes, without what stands around every answer without an error."""
    text = bytes_text(raw)
    if not text.startswith(_PREFIX):
        return text
    is_whole = len(raw or b"") == size
    return text.removeprefix(_PREFIX).removesuffix("}" if is_whole else "")


def share_bar(counts: Mapping[str, int], width: int = 1000) -> list[tuple[str, float, float]]:
    """(name, start, length) of each part of a bar of that width, in the order given."""
    total = sum(counts.values())
    parts: list[tuple[str, float, float]] = []
    start = 0.0
    for name, count in counts.items():
        if count:
            length = width * count / total
            parts.append((name, round(start, 2), round(length, 2)))
            start += length
    return parts
