"""The command ``stb``: finds all commands by entry point and gives them common conventions.

An entry point names a click command: ``score = "stb_evaluator.commands.score:command"``. One whose name
has a dot, as ``experiment.judge``, names a member of a group. A command's module is imported when the
command is asked for; the first line of its docstring is the command's short help.

Every option has an environment twin ``STB_<FLAG>``; every error is one line on stderr with what to
do, and the exit code is 0 (done), 1 (incomplete, or a check failed) or 2 (bad usage).
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import click
from click.core import ParameterSource

from stb_core.cli import event_loop
from stb_core.cli.output import guard_output
from stb_core.errors import StbError, StoreError, UsageError
from stb_core.settings import PREFIX, Settings, checked_secret, load_settings
from stb_core.telemetry import logs, traces
from stb_core.values.plain_text import decode_name

ENTRY_POINTS = "stabletoolbench.commands"
# How ``stb --help`` arranges the commands; one that is in no section stands under "Other".
_SECTIONS = {
    "Start": ("demo", "doctor"),
    "Data": ("data", "cache"),
    "Evaluate": ("run", "worker", "ps", "score", "compare", "report", "ls", "show", "rm"),
    "Serve": ("serve", "view"),
    "Share": ("export", "import", "lock", "verify"),
    "Keep": ("backup", "restore"),
    "Research": ("experiment", "solvable"),
}
_OURS = "stabletoolbench"
_LONGEST_NAME = 200
_OWN_NAME = re.compile(r"^``stb [^`]*``: ")

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
        self._entries: dict[str, list[EntryPoint]] = {}

    def add_entry(self, entry: EntryPoint) -> None:
        """Add a command, or a member of a group, that is imported when it is needed."""
        self._entries.setdefault(entry.name.partition(".")[0], []).append(entry)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command, imported if it was not; a group is imported with all its members."""
        for entry in sorted(self._entries.pop(name, ()), key=lambda entry: entry.name):
            loaded = _load(entry)
            if loaded is not None:
                _, _, member = entry.name.partition(".")
                parent = self.commands.get(name) if member else self
                if isinstance(parent, click.Group):
                    parent.add_command(loaded, member or name)
                else:
                    _say(f"there is no group {name!r} for the command {entry.name!r}.")
                _name_twins(self)
        return super().get_command(context, name)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in click, but names similar to an unknown one are searched among all commands."""
        try:
            return super().resolve_command(context, args)
        except click.exceptions.NoSuchCommand as problem:
            near = self.list_commands(context)
            raise click.exceptions.NoSuchCommand(problem.command_name, None, near, context) from None

    def list_commands(self, context: click.Context) -> list[str]:
        """All names, those of commands that are not imported among them."""
        return sorted({*super().list_commands(context), *self._entries})

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``stb --help``, by section; nothing is imported for it."""
        names = self.list_commands(context)
        longest = max(map(len, names), default=0)
        for title, members in self._sections(context, names).items():
            rows = [
                (name.ljust(longest), self._short_help(name, formatter.width - 6 - longest))
                for name in members
            ]
            with formatter.section(title):
                formatter.write_dl(rows)

    def _sections(self, context: click.Context, names: Sequence[str]) -> dict[str, list[str]]:
        if context.parent is not None:
            return {"Commands": list(names)}
        placed = {name for members in _SECTIONS.values() for name in members}
        sections = {
            title: [name for name in members if name in names] for title, members in _SECTIONS.items()
        }
        sections["Other"] = [name for name in names if name not in placed]
        return {title: members for title, members in sections.items() if members}

    def _short_help(self, name: str, width: int) -> str:
        if name in self.commands:
            return self.commands[name].get_short_help_str(width)
        return click.Command(name, help=_first_line(self._entries[name][0])).get_short_help_str(width)


def _load(entry: EntryPoint) -> click.Command | None:
    """The command of an entry point; None, with a line on stderr, where one of somebody else fails."""
    try:
        loaded = entry.load()
        if not isinstance(loaded, click.Command):
            raise TypeError(f"{entry.value} is not a click command")  # noqa: TRY301
    except Exception as problem:
        if entry.dist is None or entry.dist.name == _OURS:
            raise
        text = f"{type(problem).__name__}: {problem}"
        _say(f"the command {entry.name!r} of {entry.dist.name} cannot be loaded ({text}).")
        return None
    return loaded


