"""``stb doctor``: check what works here, and say how to fix the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stb_core import cli
from stb_core.cli import console, stb_command
from stb_core.settings import Settings

if TYPE_CHECKING:
    from stb_server.commands.doctor_checks.check_result import CheckResult

_RECORDED_JUDGES = ("recorded", "rules")


@stb_command("doctor")
@click.option("-m", "--model", default="", help="PROVIDER/MODEL of an agent; it is asked for one token.")
@click.option("--judge", default="", help="PROVIDER/MODEL of a judge; also asked.")
@click.option("--simulator-model", default="", help="PROVIDER/MODEL of the simulator; also asked.")
@click.option("--simulator-endpoint", multiple=True, help="URL of the simulator's model; repeatable.")
@click.option(
    "--model-if-there",
    multiple=True,
    help="PROVIDER/MODEL of a simulator or judge, asked where the host of its provider exists; repeatable.",
)
@click.option("--server", default="", help="URL of a running server, such as http://127.0.0.1:8080.")
@click.option("--dataset", default="", help="Dataset for stb serve.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address that stb serve would listen on."
)
@click.option(
    "--port", type=int, default=8080, show_default=True, help="Port that stb serve would listen on."
)
@click.option("--token", default="", callback=cli.secret, help="Token that clients must send.")
@click.option("--tokens-file", type=click.Path(path_type=Path), help="File with a token for each client.")
@click.option("--write-token", default="", help="Token for changes in the inspector.")
@click.option("--redis-url", default="", help="Redis URL for its workers.")
@click.option("--upstream", type=click.Path(path_type=Path), help="Configuration file of real APIs.")
@click.option(
    "--min-free-mb",
    type=click.IntRange(0),
    default=1024,
    show_default=True,
    help="Minimum free disk space in MB.",
)
@click.option(
    "--model-timeout",
    "--timeout",
    type=click.FloatRange(min=1),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="Longest time for one reply of a model.",
)
async def command(as_json: bool, **flags: Any) -> None:
    """Check the installation, store, Redis, disk, clock, models, and what is exposed to others.

    It reads the same settings as the other commands, so run it where they run. It creates and
    changes nothing. Each model you name gets one request for one token, one for structured
    output and one with a function to call. Exits with 1 if a check fails; warnings do not count.
    """
    settings = cli.current_settings()
    results = await _examine(settings, {**flags, **_of_serve(settings, flags)})
    rows = [asdict(finding) for finding in results]
    failed = [row for row in rows if row["status"] == "failure"]
    if as_json:
        console.emit_json({"ok": not failed, "rows": rows})
    else:
        console.emit_table(rows, ("status", "check", "found"))
        for row in rows:
            if row["problem"]:
                click.echo(f"{row['status']}: {row['problem']}. {row['remedy']}")
    cli.exit_with(1 if failed else 0)


def _of_serve(settings: Settings, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Options from the table ``[serve]`` of a configuration file, for those that no flag sets."""
    table = settings.values.get("serve")
    context = click.get_current_context()
    if not isinstance(table, Mapping):
        return {}
    return {
        name: type(flags[name])(value) if flags[name] is not None else Path(str(value))
        for name, value in ((key.replace("-", "_"), value) for key, value in table.items())
        if name in flags and context.get_parameter_source(name) is click.core.ParameterSource.DEFAULT
    }


async def _examine(settings: Settings, flags: dict[str, Any]) -> list[CheckResult]:
    # Imported here because servers and models take a second to import.
    from stb_server.commands.doctor_checks import exposure, installation, models, services, storage  # noqa: PLC0415

    named = models.NamedModels(
        agents=(flags["model"],),
        judges=tuple(judge for judge in flags["judge"].split(",") if judge not in _RECORDED_JUDGES),
        simulator=flags["simulator_model"],
        urls=tuple(flags["simulator_endpoint"]),
        if_there=tuple(flags["model_if_there"]),
    )
    exposed = exposure.Exposure(
        flags["host"],
        flags["port"],
        flags["token"],
        flags["write_token"],
        flags["upstream"],
        settings.environment,
        flags["server"],
        flags["tokens_file"],
    )
    storage_settings = storage.StorageSettings(settings.database_url, flags["dataset"], flags["min_free_mb"])
    return [
        *installation.check_installation(),
        *await storage.check_store(storage_settings),
        *await services.check_redis(flags["redis_url"]),
        *await services.check_server(flags["server"], flags["token"]),
        *await models.check_models(settings, named, flags["model_timeout"]),
        *exposure.check_exposure(exposed, Path(".env")),
    ]
