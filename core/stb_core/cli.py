"""The command ``stb``: finds every room's commands by entry point and gives them one manner.

An entry point is a function that gets the ``Commands`` and adds to it: by ``defer``, or at once.

Every option has an environment twin ``STB_<FLAG>``; every error is one line on stderr with what to
do, and the exit code is 0 (done), 1 (incomplete, or a check failed) or 2 (bad usage).
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import click
from click.core import ParameterSource

from stb_core import event_loop, logs, traces
from stb_core.errors import StbError, UsageError
from stb_core.settings import PREFIX, Settings, checked_secret, load_settings

ENTRY_POINTS = "stabletoolbench.commands"
_OURS = "stabletoolbench"

P = ParamSpec("P")
T = TypeVar("T")


def secret(_: click.Context, parameter: click.Parameter, value: str) -> str:
    """The callback of an option that takes a token; see ``checked_secret``."""
    return checked_secret(value, parameter.opts[0])


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


class Commands(click.Group):
    """A group whose commands are imported when they are asked for: to import all takes two seconds."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._deferred: dict[str, tuple[str, ...]] = {}

    def defer(self, module: str, *names: str) -> None:
        """Add commands of a module, whose ``register(group)`` is called when one of them is needed."""
        self._deferred[module] = names

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command, imported if it was not."""
        for module in [module for module, names in self._deferred.items() if name in names]:
            del self._deferred[module]
            importlib.import_module(module).register(self)
            _name_twins(self)
        return super().get_command(context, name)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As ever; names that are near an unknown one are looked for among all."""
        try:
            return super().resolve_command(context, args)
        except click.exceptions.NoSuchCommand as problem:
            near = self.list_commands(context)
            raise click.exceptions.NoSuchCommand(problem.command_name, None, near, context) from None

    def list_commands(self, context: click.Context) -> list[str]:
        """All names, those of commands that are not imported among them."""
        deferred = [name for names in self._deferred.values() for name in names]
        return sorted({*super().list_commands(context), *deferred})


def command(
    group: click.Group, name: str, **attributes: Any
) -> Callable[[Callable[..., Any]], click.Command]:
    """Register an ``async def`` (or plain function) as a subcommand that also takes ``--json``.

    The function receives ``as_json`` among its parameters, and the ``Settings`` by
    ``click.get_current_context().obj`` (see ``current_settings``).
    """

    def register(function: Callable[..., Any]) -> click.Command:
        body = _run_async(function) if asyncio.iscoroutinefunction(function) else function
        made: click.Command = group.command(name, **attributes)(json_option(body))
        return made

    return register


def group(parent: click.Group, name: str, help_text: str) -> click.Group:
    """The group ``name`` under ``parent``, made if it is not there: several rooms may add to one group."""
    found = parent.commands.get(name)
    if isinstance(found, click.Group):
        return found
    made = click.Group(name, help=help_text)
    parent.add_command(made)
    return made


