"""This room's commands of ``stb``."""

from __future__ import annotations

import importlib
import importlib.util

import click


def commands(stb: click.Group) -> None:
    """Add this room's commands to ``stb``."""
    for name in ("data_commands", "cache_commands", "serve_commands", "view_commands", "experiment_commands"):
        if importlib.util.find_spec(f"stb_server.{name}"):
            importlib.import_module(f"stb_server.{name}").register(stb)
