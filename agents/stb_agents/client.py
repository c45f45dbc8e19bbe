"""The client of the virtual API server: ``POST /virtual`` and ``GET /readyz``."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any, Self

import httpx2
import orjson

from stb_core.errors import ServiceError
from stb_core.lanes import Lanes
from stb_core.retries import Patience, Retries, retry_after_s
from stb_core.tools import ApiRef

DEFAULT_PATIENCE = Patience(deadline_s=60, connect_timeout_s=5, read_timeout_s=120, longest_wait_s=5)


@dataclass(frozen=True)
class Answer:
    """What the server answered: ``body`` is the text an agent is shown, the rest is about it.

    ``error`` is the body's error text; ``kind`` is the server's word for a failure that the agent is
    told of, such as ``miss``.
    """

    body: str
    error: str
    provenance: str
    key: str | None
    kind: str


@dataclass(frozen=True)
class Served:
    """A dataset that a server has, and the mode in which it answers."""

    name: str
    content_hash: str
    responses_hash: str
    mode: str


class VirtualClient:
    """Calls APIs of one dataset at one server; an async context manager."""

    def __init__(
        self, url: str, dataset: str = "", *, token: str = "", patience: Patience = DEFAULT_PATIENCE
    ) -> None:
        self.url = url.rstrip("/")
        headers = {"X-STB-Dataset": dataset} if dataset else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._patience = patience
        self._rng = random.Random(0)
        self._http = httpx2.AsyncClient(
            base_url=self.url,
            headers=headers,
            timeout=httpx2.Timeout(patience.read_timeout_s, connect=patience.connect_timeout_s),
            transport=Lanes(self.url),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def call(self, ref: ApiRef, arguments: str) -> Answer:
        """Call an API with arguments as JSON text.

        Raises:
            ServiceError: the server does not answer, or not as agreed.
        """
        body = orjson.dumps(
            {
                "category": ref.category,
                "tool_name": ref.tool,
                "api_name": ref.api,
                "tool_input": arguments,
                "strip": "",
                "toolbench_key": "",
            }
        )
        response = await self._post(body)
        try:
            answer = orjson.loads(response.content)
            error = answer["error"]
            _ = answer["response"]
        except (ValueError, TypeError, KeyError):
            raise ServiceError(
                f"The server at {self.url} answered {response.text[:100]!r} in place of a tool's answer.",
                hint="See that it is a server of this program.",
            ) from None
        headers = response.headers
        return Answer(
            body=response.text,
            error=error if isinstance(error, str) else orjson.dumps(error).decode(),
            provenance=headers.get("x-stb-provenance", ""),
            key=headers.get("x-stb-key"),
            kind=headers.get("x-stb-error", ""),
        )

    async def _post(self, body: bytes) -> httpx2.Response:
        retries = Retries(self._patience, self._rng)
        while True:
            try:
                response = await self._http.post(
                    "/virtual", content=body, headers={"Content-Type": "application/json"}
                )
            except httpx2.HTTPError as problem:
                reason, wait = f"{problem}" or type(problem).__name__, retries.next_wait_s()
            else:
                if response.status_code == 200:
                    return response
                reason = f"HTTP {response.status_code}, {_error_of(response)}"
                passing = response.status_code == 429 or response.status_code >= 500
                wait = retries.next_wait_s(retry_after_s(response.headers)) if passing else None
            if wait is None:
                raise ServiceError(
                    f"The server at {self.url} did not answer a call: {reason.rstrip('.')}.",
                    hint="See its log; the same command again repeats what failed.",
                )
            await asyncio.sleep(wait)

    async def served(self, *, timeout_s: float = 5.0) -> list[Served]:
        """The datasets of the server.

        Raises:
            ServiceError: nothing answers there, or something else does.
        """
        try:
            response = await self._http.get("/readyz", timeout=timeout_s)
            document: dict[str, Any] = orjson.loads(response.content)
            return [
                Served(row["name"], row["content_hash"], row["responses_hash"], document["mode"])
                for row in document["datasets"]
            ]
        except (httpx2.HTTPError, httpx2.InvalidURL) as problem:
            reason = str(problem) or type(problem).__name__
            raise ServiceError(
                f"The server at {self.url} cannot be reached ({reason}).",
                hint="Start one with 'stb serve', or leave --server out.",
            ) from None
        except (ValueError, TypeError, KeyError):
            raise ServiceError(
                f"What answers at {self.url} is not a virtual API server.", hint="Check --server."
            ) from None


def _error_of(response: httpx2.Response) -> str:
    try:
        body = orjson.loads(response.content)
        return str(body["error"])[:200]
    except (ValueError, TypeError, KeyError):
        return " ".join(response.text.split())[:100]
