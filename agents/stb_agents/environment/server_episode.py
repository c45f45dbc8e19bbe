"""An episode at the server, for an agent that makes its calls itself: opened here, played elsewhere.

The server makes the calls and keeps the record; what is new in it is read from time to time, so that the
trajectory is as complete as if the calls had been made here.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import orjson

from stb_agents.environment.server_client import VirtualClient
from stb_core.errors import ServiceError
from stb_core.usage import Usage
from stb_core.values.trajectories import Step, StopReason, Timing

_PATH = "/v1/episodes"


@dataclass(frozen=True)
class News:
    """What was done in an episode since it was last looked at; ``stop`` is None while it is open."""

    steps: tuple[Step, ...]
    usage: Usage
    simulator_usage: Usage
    timing: Timing
    stop: StopReason | None
    final_answer: str
    error: str

    @property
    def is_active(self) -> bool:
        """Whether the agent did something: it made a call, or asked a model."""
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
        """What an agent must know to play it."""

    @classmethod
    async def open(cls, client: VirtualClient, asked: dict[str, Any]) -> Self | None:
        """Open one, of which the server keeps no run; None where the server knows no such thing.

        Args:
            client: of the server; its dataset, mode and snapshot are those of the episode.
            asked: further members of what ``POST /v1/episodes`` takes.

        Raises:
            ServiceError: the server does not answer, or refuses.
        """
        asked = {**client.asked, **asked, "record": False}
        response = await client.exchange("POST", f"{_PATH}?format=mcp", asked)
        if response.status in {404, 405} and b'"type"' not in response.content:
            return None
        return cls(client, _document(client, response.status, response.content))

    async def news(self) -> News:
        """What was done since this was last asked.

        Raises:
            ServiceError: the server does not answer, or does not know the episode any more.
        """
        response = await self._client.exchange("GET", self._path, token=self._token)
        told = _document(self._client, response.status, response.content)
        steps = [Step.model_validate(step) for step in told["steps"]]
        usage, simulator = (Usage.model_validate(told[name]) for name in ("usage", "simulator_usage"))
        timing = Timing.model_validate(told["timing"])
        found = News(
            steps=tuple(steps[self._n_steps :]),
            usage=_more(usage, self._usage),
            simulator_usage=_more(simulator, self._simulator_usage),
            timing=_later(timing, self._timing),
            stop=StopReason(told["stop"]) if told["stop"] else None,
            final_answer=told["final_answer"],
            error=told["error"],
        )
        self._n_steps, self._usage, self._simulator_usage = len(steps), usage, simulator
        self._timing = timing
        self.is_open = found.stop is None
        return found

    async def close(self) -> None:
        """End it, if it is open: its outcome is known, and on record here."""
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


def _more(usage: Usage, before: Usage) -> Usage:
    """What was consumed since."""
    known = usage.cost_usd is not None
    return Usage(
        model_calls=usage.model_calls - before.model_calls,
        prompt_tokens=usage.prompt_tokens - before.prompt_tokens,
        completion_tokens=usage.completion_tokens - before.completion_tokens,
        cached_tokens=usage.cached_tokens - before.cached_tokens,
        cost_usd=(usage.cost_usd or 0.0) - (before.cost_usd or 0.0) if known else None,
    )


def _later(timing: Timing, before: Timing) -> Timing:
    """What took its time since."""
    return Timing(
        tool_seconds=timing.tool_seconds - before.tool_seconds,
        model_seconds=timing.model_seconds - before.model_seconds,
        tool_calls=timing.tool_calls[len(before.tool_calls) :],
        model_calls=timing.model_calls[len(before.model_calls) :],
    )
