"""The content hash of a dataset's tools and queries, which does not depend on their order."""

from __future__ import annotations

from collections.abc import Iterable

from stb_core.values import Query, ToolDocument, content_hash


def contents_hash(tools: Iterable[ToolDocument], queries: Iterable[Query]) -> str:
    """SHA-256 over the hashes of all tool documents and queries, sorted by their names.

    The order of tools, queries and files does not matter; the order of the APIs within a tool does.
    """
    parts = [["tool", tool.category, tool.standard_name, tool_hash(tool)] for tool in tools]
    parts += [["query", query.group, query.query_id, query_hash(query)] for query in queries]
    return content_hash(sorted(parts))


def tool_hash(tool: ToolDocument) -> str:
    """SHA-256 of one tool document with its APIs, unknown fields included."""
    return content_hash(tool.model_dump(mode="json", exclude_unset=True))


def query_hash(query: Query) -> str:
    """SHA-256 of one query."""
    return content_hash(query.model_dump(mode="json"))


# The hash of a dataset that has only responses.
NO_CONTENTS = contents_hash([], [])
