"""An offer to upgrade is ignored, and the request is served with its body; requests must arrive in time."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from llm_server import LLMServer, text
from serve_process import make_store, start
from stb_core.store import Store
from stb_core.values.queries import Query
from stb_core.values.tools import ApiRef
from stb_server.app import http_protocol
from stb_server.worker.options import ServerOptions
from virtual_server import Running, put_weather, recorded, request, running

BONN = recorded({"city": "Bonn"})
CALL = json.dumps(request({"city": "Bonn"})).encode()

# What these clients send by default; %s stands for path, host and length of the body.
JAVA = (
    "POST {path} HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: {length}\r\n"
    "Host: {host}\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\nUpgrade: h2c\r\n"
    "User-Agent: Java-http-client/17.0.15\r\nContent-Type: application/json\r\n{more}\r\n"
)
CURL = (
    "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
    "content-type: application/json\r\nContent-Length: {length}\r\n{more}\r\n"
)
PLAIN = "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{more}\r\n"
WEBSOCKET = (
    "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    "Content-Length: {length}\r\n{more}\r\n"
)


@pytest.fixture
async def server(sqlite_store: Store, sqlite_store_url: str, llm: LLMServer) -> AsyncGenerator[Running]:
    """A server of one recorded call and one query, which hands model calls on."""
    dataset = await put_weather(sqlite_store, BONN)
    query = Query(query_id="1", group="G1", text="Rain?", apis=(ApiRef("Weather", "sky_watch", "current"),))
    async with sqlite_store.writing() as connection:
        await sqlite_store.datasets.put_queries(connection, dataset.id, [query])
    environment = {"STUB_BASE_URL": llm.url, "STUB_API_KEY": "sk-of-the-server"}
    options = ServerOptions(sqlite_store_url, "weather", proxy="stub", environment=environment)
    async with running(options) as started:
        yield started


class Connection:
    """One connection, byte by byte."""

    def __init__(self, url: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host = httpx.URL(url).netloc.decode()
        self._reader = reader
        self.writer = writer

    def head(self, client: str, body: bytes, path: str = "/virtual", more: str = "") -> bytes:
        return client.format(path=path, host=self._host, length=len(body), more=more).encode()

    async def answer(self) -> tuple[int, bytes]:
        """The next answer; one with a length."""
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        return int(first.split()[1]), await self._reader.readexactly(int(headers["content-length"]))

    async def ask(self, client: str, body: bytes, path: str, more: str = "") -> tuple[int, Any]:
        """Send a request at once; its answer, decoded."""
        self.writer.write(self.head(client, body, path, more) + body)
        status, content = await self.answer()
        return status, json.loads(content)

    async def rest(self) -> bytes:
        """All that comes until the server closes the connection."""
        return await self._reader.read()

    async def is_closed(self) -> bool:
        return await self.rest() == b""


@asynccontextmanager
async def connected(server: Running) -> AsyncGenerator[Connection]:
    address = httpx.URL(server.url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        async with asyncio.timeout(60):
            yield Connection(server.url, reader, writer)
    finally:
        writer.close()


@pytest.mark.parametrize("client", [JAVA, CURL, WEBSOCKET])
async def test_the_body_is_read(server: Running, client: str) -> None:
    """Whether it comes with the head, in a packet of its own, or in many, and again on the same connection."""
    async with connected(server) as connection:
        head, write = connection.head(client, CALL), connection.writer.write
        answers = []
        write(head + CALL)
        answers.append(await connection.answer())
        write(head)
        await asyncio.sleep(0.05)
        write(CALL)
        answers.append(await connection.answer())
        for byte in head + CALL:
            write(bytes([byte]))
            await asyncio.sleep(0)
        answers.append(await connection.answer())
        write(connection.head(PLAIN, CALL) + CALL)
        answers.append(await connection.answer())

    assert [(200, BONN.body)] * 4 == answers


@pytest.mark.parametrize("client", [JAVA, CURL])
async def test_requests_one_after_another_without_waiting(server: Running, client: str) -> None:
    """Ten of them, with an upgrade and without, are answered in their order."""
    bodies = [json.dumps(request({"city": "Bonn" if n % 3 else "Rome"})).encode() for n in range(10)]
    async with connected(server) as connection:
        heads = [connection.head(client if n % 2 else PLAIN, body) for n, body in enumerate(bodies)]
        connection.writer.write(b"".join(part for pair in zip(heads, bodies, strict=True) for part in pair))
        answers = [await connection.answer() for _ in bodies]

    assert [n % 3 > 0 for n in range(10)] == [answer == (200, BONN.body) for answer in answers]
    assert {200} == {status for status, _ in answers}


async def test_a_body_in_chunks(server: Running) -> None:
    """One whose length is not told beforehand."""
    async with connected(server) as connection:
        head = connection.head(JAVA, CALL).replace(
            f"Content-Length: {len(CALL)}".encode(), b"Transfer-Encoding: chunked"
        )
        connection.writer.write(head + b"5\r\n" + CALL[:5] + b"\r\n")
        connection.writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(CALL) - 5, CALL[5:]))
        answer = await connection.answer()
        connection.writer.write(connection.head(PLAIN, CALL) + CALL)
        again = await connection.answer()

    assert [(200, BONN.body)] * 2 == [answer, again]


async def test_a_client_that_wants_no_more_is_let_go(server: Running) -> None:
    """``close`` beside the upgrade is heeded."""
    async with connected(server) as connection:
        head = connection.head(CURL, CALL).replace(b"Connection: Upgrade", b"Connection: close, Upgrade")
        connection.writer.write(head + CALL)
        answer = await connection.answer()

        assert (200, BONN.body) == answer
        assert await connection.is_closed()


async def test_a_get_with_an_upgrade(server: Running) -> None:
    """A request without a body, as Java sends it first, and another behind it."""
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
    async with connected(server) as connection:
        statuses = []
        for _ in range(2):
            connection.writer.write(get)
            statuses.append((await connection.answer())[0])

    assert [200, 200] == statuses


async def test_what_is_no_http_is_refused(server: Running) -> None:
    """Behind an upgrade as well; a tunnel is not made, and the server goes on."""
    async with connected(server) as connection:
        connection.writer.write(connection.head(JAVA, CALL) + CALL)
        await connection.answer()
        connection.writer.write(b"\x00\x01 nonsense\r\n\r\n")
        status, _ = await connection.answer()
    async with connected(server) as tunnel:
        tunnel.writer.write(b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n")
        refused, _ = await tunnel.answer()

    assert 400 == status
    assert 400 <= refused < 500
    assert 200 == (await server.client.get("/healthz")).status_code


@pytest.mark.parametrize("client", [JAVA, CURL])
async def test_episodes_tools_and_models(server: Running, llm: LLMServer, client: str) -> None:
    """An episode is opened, played by its own calls, over MCP and through the proxy, and ended."""
    llm.answer(text("No."))
    async with connected(server) as connection:
        opening = json.dumps({"query_id": "1"}).encode()
        opened, episode = await connection.ask(client, opening, "/v1/episodes")
        of_episode = f"Authorization: Bearer {episode['token']}\r\n"
        place = f"/v1/episodes/{episode['id']}"
        call = json.dumps({"name": "current_for_sky_watch", "arguments": {"city": "Bonn"}}).encode()
        called = await connection.ask(client, call, f"{place}/calls", of_episode)
        listing = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
        accept = "MCP-Protocol-Version: 2025-06-18\r\nAccept: application/json, text/event-stream\r\n"
        listed, tools = await connection.ask(client, listing, httpx.URL(episode["mcp_url"]).path, accept)
        model = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Rain?"}]}).encode()
        proxy = f"{httpx.URL(episode['proxy_url']).path}/chat/completions"
        asked, reply = await connection.ask(client, model, proxy, of_episode)
        ended, _ = await connection.ask(client, b'{"answer":"No."}', f"{place}/finish", of_episode)

    assert (201, 200, 200, 200, 200) == (opened, called[0], listed, asked, ended)
    assert "sunny" in called[1]["observation"]
    assert "current_for_sky_watch" in [tool["name"] for tool in tools["result"]["tools"]]
    assert "No." == reply["choices"][0]["message"]["content"]
    assert not {"upgrade", "http2-settings"} & llm.headers[0].keys()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_command_serves_so_too(tmp_path: Path, workers: int) -> None:
    """Each worker of ``stb serve``; and a request that does offer no upgrade is served as ever."""
    process, ready = start(make_store(tmp_path, "weather"), "--workers", str(workers))
    address = httpx.URL(ready["url"])
    bodies = []
    try:
        for client in [JAVA, CURL, PLAIN] * 4:  # on a connection each, so that all workers get some
            head = client.format(
                path="/virtual", host=address.netloc.decode(), length=len(CALL), more="Connection: close\r\n"
            )
            with socket.create_connection((address.host, address.port or 0), timeout=60) as connection:
                connection.sendall(head.encode() + CALL)
                received = b""
                while chunk := connection.recv(65536):
                    received += chunk
            bodies.append(received.partition(b"\r\n\r\n")[2])
    finally:
        process.terminate()
        _, err = process.communicate(timeout=60)

    assert [BONN.body] * 12 == bodies
    assert "upgrade" not in err.lower()


@pytest.mark.parametrize(
    "part", [b"", b"POST /virtual HT", b"POST /virtual HTTP/1.1\r\nHost: x\r\nConte", b"BODY"]
)
async def test_a_request_that_does_not_come(
    server: Running, part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing, half a head or half a body: the connection is closed when the time is up."""
    monkeypatch.setattr(http_protocol, "RECEIVE_S", 0.2)
    async with connected(server) as connection:
        connection.writer.write(connection.head(PLAIN, CALL) + CALL[:10] if part == b"BODY" else part)
        rest = await connection.rest()

    assert rest == b"" if part == b"BODY" else rest.startswith(b"HTTP/1.1 408 ")


async def test_time_between_requests_does_not_count(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that keeps its connection open may think before it sends the next request."""
    monkeypatch.setattr(http_protocol, "RECEIVE_S", 1.0)
    async with connected(server) as connection:
        answers = []
        for pause_s in (0.0, 1.5):
            await asyncio.sleep(pause_s)
            connection.writer.write(connection.head(PLAIN, CALL) + CALL)
            answers.append(await connection.answer())

    assert [(200, BONN.body)] * 2 == answers