def _run_async(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return event_loop.run(function(*args, **kwargs))

    return call


def current_settings() -> Settings:
    """The settings of the command that is running."""
    settings = click.get_current_context().find_object(Settings)
    assert settings is not None
    return settings


def exit_with(code: int) -> NoReturn:
    """End the command with this exit code after its output has been printed."""
    click.get_current_context().exit(code)


@click.group(
    name="stb",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
@click.option(
    "--config", type=click.Path(path_type=Path), help="Settings from a TOML or YAML file, over stb.toml."
)
@click.option("--log-level", default="warning", show_default=True, help="debug, info, warning or error.")
@click.version_option(package_name="stabletoolbench", prog_name="stb")
@click.pass_context
def stb(context: click.Context, config: Path | None, log_level: str) -> None:
    """A stable benchmark for tool-using LLM agents."""
    settings = load_settings(config)
    logs.configure(str(settings.values.get("log_level", log_level)))
    traces.start(settings.environment, f"stb-{context.invoked_subcommand}")
    context.obj = settings
    context.default_map = default_map(stb, settings.values, settings.flags)


def find_commands() -> Commands:
    """The command tree, with every room's commands in it or deferred."""
    for entry in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda e: e.name):
        try:
            entry.load()(stb)
        except Exception as problem:
            if entry.dist is None or entry.dist.name == _OURS:
                raise
            text = f"{type(problem).__name__}: {problem}"
            click.echo(f"stb: the commands of {entry.dist.name} cannot be loaded ({text}).", err=True)
    _name_twins(stb)
    return stb


def load_commands() -> Commands:
    """The command tree with all commands imported."""
    found = find_commands()
    context = click.Context(found)
    for name in found.list_commands(context):
        found.get_command(context, name)
    return found


def default_map(
    group: click.Group, values: Mapping[str, Any], flags: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Configured values in the shape click wants: by command, then by parameter.

    A value at the top of a file serves every command that has such a flag; one in a table named
    after the command (``[run]``) serves that command alone and wins. What the environment sets, in
    ``flags``, wins over both.

    Raises:
        UsageError: a value is a table or a list of tables, where a flag wants a word.
    """
    flags = flags or {}
    found: dict[str, Any] = {}
    for name, member in group.commands.items():
        own = values.get(name.replace("-", "_"), {})
        own = {k.replace("-", "_"): v for k, v in own.items()} if isinstance(own, Mapping) else {}
        if isinstance(member, click.Group):
            found[name] = default_map(member, {**values, **own}, flags)
            continue
        found[name] = {}
        for parameter in member.params:
            flag = flag_name(parameter)
            value = flags.get(flag, own.get(flag, values.get(flag))) if flag else None
            if value is not None and not isinstance(value, Mapping):
                found[name][parameter.name] = _configured(parameter, flag, value)
    return found


def _configured(parameter: click.Parameter, flag: str, value: Any) -> Any:
    """A value of a file or of the environment as click takes it from a command line."""
    several = value if isinstance(value, list) else [value]
    if any(isinstance(one, list | Mapping) for one in several):
        raise UsageError(f"The setting {flag} is not a word or a list of words.", hint="Mend the file.")
    if parameter.multiple:
        return value.replace(",", " ").split() if isinstance(value, str) else several
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, float) else value  # click would cut 8080.5 to a port


def flag_name(parameter: click.Parameter) -> str:
    """The setting's name of an option: ``--max-connections`` → ``max_connections``; "" for arguments."""
    if not isinstance(parameter, click.Option) or parameter.name in {"help", "version"}:
        return ""
    longest = max(parameter.opts, key=len)
    return longest.lstrip("-").replace("-", "_")


def _name_twins(member: click.Command) -> None:
    """Say in every option's help which environment variable sets it."""
    if isinstance(member, click.Group):
        for part in member.commands.values():
            _name_twins(part)
        return
    for parameter in member.params:
        if isinstance(parameter, click.Option) and (flag := flag_name(parameter)):
            twin = f"[env: {PREFIX}{flag.upper()}]"
            if twin not in (parameter.help or ""):
                parameter.help = f"{parameter.help or ''} {twin}".strip()


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run ``stb``; the only place where an error becomes a line and an exit code."""
    try:
        code = find_commands().main(args=args, prog_name="stb", standalone_mode=False)
    except StbError as problem:
        click.echo(f"stb: {problem}", err=True)
        sys.exit(problem.exit_code)
    except click.exceptions.NoArgsIsHelpError as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except click.ClickException as problem:
        click.echo(f"stb: {_usage(problem)}", err=True)
        sys.exit(problem.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stb: stopped. What was finished is kept; run the same command again to go on.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


def _usage(problem: click.ClickException) -> str:
    """One line: what was wrong with the command, and where to read how it is written."""
    text = " ".join(problem.format_message().split())
    text += "" if text.endswith((".", "?")) else "."
    context = problem.ctx if isinstance(problem, click.UsageError) else None
    if context is None:
        return text
    parameter = problem.param if isinstance(problem, click.BadParameter) else None
    if parameter and context.get_parameter_source(parameter.name or "") is ParameterSource.DEFAULT_MAP:
        text += f" It comes from {PREFIX}{flag_name(parameter).upper()} or a configuration file."
    return f"{text} See: {context.command_path} --help."


if __name__ == "__main__":
    main()
