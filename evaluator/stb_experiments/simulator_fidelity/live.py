"""Predictions of a simulator that is asked now, for the calls of a bench."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pydantic import ValidationError

from stb_core import json_text
from stb_core.errors import CallError, FormatError
from stb_core.values.calls import ToolCall, parse_arguments
from stb_core.values.names import standardize_api, standardize_category, standardize_tool
from stb_core.values.tools import ApiDocument, ApiRef
from stb_experiments.simulator_fidelity.bench import Case
from stb_server.calls.answers import Decline
from stb_server.simulators.ask import ReplyCounts
from stb_server.simulators.documents import Subject
from stb_server.simulators.model_simulators import (
    LlmSimulator,
    MirrorApiSimulator,
    ModelSimulator,
    SimulationRequest,
)
from stb_server.simulators.options import SimulatorOptions
from stb_server.simulators.registry import open_model


@asynccontextmanager
async def open_player(options: SimulatorOptions) -> AsyncGenerator[ModelSimulator]:
    """The simulator ``llm`` or ``mirrorapi`` without a store: it is shown the document and the call alone."""
    counts = ReplyCounts()
    async with open_model(options, counts) as model:
        if options.simulator == MirrorApiSimulator.name:
            yield MirrorApiSimulator(
                model,
                None,
                counts=counts,
                sampling=options.sampling,
                variant=options.variant,
                system=options.system_prompt,
            )
        else:
            yield LlmSimulator(model, None, None, counts=counts, sampling=options.sampling)


async def predict(
    cases: Sequence[Case],
    simulator: ModelSimulator,
    *,
    connections: int,
    advance: Callable[[], None] = lambda: None,
) -> list[Case]:
    """The cases with the simulator's answers as predictions; a decline is an empty prediction."""
    turns = asyncio.Semaphore(connections)

    async def one(case: Case) -> Case:
        async with turns:
            predicted = case.predicted(await _answer(case, simulator))
            advance()
            return predicted

    return await asyncio.gather(*(one(case) for case in cases))


async def _answer(case: Case, simulator: ModelSimulator) -> str:
    """What a client of the server would get for the call, as JSON text."""
    try:
        arguments = parse_arguments(case.request.get("tool_input"))
        situation = _situation(case.api_doc, arguments)
        _ = situation.call.key
    except CallError as problem:
        return json_text.encode({"error": problem.message, "response": ""}).decode()
    except (ValidationError, FormatError):
        return ""
    answer = await simulator.play(situation)
    return "" if isinstance(answer, Decline) else answer.body.decode()


def _situation(api_doc: dict[str, Any], arguments: dict[str, Any]) -> SimulationRequest:
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
