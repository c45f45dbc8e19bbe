"""This room's commands of ``stb``."""

from __future__ import annotations

import click

from stb_server import (
    backup_commands,
    cache_commands,
    data_commands,
    doctor_commands,
    experiment_commands,
    serve_commands,
    view_commands,
)


def commands(stb: click.Group) -> None:
    """Add this room's commands to ``stb``."""
    for module in (
        data_commands,
        cache_commands,
        serve_commands,
        view_commands,
        doctor_commands,
        backup_commands,
        experiment_commands,
    ):
        module.register(stb)
