"""Injected faults say that they are faults, and are counted."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from stb_core.store.datasets import Dataset
from stb_core.values.calls import ToolCall
from stb_core.values.provenance import Provenance
from stb_server.calls.answers import Answer, CallRequest
from stb_server.calls.protocol import encode_answer
from stb_server.pipeline.fault_injection import Faults
from stb_server.pipeline.fault_plan import parse_faults
from stb_server.upstream.answer_quality import assess

DATASET = Dataset(1, "d", "", "", "", 0, "", "")
CALLS = [ToolCall("Data", f"tool{n}", "api", {"n": m}) for n in range(400) for m in range(2)]


class Always:
    """Always has the same answer."""

    def __init__(self, response: Any = None) -> None:
        self.answer_ = Answer(encode_answer("", response), Provenance.RECORDED, "memory", details={"a": 1})
        self.asked = 0

    async def answer(self) -> Answer:
        self.asked += 1
        return self.answer_


async def met(spec: str, response: Any = None) -> tuple[Answer, Always]:
    source = Always(response)
    return await Faults(parse_faults(spec)).apply(CallRequest(DATASET, CALLS[0]), source.answer), source


@pytest.mark.parametrize("kind", ["down", "429", "5xx", "empty"])
async def test_a_failing_api_is_not_asked(kind: str) -> None:
    """The answer is a failure in ToolBench's form, marked as a fault, and nothing is spent on it."""
    outcome, source = await met(f"{kind}=1", {"a": 1})

    assert (Provenance.FAULT, kind, 0) == (outcome.provenance, (outcome.details or {})["fault"], source.asked)
    body = orjson.loads(outcome.body)
    assert not assess(body["response"], error=body["error"]).usable


@pytest.mark.parametrize(
    ("spec", "response", "damaged"),
    [
        ("truncated=1", {"title": "Riga"}, '{"title"'),
        ("truncated=1", "abcdef", "abc"),
        ("wrong_shape=1", {"title": "Riga"}, ["Riga"]),
        ("wrong_shape=1", ["Riga", 2], {"0": "Riga", "1": 2}),
        ("wrong_shape=1", "Riga", ["Riga"]),
    ],
)
async def test_a_damaged_answer_comes_from_a_true_one(spec: str, response: Any, damaged: Any) -> None:
    """The damage is marked, and where the true answer came from is kept."""
    outcome, source = await met(spec, response)

    assert {"error": "", "response": damaged} == orjson.loads(outcome.body)
    assert (Provenance.FAULT, 1) == (outcome.provenance, source.asked)
    details = outcome.details or {}
    assert (1, spec.removesuffix("=1"), "recorded") == (details["a"], details["fault"], details["of"])


async def test_without_a_fault_the_answer_is_the_layers() -> None:
    """Not a byte of it is touched."""
    outcome, source = await met("down=0", {"a": 1})

    assert source.answer_ is outcome


def test_a_miss_cannot_be_damaged() -> None:
    """What no layer answers stays a miss."""
    faults = Faults(parse_faults("truncated=1"))

    miss = Answer(encode_answer("nothing"), Provenance.MISS, error="miss")
    assert miss is faults.after(CallRequest(DATASET, CALLS[0]), miss)
    assert {} == faults.counts.report()["faults"]


async def test_what_landed_is_counted() -> None:
    """Calls and APIs by kind, and the delays that were really waited."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    plan = parse_faults("down=0.5,wrong_shape=1,latency=fixed:0.25")
    faults = Faults(plan, sleep=sleep)
    source = Always({"a": 1})
    for call in CALLS:
        await faults.apply(CallRequest(DATASET, call), source.answer)

    report = faults.counts.report()
    down = parse_faults("down=0.5")
    apis = len({call.tool for call in CALLS if down.fault(call)})
    assert {
        "faults": {
            "down": {"calls": 2 * apis, "apis": apis},
            "wrong_shape": {"calls": 800 - 2 * apis, "apis": 400 - apis},
        },
        "delayed_calls": 800,
        "delay_s": 200.0,
    } == report
    assert [0.25] * 800 == waited
