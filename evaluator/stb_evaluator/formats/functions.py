"""Which API a function of ToolBench's agents stands for: ``<api>_for_<tool>``, its last 64 characters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stb_core.values import FINISH, ApiRef, Query, Step, Trajectory

_MAX_LENGTH = 64


def offered_names(functions: Iterable[Any]) -> list[str]:
    """Names of functions in the older form, in the present one (``{"type": "function", …}``), or as texts."""
    inner = [f.get("function", f) if isinstance(f, dict) else f for f in functions]
    return [str(f.get("name", "") if isinstance(f, dict) else f) for f in inner]


def function_name(ref: ApiRef) -> str:
    """The name under which ToolBench offers an API to a model."""
    return f"{ref.api}_for_{ref.tool}"[-_MAX_LENGTH:]


def resolve_steps(trajectory: Trajectory, query: Query | None) -> Trajectory:
    """The trajectory with category, tool and API of every call that the query's APIs explain.

    As in ToolBench's client, a call reaches the first function whose name ends with what the
    model wrote.
    """
    if query is None:
        return trajectory
    offered = [(function_name(ref), ref) for ref in query.apis]
    steps = tuple(_resolve(step, offered) for step in trajectory.steps)
    return trajectory.model_copy(update={"steps": steps})


def _resolve(step: Step, offered: list[tuple[str, ApiRef]]) -> Step:
    if step.function == FINISH:
        return step
    ref = next((ref for name, ref in offered if name.endswith(step.function)), None)
    if ref is None:
        return step
    return step.model_copy(update={"category": ref.category, "tool": ref.tool, "api": ref.api})
