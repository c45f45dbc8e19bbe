"""Writes ``docs/cli.md`` from the commands themselves: ``python docs/generate.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from stb_core.cli import flag_name, load_commands
from stb_core.settings import PREFIX

INTRODUCTION = """\
# Commands

Written by `docs/generate.py` from the commands' own help; do not edit.

Every command takes `--json`, which prints one JSON document with a table under `rows` on stdout;
progress and logs go to stderr. Exit codes: 0 done, 1 incomplete or a check failed, 2 bad usage.

Every flag has a twin in the environment, and may stand in `.env`, in the file given by
`stb --config FILE` (TOML or YAML) or in `stb.toml` of the working directory. The strongest first: flag,
environment, `.env`, `--config`, `stb.toml`, default. A table named after a command (`[run]`) serves that
command alone.
"""


def cli_reference() -> str:
    """The reference of every command, as Markdown."""
    root = load_commands()
    parts = [INTRODUCTION, _section("stb", root)]
    parts += [_section(name, member) for name, member in _commands(root, "stb")]
    return "\n".join(parts)


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, member in sorted(group.commands.items()):
        if isinstance(member, click.Group):
            yield from _commands(member, f"{path} {name}")
        else:
            yield f"{path} {name}", member


def _section(path: str, member: click.Command) -> str:
    context = click.Context(member, info_name=path)
    usage = " ".join(member.collect_usage_pieces(context))
    lines = [f"## {path}", "", f"`{path} {usage}`", "", _paragraphs(member.help), ""]
    options = [p for p in member.params if isinstance(p, click.Option) and p.name != "version"]
    if options:
        lines += ["| flag | environment | default | |", "|---|---|---|---|"]
        lines += [_row(option) for option in options]
        lines.append("")
    return "\n".join(lines)


def _row(option: click.Option) -> str:
    twin = f"{PREFIX}{flag_name(option).upper()}"
    text = (option.help or "").replace(f"[env: {twin}]", "").strip()
    names = ", ".join(option.opts + option.secondary_opts)
    if not option.is_flag:
        names += f" {option.make_metavar(click.Context(click.Command('stb')))}"
    cells = (f"`{names}`".replace("|", "\\|"), f"`{twin}`", _default(option), text.replace("|", "\\|"))
    return f"| {' | '.join(cells)} |"


def _default(option: click.Option) -> str:
    default = option.to_info_dict()["default"]
    shown = option.show_default if isinstance(option.show_default, str) else default
    return "" if option.is_flag or shown in {None, "", ()} else f"`{shown}`"


def _paragraphs(text: str | None) -> str:
    paragraphs = (text or "").replace("\b", "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


if __name__ == "__main__":
    (Path(__file__).parent / "cli.md").write_text(cli_reference(), encoding="utf-8")
