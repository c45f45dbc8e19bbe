"""Progress of a run as server-sent events.

A connection lasts until something changes, some seconds at most; the browser then comes back by
itself and says what it knew. So no open page keeps a server from stopping, and a page outlives a
restart of the server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from stb_server.inspector.rendering import HEADERS
from stb_server.inspector.run_pages import good_trials

_LONGEST_S = 4.0
_LOOK_S = 0.5
_RETRY_MS = 500


async def events(request: Request) -> Response:
    """One event with the state of the run, as soon as it differs from what the browser knows."""
    inspector = request.app.state.inspector
    run = await inspector.store.runs.get(request.path_params["run"])
    known = request.headers.get("last-event-id", "")

    async def stream() -> AsyncGenerator[bytes]:
        yield f"retry: {_RETRY_MS}\n\n".encode()
        deadline = time.monotonic() + _LONGEST_S
        while True:
            now = await inspector.store.runs.get(run.run)
            digest = await inspector.digests.of(inspector.store, run.run)
            state = {
                "done": (good := good_trials(now, digest)),
                "expected": now.n_expected,
                "complete": good >= now.n_expected,
                "stops": dict(digest.stops),
                "tokens": digest.usage.total_tokens,
                "attempts": digest.attempts,
            }
            name = f"{digest.attempts}-{now.n_expected}"
            if name != known or time.monotonic() > deadline:
                kind = "progress" if name != known else "same"
                yield f"id: {name}\nevent: {kind}\ndata: ".encode() + orjson.dumps(state) + b"\n\n"
                return
            await asyncio.sleep(_LOOK_S)

    return StreamingResponse(
        stream(), media_type="text/event-stream", headers={**HEADERS, "Cache-Control": "no-store"}
    )
