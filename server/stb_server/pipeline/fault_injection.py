"""Injects a plan's faults into answers: marked by the provenance ``fault``, and counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from stb_core.values import Provenance, ToolCall
from stb_server.calls import Answer, CallRequest, encode_answer
from stb_server.pipeline.fault_plan import DAMAGES, FaultKind, FaultPlan, uniform

# What ToolBench's proxy answers in each case.
_REFUSALS: dict[FaultKind, tuple[str, Any]] = {
    FaultKind.DOWN: (
        "API not working error...",
        {
            "messages": "The API is unreachable, please contact the API provider",
            "info": "Your Client (working) ---> Gateway (working) ---> API (not working)",
        },
    ),
    FaultKind.TOO_MANY: ("Too many requests error...", {"message": "Too many requests"}),
    FaultKind.EMPTY: ("", ""),
}
_SERVER_ERRORS = {
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


def refuse(kind: FaultKind, call: ToolCall, seed: int) -> Answer:
    """The answer of a fault that needs no true answer."""
    details: dict[str, Any] = {"fault": kind.value, "fault_seed": seed}
    if kind is FaultKind.SERVER_ERROR:
        chosen = int(uniform(seed, "status", call.key) * len(_SERVER_ERRORS))
        status, reason = list(_SERVER_ERRORS.items())[chosen]
        details["status"] = status
        error, response = "Message error...", {"status": status, "message": reason}
    else:
        error, response = _REFUSALS[kind]
    return Answer(
        encode_answer(error, response), Provenance.FAULT, error="fault" if error else "", details=details
    )


def damage(kind: FaultKind, answer: Answer, seed: int) -> Answer:
    """A true answer with the fault in it; ``details`` say where the true answer came from."""
    envelope = _envelope(answer.body)
    response = (
        _shorten(envelope["response"]) if kind is FaultKind.TRUNCATED else _reshape(envelope["response"])
    )
    details = {
        **(answer.details or {}),
        "fault": kind.value,
        "fault_seed": seed,
        "of": answer.provenance.value,
    }
    body = encode_answer(envelope["error"], response)
    return Answer(body, Provenance.FAULT, answer.tier, answer.error, details)


def _envelope(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = body.decode("utf-8", "replace")
    if not isinstance(found, dict) or "response" not in found:
        found = {"response": found}
    return {"error": str(found.get("error") or ""), "response": found["response"]}


def _shorten(response: Any) -> str:
    text = response if isinstance(response, str) else orjson.dumps(response).decode()
    return text[: len(text) // 2]


def _reshape(response: Any) -> Any:
    if isinstance(response, dict):
        return list(response.values())
    if isinstance(response, list):
        return {str(position): item for position, item in enumerate(response)}
    return [response]


class FaultCounts:
    """How many calls of this process were hit so far, by fault, and how many were delayed."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._apis: dict[str, set[tuple[str, str, str]]] = {}
        self._delayed = 0
        self._delay_s = 0.0

    def hit(self, kind: FaultKind, call: ToolCall) -> None:
        """Count a fault that hit a call."""
        self._calls[kind.value] += 1
        self._apis.setdefault(kind.value, set()).add((call.category, call.tool, call.api))

    def delayed(self, seconds: float) -> None:
        """Count a delay."""
        self._delayed += 1
        self._delay_s += seconds

    def report(self) -> dict[str, Any]:
        """Counts by fault: the calls and the APIs that it hit; and the delays, in seconds."""
        return {
            "faults": {
                kind.value: {"calls": self._calls[kind.value], "apis": len(self._apis[kind.value])}
                for kind in FaultKind
                if self._calls[kind.value]
            },
            "delayed_calls": self._delayed,
            "delay_s": round(self._delay_s, 6),
        }


class Faults:
    """Applies a plan: before a call is answered, and to its answer."""

    def __init__(self, plan: FaultPlan, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.plan = plan
        self.counts = FaultCounts()
        self._sleep = sleep

    async def apply(self, request: CallRequest, answer: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer to a call with the faults that hit it; ``answer`` gives the true one if it is needed."""
        fault = await self.before(request)
        return fault or self.after(request, await answer())

    async def before(self, request: CallRequest) -> Answer | None:
        """Delay the call; if a fault that needs no true answer hits it, return the answer of that fault."""
        if (seconds := self.plan.delay_s(request.call)) > 0:
            self.counts.delayed(seconds)
            await self._sleep(seconds)
        kind = self.plan.fault(request.call)
        if kind is None or kind in DAMAGES:
            return None
        self.counts.hit(kind, request.call)
        return refuse(kind, request.call, self.plan.seed)

    def after(self, request: CallRequest, answer: Answer) -> Answer:
        """The answer, damaged if such a fault hits the call; a miss stays a miss."""
        kind = self.plan.fault(request.call)
        if kind not in DAMAGES or answer.provenance is Provenance.MISS:
            return answer
        assert kind
        self.counts.hit(kind, request.call)
        return damage(kind, answer, self.plan.seed)
