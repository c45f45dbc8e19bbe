"""The virtual API server for tests: in this process, on a real socket of the loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import uvicorn
from fastapi import FastAPI

from stb_core.store import Store
from stb_core.store.datasets import Dataset
from stb_core.store.responses import Response
from stb_core.values.calls import ToolCall
from stb_core.values.provenance import Provenance
from stb_core.values.tools import ToolDocument
from stb_server.app.application import create_app
from stb_server.app.http_protocol import PatientHttp
from stb_server.app.process import bind, url_of
from stb_server.worker.options import ServerOptions
from stb_server.worker.worker import Worker

WEATHER = ToolDocument.model_validate(
    {
        "category": "Weather",
        "tool_name": "Sky Watch",
        "tool_description": "Weather everywhere.",
        "api_list": [
            {
                "name": "Current",
                "method": "GET",
                "required_parameters": [{"name": "city", "type": "STRING"}],
                "optional_parameters": [{"name": "days", "type": "NUMBER", "default": 1}],
                "template_response": {"city": "str", "degrees": "float", "days": ["int"]},
            },
            {"name": "Forecast"},
        ],
    }
)


def recorded(
    arguments: Mapping[str, Any], body: bytes = b'{"error":"","response":"sunny"}', api: str = "current"
) -> Response:
    """A recorded answer of the weather tool."""
    call = ToolCall("Weather", "sky_watch", api, dict(arguments))
    return Response(
        key=call.key,
        category=call.category,
        tool=call.tool,
        api=call.api,
        arguments=call.canonical_arguments,
        body=body,
        provenance=Provenance.RECORDED,
    )


async def put_weather(store: Store, *responses: Response, name: str = "weather") -> Dataset:
    """A small dataset: one tool with two APIs, and these responses."""
    dataset = await store.datasets.create(name)
    async with store.writing() as connection:
        await store.datasets.put_tools(connection, dataset.id, [WEATHER])
        await store.datasets.set_content_hash(connection, dataset.id, f"{dataset.id:064d}")
    if responses:
        await store.responses.keep(dataset.id, responses)
    return await store.datasets.get(name)


def request(arguments: Any = "", api: str = "Current", **other: Any) -> dict[str, Any]:
    """A request body as existing clients send it."""
    return {
        "category": "Weather",
        "tool_name": "Sky Watch",
        "api_name": api,
        "tool_input": arguments,
        "strip": "truncate",
        "toolbench_key": "tb-secret-key",
        **other,
    }


async def eventually(condition: Callable[[], Awaitable[bool] | bool], *, seconds: float = 60) -> None:
    """Return when the condition holds; TimeoutError if it does not within that time."""
    for _ in range(int(seconds / 0.02)):
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return
        await asyncio.sleep(0.02)
    raise TimeoutError(condition)


@dataclass
class Running:
    """A server that runs; ``client`` talks to it."""

    app: FastAPI
    client: httpx.AsyncClient
    url: str

    @property
    def worker(self) -> Worker:
        """What the server holds."""
        worker: Worker = self.app.state.worker
        return worker

    async def call(self, body: Any, **headers: str) -> httpx.Response:
        """``POST /virtual``; header names with ``_`` for ``-``."""
        return await self.client.post(
            "/virtual", json=body, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )


@dataclass
class Reply:
    """What a ``QuickClient`` got."""

    status: int
    headers: dict[str, str]
    content: bytes


class QuickClient:
    """One connection for very many calls: HTTP as far as our server speaks it, ten times as fast as httpx."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def call(self, body: Any) -> Reply:
        """``POST /virtual``."""
        raw = orjson.dumps(body)
        head = f"POST /virtual HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n"
        self._writer.write(head.encode() + raw)
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        content = await self._reader.readexactly(int(headers["content-length"]))
        return Reply(int(first.split()[1]), headers, content)


@asynccontextmanager
async def quick_client(url: str) -> AsyncGenerator[QuickClient]:
    """A connection to a server, until the block ends."""
    address = httpx.URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        yield QuickClient(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def running(options: ServerOptions) -> AsyncGenerator[Running]:
    """A server with these options until the block ends, then stopped as by SIGTERM."""
    app = create_app(options)
    with bind("127.0.0.1", 0) as listener:
        url = url_of(listener)
        config = uvicorn.Config(
            app,
            http=PatientHttp,
            lifespan="on",
            ws="none",
            log_config=None,
            timeout_graceful_shutdown=10,
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await eventually(lambda: server.started or task.done())
        if task.done():
            await task
        try:
            async with httpx.AsyncClient(base_url=url, timeout=60) as client:
                yield Running(app, client, url)
        finally:
            server.should_exit = True
            await task
