"""What names a simulator in manifests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stb_core.usage import Price
from stb_server.simulators.ask import SimulatorSampling
from stb_server.simulators.mirrorapi_prompt import Variant
from stb_server.simulators.options import SimulatorOptions

LLM = SimulatorOptions("llm", "stub/any")


@pytest.mark.parametrize(
    "change",
    [
        {"model": "stub/other"},
        {"sampling": SimulatorSampling(seed=1)},
        {"sampling": SimulatorSampling(temperature=0.5)},
        {"examples": 0},
        {"example_tokens": 1},
        {"variant": Variant.COT},
        {"system_prompt": "Be an API."},
    ],
)
def test_whatever_could_change_an_answer_changes_the_name(change: dict[str, Any]) -> None:
    """Two runs that differ in it are not the same run."""
    assert replace(LLM, **change).identity != LLM.identity


def test_what_changes_no_answer_changes_no_name() -> None:
    """Connections and prices; a simulator without a model is named by its name."""
    assert replace(LLM, connections=1, price=Price(input=1, output=1)).identity == LLM.identity
    assert SimulatorOptions("template").identity == "template"
