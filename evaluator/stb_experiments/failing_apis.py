"""A stand-in for real APIs: an HTTP server that answers from recordings, or fails for APIs that are down.

It speaks the protocol of ToolBench's proxy (arXiv:2307.16789). Which APIs are down depends only on the seed and on
their names; the APIs that are down at one share are also down at any larger share.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response as HttpResponse
from starlette.routing import Route

from stb_core.store import Response
from stb_core.values import ToolCall, parse_arguments

_DOWN = orjson.dumps({"error": "API not working error...", "response": ""})
_UNKNOWN = orjson.dumps({"error": "Function executing error...", "response": ""})


def is_down(category: str, tool: str, api: str, share: float, seed: int) -> bool:
    """Whether an API is down when this share of all APIs is, in [0, 1]."""
    digest = hashlib.sha256("\0".join((str(seed), category, tool, api)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


@dataclass(frozen=True)
class FailingApis:
    """All APIs of a dataset behind one address; ``share`` of them are down."""

    bodies: dict[str, bytes]
    share: float
    seed: int

    async def answer(self, request: Request) -> HttpResponse:
        """Answer one call with its recording, or with an error in the form of the protocol."""
        body = orjson.loads(await request.body())
        names = body["category"], body["tool_name"], body["api_name"]
        if is_down(*names, self.share, self.seed):
            return HttpResponse(_DOWN, media_type="application/json")
        call = ToolCall(*names, parse_arguments(body["tool_input"]))
        return HttpResponse(self.bodies.get(call.key, _UNKNOWN), media_type="application/json")


@asynccontextmanager
async def serving_apis(recordings: Iterable[Response], share: float, seed: int) -> AsyncGenerator[str]:
    """Serve the APIs on a free port of the loopback while the block runs; gives their address."""
    apis = FailingApis({response.key: response.body for response in recordings}, share, seed)
    app = Starlette(routes=[Route("/rapidapi", apis.answer, methods=["POST"])])
    server = _Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # The socket listens: connections wait until the server takes them.
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/rapidapi"
        finally:
            server.should_exit = True
            await task


class _Server(uvicorn.Server):
    """A server that does not handle signals; the command does."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield
