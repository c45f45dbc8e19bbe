"""Fixtures that every room's tests share: a store, real services, real data, the command line."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import preloaded_stb
import services
from stb_core.store import Store, open_store

REPOSITORY = Path(__file__).parent.parent

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker is left with one; what only Linux can do is a visible skip."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    if sys.platform != "linux":
        for item in items:
            if item.get_closest_marker("linux"):
                item.add_marker(pytest.mark.skip(reason="it looks through /proc, which only Linux has"))


def pytest_unconfigure() -> None:
    """No process outlives the tests."""
    preloaded_stb.close()


def unavailable(what: str) -> None:
    """A part that a test needs is not on this machine: a failure in CI, a visible skip elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is needed in CI; .ci/run is to install it", pytrace=False)
    pytest.skip(f"{what} is not on this machine")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of recorded material named by STB_TEST_DATA, ``../shared/data`` by default.

    Nobody can install it, so without the variable its absence is a skip, in CI as well.
    """
    named = os.environ.get("STB_TEST_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not (folder / "release").is_dir():
        if named:
            unavailable(f"The real data (STB_TEST_DATA={named})")
        pytest.skip(f"The real data is not on this machine (looked in {folder})")
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> Generator[services.Postgres]:
    """A PostgreSQL server of our own; the tests may stop, pause and kill it."""
    if not services.Postgres.installed():
        unavailable("PostgreSQL (initdb, pg_ctl)")
    # Not among pytest's own folders: another session of pytest clears them when there are many.
    with (
        tempfile.TemporaryDirectory(prefix="stb-postgres-", ignore_cleanup_errors=True) as folder,
        services.Postgres(Path(folder)) as server,
    ):
        yield server


@pytest.fixture
def postgres_url(postgres_server: services.Postgres) -> str:
    """The URL of a new, empty database."""
    return postgres_server.create_database(f"t{uuid.uuid4().hex[:12]}")


@pytest.fixture
def redis_server(tmp_path: Path) -> Generator[services.Redis]:
    """A Redis server of our own, on a free port of the loopback; the tests may pause, fill and kill it."""
    if not services.Redis.installed():
        unavailable("redis-server")
    with services.Redis(tmp_path / "redis") as server:
        yield server


def migrate(url: str) -> None:
    """Run all migrations on a database."""

    async def run() -> None:
        store = await open_store(url)
        await store.close()

    with ThreadPoolExecutor(1) as pool:  # the thread of the tests may have a loop of its own
        pool.submit(lambda: asyncio.run(run())).result()


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: services.Postgres) -> str:
    """The name of a database with the schema of a store; copied for each test, which is much faster."""
    name = "migrated"
    migrate(postgres_server.create_database(name))
    return name


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the schema of a store; copied for each test."""
    file = tmp_path_factory.mktemp("migrated") / "store.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def unmigrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that is still to be made, for tests of just that, on both databases."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store: each test runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        url: str = request.getfixturevalue("sqlite_store_url")
        return url
    server: services.Postgres = request.getfixturevalue("postgres_server")
    template: str = request.getfixturevalue("migrated_postgres")
    return server.create_database(f"t{uuid.uuid4().hex[:12]}", template=template)


@pytest.fixture
async def store(store_url: str) -> AsyncGenerator[Store]:
    """An open, empty store on each database."""
    opened = await open_store(store_url)
    yield opened
    await opened.close()


@pytest.fixture
def sqlite_store_url(tmp_path: Path, migrated_sqlite: Path) -> str:
    """The URL of an empty SQLite store, for tests that do not depend on the database."""
    file = tmp_path / "store.db"
    shutil.copyfile(migrated_sqlite, file)
    return f"sqlite:///{file}"


@pytest.fixture
async def sqlite_store(sqlite_store_url: str) -> AsyncGenerator[Store]:
    """An open, empty SQLite store."""
    opened = await open_store(sqlite_store_url)
    yield opened
    await opened.close()


def clean_environment(**extra: str) -> dict[str, str]:
    """The process environment without settings or keys that could leak into a test."""
    keep = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("STB_")
        and not name.endswith(("_API_KEY", "_BASE_URL"))
        # Without bytecode on disk each of some hundred processes would compile the packages again.
        and name != "PYTHONDONTWRITEBYTECODE"
    }
    return {**keep, **extra}


@pytest.fixture
def stb(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``stb(*args, env=…, cwd=…)`` runs the command in a process of its own, in an empty folder.

    The store is ``store.db`` in that folder unless the test names another. With ``fresh=True`` the process
    is a new interpreter; see ``preloaded_stb``.
    """

    def run(
        *args: Any,
        env: dict[str, str] | None = None,
        cwd: Path = tmp_path,
        timeout: float = 300,
        fresh: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        url = f"sqlite:///{tmp_path / 'store.db'}"
        return preloaded_stb.execute_stb(
            [*map(str, args)],
            env=clean_environment(STB_DATABASE_URL=url, COLUMNS="200") | (env or {}),
            cwd=cwd,
            text=True,
            timeout=timeout,
            fresh=fresh,
        )

    return run


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``stb demo`` makes, with its store and two scored runs; copy it before changing it.

    What the demo printed stands in ``demo.json``.
    """
    folder = tmp_path_factory.mktemp("demo") / "stb-demo"
    done = preloaded_stb.execute_stb(
        ["demo", str(folder), "--json"], env=clean_environment(), cwd=folder.parent
    )
    assert done.returncode == 0, done.stderr.decode()
    (folder / "demo.json").write_bytes(done.stdout)
    return folder
