"""A folder that belongs to another user, and commands that run in it without the right to write everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import clean_environment

_ANOTHER_USER = 12345


def stb_in_a_foreign_folder(where: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run ``stb`` in a new folder that it can read and not write; its store is beside that folder."""
    folder = where / "foreign"
    folder.mkdir()
    folder.chmod(0o555)
    limited: list[str] = []
    if not os.getuid():
        os.chown(folder, _ANOTHER_USER, _ANOTHER_USER)
        limited = ["setpriv", "--bounding-set=-all"]  # root may write everywhere, until it has no such right
    return subprocess.run(
        [*limited, sys.executable, "-m", "stb_core.cli", *command],
        cwd=folder,
        env=clean_environment(STB_DATABASE_URL=f"sqlite:///{where}/store.db"),
        capture_output=True,
        text=True,
        check=False,
    )
