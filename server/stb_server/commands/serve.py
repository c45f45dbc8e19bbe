"""``stb serve``: serve recorded responses over HTTP."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import click

from stb_core import cli
from stb_core.cli import stb_command
from stb_core.errors import UsageError
from stb_core.llm import provider_address
from stb_core.settings import Settings
from stb_core.values import DEFAULT_MODE, CacheMode
from stb_core.values.provenance import Source, modes_that_ask
from stb_server.commands.simulator_flags import options_of, simulator_flags

_MIN_WRITE_TOKEN = 16

# The server takes two seconds to import, so it is imported within the function, for this command alone.


@stb_command("serve")
@click.option("--dataset", default="", help="Dataset to answer from; optional if the store has only one.")
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in CacheMode]),
    show_default=DEFAULT_MODE.value,
    help="What may answer a call; a request can override it with the header X-STB-Mode. With --simulator auto"
    f" the default is {CacheMode.AUTO.value} while there is a simulator or a real API.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any free port."
)
@click.option(
    "--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Worker processes."
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    help="Host name that requests may use: NAME, *.NAME for all subdomains, or * for any; repeatable."
    " By default a server on the loopback accepts only loopback names, any other server all names.",
)
@click.option(
    "--token",
    default="",
    callback=cli.secret,
    help="Token that clients must send; required unless --host is a loopback address.",
)
@click.option(
    "--tokens-file",
    type=click.Path(path_type=Path),
    help="File with a token for each client, with its rights, rate and quota; read again when it changes.",
)
@click.option(
    "--write-token",
    default="",
    callback=cli.secret,
    help="Token for changes in the inspector: pin, annotate, delete.",
)
@click.option("--redis-url", default="", help="Redis URL; all workers and replicas share it as a cache.")
@click.option(
    "--upstream",
    type=click.Path(path_type=Path),
    help=f"Configuration file of real APIs, for the modes {modes_that_ask(Source.REAL_API)}.",
)
@click.option(
    "--simulator",
    default="template",
    show_default=True,
    help=f"Simulator for the modes {modes_that_ask(Source.SIMULATOR)}; none for no simulator; auto for"
    " mirrorapi or llm, as the model's name says, while the host of the model exists.",
)
@simulator_flags
@click.option("--faults", default="", help="Faults to inject, such as down=0.1,latency=fixed:0.2.")
@click.option(
    "--fault-seed", type=int, default=0, show_default=True, help="Seed that selects the calls that fail."
)
@click.option(
    "--rate-limit",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Calls per second and client that one worker accepts; 0: no limit.",
)
@click.option(
    "--episode-idle",
    type=click.FloatRange(min=1),
    default=3600.0,
    show_default=True,
    help="Seconds without a call after which an episode ends.",
)
@click.option(
    "--max-open-episodes",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Open episodes per run and per client.",
)
@click.option(
    "--max-episode-calls",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Calls per episode.",
)
@click.option(
    "--proxy",
    default="",
    help="Provider to which model calls of episodes are forwarded; none by default.",
)
@click.option(
    "--memory-mb",
    type=click.IntRange(0),
    default=128,
    show_default=True,
    help="Memory of each worker for answers, in MB.",
)
@click.option(
    "--max-body-kb",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="Maximum size of a request body, in kB.",
)
def command(as_json: bool, **flags: Any) -> None:
    """Serve recorded responses over HTTP: POST /virtual, as StableToolBench's clients call it.

    With --json it prints one line with its URL when it accepts requests.
    """
    _serve(cli.current_settings(), flags, as_json=as_json)


def _serve(settings: Settings, flags: dict[str, Any], *, as_json: bool) -> None:
    from stb_server.app import bind, check, serve  # noqa: PLC0415
    from stb_server.cache import check_url  # noqa: PLC0415
    from stb_server.pipeline import parse_faults  # noqa: PLC0415
    from stb_server.simulators import AUTO  # noqa: PLC0415
    from stb_server.worker import (  # noqa: PLC0415
        MEBIBYTE,
        Hosts,
        ServerOptions,
        read_tokens_file,
    )

    has_tokens = flags["tokens_file"] and read_tokens_file(flags["tokens_file"])
    if not flags["token"] and not has_tokens and not is_loopback(flags["host"]):
        raise UsageError(
            f"Other machines can reach {flags['host']}.",
            hint="Set a token with --token, or listen on 127.0.0.1.",
        )
    check_write_token(flags["write_token"])
    if flags["redis_url"]:
        check_url(flags["redis_url"])
    if flags["proxy"]:
        provider_address(flags["proxy"], settings)
    simulator = None
    if flags["simulator"] != "none":
        simulator = options_of(flags["simulator"], flags, settings)
    options = ServerOptions(
        database_url=settings.database_url,
        dataset=flags["dataset"],
        mode=CacheMode(flags["mode"]) if flags["mode"] else DEFAULT_MODE,
        follows_sources=flags["simulator"] == AUTO and not flags["mode"],
        token=flags["token"],
        tokens_file=flags["tokens_file"],
        hosts=Hosts(flags["hosts"]) if flags["hosts"] or is_loopback(flags["host"]) else None,
        write_token=flags["write_token"],
        redis_url=flags["redis_url"],
        simulator=simulator,
        upstream=flags["upstream"],
        faults=parse_faults(flags["faults"], flags["fault_seed"]) if flags["faults"] else None,
        environment=settings.environment,
        rate_limit=flags["rate_limit"],
        episode_idle_s=flags["episode_idle"],
        max_open_episodes=flags["max_open_episodes"],
        max_episode_calls=flags["max_episode_calls"],
        proxy=flags["proxy"],
        model_timeout_s=flags["model_timeout"],
        prices=settings.values.get("prices") or {},
        memory_bytes=flags["memory_mb"] * MEBIBYTE,
        max_body_bytes=flags["max_body_kb"] * 1024,
    )
    options = check(options)
    with bind(flags["host"], flags["port"]) as listener:
        serve(options, listener, workers=flags["workers"], as_json=as_json)


def check_write_token(token: str) -> None:
    """Check that the token for changes is long enough not to be guessed.

    Raises:
        UsageError: it is too short.
    """
    if token and len(token) < _MIN_WRITE_TOKEN:
        raise UsageError(
            f"The write token has fewer than {_MIN_WRITE_TOKEN} characters.",
            hint="Make one: python -c 'import secrets; print(secrets.token_urlsafe())'.",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
