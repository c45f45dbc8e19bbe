"""The simulator ``llm`` on a real vLLM server; part of ``.ci/run --long``: STB_TEST_VLLM=http://HOST:PORT/v1 pytest -m vllm.

STB_TEST_VLLM_MODEL names the model, ``tiny`` by default. Any will do: with random weights the text
is noise, and what is tested is real, namely the server, its grammar and our reading of its replies.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from jsonschema.protocols import Validator

import sim_world
from stb_core.cli import console
from stb_core.llm.protocol import Endpoint
from stb_core.llm.retries import Patience
from stb_core.store import Store
from stb_core.values.calls import ToolCall
from stb_core.values.tools import ApiRef, ToolDocument
from stb_experiments.simulator_fidelity.live import open_simulator_alone
from stb_server.calls.answers import Answer, Decline
from stb_server.simulators.ask import SimulatorSampling
from stb_server.simulators.documents import Subject
from stb_server.simulators.options import SimulatorOptions
from stb_server.simulators.protocol import SimulationRequest
from stb_server.simulators.schemas import schema_of_template

pytestmark = pytest.mark.vllm

CALLS = 64


@pytest.fixture
def options() -> SimulatorOptions:
    url = os.environ.get("STB_TEST_VLLM")
    if not url:
        pytest.skip("STB_TEST_VLLM does not name a vLLM server")
    return SimulatorOptions(
        "llm",
        model=f"vllm/{os.environ.get('STB_TEST_VLLM_MODEL', 'tiny')}",
        endpoints=(Endpoint(url, None, "VLLM_BASE_URL", "VLLM_API_KEY"),),
        patience=Patience(deadline_s=240, read_timeout_s=200),
        connections=16,
        # Random weights end a text by chance alone, so they must be sampled and may be cut.
        sampling=SimulatorSampling(temperature=1.0, max_tokens=1500),
    )


def situations(release: Path) -> list[tuple[SimulationRequest, dict[str, Any]]]:
    """Calls of real APIs with small templates, each with the schema of its answer."""
    found: list[tuple[SimulationRequest, dict[str, Any]]] = []
    for file in sorted((release / "tools").glob("*/*.json")):
        tool = ToolDocument.model_validate({"category": file.parent.name, **orjson.loads(file.read_bytes())})
        for api in tool.api_list:
            schema = schema_of_template(api.template_response)
            if schema is None or api.required_parameters or not 40 < len(orjson.dumps(schema)) < 400:
                continue
            ref = ApiRef(tool.category, tool.standard_name, api.standard_name)
            call = ToolCall(*ref, {})
            found.append(
                (SimulationRequest(Subject(ref, tool.tool_name, tool.tool_description, api), call), schema)
            )
            break
    return found[:CALLS]


async def test_every_answer_parses_and_fits_the_schema(options: SimulatorOptions, real_data: Path) -> None:
    """All answers of 64 real APIs are strict JSON of their documented shape; figures are printed."""
    asked = situations(real_data / "release")
    started = time.monotonic()

    async with open_simulator_alone(options) as player:
        answers = await asyncio.gather(*(player.simulate(situation) for situation, _ in asked))
    seconds = time.monotonic() - started

    unfit = []
    for answer, (_, schema) in zip(answers, asked, strict=True):
        if isinstance(answer, Decline):
            continue
        body = orjson.loads(answer.body)
        validator: Validator = jsonschema.Draft202012Validator(schema)
        if body["response"] != "" and not validator.is_valid(body["response"]):
            unfit.append(body)
        assert (body["response"] == "") <= bool(body["error"])
    outcomes = Counter(a.kind if isinstance(a, Decline) else "answered" for a in answers)
    usage = player.counts.usage
    console.print_note(
        f"{CALLS} calls in {seconds:.1f} s: {dict(outcomes)}; replies {dict(player.counts.kinds)}; "
        f"{usage.prompt_tokens} + {usage.completion_tokens} tokens, {usage.cached_tokens} from the prefix cache"
    )
    assert [] == unfit
    assert outcomes["answered"] >= 0.9 * CALLS


async def test_the_same_seed_gives_the_same_answer(options: SimulatorOptions, sqlite_store: Store) -> None:
    """The server's sampling is reproducible: same prompt hash, same bytes."""
    await sim_world.build(sqlite_store)
    film = sim_world.FILMS
    ref = ApiRef(film.category, film.standard_name, "search")
    situation = SimulationRequest(
        Subject(ref, film.tool_name, film.tool_description, film.api_list[0]), ToolCall(*ref, {"title": "x"})
    )

    async with open_simulator_alone(options) as player:
        first, second = [await player.simulate(situation) for _ in range(2)]

    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert first.details is not None
    assert second.details is not None
    assert first.details["prompt_hash"] == second.details["prompt_hash"]
    assert first.body == second.body
