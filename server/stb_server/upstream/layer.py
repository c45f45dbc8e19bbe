"""The layer that asks the real API: directly if its tool is configured, else through the proxy."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from stb_core import json_text
from stb_core.telemetry import mask_of, remember_secrets
from stb_core.values import ApiDocument, ApiRef, Provenance
from stb_server.calls import Answer, CallRequest, Decline, Documents, parse_template
from stb_server.upstream.answer_quality import Quality, assess
from stb_server.upstream.bodies import Content, decode_text, parse_content
from stb_server.upstream.configuration import DirectApi, DirectTool, UpstreamConfig
from stb_server.upstream.direct_apis import direct_request
from stb_server.upstream.fetch import Fetcher
from stb_server.upstream.network_guard import Resolver, resolve
from stb_server.upstream.toolbench_proxy import proxy_request, read_proxy_answer
from stb_server.upstream.values import UpstreamError, UpstreamReply, UpstreamRequest

_log = logging.getLogger(__name__)


class Upstream:
    """Answers from real APIs, with provenance ``live``; declines answers that are not worth keeping.

    A failure of any kind is a decline with one of these kinds: ``not_configured``, ``unsuited``,
    ``forbidden_address``, ``unreachable``, ``timeout``, ``busy``, ``circuit_open``, ``redirects``,
    ``too_large``, ``malformed``, ``not_text``, ``unusable``.
    """

    def __init__(
        self,
        config: UpstreamConfig,
        environment: Mapping[str, str],
        documents: Documents,
        *,
        resolver: Resolver = resolve,
    ) -> None:
        """Make the layer; use it as an async context manager.

        Args:
            config: the real APIs.
            environment: where secrets are looked up.
            documents: finds the document of an API.
            resolver: how names become addresses.

        Raises:
            UsageError: a variable that the configuration names is not set.
        """
        self._config = config
        self._secrets = config.secrets(environment)
        remember_secrets(*self._secrets.values())
        self._documents = documents
        self._direct = config.direct_apis()
        hosts = {name: host.limits() for name, host in config.hosts.items()}
        self._fetcher = Fetcher(
            config.limits.of_fetches(), hosts, config.default_host.limits(), resolver=resolver
        )
        self.counts: Counter[tuple[str, str]] = Counter()
        """Calls by host and outcome: ``live``, or the kind of the decline."""

    async def __aenter__(self) -> Self:
        """Open the connections."""
        await self._fetcher.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._fetcher.__aexit__(kind, error, trace)

    async def answer(self, request: CallRequest) -> Answer | Decline:
        """The real API's answer, if it is worth keeping."""
        call = request.call
        ref = ApiRef(call.category, call.tool, call.api)
        direct = self._direct.get(ref)
        if direct is None and self._config.proxy is None:
            return Decline("not_configured", f"No real API is configured for {call.api} of {call.tool}.")
        document = await self._documents(request.dataset.id, ref)
        url = direct[0].url if direct else self._config.proxy.url if self._config.proxy else ""
        host = httpx.URL(url).netloc.decode("ascii")
        try:
            outcome = await (
                self._ask(request, direct, document) if direct else self._ask_proxy(request, document)
            )
        except UpstreamError as problem:
            outcome = Decline(problem.kind, problem.message)
        kind = outcome.kind if isinstance(outcome, Decline) else "live"
        self.counts[host, kind] += 1
        _log.info("asked a real API", extra={"host": host, "outcome": kind, "stb_key": call.key})
        return outcome

    async def _ask(
        self, request: CallRequest, direct: tuple[DirectTool, DirectApi], document: ApiDocument | None
    ) -> Answer | Decline:
        tool, api = direct
        outgoing = direct_request(request.call, tool, api, self._secrets, document)
        secrets = [self._secrets[name] for name in tool.secret_headers.values()]
        reply, content = await self._exchange(outgoing, secrets)
        quality = assess(content.value, status=reply.status, promises_json=_promises_json(document))
        # JSON is passed on unchanged, with its digits and its order.
        response = content.text.encode() if content.is_json else orjson.dumps(content.text)
        body = b'{"error":"","response":' + response + b"}"
        return _outcome(quality, body, {"upstream": "direct", "status": reply.status})

    async def _ask_proxy(self, request: CallRequest, document: ApiDocument | None) -> Answer | Decline:
        proxy = self._config.proxy
        assert proxy
        key = request.toolbench_key or self._secrets.get(proxy.key_variable or "", "")
        reply, content = await self._exchange(proxy_request(request.call, proxy.url, key), [key])
        if not 200 <= reply.status < 300:
            return _outcome(assess("", status=reply.status), b"", {})
        said = read_proxy_answer(content.value)
        quality = assess(said.response, error=said.error, promises_json=_promises_json(document))
        return _outcome(quality, json_text.encode(said._asdict()), {"upstream": "toolbench_proxy"})

    async def _exchange(self, request: UpstreamRequest, secrets: list[str]) -> tuple[UpstreamReply, Content]:
        reply = await self._fetcher.fetch(request)
        if not 200 <= reply.status < 300:
            return reply, Content("", "", is_json=False)  # its body is not used
        text = decode_text(reply.body, reply.content_type)
        return reply, parse_content(mask_of(*secrets).json(text))


def _promises_json(document: ApiDocument | None) -> bool:
    return document is not None and isinstance(parse_template(document.template_response), dict | list)


def _outcome(quality: Quality, body: bytes, details: dict[str, Any]) -> Answer | Decline:
    if not quality.usable:
        return Decline("unusable", f"Not worth keeping ({quality.rule}): {quality.evidence}.")
    return Answer(body, Provenance.LIVE, details={**details, "rule": quality.rule.value})
