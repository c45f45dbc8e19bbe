"""ToolBench's RapidAPI proxy protocol: one POST per call, answered by ``{"error", "response"}``.

The protocol is that of the service behind ToolBench (arXiv:2307.16789): the names in standard form,
the arguments as JSON text, and the caller's key both in the body and in a header.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from stb_core.values import ToolCall
from stb_server.upstream.values import UpstreamError, UpstreamRequest


class ProxyAnswer(NamedTuple):
    """The content of a proxy's body."""

    error: str
    response: Any


def proxy_request(call: ToolCall, url: str, key: str) -> UpstreamRequest:
    """The request for a call.

    ``strip`` stays empty: a key names a call and not a way of shortening its answer.
    """
    payload = {
        "category": call.category,
        "tool_name": call.tool,
        "api_name": call.api,
        "tool_input": call.canonical_arguments.decode(),
        "strip": "",
        "toolbench_key": key,
    }
    headers = [("Content-Type", "application/json")]
    if key.isascii() and key.isprintable() and key:
        headers.append(("toolbench_key", key))
    return UpstreamRequest("POST", url, tuple(headers), orjson.dumps(payload))


def read_proxy_answer(body: Any) -> ProxyAnswer:
    """Read a decoded body.

    Raises:
        UpstreamError: ``malformed``: it is not in the protocol's form.
    """
    if not isinstance(body, dict) or "response" not in body:
        raise UpstreamError("malformed", "The proxy's body is not {error, response}.")
    error = body.get("error")
    if error in (None, False):
        error = ""
    return ProxyAnswer(error if isinstance(error, str) else orjson.dumps(error).decode(), body["response"])
