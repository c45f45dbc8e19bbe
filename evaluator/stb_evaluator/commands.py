"""This room's commands of ``stb``."""

from __future__ import annotations

import click


def commands(stb: click.Group) -> None:
    """Add this room's commands to ``stb``."""
