"""Flags of commands that open a simulator; cheap to import, so that ``stb --help`` stays quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from stb_core.settings import Settings
    from stb_server.simulators.options import SimulatorOptions

F = TypeVar("F", bound=Callable[..., Any])

_FLAGS = (
    click.option("--simulator-model", default="", help="PROVIDER/MODEL of the simulator, if it needs one."),
    click.option("--simulator-endpoint", multiple=True, help="Address of the model; several share the load."),
    click.option(
        "--simulator-prompt",
        type=click.Path(path_type=Path),
        help="File with the system prompt of mirrorapi.",
    ),
    click.option(
        "--simulator-variant",
        type=click.Choice(["sft", "cot"]),
        default="sft",
        show_default=True,
        help="How the model of mirrorapi was trained.",
    ),
    click.option("--simulator-seed", type=int, default=0, show_default=True, help="Asked of the model."),
    click.option(
        "--simulator-examples",
        type=click.IntRange(0, 20),
        default=3,
        show_default=True,
        help="Most recorded answers that llm is shown.",
    ),
    click.option(
        "--simulator-max-tokens",
        type=click.IntRange(16),
        default=2048,
        show_default=True,
        help="Longest answer; a longer one is cut and cannot be used.",
    ),
    click.option(
        "--simulator-connections",
        type=click.IntRange(1),
        default=64,
        show_default=True,
        help="Most requests to the model in flight.",
    ),
)


def simulator_flags(command: F) -> F:
    """Add the flags to a command; ``options_of`` reads what it is given."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def options_of(simulator: str, given: Mapping[str, Any], settings: Settings) -> SimulatorOptions:
    """The options that the flags give.

    Raises:
        UsageError: it is not known where the model is.
        NotFoundError: the file of the prompt is not there.
    """
    from stb_server.simulators.ask import SimulatorSampling  # noqa: PLC0415
    from stb_server.simulators.mirrorapi_prompt import Variant  # noqa: PLC0415 - slow to import
    from stb_server.simulators.options import read_options  # noqa: PLC0415

    return read_options(
        simulator,
        settings,
        model=given["simulator_model"],
        urls=given["simulator_endpoint"],
        system_prompt=given["simulator_prompt"],
        variant=Variant(given["simulator_variant"]),
        examples=given["simulator_examples"],
        connections=given["simulator_connections"],
        sampling=SimulatorSampling(seed=given["simulator_seed"], max_tokens=given["simulator_max_tokens"]),
    )
