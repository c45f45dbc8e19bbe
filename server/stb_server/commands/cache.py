"""``stb cache``: inspect, keep and move recorded responses."""

from __future__ import annotations

from dataclasses import asdict

import click

from stb_core.cli import console, counted, exit_with, stb_command
from stb_core.cli.store import choose_dataset, opened_store
from stb_core.errors import UsageError
from stb_core.values import Recording
from stb_server.commands.targets import find_response
from stb_server.datasets import ReviewTally, check_responses, review_response

_KEY_DIGITS = 12

command = click.Group(
    "cache",
    help="""Inspect, keep and move recorded responses.

    DATASET may be left out if the store has only one.""",
)


@stb_command("pin")
@click.argument("key")
@click.option("--dataset", default="", help="Dataset to search; all by default.")
async def pin(key: str, dataset: str, as_json: bool) -> None:
    """Pin a response, so that nothing supersedes it until it is unpinned."""
    await _set_pin(key, dataset, pinned=True, as_json=as_json)


@stb_command("unpin")
@click.argument("key")
@click.option("--dataset", default="", help="Dataset to search; all by default.")
async def unpin(key: str, dataset: str, as_json: bool) -> None:
    """Unpin a response, so that it can be superseded again."""
    await _set_pin(key, dataset, pinned=False, as_json=as_json)


async def _set_pin(key: str, dataset: str, *, pinned: bool, as_json: bool) -> None:
    async with opened_store() as store:
        target, key = await find_response(store, key, dataset)
        await store.curation.pin(target.id, key, pinned=pinned)
    if as_json:
        console.emit_json({"rows": [{"dataset": target.name, "key": key, "pinned": pinned}]})
    else:
        click.echo(f"{'Pinned' if pinned else 'Unpinned'} {key} in {target.name}.")


@stb_command("note")
@click.argument("key")
@click.argument("text")
@click.option("--dataset", default="", help="Dataset to search; all by default.")
async def note(key: str, text: str, dataset: str, as_json: bool) -> None:
    """Set the note of a response; an empty TEXT deletes it."""
    async with opened_store() as store:
        target, key = await find_response(store, key, dataset)
        await store.curation.note(target.id, key, text)
    if as_json:
        console.emit_json({"rows": [{"dataset": target.name, "key": key, "note": text}]})
    else:
        click.echo(f"{'Saved the note of' if text else 'Deleted the note of'} {key} in {target.name}.")


@stb_command("rm")
@click.argument("key")
@click.option("--dataset", default="", help="Dataset to search; all by default.")
@click.option("--reason", default="", help="Reason; kept on record after the response is deleted.")
@click.option("--yes", is_flag=True, help="Confirm the deletion.")
async def rm(key: str, dataset: str, reason: str, yes: bool, as_json: bool) -> None:
    """Delete a response with all its versions, and remove it from the dataset's hash.

    The call and the hashes of its answers are kept on record.
    """
    async with opened_store() as store:
        target, key = await find_response(store, key, dataset)
        versions = await store.responses.versions(target.id, key)
        if not yes:
            count = f"{len(versions)} version" + ("s" if len(versions) > 1 else "")
            raise UsageError(
                f"This would delete response {key[:_KEY_DIGITS]} of {target.name} with {count}.",
                hint="Add --yes to do it.",
            )
        await store.curation.delete(target.id, key, reason, erase=True)
        after = await store.datasets.get(target.name)
    if as_json:
        row = {"dataset": target.name, "key": key, "versions": len(versions)}
        console.emit_json({"responses_hash": after.responses_hash, "rows": [row]})
    else:
        click.echo(f"Deleted {key} from {target.name}.")


@stb_command("verify")
@click.argument("dataset", default="")
async def verify(dataset: str, as_json: bool) -> None:
    """Recompute all keys, the hash and the number of responses; exits with 1 if one is wrong.

    Also reports how many answers are failures rather than data, and what the word filter of older
    servers would have dropped.
    """
    tally = ReviewTally()
    async with opened_store() as store:
        target = await choose_dataset(store, dataset)
        with counted("checking responses", target.responses_count) as advance:

            def review(response: Recording) -> None:
                tally.add(review_response(response))
                advance(1)

            problems = await check_responses(store, target, look=review)
    rows = [problem._asdict() for problem in problems]
    judged = tally.summary()
    if as_json:
        document = {"dataset": target.name, "ok": not rows, "responses": judged.n, "rows": rows}
        console.emit_json({**document, "unusable": judged.unusable, "usability": asdict(judged)})
    else:
        if rows:
            console.emit_table(rows, ("part", "name", "problem"), title=f"Problems: {len(rows)}")
        else:
            click.echo(f"{target.name}: {judged.n} responses, all correct.")
        click.echo(
            f"{judged.unusable} are failures rather than data. The word filter of older servers drops "
            f"{judged.older_dropped}, of which {judged.wrongly_dropped} are data."
        )
    if rows:
        exit_with(1)
