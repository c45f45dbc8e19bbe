"""SIGKILL at any moment: the store opens and is sound, nothing acknowledged is gone, and the same command goes on."""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import clean_environment
from evaluator_makers import on_store
from preloaded_stb import execute_stb, start_stb
from stb_core.store import Store, backups, find_damage

pytestmark = [pytest.mark.linux, pytest.mark.slow]

SEED = 2026
OLD = b"what was there before"


@dataclass(frozen=True)
class Killed:
    """A command that is killed; ``held`` gives what has been acknowledged, ``end`` what an undisturbed one leaves."""

    line: str
    held: Callable[[Store, Path], Awaitable[Any]]
    check: Callable[[Any, Any, Any], bool]
    """Whether what is there after a kill is right, given what was there before and at the end."""


async def trials(store: Store, _: Path) -> Any:
    """The content of each trial, by place."""
    run = await store.runs.find("killed")
    if run is None:
        return {}
    return {(one.group, one.query_id): one.content_hash async for one in store.runs.trajectories("killed")}


async def verdicts(store: Store, _: Path) -> Any:
    """What the log says of each answer."""
    run = (await store.runs.all())[0].run
    log = await store.verdicts.of_run(run, metric="")
    return {(one.group, one.query_id, one.round): one.status for one in log}


async def responses(store: Store, _: Path) -> Any:
    """The hash of all responses in force."""
    return (await store.datasets.get("demo")).responses_hash


async def dumped(_: Store, folder: Path) -> Any:
    """The bytes of the dump."""
    return (folder / "d.jsonl").read_bytes()


async def backed_up(_: Store, folder: Path) -> Any:
    """The checksums of the back-up; nothing where it is not there."""
    path = folder / "b.db"
    return {} if not path.exists() else dict((await backups.verify(path)).tables)


def part_of(before: Any, after: Any, end: Any) -> bool:
    """All that was there is there, and nothing else than at the end."""
    return before.items() <= after.items() <= end.items()


def one_or_the_other(before: Any, after: Any, end: Any) -> bool:
    """As it was, or as it will be."""
    return after in (before, end)


COMMANDS = {
    "run": Killed("run -a scripted -d demo --name killed", trials, part_of),
    "score": Killed("score --judge rules", verdicts, part_of),
    "dump": Killed("cache dump demo -o d.jsonl", dumped, one_or_the_other),
    "load": Killed("cache load other.jsonl --replace", responses, one_or_the_other),
    "backup": Killed("backup b.db", backed_up, one_or_the_other),
}


def looked_at(folder: Path, look: Callable[[Store, Path], Awaitable[Any]]) -> Any:
    """What a look at a store finds, which is opened and sound."""

    async def check_and_look(store: Store) -> Any:
        assert not await find_damage(store)
        return await look(store, folder)

    return on_store(f"sqlite:///{folder / 'store.db'}", check_and_look)


def prepared(folder: Path, demo: Path) -> Path:
    """A folder with a copy of the demo's store, without its verdicts, and the files that commands read."""
    folder.mkdir()
    with (
        closing(sqlite3.connect(demo / ".stb" / "stb.db")) as there,
        closing(sqlite3.connect(folder / "store.db")) as here,
    ):
        there.backup(here)
        with here:
            here.execute("DELETE FROM verdicts")
    (folder / "d.jsonl").write_bytes(OLD)
    return folder


async def take_away(store: Store, _: Path) -> str:
    """Delete some responses of the demo; returns the name of its first run."""
    dataset = await store.datasets.get("demo")
    refs = await store.responses.api_refs(dataset.id)
    for ref in refs[:10]:
        for response in (await store.responses.of_api(dataset.id, *ref))[:2]:
            await store.curation.delete(dataset.id, response.key, "for a smaller dump", erase=False)
    return (await store.runs.all())[0].run


def write_other_dump(folder: Path) -> bytes:
    """A dump of the demo with fewer responses."""
    env = clean_environment(STB_DATABASE_URL=f"sqlite:///{folder / 'store.db'}")
    line = ["cache", "dump", "demo", "-o", "other.jsonl"]
    done = execute_stb(line, env=env, cwd=folder, text=True)
    assert done.returncode == 0, done.stderr
    return (folder / "other.jsonl").read_bytes()


def kill_many(demo: Path, folder: Path, name: str, kills: int) -> None:
    """Kill a command at so many moments, each on a fresh store, and let it go on."""
    rng, how = random.Random(f"{SEED} {name}"), COMMANDS[name]
    run = looked_at(prepared(folder / "other", demo), take_away)
    other = write_other_dump(folder / "other")
    args = [*how.line.split(), *([run] if name == "score" else [])]

    def fresh(number: int) -> Path:
        place = prepared(folder / f"{name}-{number}", demo)
        (place / "other.jsonl").write_bytes(other)
        return place

    def ended(place: Path) -> Any:
        env = clean_environment(STB_DATABASE_URL=f"sqlite:///{place / 'store.db'}")
        done = execute_stb(args, env=env, cwd=place, text=True)
        assert done.returncode == 0, done.stderr
        return looked_at(place, how.held)

    calm = fresh(0)
    start = time.monotonic()
    end = ended(calm)
    usual = time.monotonic() - start
    shutil.rmtree(calm)
    for number in range(1, kills + 1):
        place = fresh(number)
        before = looked_at(place, how.held)
        env = clean_environment(STB_DATABASE_URL=f"sqlite:///{place / 'store.db'}")
        with start_stb(args, env=env, cwd=place) as process:
            time.sleep(rng.uniform(0, usual))
            process.kill()
        after = looked_at(place, how.held)
        assert how.check(before, after, end), (number, before, after)
        if not (name == "backup" and after):
            assert ended(place) == end
        shutil.rmtree(place)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command(demo_folder: Path, tmp_path: Path, name: str) -> None:
    """A few moments of each."""
    kill_many(demo_folder, tmp_path, name, 2)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_a_hundred_times(demo_folder: Path, tmp_path: Path, name: str) -> None:
    """The long form."""
    kill_many(demo_folder, tmp_path, name, 100)
