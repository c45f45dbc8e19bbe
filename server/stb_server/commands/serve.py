"""``stb serve``: serve recorded responses over HTTP."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import click

from stb_core import cli
from stb_core.cli.program import stb_command
from stb_core.errors import UsageError
from stb_core.llm.providers import provider_address
from stb_core.settings import Settings
from stb_core.values.provenance import DEFAULT_MODE, CacheMode, Source, modes_that_ask
from stb_server.commands.simulator_flags import options_of, simulator_flags

_MIN_WRITE_TOKEN = 16

# What runs a server takes two seconds to import, which other commands shall not pay: it is imported
# within the function.


@stb_command("serve")
@click.option("--dataset", default="", help="Dataset to answer from; may be left out when there is one.")
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in CacheMode]),
    default=DEFAULT_MODE.value,
    show_default=True,
    help="What may answer a call; a request may name another by its header X-STB-Mode.",
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
    help="Host name that requests may give, *.NAME for all below it, * for any; may be repeated."
    " Without it a server on the loopback answers to the names of the loopback alone, any other to all.",
)
@click.option(
    "--token", default="", callback=cli.secret, help="Requests must carry it; needed beyond the loopback."
)
@click.option(
    "--write-token",
    default="",
    callback=cli.secret,
    help="With it one can pin, annotate and delete in the inspector.",
)
@click.option("--redis-url", default="", help="Redis that all workers and replicas share as a cache.")
@click.option(
    "--upstream",
    type=click.Path(path_type=Path),
    help=f"File that says what real APIs there are ({modes_that_ask(Source.REAL_API)}).",
)
@click.option(
    "--simulator",
    default="template",
    show_default=True,
    help=f"What stands in for real APIs ({modes_that_ask(Source.SIMULATOR)}), or none.",
)
@simulator_flags
@click.option("--faults", default="", help="Faults to inject, such as down=0.1,latency=fixed:0.2.")
@click.option("--fault-seed", type=int, default=0, show_default=True, help="Which calls they hit.")
@click.option(
    "--rate-limit",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Calls a second that one client may make of one worker; 0: any number.",
)
@click.option(
    "--episode-idle",
    type=click.FloatRange(min=1),
    default=3600.0,
    show_default=True,
    help="Seconds after which an episode that nobody goes on with counts as given up.",
)
@click.option(
    "--max-open-episodes",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Episodes of one run, and of one client, at a time.",
)
@click.option(
    "--max-episode-calls",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Calls in one episode.",
)
@click.option(
    "--proxy",
    default="",
    help="Provider to which episodes' model calls are handed on; none unless given.",
)
@click.option(
    "--memory-mb",
    type=click.IntRange(0),
    default=128,
    show_default=True,
    help="Answers that one worker keeps in memory.",
)
@click.option(
    "--max-body-kb",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="Largest request that is read.",
)
def command(as_json: bool, **given: Any) -> None:
    """Serve recorded responses over HTTP: POST /virtual, as StableToolBench's clients call it.

    With --json, one line with the server's address is printed when it accepts requests.
    """
    _serve(cli.current_settings(), given, as_json=as_json)


def _serve(settings: Settings, given: dict[str, Any], *, as_json: bool) -> None:
    from stb_server.app.process import bind, check, serve  # noqa: PLC0415
    from stb_server.cache.redis_connection import check_url  # noqa: PLC0415
    from stb_server.pipeline.fault_plan import parse_faults  # noqa: PLC0415
    from stb_server.worker.host_names import Hosts  # noqa: PLC0415
    from stb_server.worker.options import MEBIBYTE, ServerOptions  # noqa: PLC0415

    if not given["token"] and not is_loopback(given["host"]):
        raise UsageError(
            f"{given['host']} can be reached by others.",
            hint="Set a token with --token, or listen on 127.0.0.1.",
        )
    check_write_token(given["write_token"])
    if given["redis_url"]:
        check_url(given["redis_url"])
    if given["proxy"]:
        provider_address(given["proxy"], settings)
    simulator = None
    if given["simulator"] != "none":
        simulator = options_of(given["simulator"], given, settings)
    options = ServerOptions(
        database_url=settings.database_url,
        dataset=given["dataset"],
        mode=CacheMode(given["mode"]),
        token=given["token"],
        hosts=Hosts(given["hosts"]) if given["hosts"] or is_loopback(given["host"]) else None,
        write_token=given["write_token"],
        redis_url=given["redis_url"],
        simulator=simulator,
        upstream=given["upstream"],
        faults=parse_faults(given["faults"], given["fault_seed"]) if given["faults"] else None,
        environment=settings.environment,
        rate_limit=given["rate_limit"],
        episode_idle_s=given["episode_idle"],
        max_open_episodes=given["max_open_episodes"],
        max_episode_calls=given["max_episode_calls"],
        proxy=given["proxy"],
        prices=settings.values.get("prices") or {},
        memory_bytes=given["memory_mb"] * MEBIBYTE,
        max_body_bytes=given["max_body_kb"] * 1024,
    )
    options = check(options)
    with bind(given["host"], given["port"]) as listener:
        serve(options, listener, workers=given["workers"], as_json=as_json)


def check_write_token(token: str) -> None:
    """See that a token that lets people change responses cannot be guessed.

    Raises:
        UsageError: it is too short.
    """
    if token and len(token) < _MIN_WRITE_TOKEN:
        raise UsageError(
            f"The write token has fewer than {_MIN_WRITE_TOKEN} characters.",
            hint="Make one: python -c 'import secrets; print(secrets.token_urlsafe())'.",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
