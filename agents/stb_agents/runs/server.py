"""The virtual API server of a run: the one that is named, one that runs on this machine, or a private one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import orjson

from stb_agents.environment import ServedDataset, VirtualClient
from stb_core.cli import console
from stb_core.errors import ServiceError, UsageError
from stb_core.store import Dataset
from stb_core.values import DEFAULT_MODE

LOCAL_URL = "http://127.0.0.1:8080"
_START_S = 60
_STOP_S = 10


@dataclass(frozen=True)
class ReachedServer:
    """A server that serves the dataset. A private one runs for this run only, and takes no token."""

    url: str
    dataset: ServedDataset
    private: bool = False


@asynccontextmanager
async def reach_server(
    dataset: Dataset,
    *,
    url: str,
    mode: str,
    token: str,
    database_url: str,
    environment: Mapping[str, str],
    quiet: bool = False,
) -> AsyncGenerator[ReachedServer]:
    """A server that serves the dataset while the block runs.

    Args:
        dataset: what it must serve: the same tools and queries, by their hash.
        url: of a server that the user named; "" takes the server at ``LOCAL_URL`` if it serves just what
            is needed, and starts a private one otherwise.
        mode: the cache mode; "" takes that of a named server, and replay otherwise.
        token: the server's token.
        database_url: of the store that a private server reads.
        environment: of a private server.
        quiet: do not say that a private server is started.

    Raises:
        ServiceError: no server can be reached or started, or it does not serve the dataset.
        UsageError: it cannot answer in this mode.
    """
    if url:
        served = await _find(url, dataset, token)
        if mode and mode not in served.modes:
            raise UsageError(
                f"The server at {url} cannot answer in {mode} mode.",
                hint=f"It can in: {', '.join(served.modes)}.",
            )
        yield ReachedServer(url, replace(served, mode=mode or served.mode))
        return
    mode = mode or DEFAULT_MODE.value
    if (local := await _find_local(dataset, mode, token)) is not None:
        yield ReachedServer(LOCAL_URL, local)
        return
    if not quiet:
        console.print_note("Starting a server…")
    async with _private_server(dataset.name, mode, database_url, environment) as private_url:
        yield ReachedServer(private_url, await _find(private_url, dataset, ""), private=True)


async def _find(url: str, dataset: Dataset, token: str) -> ServedDataset:
    async with VirtualClient(url, token=token) as client:
        datasets = await client.read_datasets()
    same = [served for served in datasets if served.content_hash == dataset.content_hash]
    for served in sorted(same, key=lambda s: s.name != dataset.name):
        return served
    names = ", ".join(served.name for served in datasets) or "nothing"
    raise ServiceError(
        f"The server at {url} does not serve this dataset {dataset.name!r}: it has {names}, with other content.",
        hint="Import the same release there, or leave --server out.",
    )


async def _find_local(dataset: Dataset, mode: str, token: str) -> ServedDataset | None:
    """The dataset at ``LOCAL_URL``, if it is served there with the same content, responses and mode."""
    with contextlib.suppress(ServiceError):
        async with VirtualClient(LOCAL_URL, token=token) as client:
            for served in await client.read_datasets(timeout_s=1.0):
                needed = (dataset.name, dataset.content_hash, dataset.responses_hash, mode)
                offered = (served.name, served.content_hash, served.responses_hash, served.mode)
                if offered == needed and not served.settings.get("faults"):
                    return served
    return None


@asynccontextmanager
async def _private_server(
    dataset: str, mode: str, database_url: str, environment: Mapping[str, str]
) -> AsyncGenerator[str]:
    """The address of a server in a new process, on a free port; it ends with the block or with this process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stb_agents.runs.private_server", "--dataset", dataset, "--mode", mode),
        *("--host", "127.0.0.1", "--workers", "1", "--token", ""),  # not what is configured for other servers
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, "STB_DATABASE_URL": database_url},
        start_new_session=True,  # Ctrl-C is for the run, which then ends the server
    )
    last_line = asyncio.create_task(_read_last_line(process))
    try:
        yield await _read_address(process, last_line)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await last_line


async def _read_address(process: asyncio.subprocess.Process, last_line: asyncio.Task[str]) -> str:
    """The address that the server prints once it takes calls."""
    assert process.stdout
    try:
        async with asyncio.timeout(_START_S):
            line = await process.stdout.readline()
        return str(orjson.loads(line)["url"])
    except (TimeoutError, ValueError, TypeError, KeyError):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, 9)
        reason = (await last_line).removeprefix("stb: ") or "it printed no reason"
        raise ServiceError(
            f"A server for this run could not be started: {reason}",
            hint="Start one with 'stb serve' and name it with --server.",
        ) from None


async def _read_last_line(process: asyncio.subprocess.Process) -> str:
    """Read all that the server logs, so that its pipe never fills; returns the last line."""
    assert process.stderr
    last = ""
    async for line in process.stderr:
        last = line.decode(errors="replace").strip() or last
    return last
