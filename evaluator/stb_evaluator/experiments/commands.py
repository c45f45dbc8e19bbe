"""``stb experiment``: reproduce, order, cache and failures."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stb_core import cli, console
from stb_core.errors import UsageError
from stb_core.provenance import CacheMode
from stb_evaluator.experiments.benches import Plan, opened_workshop
from stb_evaluator.experiments.cache import cache
from stb_evaluator.experiments.failures import ARMS as FAILURE_ARMS
from stb_evaluator.experiments.failures import failures
from stb_evaluator.experiments.order import ARMS, order
from stb_evaluator.experiments.output import finish
from stb_evaluator.experiments.reproduce import reproduce

_output = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for rows, data, manifest, page and plots."
)
_seed = click.option("--seed", default=0, show_default=True, help="Of everything that is drawn.")
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
    _seed,
    _output,
)
# Modes in which a run changes nothing that a later one could see.
_modes = click.option(
    "--mode",
    type=click.Choice([CacheMode.REPLAY.value, CacheMode.SIMULATE.value]),
    default=CacheMode.REPLAY.value,
    show_default=True,
    help="What may answer a call.",
)


def register(stb: click.Group) -> None:
    """Add the experiments to ``stb``."""
    experiment = cli.group(stb, "experiment", "Measurements beside the benchmark itself.")
    _add_reproduce(experiment)
    _add_order(experiment)
    _add_cache(experiment)
    _add_failures(experiment)


def _with_plan(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_plan_options):
        function = option(function)
    return function


def _plan(given: dict[str, Any], *default_agents: str) -> Plan:
    """Takes what makes a plan out of ``given``."""
    return Plan(
        agents=tuple(dict.fromkeys(map(_agent, given.pop("agent")))) or default_agents or ("scripted",),
        **{name: given.pop(name) for name in ("model", "judge", "dataset", "limit", "seed")},
    )


def _agent(spec: str) -> str:
    """The agent as it is named from another folder: the path of a file in full."""
    path, colon, name = spec.rpartition(":")
    return f"{Path(path).resolve()}{colon}{name}" if colon and Path(path).is_file() else spec


def _add_reproduce(experiment: click.Group) -> None:
    @cli.command(experiment, "reproduce")
    @click.option("-k", type=click.IntRange(2, 1000), default=5, show_default=True, help="Repetitions.")
    @click.option(
        "--postgres-url", default="", help="A PostgreSQL server on which every other repetition is stored."
    )
    @click.option(
        "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Repetitions at a time."
    )
    @_modes
    @_with_plan
    async def reproduce_command(as_json: bool, output: Path | None, **given: Any) -> None:
        """The same run K times, and every byte compared.

        Each repetition has new processes and a new store, another hash seed, time zone and locale.
        Compares manifests, trajectories without measurements of time, calls, verdicts and scores, and
        says what differed first and whose fault it was. Exit code 1 when anything differs.
        """
        async with opened_workshop(cli.current_settings(), _plan(given)) as workshop:
            with console.progress(quiet=as_json) as bar:
                task = bar.add_task("repeating", total=given["k"], note="")
                result = await reproduce(workshop, **given, advance=lambda: bar.advance(task))
        finish(result, output, as_json=as_json)


def _add_order(experiment: click.Group) -> None:
    @cli.command(experiment, "order")
    @_modes
    @_with_plan
    async def order_command(as_json: bool, output: Path | None, mode: str, **given: Any) -> None:
        """Whether order, concurrency and company change a score.

        Runs the systems one query at a time, 16 at a time, with the queries in another order, in another
        order of the systems, and interleaved on one server. Exit code 1 when anything differs.
        """
        plan = _plan(given, "scripted", "scripted-hasty")
        async with opened_workshop(cli.current_settings(), plan) as workshop:
            with console.progress(quiet=as_json) as bar:
                task = bar.add_task("running", total=len(ARMS), note="")
                result = await order(workshop, mode=mode, advance=lambda: bar.advance(task))
        finish(result, output, as_json=as_json)


def _add_cache(experiment: click.Group) -> None:
    @cli.command(experiment, "cache")
    @click.option(
        "--release",
        type=click.Path(path_type=Path, resolve_path=True),
        required=True,
        help="Folder in the official layout, with tool_response_cache/.",
    )
    @click.option(
        "--calls", type=click.Path(path_type=Path), required=True, help="Calls to replay, JSON Lines."
    )
    @click.option("--limit", type=click.IntRange(min=1), help="Only the first N calls of each system.")
    @click.option("--near", type=click.IntRange(min=1), help="Change only N recordings, drawn by --seed.")
    @_seed
    @_output
    async def cache_command(as_json: bool, output: Path | None, **given: Any) -> None:
        """How often calls find a recording, by the official key and by ours, and whether it is theirs.

        Replays the calls on a server that has the recordings of a release, then sends calls that nearly
        are recorded ones: other types, values, names, white space, letters that look alike. Exit code 1
        when one of them gets a recording, or another spelling of a recorded call does not.
        """
        settings = cli.current_settings()
        with (
            tempfile.TemporaryDirectory(prefix="stb-experiment-") as scratch,
            console.progress(quiet=as_json) as bar,
        ):
            task = bar.add_task("calling", total=None, note="")
            result = await cache(
                given.pop("release"),
                given.pop("calls"),
                Path(scratch),
                dict(settings.environment),
                **given,
                advance=lambda n: bar.advance(task, n),
            )
        finish(result, output, as_json=as_json)


def _add_failures(experiment: click.Group) -> None:
    @cli.command(experiment, "failures")
    @click.option(
        "--down",
        default="0,10,20,50,100",
        show_default=True,
        help="Percent of APIs that are down, with commas between; the first is what the others are compared with.",
    )
    @click.option(
        "--known",
        type=click.FloatRange(0, 100),
        default=50.0,
        show_default=True,
        help="Percent of the recordings that a cache with a part of them begins with.",
    )
    @_with_plan
    async def failures_command(
        as_json: bool, output: Path | None, down: str, known: float, **given: Any
    ) -> None:
        """Scores while more and more of the real APIs are down.

        The same agents against the APIs themselves, with a cache, with a cache and a simulator, and with
        a cache that has but a part of the recordings. Exit code 1 when the score of an agent moves whose
        calls are in the cache, or the answer of a recorded call changes.
        """
        levels = _shares(down)
        async with opened_workshop(cli.current_settings(), _plan(given)) as workshop:
            with console.progress(quiet=as_json) as bar:
                task = bar.add_task("running", total=len(FAILURE_ARMS) * len(levels), note="")
                result = await failures(
                    workshop, levels=levels, known=known / 100, advance=lambda: bar.advance(task)
                )
        finish(result, output, as_json=as_json)


def _shares(text: str) -> tuple[float, ...]:
    """``"0,50"`` → (0.0, 0.5)."""
    try:
        shares = tuple(dict.fromkeys(float(part) / 100 for part in text.split(",")))
    except ValueError:
        shares = ()
    if not shares or not all(0 <= share <= 1 for share in shares):
        raise UsageError(f"{text!r} are no percentages.", hint="Write such as: --down 0,10,50.")
    return shares
