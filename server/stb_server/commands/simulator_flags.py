"""Options of commands that open a simulator; cheap to import, so that help texts are quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stb_core.cli import timeout_option

if TYPE_CHECKING:
    from stb_core.settings import Settings
    from stb_server.simulators import SimulatorOptions

F = TypeVar("F", bound=Callable[..., Any])

_FLAGS = (
    click.option("--simulator-model", default="", help="PROVIDER/MODEL of the simulator, if it needs one."),
    click.option(
        "--simulator-endpoint", multiple=True, help="URL of the model; repeat it to share the load."
    ),
    click.option(
        "--simulator-prompt",
        type=click.Path(path_type=Path),
        help="File with the system prompt, for mirrorapi.",
    ),
    click.option(
        "--simulator-variant",
        type=click.Choice(["sft", "cot"]),
        default="sft",
        show_default=True,
        help="How the model was trained, for mirrorapi.",
    ),
    click.option("--simulator-seed", type=int, default=0, show_default=True, help="Seed sent to the model."),
    click.option(
        "--simulator-examples",
        type=click.IntRange(0, 20),
        default=3,
        show_default=True,
        help="Maximum number of recorded answers in the prompt, for llm.",
    ),
    click.option(
        "--simulator-max-tokens",
        type=click.IntRange(16),
        default=2048,
        show_default=True,
        help="Maximum tokens of an answer; longer ones cannot be used.",
    ),
    click.option(
        "--simulator-connections",
        type=click.IntRange(1),
        default=64,
        show_default=True,
        help="Maximum concurrent requests to the model.",
    ),
    timeout_option,
)


def simulator_flags(command: F) -> F:
    """Add the options to a command; ``options_of`` reads their values."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def options_of(simulator: str, flags: Mapping[str, Any], settings: Settings) -> SimulatorOptions:
    """The simulator options that the values of the flags mean.

    Raises:
        UsageError: no endpoint of the model is configured.
        NotFoundError: the prompt file does not exist.
    """
    from stb_server.simulators import PATIENCE, SimulatorSampling, Variant, read_options  # noqa: PLC0415

    return read_options(
        simulator,
        settings,
        model=flags["simulator_model"],
        urls=flags["simulator_endpoint"],
        system_prompt=flags["simulator_prompt"],
        variant=Variant(flags["simulator_variant"]),
        examples=flags["simulator_examples"],
        connections=flags["simulator_connections"],
        patience=PATIENCE.with_timeout(flags["model_timeout"]),
        sampling=SimulatorSampling(seed=flags["simulator_seed"], max_tokens=flags["simulator_max_tokens"]),
    )
