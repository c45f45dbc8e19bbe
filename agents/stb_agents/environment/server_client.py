"""The client of the virtual API server: calls of APIs, the datasets that it serves, and other requests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote, unquote

import orjson
from pydantic import ValidationError

from stb_core.errors import ServiceError
from stb_core.http import HttpClient, HttpError, HttpResponse, ResponseTooLargeError
from stb_core.llm import Patience, Retries, retry_after_s
from stb_core.telemetry import logs, traces
from stb_core.usage import Usage
from stb_core.values import ApiRef

DEFAULT_PATIENCE = Patience(deadline_s=60, connect_timeout_s=5, read_timeout_s=120, longest_wait_s=5)
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class ToolAnswer:
    """The server's answer to one call.

    ``body`` is the text that the agent sees; ``error`` is the error in it. ``kind`` is the server's word for a
    failure that the agent sees, such as ``miss``. ``usage`` is what its simulator consumed for this call.
    """

    body: str
    error: str
    provenance: str
    key: str | None
    kind: str
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True)
class ServedDataset:
    """A dataset as a server serves it.

    ``mode`` is the server's own cache mode, ``modes`` are all that a request can ask for; ``settings`` is what
    else could change an answer: its simulator and its injected faults.
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
        timeout_s: seconds that an answer may take, in place of those of ``patience``; None keeps them.
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
        timeout_s: float | None = None,
    ) -> None:
        patience = patience.with_timeout(timeout_s)
        self.url = url.rstrip("/")
        scope = {"dataset": dataset, "mode": mode, "snapshot": snapshot}
        self.scope = {name: value for name, value in scope.items() if value}
        """Dataset, mode and snapshot of its calls, as far as they are named."""
        headers = {f"X-STB-{name.capitalize()}": value for name, value in self.scope.items()}
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
        """Check that the server takes calls with these settings. The check is not counted as a call.

        Raises:
            ServiceError: it refuses the dataset, the mode, the snapshot or the token.
        """
        await self.call(ApiRef("-", "-", "-"), "{}")

    async def call(self, ref: ApiRef, arguments: str, episode: str = "") -> ToolAnswer:
        """Call an API with arguments as JSON text.

        Args:
            ref: the API.
            arguments: JSON text of an object.
            episode: attempt at a task; a simulated answer agrees with the earlier calls of the same attempt.

        Raises:
            ServiceError: the server does not answer, or answers in another form, or its simulator cannot be asked.
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
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": f"{ref.tool}/{ref.api}",
            "gen_ai.tool.type": "function",
        }
        with traces.span(f"execute_tool {ref.tool}/{ref.api}", attributes, kind="CLIENT") as span:
            response = await self._with_retries(
                lambda: self._http.request("POST", "/virtual", body, headers | traces.request_headers())
            )
            span.set({"stb.provenance": response.headers.get("x-stb-provenance")})
        try:
            answer = orjson.loads(response.content)
            error = answer["error"]
            _ = answer["response"]
        except (ValueError, TypeError, KeyError):
            raise ServiceError(
                f"The server at {self.url} answered {response.text[:100]!r} in place of a tool's answer.",
                hint="Check that it is a virtual API server.",
            ) from None
        about = response.headers
        if words := about.get("x-stb-unavailable"):
            raise ServiceError(
                f"The simulator of the server at {self.url} cannot be asked: {unquote(words)}",
                hint="See the server's log; the same command again repeats what failed.",
                usage=_usage_of(about.get("x-stb-usage", "")),
            )
        return ToolAnswer(
            body=response.text,
            error=error if isinstance(error, str) else orjson.dumps(error).decode(),
            provenance=about.get("x-stb-provenance", ""),
            key=about.get("x-stb-key"),
            kind=about.get("x-stb-error", ""),
            usage=_usage_of(about.get("x-stb-usage", "")),
        )

    async def exchange(self, method: str, path: str, body: Any = None, *, token: str = "") -> HttpResponse:
        """Send any other request. Passing failures are retried; a refusal is returned.

        Args:
            method: HTTP method.
            path: at the server.
            body: a JSON value; None for no body.
            token: sent in place of the client's own.

        Raises:
            ServiceError: the server does not answer.
        """
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        content = None if body is None else orjson.dumps(body)
        headers = headers if body is None else headers | _JSON
        return await self._with_retries(
            lambda: self._http.request(method, path, content, headers), takes_refusals=True
        )

    async def _with_retries(
        self, send: Callable[[], Coroutine[Any, Any, HttpResponse]], *, takes_refusals: bool = False
    ) -> HttpResponse:
        """Send until there is an answer that another attempt would not change.

        Raises:
            ServiceError: there is none in time, or it is a refusal and ``takes_refusals`` is not set.
        """
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

    async def read_datasets(self, *, timeout_s: float = 5.0) -> list[ServedDataset]:
        """The datasets that the server serves.

        Raises:
            ServiceError: nothing answers at its address, or it is not a virtual API server.
        """
        try:
            response = await self._http.request("GET", "/readyz", timeout_s=timeout_s)
            document: dict[str, Any] = orjson.loads(response.content)
            mode = document["mode"]
            modes = tuple(document.get("modes", [mode]))
            return [
                ServedDataset(
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


def _usage_of(header: str) -> Usage:
    """What the server's simulator consumed, by its header; nothing where that cannot be read."""
    try:
        return Usage.model_validate_json(header) if header else Usage()
    except ValidationError:
        return Usage()


def _settings_of(parts: dict[str, Any]) -> dict[str, str]:
    """The parts of a server that could change an answer, and what identifies them."""
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
