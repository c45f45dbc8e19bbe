"""``stb export``: a run as a bundle, or in the forms of others."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import orjson

from stb_core import console
from stb_core.cli import command
from stb_core.errors import ConflictError, StoreError, UsageError
from stb_core.store import Store
from stb_core.store.runs import Run
from stb_core.trajectories import Trajectory
from stb_evaluator.bundles import write_bundle
from stb_evaluator.commands.stores import current_store
from stb_evaluator.exports import converted_record, openai_record, pass_rate_record
from stb_evaluator.juries import jury_of
from stb_evaluator.loading import dataset_queries, load_sheet
from stb_evaluator.offered import offer_of
from stb_evaluator.raw_exports import method_of, raw_record
from stb_evaluator.scores import METRIC

_NOT_IN_NAMES = re.compile(r"[^\w.@+-]")

FORMATS = ("bundle", "toolbench", "openai-messages")


def register(stb: click.Group) -> None:
    """Add the command."""

    @command(stb, "export")
    @click.argument("run")
    @click.option("--format", "form", default="bundle", type=click.Choice(FORMATS), help="What to write.")
    @click.option(
        "-o", "--output", type=click.Path(path_type=Path), default=None, help="File, or folder for toolbench."
    )
    @click.option(
        "--judge", default="", help="Whose verdicts go into the toolbench form; the last by default."
    )
    @click.option("--force", is_flag=True, help="Overwrite what is there.")
    async def export(
        run: str, form: str, output: Path | None, judge: str, force: bool, as_json: bool
    ) -> None:
        """Write RUN to a file that others, or another store, can read.

        A bundle is one zip file with everything, which stb import reads. toolbench writes a folder
        with raw and converted answers of the first trial, and pass_rate_results where there are verdicts.
        """
        async with current_store() as store:
            found = await store.runs.get(run)
            trajectories = [t async for t in store.runs.trajectories(found.run)]
            if form == "bundle":
                files = {
                    output or Path(f"{file_name(found.run)}.zip"): await _bundle(store, found, trajectories)
                }
            elif form == "openai-messages":
                offer = await offer_of(store, found)
                records = (openai_record(t, offer.functions(t, with_finish=True)) for t in trajectories)
                lines = b"".join(orjson.dumps(record) + b"\n" for record in records)
                files = {output or Path(f"{file_name(found.run)}.jsonl"): lines}
            else:
                folder = output or Path(f"{file_name(found.run)}-toolbench")
                files = await _toolbench(store, found, trajectories, folder, judge)
        for path, data in files.items():
            write_file(path, data, force=force)
        rows = [{"path": str(path), "bytes": len(data)} for path, data in files.items()]
        if as_json:
            console.emit_json({"run": found.run, "format": form, "rows": rows})
        else:
            console.emit_table(rows, ("path", "bytes"))


async def _bundle(store: Store, run: Run, trajectories: list[Trajectory]) -> bytes:
    queries = await dataset_queries(store, run)
    asked = [
        queries[group, query_id]
        for group, ids in run.expected.items()
        for query_id in ids
        if (group, query_id) in queries
    ]
    return write_bundle(run, asked, trajectories, await store.verdicts.of_run(run.run, metric=""))


async def _toolbench(
    store: Store, run: Run, trajectories: list[Trajectory], folder: Path, judge: str
) -> dict[Path, bytes]:
    first = [t for t in trajectories if t.trial == 0]
    method, offer = method_of(first), await offer_of(store, run)
    answers = folder / "answer" / file_name(run.run)
    files = {
        answers / file_name(t.group) / f"{file_name(t.query_id)}_{method}.json": _json(
            raw_record(t, method, offer.functions(t))
        )
        for t in first
    }
    files |= _by_group(
        first,
        folder / "model_predictions_converted" / file_name(run.run),
        lambda t: converted_record(t, offer.functions(t)),
    )
    judges = [one for one in await store.verdicts.judges(run.run, metric=METRIC) if judge in {"", one.judge}]
    if judges:
        sheet = await load_sheet(store, run, jury_of(judges[-1].judge, judges[-1].rubric), rounds=None)
        place = folder / "pass_rate_results" / file_name(run.run)
        files.update(_by_group(first, place, lambda t: pass_rate_record(t, sheet)))
    return files


def _by_group(
    trajectories: list[Trajectory], folder: Path, record: Callable[[Trajectory], Mapping[str, Any]]
) -> dict[Path, bytes]:
    groups: dict[str, dict[str, Any]] = {}
    for trajectory in trajectories:
        groups.setdefault(trajectory.group, {})[trajectory.query_id] = record(trajectory)
    return {folder / f"{file_name(name)}.json": _json(records) for name, records in groups.items()}


def _json(value: Mapping[str, Any]) -> bytes:
    """ToolBench's forms hold each call inside the one before it: long answers are deep.

    Raises:
        UsageError: too deep for any reader.
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


def file_name(name: str) -> str:
    """A name from outside as the name of a file: nothing in it leads to another folder."""
    return _NOT_IN_NAMES.sub("_", name).lstrip(".") or "_"


def write_file(path: Path, data: bytes, *, force: bool) -> None:
    """Write a file whole or not at all.

    Raises:
        ConflictError: something else is there, and ``force`` was not given.
        StoreError: it cannot be written.
    """
    try:
        if path.exists() and not force:
            if path.is_file() and path.read_bytes() == data:
                return
            raise ConflictError(f"{path} is there already.", hint="Name another with -o, or add --force.")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as problem:
        raise StoreError(
            f"{path} cannot be written ({problem.strerror}).", hint="Name another place with -o."
        ) from None
