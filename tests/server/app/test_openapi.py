"""What the OpenAPI document promises is kept, whatever is sent."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from stb_core.store import Store
from stb_core.values.provenance import CacheMode
from stb_server.simulators.options import SimulatorOptions
from stb_server.worker.options import ServerOptions
from virtual_server import Running, put_weather, recorded, running

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


@pytest.fixture
async def server(store: Store, store_url: str) -> AsyncGenerator[Running]:
    """A server of a small dataset that simulates what is not recorded, on each database."""
    await put_weather(store, recorded({"city": "Bonn"}))
    options = ServerOptions(store_url, "weather", CacheMode.SIMULATE, simulator=SimulatorOptions("template"))
    async with running(options) as started:
        yield started


async def test_no_generated_request_breaks_the_server(server: Running, tmp_path: Path) -> None:
    """Examples, edge cases and mutations of every operation: no 500, every answer as documented."""
    config = tmp_path / "schemathesis.toml"
    config.write_text('[parameters]\n"path.name" = "weather"\n"path.category" = "Weather"\n')
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "schemathesis.cli",
            "--config-file",
            str(config),
            "run",
            f"{server.url}/openapi.json",
        ),
        *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"),
        *("--max-examples", "10", "--seed", "1", "--generation-database", "none", "--no-color"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()

    assert 0 == process.returncode, said.decode()
