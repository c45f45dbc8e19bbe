"""Log lines of a request carry the client's name for it; traces join both sides; off, nothing is sent."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from conftest import clean_environment
from llm_server import LLMServer
from preloaded_stb import execute_stb, start_stb
from stb_core.telemetry import logs
from stb_server.app.request_labels import RequestLabels


async def logged(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """The line that an application logs while it answers a request with these headers."""
    lines: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        record = logging.LogRecord("x", logging.WARNING, "", 0, "something", (), None)
        lines.append(logs.JsonLines().format(record))

    scope = {"type": "http", "method": "POST", "path": "/virtual", "headers": headers}
    await RequestLabels(app)(scope, None, None)  # type: ignore[arg-type]
    found: dict[str, Any] = json.loads(lines[0])
    return found


async def test_a_line_names_its_request() -> None:
    """What X-Request-ID says, cut where it is long, and shown where it cannot be printed."""
    assert "run/G1/7/0" == (await logged([(b"x-request-id", b"run/G1/7/0")]))["request"]
    assert 300 == len((await logged([(b"x-request-id", b"x" * 5000)]))["request"])
    assert "'\\x1b[31m'" == (await logged([(b"x-request-id", b"\x1b[31m")]))["request"]
    assert "request" not in await logged([])


class Collector:
    """An OTLP collector over HTTP."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.take(body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def take(self, body: bytes) -> None:
        """Keep the spans of a request."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"]
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                self.spans.append(
                    {
                        "service": service,
                        "name": span.name,
                        "trace": span.trace_id.hex(),
                        "id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "error": span.status.code == 2,
                        **{a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes},
                    }
                )

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def demo(demo_folder: Path, tmp_path: Path) -> Path:
    """A copy of the demo's folder."""
    return shutil.copytree(demo_folder, tmp_path / "demo")


@pytest.fixture
def collector() -> Generator[Collector]:
    """A collector that runs."""
    made = Collector()
    yield made
    made.close()


def work(demo: Path, llm: LLMServer, **variables: str) -> None:
    """Serve the demo's dataset with two workers, and run an agent on two of its queries."""
    environment = clean_environment(
        STB_DATABASE_URL=f"sqlite:///{demo}/.stb/stb.db", VLLM_BASE_URL=llm.url, **variables
    )
    with start_stb(
        ["serve", "--dataset", "demo", "--port", "0", "--workers", "2", "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout
        try:
            url = json.loads(server.stdout.readline())["url"]
            command = ["run", "-a", "cot", "-m", "vllm/any", "-d", "demo:G1_tool", "--limit", "2"]
            execute_stb(
                [*command, "--server", url, "--name", f"traced{len(variables)}"], env=environment
            ).check_returncode()
        finally:
            server.terminate()
            server.wait()


@pytest.mark.slow
def test_traces_of_a_run(demo: Path, llm: LLMServer, collector: Collector) -> None:
    """Each trial is a trace: the agent, its model calls and tools, and the server's side of each tool call."""
    work(demo, llm, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)

    agents = [span for span in collector.spans if span["name"] == "invoke_agent cot"]
    assert 2 == len(agents)
    for agent in agents:
        mine = [span for span in collector.spans if span["trace"] == agent["trace"]]
        kinds = {span["gen_ai.operation.name"] for span in mine if span["service"] == "stb-run"}
        assert {"invoke_agent", "chat", "execute_tool"} == kinds
        tools = {span["id"] for span in mine if span.get("gen_ai.operation.name") == "execute_tool"}
        served = [span for span in mine if span["service"] == "stb-serve"]
        assert tools == {span["parent"] for span in served}
        assert {("POST /virtual", 200)} == {(s["name"], s["http.response.status_code"]) for s in served}
        assert "/G1_tool/" in agent["gen_ai.conversation.id"]
    chat = next(span for span in collector.spans if span["name"] == "chat any")
    assert ("vllm", "any", "127.0.0.1", llm.port) == (
        chat["gen_ai.provider.name"],
        chat["gen_ai.request.model"],
        chat["server.address"],
        chat["server.port"],
    )
    assert chat["gen_ai.usage.input_tokens"] > 0
    said = {message["content"] for body in llm.requests for message in body["messages"]}
    assert not any(str(value) in said for span in collector.spans for value in span.values())


@pytest.mark.slow
def test_off_nothing_is_sent(demo: Path, llm: LLMServer, collector: Collector) -> None:
    """Without the variable no span leaves, and OpenTelemetry's SDK is not even imported."""
    work(demo, llm)

    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "stb_core.cli", "ls"],
        env=clean_environment(STB_DATABASE_URL=f"sqlite:///{demo}/.stb/stb.db"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [] == collector.spans
    assert "opentelemetry" not in loaded.stderr
