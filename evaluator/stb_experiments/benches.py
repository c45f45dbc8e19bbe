"""Benches: a new folder and store with a copy of a dataset, and the commands of ``stb`` that run on them."""

from __future__ import annotations

import asyncio
import re
import tempfile
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from stb_core.cli import CommandRunner
from stb_core.cli.demo import demo_data
from stb_core.errors import StoreError
from stb_core.settings import Settings
from stb_core.store import open_store, sqlite_url
from stb_experiments.originals import Original, read_original, write_copy

DEMO = "demo"
_LOCAL_URL = re.compile(r"http://127\.0\.0\.1:\d+")


@dataclass(frozen=True)
class ExperimentPlan:
    """What an experiment with agents runs: which agents, by which judge, on which queries."""

    agents: tuple[str, ...] = ("scripted",)
    model: str = ""
    judge: str = "rules"
    dataset: str = ""
    limit: int | None = None
    seed: int = 0

    def document(self) -> dict[str, Any]:
        """The plan as the manifest of an experiment shows it."""
        return {
            "agents": list(self.agents),
            "model": self.model or None,
            "judge": self.judge,
            "limit": self.limit,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Bench:
    """One copy of the dataset, and the commands that run on it."""

    steps: CommandRunner
    database_url: str = field(repr=False)
    original: Original
    plan: ExperimentPlan

    def serving(self, *args: str) -> AbstractAsyncContextManager[str]:
        """A server of this copy, on a free port, while the block runs."""
        return self.steps.serving("--dataset", self.original.name, "--port", "0", *args)

    async def solve(self, agent: str, url: str, *, connections: int = 16) -> str:
        """Let an agent solve all queries at a server; returns the id of the run.

        Raises:
            StbError: the command failed.
        """
        model = ("-m", self.plan.model) if self.plan.model else ()
        rows = await self.steps.run(
            *("run", "-a", agent, *model, "-d", self.original.name, "--server", url),
            *("--max-connections", str(connections)),
        )
        return str(rows[0]["run"])

    async def judge(self, run: str) -> list[dict[str, Any]]:
        """Let the judge of the plan judge a run; returns the rows of ``stb score``.

        Raises:
            StbError: the command failed.
        """
        return await self.steps.run("score", run, "--judge", self.plan.judge)


@dataclass
class BenchMaker:
    """Makes benches in a scratch folder; ``typed`` holds the commands that were run on each."""

    scratch: Path
    settings: Settings
    original: Original
    plan: ExperimentPlan
    typed: dict[str, list[str]] = field(default_factory=dict)

    @asynccontextmanager
    async def bench(
        self,
        name: str,
        *,
        original: Original | None = None,
        variables: Mapping[str, str] | None = None,
        postgres_url: str = "",
    ) -> AsyncGenerator[Bench]:
        """A new bench while the block runs.

        Args:
            name: of the bench and of its folder.
            original: the dataset that is copied; None for that of the maker.
            variables: of the environment of its commands.
            postgres_url: server on which its store is a new database; "" for SQLite.

        Raises:
            StoreError: its store cannot be made.
        """
        copied = original or self.original
        folder = self.scratch / name
        async with _database(folder, postgres_url) as url:
            environment = {**(variables or {}), "STB_DATABASE_URL": url}
            steps = CommandRunner(folder, self.settings.environment, variables=environment)
            await write_copy(copied, url)
            try:
                yield Bench(steps, url, copied, self.plan)
            finally:
                # The port differs each time.
                self.typed[name] = [_LOCAL_URL.sub("URL", line) for line in steps.typed]

    @property
    def commands(self) -> list[str]:
        """All commands that were run, with the name of their bench."""
        return [f"{name}: {line}" for name, lines in sorted(self.typed.items()) for line in lines]


@asynccontextmanager
async def open_bench_maker(settings: Settings, plan: ExperimentPlan) -> AsyncGenerator[BenchMaker]:
    """A maker of benches in a temporary folder, with the dataset that the plan names.

    If the plan names none, it is the only dataset in the store or, if the store has none, the bundled one.

    Raises:
        NotFoundError: there is no such dataset.
        UsageError: the plan names no dataset, and there are several.
    """
    with tempfile.TemporaryDirectory(prefix="stb-experiment-") as folder:
        scratch = Path(folder)
        url = settings.database_url
        if not plan.dataset and not await _has_datasets(url):
            url = await _demo_store(scratch / DEMO, settings)
        original = await read_original(url, plan.dataset)
        limited = original.with_groups("", plan.limit)
        yield BenchMaker(scratch, settings, limited, plan)


async def _has_datasets(url: str) -> bool:
    if not _may_exist(url):
        return False
    store = await open_store(url)
    try:
        return bool(await store.datasets.all())
    finally:
        await store.close()


def _may_exist(url: str) -> bool:
    """Whether the store may exist: opening one that does not would create it."""
    parsed = make_url(url)
    return parsed.get_backend_name() != "sqlite" or Path(parsed.database or "").is_file()


async def _demo_store(folder: Path, settings: Settings) -> str:
    url = sqlite_url(folder / "store.db")
    steps = CommandRunner(folder, settings.environment, variables={"STB_DATABASE_URL": url})
    await steps.run("data", "import", str(demo_data().resolve()), "--name", DEMO)
    return url


@asynccontextmanager
async def _database(folder: Path, postgres_url: str) -> AsyncGenerator[str]:
    if not postgres_url:
        yield sqlite_url(folder / "store.db")
        return
    name = f"stb_experiment_{uuid.uuid4().hex[:12]}"
    await _administer(postgres_url, f'CREATE DATABASE "{name}"')
    try:
        yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    finally:
        await asyncio.shield(_administer(postgres_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


async def _administer(url: str, statement: str) -> None:
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"), isolation_level="AUTOCOMMIT"
    )
    try:
        async with engine.connect() as connection:
            await connection.execute(sa.text(statement))
    except (SQLAlchemyError, OSError) as problem:
        reason = " ".join(str(getattr(problem, "orig", None) or problem).split())
        raise StoreError(
            f"A database for the experiment cannot be created ({reason}).",
            hint="--postgres-url needs a server that is up, and a user that may create databases.",
        ) from None
    finally:
        await engine.dispose()
