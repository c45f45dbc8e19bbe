"""An episode at the server, for an agent that makes its calls itself.

The server makes the calls and records them. The runner reads the record from time to time, so that the
trajectory is as complete as that of an agent whose calls the runner makes.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import orjson

from stb_agents.environment.server_client import VirtualClient
from stb_core.errors import ServiceError
from stb_core.usage import Usage
from stb_core.values import Step, StopReason
from stb_core.values.episodes import FailedCall
from stb_core.values.trajectories import Timing

_PATH = "/v1/episodes"


@dataclass(frozen=True)
class EpisodeUpdate:
    """What was done in an episode since it was last read; ``stop`` is None while it is open.

    ``shapes`` and ``failure`` are about its model calls over the server's proxy, as in ``EpisodeRecord``.
    """

    steps: tuple[Step, ...]
    usage: Usage
    simulator_usage: Usage
    timing: Timing
    stop: StopReason | None
    final_answer: str
    error: str
    shapes: tuple[str, ...] = ()
    failure: FailedCall | None = None

    @property
    def is_active(self) -> bool:
        """Whether the agent made a call or asked a model."""
        return bool(self.steps or self.timing.model_calls)


class ServerEpisode:
    """One open episode."""

    def __init__(self, client: VirtualClient, opened: dict[str, Any]) -> None:
        self._client = client
        self._token: str = opened["token"]
        self._path = f"{_PATH}/{opened['id']}"
        self._n_steps = 0
        self._usage = self._simulator_usage = Usage()
        self._timing = Timing()
        self.is_open = True
        self.functions = tuple(tool["name"] for tool in opened["tools"])
        self.address = {
            "url": f"{client.url}{self._path}",
            **{name: opened[name] for name in ("id", "token", "mcp_url", "proxy_url")},
        }
        """What an agent needs to make calls in it."""

    @classmethod
    async def open(cls, client: VirtualClient, request: dict[str, Any]) -> Self | None:
        """Open an episode that the server does not store as a run; None where it has no episodes.

        Args:
            client: of the server; its dataset, mode and snapshot are those of the episode.
            request: further members of the body of ``POST /v1/episodes``.

        Raises:
            ServiceError: the server does not answer, or refuses.
        """
        body = {**client.scope, **request, "record": False}
        response = await client.exchange("POST", f"{_PATH}?format=mcp", body)
        if response.status in {404, 405} and b'"type"' not in response.content:
            return None
        return cls(client, _document(client, response.status, response.content))

    async def read_update(self) -> EpisodeUpdate:
        """What was done since this was last called.

        Raises:
            ServiceError: the server does not answer, or no longer has the episode.
        """
        response = await self._client.exchange("GET", self._path, token=self._token)
        record = _document(self._client, response.status, response.content)
        steps = [Step.model_validate(step) for step in record["steps"]]
        usage, simulator = (Usage.model_validate(record[name]) for name in ("usage", "simulator_usage"))
        timing = Timing.model_validate(record["timing"])
        update = EpisodeUpdate(
            steps=tuple(steps[self._n_steps :]),
            usage=_usage_since(usage, self._usage),
            simulator_usage=_usage_since(simulator, self._simulator_usage),
            timing=_timing_since(timing, self._timing),
            stop=StopReason(record["stop"]) if record["stop"] else None,
            final_answer=record["final_answer"],
            error=record["error"],
            shapes=tuple(record.get("model_shapes", ())),  # older servers do not say
            failure=FailedCall.model_validate(failure) if (failure := record.get("model_failure")) else None,
        )
        self._n_steps, self._usage, self._simulator_usage = len(steps), usage, simulator
        self._timing = timing
        self.is_open = update.stop is None
        return update

    async def close(self) -> None:
        """End the episode at the server, if it is open; its outcome is already recorded here."""
        if self.is_open:
            self.is_open = False
            with suppress(ServiceError):  # then it expires
                await self._client.exchange(
                    "POST", f"{self._path}/finish", {"answer": None}, token=self._token
                )


def _document(client: VirtualClient, status: int, content: bytes) -> dict[str, Any]:
    try:
        document: dict[str, Any] = orjson.loads(content)
        if status < 300:
            return document
        reason = document["error"]
    except (ValueError, TypeError, KeyError):
        reason = f"HTTP {status}"
    raise ServiceError(f"The server at {client.url} refuses an episode: {reason}")


def _usage_since(usage: Usage, before: Usage) -> Usage:
    """The difference of two sums of usage."""
    known = usage.cost_usd is not None
    return Usage(
        model_calls=usage.model_calls - before.model_calls,
        prompt_tokens=usage.prompt_tokens - before.prompt_tokens,
        completion_tokens=usage.completion_tokens - before.completion_tokens,
        cached_tokens=usage.cached_tokens - before.cached_tokens,
        cost_usd=(usage.cost_usd or 0.0) - (before.cost_usd or 0.0) if known else None,
        timed_out=usage.timed_out - before.timed_out,
    )


def _timing_since(timing: Timing, before: Timing) -> Timing:
    """The difference of two sums of timing."""
    return Timing(
        tool_seconds=timing.tool_seconds - before.tool_seconds,
        model_seconds=timing.model_seconds - before.model_seconds,
        tool_calls=timing.tool_calls[len(before.tool_calls) :],
        model_calls=timing.model_calls[len(before.model_calls) :],
    )
