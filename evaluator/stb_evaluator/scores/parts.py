"""The part of a run that is scored, if not all of it: the first queries of each group, or queries by their ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from stb_core.errors import NotFoundError


def split_ids(text: str) -> list[str]:
    """The ids in a text that separates them by commas."""
    return [one.strip() for one in text.split(",") if one.strip()]


def choose_queries(
    expected: Sequence[Mapping[str, Sequence[str]]], limit: int | None, ids: Collection[str]
) -> list[dict[str, list[str]] | None]:
    """The queries to score of each run, by group; None for all.

    Args:
        expected: the queries of each run, by group.
        limit: only the first of each group, this many.
        ids: only these; empty for all.

    Raises:
        NotFoundError: no run has one of ``ids``, or a run has none of them.
    """
    if limit is None and not ids:
        return [None] * len(expected)
    known = {query_id for groups in expected for query_ids in groups.values() for query_id in query_ids}
    unknown = sorted(set(ids) - known)
    parts = [_narrow(groups, limit, ids) for groups in expected]
    if unknown or not all(parts):
        missing = f"There is no query {', '.join(unknown[:5])}" if unknown else "A run has no query"
        raise NotFoundError(f"{missing} among those that are scored.", hint="Check --task-ids.")
    return [*parts]


def _narrow(
    groups: Mapping[str, Sequence[str]], limit: int | None, ids: Collection[str]
) -> dict[str, list[str]]:
    chosen = {
        group: [query_id for query_id in query_ids if not ids or query_id in ids][:limit]
        for group, query_ids in groups.items()
    }
    return {group: query_ids for group, query_ids in chosen.items() if query_ids}
