"""Recordings on their way in lose the nulls that mean "not given", by the documents of the dataset they go to."""

from __future__ import annotations

from collections.abc import Iterable

from stb_core.store import Store
from stb_core.values import (
    NULL_MEMBER,
    ApiDocument,
    ApiRef,
    Recording,
    call_key,
    canonical_without_nulls,
)
from stb_core.values.recordings import RecordingRow


class NullRemover:
    """Takes nulls for optional parameters out of recordings.

    Args:
        store: where the dataset is.
        dataset_id: whose documents count; they are in the store already.
    """

    def __init__(self, store: Store, dataset_id: int) -> None:
        self._store = store
        self._dataset_id = dataset_id
        self._documents: dict[ApiRef, ApiDocument | None] = {}

    async def split(self, rows: Iterable[RecordingRow]) -> tuple[list[RecordingRow], list[Recording]]:
        """The rows that stay what they are, and the others without their nulls.

        The latter come after the former: where a call is recorded with a null and without it, the answer without
        is kept.
        """
        same: list[RecordingRow] = []
        changed: list[Recording] = []
        for row in rows:
            new = await self._without_nulls(row) if NULL_MEMBER in row[4] else None
            if new is None:
                same.append(row)
            else:
                changed.append(new)
        return same, changed

    async def _without_nulls(self, row: RecordingRow) -> Recording | None:
        ref = ApiRef(*row[1:4])
        if ref not in self._documents:
            self._documents[ref] = await self._store.datasets.api(self._dataset_id, ref)
        document = self._documents[ref]
        if document is None:
            return None
        arguments = canonical_without_nulls(row[4], document)
        if arguments == row[4]:
            return None
        return Recording(*row)._replace(key=call_key(*ref, arguments), arguments=arguments)


def unique(rows: Iterable[Recording]) -> tuple[list[Recording], list[tuple[Recording, Recording]]]:
    """The first recording of each call, and pairs of it and a further one, whatever order they come in."""
    first: dict[str, Recording] = {}
    pairs: list[tuple[Recording, Recording]] = []
    for row in rows:
        known = first.setdefault(row.key, row)
        if known is not row:
            pairs.append((known, row))
    return list(first.values()), pairs
