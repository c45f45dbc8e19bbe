"""Queries: tasks in natural language with the APIs that an agent may use for them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from stb_core.values.tools import ApiRef

# The six groups of ToolBench's test set, in the order in which tables show them
# (arXiv:2403.07714, table 1).
STANDARD_GROUPS = (
    "G1_instruction",
    "G1_category",
    "G1_tool",
    "G2_category",
    "G2_instruction",
    "G3_instruction",
)


class Query(BaseModel):
    """One task of one group; ``apis`` in the order in which the agent is shown them."""

    model_config = ConfigDict(frozen=True)

    query_id: str
    group: str
    text: str
    apis: tuple[ApiRef, ...]
    relevant_apis: tuple[ApiRef, ...] = ()


def group_order(group: str) -> tuple[int, str]:
    """Sort key: the six standard groups in their usual order, then others by name."""
    known = STANDARD_GROUPS.index(group) if group in STANDARD_GROUPS else len(STANDARD_GROUPS)
    return known, group
