"""Stores with real and with hostile content, and servers that show them."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from conftest import clean_environment, unavailable
from hostile import WRITE_TOKEN, put_hostile
from preloaded_stb import execute_stb
from stb_core.store import open_store
from stb_server.datasets.release import find_release, import_release
from stb_server.worker.options import ServerOptions
from threaded_server import in_thread, served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def hostile_site(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A server whose every name and text tries to be run."""
    url = f"sqlite:///{tmp_path_factory.mktemp('hostile') / 'store.db'}"

    async def fill() -> None:
        store = await open_store(url)
        await put_hostile(store)
        await store.close()

    in_thread(fill())
    with served(ServerOptions(url, "weather", write_token=WRITE_TOKEN)) as address:
        yield address


@pytest.fixture(scope="session")
def real_store(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a store with the real release, ToolBench's own search trees and two systems' verdicts."""
    folder = tmp_path_factory.mktemp("real")
    url = f"sqlite:///{folder / 'store.db'}"

    async def fill() -> None:
        store = await open_store(url)
        release = find_release(real_data / "release")
        await import_release(store, release, "release", advance=lambda *_: None)
        await store.close()

    in_thread(fill())
    answers = folder / "answers"
    shutil.copytree(real_data / "answers" / "toolbench_example", answers / "toolbench_example")
    verdicts = folder / "verdicts"
    for system in ("toolllama_sft_dfs", "toolllama_sft_cot"):  # one group is enough
        source = real_data / "pass_rate_results" / system / "G3_instruction.json"
        (verdicts / system).mkdir(parents=True)
        shutil.copy(source, verdicts / system)
    for path in (answers, verdicts):
        execute_stb(["import", str(path)], env=clean_environment(STB_DATABASE_URL=url)).check_returncode()
    return url


@pytest.fixture(scope="session")
def real_site(real_store: str) -> Generator[str]:
    """A server of that store."""
    with served(ServerOptions(real_store, "release")) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Debian's Chromium, without a window; its loop must not outlive modules without asynchronous tests."""
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
    opened.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    problems: list[str] = []
    opened.on("pageerror", lambda problem: problems.append(str(problem)))
    opened.on("console", lambda said: problems.append(said.text) if "Content Security" in said.text else None)
    yield opened
    context.close()
    assert [] == problems
