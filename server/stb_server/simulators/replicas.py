"""One model behind several endpoints: the least loaded healthy one is asked.

Each endpoint is checked at regular intervals. One that cannot be reached or refuses the key is left out
until it answers, and requests that wait for it go to another. If none is healthy, all are tried, so that
a single endpoint is retried as long as the client allows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from stb_core.errors import ModelError, ModelUnavailableError
from stb_core.llm import Model, Reply, Request
from stb_core.usage import Usage

_log = logging.getLogger(__name__)

CHECK_INTERVAL_S = 2.0
"""Seconds between two health checks of an endpoint."""
CHECK_TIMEOUT_S = 5.0
"""Timeout of one health check, in seconds."""


class Checked(Model, Protocol):
    """A model whose endpoint can be checked without asking the model."""

    async def check(self) -> None:
        """Check that it can be reached.

        Raises:
            ModelUnavailableError: it cannot.
        """
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...


@dataclass
class Replica:
    """One endpoint and its present state."""

    model: Checked
    is_healthy: bool = True
    in_flight: int = 0


class Replicas:
    """A model over several endpoints; ``async with`` checks their health meanwhile."""

    def __init__(
        self,
        models: Sequence[Checked],
        *,
        interval_s: float = CHECK_INTERVAL_S,
        timeout_s: float = CHECK_TIMEOUT_S,
    ) -> None:
        assert models, "at least one endpoint"
        self.replicas = [Replica(model) for model in models]
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._watching: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """``PROVIDER/MODEL``."""
        return self.replicas[0].model.name

    async def __aenter__(self) -> Self:
        if len(self.replicas) > 1:
            self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watching:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await asyncio.gather(*(replica.model.close() for replica in self.replicas))

    async def complete(self, request: Request) -> Reply:
        """Answer a request; see ``Model``.

        Raises:
            ModelUnavailableError: no endpoint answers.
        """
        if len(self.replicas) == 1:
            return await self.replicas[0].model.complete(request)
        tried: list[Replica] = []
        paid = Usage()  # replies of endpoints that failed later
        while True:
            replica = self._least_loaded(tried)
            try:
                reply = await self._ask(replica, request)
            except ModelUnavailableError as problem:
                tried.append(replica)
                if len(tried) >= len(self.replicas):
                    problem.add_usage(paid)
                    raise
                paid += problem.usage or Usage()
                continue
            except ModelError as problem:
                problem.add_usage(paid)
                raise
            if reply is not None:
                return reply.model_copy(update={"usage": paid + reply.usage})
            tried.append(replica)
            if len(tried) >= len(self.replicas):
                tried.clear()

    def _least_loaded(self, tried: Sequence[Replica]) -> Replica:
        """The endpoint with the fewest requests in flight; of equals the first."""
        left = [replica for replica in self.replicas if replica not in tried]
        return min(
            [replica for replica in left if replica.is_healthy] or left, key=lambda replica: replica.in_flight
        )

    async def _ask(self, replica: Replica, request: Request) -> Reply | None:
        """Its reply; None if it failed meanwhile and another endpoint is healthy."""
        replica.in_flight += 1
        answering = asyncio.ensure_future(replica.model.complete(request))
        try:
            while not answering.done():
                await asyncio.wait({answering}, timeout=self._interval_s)
                if (
                    not answering.done()
                    and not replica.is_healthy
                    and any(other.is_healthy for other in self.replicas)
                ):
                    return None
            return answering.result()
        finally:
            replica.in_flight -= 1
            if not answering.done():
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.gather(*(self._check_health(replica) for replica in self.replicas))
            await asyncio.sleep(self._interval_s)

    async def _check_health(self, replica: Replica) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await replica.model.check()
        except (ModelUnavailableError, TimeoutError) as problem:
            if replica.is_healthy:
                _log.warning("an endpoint is left out", extra={"model": self.name, "reason": str(problem)})
            replica.is_healthy = False
        else:
            replica.is_healthy = True
