"""Describes ``POST /virtual`` in the OpenAPI document, because it is not a FastAPI route."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from stb_core.values import CacheMode
from stb_server.calls import MAX_NAME

_ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["error", "response"],
    "properties": {
        "error": {"type": "string", "description": "Empty, or a problem for the agent to read."},
        "response": {"description": "The answer of the API; an empty string if there is none."},
    },
}

_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["category", "tool_name", "api_name"],
    "properties": {
        "category": {"type": "string", "minLength": 1},
        "tool_name": {"type": "string", "minLength": 1, "description": "With or without _for_<Category>."},
        "api_name": {"type": "string", "minLength": 1, "description": "With or without _for_<tool>."},
        "tool_input": {
            "description": "The arguments: JSON text of an object, an object, an empty string or null.",
            "anyOf": [{"type": "string"}, {"type": "object"}, {"type": "null"}],
        },
        "strip": {"description": "Ignored."},
        "toolbench_key": {"description": "The caller's credential for the real API. Never stored."},
    },
}

_HEADERS: dict[str, Any] = {
    "X-STB-Provenance": {
        "description": "Where the answer came from: recorded, live, simulated, recorded-simulated, "
        "template, fault or miss.",
        "schema": {"type": "string"},
    },
    "X-STB-Key": {
        "description": "The key of the call, if it could be identified.",
        "schema": {"type": "string"},
    },
    "X-STB-Cache": {"description": "The tier that had the answer, or miss.", "schema": {"type": "string"}},
    "X-STB-Error": {"description": "The type of an error, if there is one.", "schema": {"type": "string"}},
    "X-STB-Usage": {
        "description": "What a simulator's model consumed for this request, as JSON: model_calls, "
        "prompt_tokens, completion_tokens, cached_tokens and, where the price is known, cost_usd.",
        "schema": {"type": "string"},
    },
}

_ASKED_BY_HEADER: dict[str, tuple[dict[str, Any], str]] = {
    "X-STB-Dataset": ({"type": "string"}, "Dataset; the server's dataset by default."),
    "X-STB-Mode": (
        {"type": "string", "enum": [mode.value for mode in CacheMode]},
        "What may answer this call; the server's mode by default.",
    ),
    "X-STB-Snapshot": (
        {"type": "string"},
        "The content hash of the frozen set of responses that may answer this call.",
    ),
    "X-STB-Episode": (
        {"type": "string", "maxLength": MAX_NAME},
        "The attempt at a task; a simulated answer is consistent with its earlier calls.",
    ),
}

_PROBLEMS = {
    400: "The body is not a JSON object, or a header names something that does not exist.",
    401: "The server's token is missing.",
    403: "A web page of another site sent the request.",
    404: "There is no such dataset or snapshot.",
    413: "The body is too large, or nested too deeply.",
    421: "The host name of the request is not one of the server's.",
    422: "A name is missing, or a member has the wrong type.",
    429: "Too many calls from this address; Retry-After says when to retry.",
    503: "The store does not answer or could not store an answer, or the server is stopping.",
}


def document_virtual(app: FastAPI) -> None:
    """Add ``/virtual`` to the application's OpenAPI document."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            schema["paths"]["/virtual"] = {"post": _operation()}
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _operation() -> dict[str, Any]:
    content = {"application/json": {"schema": _ANSWER}}
    return {
        "summary": "Call a virtual API",
        "operationId": "virtual",
        "description": "Answers a call from its recording. All observations for the agent have status 200, "
        "also a miss, an unknown tool or API, and arguments that are not a JSON object.",
        "parameters": [
            {"name": name, "in": "header", "required": False, "schema": schema, "description": text}
            for name, (schema, text) in _ASKED_BY_HEADER.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _REQUEST}}},
        "responses": {
            "200": {"description": "The observation.", "headers": _HEADERS, "content": content},
            **{str(status): {"description": text, "content": content} for status, text in _PROBLEMS.items()},
        },
    }
