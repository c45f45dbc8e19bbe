"""Ranking of candidates by a model: every pair is compared, in both orders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import orjson

from stb_agents.environment import Environment
from stb_core.errors import RequestRefusedError, UnreadableReplyError
from stb_core.values import Message

PROMPT = """\
A task is being worked on by calling functions.

Task: {task}

Done so far: {so_far}

Two ways to go on from here were tried for one turn:

A: {a}

B: {b}

From which of the two is it more likely that the task will be solved?"""

_SCHEMA = {
    "type": "object",
    "properties": {"better": {"type": "string", "enum": ["A", "B"]}},
    "required": ["better"],
    "additionalProperties": False,
}


async def rank_candidates(
    task: str, so_far: str, candidates: Sequence[str], environment: Environment
) -> list[int]:
    """Rank candidates by comparing each pair twice, once in each order.

    A candidate gets a point for each comparison that it wins, so a preference of the model for the first place
    cancels out. Candidates with equal points keep their order. A comparison that the model does not answer gives
    no point.

    Returns:
        The positions of the candidates, the best first.

    Raises:
        BudgetSpent, ModelUnavailableError: from the environment.
    """
    points = [0] * len(candidates)
    for first, second in permutations(range(len(candidates)), 2):
        if candidates[first] == candidates[second]:
            continue
        prompt = PROMPT.format(task=task, so_far=so_far, a=candidates[first], b=candidates[second])
        try:
            reply = await environment.ask([Message(role="user", content=prompt)], response_schema=_SCHEMA)
        except (UnreadableReplyError, RequestRefusedError):
            continue
        better = orjson.loads(reply.content or "{}").get("better")
        points[first if better == "A" else second] += 1
    return sorted(range(len(candidates)), key=lambda number: -points[number])
