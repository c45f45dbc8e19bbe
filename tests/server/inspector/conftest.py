"""A store with real and with hostile content, the server that shows it, and a browser."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from conftest import clean_environment, unavailable
from hostile import put_hostile
from stb_core.store import open_store
from stb_server.app import create_app
from stb_server.importing import import_release
from stb_server.options import ServerOptions
from stb_server.releases import find_release
from stb_server.serving import bind, url_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def served(options: ServerOptions) -> Iterator[str]:
    """The address of a server with these options, in a thread of its own."""
    with bind("127.0.0.1", 0) as listener:
        config = uvicorn.Config(create_app(options), lifespan="on", ws="none", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield url_of(listener)
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="session")
def browser() -> Generator[Browser]:
    """Debian's Chromium, without a window."""
    if not CHROMIUM:
        unavailable("chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Generator[Page]:
    """A new page; a script that fails, or a policy that is broken, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(10_000)
    problems: list[str] = []
    opened.on("pageerror", lambda problem: problems.append(str(problem)))
    opened.on("console", lambda said: problems.append(said.text) if "Content Security" in said.text else None)
    yield opened
    context.close()
    assert [] == problems


@pytest.fixture(scope="session")
def hostile_site(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A server whose every name and text tries to be run."""
    url = f"sqlite:///{tmp_path_factory.mktemp('hostile') / 'store.db'}"

    async def fill() -> None:
        store = await open_store(url)
        await put_hostile(store)
        await store.close()

    asyncio.run(fill())
    with served(ServerOptions(url, "weather")) as address:
        yield address


@pytest.fixture(scope="session")
def real_site(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A server of the real release, with ToolBench's own search trees and one system's verdicts."""
    folder = tmp_path_factory.mktemp("real")
    url = f"sqlite:///{folder / 'store.db'}"

    async def fill() -> None:
        store = await open_store(url)
        release = find_release(real_data / "release")
        await import_release(store, release, "release", advance=lambda *_: None)
        await store.close()

    asyncio.run(fill())
    for path in (
        "answers/toolbench_example",
        "pass_rate_results/toolllama_sft_dfs",
        "pass_rate_results/toolllama_sft_cot",
    ):
        subprocess.run(
            [sys.executable, "-m", "stb_core.cli", "import", str(real_data / path)],
            env=clean_environment(STB_DATABASE_URL=url),
            check=True,
            capture_output=True,
        )
    with served(ServerOptions(url, "release")) as address:
        yield address
