"""Writes files and folders completely or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from stb_core.errors import ConflictError, UsageError


@contextmanager
def whole_file(path: Path) -> Generator[IO[bytes]]:
    """Open a file that is moved to ``path`` when the block ends without an error.

    Raises:
        UsageError: the file cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with _as_usage_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise


@contextmanager
def whole_folder(path: Path) -> Generator[Path]:
    """Create a folder that is moved to ``path`` when the block ends without an error.

    Raises:
        ConflictError: the path exists already.
        UsageError: the folder cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with _as_usage_error(path):
        if path.exists():
            raise ConflictError(f"{path} exists already.", hint="Move it away, or name another folder.")
        unfinished.mkdir(parents=True)
        try:
            yield unfinished
            unfinished.rename(path)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise


@contextmanager
def _as_usage_error(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as problem:
        raise UsageError(
            f"{path} cannot be written: {problem.strerror}.", hint="Name another place, or make room."
        ) from problem
