"""This room's commands of ``stb``."""

from __future__ import annotations

from stb_core.cli import Commands


def commands(stb: Commands) -> None:
    """Add this room's commands to ``stb``."""
    stb.defer("stb_server.backup_commands", "backup", "restore")
    stb.defer("stb_server.cache_commands", "cache")
    stb.defer("stb_server.data_commands", "data")
    stb.defer("stb_server.doctor_commands", "doctor")
    stb.defer("stb_server.experiment_commands", "experiment")
    stb.defer("stb_server.serve_commands", "serve")
    stb.defer("stb_server.view_commands", "view")
