"""Calls and recordings with two keys: that of the official cache, and the canonical key.

The official key is the folder, the file, and ``str()`` of the decoded arguments: it depends on the order of the
arguments and on white space.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from stb_core.errors import CallError, FormatError, NotFoundError
from stb_core.values import (
    ToolCall,
    parse_arguments,
    parse_literal,
    standardize_api,
    standardize_category,
    standardize_tool,
)

FOLDER = "tool_response_cache"


@dataclass(frozen=True)
class KeyedCall:
    """A call with both keys."""

    call: ToolCall
    official: tuple[str, str, str, str]

    @property
    def canonical(self) -> str:
        """The key of the call; "" where it has none, for example because of a lone surrogate."""
        try:
            return self.call.key
        except CallError:
            return ""


def keyed_call(category: str, tool: str, api: str, arguments: dict[str, Any], text: str = "") -> KeyedCall:
    """A call by its names as clients write them; ``text`` is the text of its official key, where it is known."""
    call = ToolCall(standardize_category(category), standardize_tool(tool), standardize_api(api), arguments)
    return KeyedCall(call, (call.category, call.tool, call.api, text or str(arguments)))


def read_recordings(release: Path) -> list[KeyedCall]:
    """Every entry of an official response cache, by folder and file.

    Raises:
        NotFoundError: the release has no recordings.
        FormatError: a file is not a JSON object of keys and answers.
    """
    root = release / FOLDER if (release / FOLDER).is_dir() else release
    files = sorted(root.glob("*/*_for_*/*.json"))
    if not files:
        raise NotFoundError(
            f"There are no recordings in {release}.", hint=f"Name a release that holds {FOLDER}/."
        )
    found: list[KeyedCall] = []
    for file in files:
        category, tool = file.parent.parent.name, file.parent.name
        tool = tool.removesuffix(f"_for_{category}")
        try:
            keys = list(orjson.loads(file.read_bytes()))
            found += [keyed_call(category, tool, file.stem, parse_literal(key), key) for key in keys]
        except (OSError, ValueError, TypeError, FormatError) as problem:
            raise FormatError(f"{file} cannot be read as recordings: {problem}.") from None
    return found


@dataclass(frozen=True)
class WorkloadCall:
    """A call of a workload: the system that made it, its request body, and its keys (None: it has no arguments)."""

    system: str
    body: bytes
    keys: KeyedCall | None


def read_workload(path: Path, limit: int | None = None) -> Iterator[WorkloadCall]:
    """The calls of a JSON Lines file; the first ``limit`` of each system.

    Raises:
        NotFoundError: there is no such file.
        FormatError: a line is not a call.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.", hint="Check --calls.")
    counts: dict[str, int] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = orjson.loads(line)
                system = str(row.get("system", "all"))
                names = row["category"], row["tool_name"], row["api_name"]
                text = row["tool_input"]
            except (ValueError, KeyError, TypeError, AttributeError):
                raise FormatError(
                    f"Line {number} of {path} is not a call.",
                    hint="It needs category, tool_name, api_name and tool_input.",
                ) from None
            counts[system] = counts.get(system, 0) + 1
            if limit is None or counts[system] <= limit:
                yield WorkloadCall(system, request_body(*names, text), _keys(*names, text))


def request_body(category: str, tool: str, api: str, tool_input: Any) -> bytes:
    """A request for ``POST /virtual``."""
    names = {"category": category, "tool_name": tool, "api_name": api}
    # orjson refuses some texts that JSON allows.
    return json.dumps({**names, "tool_input": tool_input, "strip": "", "toolbench_key": ""}).encode()


def _keys(category: str, tool: str, api: str, text: Any) -> KeyedCall | None:
    try:
        return keyed_call(category, tool, api, parse_arguments(text))
    except CallError:
        return None
