"""``stb verify``: derive every number of a run again from its bundle or lock file."""

from __future__ import annotations

from pathlib import Path

import click

from stb_core import cli
from stb_core.cli import console, stb_command
from stb_core.store import find_damage, open_store
from stb_core.values.lockfile import LockFile, read_lock
from stb_evaluator.transfer import (
    Bundle,
    Finding,
    bundle_of,
    derive_numbers,
    foreign_in_store,
    foreign_verdicts,
    prove,
    read_bundle,
)


@stb_command("verify")
@click.argument("what", metavar="RUN|BUNDLE")
@click.option("--lock", type=click.Path(path_type=Path), help="Lock file that the numbers must agree with.")
async def command(what: str, lock: Path | None, as_json: bool) -> None:
    """Derive every number of a run again, from its bundle alone, in an empty store, without a network.

    The numbers of a RUN in this store are compared with the store's, those of a BUNDLE with the lock
    file. Prints "identical", or the first difference with exit code 1.
    """
    held = read_lock(lock) if lock else None
    bundle = _read(Path(what))
    if bundle is not None:
        findings, foreign = await prove(bundle, lock=held), foreign_verdicts(bundle)
    else:
        findings, foreign = await _prove_run(what, held)
    rows = [finding.row() for finding in findings]
    differing = [finding for finding in findings if finding.first_difference]
    if as_json:
        console.emit_json({"identical": not differing, "foreign": foreign, "rows": rows})
    else:
        console.emit_table(rows, ("check", "n", "first_difference:first difference"))
        for line in foreign:
            click.echo(line)
        click.echo(f"different: {differing[0].first_difference}" if differing else "identical")
        if held is None and bundle is not None:
            console.print_note("The numbers were derived but not compared: name a lock file with --lock.")
    if differing:
        cli.exit_with(1)


def _read(path: Path) -> Bundle | None:
    """The bundle at a path; None if there is no file."""
    return read_bundle(path) if path.is_file() else None


async def _prove_run(name: str, lock: LockFile | None) -> tuple[list[Finding], list[str]]:
    store = await open_store(cli.current_settings().database_url)
    try:
        damage = await find_damage(store)
        run = await store.runs.get(name)
        data, known = await bundle_of(store, run), await derive_numbers(store, run)
        foreign = await foreign_in_store(store, run)
    finally:
        await store.close()
    findings = [Finding("file of the store", 1, damage)] if store.is_sqlite else []
    return findings + await prove(read_bundle(data), lock=lock, known=known), foreign
