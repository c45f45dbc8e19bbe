"""A small dataset for tests of simulators: a film API with recordings, and APIs that keep things."""

from __future__ import annotations

import json
from typing import Any

from stb_core.store import Store
from stb_core.store.datasets import Dataset
from stb_core.store.responses import Response
from stb_core.values.calls import ToolCall
from stb_core.values.provenance import Provenance
from stb_core.values.tools import ToolDocument

CATEGORY = "Movies"

FILMS = ToolDocument.model_validate(
    {
        "category": CATEGORY,
        "tool_name": "Film Finder",
        "tool_description": "Finds films.",
        "api_list": [
            {
                "name": "search",
                "description": "Films by title",
                "method": "GET",
                "required_parameters": [
                    {"name": "title", "type": "STRING", "description": "Part of the title", "default": ""}
                ],
                "optional_parameters": [
                    {"name": "year", "type": "NUMBER", "description": "Of release", "default": "2020"},
                    {"name": "page", "type": "NUMBER", "description": "", "default": "1"},
                ],
                "template_response": {
                    "count": "int",
                    "films": [{"title": "str", "year": "int", "_list_length": 9}],
                },
            },
            {
                "name": "genres",
                "description": "All genres, recorded only",
                "method": "GET",
                "required_parameters": [],
                "optional_parameters": [
                    {"name": "lang", "type": "STRING", "description": "", "default": "en"}
                ],
            },
            {
                "name": "posters",
                "description": "Nothing known but this",
                "method": "GET",
                "required_parameters": [],
                "optional_parameters": [],
            },
        ],
    }
)

THINGS = ("contact", "task", "note", "order", "booking", "playlist", "invoice", "ticket", "event", "webhook")


def keeper(thing: str) -> ToolDocument:
    """A tool that creates, reads, updates, lists and deletes one kind of thing."""

    def api(name: str, *required: str) -> dict[str, Any]:
        return {
            "name": f"{name}_{thing}",
            "description": f"{name} a {thing}",
            "method": "POST",
            "required_parameters": [
                {"name": n, "type": "STRING", "description": "", "default": ""} for n in required
            ],
            "optional_parameters": [],
        }

    return ToolDocument.model_validate(
        {
            "category": "Business",
            "tool_name": f"{thing} keeper",
            "tool_description": f"Keeps {thing}s.",
            "api_list": [
                api("create", "name"),
                api("read", f"{thing}_key"),
                api("update", f"{thing}_key", "name"),
                api("list"),
                api("delete", f"{thing}_key"),
            ],
        }
    )


def call(api: str, /, *, tool: str = "film_finder", category: str = CATEGORY, **arguments: Any) -> ToolCall:
    """A call of the small dataset."""
    return ToolCall(category, tool, api, arguments)


def recording(
    called: ToolCall, body: Any, provenance: Provenance = Provenance.RECORDED, **more: Any
) -> Response:
    """A recorded answer."""
    raw = json.dumps(body).encode()
    return Response(
        called.key,
        called.category,
        called.tool,
        called.api,
        called.canonical_arguments,
        raw,
        provenance,
        **more,
    )


def film(title: str, year: int) -> dict[str, Any]:
    """An answer of ``search``."""
    return {"error": "", "response": {"count": 1, "films": [{"title": title, "year": year}]}}


def served(response: Any) -> str:
    """What the model of ``llm`` writes when the API serves a call with this body."""
    return json.dumps({"answer": {"response": response}})


def refused(error: str) -> str:
    """What it writes when the API refuses one in these words."""
    return json.dumps({"answer": {"refusal": "not found", "error": error}})


def asked_shape(body: dict[str, Any]) -> dict[str, Any]:
    """The schema of the response that a request to that model asks for."""
    form = body["response_format"]["json_schema"]["schema"]
    shape: dict[str, Any] = form["properties"]["answer"]["anyOf"][0]["properties"]["response"]
    return shape


async def build(store: Store) -> Dataset:
    """The dataset ``small`` in a store: documents, and recordings of ``search`` and ``genres``."""
    dataset = await store.datasets.create("small")
    async with store.writing() as connection:
        await store.datasets.put_tools(connection, dataset.id, [FILMS, *map(keeper, THINGS)])
    await store.responses.keep(
        dataset.id,
        [
            recording(call("search", title="Alien"), film("Alien", 1979)),
            recording(call("search", title="Aliens"), film("Aliens", 1986)),
            recording(call("search", title="Casablanca", year="1942"), film("Casablanca", 1942)),
            recording(call("search", title="Brazil"), film("Brazil", 1985)),
            recording(call("genres", lang="en"), {"error": "", "response": "{'genres': ['drama'], 'n': 1}"}),
            recording(call("genres", lang="de"), {"error": "", "response": {"genres": ["Krimi", "Drama"]}}),
            recording(call("genres", lang="xx"), {"error": "no such language", "response": ""}),
        ],
    )
    return await store.datasets.get("small")
