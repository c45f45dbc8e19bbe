"""This room's commands of ``stb``."""

from __future__ import annotations

import click

from stb_evaluator.commands import comparing, exporting, importing, reporting, scoring, showing
from stb_evaluator.experiments import commands as experiments


def commands(stb: click.Group) -> None:
    """Add this room's commands to ``stb``."""
    comparing.register(stb)
    experiments.register(stb)
    exporting.register(stb)
    importing.register(stb)
    reporting.register(stb)
    scoring.register(stb)
    showing.register(stb)
