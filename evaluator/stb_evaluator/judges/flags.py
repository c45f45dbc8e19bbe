"""Flags that commands with judges share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

evaluator_option = click.option(
    "--evaluator",
    type=click.Path(path_type=Path),
    default=None,
    help="Evaluator folder in the official format (config.yaml, template.txt); replaces our rubric.",
)

_cost_options = (
    click.option(
        "--max-cost",
        type=click.FloatRange(min=0, min_open=True),
        help="Most cost of judging in this command, in USD; it stops before it costs more.",
    ),
    click.option(
        "--dry-run", is_flag=True, help="Print what judges would be asked and cost, and ask nothing."
    ),
)


def with_cost_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--max-cost`` and ``--dry-run`` to a command."""
    for option in reversed(_cost_options):
        command = option(command)
    return command
