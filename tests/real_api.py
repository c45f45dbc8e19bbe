"""A real API for tests: real HTTP on the loopback, in ToolBench's proxy protocol, that counts its calls."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from stb_server.app.process import bind, url_of
from virtual_server import eventually


class RealApi:
    """Answers every call with another body, after ``delay_s``; fails while ``failing``."""

    def __init__(self, folder: Path) -> None:
        self.delay_s = 0.0
        self.failing = False
        self.response: Any = None
        """What it answers every call; None for another body each time."""
        self.calls: Counter[str] = Counter()
        """Calls by their arguments."""
        self.keys: set[str] = set()
        """The credentials that callers brought."""
        self.config = folder / "upstream.yaml"
        """The file that makes a server use it."""

    @property
    def total(self) -> int:
        """All calls."""
        return sum(self.calls.values())

    async def answer(self, request: Request) -> JSONResponse:
        """One call."""
        body: dict[str, Any] = await request.json()
        arguments = json.dumps(json.loads(body["tool_input"] or "{}"), sort_keys=True)
        self.calls[arguments] += 1
        number = self.total
        self.keys.add(body["toolbench_key"])
        await asyncio.sleep(self.delay_s)
        if self.failing:
            return JSONResponse({"error": "API not working error...", "response": ""})
        if self.response is not None:
            return JSONResponse({"error": "", "response": self.response})
        return JSONResponse({"error": "", "response": {"call": number, "asked": arguments}})


@asynccontextmanager
async def running_real_api(folder: Path) -> AsyncGenerator[RealApi]:
    """A real API that runs until the block ends."""
    api = RealApi(folder)
    app = Starlette(routes=[Route("/rapidapi", api.answer, methods=["POST"])])
    with bind("127.0.0.1", 0) as listener:
        url = f"{url_of(listener)}/rapidapi"
        api.config.write_text(
            json.dumps(
                {
                    "limits": {"allowed_networks": ["127.0.0.0/8"], "total_s": 30},
                    "default_host": {"concurrency": 100},
                    "proxy": {"url": url},
                }
            )
        )
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await eventually(lambda: server.started)
        try:
            yield api
        finally:
            server.should_exit = True
            await task
