"""``POST /virtual``: the hot path, from raw bytes to stored bytes.

A plain ASGI endpoint: a request whose bytes were seen before costs one digest, two look-ups and
two sends. Nothing is decoded, validated or encoded between the look-up and the socket.
"""

from __future__ import annotations

import hmac
import logging
from hashlib import blake2b

from starlette.types import Receive, Scope, Send

from stb_core.errors import NotFoundError, StoreError
from stb_core.provenance import Provenance
from stb_server.identity import Refusal, identify
from stb_server.pipeline import Answer, Asked
from stb_server.service import Lane, Service
from stb_server.wire import BadRequestError, encode_answer, read_request

_log = logging.getLogger(__name__)

_JSON = (b"content-type", b"application/json")
_IN_MEMORY = (b"x-stb-cache", b"memory")


class Virtual:
    """The endpoint; ``service`` is looked at anew for each request."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._memory = service.memory
        self._lanes = service.lanes
        self._default = service.options.dataset
        self._authorization = f"Bearer {token}".encode() if (token := service.options.token) else b""
        self._max_body_bytes = service.options.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            name = self._dataset_named(scope)
            raw = await self._body(receive)
            lane = self._lanes.get(name) or await self._lane(name)
            digest = blake2b(raw, digest_size=16).digest()
            key = lane.remembered(digest)
            if key is not None:
                entry = self._memory.get(lane.dataset.id, key)
                if entry is not None:
                    headers = [
                        _JSON,
                        (b"content-length", entry.length_header),
                        (b"x-stb-provenance", entry.provenance_header),
                        (b"x-stb-key", key.encode()),
                        _IN_MEMORY,
                    ]
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                    await send({"type": "http.response.body", "body": entry.body})
                    return
            await self._answer(lane, raw, digest, send)
        except BadRequestError as problem:
            await _send_error(send, problem.status, problem.kind, problem.message)
        except StoreError as problem:
            _log.warning("a call could not be answered", extra={"reason": str(problem)})
            await _send_error(send, 503, "store_unavailable", "The store does not answer; try again later.")
        except Exception:  # noqa: BLE001 - the border: a client gets an answer whatever happened
            _log.exception("a call failed")
            await _send_error(send, 500, "internal", "The server failed on this call; its log says why.")

    async def _answer(self, lane: Lane, raw: bytes, digest: bytes, send: Send) -> None:
        request = read_request(raw)
        call = identify(request, lane.catalogue)
        if isinstance(call, Refusal):
            body = encode_answer(call.message)
            await _send(send, 200, body, Answer(body, Provenance.MISS, error=call.kind))
            return
        lane.remember(digest, call.key)
        answer = await self._service.parts.pipeline.run(Asked(lane.dataset, call, request.toolbench_key))
        await _send(send, 200, answer.body, answer, call.key)

    def _dataset_named(self, scope: Scope) -> str:
        authorized = not self._authorization
        name = self._default
        for header, value in scope["headers"]:
            if header == b"x-stb-dataset":
                name = value.decode("latin-1")
            elif header == b"authorization" and self._authorization:
                authorized = hmac.compare_digest(value, self._authorization)
            elif header == b"content-length" and int(value) > self._max_body_bytes:
                raise self._too_large()
        if not authorized:
            raise BadRequestError(
                401, "unauthorized", "This server needs its token: Authorization: Bearer …."
            )
        return name

    async def _body(self, receive: Receive) -> bytes:
        message = await receive()
        body: bytes = message.get("body", b"")
        while message.get("more_body"):
            if len(body) > self._max_body_bytes:
                raise self._too_large()
            message = await receive()
            if message["type"] == "http.disconnect":
                raise BadRequestError(400, "not_json", "The client went away within its request.")
            body += message.get("body", b"")
        if len(body) > self._max_body_bytes:
            raise self._too_large()
        return body

    def _too_large(self) -> BadRequestError:
        return BadRequestError(
            413, "too_large", f"The request body is larger than {self._max_body_bytes} bytes."
        )

    async def _lane(self, name: str) -> Lane:
        try:
            return await self._service.lane(name)
        except NotFoundError:
            raise BadRequestError(
                404, "unknown_dataset", f"There is no dataset {name[:80]!r} here."
            ) from None


async def _send(send: Send, status: int, body: bytes, answer: Answer, key: str = "") -> None:
    headers = [
        _JSON,
        (b"content-length", str(len(body)).encode()),
        (b"x-stb-provenance", answer.provenance.encode()),
        (b"x-stb-cache", answer.tier.encode()),
    ]
    if key:
        headers.append((b"x-stb-key", key.encode()))
    if answer.error:
        headers.append((b"x-stb-error", answer.error.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _send_error(send: Send, status: int, kind: str, message: str) -> None:
    body = encode_answer(message)
    headers = [_JSON, (b"content-length", str(len(body)).encode()), (b"x-stb-error", kind.encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
