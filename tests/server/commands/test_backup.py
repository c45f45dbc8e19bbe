"""``stb backup``, ``stb restore`` and ``stb cache prune`` on the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import Ended
from foreign_folder import stb_in_a_foreign_folder
from stb_core.store import open_store
from virtual_server import put_weather, recorded

Run = Callable[..., Ended]


@pytest.fixture(autouse=True)
def filled(sqlite_store_url: str) -> None:
    """The store holds a call with two versions."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        dataset = await put_weather(store, recorded({"city": "Bonn"}))
        await store.responses.keep(
            dataset.id, [recorded({"city": "Bonn"}, b'{"error":"","response":1}')], supersede=True
        )
        await store.close()

    asyncio.run(fill())


def test_there_and_back(in_process: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A back-up, a check of it, and a restoration elsewhere say the same of every table."""
    made = in_process("backup", "b.db", "--json")
    checked = in_process("restore", "b.db", "--check", "--json")
    monkeypatch.setenv("STB_DATABASE_URL", f"sqlite:///{tmp_path}/new.db")
    restored = in_process("restore", "b.db", "--json")

    assert [0, 0, 0] == [made.code, checked.code, restored.code]
    assert made.document["rows"] == checked.document["rows"] == restored.document["rows"]
    assert {"responses": 2, "datasets": 1} == {
        row["table"]: row["rows"]
        for row in made.document["rows"]
        if row["table"] in {"responses", "datasets"}
    }
    assert 0 == in_process("cache", "verify", "weather").code


def test_a_backup_has_a_name_by_itself(in_process: Run, tmp_path: Path) -> None:
    """The moment at which it was made."""
    ended = in_process("backup")

    [made] = tmp_path.glob("stb-backup-*.db")
    assert ended.out.startswith(f"Wrote {made.name}: ")


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("backup store.db", 2, "stb: store.db exists already. Name another file."),
        ("restore nothing.db", 2, "stb: There is no back-up nothing.db. Check the path."),
        (
            "restore store.db",
            1,
            "stb: store.db is not a back-up, or is damaged. Name a file that stb backup wrote.",
        ),
        (
            "cache prune weather --older-than 0",
            2,
            "stb: This would delete 1 superseded versions of weather with 0.0 MB. Add --yes to do it.",
        ),
    ],
)
def test_refusals(line: str, code: int, said: str, in_process: Run) -> None:
    """Each is one line that says what to do."""
    assert (code, said) == in_process(*line.split()).said


def test_prune(in_process: Run) -> None:
    """With --yes what may go is gone, and the same again finds nothing."""
    first = in_process("cache", "prune", "--older-than", "0", "--yes", "--json")
    second = in_process("cache", "prune", "--older-than", "0", "--yes")

    assert (0, 1) == (first.code, first.document["rows"][0]["removed"])
    assert (0, "weather has nothing to delete.\n") == (second.code, second.out)
    assert 0 == in_process("cache", "verify", "weather").code


@pytest.mark.linux
def test_a_folder_that_takes_no_files_is_named(tmp_path: Path) -> None:
    """The folder is what is wrong, not the store, so nobody is sent to another store."""
    done = stb_in_a_foreign_folder(tmp_path, "backup", "monday.db")

    assert 1 == done.returncode
    assert f"monday.db cannot be written: {tmp_path}/foreign is not writable" in done.stderr
    assert "STB_DATABASE_URL" not in done.stderr
