"""``stb experiment``: measure the benchmark itself."""

from __future__ import annotations

import click

command = click.Group("experiment", help="Measure the benchmark itself.")
