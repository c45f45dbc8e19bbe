"""Compares two sets of responses, read side by side in the order of their keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from stb_core.errors import FormatError
from stb_core.store import Store, browsing
from stb_core.values import KEY_SCHEME, SCHEMES_WITH_EQUAL_KEYS, Recording
from stb_server.datasets.dump_file import SUFFIXES, opened_dump


class DifferenceKind(StrEnum):
    """How one call differs between A and B."""

    ONLY_A = "only in A"
    ONLY_B = "only in B"
    BODY = "other body"
    PROVENANCE = "other provenance"


@dataclass(frozen=True)
class ResponseDifference:
    """One call with different answers in A and B."""

    change: DifferenceKind
    key: str
    category: str
    tool: str
    api: str
    arguments: str
    provenance_a: str = ""
    provenance_b: str = ""
    body_a: str = ""
    body_b: str = ""

    def as_row(self) -> dict[str, str]:
        """The fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class DiffSide:
    """A or B: a dataset of the store, or a dump."""

    name: str
    dataset_hash: str
    responses: AsyncIterator[Recording]


async def find_differences(
    a: AsyncIterator[Recording], b: AsyncIterator[Recording]
) -> AsyncIterator[ResponseDifference]:
    """All differences, in the order of keys; both inputs must be in that order."""
    left, right = await anext(a, None), await anext(b, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.key < right.key):
            assert left is not None
            yield _describe(DifferenceKind.ONLY_A, left, None)
            left = await anext(a, None)
        elif left is None or right.key < left.key:
            yield _describe(DifferenceKind.ONLY_B, None, right)
            right = await anext(b, None)
        else:
            if left.body != right.body:
                yield _describe(DifferenceKind.BODY, left, right)
            elif left.provenance != right.provenance:
                yield _describe(DifferenceKind.PROVENANCE, left, right)
            left, right = await anext(a, None), await anext(b, None)


def _describe(change: DifferenceKind, a: Recording | None, b: Recording | None) -> ResponseDifference:
    call = a or b
    assert call is not None
    return ResponseDifference(
        change=change,
        key=call.key,
        category=call.category,
        tool=call.tool,
        api=call.api,
        arguments=call.arguments.decode(errors="replace"),
        provenance_a=a.provenance if a else "",
        provenance_b=b.provenance if b else "",
        body_a=a.body.decode(errors="replace") if a else "",
        body_b=b.body.decode(errors="replace") if b else "",
    )


@asynccontextmanager
async def opened_diff_side(store: Store, what: str) -> AsyncGenerator[DiffSide]:
    """Open a dump if ``what`` ends like one, else the dataset of that name.

    Raises:
        NotFoundError: there is no such dump or dataset.
        FormatError: the dump is damaged.
    """
    if what.endswith(SUFFIXES):
        with opened_dump(Path(what)) as reader:
            if (scheme := reader.header.key_scheme) not in SCHEMES_WITH_EQUAL_KEYS:
                raise FormatError(
                    f"{what} has keys of scheme {scheme}, and this version makes keys of scheme {KEY_SCHEME}.",
                    hint="Load it into a dataset, which makes the keys anew, and compare that.",
                )
            yield DiffSide(what, reader.header.dataset_hash, _as_async(reader))
        return
    dataset = await store.datasets.get(what)
    async with browsing.snapshot(store) as connection:
        yield DiffSide(what, dataset.content_hash, browsing.stream(connection, dataset.id))


async def _as_async(responses: Iterable[Recording]) -> AsyncIterator[Recording]:
    for response in responses:
        yield response
