"""``stb experiment simulator``: how true a simulator's answers are to the real ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import orjson

from stb_core import cli, console
from stb_core.errors import UsageError
from stb_server.fidelity.bench import Case, read_bench, read_reference, released_bleu4

TEXT_FORM = "ERROR: …\\nRESPONSE: …; output that is not JSON is read by pattern to its end"


def register(stb: click.Group) -> None:
    """Add ``experiment simulator`` to ``stb``."""
    experiment = cli.group(stb, "experiment", "Measurements beside the benchmark itself.")

    @cli.command(experiment, "simulator")
    @click.option(
        "--bench",
        type=click.Path(path_type=Path),
        required=True,
        help="MirrorAPI-Bench rows: a JSON Lines file, or a folder with one a split.",
    )
    @click.option(
        "-o", "--output", type=click.Path(path_type=Path), help="Folder for the report and the cases."
    )
    @click.option("--seed", default=0, show_default=True, help="Of shuffles and resampling.")
    async def simulator_command(bench: Path, output: Path | None, seed: int, as_json: bool) -> None:
        """Score stored predictions against real answers, beside two floors.

        The floors are the best constant answer and shuffled answers. Every figure has a 95 % interval.
        """
        cases = read_bench(bench)
        _make_folder(output)
        document, scored = await examine(bench, cases, seed=seed)
        _write(output, document, scored)
        if as_json:
            console.emit_json(document)
            return
        _show(document)
        if output is not None:
            console.say(f"Written: {output / 'fidelity.json'} and {output / 'cases.jsonl'}.")


def _make_folder(output: Path | None) -> None:
    """See that there is a place for the report before anything is paid for."""
    if output is None:
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UsageError(
            f"{output} cannot be made a folder: {problem.strerror}.", hint="Name another with -o."
        ) from None


def _write(output: Path | None, document: dict[str, Any], scored: list[dict[str, Any]]) -> None:
    if output is None:
        return
    try:
        (output / "fidelity.json").write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        (output / "cases.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in scored))
    except OSError as problem:
        raise UsageError(
            f"{problem.filename} cannot be written: {problem.strerror}.", hint="Name another folder with -o."
        ) from None


async def examine(
    bench: Path, cases: Sequence[Case], *, seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The report of all splits, and the scores of each case.

    Raises:
        UsageError: a case has no prediction, or the extra ``fidelity`` is not installed.
    """
    from stb_server.fidelity.answers import Raw  # noqa: PLC0415 - the extra "fidelity"
    from stb_server.fidelity.embeddings import CharacterTrigrams  # noqa: PLC0415
    from stb_server.fidelity.measures import measure  # noqa: PLC0415
    from stb_server.fidelity.report import rows_of  # noqa: PLC0415
    from stb_server.fidelity.text_scores import SMOOTHING  # noqa: PLC0415

    missing = [case for case in cases if case.prediction is None]
    if missing:
        raise UsageError(
            f"Row {missing[0].number} of split {missing[0].split} has no prediction.",
            hint="Give rows with predictions, or name a model that is to make them.",
        )
    embedding = CharacterTrigrams()
    by_split: dict[str, list[Case]] = {}
    for case in cases:
        by_split.setdefault(case.split, []).append(case)
    measured = {}
    outputs: dict[str, dict[str, int]] = {}
    scored: list[dict[str, Any]] = []
    for split, members in by_split.items():
        predictions = [Raw(case.prediction or "") for case in members]
        measured[split] = await measure(
            predictions, [Raw(case.label) for case in members], embedding, seed=seed
        )
        outputs[split] = dict(Counter(_how_read(answer.reading) for answer in predictions).most_common())
        scored += [
            {
                "split": split,
                "row": case.number,
                "read_as": _how_read(answer.reading),
                "outcome": answer.outcome,
                **{name: _number(values[place]) for name, values in measured[split].predictions.items()},
            }
            for place, (case, answer) in enumerate(zip(members, predictions, strict=True))
        ]
    reference = read_reference(bench)
    released = {split: value for split in by_split if (value := released_bleu4(reference, split)) is not None}
    document = {
        "bench": str(bench),
        "bleu": {"level": "character", "smoothing": SMOOTHING, "text_form": TEXT_FORM},
        "embedding": embedding.name,
        "interval": "percentile bootstrap over cases, 2000 resamples, 95 %",
        "seed": seed,
        "outputs": outputs,
        "constants": {split: values.constants for split, values in measured.items()},
        "rows": rows_of(measured, seed=seed, released=released),
    }
    return document, scored


def _how_read(reading: Any) -> str:
    """``strict``, the repairs that an output took, or the fault that it has."""
    if reading.fault is not None:
        return str(reading.fault)
    return " + ".join(reading.repairs) or "strict"


def _number(value: Any) -> float | None:
    return None if value != value else float(value)  # noqa: PLR0124 - NaN: this case is not measured


def _show(document: dict[str, Any]) -> None:
    columns = (
        *("split", "metric", "value", "ci_low:low", "ci_high:high"),
        *("floor_constant:constant", "floor_shuffled:shuffled", "real", "released", "n"),
    )
    console.emit_table(document["rows"], columns)
    bleu = document["bleu"]
    console.say(f"BLEU-4 by character, smoothing {bleu['smoothing']}; text form {bleu['text_form']}.")
    console.say(f"Cosine of {document['embedding']}. Floors: the best constant answer, shuffled answers.")
    for split, counts in document["outputs"].items():
        shares = ", ".join(f"{kind} {count}" for kind, count in counts.items())
        console.say(f"Outputs of {split}: {shares}.")
