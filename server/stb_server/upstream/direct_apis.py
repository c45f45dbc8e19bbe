"""From a call to the HTTP request of a RapidAPI-style API, by the description of its tool."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from stb_core.values import ApiDocument, ToolCall, canonical_json
from stb_core.values.names import standardize_parameter
from stb_server.upstream.configuration import DirectApi, DirectTool
from stb_server.upstream.values import UpstreamError, UpstreamRequest

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_PLACE = re.compile(r"\{([^{}/]+)\}")


def direct_request(
    call: ToolCall,
    tool: DirectTool,
    api: DirectApi,
    secrets: Mapping[str, str],
    document: ApiDocument | None = None,
) -> UpstreamRequest:
    """The request that a call becomes.

    Args:
        call: arguments by standard parameter names.
        tool: how the tool is reached.
        api: how the API is called.
        secrets: the values of environment variables, by name.
        document: gives the documented parameter names that the description lacks.

    Raises:
        UpstreamError: ``unsuited``: an argument of the path is missing, or cannot be part of it.
    """
    named = {_documented(name, api, document): value for name, value in call.arguments.items()}
    path: str = _PLACE.sub(lambda place: _path_segment(place[1], named), api.path)
    if any(segment in {".", ".."} for segment in path.split("/")):
        raise UpstreamError("unsuited", "An argument would change the path of the API.")
    placed = set(_PLACE.findall(api.path))
    rest = {name: value for name, value in named.items() if name not in placed and value is not None}
    in_body = {name: value for name, value in rest.items() if _belongs_into_body(name, api)}
    query = _encode_pairs({name: value for name, value in rest.items() if name not in in_body})
    headers = dict(tool.headers)
    content = b"" if api.method in _WITH_BODY else None
    if in_body:
        is_form = api.body_format == "form"
        content = _encode_pairs(in_body).encode() if is_form else canonical_json(in_body)
        headers["Content-Type"] = f"application/{'x-www-form-urlencoded' if is_form else 'json'}"
    headers |= {header: secrets[variable] for header, variable in tool.secret_headers.items()}
    url = f"{tool.url}{path}{f'?{query}' if query else ''}"
    return UpstreamRequest(api.method, url, tuple(headers.items()), content)


def _documented(name: str, api: DirectApi, document: ApiDocument | None) -> str:
    """The documented name of the parameter that a call names in standard form."""
    described: tuple[str, ...] = (*_PLACE.findall(api.path), *api.query, *api.body)
    parameters = (*document.required_parameters, *document.optional_parameters) if document else ()
    for known in (*described, *(parameter.name for parameter in parameters)):
        if name in {known, standardize_parameter(known)}:
            return known
    return name


def _belongs_into_body(name: str, api: DirectApi) -> bool:
    return name in api.body or (name not in api.query and api.method in _WITH_BODY)


def _path_segment(name: str, named: Mapping[str, Any]) -> str:
    value = named.get(name)
    if value is None or isinstance(value, dict | list) or value == "":
        raise UpstreamError("unsuited", "The call lacks an argument that the path of the API needs.")
    return quote(_text(value), safe="")


def _encode_pairs(values: Mapping[str, Any]) -> str:
    pairs = [
        (name, _text(item))
        for name, value in values.items()
        for item in (value if isinstance(value, list) else [value])
    ]
    return urlencode(pairs, quote_via=quote)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value).decode()