def _first_line(entry: EntryPoint) -> str:
    """The first line of the docstring of a command's module, without the command's name."""
    try:
        found = importlib.util.find_spec(entry.module)
        source = Path(found.origin).read_text(encoding="utf-8") if found and found.origin else ""
        text = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
    except (ImportError, OSError, SyntaxError, ValueError):
        return ""
    said = _OWN_NAME.sub("", text)
    return said[:1].upper() + said[1:]


def stb_command(name: str, **attributes: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of an ``async def`` (or plain function); it also takes ``--json``.

    The function receives ``as_json`` among its parameters, and the ``Settings`` by
    ``click.get_current_context().obj`` (see ``current_settings``).
    """

    def register(function: Callable[..., Any]) -> click.Command:
        body = _run_async(function) if asyncio.iscoroutinefunction(function) else function
        made: click.Command = click.command(name, cls=click.Command, **attributes)(json_option(body))
        return made

    return register


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
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "color": True,  # else click deletes escape sequences that are to be shown
    },
    no_args_is_help=True,
)
@click.option("--config", type=click.Path(path_type=Path), help="Settings from a TOML file, over stb.toml.")
@click.option("--log-level", default="warning", show_default=True, help="debug, info, warning or error.")
@click.version_option(None, "-V", "--version", package_name="stabletoolbench", prog_name="stb")
@click.pass_context
def stb(context: click.Context, config: Path | None, log_level: str) -> None:
    """A stable benchmark for tool-using LLM agents."""
    settings = load_settings(config)
    for line in settings.deprecations:
        _say(line)
    logs.configure(str(settings.values.get("log_level", log_level)))
    traces.start(settings.environment, f"stb-{context.invoked_subcommand}")
    context.obj = settings
    context.default_map = default_map(stb, settings.values, settings.flags)


def find_commands() -> Commands:
    """The command tree; the commands in it are not imported yet."""
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        stb.add_entry(entry)
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
        raise UsageError(f"The setting {flag} is not a word or a list of words.", hint="Fix the file.")
    if parameter.multiple:
        return value.replace(",", " ").split() if isinstance(value, str) else several
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, float) else value  # click would cut 8080.5 to a port


def timeout_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--model-timeout`` to a command that asks a model."""
    return click.option(
        "--model-timeout",
        "--timeout",
        type=click.FloatRange(min=1),
        metavar="SECONDS",
        help="Longest time for one reply of a model; then it is asked again.  [default: 180; 120 for a simulator]",
    )(function)


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
    guard_output()
    try:
        code = find_commands().main(args=args, prog_name="stb", standalone_mode=False)
    except StbError as problem:
        _say(str(problem))
        sys.exit(problem.exit_code)
    except click.exceptions.NoArgsIsHelpError as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except click.ClickException as problem:
        _say(_usage(problem))
        sys.exit(problem.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say("stopped. What was finished is kept; run the same command again to continue.")
        sys.exit(130)
    except UnicodeEncodeError as problem:
        if (name := decode_name(problem.object)) == problem.object:
            raise
        _say(
            f"This locale cannot hold {name[:_LONGEST_NAME]!r}. Set PYTHONUTF8=1 and run the same command again."
        )
        sys.exit(UsageError.exit_code)
    except (AttributeError, LookupError, TypeError, ValueError):
        if not (damage := _find_damage()):
            raise
        _say(damage)
        sys.exit(StoreError.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


def _find_damage() -> str:
    """What is wrong with the values in an SQLite store, in a line; "" if that is not why a command failed."""
    from stb_core.store import find_wrong_value  # noqa: PLC0415 - slow to import, and seldom needed

    with contextlib.suppress(Exception):
        place = load_settings().database_url.partition(":///")[2]
        if wrong := find_wrong_value(Path(place)):
            return (
                f"The store {place} is damaged: {wrong} is wrong. Restore a back-up of it into another store."
            )
    return ""


def _say(text: str) -> None:
    click.echo(f"stb: {text}", err=True, color=True)


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
