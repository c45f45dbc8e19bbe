"""``stb view``: show the store in a browser."""

from __future__ import annotations

import asyncio
import http.client
import re
import webbrowser
from contextlib import suppress
from urllib.parse import quote, urlsplit

import click

from stb_core import cli
from stb_core.cli import console, stb_command
from stb_core.cli.store import opened_store
from stb_core.errors import NotFoundError
from stb_core.store import Store
from stb_server.commands.serve import check_write_token

# The server takes two seconds to import, so it is imported within the function, for this command alone.

_KEY = re.compile(r"[0-9a-f]{6,64}")


@stb_command("view")
@click.argument("what", metavar="[RUN[/GROUP/QUERY]|KEY]", default="")
@click.option(
    "--server", default="", help="Open the pages of a running server, such as http://127.0.0.1:8080."
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0: any free port.")
@click.option(
    "--write-token",
    default="",
    callback=cli.secret,
    help="Token for changes in these pages: pin, annotate, delete.",
)
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open a browser.")
def command(what: str, server: str, port: int, write_token: str, browser: bool, as_json: bool) -> None:
    """Show the cache, misses and runs of the store in a browser.

    Name a run, a query of a run, or the key of a response (a prefix is enough) to open its page.
    Without --server this command serves the pages until Ctrl-C. With --json it prints one line with
    the URL when they can be opened.
    """
    place = asyncio.run(_place(what)) if what else "/"
    if server:
        _open(f"{server.rstrip('/')}{place}", browser=browser, as_json=as_json)
        if not _answers(server):
            console.print_note(f"No server answers at {server} yet.")
        return
    check_write_token(write_token)
    _show(place, port, write_token, browser=browser, as_json=as_json)


async def _place(what: str) -> str:
    """The path of the page for the run, query or key."""
    async with opened_store() as store:
        if _KEY.fullmatch(what) and (found := await _response(store, what)):
            return found
        run, *rest = what.split("/", 2)
        named = (await store.runs.get(run)).run
        return "".join(f"/{quote(part, safe='')}" for part in ("runs", named, *rest))


async def _response(store: Store, key: str) -> str:
    from stb_server.inspector import find_keys  # noqa: PLC0415

    places = [
        f"/cache/{quote(dataset.name, safe='')}/{found}"
        for dataset in await store.datasets.all()
        for found in await find_keys(store, dataset.id, key)
    ]
    if len(places) > 1:
        raise NotFoundError(f"Several responses have keys that start with {key}.", hint="Give more digits.")
    return places[0] if places else ""


def _show(place: str, port: int, write_token: str, *, browser: bool, as_json: bool) -> None:
    import uvicorn  # noqa: PLC0415

    from stb_server.app import (  # noqa: PLC0415
        bind,
        create_inspector,
        url_of,
    )

    with bind("127.0.0.1", port) as listener:
        listener.listen()  # the browser is opened just before uvicorn would
        app = create_inspector(
            cli.current_settings().database_url,
            started=lambda: _open(f"{url_of(listener)}{place}", browser=browser, as_json=as_json),
            write_token=write_token,
        )
        config = uvicorn.Config(app, lifespan="on", ws="none", log_config=None, timeout_graceful_shutdown=5)
        console.print_note("Stop with Ctrl-C.")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
    console.print_note("Stopped.")


def _open(url: str, *, browser: bool, as_json: bool) -> None:
    if as_json:
        console.emit_json({"url": url}, indent=False)
    else:
        click.echo(url)
    if browser:
        webbrowser.open(url)


def _answers(server: str) -> bool:
    parts = urlsplit(server)
    with suppress(OSError, http.client.HTTPException):
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.netloc, timeout=3)
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    return False
