"""The manifest of a run, and its hash."""

from __future__ import annotations

from pathlib import Path

import pytest

from stb_core.errors import ConflictError
from stb_core.values import Manifest, lockfile

OLD = Manifest(dataset="d", dataset_hash="0", agent="cot", agent_hash="x", model="openai/m", seed=3)


def test_a_manifest_without_a_version_is_what_it_always_was() -> None:
    """Members that came later are left out, so that old runs are found again."""
    document = OLD.model_dump(mode="json")

    assert "agent_version" not in document
    assert OLD.hash == "609d04799d17725687b4a34dadb57f1676a2ee3d96de7cdcedc7e5fe724ae5fb"


def test_a_version_makes_it_another_run() -> None:
    """And stands in its document."""
    newer = OLD.model_copy(update={"agent_version": "3f2a"})

    assert newer.model_dump(mode="json")["agent_version"] == "3f2a"
    assert Manifest.model_validate(newer.model_dump(mode="json")) == newer
    assert newer.hash != OLD.hash
    assert OLD.differences(newer) == ["agent version"]


def test_a_lock_compares_versions_of_agents(tmp_path: Path) -> None:
    """Also where only one of the two has one."""
    newer = OLD.model_copy(update={"agent_version": "3f2a"})
    for locked, found in ((OLD, newer), (newer, OLD)):
        lock = lockfile.LockFile(
            version="1", dataset="d", dataset_hash="0", snapshot_hash="", manifest=locked
        )
        path = tmp_path / "lock.json"
        path.write_bytes(lock.as_json())

        lockfile.check(lockfile.read_lock(path), locked)
        with pytest.raises(ConflictError, match="agent_version is"):
            lockfile.check(lockfile.read_lock(path), found)
