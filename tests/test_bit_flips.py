"""One wrong bit in a file is refused, found by the checks, or without effect on any score; none ends in a traceback."""

from __future__ import annotations

import gc
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from command_line import Ended, in_process
from evaluator_makers import make_run, on_store, trajectory
from stb_core.store import Store
from virtual_server import put_weather, recorded

__all__ = ["in_process"]

# A command that fails in the middle of reading leaves what its process, which ends, would take along.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:The garbage collector is trying to clean up"),
]

SEED = 2026
Stb = Callable[..., Ended]


def flipped(path: Path, rng: random.Random) -> tuple[int, int]:
    """Turn one bit of a file; returns its place."""
    data = bytearray(path.read_bytes())
    place, bit = rng.randrange(len(data)), rng.randrange(8)
    data[place] ^= 1 << bit
    path.write_bytes(data)
    return place, bit


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What failed commands left is taken along here, and not during another test."""
    yield
    gc.collect()


@pytest.fixture(name="files")
def _files(in_process: Stb, sqlite_store_url: str, tmp_path: Path) -> Path:
    """A folder with a store of a scored run and a dataset, and a dump, a bundle and a back-up of it."""

    async def make(store: Store) -> None:
        await put_weather(store, *(recorded({"city": f"Bonn {n}"}) for n in range(40)))
        answers = [trajectory(str(n), answer="It is 4217." if n % 3 else "No idea.") for n in range(1, 13)]
        await make_run(store, answers)

    on_store(sqlite_store_url, make)
    for line in (
        *("score r --judge rules", "cache dump weather -o d.jsonl", "cache dump weather -o d.jsonl.zst"),
        *("export r -o b.zip", "lock r -o r.lock.json", "backup b.db"),
    ):
        assert in_process(*line.split()).code == 0
    with closing(sqlite3.connect(tmp_path / "store.db")) as file:
        file.execute("PRAGMA journal_mode = DELETE")
    (tmp_path / "kept").mkdir()
    for name in ("d.jsonl", "d.jsonl.zst", "b.zip", "b.db", "store.db"):
        shutil.move(tmp_path / name, tmp_path / "kept" / name)
    return tmp_path / "kept"


def rows(stb: Stb) -> tuple[int, Any]:
    """How a scoring of the run ends, and its numbers."""
    ended = stb("score", "r", "--judge", "rules", "--json")
    return ended.code, ended.document["rows"] if ended.out.strip() else ended.err


def check_dump(stb: Stb, folder: Path, name: str, whole: Any) -> None:
    """It is refused, or loads what was dumped."""
    ended = stb("cache", "load", name, "--foreign", "--dataset", "other")
    if ended.code == 0:
        again = stb("cache", "dump", "other", "-o", "again.jsonl", "--json").document["rows"][0]
        assert again["content_hash"] == whole, "what was loaded is something else"


def check_bundle(stb: Stb, folder: Path, name: str, whole: Any) -> None:
    """It is refused by ``import``, told by ``verify``, or scores the same."""
    ended = stb("import", name)
    if ended.code == 0 and rows(stb) != whole:
        assert stb("verify", name, "--lock", str(folder.parent / "r.lock.json")).code == 1


def check_backup(stb: Stb, folder: Path, name: str, whole: Any) -> None:
    """It is refused, or the store that it gives scores the same."""
    if stb("restore", name).code == 0:
        assert rows(stb) == whole


def check_store(stb: Stb, folder: Path, name: str, whole: Any) -> None:
    """A score is the same, or a check or the score itself says that something is wrong."""
    found = rows(stb)
    if found != whole and found[0] == 0:
        checks = stb("verify", "r").code, stb("data", "verify", "weather").code
        assert 1 in checks or stb("verify", "r", "--lock", str(folder.parent / "r.lock.json")).code == 1


KINDS: dict[str, Callable[[Stb, Path, str, Any], None]] = {
    "d.jsonl": check_dump,
    "d.jsonl.zst": check_dump,
    "b.zip": check_bundle,
    "b.db": check_backup,
    "store.db": check_store,
}


def flip_many(
    stb: Stb, files: Path, folder: Path, kind: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turn one bit after another, each in a fresh copy."""
    rng, failures = random.Random(f"{SEED} {kind}"), list[str]()
    for number in range(count):
        work = folder / f"{kind}-{number}"
        work.mkdir()
        shutil.copy(files / kind, work / kind)
        monkeypatch.chdir(work)
        monkeypatch.setenv("STB_DATABASE_URL", f"sqlite:///{work / 'store.db'}")
        if number == 0:
            shutil.copy(files / "store.db", work / "store.db")
            whole = rows(stb)
            if kind.startswith("d."):
                whole = stb("cache", "dump", "weather", "-o", "w.jsonl", "--json").document["rows"][0][
                    "content_hash"
                ]
            (work / "store.db").unlink()
            shutil.copy(files / kind, work / kind)
        turned = flipped(work / kind, rng)
        try:
            KINDS[kind](stb, files, kind, whole)
        except Exception as problem:  # noqa: BLE001 - all that go wrong are told together
            failures.append(f"byte {turned[0]}, bit {turned[1]}: {type(problem).__name__}: {problem}"[:600])
        shutil.rmtree(work)
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_bit(
    in_process: Stb, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Some bits of each kind of file."""
    flip_many(in_process, files, tmp_path, kind, 12, monkeypatch)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("runs SET manifest = substr(manifest, 2)", "manifest in row 1 of runs"),
        ("trajectories SET stop = 'answured'", "stop in row 1 of trajectories"),
        (
            "trajectories SET document = replace(document, 'steps', 'stepq')",
            "document in row 1 of trajectories",
        ),
        (
            "trajectories SET document = replace(document, 'completion_tokens', 'completion_tokenr')",
            "document in row 1 of trajectories",
        ),
        ("verdicts SET status = 'unsol~ed'", "status in row 1 of verdicts"),
    ],
)
def test_a_wrong_value_is_a_line(
    in_process: Stb, files: Path, monkeypatch: pytest.MonkeyPatch, change: str, named: str
) -> None:
    """Not a traceback: the store is named as the cause, with the place."""
    with closing(sqlite3.connect(files / "store.db")) as file, file:
        file.execute(f"UPDATE {change}")
    monkeypatch.setenv("STB_DATABASE_URL", f"sqlite:///{files / 'store.db'}")

    ended = in_process("score", "r", "--judge", "rules")

    assert ended.code == 1
    assert f"store.db is damaged: {named} is wrong." in ended.err


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_wrong_bits(
    in_process: Stb, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The long form."""
    flip_many(in_process, files, tmp_path, kind, 1000, monkeypatch)
