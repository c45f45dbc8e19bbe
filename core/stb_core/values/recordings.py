"""A response on its way between store, dumps and releases: a plain row, cheap enough to move by the million."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

RecordingRow: TypeAlias = tuple[str, str, str, str, bytes, bytes, str, str | None]
"""The fields of a ``Recording`` without their names, which is what a reader of a million makes."""


class Recording(NamedTuple):
    """One answer of one call; names in standard form, ``arguments`` canonical, ``body`` the exact bytes.

    ``provenance`` is the value of a ``Provenance`` and ``details`` JSON text: as the store has them.
    """

    key: str
    category: str
    tool: str
    api: str
    arguments: bytes
    body: bytes
    provenance: str
    details: str | None = None
