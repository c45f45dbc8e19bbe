"""``stb serve``: starts the virtual API server and says where it listens."""

from __future__ import annotations

import ipaddress
from typing import Any

import click

from stb_core import cli
from stb_core.errors import UsageError
from stb_core.provenance import CacheMode
from stb_server.options import ServerOptions
from stb_server.serving import bind, choose_dataset, serve


def register(stb: click.Group) -> None:
    """Add ``serve`` to ``stb``."""

    @cli.command(stb, "serve")
    @click.option("--dataset", default="", help="Dataset to answer from; may be left out when there is one.")
    @click.option(
        "--mode",
        type=click.Choice([CacheMode.REPLAY.value]),
        default=CacheMode.REPLAY.value,
        show_default=True,
        help="What may answer a call.",
    )
    @click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
    @click.option(
        "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any free port."
    )
    @click.option(
        "--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Worker processes."
    )
    @click.option("--token", default="", help="Requests must carry it; needed beyond the loopback.")
    def serve_command(as_json: bool, **given: Any) -> None:
        """Serve recorded responses over HTTP: POST /virtual, as StableToolBench's clients call it.

        With --json, one line with the server's address is printed when it accepts requests.
        """
        if not given["token"] and not _is_loopback(given["host"]):
            raise UsageError(
                f"{given['host']} can be reached by others.",
                hint="Set a token with --token, or listen on 127.0.0.1.",
            )
        settings = cli.current_settings()
        options = ServerOptions(
            database_url=settings.database_url,
            dataset=choose_dataset(settings.database_url, given["dataset"]),
            mode=CacheMode(given["mode"]),
            token=given["token"],
        )
        with bind(given["host"], given["port"]) as listener:
            serve(options, listener, workers=given["workers"], as_json=as_json)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
