"""A limit on cost: a call that could exceed it is not made, and calls under way are waited for."""

from __future__ import annotations

import asyncio

import pytest

from stb_core.errors import ModelUnavailableError
from stb_core.llm.cost_limit import CostLimit, CostLimitedModel, CostLimitReached, most_cost_usd
from stb_core.llm.protocol import Reply, Request
from stb_core.usage import Price, Usage
from stb_core.values.trajectories import Message

REQUEST = Request(messages=(Message(role="user", content="?"),), max_tokens=100)
PRICE = Price(input=0.0, output=10_000.0)
"""USD per million tokens: a call of ``REQUEST`` costs 1 USD at most."""


class Held:
    """A model whose calls wait for ``release``, and cost 0.25 USD each."""

    name = "held/model"

    def __init__(self) -> None:
        self.calls = 0
        self.is_asked = asyncio.Event()
        self.release = asyncio.Event()
        self.problem: Exception | None = None

    async def complete(self, request: Request) -> Reply:
        """See ``Model``."""
        self.calls += 1
        self.is_asked.set()
        await self.release.wait()
        if self.problem:
            raise self.problem
        return Reply(content="!", usage=Usage(model_calls=1, completion_tokens=25, cost_usd=0.25))


async def test_a_call_that_could_exceed_the_limit_is_not_made() -> None:
    """The message says what is spent, and no further call is made."""
    model = Held()
    limited = CostLimitedModel(model, CostLimit(2.0, spent_usd=1.5), PRICE)

    with pytest.raises(CostLimitReached, match=r"\$1\.5000 of the \$2 that --max-cost allows are spent"):
        await limited.complete(REQUEST)

    assert model.calls == 0


async def test_a_call_waits_for_one_under_way_that_may_turn_out_cheaper() -> None:
    """Each may cost 1 USD and costs 0.25, so with a limit of 1.5 USD both are made, one after the other."""
    model = Held()
    limit = CostLimit(1.5)
    limited = CostLimitedModel(model, limit, PRICE)
    tasks = [asyncio.create_task(limited.complete(REQUEST)) for _ in range(2)]
    await model.is_asked.wait()
    await asyncio.sleep(0)  # the second call gets its turn too
    before = model.calls

    model.release.set()
    await asyncio.gather(*tasks)

    assert (before, model.calls, limit.spent_usd) == (1, 2, 0.5)


async def test_a_call_that_fails_is_paid_and_frees_what_was_reserved() -> None:
    """What its attempts consumed counts, and the next call is made."""
    model, limit = Held(), CostLimit(2.0)
    limited = CostLimitedModel(model, limit, PRICE)
    model.release.set()
    model.problem = ModelUnavailableError("away", usage=Usage(model_calls=1, cost_usd=0.5))
    with pytest.raises(ModelUnavailableError):
        await limited.complete(REQUEST)
    model.problem = None

    await limited.complete(REQUEST)

    assert limit.spent_usd == 0.75


def test_structured_output_may_be_asked_for_several_times() -> None:
    """So the most that it can cost is three times that of a plain request."""
    structured = REQUEST.model_copy(update={"response_schema": {"type": "object"}})

    assert most_cost_usd(REQUEST, PRICE, 0) == 1.0
    assert most_cost_usd(structured, PRICE, 0) == 3.0
