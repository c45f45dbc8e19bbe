"""Options of the experiments that run agents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stb_core.values import DEFAULT_MODE
from stb_core.values.provenance import MODES, Source
from stb_experiments.benches import ExperimentPlan

output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for rows, data, manifest, page and plots."
)
seed_option = click.option("--seed", default=0, show_default=True, help="Seed of everything that is drawn.")
_plan_options = (
    click.option(
        "-a", "--agent", multiple=True, help="Agent; may be given several times.  [default: scripted]"
    ),
    click.option("-m", "--model", default="", help="Model that the agent asks, as PROVIDER/MODEL."),
    click.option(
        "-d",
        "--dataset",
        default="",
        help="DATASET, or DATASET:GROUP,GROUP; by default the only dataset, or the bundled one if there is none.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="Only the first N queries of each group."),
    click.option("--judge", default="rules", show_default=True, help="Judge, as in stb score."),
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
    """Add the options of a plan to a command."""
    for option in reversed(_plan_options):
        function = option(function)
    return function


def plan_of(options: dict[str, Any], *default_agents: str) -> ExperimentPlan:
    """The plan that these options name; they are taken out of ``options``."""
    return ExperimentPlan(
        agents=tuple(dict.fromkeys(map(_agent, options.pop("agent")))) or default_agents or ("scripted",),
        **{name: options.pop(name) for name in ("model", "judge", "dataset", "limit", "seed")},
    )


def _agent(spec: str) -> str:
    """The agent with the full path of its file, because it is run from another folder."""
    path, colon, name = spec.rpartition(":")
    return f"{Path(path).resolve()}{colon}{name}" if colon and Path(path).is_file() else spec
