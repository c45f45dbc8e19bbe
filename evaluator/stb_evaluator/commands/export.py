"""``stb export``: write a run to a file."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import orjson

from stb_core.cli import console, stb_command
from stb_core.cli.store import opened_store
from stb_core.errors import UsageError
from stb_core.files import write_files
from stb_core.store import Run, Store
from stb_core.values import SOPR, Status, Trajectory
from stb_evaluator.formats import (
    converted_record,
    method_of,
    offer_of,
    openai_record,
    pass_rate_record,
    pass_rate_table,
    raw_record,
)
from stb_evaluator.judges import panel_of_one
from stb_evaluator.scores import VerdictTable, load_queries, load_verdict_table
from stb_evaluator.transfer import bundle_of

_NOT_IN_NAMES = re.compile(r"[^\w.@+-]")
_HASH_DIGITS = 10

FORMATS = ("bundle", "toolbench", "openai-messages")


@stb_command("export")
@click.argument("run")
@click.option("--format", "form", default="bundle", type=click.Choice(FORMATS), help="File format.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=None,
    help="File to write, or folder for toolbench.",
)
@click.option("--judge", default="", help="Judge whose verdicts toolbench gets; by default the latest.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
async def command(run: str, form: str, output: Path | None, judge: str, force: bool, as_json: bool) -> None:
    """Write RUN to a file that other stores and tools can read.

    A bundle is one zip file with everything; stb import reads it. toolbench writes a folder with raw and
    converted answers of the first trial, and pass_rate_results if there are verdicts.
    """
    folder: Path | None = None
    async with opened_store() as store:
        found = await store.runs.get(run)
        named = file_names(one.run for one in await store.runs.all())[found.run]
        if form == "bundle":
            files = {output or Path(f"{named}.zip"): await bundle_of(store, found)}
        elif form == "openai-messages":
            trajectories = [t async for t in store.runs.trajectories(found.run)]
            offer = await offer_of(store, found, await load_queries(store, found))
            records = (openai_record(t, offer.functions(t, with_finish=True)) for t in trajectories)
            lines = b"".join(orjson.dumps(record) + b"\n" for record in records)
            files = {output or Path(f"{named}.jsonl"): lines}
        else:
            folder = output or Path(f"{named}-toolbench")
            trajectories = [t async for t in store.runs.trajectories(found.run)]
            files = await _toolbench(store, found, trajectories, folder, named, judge)
    write_files(files, force=force, folder=folder)
    rows = [{"path": str(path), "bytes": len(data)} for path, data in files.items()]
    if as_json:
        console.emit_json({"run": found.run, "format": form, "rows": rows})
    else:
        console.emit_table(rows, ("path", "bytes"))


async def _toolbench(
    store: Store, run: Run, trajectories: list[Trajectory], folder: Path, named: str, judge: str
) -> dict[Path, bytes]:
    first = [t for t in trajectories if t.trial == 0]
    method = method_of(first)
    offer = await offer_of(store, run, await load_queries(store, run))
    files = _by_query(
        first, folder / "answer" / named, method, lambda t: raw_record(t, method, offer.functions(t))
    )
    converted = _by_group(
        first,
        folder / "model_predictions_converted" / named,
        lambda t: converted_record(t, offer.functions(t), method),
    )
    files |= {path: _json(one) for path, one in converted.items()}
    judges = [one for one in await store.verdicts.judges(run.run, metric=SOPR) if judge in {"", one.judge}]
    if judges:
        table = await load_verdict_table(
            store, run, panel_of_one(judges[-1].judge, judges[-1].rubric), rounds=None
        )
        judged = folder / "pass_rate_results" / named
        records = _by_group(first, judged, lambda t: pass_rate_record(t, _rounds(t, table)), with_system=True)
        files |= {path: _json(one) for path, one in records.items()}
        files |= {path.with_suffix(".csv"): pass_rate_table(one, named) for path, one in records.items()}
    return files


def _rounds(trajectory: Trajectory, table: VerdictTable) -> list[Status | None]:
    """The verdicts on an answer, round by round; None for a missing one."""
    place = (trajectory.group, trajectory.query_id, trajectory.trial)
    marks = (table.marks.get((*place, number)) for number in range(table.n_rounds))
    return [mark.status if mark else None for mark in marks]


_Record = Callable[[Trajectory], Mapping[str, Any]]


def _by_query(
    trajectories: list[Trajectory], folder: Path, method: str, record: _Record
) -> dict[Path, bytes]:
    files: dict[Path, bytes] = {}
    groups = _grouped(trajectories)
    folders = file_names(groups)
    for group, answers in groups.items():
        # Readers of raw answers take the file name up to the first _ as the query's id.
        names = file_names(answers, without="_")
        for query_id, trajectory in answers.items():
            path = folder / folders[group] / f"{names[query_id]}_{method}.json"
            files[path] = _json(record(trajectory))
    return files


def _by_group(
    trajectories: list[Trajectory], folder: Path, record: _Record, *, with_system: bool = False
) -> dict[Path, dict[str, Mapping[str, Any]]]:
    """Records by query id for each file, ``<group>.json`` or ``<group>_<system>.json``."""
    files: dict[Path, dict[str, Mapping[str, Any]]] = {}
    groups = _grouped(trajectories)
    for group, named in file_names(groups).items():
        # Readers of these files remove the system's name from the end of the file name, once.
        system = f"_{folder.name}"
        path = folder / f"{named}{system if with_system or named.endswith(system) else ''}.json"
        files[path] = {query_id: record(t) for query_id, t in groups[group].items()}
    return files


def _grouped(trajectories: list[Trajectory]) -> dict[str, dict[str, Trajectory]]:
    groups: dict[str, dict[str, Trajectory]] = {}
    for trajectory in trajectories:
        groups.setdefault(trajectory.group, {})[trajectory.query_id] = trajectory
    return groups


def _json(value: Mapping[str, Any]) -> bytes:
    """JSON of a record. ToolBench's forms nest each call in the one before, so long answers are deep.

    Raises:
        UsageError: the nesting is too deep for any reader.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2)
    except orjson.JSONEncodeError:
        pass
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    except RecursionError:
        raise UsageError(
            "An answer has too many calls for ToolBench's form, in which each holds the next.",
            hint="Use --format bundle or openai-messages.",
        ) from None


def file_names(names: Iterable[str], *, without: str = "") -> dict[str, str]:
    """File names in one folder for foreign names, all different even where case is ignored."""
    plain = {name: file_name(name, without=without) for name in names}
    shared = Counter(map(_case_ignored, plain.values()))
    return {
        name: file if shared[_case_ignored(file)] == 1 else _with_hash(name, file)
        for name, file in plain.items()
    }


def file_name(name: str, *, without: str = "") -> str:
    """The file name for a foreign name; it cannot lead to another folder.

    A name that must be changed gets a hash after ``~``, so that no two names become the same.
    """
    file = _NOT_IN_NAMES.sub("_", name).lstrip(".") or "_"
    if without:
        file = file.replace(without, "-")
    return file if file == name else _with_hash(name, file)


def _with_hash(name: str, file: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{file}~{digest[:_HASH_DIGITS]}"


def _case_ignored(file: str) -> str:
    return unicodedata.normalize("NFC", file).casefold()
