"""A database that breaks off in the middle of a message is a store that does not answer, and no crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from stb_core.errors import StoreError
from stb_core.store import Store, open_store
from stb_server.cache.store_reader import open_reader
from stb_server.worker.options import ServerOptions
from virtual_server import put_weather, recorded, request, running

BROKEN = b"D\x00\x00\x00\x06\x7f\xff"
"""A row with more columns than were announced, at which asyncpg fails with an error of its own."""


class Relay:
    """Passes bytes on between a client and PostgreSQL; ``change`` is applied to what PostgreSQL sends."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.change: Callable[[bytes], bytes] = bytes

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, *, changes: bool) -> None:
            with suppress(OSError, asyncio.CancelledError):
                while data := await source.read(65536):
                    target.write(self.change(data) if changes else data)
                    await target.drain()
            target.close()

        await asyncio.gather(pump(reader, to_server, changes=False), pump(from_server, writer, changes=True))


@asynccontextmanager
async def relayed(url: str) -> AsyncGenerator[tuple[Relay, str]]:
    """A relay in front of a database, and the URL through it."""
    address, _, name = url.rpartition("/")
    host, _, port = address.rpartition(":")
    relay = Relay(int(port))
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    try:
        yield relay, f"{host}:{server.sockets[0].getsockname()[1]}/{name}"
    finally:
        server.close()


async def test_broken_messages_are_503(postgres_url: str) -> None:
    """Reads on the hot path, reads of pages and writes: the client may try again, and later it works."""
    async with relayed(postgres_url) as (relay, url):
        store = await open_store(url)
        await put_weather(store, recorded({"city": "Bonn"}))
        await store.close()
        options = ServerOptions(url, "weather", memory_bytes=0, watch_interval_s=60, health_interval_s=60)
        async with running(options) as server:
            relay.change = BROKEN.__add__
            broken = [
                await server.call(request({"city": "Bonn"})),
                await server.client.get("/v1/datasets"),
                await server.client.post("/v1/datasets/weather/snapshots"),
            ]
            relay.change = bytes
            after = await server.call(request({"city": "Bonn"}))

    assert [503, 503, 503] == [answer.status_code for answer in broken]
    assert 200 == after.status_code


@pytest.mark.parametrize("kind", [asyncpg.InternalClientError, asyncpg.InterfaceError])
async def test_errors_of_the_driver_are_errors_of_the_store(
    postgres_url: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever they come up."""
    store = await open_store(postgres_url)
    reader = await open_reader(store)

    async def fail(*_: object, **__: object) -> None:
        raise kind("got result for unknown protocol state 3")

    monkeypatch.setattr(asyncpg.Connection, "fetchrow", fail)
    monkeypatch.setattr(Store, "_connect", fail)
    with pytest.raises(StoreError, match="cannot be read"):
        await reader.in_force(1, "key")
    with pytest.raises(StoreError, match="unknown protocol state"):
        await store.datasets.all()
    await reader.close()
    await store.close()
