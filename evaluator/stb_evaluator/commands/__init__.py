"""This room's commands of ``stb``."""

from __future__ import annotations

import click

from stb_evaluator.commands import (
    comparing,
    exporting,
    filtering,
    importing,
    reporting,
    retrieving,
    scoring,
    showing,
    trying,
)
from stb_evaluator.experiments import commands as experiments


def commands(stb: click.Group) -> None:
    """Add this room's commands to ``stb``."""
    comparing.register(stb)
    experiments.register(stb)
    exporting.register(stb)
    filtering.register(stb)
    importing.register(stb)
    reporting.register(stb)
    retrieving.register(stb)
    scoring.register(stb)
    showing.register(stb)
    trying.register(stb)
