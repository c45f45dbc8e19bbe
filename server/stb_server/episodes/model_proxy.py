"""``/proxy/e/{token}/v1``: forwards an agent's model calls and counts them in its episode.

An agent that uses OpenAI's or Anthropic's API only needs another URL. Calls go to the one provider that
the server was started with, with the server's key or else the caller's. Keys and conversations are neither
stored nor logged; of an episode that ends by text the agent's last words are stored.
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
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from stb_core.errors import StoreError
from stb_core.llm import price_of, provider_address, shape_of_body, usage_of_document
from stb_core.settings import Settings
from stb_core.telemetry import SecretMask, mask_of
from stb_core.usage import Price, Usage
from stb_core.values import Episode
from stb_core.values.episodes import FailedCall, ProxiedCall
from stb_server.calls import BadRequestError
from stb_server.episodes.accounting import ENDED
from stb_server.episodes.closing_replies import closing_reply
from stb_server.episodes.model_apis import ModelApi, ProxyTarget, refusal, target_of
from stb_server.episodes.model_failures import failure_of_answer, failure_of_event
from stb_server.episodes.provider_requests import headers_for, headers_from, secrets_in, url_of
from stb_server.episodes.reply_reader import ReplyReader
from stb_server.episodes.service import EpisodeService
from stb_server.episodes.usage_stream import UsageReader

_log = logging.getLogger(__name__)

_MAX_BODY_BYTES = 32 << 20
_NO_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=64)


@dataclass(frozen=True)
class _Call:
    """A model call that is forwarded; ``hides_usage`` as for ``UsageReader``.

    ``original`` is its body as the client sent it, ``body`` as it goes to the provider.
    """

    episode: Episode
    number: int
    api: ModelApi
    model: str
    original: dict[str, Any]
    body: dict[str, Any]
    price: Price | None
    started: float
    hides_usage: bool
    secrets: tuple[str, ...]
    """The keys that the provider is sent."""

    @property
    def mask(self) -> SecretMask:
        """Masks the keys in what the provider answers."""
        return mask_of(*self.secrets)

    @property
    def is_stream(self) -> bool:
        """Whether the answer comes in pieces."""
        return bool(self.body.get("stream"))

    @property
    def shape(self) -> str:
        """What the endpoint must support to accept it."""
        return shape_of_body(self.original, self.api.kind)

    def reply_reader(self) -> ReplyReader | None:
        """Reads what the model says; None if the episode does not take its answer from there."""
        return ReplyReader(self.api) if self.episode.ends_by_text else None


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
        is_anthropic = "anthropic-version" in request.headers
        target = target_of(request.method, request.path_params["path"], is_anthropic=is_anthropic)
        try:
            response = await self._answer(request, target)
        except BadRequestError as problem:
            response = _refusal(target, problem.status, problem.message, problem.kind)
        except StoreError:
            text = "The store does not answer; try again later."
            response = _refusal(target, 503, text, "store_unavailable")
        await response(scope, receive, send)

    async def close(self) -> None:
        """Close all connections."""
        if self._http:
            await self._http.aclose()

    async def _answer(self, request: Request, target: ProxyTarget | None) -> Response:
        if not self._provider:
            text = "This server does not forward model calls. Start it with --proxy PROVIDER."
            raise BadRequestError(501, "no_proxy", text)
        if target is None:
            asked = f"{request.method} {request.path_params['path'][:80]!r}"
            known = ", ".join(sorted(ModelApi))
            text = f"{asked} is not supported, only GET models and POST {known}, messages/count_tokens."
            raise BadRequestError(404, "unknown_path", text)
        episode = await self._episodes.find(request.path_params["token"])
        original = await _body_of(request) if request.method == "POST" else {}
        url, key = provider_address(
            self._provider, Settings("", {}, self._episodes.worker.options.environment)
        )
        url = url_of(url, target, request.url.query)
        headers = headers_for(url, target, request.headers, key)
        if target.api is None:
            return await self._ask(request.method, target, url, headers, original)
        try:
            call = await self._begin(episode, target.api, original, secrets_in(headers))
        except BadRequestError as problem:
            episode = await self._episodes.find(request.path_params["token"])
            if problem.kind == ENDED and await self._episodes.is_finished(episode):
                closing = closing_reply(target.api, original, episode.answer_function)
                if closing:
                    return closing
            raise
        return await self._forward(call, target, url, headers)

    async def _begin(
        self, episode: Episode, api: ModelApi, original: dict[str, Any], secrets: tuple[str, ...]
    ) -> _Call:
        """Count a call that is about to be made."""
        has_usage = not (api.reports_usage_on_request and original.get("stream"))
        body = original if has_usage else _with_usage(original)
        model = f"{self._provider}/{original['model']}"
        price = price_of(model, {"prices": self._episodes.worker.options.prices})
        if price is None and "max_cost_usd" in episode.budget:
            text = f"The episode has a limit on cost: the server's [prices] must have {model[:200]!r}."
            raise BadRequestError(400, "no_price", text)
        number = await self._episodes.accounting.begin(
            episode, "model", ProxiedCall(model=model).model_dump_json()
        )
        assert isinstance(number, int)
        return _Call(
            episode, number, api, model, original, body, price, monotonic(), body is not original, secrets
        )

    async def _ask(
        self, method: str, target: ProxyTarget, url: str, headers: dict[str, str], body: dict[str, Any]
    ) -> Response:
        """Forward a request that runs no model, such as for the list of models."""
        content = orjson.dumps(body) if body else None
        try:
            answer = await self._client().request(method, url, content=content, headers=headers)
        except httpx2.HTTPError:
            return self._unavailable(target)
        content = mask_of(*secrets_in(headers)).body(answer.content)
        return Response(content, answer.status_code, headers_from(answer.headers))

    def _client(self) -> httpx2.AsyncClient:
        if self._http is None:
            timeout = httpx2.Timeout(self._episodes.accounting.longest_model_call_s, connect=10)
            self._http = httpx2.AsyncClient(timeout=timeout, limits=_NO_LIMITS)
        return self._http

    def _unavailable(self, target: ProxyTarget) -> Response:
        text = f"The provider {self._provider} does not answer."
        return _refusal(target, 502, text, "provider_unavailable")

    async def _forward(self, call: _Call, target: ProxyTarget, url: str, headers: dict[str, str]) -> Response:
        client = self._client()
        request = client.build_request("POST", url, content=orjson.dumps(call.body), headers=headers)
        try:
            answer = await client.send(request, stream=True)
            passed_on = headers_from(answer.headers)
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
            return self._unavailable(target)
        if call.hides_usage and answer.status_code in {400, 422} and b"stream_options" in content:
            # The endpoint cannot report the usage of a stream: only the call is counted.
            as_asked = replace(call, body=call.original, hides_usage=False)
            return await self._forward(as_asked, target, url, headers)
        document = _document(content)
        usage = usage_of_document(document, call.price)
        failure = failure_of_answer(call.model, call.shape, answer.status_code, content)
        if failure:
            await self._fail(call, failure, usage if answer.status_code == 200 else None)
        else:
            if reply := call.reply_reader():
                reply.read(document)
            await self._record(call, usage, reply)
        return Response(content, answer.status_code, passed_on)

    async def _passing(self, call: _Call, answer: httpx2.Response) -> AsyncGenerator[bytes]:
        """The stream for the client; the usage is recorded before the client sees the end."""
        reply, is_recorded = call.reply_reader(), False
        reader = UsageReader(call.api, call.price, hides_usage=call.hides_usage, reply=reply)
        try:
            async for chunk in answer.aiter_bytes():
                passed = call.mask.body(reader.pass_on(chunk))
                if reader.is_over and not is_recorded:
                    is_recorded = True
                    await self._record_stream(call, reader, reply)
                if passed:
                    yield passed
            if not is_recorded:
                is_recorded = True
                await self._record_stream(call, reader, reply)
            yield call.mask.body(reader.rest())
        except httpx2.HTTPError as problem:
            failure = FailedCall(message=f"{call.model} broke off its reply ({type(problem).__name__}).")
            if not is_recorded:
                is_recorded = True
                await self._fail(call, failure, reader.usage or Usage(model_calls=1))
            raise
        finally:  # also if the client has disconnected; then this must not wait
            if not is_recorded:
                self._episodes.tasks.begin(self._record_stream(call, reader, reply))
            self._episodes.tasks.begin(answer.aclose())

    async def _record(self, call: _Call, usage: Usage | None, reply: ReplyReader | None) -> None:
        """Record a call; if the provider reported no usage, only the call itself counts."""
        usage = usage or Usage(model_calls=1)
        answer, source = reply.answer(call.episode.answer_function) if reply else ("", "")
        made = ProxiedCall(
            model=call.model,
            usage=usage,
            shape=call.shape,
            answer=call.mask.text(answer),
            answer_source=source,
        )
        await self._episodes.tasks.finish(
            self._episodes.accounting.answer(
                call.episode,
                call.number,
                made.model_dump_json(),
                monotonic() - call.started,
                may_be_last=bool(answer),
            )
        )

    async def _record_stream(self, call: _Call, reader: UsageReader, reply: ReplyReader | None) -> None:
        """Record a call whose answer came in pieces; an error among them is a failure."""
        error = call.mask.value(reader.error)
        failure = error and failure_of_event(call.model, call.shape, error)
        if failure:
            await self._fail(call, failure, reader.usage or Usage(model_calls=1))
        else:
            await self._record(call, reader.usage, reply)

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


def _refusal(target: ProxyTarget | None, status: int, message: str, kind: str) -> Response:
    return refusal(status, message, kind, is_anthropic=bool(target and target.is_anthropic))
