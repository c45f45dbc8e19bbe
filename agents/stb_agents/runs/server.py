"""The virtual API server of a run: the one that is named, the one that runs here, or one of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import orjson

from stb_agents.environment.server_client import Served, VirtualClient
from stb_core.errors import ServiceError, UsageError
from stb_core.store.datasets import Dataset
from stb_core.values.provenance import DEFAULT_MODE

LOCAL_URL = "http://127.0.0.1:8080"
_START_S = 60
_STOP_S = 10


@dataclass(frozen=True)
class Reached:
    """A server that serves the dataset: where, under what name, and with which responses."""

    url: str
    served: Served
    private: bool = False


@asynccontextmanager
async def reach_server(
    dataset: Dataset, *, url: str, mode: str, token: str, database_url: str, environment: Mapping[str, str]
) -> AsyncGenerator[Reached]:
    """A server for the length of the block.

    Args:
        dataset: what it must serve: the same tools and queries, by their hash.
        url: of a server that the user named; "" looks at ``LOCAL_URL`` and else starts one.
        mode: the cache mode asked for; "" takes what a named server has, and replay elsewhere.
        token: the server's token.
        database_url: of the store that a server of its own reads.
        environment: of a server of its own.

    Raises:
        ServiceError: no server, or one that does not serve the dataset.
        UsageError: it cannot answer in the mode asked for.
    """
    if url:
        served = await _find(url, dataset, token)
        if mode and mode not in served.modes:
            raise UsageError(
                f"The server at {url} cannot answer in {mode} mode.",
                hint=f"It can in: {', '.join(served.modes)}.",
            )
        yield Reached(url, replace(served, mode=mode or served.mode))
        return
    mode = mode or DEFAULT_MODE.value
    if (here := await _running_here(dataset, mode, token)) is not None:
        yield Reached(LOCAL_URL, here)
        return
    async with _started(dataset.name, mode, database_url, environment) as own:
        yield Reached(own, await _find(own, dataset, ""), private=True)


async def _find(url: str, dataset: Dataset, token: str) -> Served:
    async with VirtualClient(url, token=token) as client:
        there = await client.served()
    same = [served for served in there if served.content_hash == dataset.content_hash]
    for served in sorted(same, key=lambda s: s.name != dataset.name):
        return served
    names = ", ".join(served.name for served in there) or "nothing"
    raise ServiceError(
        f"The server at {url} does not serve this dataset {dataset.name!r}: it has {names}, with other content.",
        hint="Import the same release there, or leave --server out.",
    )


async def _running_here(dataset: Dataset, mode: str, token: str) -> Served | None:
    """The server at the usual place, if it serves just what is wanted."""
    with contextlib.suppress(ServiceError):
        async with VirtualClient(LOCAL_URL, token=token) as client:
            for served in await client.served(timeout_s=1.0):
                wanted = (dataset.name, dataset.content_hash, dataset.responses_hash, mode)
                there = (served.name, served.content_hash, served.responses_hash, served.mode)
                if there == wanted and not served.settings.get("faults"):
                    return served
    return None


@asynccontextmanager
async def _started(
    dataset: str, mode: str, database_url: str, environment: Mapping[str, str]
) -> AsyncGenerator[str]:
    """A server in a process of its own, on a free port; ended with the block or with this process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stb_agents.runs.private_server", "--dataset", dataset, "--mode", mode),
        *("--host", "127.0.0.1", "--workers", "1", "--token", ""),  # whatever is configured for others
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, "STB_DATABASE_URL": database_url},
        start_new_session=True,  # Ctrl-C is for the run, which then ends the server
    )
    said = asyncio.create_task(_last_lines(process))
    try:
        yield await _announced(process, said)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await said


async def _announced(process: asyncio.subprocess.Process, said: asyncio.Task[str]) -> str:
    assert process.stdout
    try:
        async with asyncio.timeout(_START_S):
            line = await process.stdout.readline()
        return str(orjson.loads(line)["url"])
    except (TimeoutError, ValueError, TypeError, KeyError):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, 9)
        reason = (await said).removeprefix("stb: ") or "it said nothing"
        raise ServiceError(
            f"A server for this run could not be started: {reason}",
            hint="Start one with 'stb serve' and name it with --server.",
        ) from None


async def _last_lines(process: asyncio.subprocess.Process) -> str:
    """Read what the server says, so that it never waits for a reader; its last line."""
    assert process.stderr
    last = ""
    async for line in process.stderr:
        last = line.decode(errors="replace").strip() or last
    return last
