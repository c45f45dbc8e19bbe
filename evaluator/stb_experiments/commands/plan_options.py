"""Options that the experiments with runs of their own share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stb_core.values.provenance import DEFAULT_MODE, MODES, Source
from stb_experiments.benches import Plan

output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for rows, data, manifest, page and plots."
)
seed_option = click.option("--seed", default=0, show_default=True, help="Of everything that is drawn.")
_plan_options = (
    click.option("-a", "--agent", multiple=True, help="Who solves; may be given again.  [default: scripted]"),
    click.option("-m", "--model", default="", help="The model that the agent asks, as PROVIDER/MODEL."),
    click.option(
        "-d",
        "--dataset",
        default="",
        help="DATASET, or DATASET:GROUP,GROUP; else the only one, or the bundled one where there is none.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="Only the first N queries of each group."),
    click.option("--judge", default="rules", show_default=True, help="Who judges, as for stb score."),
    seed_option,
    output_option,
)
# Modes that read recordings and never the network: a run changes nothing that a later one could see.
_OFFLINE = [
    mode.value for mode, rules in MODES.items() if rules.reads and Source.REAL_API not in rules.sources
]
mode_option = click.option(
    "--mode",
    type=click.Choice(_OFFLINE),
    default=DEFAULT_MODE.value,
    show_default=True,
    help="What may answer a call.",
)


def with_plan(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that make a plan."""
    for option in reversed(_plan_options):
        function = option(function)
    return function


def plan_of(given: dict[str, Any], *default_agents: str) -> Plan:
    """Take what makes a plan out of ``given``."""
    return Plan(
        agents=tuple(dict.fromkeys(map(_agent, given.pop("agent")))) or default_agents or ("scripted",),
        **{name: given.pop(name) for name in ("model", "judge", "dataset", "limit", "seed")},
    )


def _agent(spec: str) -> str:
    """The agent as it is named from another folder: the path of a file in full."""
    path, colon, name = spec.rpartition(":")
    return f"{Path(path).resolve()}{colon}{name}" if colon and Path(path).is_file() else spec
