"""Predictions that a simulator makes now, for the calls of a bench."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pydantic import ValidationError

from stb_core import json_text
from stb_core.errors import CallError, FormatError, UsageError
from stb_core.store import open_store
from stb_core.values import (
    ApiDocument,
    ApiRef,
    ToolCall,
    clock,
    parse_arguments,
    standardize_api,
    standardize_category,
    standardize_tool,
)
from stb_experiments.simulator_fidelity.bench import FidelityCase
from stb_server.calls import Decline
from stb_server.simulators import (
    Context,
    ModelBacked,
    SimulationRequest,
    SimulatorOptions,
    Subject,
    open_simulator,
)


@asynccontextmanager
async def open_simulator_alone(options: SimulatorOptions) -> AsyncGenerator[ModelBacked]:
    """A simulator with an empty store: it sees only the document and the call.

    Raises:
        NotFoundError: there is no simulator of that name.
        UsageError: it has no model.
    """
    with tempfile.TemporaryDirectory(prefix="stb-simulator-") as folder:
        store = await open_store(f"sqlite+aiosqlite:///{folder}/empty.db")
        try:
            async with open_simulator(options, Context(store, recorded_before=clock.now())) as simulator:
                if not isinstance(simulator, ModelBacked):
                    raise UsageError(
                        f"The simulator {options.simulator} has no model, so it cannot be measured.",
                        hint="Name a simulator that asks a model, such as llm.",
                    )
                yield simulator
        finally:
            await store.close()


async def predict_answers(
    cases: Sequence[FidelityCase],
    simulator: ModelBacked,
    *,
    connections: int,
    advance: Callable[[], None] = lambda: None,
    waits_s: list[float] | None = None,
) -> list[FidelityCase]:
    """The cases with the simulator's answers as predictions; a decline is an empty prediction.

    ``waits_s`` gets the seconds that each call took.
    """
    turns = asyncio.Semaphore(connections)

    async def one(case: FidelityCase) -> FidelityCase:
        async with turns:
            started = time.monotonic()
            predicted = case.predicted(await _answer(case, simulator))
            if waits_s is not None:
                waits_s.append(time.monotonic() - started)
            advance()
            return predicted

    return await asyncio.gather(*(one(case) for case in cases))


async def _answer(case: FidelityCase, simulator: ModelBacked) -> str:
    """What a client of the server would get for the call, as JSON text."""
    try:
        arguments = parse_arguments(case.request.get("tool_input"))
        request = _request(case.api_doc, arguments)
        _ = request.call.key
    except CallError as problem:
        return json_text.encode({"error": problem.message, "response": ""}).decode()
    except (ValidationError, FormatError):
        return ""
    answer = await simulator.simulate(request)
    return "" if isinstance(answer, Decline) else answer.body.decode()


def _request(api_doc: dict[str, Any], arguments: dict[str, Any]) -> SimulationRequest:
    document = ApiDocument.model_validate(
        {
            "name": api_doc.get("api_name") or "",
            "description": api_doc.get("api_description"),
            "required_parameters": api_doc.get("required_parameters"),
            "optional_parameters": api_doc.get("optional_parameters"),
            "template_response": api_doc.get("template_response"),
        }
    )
    tool = str(api_doc.get("tool_name") or "")
    category = standardize_category(str(api_doc.get("tool_category") or ""))
    ref = ApiRef(category, standardize_tool(tool), standardize_api(document.name))
    subject = Subject(ref, tool, str(api_doc.get("tool_description") or ""), document)
    return SimulationRequest(subject, ToolCall(*ref, arguments))
