"""Which queries share tools, so that their results depend on each other."""

from __future__ import annotations

from collections.abc import Iterable

from stb_core.values import Query

# With fewer clusters than this, a group's queries count for less than their number.
FEW = 10


def tool_clusters(queries: Iterable[Query]) -> dict[tuple[str, str], str]:
    """A name for each query's cluster, by (group, query id).

    Two queries are in one cluster when they share a tool, or are linked by others that do. In the
    official group G3_instruction 61 queries make 3 clusters.
    """
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        parents.setdefault(name, name)
        while parents[name] != name:
            parents[name] = parents[parents[name]]
            name = parents[name]
        return name

    members: dict[tuple[str, str], str] = {}
    for query in queries:
        tools = sorted({f"{ref.category}/{ref.tool}" for ref in query.apis}) or [f"query {query.query_id}"]
        members[query.group, query.query_id] = tools[0]
        first = root(tools[0])
        for tool in tools[1:]:
            one, other = sorted((first, root(tool)))
            parents[other] = first = one
    return {place: root(tool) for place, tool in members.items()}
