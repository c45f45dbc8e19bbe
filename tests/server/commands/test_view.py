"""``stb view`` leads to the page of what was named."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from conftest import clean_environment
from hostile import KEY, RUN, put_hostile
from preloaded_stb import start_stb
from stb_core.store import open_store


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store with a dataset and a run."""
    found = f"sqlite:///{tmp_path / 'store.db'}"

    async def fill() -> None:
        store = await open_store(found)
        await put_hostile(store)
        await store.close()

    asyncio.run(fill())
    return found


def test_it_shows_what_was_named(url: str) -> None:
    """It serves the page at the address that it prints, and ends cleanly when told to."""
    process = start_stb(
        ["view", KEY[:16], "--no-browser", "--json"],
        env=clean_environment(STB_DATABASE_URL=url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    address = json.loads(process.stdout.readline())["url"]
    answer = httpx.get(address, timeout=120)
    process.terminate()
    _, errors = process.communicate(timeout=120)

    assert address.endswith(f"/cache/weather/{KEY}")
    assert 200 == answer.status_code
    assert "Traceback" not in errors


def test_what_is_not_there_is_bad_usage(
    url: str, stb: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Exit code 2 and one line."""
    done = stb("view", "no-such-run", "--no-browser")

    assert 2 == done.returncode
    assert "There is no run 'no-such-run'" in done.stderr
    assert 1 == done.stderr.count("\n")


def test_a_server_that_runs_is_used(url: str, stb: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """With --server the address is printed at once; that nothing answers there is said."""
    done = stb("view", f"{RUN}/G1_tool/1", "--server", "http://127.0.0.1:9/", "--no-browser")

    assert (0, f"http://127.0.0.1:9/runs/{RUN}/G1_tool/1\n") == (done.returncode, done.stdout)
    assert "No server answers" in done.stderr
