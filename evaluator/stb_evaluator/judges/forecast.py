"""What verdicts will cost, before a judge is asked for them: its prompts are built, and not sent."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from stb_core.llm import CostLimit, Reply, Request, ScriptedModel, Spending, most_cost_usd
from stb_core.store import Store
from stb_core.usage import Price
from stb_core.values import FunctionCall, Status
from stb_evaluator.judges.ask_many import Job, Reserve
from stb_evaluator.judges.judge import AskingJudge

CHARACTERS_PER_TOKEN = 4
REPLY_TOKENS = 100
"""Tokens of a reply of a judge that has not replied yet."""

_LONGEST_REPLY = 4096
"""Tokens of a reply that the request does not limit."""
_N_EARLIER = 1000

AnyJudge = TypeVar("AnyJudge", bound=AskingJudge)


class PromptMeter(ScriptedModel):
    """A model that asks nobody: it keeps the requests, and is always unsure, so that every stage is built."""

    def __init__(self, name: str) -> None:
        super().__init__(_reply_undecided, name)


def _reply_undecided(request: Request) -> Reply:
    """A reply that is readable, and decides nothing."""
    schema: Any = request.response_schema or {}
    if request.functions:
        schema = request.functions[0].parameters
    reply = json.dumps({name: _undecided(shape) for name, shape in schema.get("properties", {}).items()})
    if request.functions:
        return Reply(tool_calls=(FunctionCall(id="0", name=request.functions[0].name, arguments=reply),))
    return Reply(content=reply)


def _undecided(shape: Any) -> Any:
    shape = shape if isinstance(shape, dict) else {}
    words = [str(word) for word in shape.get("enum", ())]
    if words:
        return next((word for word in words if word.lower() == Status.UNSURE), words[0])
    return 0 if shape.get("type") in {"integer", "number"} else Status.UNSURE.value


async def build_prompts(judge: AnyJudge, ask: Callable[[AnyJudge], Awaitable[object]]) -> list[Request]:
    """All requests that one verdict may take; ``ask`` asks the judge for it."""
    meter = PromptMeter(judge.name)
    await ask(judge.with_model(meter))
    return meter.requests


@dataclass(frozen=True)
class Allowance:
    """The limit on what a command may spend on judges, and the price of one judge's tokens."""

    limit: CostLimit
    price: Price

    @asynccontextmanager
    async def reserve(
        self, judge: AnyJudge, ask: Callable[[AnyJudge], Awaitable[object]]
    ) -> AsyncGenerator[Spending]:
        """Reserve the most that one verdict can cost, in all its stages; see ``CostLimit.reserve``.

        Raises:
            CostLimitReached: the verdict could exceed the limit.
        """
        async with self.limit.reserve(_most_usd(await build_prompts(judge, ask), self.price)) as spending:
            yield spending


def reserving(
    allowance: Allowance | None, judge: object, ask: Callable[[Job], Callable[[Any], Awaitable[object]]]
) -> Reserve[Job] | None:
    """Reserves the cost of a job that ``ask`` asks a judge about; None where nothing limits its cost."""
    if allowance is None or not isinstance(judge, AskingJudge):
        return None
    return lambda job: allowance.reserve(judge, ask(job))


def _most_usd(requests: Sequence[Request], price: Price) -> float:
    return sum(most_cost_usd(request, price, _LONGEST_REPLY) for request in requests)


@dataclass(frozen=True)
class VerdictForecast:
    """What a judge would be asked, and what that would cost; a cost is None without a price.

    Attributes:
        verdicts: that are missing.
        calls: of the model.
        prompt_tokens: at four characters per token.
        completion_tokens: as long as earlier replies of this judge, or ``REPLY_TOKENS`` each.
        cost_usd: at the price in the settings.
        most_cost_usd: if every stage is asked, every token is one byte, and every reply is repeated.
        earlier: verdicts of this judge that the estimate is based on.
    """

    verdicts: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0
    most_cost_usd: float | None = 0.0
    earlier: int = 0

    def __add__(self, other: VerdictForecast) -> VerdictForecast:
        """The sums of both; unknown if either is."""
        sums: dict[str, Any] = {}
        for one in fields(self):
            mine, others = getattr(self, one.name), getattr(other, one.name)
            sums[one.name] = None if mine is None or others is None else mine + others
        return VerdictForecast(**sums)


async def forecast_verdicts(
    store: Store,
    judge: AnyJudge,
    metric: str,
    asks: Sequence[Callable[[AnyJudge], Awaitable[object]]],
    price: Price | None,
) -> VerdictForecast:
    """What a judge would be asked for the verdicts that ``asks`` ask for.

    How often a verdict takes a second call, and how long a reply is, is taken from the latest verdicts
    of this judge with this rubric; without any, each takes one call.
    """
    earlier = [
        verdict.usage
        for verdict in await store.verdicts.latest(
            metric=metric, judge=judge.name, rubric=judge.rubric, limit=_N_EARLIER
        )
        if verdict.usage.model_calls
    ]
    n_calls = sum(usage.model_calls for usage in earlier)
    further = n_calls / len(earlier) - 1 if earlier else 0.0
    reply_tokens = sum(usage.completion_tokens for usage in earlier) / n_calls if earlier else REPLY_TOKENS
    first_tokens, further_tokens, most_usd = 0, 0, 0.0
    for ask in asks:
        requests = await build_prompts(judge, ask)
        first_tokens += _prompt_tokens(requests[0])
        further_tokens += _prompt_tokens(requests[-1])
        most_usd += _most_usd(requests, price) if price else 0.0
    calls = round(len(asks) * (1 + further))
    prompt, completion = round(first_tokens + further * further_tokens), round(calls * reply_tokens)
    return VerdictForecast(
        len(asks),
        calls,
        prompt,
        completion,
        price.cost_usd(prompt, completion) if price else None,
        most_usd if price else None,
        len(earlier),
    )


def _prompt_tokens(request: Request) -> int:
    text = "".join(message.content or "" for message in request.messages)
    shapes = [function.model_dump_json() for function in request.functions]
    return len(text + "".join(shapes)) // CHARACTERS_PER_TOKEN
