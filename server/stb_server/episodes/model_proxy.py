"""``/proxy/e/{token}/v1``: forwards an agent's model calls and counts them in its episode.

An agent that uses an OpenAI-compatible endpoint only needs another URL. Calls go to the one provider that
the server was started with, with the server's key or else the caller's. Keys and conversations are neither
stored nor logged.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import httpx2
import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from stb_core.errors import StoreError
from stb_core.llm import price_of, provider_address, shape_of_body, usage_of_document
from stb_core.settings import Settings
from stb_core.telemetry import SecretMask, mask_of
from stb_core.usage import Price, Usage
from stb_core.values import Episode
from stb_core.values.episodes import FailedCall, ProxiedCall
from stb_server.calls import BadRequestError
from stb_server.episodes.accounting import MODEL_TIMEOUT_S
from stb_server.episodes.model_failures import failure_of_answer, failure_of_event
from stb_server.episodes.service import EpisodeService
from stb_server.episodes.usage_stream import UsageReader

_log = logging.getLogger(__name__)

_CHAT = "chat/completions"
_PATHS = frozenset({_CHAT, "responses"})
_MAX_BODY_BYTES = 32 << 20
_TIMEOUT = httpx2.Timeout(MODEL_TIMEOUT_S, connect=10)
_NO_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=64)
_PASSED_ON = ("content-type", "retry-after", "retry-after-ms", "x-request-id", "x-should-retry")


@dataclass(frozen=True)
class _Call:
    """A model call that is forwarded; ``hides_usage`` as for ``UsageReader``.

    ``original`` is its body as the client sent it, ``body`` as it goes to the provider.
    """

    episode: Episode
    number: int
    model: str
    original: dict[str, Any]
    body: dict[str, Any]
    price: Price | None
    started: float
    hides_usage: bool
    key: str

    @property
    def mask(self) -> SecretMask:
        """Masks the key in what the provider answers."""
        return mask_of(self.key)

    @property
    def is_stream(self) -> bool:
        """Whether the answer comes in pieces."""
        return bool(self.body.get("stream"))


class _Stream(StreamingResponse):
    """A stream that is interrupted where the provider's stream is.

    It sends no end, so that the server closes the connection and the client notices that data is missing.
    """

    async def stream_response(self, send: Send) -> None:
        """Forward the stream."""
        try:
            await super().stream_response(send)
        except httpx2.HTTPError as problem:
            _log.warning("a model call was interrupted", extra={"reason": type(problem).__name__})


class ModelProxy:
    """The endpoint of one worker."""

    def __init__(self, episodes: EpisodeService) -> None:
        self._episodes = episodes
        self._provider = episodes.worker.options.proxy
        self._http: httpx2.AsyncClient | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one call."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except BadRequestError as problem:
            response = _refusal(problem.status, problem.message, problem.kind)
        except StoreError:
            response = _refusal(503, "The store does not answer; try again later.", "store_unavailable")
        await response(scope, receive, send)

    async def close(self) -> None:
        """Close all connections."""
        if self._http:
            await self._http.aclose()

    async def _answer(self, request: Request) -> Response:
        path, options = request.path_params["path"], self._episodes.worker.options
        if not self._provider:
            text = "This server does not forward model calls. Start it with --proxy PROVIDER."
            raise BadRequestError(501, "no_proxy", text)
        if path not in _PATHS or request.method != "POST":
            text = (
                f"{request.method} {path[:80]!r} is not supported, only POST {' and '.join(sorted(_PATHS))}."
            )
            raise BadRequestError(404, "unknown_path", text)
        episode = await self._episodes.find(request.path_params["token"])
        original = await _body_of(request)
        url, key = provider_address(self._provider, Settings("", {}, options.environment))
        authorization = f"Bearer {key}" if key else request.headers.get("authorization", "")
        body = _with_usage(original) if path == _CHAT and original.get("stream") else original
        model = f"{self._provider}/{original['model']}"
        price = price_of(model, {"prices": options.prices})
        if price is None and "max_cost_usd" in episode.budget:
            text = f"The episode has a limit on cost: the server's [prices] must have {model[:200]!r}."
            raise BadRequestError(400, "no_price", text)
        number = await self._episodes.accounting.begin(
            episode, "model", ProxiedCall(model=model).model_dump_json()
        )
        assert isinstance(number, int)
        key = authorization.removeprefix("Bearer ")
        call = _Call(episode, number, model, original, body, price, monotonic(), body is not original, key)
        headers = {"content-type": "application/json"}
        if authorization:
            headers["authorization"] = authorization
        return await self._forward(call, f"{url.rstrip('/')}/{path}", headers)

    async def _forward(self, call: _Call, url: str, headers: dict[str, str]) -> Response:
        if self._http is None:
            self._http = httpx2.AsyncClient(timeout=_TIMEOUT, limits=_NO_LIMITS)
        request = self._http.build_request("POST", url, content=orjson.dumps(call.body), headers=headers)
        try:
            answer = await self._http.send(request, stream=True)
            passed_on = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
            if answer.status_code == 200 and call.is_stream:
                return _Stream(self._passing(call, answer), headers=passed_on)
            try:
                content = call.mask.body(await answer.aread())
            finally:
                await answer.aclose()
        except httpx2.HTTPError as problem:
            _log.warning("a model call failed", extra={"reason": type(problem).__name__})
            await self._fail(
                call, FailedCall(message=f"{call.model} does not answer ({type(problem).__name__}).")
            )
            return _refusal(502, f"The provider {self._provider} does not answer.", "provider_unavailable")
        if call.hides_usage and answer.status_code in {400, 422} and b"stream_options" in content:
            # The endpoint cannot report the usage of a stream: only the call is counted.
            return await self._forward(replace(call, body=call.original, hides_usage=False), url, headers)
        usage = usage_of_document(_document(content), call.price)
        failure = failure_of_answer(call.model, call.original, answer.status_code, content, call.key)
        if failure:
            await self._fail(call, failure, usage if answer.status_code == 200 else None)
        else:
            await self._record(call, usage)
        return Response(content, answer.status_code, passed_on)

    async def _passing(self, call: _Call, answer: httpx2.Response) -> AsyncGenerator[bytes]:
        """The stream for the client; the usage is recorded before the client sees the end."""
        reader, is_recorded = UsageReader(call.price, hides_usage=call.hides_usage), False
        try:
            async for chunk in answer.aiter_bytes():
                passed = call.mask.body(reader.pass_on(chunk))
                if reader.is_over and not is_recorded:
                    is_recorded = True
                    await self._record_stream(call, reader)
                if passed:
                    yield passed
            if not is_recorded:
                is_recorded = True
                await self._record_stream(call, reader)
            yield call.mask.body(reader.rest())
        except httpx2.HTTPError as problem:
            failure = FailedCall(message=f"{call.model} broke off its reply ({type(problem).__name__}).")
            if not is_recorded:
                is_recorded = True
                await self._fail(call, failure, reader.usage or Usage(model_calls=1))
            raise
        finally:  # also if the client has disconnected; then this must not wait
            if not is_recorded:
                self._episodes.tasks.begin(self._record_stream(call, reader))
            self._episodes.tasks.begin(answer.aclose())

    async def _record(self, call: _Call, usage: Usage | None) -> None:
        """Record a call; if the provider reported no usage, only the call itself counts."""
        usage = usage or Usage(model_calls=1)
        made = ProxiedCall(model=call.model, usage=usage, shape=shape_of_body(call.original))
        seconds = monotonic() - call.started
        await self._episodes.tasks.finish(
            self._episodes.accounting.answer(call.episode, call.number, made.model_dump_json(), seconds)
        )

    async def _record_stream(self, call: _Call, reader: UsageReader) -> None:
        """Record a call whose answer came in pieces; an error among them is a failure."""
        failure = reader.error and failure_of_event(call.model, call.original, reader.error, call.key)
        if failure:
            await self._fail(call, failure, reader.usage or Usage(model_calls=1))
        else:
            await self._record(call, reader.usage)

    async def _fail(self, call: _Call, failure: FailedCall, usage: Usage | None = None) -> None:
        """Record a call that brought no reply; it counts only if the provider has counted it (``usage``)."""
        made = None if usage is None else ProxiedCall(model=call.model, usage=usage)
        await self._episodes.tasks.finish(
            self._episodes.accounting.fail(call.episode, call.number, failure, made)
        )


async def _body_of(request: Request) -> dict[str, Any]:
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MAX_BODY_BYTES:
            raise BadRequestError(413, "too_large", f"The body is larger than {_MAX_BODY_BYTES} bytes.")
    body = _document(raw)
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise BadRequestError(400, "not_json", "The body is not a JSON object with the member model.")
    if not isinstance(body.get("stream"), bool | None):
        # A provider might read it differently, and answer in a form that is not counted.
        raise BadRequestError(400, "wrong_form", "The member stream must be true, false or null.")
    return body


def _with_usage(original: dict[str, Any]) -> dict[str, Any]:
    """The body with a request for the usage of the stream, which endpoints report only on request.

    Returns the same object if the client already requests the usage.
    """
    options = original.get("stream_options")
    if not isinstance(options, dict | None):
        raise BadRequestError(400, "wrong_form", "The member stream_options must be an object or null.")
    if options and options.get("include_usage") is True:
        return original
    return {**original, "stream_options": {**(options or {}), "include_usage": True}}


def _document(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except ValueError:
        return None


def _refusal(status: int, message: str, kind: str) -> Response:
    """An error in OpenAI's form; it says when a retry is useless, because clients retry a 409."""
    error = {"message": message, "type": kind, "param": None, "code": kind}
    headers = {"x-stb-error": kind}
    if status < 500:
        headers["x-should-retry"] = "false"
    return JSONResponse({"error": error}, status, headers)
