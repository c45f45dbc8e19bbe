"""This room's commands of ``stb``."""

from __future__ import annotations

from stb_core.cli import Commands


def commands(stb: Commands) -> None:
    """Add this room's commands to ``stb``."""
    stb.defer("stb_evaluator.commands.comparing", "compare")
    stb.defer("stb_evaluator.commands.exporting", "export")
    stb.defer("stb_evaluator.commands.filtering", "solvable")
    stb.defer("stb_evaluator.commands.importing", "import")
    stb.defer("stb_evaluator.commands.reporting", "report")
    stb.defer("stb_evaluator.commands.retrieving", "experiment")
    stb.defer("stb_evaluator.commands.scoring", "score")
    stb.defer("stb_evaluator.commands.showing", "ls", "rm", "show")
    stb.defer("stb_evaluator.commands.trying", "experiment")
    stb.defer("stb_evaluator.experiments.commands", "experiment")
    stb.defer("stb_evaluator.experiments.lock_commands", "lock", "verify")
