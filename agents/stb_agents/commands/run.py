"""``stb run``: give an agent the queries of a dataset and store its trajectories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from stb_core import cli
from stb_core.cli import console, stb_command
from stb_core.values import DEFAULT_MODE, CacheMode
from stb_core.values.observations import ObservationForm

if TYPE_CHECKING:
    from stb_agents.runs import Forecast, NothingRun, RunOutcome

_SHOWN_MISSING = 10
_MANY_SILENT = 5
"""The share of trials without a call, in percent, from which a run says so."""
_FORECAST_COLUMNS = (
    "trials",
    "trials_left:left",
    "model_calls:model calls",
    "prompt_tokens:prompt tokens",
    "completion_tokens:completion tokens",
    "cost:USD",
    "based_on:estimated from",
)
_COLUMNS = (
    "group",
    "n_done:done",
    "n_total:of",
    "outcomes:ended",
    "n_calls:calls",
    "answers:answered by %",
    "n_hallucinated:unknown functions",
    "tokens",
    "cost:USD",
    "seconds",
)

_options = (
    click.option(
        "-a",
        "--agent",
        required=True,
        help="A name, path/file.py:object, pkg.mod:object, http://… or replay:RUN.",
    ),
    click.option("-m", "--model", help="The model that it asks, as PROVIDER/MODEL."),
    click.option("-d", "--dataset", required=True, help="DATASET, or DATASET:GROUP,GROUP."),
    click.option(
        "--tools",
        default="given",
        show_default=True,
        help="APIs that a query offers: given, those that it names; or retrieved:K, the K that fit its text best.",
    ),
    click.option(
        "--embedding",
        default="",
        help="PROVIDER/MODEL that retrieves APIs by meaning; without it BM25 retrieves by words.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="Only the first N queries of each group."),
    click.option("--task-ids", help="Only the queries with these ids, separated by commas."),
    click.option(
        "-k", "--trials", type=click.IntRange(min=1), default=1, show_default=True, help="Trials per query."
    ),
    click.option(
        "--max-connections",
        type=click.IntRange(1, 4096),
        default=16,
        show_default=True,
        help="Concurrent trials and model requests.",
    ),
    click.option(
        "--server", default="", help="URL of a virtual API server; without it a local or a new one is used."
    ),
    click.option("--token", default="", callback=cli.secret, help="The server's token, if it needs one."),
    click.option(
        "--mode",
        type=click.Choice([mode.value for mode in CacheMode]),
        help=f"What may answer a call.  [default: the server's mode, or {DEFAULT_MODE.value}]",
    ),
    click.option("--snapshot", default="", help="Content hash of the only responses that may answer."),
    click.option("--episodes", is_flag=True, help="Make simulated answers agree within a trial."),
    click.option(
        "--fresh",
        is_flag=True,
        help="Make a new run, even if the same command has made one; its name gets a number.",
    ),
    click.option(
        "--agent-version",
        default="",
        metavar="TEXT",
        help="Version of the agent, by any name, such as a commit; another version is another run.",
    ),
    click.option("--name", help="Name of the run, in place of the one made from its settings."),
    click.option("--seed", type=int, help="Seed sent to the model, plus the number of the trial."),
    click.option(
        "--temperature",
        type=click.FloatRange(min=0),
        help="Temperature of the model; without it the endpoint's default.",
    ),
    cli.timeout_option,
    click.option("--max-completion-tokens", type=click.IntRange(min=1), help="Most tokens of one reply."),
    click.option(
        "--max-steps",
        type=click.IntRange(min=1),
        help="Most turns of one trial, over all its tries and branches.",
    ),
    click.option("--max-model-calls", type=click.IntRange(min=1), help="Most model calls of one trial."),
    click.option("--max-tool-calls", type=click.IntRange(min=1), help="Most tool calls of one trial."),
    click.option(
        "--max-tokens", type=click.IntRange(min=1), help="Most tokens of one trial, in prompts and replies."
    ),
    click.option(
        "--max-seconds",
        type=click.FloatRange(min=0, min_open=True),
        help="Longest time of one trial, in seconds.",
    ),
    click.option(
        "--max-trial-cost",
        type=click.FloatRange(min=0, min_open=True),
        help="Most cost of one trial, in USD.",
    ),
    click.option(
        "--max-repeats",
        type=click.IntRange(min=1),
        help="End a trial when the very same call has failed this often.",
    ),
    click.option(
        "--text-calls",
        type=click.Choice(["off", "on", "auto"]),
        default="off",
        show_default=True,
        help="Read calls that the model wrote as text, where its server's tool-call parser did not; for cot and dfsdt."
        " auto asks the model once and records what it found.",
    ),
    click.option(
        "--max-cost",
        type=click.FloatRange(min=0, min_open=True),
        help="Most cost of the whole run, in USD, over all its sessions; the run stops before it costs more.",
    ),
    click.option(
        "--locked",
        type=click.Path(path_type=Path),
        help="Lock file of a run or dataset, made by stb lock; a run that differs from it is refused.",
    ),
    click.option("--fail-fast", is_flag=True, help="Stop at the first trial that fails."),
    click.option(
        "--pause",
        is_flag=True,
        help="Let all processes that do this run wait when they have done what they began.",
    ),
    click.option(
        "--drain",
        is_flag=True,
        help="Let all processes that do this run end when they have done what they began.",
    ),
    click.option("--dry-run", is_flag=True, help="Print what the run would do and cost, and do nothing."),
    click.option(
        "--max-observation",
        type=click.IntRange(min=16),
        default=1024,
        show_default=True,
        help="Most characters of a tool's answer that the agent sees.",
    ),
    click.option(
        "--observation",
        type=click.Choice(get_args(ObservationForm)),
        default="plain",
        show_default=True,
        help="Form of a tool's answer: as the server sends it, or as the client of ToolBench writes it.",
    ),
    click.option(
        "-o", "--agent-option", multiple=True, metavar="NAME=VALUE", help="An option of the agent itself."
    ),
)


def _with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_options):
        function = option(function)
    return function


@stb_command("run")
@_with_options
async def command(as_json: bool, **options: Any) -> None:
    """Give an agent the queries of a dataset and store its trajectories.

    The same command again continues the run where it stopped; with --fresh it makes a new one.
    While it runs, the same command on another terminal or machine does a part of the trials.
    Nothing is paid for twice. Exit code 1 when a trial has no result.
    """
    # Slow to import; 'stb --help' does without.
    from stb_agents.runs import request as run_request  # noqa: PLC0415
    from stb_agents.runs import run as runs  # noqa: PLC0415
    from stb_core.cli.stopping import stopped_by_sigterm  # noqa: PLC0415

    request = run_request.RunRequest(**options)
    if request.dry_run:
        show_forecast(await runs.forecast_run(cli.current_settings(), request), as_json=as_json)
        return
    if request.pause or request.drain:
        told = await runs.tell_workers(cli.current_settings(), request)
        if as_json:
            console.emit_json(asdict(told))
        else:
            word = "end" if request.drain else "wait"
            click.echo(
                f"{told.workers} processes that do {told.run} {word} when they have done what they began."
            )
        return
    with stopped_by_sigterm():
        outcome = await runs.run_agent(cli.current_settings(), request, quiet=as_json)
    show(outcome, as_json=as_json)
    if outcome.summary.missing:
        cli.exit_with(1)


def show(outcome: RunOutcome, *, as_json: bool) -> None:
    """Print what the run has done: a table, or one JSON document."""
    run, missing, reasons = outcome.run, outcome.summary.missing, outcome.summary.reasons
    rows = [tally.row(run) for tally in outcome.summary.tallies]
    if as_json:
        console.emit_json(
            {
                "run": run.run,
                "complete": not missing,
                "stopped": outcome.stopped,
                "nothing_run": outcome.nothing_run and asdict(outcome.nothing_run),
                "warnings": list(outcome.warnings),
                "missing": missing,
                "reasons": [{"reason": reason, "trials": len(trials)} for reason, trials in reasons.items()],
                "rows": rows,
            }
        )
        return
    if outcome.nothing_run:
        click.echo(_describe_nothing_run(run.run, outcome.nothing_run))
    if written := rows[-1]["trials_with_written_calls"]:
        click.echo(
            f"CALLS AS TEXT: in {written} of {run.n_expected} trials the model wrote its calls as text, which its server's"
            " tool-call parser did not read: nothing was called. Start the server with the parser of the model, or use"
            " --text-calls on or -a react."
        )
    elif (silent := rows[-1]["trials_without_calls"]) * 100 >= _MANY_SILENT * max(1, rows[-1]["n_done"]):
        click.echo(
            f"NO CALLS: in {silent} of {run.n_expected} trials no function was called and no answer given. See what the"
            f" model wrote with stb show {run.run}/QUERY, and check it with stb doctor -m {run.model}."
        )
    console.emit_table([_cells(row) for row in rows], _COLUMNS, title=run.run)
    for reason, trials in list(reasons.items())[:_SHOWN_MISSING]:
        first = "{group}/{query_id} trial {trial}".format_map(trials[0])
        more = f" and {len(trials) - 1} more" if len(trials) > 1 else ""
        console.print_note(f"no result: {first}{more}: {reason}")
    if refused := outcome.summary.tallies[-1].refused:
        counts = ", ".join(f"{name} {count}" for name, count in refused.items())
        console.print_note(
            f"Refused by the model's endpoint, and unsolved: {counts}. See stb show {run.run}/QUERY."
        )
    if late := rows[-1]["timed_out_requests"]:
        console.print_note(
            f"{late} model requests got no reply in time and were sent again; the tokens shown are a lower bound."
        )
    for line in filter(None, (outcome.stopped, *outcome.warnings)):
        console.print_note(line)
    if missing:
        console.print_note(
            f"{len(missing)} of {run.n_expected} trials have no result. The same command again repeats them."
        )
    else:
        # Rules are no judge of a model's words: they suit scripts alone.
        console.print_note(f"Next: stb score {run.run} --judge {'PROVIDER/MODEL' if run.model else 'rules'}")


def _describe_nothing_run(run: str, nothing: NothingRun) -> str:
    """The sentence that says that nothing was run, and how old the results are."""
    times = dict.fromkeys(moment[:16].replace("T", " ") for moment in (nothing.oldest, nothing.newest))
    return (
        f"Nothing to run: all {nothing.trials} results of {run} are there, from {' to '.join(times)} UTC."
        " --fresh makes a new run."
    )


def show_forecast(forecast: Forecast, *, as_json: bool) -> None:
    """Print what a run would do and cost."""
    row = forecast.row()
    if as_json:
        console.emit_json({"run": forecast.run, "dry_run": True, "rows": [row]})
        return
    cost = None if forecast.cost_usd is None else f"{forecast.cost_usd:.4f}"
    console.emit_table([{**row, "cost": cost}], _FORECAST_COLUMNS, title=forecast.run)
    if forecast.model_calls is None:
        console.print_note(
            "The cost is not known: there is no earlier run of this agent and model to estimate it from."
        )


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the JSON document, as the table shows it."""
    tokens, cost = row["prompt_tokens"] + row["completion_tokens"], row["cost_usd"]
    return {
        **row,
        "outcomes": ", ".join(f"{name} {count}" for name, count in row["stops"].items()),
        "answers": ", ".join(f"{name} {share}" for name, share in row["calls_percent"].items()),
        "tokens": tokens or None,
        "cost": None if cost is None else f"{cost:.4f}",
    }
