"""Judged adherence: whether a model finds that an answer does what the document and the call ask."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import orjson

from stb_core.errors import RequestRefusedError, UnreadableReplyError
from stb_core.llm import Model, Request
from stb_core.values import Message
from stb_experiments.simulator_fidelity.bench import FidelityCase
from stb_experiments.simulator_fidelity.measures import Values
from stb_server.simulators import prompt_text, prompt_version

PROMPT = "adherence-1"
_SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "adheres": {"type": "boolean"}},
    "required": ["reason", "adheres"],
    "additionalProperties": False,
}
_LONGEST_ANSWER = 8000


def rubric() -> str:
    """Identifies the wording of the question."""
    return prompt_version(PROMPT)


async def judge_adherence(
    judge_model: Model, cases: Sequence[FidelityCase], answers: Sequence[str], *, connections: int
) -> Values:
    """100 for an answer that adheres, 0 for one that does not, NaN where the judge gave no verdict.

    Raises:
        ModelUnavailableError: the judge cannot be reached.
    """
    turns = asyncio.Semaphore(connections)

    async def one(case: FidelityCase, answer: str) -> float:
        if not answer:
            return 0.0
        async with turns:
            try:
                reply = await judge_model.complete(_request(case, answer))
            except (UnreadableReplyError, RequestRefusedError):
                return float("nan")
        return 100.0 * bool(orjson.loads(reply.content or "{}").get("adheres"))

    values = await asyncio.gather(*map(one, cases, answers))
    return np.array(values, dtype=np.float64)


def _request(case: FidelityCase, answer: str) -> Request:
    shown = orjson.dumps(
        {"document": case.api_doc, "call": case.request, "answer": answer[:_LONGEST_ANSWER]}, default=str
    )
    return Request(
        messages=(
            Message(role="system", content=prompt_text(PROMPT).strip()),
            Message(role="user", content=shown.decode()),
        ),
        temperature=0.0,
        max_tokens=500,
        response_schema=_SCHEMA,
        schema_name="adherence",
    )
