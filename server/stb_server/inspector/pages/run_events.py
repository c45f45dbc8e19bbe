"""Progress of a run as server-sent events.

A connection lasts until something changes, and a few seconds at most; the browser then reconnects and sends
the last state it knew. So an open page does not keep the server from stopping, and survives its restart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from stb_server.inspector.rendering import HEADERS

_LONGEST_S = 4.0
_LOOK_S = 0.5
_RETRY_MS = 500


async def events(request: Request) -> Response:
    """Send one event with the state of the run, as soon as it differs from the browser's."""
    inspector = request.app.state.inspector
    run = await inspector.store.runs.get(request.path_params["run"])
    known = request.headers.get("last-event-id", "")

    async def stream() -> AsyncGenerator[bytes]:
        yield f"retry: {_RETRY_MS}\n\n".encode()
        deadline = time.monotonic() + _LONGEST_S
        while True:
            now = await inspector.store.runs.get(run.run)
            done = await inspector.store.runs.done(run.run)
            good = now.count_done({(one.group, one.query_id, one.trial): one.stop for one in done})
            state = {"done": good, "expected": now.n_expected, "complete": good >= now.n_expected}
            name = f"{sum(one.attempt + 1 for one in done)}-{now.n_expected}"
            if name != known or time.monotonic() > deadline:
                kind = "progress" if name != known else "same"
                yield f"id: {name}\nevent: {kind}\ndata: ".encode() + orjson.dumps(state) + b"\n\n"
                return
            await asyncio.sleep(_LOOK_S)

    return StreamingResponse(
        stream(), media_type="text/event-stream", headers={**HEADERS, "Cache-Control": "no-store"}
    )
