"""This room's commands of ``stb``."""

from __future__ import annotations

import click

from stb_agents import run_command


def commands(stb: click.Group) -> None:
    """Add this room's commands to ``stb``."""
    run_command.register(stb)
