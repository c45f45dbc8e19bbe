"""The real API's answer is live and whole, or there is a decline by type; keys stay where they are."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import orjson
import pytest

from raw_server import Heard, RawServer, Say, reply, running_raw_server
from stb_core.store.datasets import Dataset
from stb_core.values.calls import ToolCall
from stb_core.values.provenance import Provenance
from stb_core.values.tools import ApiDocument, ApiRef
from stb_server.calls.answers import Answer, CallRequest, Decline
from stb_server.upstream.configuration import UpstreamConfig
from stb_server.upstream.layer import Upstream

DATASET = Dataset(1, "d", "", "", "", 0, "", "")
KEY = "caller-key-0123456789"
DOCUMENT = ApiDocument(name="find", template_response={"title": "str"})


async def documented(dataset_id: int, ref: ApiRef) -> ApiDocument | None:
    return DOCUMENT if ref.tool == "films" else None


@asynccontextmanager
async def upstream(server: RawServer, **more: Any) -> AsyncGenerator[Upstream]:
    """A layer with a proxy on the server's ``/proxy`` and one direct tool on its ``/find``."""
    tool = {"category": "Movies", "tool": "films", "url": server.url, "apis": {"find": {"path": "/find"}}}
    document = {
        "limits": {"total_s": 1, "read_s": 0.5, "allowed_networks": ["127.0.0.1/32"]},
        "proxy": {"url": f"{server.url}/proxy", "key_variable": "TOOLBENCH_KEY"},
        "tools": [tool | {"secret_headers": {"X-Key": "FILMS_KEY"}}],
    }
    environment = {"FILMS_KEY": "films-key-0123456789", "TOOLBENCH_KEY": "own-key-0123456789"}
    config = UpstreamConfig.model_validate(document | more)
    async with Upstream(config, environment, documented) as layer:
        yield layer


def asked(tool: str, arguments: dict[str, Any] | None = None, key: str = KEY) -> CallRequest:
    return CallRequest(DATASET, ToolCall("Movies", tool, "find", arguments or {}), key)


async def answered(say: bytes | Say, tool: str = "films", **arguments: Any) -> Answer | Decline:
    path = "find" if tool == "films" else "proxy"
    async with running_raw_server(**{path: say}) as server, upstream(server) as layer:
        return await layer.answer(asked(tool, arguments))


async def test_a_direct_api_answers_live() -> None:
    """Its JSON goes on as it came: numbers keep their digits, members their order."""
    body = b'{"price": 1.10, "id": 12345678901234567890123, "a": [500, "error"]}'

    outcome = await answered(reply(body=body), q="x")

    assert (
        Answer(
            b'{"error":"","response":' + body + b"}",
            Provenance.LIVE,
            details={"upstream": "direct", "status": 200, "rule": "data"},
        )
        == outcome
    )


async def test_text_of_a_direct_api_is_text_in_the_answer() -> None:
    """In the envelope's ``response``."""
    outcome = await answered(
        reply(body="Größe".encode("latin-1"), content_type="text/plain; charset=latin-1")
    )

    assert isinstance(outcome, Answer)
    assert {"error": "", "response": "Größe"} == orjson.loads(outcome.body)


async def test_the_proxy_is_asked_in_toolbenchs_protocol() -> None:
    """Names in standard form, arguments as JSON text, nothing stripped, the caller's key."""
    body = orjson.dumps({"error": "", "response": {"title": "x", "n": 500}})
    async with running_raw_server(proxy=reply(body=body)) as server, upstream(server) as layer:
        outcome = await layer.answer(asked("books", {"b": 1, "a": "é"}))

    (heard,) = server.heard
    assert ("POST", "application/json", KEY) == (
        heard.method,
        heard.headers["content-type"],
        heard.headers["toolbench_key"],
    )
    assert {
        "category": "Movies",
        "tool_name": "books",
        "api_name": "find",
        "tool_input": '{"a":"é","b":1}',
        "strip": "",
        "toolbench_key": KEY,
    } == orjson.loads(heard.body)
    assert Answer(body, Provenance.LIVE, details={"upstream": "toolbench_proxy", "rule": "data"}) == outcome


async def test_a_caller_without_a_key_uses_the_configured_one() -> None:
    """From the environment."""
    body = reply(body=b'{"error":"","response":"x"}')
    async with running_raw_server(proxy=body) as server, upstream(server) as layer:
        await layer.answer(asked("books", key=""))

    assert "own-key-0123456789" == orjson.loads(server.heard[0].body)["toolbench_key"]


@pytest.mark.parametrize(
    ("tool", "say", "kind"),
    [
        ("films", reply("500 Internal Server Error", b'{"a": 1}'), "unusable"),
        ("films", reply("404 Not Found", b"<html></html>", "text/html"), "unusable"),
        ("films", reply("429 Too Many Requests"), "unusable"),
        ("films", b"HTTP/1.1 204 No Content\r\n\r\n", "unusable"),
        ("films", reply(body=b"  "), "unusable"),
        ("films", reply(body=b"<!doctype html><html><title>Welcome</title></html>"), "unusable"),
        ("films", reply(body=b'{"message":"You are not subscribed to this API."}'), "unusable"),
        ("films", reply("302 Found"), "unusable"),
        ("films", reply(body=b"Gr\xf6\xdfe"), "malformed"),
        ("films", reply(body=b"[" * 3_000 + b"]" * 3_000), "malformed"),
        ("films", reply(body=b"\x89PNG", content_type="image/png"), "not_text"),
        ("films", reply("302 Found", Location="/find"), "redirects"),
        ("films", reply("302 Found", Location="http://169.254.169.254/"), "forbidden_address"),
        ("books", reply("502 Bad Gateway", b"no"), "unusable"),
        ("books", reply(body=b'{"error":"Unsubscribed error...","response":"no"}'), "unusable"),
        ("books", reply(body=b'{"error":"","response":""}'), "unusable"),
        ("books", reply(body=b'{"error":{"code":1},"response":"x"}'), "unusable"),
        ("books", reply(body=b'{"detail":"x"}'), "malformed"),
        ("books", reply(body=b"[1, 2]"), "malformed"),
        ("books", reply(body=b"<html>", content_type="text/html"), "malformed"),
        ("books", reply("307 Temporary Redirect", Location="http://8.8.8.8/"), "redirects"),
    ],
)
async def test_what_is_not_an_answer_is_declined_by_type(tool: str, say: bytes, kind: str) -> None:
    """So that a layer behind may answer; nothing is raised."""
    outcome = await answered(say, tool)

    assert isinstance(outcome, Decline)
    assert kind == outcome.kind
    assert "\n" not in outcome.message


