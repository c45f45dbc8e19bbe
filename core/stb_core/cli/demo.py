"""``stb demo``: a complete evaluation, offline, on the bundled dataset.

Packages beside each other do not import each other, so each step is a separate process; the output shows
the commands in the order in which a real evaluation needs them.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from stb_core.cli import console
from stb_core.cli.demo_with_model import ModelDemo, demonstrate, show_result
from stb_core.cli.program import current_settings, stb_command, timeout_option
from stb_core.cli.subcommands import CommandRunner

DATASET = "demo"
AGENTS = ("scripted", "scripted-hasty")
_HINT_WIDTH = 40


def demo_data() -> Path:
    """The folder of the bundled dataset: in the installed package, or in the source tree."""
    package = Path(__file__).parent.parent
    bundled = package / "demo_data"
    return bundled if bundled.is_dir() else package.parent.parent / "cache_dumps" / "demo"


@stb_command("demo")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default="stb-demo")
@click.option(
    "-m", "--model", default="", help="PROVIDER/MODEL that does 6 tasks and judges them; then not offline."
)
@click.option(
    "-a",
    "--agent",
    type=click.Choice(["auto", "cot", "react"]),
    default="auto",
    show_default=True,
    help="With --model: the agent; auto takes react for a model that calls no functions.",
)
@timeout_option
async def command(folder: Path, model: str, agent: str, model_timeout: float | None, as_json: bool) -> None:
    """A complete evaluation, offline: import, serve, run two agents, score and compare.

    Needs no key, no network and no service. What it makes stays in FOLDER (stb-demo by default),
    where the other commands can read it afterwards. Run again, it gives the same numbers.

    With --model your own model does 6 of the tasks and judges them, after a check of what it can.
    """
    steps = CommandRunner(folder, current_settings().environment, echo=not as_json)
    if model:
        await steps.run("data", "import", str(demo_data().resolve()), "--name", DATASET)
        demo = ModelDemo(model, agent, model_timeout)
        result = await demonstrate(steps, demo, DATASET)
        if as_json:
            console.emit_json({"folder": str(folder), "commands": steps.typed, **result.document()})
        else:
            show_result(result, demo)
        return
    runs, rows = await _whole_job(steps)
    if as_json:
        console.emit_json({"folder": str(folder), "commands": steps.typed, "runs": runs, "rows": rows})
    else:
        _print(steps, runs, rows)


async def _whole_job(steps: CommandRunner) -> tuple[list[str], list[dict[str, Any]]]:
    """The names of the runs, and the rows of their scores and of their comparison."""
    await steps.run("data", "import", str(demo_data().resolve()), "--name", DATASET)
    runs: list[str] = []
    async with steps.serving("--dataset", DATASET, "--port", "0") as url:
        for agent in AGENTS:
            made = await steps.run("run", "-a", agent, "-d", DATASET, "--server", url)
            runs.append(made[0]["run"])
    scores = await steps.run("score", *runs, "--judge", "rules")
    pair = await steps.run("compare", *runs, "--judge", "rules")
    return runs, [*scores, *pair]


def _table(runs: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """One line a group: each agent's rate with its interval, and the paired difference."""
    lines: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["block"] != "faithful":
            continue
        line = lines.setdefault(row["group"], {"group": row["group"], "n": str(row["n_total"])})
        column = "difference" if row.get("run_b") else AGENTS[runs.index(row["run"])]
        line[column] = f"{row['value']:.1f} [{row['ci_low']:.1f}, {row['ci_high']:.1f}]"
        if row.get("p") is not None:
            line["p"] = f"{row['p']:.4f}"
    return list(lines.values())


def _print(steps: CommandRunner, runs: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    click.echo(
        "Solvable pass rate in %, with 95 % intervals. NOT COMPARABLE with published scores: the judge is\n"
        "a rule without a model, the agents are scripts, and the dataset is small and invented."
    )
    console.emit_table(_table(runs, rows), ("group", "n", *AGENTS, "difference", "p"))
    click.echo("What to try next:")
    hints = [
        (f"cd {shlex.quote(str(steps.folder))}", "everything above is in here"),
        ("stb ls", "the two runs"),
        (f"stb show {runs[0]}/105", "a trajectory, call by call, with its verdict"),
        (f"stb cache misses {DATASET}", "the calls that had no recording"),
        (f"stb serve --dataset {DATASET}", "the virtual API server, for an agent of yours"),
    ]
    if shutil.which("stb") is None:
        hints.insert(0, (f". {Path(sys.executable).with_name('activate')}", "so that your shell finds stb"))
    for line, what in hints:
        click.echo(f"  {line:<{_HINT_WIDTH}}  # {what}")
