"""``stb lock`` and ``stb verify``: write down what a run is and found, and derive it again."""

from __future__ import annotations

from pathlib import Path

import click

from stb_core import cli, console
from stb_core.errors import NotFoundError, StoreError
from stb_core.locks import Lock, read_lock
from stb_core.store import Store, open_store
from stb_evaluator.bundles import read_bundle
from stb_evaluator.experiments.proofs import Finding, bundle_of, derive, lock_dataset, lock_run, prove


def register(stb: click.Group) -> None:
    """Add both commands."""
    _add_lock(stb)
    _add_verify(stb)


def _add_lock(stb: click.Group) -> None:
    @cli.command(stb, "lock")
    @click.argument("what", metavar="RUN|DATASET")
    @click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        default="stb.lock.json",
        show_default=True,
        help="File to write.",
    )
    async def lock_command(what: str, output: Path, as_json: bool) -> None:
        """Write a lock file: hashes of the dataset and its recordings, and all that a run is and found.

        stb verify --lock holds a bundle against it.
        """
        store = await open_store(cli.current_settings().database_url)
        try:
            lock = await _locked(store, what)
        finally:
            await store.close()
        _write(output, lock.as_json())
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


async def _locked(store: Store, what: str) -> Lock:
    for dataset in await store.datasets.all():
        if dataset.name == what:
            return lock_dataset(dataset)
    try:
        return await lock_run(store, await store.runs.get(what))
    except NotFoundError as problem:
        raise NotFoundError(
            f"{what!r} is no dataset and no run: {problem.message}", hint=problem.hint
        ) from None


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as problem:
        raise StoreError(
            f"{path} cannot be written ({problem.strerror}).", hint="Name another place with -o."
        ) from None


def _add_verify(stb: click.Group) -> None:
    @cli.command(stb, "verify")
    @click.argument("what", metavar="RUN|BUNDLE")
    @click.option(
        "--lock", type=click.Path(path_type=Path), help="Lock file that the numbers must agree with."
    )
    async def verify_command(what: str, lock: Path | None, as_json: bool) -> None:
        """Derive every number of a run again, from its bundle alone, in an empty store, without a network.

        Of a RUN of this store the numbers are held against the store's; of a BUNDLE against the lock
        file. Says "identical", or the first difference with exit code 1.
        """
        held = read_lock(lock) if lock else None
        data = _read(Path(what))
        if data:
            findings = await prove(data, bundle=read_bundle(Path(what)), lock=held)
        else:
            findings = await _prove_run(what, held)
        rows = [finding.row() for finding in findings]
        differing = [finding for finding in findings if finding.first_difference]
        if as_json:
            console.emit_json({"identical": not differing, "rows": rows})
        else:
            console.emit_table(rows, ("check", "n", "first_difference:first difference"))
            click.echo(f"different: {differing[0].first_difference}" if differing else "identical")
            if held is None and data:
                console.say("The numbers were derived but held against nothing: give the lock with --lock.")
        if differing:
            cli.exit_with(1)


def _read(path: Path) -> bytes:
    """The bytes of a file; none where there is no file."""
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError as problem:
        raise StoreError(f"{path} cannot be read ({problem.strerror}).", hint="Check it.") from None


async def _prove_run(name: str, lock: Lock | None) -> list[Finding]:
    store = await open_store(cli.current_settings().database_url)
    try:
        run = await store.runs.get(name)
        data, known = await bundle_of(store, run), await derive(store, run)
    finally:
        await store.close()
    return await prove(data, lock=lock, known=known)