async def test_a_dead_api_is_declined() -> None:
    """Within the time of a call."""
    async with running_raw_server() as server:
        pass
    async with upstream(server) as layer:
        outcome = await asyncio.wait_for(layer.answer(asked("films")), 60)

    assert isinstance(outcome, Decline)
    assert "unreachable" == outcome.kind


async def test_a_label_for_a_word_in_the_data_does_not_lose_it() -> None:
    """ToolBench's proxy calls every body with "error" in it an error; the answer is kept as it came."""
    body = b'{"error":"Message error...","response":{"errors_per_day":[1,2]}}'

    outcome = await answered(reply(body=body), "books")

    assert isinstance(outcome, Answer)
    assert (body, "data_despite_label") == (outcome.body, (outcome.details or {})["rule"])


async def test_without_a_real_api_it_declines() -> None:
    """No proxy, and no description of the tool."""
    async with running_raw_server() as server, upstream(server, proxy=None) as layer:
        outcome = await layer.answer(asked("books"))

    assert isinstance(outcome, Decline)
    assert ("not_configured", []) == (outcome.kind, server.heard)


async def echo(heard: Heard, writer: asyncio.StreamWriter) -> None:
    """Sends all that it got back, in an answer of the proxy's form."""
    everything = {"headers": heard.headers, "body": heard.body.decode(), "target": heard.target}
    writer.write(reply(body=orjson.dumps({"error": "", "response": everything}), X_Echo=str(heard.headers)))
    await writer.drain()


async def echo_wide(heard: Heard, writer: asyncio.StreamWriter) -> None:
    """The same in UTF-16."""
    body = orjson.dumps({"error": "", "response": heard.headers}).decode().encode("utf-16")
    writer.write(reply(body=body, content_type="application/json; charset=utf-16"))
    await writer.drain()


async def echo_spelled(heard: Heard, writer: asyncio.StreamWriter) -> None:
    """The same in the spellings that escape a search for the key as it is."""
    said = str(heard.headers)
    escaped = "".join(f"\\u{ord(char):04x}" for char in said)
    percent = "".join(f"%{byte:02X}" for byte in said.encode())
    encoded = base64.b64encode(said.encode()).decode()
    body = f'{{"error": "", "response": ["{escaped}", "{percent}", "{encoded}"]}}'
    writer.write(reply(body=body.encode()))
    await writer.drain()


def decoded_base64(text: str) -> list[str]:
    """What the parts of a text that may be base64 stand for."""
    parts = re.findall(r"[A-Za-z0-9+/]{24,}", text)
    return [
        base64.b64decode(part + "=" * (-len(part) % 4)).decode(errors="replace")
        for part in parts
        if len(part) % 4 != 1
    ]


@pytest.mark.parametrize("echo", [echo, echo_wide, echo_spelled])
@pytest.mark.parametrize("tool", ["films", "books"])
async def test_keys_appear_nowhere_but_in_the_request(
    tool: str, echo: Say, caplog: pytest.LogCaptureFixture
) -> None:
    """Although the API sends them back, and logs are at their most talkative."""
    caplog.set_level(logging.DEBUG)
    key = KEY if tool == "books" else "films-key-0123456789"
    path = "proxy" if tool == "books" else "find"
    async with running_raw_server(**{path: echo}) as server, upstream(server) as layer:
        outcome = await layer.answer(asked(tool))

    assert isinstance(outcome, Answer)
    assert key in str(server.heard[0].headers)
    said = outcome.body.decode()
    decoded = repr(orjson.loads(said))
    texts = [said, decoded, unquote(decoded), *decoded_base64(decoded)]
    for place in (*texts, repr(outcome), caplog.text, repr(layer.counts), repr(asked(tool))):
        assert key not in place


async def test_calls_are_counted_by_host_and_outcome() -> None:
    """For the metrics."""
    async with running_raw_server(find=reply(body=b"1")) as server, upstream(server) as layer:
        for tool in ("films", "films", "books"):
            await layer.answer(asked(tool))

        host = f"127.0.0.1:{server.port}"
        assert {(host, "live"): 2, (host, "unusable"): 1} == layer.counts


async def test_one_host_is_not_asked_more_than_it_may() -> None:
    """Also when many different calls come at once."""
    now = most = 0

    async def slow(heard: Heard, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        writer.write(reply(body=b"1"))

    async with (
        running_raw_server(find=slow) as server,
        upstream(server, hosts={"127.0.0.1": {"concurrency": 2}}) as layer,
    ):
        outcomes = await asyncio.gather(*(layer.answer(asked("films", {"n": n})) for n in range(10)))

    assert 2 == most
    assert all(isinstance(outcome, Answer) for outcome in outcomes)
