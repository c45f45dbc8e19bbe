"""Writes the responses of a dataset to a dump, and loads a dump completely or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import zstandard
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.errors import ConflictError, NotFoundError, StoreError
from stb_core.files import whole_file
from stb_core.store import Dataset, Response, Store, browsing, bulk
from stb_core.values import KEY_SCHEME, Fingerprint, Provenance, Recording, response_element
from stb_server.datasets.content_hash import NO_CONTENTS
from stb_server.datasets.dataset_names import checked_dataset_name
from stb_server.datasets.dump_file import DumpHeader, DumpReader, response_line
from stb_server.datasets.nulls import NullRemover, unique

_LINES_AT_ONCE = 2_000
_COMPRESSION_LEVEL = 9

T = TypeVar("T")


class DumpConflict(NamedTuple):
    """A call with different answers in dataset and dump; the dataset's answer is kept."""

    key: str
    category: str
    tool: str
    api: str
    arguments: str
    kept: Provenance
    dropped: Provenance
    same_body: bool


@dataclass
class LoadedDump:
    """What loading a dump did."""

    dataset: str
    responses: int = 0
    added: int = 0
    unchanged: int = 0
    replaced: int = 0
    """Answers that answers of the dump superseded."""
    retired: int = 0
    """Answers that were retired because the dump does not have them."""
    conflicts: list[DumpConflict] = field(default_factory=list)


def no_progress(_: int) -> None:
    """Ignore progress."""


async def dump(
    store: Store, dataset: Dataset, path: Path, *, advance: Callable[[int], None] = no_progress
) -> DumpHeader:
    """Write all responses in force of a dataset to a file; compressed if its name ends in ``.zst``.

    Raises:
        StoreError: what is stored does not have the hash that the store has for it.
        UsageError: the file cannot be written.
    """
    async with browsing.snapshot(store) as connection:
        state, count = await browsing.state(connection, dataset.id)
        # Without a null the first scheme makes the same keys: the same responses are the same bytes then.
        scheme = KEY_SCHEME if await browsing.holds_null(store, connection, dataset.id) else 1
        header = DumpHeader(dataset.name, dataset.content_hash or NO_CONTENTS, count, state.hash, scheme)
        fingerprint, written = Fingerprint(), 0
        with whole_file(path) as file, _compressed(file, path) as out:
            out.write(header.line)
            async for response in browsing.stream(connection, dataset.id):
                out.write(response_line(response))
                fingerprint.add(response_element(response.key, response.provenance, response.body))
                written += 1
                advance(1)
            if (fingerprint.hash, written) != (header.content_hash, header.count):
                raise StoreError(
                    f"The responses of {dataset.name} are not those that the store counted.",
                    hint=f"See what is wrong: stb cache verify {dataset.name}.",
                )
    return header


