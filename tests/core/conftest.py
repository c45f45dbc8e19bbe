"""Fixtures of the core's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import zstandard

from conftest import REPOSITORY
from llm_server import llm, llm_server

__all__ = ["llm", "llm_server"]


@pytest.fixture
def old_store(tmp_path: Path) -> Path:
    """The SQLite file of a store of the first version, with the demo's dataset and runs."""
    golden = REPOSITORY / "tests" / "golden" / "0.1.0.dev0" / "store.db.zst"
    file = tmp_path / "stb.db"
    file.write_bytes(zstandard.ZstdDecompressor().stream_reader(golden.read_bytes()).read())
    return file
