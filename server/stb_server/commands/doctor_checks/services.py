"""Checks the services besides the store: Redis, and a running server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from stb_core.errors import UsageError
from stb_core.telemetry import mask_secrets
from stb_server.cache import check_url
from stb_server.commands.doctor_checks.check_result import CheckResult, failure, warning

_TIMEOUT_S = 5.0
_SKEW_S = 5.0


async def check_redis(url: str) -> list[CheckResult]:
    """Check the Redis that workers share; only reads from it."""
    if not url:
        return [CheckResult("redis", "not used: answers come from memory and the store")]
    try:
        check_url(url)
    except UsageError as problem:
        return [failure("redis", "redis-url-invalid", "STB_REDIS_URL is not a Redis URL", problem.hint)]
    client = Redis.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)
    try:
        about = await client.info()
        seconds, _ = await client.time()
    except (AuthenticationError, ResponseError) as problem:
        return [
            failure(
                "redis",
                "redis-refused",
                f"Redis refuses this client ({mask_secrets(str(problem))})",
                "Set user and password in STB_REDIS_URL: redis://USER:PASSWORD@HOST:6379/0.",
            )
        ]
    except (RedisError, OSError) as problem:
        return [
            failure(
                "redis",
                "redis-unreachable",
                f"Redis does not answer ({mask_secrets(str(problem))})",
                "Start it, correct STB_REDIS_URL, or unset it; without Redis answers come from the store.",
            )
        ]
    finally:
        await client.aclose()
    skew = abs(datetime.now(UTC).timestamp() - seconds)
    return [_memory(about), *([_skewed(skew)] if skew > _SKEW_S else [])]


def _memory(about: dict[str, Any]) -> CheckResult:
    version, limit = about.get("redis_version"), int(about.get("maxmemory") or 0)
    policy = str(about.get("maxmemory_policy") or "noeviction")
    if not limit:
        return warning(
            "redis",
            "redis-unbounded",
            f"Redis {version} answers, but has no memory limit",
            "Set one: redis-server --maxmemory 512mb --maxmemory-policy allkeys-lru.",
        )
    if policy == "noeviction":
        return warning(
            "redis",
            "redis-never-forgets",
            f"Redis {version} answers, but stores nothing new once {limit / 1e6:,.0f} MB are full",
            "Let it evict old keys: redis-server --maxmemory-policy allkeys-lru.",
        )
    return CheckResult("redis", f"Redis {version} answers; {limit / 1e6:,.0f} MB, {policy}")


def _skewed(skew_s: float) -> CheckResult:
    return warning(
        "redis clock",
        "clock-skewed",
        f"the clocks of this machine and Redis differ by {skew_s:.0f} s",
        "Synchronize both with the same time server (timedatectl set-ntp true).",
    )


async def check_server(url: str, token: str) -> list[CheckResult]:
    """Check the server for ``stb run``; no results without a URL."""
    if not url:
        return []
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
            answer = await client.get(f"{url.rstrip('/')}/readyz", headers=headers)
        document = answer.json() if answer.status_code != 401 else {}
        is_ours = answer.status_code == 401 or (isinstance(document, dict) and "parts" in document)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as problem:
        return [
            failure(
                "server",
                "server-unreachable",
                f"no StableToolBench server answers at {url} ({mask_secrets(str(problem)) or type(problem).__name__})",
                "Start it (stb serve, docker compose up -d), or correct STB_SERVER.",
            )
        ]
    if answer.status_code == 401:
        return [
            failure(
                "server",
                "server-token-refused",
                f"{url} needs another token",
                "Set STB_TOKEN to the token of the server.",
            )
        ]
    if not is_ours:
        return [
            failure(
                "server",
                "server-unreachable",
                f"{url} is not a StableToolBench server",
                "Correct STB_SERVER.",
            )
        ]
    parts = {name: part.get("status") for name, part in document["parts"].items()}
    if answer.status_code != 200:
        down = [name for name, status in parts.items() if status not in {"ok", "configured", "injecting"}]
        return [
            failure(
                "server",
                "server-not-ready",
                f"{url} cannot answer calls: {', '.join(down)}",
                "Check its database and its dataset; its log and /readyz have details.",
            )
        ]
    said = ", ".join(f"{name} {status}" for name, status in parts.items())
    return [CheckResult("server", f"{url} is ready in {document['mode']} mode: {said}")]