async def load(
    store: Store,
    reader: DumpReader,
    *,
    name: str = "",
    replace: bool = False,
    foreign: bool = False,
    advance: Callable[[int], None] = no_progress,
) -> LoadedDump:
    """Load the responses of a dump into a dataset, all or none of them.

    Args:
        store: the store of the dataset.
        reader: the dump, opened but not read.
        name: the dataset; by default the one named in the dump.
        replace: replace the dataset's answers by those of the dump. Otherwise existing answers are kept, and
            a different answer in the dump is a conflict. Pinned answers are always kept.
        foreign: accept a dump that was made for other tools and queries.
        advance: called with the number of responses read since the last call.

    Raises:
        NotFoundError: the dataset does not exist, and the dump's dataset has tools.
        ConflictError: the dump was made for other tools and queries.
        UsageError: the name is not valid for a dataset.
        FormatError: the dump is damaged.
    """
    name = name or reader.header.dataset
    dataset = next((candidate for candidate in await store.datasets.all() if candidate.name == name), None)
    if not foreign:
        _check_target(reader, name, dataset)
    loaded = LoadedDump(checked_dataset_name(name))
    async with store.writing() as connection:
        dataset_id = await store.datasets.put(connection, name, source=reader.path.name)
        nulls, late = NullRemover(store, dataset_id), list[Recording]()
        keys: set[str] = set()
        for chunk in _chunks(reader, _LINES_AT_ONCE):
            loaded.responses += len(chunk)
            rows, changed = await nulls.split(chunk)
            late += changed
            responses = [Recording(*row) for row in rows] if changed else chunk
            if replace:
                await _replace(store, connection, dataset_id, responses, loaded)
                keys.update(response.key for response in responses)
            else:
                await _merge(store, connection, dataset_id, responses, loaded)
            advance(len(chunk))
        late, pairs = unique(late)
        fresh = [response for response in late if replace and response.key not in keys]
        rest = [response for response in late if not replace or response.key in keys]
        if fresh:
            await _replace(store, connection, dataset_id, fresh, loaded)
        keys.update(response.key for response in late)
        await _merge(store, connection, dataset_id, rest, loaded)
        for _, further in pairs:
            await _merge(store, connection, dataset_id, [further], loaded)
        if replace:
            unpinned = await browsing.unpinned_keys(connection, dataset_id)
            others = [key for key in unpinned if key not in keys]
            if others:
                loaded.retired = await store.responses.retire(connection, dataset_id, others)
    return loaded


def _check_target(reader: DumpReader, name: str, dataset: Dataset | None) -> None:
    wanted = reader.header.dataset_hash
    if dataset is None and wanted != NO_CONTENTS:
        raise NotFoundError(
            f"There is no dataset {name!r} to load {reader.path} into.",
            hint=f"Import its tools and queries first (stb data import PATH --name {name}), or add --foreign.",
        )
    if dataset is not None and (dataset.content_hash or NO_CONTENTS) != wanted:
        raise ConflictError(
            f"{reader.path}, line 1: the dump was made for other tools and queries than {name} has.",
            hint="Name the dataset that it belongs to, or add --foreign to load it anyway.",
        )


async def _merge(
    store: Store,
    connection: AsyncConnection,
    dataset_id: int,
    responses: Sequence[Recording],
    loaded: LoadedDump,
) -> None:
    existing = await bulk.add_responses(store, connection, dataset_id, responses)
    loaded.added += len(responses) - len(existing)
    for response in responses:
        if (old := existing.get(response.key)) is not None:
            _count_old(response, old, loaded)


async def _replace(
    store: Store,
    connection: AsyncConnection,
    dataset_id: int,
    responses: Sequence[Recording],
    loaded: LoadedDump,
) -> None:
    kept = await store.responses.keep_within(
        connection, dataset_id, [_as_response(response) for response in responses], supersede=True
    )
    for response, outcome in zip(responses, kept, strict=True):
        if not outcome.is_new:
            _count_old(response, outcome.response, loaded)
        elif outcome.response.version == 1:
            loaded.added += 1
        else:
            loaded.replaced += 1


def _count_old(response: Recording, old: Response, loaded: LoadedDump) -> None:
    if (old.body, old.provenance) == (response.body, response.provenance):
        loaded.unchanged += 1
        return
    loaded.conflicts.append(
        DumpConflict(
            *response[:4],
            arguments=response.arguments.decode(),
            kept=old.provenance,
            dropped=Provenance(response.provenance),
            same_body=old.body == response.body,
        )
    )


def _as_response(recording: Recording) -> Response:
    details = recording.details
    return Response(
        *recording[:6],
        provenance=Provenance(recording.provenance),
        details=None if details is None else json.loads(details),
    )


@contextmanager
def _compressed(file: IO[bytes], path: Path) -> Generator[IO[bytes]]:
    if path.suffix != ".zst":
        yield file
        return
    with zstandard.ZstdCompressor(level=_COMPRESSION_LEVEL).stream_writer(file, closefd=False) as stream:
        yield stream


def _chunks(items: Iterable[T], size: int) -> Generator[list[T]]:
    chunk: list[T] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
