"""``stb experiment simulator``: how close a simulator's answers are to the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from stb_core import cli
from stb_core.cli import console, stb_command
from stb_core.errors import StoreError, UsageError
from stb_core.files import write_files
from stb_server.commands.simulator_flags import options_of, simulator_flags

if TYPE_CHECKING:
    from stb_experiments.simulator_fidelity.bench import FidelityCase
    from stb_experiments.simulator_fidelity.examination import Examination


@stb_command("simulator")
@click.option(
    "--bench",
    type=click.Path(path_type=Path),
    required=True,
    help="MirrorAPI-Bench rows: a JSON Lines file, or a folder with one file per split.",
)
@click.option(
    "--simulator",
    help="Simulator that makes predictions, such as llm or mirrorapi; without it the stored ones are scored.",
)
@simulator_flags
@click.option("--limit", type=click.IntRange(1), help="Only the first rows of each split.")
@click.option("--judge", default="", help="PROVIDER/MODEL that judges whether answers adhere.")
@click.option(
    "--embedding",
    default="",
    help="PROVIDER/MODEL for the cosine; without it hashed character trigrams.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for report, cases, predictions."
)
@click.option("--seed", default=0, show_default=True, help="Seed of shuffles and resampling.")
async def command(as_json: bool, **given: Any) -> None:
    """Compare a simulator's answers with the real ones, beside two floors.

    The floors are the best constant answer and shuffled answers. Every figure has a 95 % interval.
    """
    await _run(given, as_json=as_json)


async def _run(given: dict[str, Any], *, as_json: bool) -> None:
    from stb_experiments.simulator_fidelity.bench import read_bench  # noqa: PLC0415 - slow to import, and an extra

    cases = [case for case in read_bench(given["bench"]) if case.number <= (given["limit"] or case.number)]
    output: Path | None = given["output"]
    _make_folder(output)
    found = await _examine(given, cases, quiet=as_json)
    if output is not None:
        _write(output, found)
    if as_json:
        console.emit_json(found.document)
    else:
        _show(found.document)
        if output is not None:
            console.print_note(f"Written into {output}: fidelity.json, cases.jsonl, predictions.jsonl.")


async def _examine(given: dict[str, Any], cases: list[FidelityCase], *, quiet: bool) -> Examination:
    from stb_experiments.simulator_fidelity.examination import FidelityPlan, examine  # noqa: PLC0415 - slow to import, and an extra

    settings = cli.current_settings()
    options = options_of(given["simulator"], given, settings) if given["simulator"] else None
    with console.progress(quiet=quiet) as bar:
        task = bar.add_task("asking the simulator", total=len(cases), note="")
        plan = FidelityPlan(
            bench=given["bench"],
            seed=given["seed"],
            simulator=options,
            judge=given["judge"],
            embedding=given["embedding"],
            connections=given["simulator_connections"],
            timeout_s=given["model_timeout"],
        )
        return await examine(plan, cases, settings, advance=lambda: bar.advance(task))


def _make_folder(output: Path | None) -> None:
    """Make sure that the report can be written, before anything is paid for."""
    if output is None:
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UsageError(
            f"The folder {output} cannot be created: {problem.strerror}.", hint="Name another with -o."
        ) from None


def _write(output: Path, found: Examination) -> None:
    files = {output / "fidelity.json": orjson.dumps(found.document, option=orjson.OPT_INDENT_2)}
    for name, rows in (("cases.jsonl", found.cases), ("predictions.jsonl", found.predictions)):
        files[output / name] = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    try:
        write_files(files, force=True)
    except StoreError as problem:
        raise UsageError(problem.message, hint="Name another folder with -o.") from None


def _show(document: dict[str, Any]) -> None:
    columns = (
        *("split", "metric", "value", "ci_low:low", "ci_high:high"),
        *("floor_constant:constant", "floor_shuffled:shuffled", "real", "released", "n"),
    )
    console.emit_table(document["rows"], columns)
    bleu = document["bleu"]
    console.print_note(
        f"BLEU-4 by {bleu['level']}, smoothing {bleu['smoothing']}; text form {bleu['text_form']}."
    )
    console.print_note(
        f"Cosine of {document['embedding']}. Floors: the best constant answer, shuffled answers."
    )
    for split, counts in document["outputs"].items():
        console.print_note(f"Outputs of {split}: {_counted(counts)}.")
    if simulator := document.get("simulator"):
        usage = simulator["usage"]
        tokens = f"{usage['prompt_tokens']} + {usage['completion_tokens']} tokens"
        cost = "" if usage["cost_usd"] is None else f", {usage['cost_usd']:.4f} USD"
        console.print_note(
            f"Replies of {simulator['model']}: {_counted(simulator['replies'])}; {tokens}{cost}."
        )
        calls = simulator["calls"]
        console.print_note(
            f"Answered: {simulator['answered']} of {calls} calls. A call took {simulator['seconds_per_call']:.1f} s,"
            f" {usage['model_calls'] / calls:.2f} requests and {usage['prompt_tokens'] / calls:.0f} +"
            f" {usage['completion_tokens'] / calls:.0f} tokens."
        )


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in counts.items()) or "none"
