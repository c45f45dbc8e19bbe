"""Writes the reference pages from the code itself: ``python docs/generate.py``.

``cli.md`` and ``settings.md`` come from the commands, ``endpoints.md`` from the server's OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from stb_core.cli.program import flag_name, load_commands
from stb_core.settings import PREFIX
from stb_server.app.application import create_app
from stb_server.worker.options import ServerOptions

INTRODUCTION = """\
# Commands

Written by `docs/generate.py` from the commands' own help; do not edit.

Every command takes `--json`, which prints one JSON document with a table under `rows` on stdout;
progress and logs go to stderr. Exit codes: 0 done, 1 incomplete or a check failed, 2 bad usage.

A table that is wider than the terminal (or than `COLUMNS`; 200 where the output is no terminal) is arranged so that it can
be read: what every row says is told above it, a table of figures is turned, and any other is written record by record.

Control characters, and characters that change the direction of text, are written out on both, as `\\u001b`. So is
what the encoding of the terminal or file lacks (`PYTHONIOENCODING`, or the locale); `±` is `+/-` there. A JSON document
is the same document in every encoding.

Every flag has a twin in the environment, and may stand in `.env`, in the file given by
`stb --config FILE` (TOML) or in `stb.toml` of the working directory. The strongest first: flag,
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
    text = _help(option, twin)
    names = ", ".join(option.opts + option.secondary_opts)
    if not option.is_flag:
        names += f" {option.make_metavar(click.Context(click.Command('stb')))}"
    cells = (f"`{names}`".replace("|", "\\|"), f"`{twin}`", _default(option), text)
    return f"| {' | '.join(cells)} |"


def _default(option: click.Option) -> str:
    default = option.to_info_dict()["default"]
    shown = option.show_default if isinstance(option.show_default, str) else default
    return "" if option.is_flag or shown in {None, "", ()} else f"`{shown}`"


