"""The ceiling with which the server is compared: one Starlette route with nothing around it.

It parses the same JSON body, makes the same canonical key, and returns the same bytes: from a dict,
or by one GET over a multiplexed Redis connection.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import sys
from pathlib import Path

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stb_core.values.calls import call_key, canonical_json, parse_arguments
from stb_server.cache.redis_connection import RedisPipe, connect


def key_of(raw: bytes) -> str:
    """The key of a request whose names are in standard form."""
    body = orjson.loads(raw)
    arguments = canonical_json(parse_arguments(body["tool_input"]))
    return call_key(body["category"], body["tool_name"], body["api_name"], arguments)


def application(answers: dict[str, bytes]) -> Starlette:
    """A route that answers from a dict."""

    async def virtual(request: Request) -> Response:
        return Response(answers[key_of(await request.body())], media_type="application/json")

    return Starlette(routes=[Route("/virtual", virtual, methods=["POST"])])


def application_on_redis(url: str) -> Starlette:
    """A route that does the same with one GET over a multiplexed Redis connection."""
    connecting: asyncio.Task[RedisPipe] | None = None

    async def virtual(request: Request) -> Response:
        nonlocal connecting
        connecting = connecting or asyncio.create_task(connect(url, 5))
        pipe = await asyncio.shield(connecting)
        body = await pipe.call(b"GET", key_of(await request.body()).encode())
        return Response(body, media_type="application/json")

    return Starlette(routes=[Route("/virtual", virtual, methods=["POST"])])


async def fill(url: str, answers: dict[str, bytes]) -> None:
    """Put the bodies into Redis."""
    pipe = await connect(url, 5)
    await asyncio.gather(*(pipe.call(b"SET", key.encode(), body) for key, body in answers.items()))
    pipe.close()


def recorded(path: str, calls: str) -> dict[str, bytes]:
    """Bodies by key, from a store, for the requests in a file."""
    keys = {key_of(line) for line in Path(calls).read_bytes().splitlines()}
    with sqlite3.connect(path) as connection:
        select = "SELECT body FROM responses WHERE dataset_id = 1 AND key = ?"
        return {key: connection.execute(select, (key,)).fetchone()[0] for key in keys}


def main() -> None:
    path, calls, *redis_url = sys.argv[1:]
    answers = recorded(path, calls)
    if redis_url:
        asyncio.run(fill(redis_url[0], answers))
    app = application_on_redis(redis_url[0]) if redis_url else application(answers)
    listener = socket.create_server(("127.0.0.1", 0))
    print(
        json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}", "pid": os.getpid()}), flush=True
    )
    config = uvicorn.Config(
        app,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="off",
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
