"""``POST /virtual``: the hot path, from raw bytes to stored bytes.

A plain ASGI endpoint: a request whose bytes were seen before costs one digest, two lookups and
two sends. Nothing is decoded, validated or encoded between the lookup and the socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from time import monotonic
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from stb_core.errors import StoreError
from stb_server.app import body_limit, host_guard, origin_guard, stop_guard
from stb_server.app.response_headers import NO_SNIFFING
from stb_server.app.token_guard import UNAUTHORIZED
from stb_server.calls import MAX_NAME, BadRequestError, encode_answer, read_request
from stb_server.worker import ANYONE, Client, DatasetView, ViewRequest, Worker

_log = logging.getLogger(__name__)

_JSON = (b"content-type", b"application/json")
_READABLE = " !#$&'()*+,/:;=?@[]\"<>{}|^`"
"""What a header may hold beside letters and digits; the rest is written as ``%XX``."""
_IN_MEMORY = (b"x-stb-cache", b"memory")
_DEFAULT = ViewRequest()
_RARE = frozenset({b"origin", b"sec-fetch-site", b"content-encoding"})
"""Headers that clients seldom send, and that may rule a request out."""


class VirtualEndpoint:
    """The endpoint."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._memory = worker.memory
        self._views = worker.views
        self._times = worker.times
        self._has_limit = bool(worker.rate_limit) or worker.clients.are_checked
        self._clients = worker.clients
        self._anyone = None if worker.clients.are_checked else ANYONE
        self._hosts = worker.options.hosts
        self._max_body_bytes = worker.options.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = monotonic()
        try:
            wanted, episode, client = self._check_head(scope, started)
            try:
                raw = await self._body(receive)
                view = self._views.get(wanted) or await self._worker.view(wanted)
            except asyncio.CancelledError:
                raise _stopping() from None
            if client.name:
                self._worker.admit(client, view.mode)
            digest = blake2b(raw, digest_size=16).digest()
            key = view.names.remembered(digest)
            if key is not None and view.reads and not episode:
                entry = self._memory.get(view.namespace, key)
                if entry is not None:
                    headers = [
                        _JSON,
                        NO_SNIFFING,
                        (b"content-length", entry.length_header),
                        (b"x-stb-provenance", entry.provenance_header),
                        (b"x-stb-key", key.encode()),
                        _IN_MEMORY,
                    ]
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                    await send({"type": "http.response.body", "body": entry.body})
                    self._times.histogram(entry.provenance, "memory", 200).observe(monotonic() - started)
                    return
            with client.in_logs():
                await self._answer(view, raw, digest, send, started, episode, client.name)
        except BadRequestError as problem:
            await self._refuse(send, problem, started)
        except StoreError as problem:
            _log.warning("a call could not be answered", extra={"reason": str(problem)})
            text = "The store does not answer; nothing was stored. Try again later."
            await self._refuse(send, BadRequestError(503, "store_unavailable", text), started)
        except Exception:  # noqa: BLE001 - the border: a client gets an answer whatever happened
            _log.exception("a call failed")
            text = "The server failed on this call. See its log."
            await self._refuse(send, BadRequestError(500, "internal", text), started)

    async def _answer(
        self,
        view: DatasetView,
        raw: bytes,
        digest: bytes,
        send: Send,
        started: float,
        episode: str,
        client: str,
    ) -> None:
        try:
            answer, key = await self._worker.call(view, read_request(raw), episode, client)
        except asyncio.CancelledError:
            raise _stopping() from None
        if key:
            view.names.remember(digest, key)
        headers = [
            _JSON,
            NO_SNIFFING,
            (b"content-length", str(len(answer.body)).encode()),
            (b"x-stb-provenance", answer.provenance.encode()),
            (b"x-stb-cache", answer.tier.encode()),
        ]
        if key:
            headers.append((b"x-stb-key", key.encode()))
        if answer.error:
            headers.append((b"x-stb-error", answer.error.encode()))
        if answer.unavailable:
            words = quote(answer.unavailable, safe=_READABLE).encode()
            headers.append((b"x-stb-unavailable", words))
        if answer.usage:
            headers.append((b"x-stb-usage", answer.usage.model_dump_json(exclude_none=True).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        self._times.histogram(answer.provenance, answer.tier, 200, answer.error).observe(
            monotonic() - started
        )

    async def _refuse(self, send: Send, problem: BadRequestError, started: float) -> None:
        body = encode_answer(problem.message)
        headers = [
            _JSON,
            NO_SNIFFING,
            (b"content-length", str(len(body)).encode()),
            (b"x-stb-error", problem.kind.encode()),
            *problem.headers,
        ]
        self._times.histogram("", "", problem.status, problem.kind).observe(monotonic() - started)
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _check_head(self, scope: Scope, now: float) -> tuple[ViewRequest, str, Client]:
        """The requested view, the episode and the client, from the headers; refuses what they already rule out."""
        client, has_rare = self._anyone, False
        asked_for: dict[str, str] = {}
        for header, value in scope["headers"]:
            if header.startswith(b"x-stb-"):
                asked_for[header.decode("latin-1")] = value.decode("latin-1")
            elif header == b"content-length" and int(value) > self._max_body_bytes:
                raise self._too_large()
            elif header == b"authorization" and client is None:
                client = self._clients.of_header(value)
            elif header == b"host" and self._hosts is not None and not self._hosts.accept(value):
                raise BadRequestError(host_guard.MISDIRECTED, host_guard.KIND, host_guard.explain(value))
            elif header in _RARE:
                has_rare = True
        if has_rare:
            self._check_rare(scope["headers"])
        if client is None:
            raise BadRequestError(
                401,
                "unauthorized",
                UNAUTHORIZED,
                headers=((b"www-authenticate", b"Bearer"),),
            )
        if self._has_limit:
            self._worker.slow_down(client, (scope.get("client") or ("",))[0], now)
        return (*_wanted(asked_for), client) if asked_for else (_DEFAULT, "", client)

    def _check_rare(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        if text := origin_guard.problem(headers, self._hosts):
            raise BadRequestError(origin_guard.FORBIDDEN, origin_guard.KIND, text)
        if body_limit.is_compressed(headers):
            raise BadRequestError(body_limit.UNSUPPORTED, body_limit.KIND, body_limit.TEXT)

    async def _body(self, receive: Receive) -> bytes:
        message = await receive()
        body: bytes = message.get("body", b"")
        while message.get("more_body"):
            if len(body) > self._max_body_bytes:
                raise self._too_large()
            message = await receive()
            if message["type"] == "http.disconnect":
                raise BadRequestError(400, "not_json", "The client disconnected during its request.")
            body += message.get("body", b"")
        if len(body) > self._max_body_bytes:
            raise self._too_large()
        return body

    def _too_large(self) -> BadRequestError:
        return BadRequestError(
            413, "too_large", f"The request body is larger than {self._max_body_bytes} bytes."
        )


def _stopping() -> BadRequestError:
    return BadRequestError(stop_guard.UNAVAILABLE, stop_guard.KIND, stop_guard.TEXT)


def _wanted(asked_for: Mapping[str, str]) -> tuple[ViewRequest, str]:
    """The requested view and the episode, from our own headers."""
    wanted = ViewRequest(
        asked_for.get("x-stb-dataset", ""),
        asked_for.get("x-stb-mode", ""),
        asked_for.get("x-stb-snapshot", ""),
    )
    episode = asked_for.get("x-stb-episode", "")
    if len(episode) > MAX_NAME:
        text = f"The name of the episode is longer than {MAX_NAME} characters."
        raise BadRequestError(400, "bad_episode", text)
    return wanted, episode