def _paragraphs(text: str | None) -> str:
    paragraphs = (text or "").replace("\b", "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.replace("``", "`").split()) for paragraph in paragraphs)


_MANY = 3

SETTINGS = """\
# Settings

Written by `docs/generate.py` from the commands; do not edit.

Everything that can be set, by its variable. `.env`, `stb.toml` and the file given by `stb --config FILE` may
hold it as well, there in small letters and without the prefix (`STB_MAX_CONNECTIONS` is `max_connections`).
The strongest first: flag, environment, `.env`, `--config`, `stb.toml`, default. In a file, a table named
after a command (`[run]`) serves that command alone. A variable that is empty counts as not set.

## Of all commands

| variable | default | |
|---|---|---|
| `STB_DATABASE_URL` | `sqlite:///.stb/stb.db` | The store: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST:5432/NAME`. |
| `STB_CONFIG` | | A TOML file with settings, as `stb --config`. |
| `STB_FILE_LIMITS` | `1` | Environment only: multiplies the [limits on files of others](security.md#limits-on-files-of-others), for a file that you trust. |
| `STB_LOG_LEVEL` | `warning` | `debug`, `info`, `warning` or `error`, as `stb --log-level`. |

## Models, real APIs and traces

| variable | |
|---|---|
| `<PROVIDER>_BASE_URL`, `<PROVIDER>_API_KEY` | Where the models of `PROVIDER/MODEL` are, and their key. `OPENAI_BASE_URL` is OpenAI's own unless set. |
| `[prices]` | In a file only: what a model's tokens cost, as `"openai/gpt-4o-mini" = { input = 0.15, output = 0.60 }`, in USD per million. |
| what `--upstream FILE` names | Keys of real APIs; the file holds names of variables, never a key. |
| `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, `OTEL_SERVICE_NAME` | Where traces go, and under which name; see [Operations](operations.md#traces). |

## Of single commands

One variable serves every command that has the flag.

| variable | commands | default | |
|---|---|---|---|
"""


def settings_reference() -> str:
    """The reference of every setting, as Markdown."""
    flags: dict[str, list[tuple[str, click.Option]]] = {}
    for path, member in _commands(load_commands(), "stb"):
        for option in member.params:
            if isinstance(option, click.Option) and (name := flag_name(option)) and name != "json":
                flags.setdefault(name, []).append((path, option))
    rows = []
    for name, uses in sorted(flags.items()):
        paths = ", ".join(f"`{path}`" for path, _ in uses)
        defaults = " ".join(dict.fromkeys(_default(option) for _, option in uses if _default(option)))
        variable = f"{PREFIX}{name.upper()}"
        helps = list(dict.fromkeys(_help(option, variable) for _, option in uses))
        text = " Or: ".join(helps) if len(helps) < _MANY else "See each command in [Commands](cli.md)."
        rows.append(f"| `{variable}` | {paths} | {defaults} | {text} |")
    return SETTINGS + "\n".join(rows) + "\n"


def _help(option: click.Option, variable: str) -> str:
    return (option.help or "").replace(f"[env: {variable}]", "").strip().replace("|", "\\|")


ENDPOINTS = """\
# Endpoints

Written by `docs/generate.py` from the server's OpenAPI document, which a running server gives to programs
as `GET /openapi.json`; do not edit.

Besides these there are the pages of the [inspector](inspector.md) at `/`, and for each episode its tools by
the Model Context Protocol at `/e/{token}/mcp` and an endpoint of OpenAI's and Anthropic's APIs that counts model calls
at `/proxy/e/{token}/v1`; see [Episodes](episodes.md). Where the server has a token, requests carry it as `Authorization: Bearer …`;
`GET /healthz` is open, and what belongs to an episode wants the episode's own token.
[Cache and server](cache-and-server.md) has examples.
"""


def endpoint_reference() -> str:
    """The reference of every endpoint, as Markdown."""
    app = create_app(ServerOptions(database_url="sqlite:///unused.db", dataset="demo"))
    document = app.openapi()
    parts = [ENDPOINTS]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.append(_endpoint(f"{method.upper()} {path}", operation, document))
    return "\n".join(parts)


def _endpoint(name: str, operation: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    lines = [f"## `{name}`", "", _paragraphs(operation.get("description")), ""]
    given = [(f"{one['in']}", one["name"], one) for one in operation.get("parameters", ())]
    if body := operation.get("requestBody"):
        schema = _resolved(next(iter(body["content"].values()))["schema"], document)
        required = set(schema.get("required", ()))
        given += [
            ("body", member, {"schema": about, "required": member in required, **about})
            for member, about in schema.get("properties", {}).items()
        ]
    if given:
        lines += ["| in | name | | |", "|---|---|---|---|"]
        lines += [_parameter(place, member, about, document) for place, member, about in given]
        lines.append("")
    lines += ["| status | |", "|---|---|"]
    lines += [
        f"| {status} | {_cell(answer['description'])} |" for status, answer in operation["responses"].items()
    ]
    return "\n".join([*lines, ""])


def _parameter(place: str, name: str, about: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    schema = _resolved(about.get("schema", {}), document)
    kinds = schema.get("anyOf", [schema])
    kind = " or ".join(_resolved(one, document).get("type", "anything") for one in kinds)
    needed = (
        "needed"
        if about.get("required")
        else f"default `{schema['default']}`"
        if schema.get("default")
        else ""
    )
    text = about.get("description") or schema.get("description") or ""
    return f"| {place} | `{name}` | {kind}{', ' if needed else ''}{needed} | {_cell(text)} |"


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _cell(text: str) -> str:
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")


REFERENCES = {
    "cli.md": cli_reference,
    "settings.md": settings_reference,
    "endpoints.md": endpoint_reference,
}

if __name__ == "__main__":
    for name, reference in REFERENCES.items():
        (Path(__file__).parent / name).write_text(reference(), encoding="utf-8")
