"""This room's commands of ``stb``."""

from __future__ import annotations

from stb_core.cli import Commands


def commands(stb: Commands) -> None:
    """Add this room's commands to ``stb``."""
    stb.defer("stb_agents.run_command", "run")
