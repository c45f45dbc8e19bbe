"""A server for tests that says exactly the bytes it is told to, on a real socket of the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

Say: TypeAlias = Callable[["Heard", asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Heard:
    """One request as it arrived; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class RawServer:
    """``paths`` says what each path answers; ``heard`` holds all requests so far."""

    port: int = 0
    paths: dict[str, bytes | Say] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def reply(
    status: str = "200 OK", body: bytes = b"", content_type: str = "application/json", **headers: str
) -> bytes:
    """The bytes of a plain response; header names are written with ``_`` for ``-``."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"Content-Type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def running_raw_server(
    tls: ssl.SSLContext | None = None, **paths: bytes | Say
) -> AsyncGenerator[RawServer]:
    """Run a server; ``name=…`` answers the path ``/name``. With ``tls`` it speaks HTTPS."""
    server = RawServer(paths={f"/{name}": say for name, say in paths.items()})
    conversations: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        task = asyncio.current_task()
        assert task
        conversations.add(task)
        try:
            await talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ", 2)
            raw = dict(line.split(": ", 1) for line in lines if line)
            headers = {name.lower(): value for name, value in raw.items()}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            heard = Heard(method, target, headers, body)
            server.heard.append(heard)
            say = server.paths.get(target.split("?", maxsplit=1)[0], reply("404 Not Found"))
            if callable(say):
                await say(heard, writer)
                return
            writer.write(say)
            await writer.drain()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in conversations:
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
