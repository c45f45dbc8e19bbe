"""``stb experiment judge``: how far a judge can be trusted."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from stb_core import cli, console
from stb_core.cli import current_settings
from stb_core.errors import UsageError
from stb_evaluator.commands.judging import evaluator_option, opened_bench, tell
from stb_evaluator.commands.stores import current_store
from stb_evaluator.judge_trials import try_judge
from stb_evaluator.labels import read_labels


def register(stb: click.Group) -> None:
    """Add the command."""
    experiment = cli.group(stb, "experiment", "Measurements beside the benchmark itself.")

    @cli.command(experiment, "judge")
    @click.argument("run")
    @click.option("--judge", required=True, help="PROVIDER/MODEL, or 'rules'.")
    @click.option("--rounds", type=click.IntRange(1, 100), default=None, help="As in stb score.")
    @click.option(
        "--sample", type=click.IntRange(1), default=60, help="How many answers are tried in other clothes."
    )
    @click.option(
        "--labels", type=click.Path(path_type=Path), default=None, help="CSV or JSON of human labels."
    )
    @click.option(
        "--max-connections", type=click.IntRange(1, 1000), default=16, help="Requests at the judge at once."
    )
    @evaluator_option
    @click.option("--seed", type=int, default=0, help="Of the sample.")
    async def judge_command(
        run: str,
        judge: str,
        rounds: int | None,
        sample: int,
        labels: Path | None,
        max_connections: int,
        evaluator: Path | None,
        seed: int,
        as_json: bool,
    ) -> None:
        """Try a judge on the answers of RUN.

        How its rounds agree; how often padding an answer, or text that gives it orders, changes its verdict;
        whether length goes with grades; a set of answers beyond dispute, asked anew each time so that a
        change of a hosted model shows; agreement with labels; calls, tokens and cost of a verdict.
        """
        human = read_labels(labels) if labels is not None else None
        async with (
            current_store() as store,
            opened_bench(
                judge, current_settings(), connections=max_connections, quiet=as_json, evaluator=evaluator
            ) as bench,
        ):
            asked = [opened.of_answers() for opened in bench.judges]
            if len(asked) != 1 or asked[0] is None:
                raise UsageError("One judge that can be asked is needed.", hint="Name it with --judge.")
            found = await store.runs.get(run)
            await bench.fill(store, found, rounds)
            with console.progress(quiet=as_json) as bar:
                task = bar.add_task(f"Trying {judge}", total=None, note="")
                rows, tally = await try_judge(
                    store,
                    found,
                    asked[0],
                    rounds=bench.rounds(rounds),
                    sample=sample,
                    connections=max_connections,
                    labels=human,
                    seed=seed,
                    advance=lambda done, total: bar.update(task, completed=done, total=total),
                )
        tell(found.run, tally)
        if as_json:
            console.emit_json({"rows": rows})
        else:
            shown = [
                {
                    **row,
                    "interval": ""
                    if row["ci_low"] is None
                    else f"[{row['ci_low']:.1f}, {row['ci_high']:.1f}]",
                }
                for row in rows
            ]
            click.echo(f"{judge} on {found.run}")
            console.emit_table(shown, ("measure", "value", "interval:95 %", "unit", "n", "note"))
        if tally.errors or tally.unavailable:
            sys.exit(1)
