"""``stb serve`` as a process of its own, over a small store."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from conftest import clean_environment
from preloaded_stb import start_stb
from stb_core.store import open_store
from virtual_server import put_weather, recorded

ANSWER = recorded({"city": "Bonn"})


def make_store(folder: Path, *names: str) -> str:
    """A store with small datasets of these names; returns its URL."""
    url = f"sqlite:///{folder / 'store.db'}"

    async def fill() -> None:
        store = await open_store(url)
        for name in names:
            await put_weather(store, ANSWER, name=name)
        await store.close()

    asyncio.run(fill())
    return url


def start(
    url: str, *options: str, fresh: bool = False, **variables: str
) -> tuple[subprocess.Popen[str], dict]:
    """A server process with these variables, and the line that it printed when it was ready."""
    process = start_stb(
        ["serve", "--port", "0", "--json", *options],
        env=clean_environment(STB_DATABASE_URL=url, **variables),
        fresh=fresh,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        pytest.fail(process.communicate()[1])
    return process, json.loads(line)
