"""``stb cache``: look into recorded responses, keep them, move them."""

from __future__ import annotations

from dataclasses import asdict

import click

from stb_core.cli import console
from stb_core.cli.console import counted
from stb_core.cli.program import exit_with, stb_command
from stb_core.cli.store import choose_dataset, opened_store
from stb_core.errors import UsageError
from stb_core.values.recordings import Recording
from stb_server.commands.targets import chosen_response
from stb_server.datasets.integrity import check_responses
from stb_server.datasets.verification import ReviewTally, review_response

_KEY_DIGITS = 12

command = click.Group(
    "cache",
    help="""Recorded responses: look into them, keep them, move them.

    DATASET may be left out where the store has only one.""",
)


@stb_command("pin")
@click.argument("key")
@click.option("--dataset", default="", help="Where to look; everywhere by default.")
async def pin(key: str, dataset: str, as_json: bool) -> None:
    """Pin a response: nothing supersedes it until it is unpinned."""
    await _set_pin(key, dataset, pinned=True, as_json=as_json)


@stb_command("unpin")
@click.argument("key")
@click.option("--dataset", default="", help="Where to look; everywhere by default.")
async def unpin(key: str, dataset: str, as_json: bool) -> None:
    """Let a pinned response be superseded again."""
    await _set_pin(key, dataset, pinned=False, as_json=as_json)


async def _set_pin(key: str, dataset: str, *, pinned: bool, as_json: bool) -> None:
    async with opened_store() as store:
        there, key = await chosen_response(store, key, dataset)
        await store.curation.pin(there.id, key, pinned=pinned)
    if as_json:
        console.emit_json({"rows": [{"dataset": there.name, "key": key, "pinned": pinned}]})
    else:
        click.echo(f"{'Pinned' if pinned else 'Unpinned'} {key} in {there.name}.")


@stb_command("note")
@click.argument("key")
@click.argument("text")
@click.option("--dataset", default="", help="Where to look; everywhere by default.")
async def note(key: str, text: str, dataset: str, as_json: bool) -> None:
    """Set the note that stands beside a response; empty TEXT takes it away."""
    async with opened_store() as store:
        there, key = await chosen_response(store, key, dataset)
        await store.curation.note(there.id, key, text)
    if as_json:
        console.emit_json({"rows": [{"dataset": there.name, "key": key, "note": text}]})
    else:
        click.echo(f"{'Noted on' if text else 'Took the note from'} {key} in {there.name}.")


@stb_command("rm")
@click.argument("key")
@click.option("--dataset", default="", help="Where to look; everywhere by default.")
@click.option("--reason", default="", help="Why; stays on record when the response is gone.")
@click.option("--yes", is_flag=True, help="Really delete it.")
async def rm(key: str, dataset: str, reason: str, yes: bool, as_json: bool) -> None:
    """Delete a response with all its versions, and take it out of the dataset's hash.

    The call and the hashes of its answers stay on record.
    """
    async with opened_store() as store:
        there, key = await chosen_response(store, key, dataset)
        versions = await store.responses.versions(there.id, key)
        if not yes:
            count = f"{len(versions)} version" + ("s" if len(versions) > 1 else "")
            raise UsageError(
                f"This would delete response {key[:_KEY_DIGITS]} of {there.name} with {count}.",
                hint="Add --yes to do it.",
            )
        await store.curation.delete(there.id, key, reason, erase=True)
        after = await store.datasets.get(there.name)
    if as_json:
        row = {"dataset": there.name, "key": key, "versions": len(versions)}
        console.emit_json({"responses_hash": after.responses_hash, "rows": [row]})
    else:
        click.echo(f"Deleted {key} from {there.name}.")


@stb_command("verify")
@click.argument("dataset", default="")
async def verify(dataset: str, as_json: bool) -> None:
    """Recompute the key of every response, and the hash and number of all; exit code 1 if one is wrong.

    Also says how many answers are failures rather than data, and what the word filter of older
    servers would have thrown away.
    """
    tally = ReviewTally()
    async with opened_store() as store:
        there = await choose_dataset(store, dataset)
        with counted("checking responses", there.responses_count) as advance:

            def look(response: Recording) -> None:
                tally.add(review_response(response))
                advance(1)

            problems = await check_responses(store, there, look=look)
    rows = [problem._asdict() for problem in problems]
    judged = tally.summary()
    if as_json:
        document = {"dataset": there.name, "ok": not rows, "responses": judged.n, "rows": rows}
        console.emit_json({**document, "unusable": judged.unusable, "usability": asdict(judged)})
    else:
        if rows:
            console.emit_table(rows, ("part", "name", "problem"), title=f"Problems: {len(rows)}")
        else:
            click.echo(f"{there.name}: {judged.n} responses, all whole.")
        click.echo(
            f"{judged.unusable} are failures rather than data. The word filter of older servers drops "
            f"{judged.older_dropped}, of which {judged.wrongly_dropped} are data."
        )
    if rows:
        exit_with(1)
