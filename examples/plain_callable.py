"""A plain Python agent: ``stb run -a examples/plain_callable.py:solve -d demo``.

It asks no model: it fills each tool's parameters with the examples in their descriptions, calls the
tools one after the other, and hands in what did not fail.
"""

from __future__ import annotations

import json
import re
from typing import Any

EXAMPLE = re.compile(r"Example: (.+)$")


def solve(task: Any, tools: Any) -> str | None:
    """Answer a task; None gives up."""
    seen = []
    for tool in list(tools)[:4]:
        observation = json_or_text(tool(**example_arguments(tool.parameters)))
        if not (isinstance(observation, dict) and observation.get("error")):
            seen.append(f"{tool.name} says: {observation}")
    return f"You asked: {task}\n" + "\n".join(seen) if seen else None


def example_arguments(schema: dict[str, Any]) -> dict[str, Any]:
    """A value for each parameter that is required, or has an example."""
    found: dict[str, Any] = {}
    for name, parameter in schema["properties"].items():
        if example := EXAMPLE.search(parameter["description"]):
            found[name] = json_or_text(example[1])
        elif name in schema["required"]:
            found[name] = {"number": 1, "integer": 1, "boolean": True}.get(parameter["type"], "London")
    return found


def json_or_text(text: str) -> Any:
    """The value of JSON text; the text itself where it is not JSON, for example because it was cut."""
    try:
        return json.loads(text)
    except ValueError:
        return text
