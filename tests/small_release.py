"""A small release in the official layout, written by tests into a folder of theirs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ANSWER = {"error": "", "response": "sunny"}


def api(name: str, **more: Any) -> dict[str, Any]:
    """An API of a tool document."""
    city = {"name": "city", "type": "STRING", "description": "Where.", "default": "Oslo"}
    return {
        "name": name,
        "description": f"About {name}.",
        "method": "GET",
        "required_parameters": [city],
        "optional_parameters": [],
        **more,
    }


def embedded(category: str, tool: str, name: str) -> dict[str, Any]:
    """The same API as a query embeds it."""
    document = api(name)
    return {
        "category_name": category,
        "tool_name": tool,
        "api_name": document.pop("name"),
        "api_description": document.pop("description"),
        **document,
    }


def query(number: int, *apis: tuple[str, str, str], text: str = "How is it?") -> dict[str, Any]:
    """A query about some APIs, all of them relevant."""
    return {
        "query_id": number,
        "query": text,
        "api_list": [embedded(*names) for names in apis],
        "relevant APIs": [[tool, name] for _, tool, name in apis],
    }


CURRENT = ("Weather", "Sky Watch", "Current")
FORECAST = ("Weather", "Sky Watch", "get Forecast")
CLIPS = ("Video, Images", "123 Clips", "id")


def write(path: Path, value: Any) -> Path:
    """A JSON file, or one with exactly these bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return path


def write_tools(root: Path) -> None:
    """Two tools with three APIs."""
    sky = {
        "tool_name": "Sky Watch",
        "tool_description": "Skies.",
        "api_list": [api("Current"), api("get Forecast")],
    }
    write(root / "tools" / "Weather" / "sky_watch.json", sky)
    write(
        root / "tools" / "Video_Images" / "get_123_clips.json",
        {"tool_name": "123 Clips", "api_list": [api("id")]},
    )


def write_queries(root: Path) -> None:
    """Two groups with three queries that count and one that does not."""
    folder = root / "solvable_queries"
    write(
        folder / "test_instruction" / "G1_tool.json",
        [query(7, CURRENT, FORECAST), query(8, CURRENT), query(9, CLIPS)],
    )
    write(folder / "test_query_ids" / "G1_tool.json", {"7": 0, "9": 1})
    write(folder / "test_instruction" / "G3_instruction.json", [query(1, FORECAST, CLIPS)])


def cache_file(root: Path, category: str, tool: str, name: str) -> Path:
    """Where the recorded answers of an API are."""
    return root / "tool_response_cache" / category / f"{tool}_for_{category}" / f"{name}.json"


def write_cache(root: Path) -> None:
    """Three responses to two APIs."""
    entries = {"{'city': 'Oslo', 'days': 3}": ANSWER, "{'city': 'Rome'}": {"error": "no", "response": ""}}
    write(cache_file(root, "Weather", "sky_watch", "current"), entries)
    write(cache_file(root, "Video_Images", "get_123_clips", "is_id"), {"{}": ANSWER})


def write_release(root: Path) -> Path:
    """All three parts."""
    write_tools(root)
    write_queries(root)
    write_cache(root)
    return root


def write_entries(root: Path, entries: Mapping[str, Any]) -> Path:
    """A release of one cache file with these entries; returns its folder."""
    write(cache_file(root, "Weather", "sky_watch", "current"), dict(entries))
    return root
