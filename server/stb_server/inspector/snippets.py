"""A recorded call as code that repeats it: HTTP body, curl, Python."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True)
class Snippet:
    """Text to copy, with a name."""

    name: str
    text: str


def snippets(
    server: str, dataset: str, category: str, tool: str, api: str, arguments: bytes, *, has_token: bool
) -> list[Snippet]:
    """The call as a body of ``POST /virtual``, as a curl command and as Python."""
    body: dict[str, Any] = {
        "category": category,
        "tool_name": tool,
        "api_name": api,
        "tool_input": arguments.decode(errors="replace"),
        "strip": "",
        "toolbench_key": "",
    }
    text = orjson.dumps(body).decode()
    return [
        Snippet("POST /virtual", orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()),
        Snippet("curl", _curl(server, dataset, text, has_token=has_token)),
        Snippet("Python", _python(server, dataset, body, has_token=has_token)),
    ]


def _curl(server: str, dataset: str, body: str, *, has_token: bool) -> str:
    lines = [
        f"curl -s {shlex.quote(server + '/virtual')}",
        "-H 'Content-Type: application/json'",
        f"-H {shlex.quote(f'X-STB-Dataset: {dataset}')}",
    ]
    if has_token:
        lines.append('-H "Authorization: Bearer $STB_TOKEN"')
    lines.append(f"-d {shlex.quote(body)}")
    return " \\\n  ".join(lines)


def _python(server: str, dataset: str, body: dict[str, Any], *, has_token: bool) -> str:
    imports = "import os\n\nimport httpx" if has_token else "import httpx"
    headers = f'"X-STB-Dataset": {dataset!r}'
    if has_token:
        headers += ', "Authorization": f"Bearer {os.environ[\'STB_TOKEN\']}"'
    members = "\n".join(f"        {name!r}: {value!r}," for name, value in body.items())
    return (
        f"{imports}\n\nanswer = httpx.post(\n    {server + '/virtual'!r},\n    headers={{{headers}}},\n"
        f'    json={{\n{members}\n    }},\n)\nprint(answer.headers["X-STB-Provenance"], answer.json())'
    )
