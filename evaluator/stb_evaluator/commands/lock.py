"""``stb lock``: write down the hashes of a run or dataset."""

from __future__ import annotations

from pathlib import Path

import click

from stb_core import cli
from stb_core.cli import console, stb_command
from stb_core.errors import NotFoundError
from stb_core.files import write_files
from stb_core.store import Store, open_store
from stb_core.values.lockfile import LockFile
from stb_evaluator.transfer import lock_dataset, lock_run


@stb_command("lock")
@click.argument("what", metavar="RUN|DATASET")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default="stb.lock.json",
    show_default=True,
    help="File to write.",
)
async def command(what: str, output: Path, as_json: bool) -> None:
    """Write a lock file: hashes of the dataset and its recordings; of a run also its settings and scores.

    stb verify --lock checks a bundle against it.
    """
    store = await open_store(cli.current_settings().database_url)
    try:
        lock = await _locked(store, what)
    finally:
        await store.close()
    write_files({output: lock.as_json()}, force=True)
    row = {
        "path": str(output),
        "run": lock.run,
        "dataset": lock.dataset,
        "dataset_hash": lock.dataset_hash,
        "snapshot_hash": lock.snapshot_hash,
        "manifest_hash": lock.manifest.hash if lock.manifest else "",
        "judges": len(lock.judges),
        "scores": len(lock.scores),
    }
    if as_json:
        console.emit_json({"rows": [row]})
    else:
        console.emit_table([row], ("path", "run", "dataset", "judges", "scores"))


async def _locked(store: Store, what: str) -> LockFile:
    for dataset in await store.datasets.all():
        if dataset.name == what:
            return lock_dataset(dataset)
    try:
        return await lock_run(store, await store.runs.get(what))
    except NotFoundError as problem:
        raise NotFoundError(
            f"{what!r} is neither a dataset nor a run: {problem.message}", hint=problem.hint
        ) from None
