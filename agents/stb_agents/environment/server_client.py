"""The client of the virtual API server: ``POST /virtual``, ``GET /readyz``, and what others ask of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote

import orjson
from pydantic import ValidationError

from stb_core.errors import ServiceError
from stb_core.http import HttpClient, HttpError, HttpResponse, ResponseTooLargeError
from stb_core.llm.retries import Patience, Retries, retry_after_s
from stb_core.telemetry import logs, traces
from stb_core.usage import Usage
from stb_core.values.tools import ApiRef

DEFAULT_PATIENCE = Patience(deadline_s=60, connect_timeout_s=5, read_timeout_s=120, longest_wait_s=5)
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """What the server answered: ``body`` is the text an agent is shown, the rest is about it.

    ``error`` is the body's error text; ``kind`` is the server's word for a failure that the agent is
    told of, such as ``miss``; ``usage`` is what its simulator consumed for this call.
    """

    body: str
    error: str
    provenance: str
    key: str | None
    kind: str
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True)
class Served:
    """A dataset that a server has, and how the server answers.

    ``modes`` are those that it can answer in when asked; ``settings`` is what else could change an
    answer: its simulator and its injected faults.
    """

    name: str
    content_hash: str
    responses_hash: str
    mode: str
    modes: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)


class VirtualClient:
    """Calls APIs of one dataset at one server; an async context manager.

    Args:
        url: of the server.
        dataset: the server's name of the dataset; "" is its default.
        mode: what may answer; "" is the server's own mode.
        snapshot: content hash of the responses that may answer; "" is all that are in force.
        token: the server's token.
        patience: timeouts and retries.
    """

    def __init__(
        self,
        url: str,
        dataset: str = "",
        *,
        mode: str = "",
        snapshot: str = "",
        token: str = "",
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        self.url = url.rstrip("/")
        asked = {"X-STB-Dataset": dataset, "X-STB-Mode": mode, "X-STB-Snapshot": snapshot}
        headers = {name: value for name, value in asked.items() if value}
        self.asked = {name.removeprefix("X-STB-").lower(): value for name, value in asked.items() if value}
        """Its dataset, mode and snapshot, as far as they are named."""
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._patience = patience
        self._rng = random.Random(0)
        self._http = HttpClient(
            self.url,
            headers=headers,
            connect_timeout_s=patience.connect_timeout_s,
            read_timeout_s=patience.read_timeout_s,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def check(self) -> None:
        """See that the server takes calls as they will be made; it counts as none.

        Raises:
            ServiceError: it refuses the dataset, the mode, the snapshot or the token.
        """
        await self.call(ApiRef("-", "-", "-"), "{}")

    async def call(self, ref: ApiRef, arguments: str, episode: str = "") -> Answer:
        """Call an API with arguments as JSON text.

        Args:
            ref: the API.
            arguments: JSON text of an object.
            episode: the attempt at a task with whose earlier calls a simulated answer is to agree.

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
        headers = dict(_JSON)
        if episode:
            headers["X-STB-Episode"] = episode
        if name := logs.current_field("trial"):
            headers["X-Request-ID"] = quote(name, safe="/:@-._~")
        asked = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": f"{ref.tool}/{ref.api}",
            "gen_ai.tool.type": "function",
        }
        with traces.span(f"execute_tool {ref.tool}/{ref.api}", asked, kind="CLIENT") as span:
            response = await self._patiently(
                lambda: self._http.request("POST", "/virtual", body, headers | traces.headers())
            )
            span.set({"stb.provenance": response.headers.get("x-stb-provenance")})
        try:
            answer = orjson.loads(response.content)
            error = answer["error"]
            _ = answer["response"]
        except (ValueError, TypeError, KeyError):
            raise ServiceError(
                f"The server at {self.url} answered {response.text[:100]!r} in place of a tool's answer.",
                hint="See that it is a server of this program.",
            ) from None
        told = response.headers
        return Answer(
            body=response.text,
            error=error if isinstance(error, str) else orjson.dumps(error).decode(),
            provenance=told.get("x-stb-provenance", ""),
            key=told.get("x-stb-key"),
            kind=told.get("x-stb-error", ""),
            usage=_usage_of(told.get("x-stb-usage", "")),
        )

    async def exchange(self, method: str, path: str, body: Any = None, *, token: str = "") -> HttpResponse:
        """Any other request, with JSON as its body; passing trouble is waited out, a refusal returned.

        Args:
            method: of HTTP.
            path: at the server.
            body: a JSON value; None for none.
            token: in place of the server's own.

        Raises:
            ServiceError: the server does not answer.
        """
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        content = None if body is None else orjson.dumps(body)
        headers = headers if body is None else headers | _JSON
        return await self._patiently(
            lambda: self._http.request(method, path, content, headers), takes_refusals=True
        )

    async def _patiently(
        self, send: Callable[[], Coroutine[Any, Any, HttpResponse]], *, takes_refusals: bool = False
    ) -> HttpResponse:
        """Send until there is an answer that another attempt would not change."""
        retries = Retries(self._patience, self._rng)
        while True:
            try:
                response = await send()
            except ResponseTooLargeError as problem:
                reason, wait = str(problem), None
            except HttpError as problem:
                reason, wait = str(problem), retries.next_wait_s()
            else:
                passing = response.status == 429 or response.status >= 500
                if response.status == 200 or (takes_refusals and not passing):
                    return response
                reason = f"HTTP {response.status}, {_error_of(response)}"
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
            response = await self._http.request("GET", "/readyz", timeout_s=timeout_s)
            document: dict[str, Any] = orjson.loads(response.content)
            mode = document["mode"]
            modes = tuple(document.get("modes", [mode]))
            return [
                Served(
                    row["name"],
                    row["content_hash"],
                    row["responses_hash"],
                    mode,
                    modes,
                    _settings_of(document.get("parts", {})),
                )
                for row in document["datasets"]
            ]
        except HttpError as problem:
            raise ServiceError(
                f"The server at {self.url} cannot be reached ({problem}).",
                hint="Start one with 'stb serve', or leave --server out.",
            ) from None
        except (ValueError, TypeError, KeyError):
            raise ServiceError(
                f"What answers at {self.url} is not a virtual API server.", hint="Check --server."
            ) from None


def _usage_of(told: str) -> Usage:
    """What a server says that its simulator consumed; nothing where it says nothing that can be read."""
    try:
        return Usage.model_validate_json(told) if told else Usage()
    except ValidationError:
        return Usage()


def _settings_of(parts: dict[str, Any]) -> dict[str, str]:
    """What of a server's parts could change an answer."""
    named = {"simulator": ("simulator", "identity"), "faults": ("faults", "plan")}
    return {
        name: str(parts[part][member])
        for name, (part, member) in named.items()
        if member in parts.get(part, {})
    }


def _error_of(response: HttpResponse) -> str:
    try:
        body = orjson.loads(response.content)
        return str(body["error"])[:200]
    except (ValueError, TypeError, KeyError):
        return " ".join(response.text.split())[:100]
