"""``stb run --locked`` does what was locked, and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_world import put_world
from stb_core.store import open_store

Stb = Callable[..., subprocess.CompletedProcess[str]]
RUN = ("run", "-a", "scripted", "-d", "world", "--limit", "1", "--locked", "world.lock")


@pytest.fixture
async def locked(tmp_path: Path, stb: Stb) -> Path:
    """A folder with the small world and a lock file of it."""
    store = await open_store(f"sqlite:///{tmp_path / 'store.db'}")
    await put_world(store)
    await store.close()
    assert stb("lock", "world", "-o", "world.lock").returncode == 0
    return tmp_path


async def test_a_locked_dataset_can_be_run(locked: Path, stb: Stb) -> None:
    """As long as its tools, queries and recordings are those of the lock."""
    done = stb(*RUN)

    assert (0, True) == (done.returncode, "answered" in done.stdout), done.stderr


async def test_other_recordings_are_refused(locked: Path, stb: Stb) -> None:
    """The message names the setting that differs, and no run is made."""
    store = await open_store(f"sqlite:///{locked / 'store.db'}")
    dataset = await store.datasets.get("world")
    refs = await store.responses.api_refs(dataset.id)
    (first, *_) = await store.responses.of_api(dataset.id, *refs[0])
    async with store.writing() as connection:
        await store.responses.retire(connection, dataset.id, [first.key])

    done = stb(*RUN)
    runs = await store.runs.all()
    await store.close()

    assert (2, []) == (done.returncode, runs)
    assert "\nstb: This is not the run that was locked: snapshot_hash is " in done.stderr
