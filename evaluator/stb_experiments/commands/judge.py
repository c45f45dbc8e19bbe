"""``stb experiment judge``: how far a judge can be trusted."""

from __future__ import annotations

from pathlib import Path

import click

from stb_core.cli import current_settings, stb_command, timeout_option
from stb_core.cli.store import opened_store
from stb_core.errors import UsageError
from stb_evaluator.judges import evaluator_option, open_judges, report_failures
from stb_evaluator.scores import read_labels
from stb_experiments.judge import JudgeExperiment
from stb_experiments.output import finish_experiment

output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for rows, data, manifest, page and plot."
)


@stb_command("judge")
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option("--judge", required=True, help="PROVIDER/MODEL, 'rules', or 'recorded' (asks no model).")
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=None, help="Rounds per answer, as in stb score."
)
@click.option(
    "--against", default="", help="Run whose answers are compared with those of RUN, in both orders."
)
@click.option(
    "--sample",
    type=click.IntRange(1),
    default=60,
    help="Most answers that are altered by probes, and most pairs that are shown in both orders.",
)
@click.option("--labels", type=click.Path(path_type=Path), default=None, help="CSV or JSON of human labels.")
@click.option(
    "--max-connections", type=click.IntRange(1, 1000), default=16, help="Concurrent requests to the judge."
)
@click.option("--retry-errors", is_flag=True, help="Ask again about answers on which the judge failed.")
@timeout_option
@evaluator_option
@click.option("--seed", type=int, default=0, help="Seed of the sample.")
@output_option
async def command(
    runs: tuple[str, ...],
    judge: str,
    rounds: int | None,
    against: str,
    sample: int,
    labels: Path | None,
    max_connections: int,
    retry_errors: bool,
    model_timeout: float | None,
    evaluator: Path | None,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure a judge on the answers of RUN.

    How far its rounds agree; how often its verdict changes when an answer is padded or contains orders to
    the judge; how often the order of two answers decides which is better (an answer and its padded form,
    and with --against those of another run); whether longer answers get better grades; how it grades
    a set of undisputed answers, asked anew each time so that a change of a hosted model shows; agreement
    with labels; calls, tokens and cost of a verdict. With --judge recorded, only the measures that need
    no question.
    """
    human = read_labels(labels) if labels is not None else None
    async with (
        opened_store() as store,
        open_judges(
            judge,
            current_settings(),
            connections=max_connections,
            retry_errors=retry_errors,
            quiet=as_json,
            evaluator=evaluator,
            timeout_s=model_timeout,
        ) as judges,
    ):
        if len(judges.members) != 1:
            raise UsageError("Only one judge can be measured at a time.", hint="Name it with --judge.")
        chosen = list({run.run: run for run in [await store.runs.get(name) for name in runs]}.values())
        rival = await store.runs.get(against) if against else None
        trial = JudgeExperiment(store, judges, rounds, sample, human, rival, seed)
        result = await trial.result(chosen)
    report_failures(judge, trial.tally)
    finish_experiment(result, output, as_json=as_json)
