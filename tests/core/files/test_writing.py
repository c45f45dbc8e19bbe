"""A file or folder of ours has its name when it is complete, and until then what was there stays."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stb_core.errors import ConflictError, StoreError, UsageError
from stb_core.files import whole_file, whole_folder, write_files


def tree(folder: Path) -> dict[str, bytes]:
    """All files in a folder, whatever they are called."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(name="full")
def _full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that has no room when the bytes are to be on it."""

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)


@pytest.mark.usefixtures("full")
def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """Of a file, of a folder, of several files: nothing new, nothing half, nothing beside it."""
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder/a", "folder/b"):
        (tmp_path / name).write_bytes(b"old")
    before = tree(tmp_path)

    with (
        pytest.raises(UsageError, match=r"file cannot be written: No space left on device\."),
        whole_file(tmp_path / "file") as file,
    ):
        file.write(b"new")
    with (
        pytest.raises(UsageError, match="No space left"),
        whole_folder(tmp_path / "folder", replace=True) as part,
    ):
        (part / "a").write_bytes(b"new")
    with pytest.raises(StoreError, match="No space left"):
        write_files({tmp_path / "folder" / name: b"new" for name in ("a", "b", "c")}, force=True)
    with pytest.raises(StoreError, match="No space left"):
        write_files({tmp_path / "new" / "a": b"new"}, force=False, folder=tmp_path / "new")

    assert before == tree(tmp_path)
    assert not (tmp_path / "new").exists()


_KILLED = """
import os, signal, sys
from pathlib import Path
from stb_core.files import whole_file, whole_folder, write_files
folder, place = Path(sys.argv[1]), sys.argv[2]
real = os.fsync
def die(descriptor):
    real(descriptor)
    os.kill(os.getpid(), signal.SIGKILL)
os.fsync = die
if place == "file":
    with whole_file(folder / "file") as file:
        file.write(b"new")
elif place == "folder":
    with whole_folder(folder / "folder", replace=True) as part:
        (part / "a").write_bytes(b"new")
else:
    write_files({folder / "folder" / name: b"new" for name in ("a", "b")}, force=True)
"""


@pytest.mark.parametrize("place", ["file", "folder", "files"])
def test_a_kill_leaves_what_was_there(tmp_path: Path, place: str) -> None:
    """Besides what was being written, under its hidden name."""
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder/a", "folder/b"):
        (tmp_path / name).write_bytes(b"old")
    before = tree(tmp_path)

    ended = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path), place], check=False)

    assert ended.returncode == -signal.SIGKILL
    after = tree(tmp_path)
    left = {name for name in after if ".part" in name}
    assert left
    assert before == {name: data for name, data in after.items() if name not in left}


def test_several_files_come_together(tmp_path: Path) -> None:
    """A conflict with one leaves all as they are; the same content is no conflict, and ``force`` replaces."""
    first, second = tmp_path / "x" / "a", tmp_path / "x" / "b"
    write_files({first: b"1", second: b"2"}, force=False, folder=tmp_path / "x")
    write_files({first: b"1", second: b"2"}, force=False, folder=tmp_path / "x")

    with pytest.raises(ConflictError, match="b is there already"):
        write_files({first: b"1", tmp_path / "x" / "c": b"3", second: b"other"}, force=False)

    assert {"x/a": b"1", "x/b": b"2"} == tree(tmp_path)
    write_files({first: b"1", second: b"other"}, force=True)
    assert {"x/a": b"1", "x/b": b"other"} == tree(tmp_path)


def test_a_link_at_the_name_is_replaced(tmp_path: Path) -> None:
    """What it leads to is not touched."""
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "target")

    with whole_file(tmp_path / "link") as file:
        file.write(b"new")

    assert (b"old", b"new") == ((tmp_path / "target").read_bytes(), (tmp_path / "link").read_bytes())
    assert not (tmp_path / "link").is_symlink()
