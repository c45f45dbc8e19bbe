"""The responses about episodes, as JSON values."""

from __future__ import annotations

from typing import Any

from stb_core.values import Episode, Functions
from stb_core.values.episodes import EpisodeRecord
from stb_core.values.observations import ObservationStyle
from stb_server.episodes.requests import ToolFormat, tools_as
from stb_server.episodes.service import CallOutcome


def addresses(base_url: str, token: str, *, proxy: bool) -> dict[str, str | None]:
    """Further URLs of an episode; ``proxy_url`` is None if no provider is configured."""
    base = base_url.rstrip("/")
    return {
        "mcp_url": f"{base}/e/{token}/mcp",
        "proxy_url": f"{base}/proxy/e/{token}/v1" if proxy else None,
    }


def episode_view(episode: Episode) -> dict[str, Any]:
    """The state of an episode."""
    terms = episode.terms
    return {
        "id": episode.id,
        "run": episode.run,
        "dataset": terms["dataset"],
        "group": episode.group,
        "query_id": episode.query_id,
        "trial": episode.trial,
        "query": terms["query"],
        "agent": terms["agent"],
        "model": terms["model"],
        "mode": terms["mode"],
        "snapshot": terms["snapshot"],
        "stateful": terms["stateful"],
        "max_observation": terms["max_observation"],
        "observation": ObservationStyle.of_settings(terms).form,
        "budget": terms["budget"],
        "finish": terms.get("finish", "call"),
        "answer_function": episode.answer_function,
        "status": "open" if episode.stop is None else "ended",
        "stop": episode.stop,
        "final_answer": episode.final_answer,
        "error": episode.error,
        "tool_calls": episode.tool_calls,
        "model_calls": episode.model_calls,
        "created_at": episode.created_at,
        "expires_at": episode.expires_at,
        "ended_at": episode.ended_at,
    }


def tools_view(functions: Functions, form: ToolFormat) -> dict[str, Any]:
    """The functions of an episode, with ``Finish`` as the last."""
    return {"format": form, "tools": tools_as(form, functions.schemas)}


def record_view(record: EpisodeRecord) -> dict[str, Any]:
    """The steps, usage and timing of an episode, and what its model's endpoint accepted and refused."""
    return {
        "steps": [step.model_dump(mode="json") for step in record.steps],
        "usage": record.usage.model_dump(mode="json"),
        "simulator_usage": record.simulator_usage.model_dump(mode="json"),
        "timing": record.timing.model_dump(mode="json"),
        "model_shapes": list(record.shapes),
        "model_failure": record.failure and record.failure.model_dump(mode="json"),
    }


def call_view(called: CallOutcome) -> dict[str, Any]:
    """The result of a call: the observation for the agent, and where it came from."""
    step, episode = called.step, called.episode
    return {
        "observation": step.observation,
        "error": step.error,
        "provenance": step.provenance,
        "key": step.key,
        "cache": called.tier or None,
        "hallucinated": step.hallucinated,
        "truncated": step.truncated,
        "status": "open" if episode.stop is None else "ended",
        "stop": episode.stop,
        "final_answer": episode.final_answer,
    }
