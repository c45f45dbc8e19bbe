"""The version that a remote agent states of itself: ``{"agent": {"version": …}}``, to a GET of its address or in a turn."""

from __future__ import annotations

from typing import Any

import orjson

from stb_agents.environment import RunStopped
from stb_core.http import HttpClient, HttpError

_TIMEOUT_S = 10.0
_LONGEST = 200


async def ask_version(url: str) -> str:
    """Ask the agent at an address for its version; "" where it states none."""
    headers = {"Accept": "application/json"}
    async with HttpClient(
        url, headers=headers, connect_timeout_s=_TIMEOUT_S, read_timeout_s=_TIMEOUT_S
    ) as http:
        try:
            answer = await http.request("GET")
            return stated_version(orjson.loads(answer.content)) if answer.status == 200 else ""
        except (HttpError, ValueError):
            return ""


def check_version(turn: Any, version: str, versions: set[str], place: str) -> None:
    """Stop the run when a turn states another version than the agent did before.

    Args:
        turn: what the agent answered.
        version: that it stated to a GET; "" for none.
        versions: that its turns stated; that of this turn is added.
        place: its address as it may be shown.

    Raises:
        RunStopped: what is left would be done by another agent.
    """
    if not (stated := stated_version(turn)):
        return
    versions.add(stated)
    former = version or min(versions - {stated}, default=stated)
    if stated != former:
        raise RunStopped(
            f"Stopped: the agent at {place} states version {stated!r} now, and stated {former!r} before. The same"
            " command makes a run of the new version if a GET of the address states it, too; else use --agent-version."
        )


def stated_version(document: Any) -> str:
    """The version in a document of a remote agent; "" where it states none."""
    about = document.get("agent") if isinstance(document, dict) else None
    version = about.get("version") if isinstance(about, dict) else None
    if isinstance(version, bool) or not isinstance(version, str | int | float):
        return ""
    return str(version).strip()[:_LONGEST]
