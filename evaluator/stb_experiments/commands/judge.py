"""``stb experiment judge`` and ``variance``: how far a judge can be trusted, and how far a score."""

from __future__ import annotations

from pathlib import Path

import click

from stb_core.cli.program import current_settings, stb_command
from stb_core.cli.store import opened_store
from stb_core.errors import UsageError
from stb_evaluator.judges.opening import evaluator_option, open_judges, report_failures
from stb_evaluator.scores.labels import read_labels
from stb_experiments.judge import JudgeTrial
from stb_experiments.output import finish

output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for rows, data, manifest, page and plot."
)


@stb_command("judge")
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option("--judge", required=True, help="PROVIDER/MODEL, 'rules', or 'recorded' (asks nobody).")
@click.option("--rounds", type=click.IntRange(1, 100), default=None, help="As in stb score.")
@click.option(
    "--against", default="", help="Run whose answers are shown beside those of RUN, in both orders."
)
@click.option(
    "--sample",
    type=click.IntRange(1),
    default=60,
    help="How many answers are tried in other clothes, and how many pairs in both orders.",
)
@click.option("--labels", type=click.Path(path_type=Path), default=None, help="CSV or JSON of human labels.")
@click.option(
    "--max-connections", type=click.IntRange(1, 1000), default=16, help="Requests at the judge at once."
)
@evaluator_option
@click.option("--seed", type=int, default=0, help="Of the sample.")
@output_option
async def command(
    runs: tuple[str, ...],
    judge: str,
    rounds: int | None,
    against: str,
    sample: int,
    labels: Path | None,
    max_connections: int,
    evaluator: Path | None,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Try a judge on the answers of RUN.

    How its rounds agree; how often padding an answer, or text that gives it orders, changes its verdict;
    how often the other order of two answers changes which is better (an answer and its padded form, and
    with --against those of another run); whether length goes with grades; a set of answers beyond
    dispute, asked anew each time so that a change of a hosted model shows; agreement with labels; calls,
    tokens and cost of a verdict. Of recorded verdicts, what they tell by themselves.
    """
    human = read_labels(labels) if labels is not None else None
    async with (
        opened_store() as store,
        open_judges(
            judge, current_settings(), connections=max_connections, quiet=as_json, evaluator=evaluator
        ) as judges,
    ):
        if len(judges.members) != 1:
            raise UsageError("One judge is tried at a time.", hint="Name it with --judge.")
        chosen = list({run.run: run for run in [await store.runs.get(name) for name in runs]}.values())
        rival = await store.runs.get(against) if against else None
        trial = JudgeTrial(store, judges, rounds, sample, human, rival, seed)
        result = await trial.result(chosen)
    report_failures(judge, trial.tally)
    finish(result, output, as_json=as_json)
