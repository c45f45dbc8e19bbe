"""In what the arguments of two calls differ: why a call missed the recording that is nearest to it."""

from __future__ import annotations

import json
from typing import Any

from stb_core.values.calls import JsonObject


def argument_differences(missed: JsonObject, recorded: JsonObject) -> list[dict[str, Any]]:
    """Arguments with other values, by name; one that only one call has lacks the other's field."""
    found: list[dict[str, Any]] = []
    for name in sorted(missed.keys() | recorded.keys()):
        sides = {"missed": missed, "recorded": recorded}
        values = {side: arguments[name] for side, arguments in sides.items() if name in arguments}
        if len(values) == 1 or _text(values["missed"]) != _text(values["recorded"]):
            found.append({"argument": name, **values})
    return found


def described(differences: list[dict[str, Any]]) -> str:
    """Differences in a line: ``limit 5 → 10, +lang="en", -page=1``, from the recorded to the missed call."""
    parts: list[str] = []
    for difference in differences:
        name = difference["argument"]
        if "recorded" not in difference:
            parts.append(f"+{name}={_text(difference['missed'])}")
        elif "missed" not in difference:
            parts.append(f"-{name}={_text(difference['recorded'])}")
        else:
            parts.append(f"{name} {_text(difference['recorded'])} → {_text(difference['missed'])}")
    return ", ".join(parts)


def _text(value: Any) -> str:
    """JSON of a value; unlike ``==`` it tells 1 from 1.0 and from true."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
