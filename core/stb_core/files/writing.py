"""Writes files and folders completely or not at all.

What is being written has another name in the same folder, is on disk before it gets its own, and is removed
after an error. A process that is killed leaves it behind: a file or folder called ``.NAME.PID.part``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from stb_core.errors import ConflictError, StoreError, UsageError


@contextmanager
def whole_file(path: Path) -> Generator[IO[bytes]]:
    """Open a file that is moved to ``path`` when the block ends without an error.

    Raises:
        UsageError: the file cannot be written.
    """
    with _as_usage_error(path), _unfinished(path) as part:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _move(part, path)


@contextmanager
def whole_folder(path: Path, *, replace: bool = False) -> Generator[Path]:
    """Create a folder that is moved to ``path`` when the block ends without an error.

    With ``replace`` it takes the place of a folder that is there. That one is moved aside first, to
    ``.NAME.PID.old``, and then removed.

    Raises:
        ConflictError: the path exists already, and is not to be replaced.
        UsageError: the folder cannot be written.
    """
    with _as_usage_error(path):
        if path.exists() and not replace:
            raise ConflictError(f"{path} exists already.", hint="Move it away, or name another folder.")
        with _unfinished(path) as part:
            part.mkdir()
            yield part
            for file in part.rglob("*"):
                _sync(file)
            if path.exists():
                old = path.with_name(f".{path.name}.{os.getpid()}.old")
                path.rename(old)
                _move(part, path)
                shutil.rmtree(old)
            else:
                _move(part, path)


def write_files(files: Mapping[Path, bytes], *, force: bool, folder: Path | None = None) -> None:
    """Write all these files, or none of them; a file that holds just this already is no conflict.

    ``folder`` is one that they all are in: where it does not exist yet, it appears with all files in it. Into a folder
    that exists the files are moved one by one when all are on disk.

    Raises:
        ConflictError: one exists with other content, and ``force`` was not given.
        StoreError: one cannot be written.
    """
    if folder is not None and not folder.exists():
        with _as_store_error(), whole_folder(folder) as root:
            for path, data in files.items():
                inside = root / path.relative_to(folder)
                inside.parent.mkdir(parents=True, exist_ok=True)
                inside.write_bytes(data)
        return
    with _as_store_error(), ExitStack() as stack:
        parts: dict[Path, Path] = {}
        for path, data in files.items():
            with _as_usage_error(path):
                if path.exists() and not force and _is_same(path, data):
                    continue
                parts[path] = stack.enter_context(_unfinished(path))
                parts[path].write_bytes(data)
                _sync(parts[path])
        for path, part in parts.items():
            with _as_usage_error(path):
                _move(part, path)


def _is_same(path: Path, data: bytes) -> bool:
    """Whether a file that exists holds just this; ConflictError if not."""
    if path.is_file() and path.read_bytes() == data:
        return True
    raise ConflictError(f"{path} is there already.", hint="Name another with -o, or add --force.")


@contextmanager
def _unfinished(path: Path) -> Generator[Path]:
    """Where to write before the name is given; removed at the end of the block if it was not moved."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def _move(part: Path, path: Path) -> None:
    part.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _as_usage_error(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as problem:
        raise UsageError(
            f"{path} cannot be written: {problem.strerror}.", hint="Name another place, or make room."
        ) from problem


@contextmanager
def _as_store_error() -> Generator[None]:
    try:
        yield
    except UsageError as problem:
        if isinstance(problem, ConflictError):
            raise
        raise StoreError(problem.message, hint="Make room, or name another place with -o.") from None
