"""The command line within the test's process: what a command prints, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stb_core.cli.program import main


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def said(self) -> tuple[int, str]:
        """The exit code and the first line on stderr."""
        return self.code, self.err.splitlines()[0] if self.err else ""


@pytest.fixture
def in_process(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    sqlite_store_url: str,
) -> Callable[..., Ended]:
    """``in_process(*args)`` runs ``stb`` in this process, on the test's SQLite store, in its folder."""
    monkeypatch.setenv("STB_DATABASE_URL", sqlite_store_url)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        captured = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run
