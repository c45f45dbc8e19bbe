"""A bundle: one zip file with everything about a run, so that it can be scored anywhere.

| member | holds |
|---|---|
| ``bundle.json`` | format, run, manifest, expected queries, number of lines and SHA-256 of every other member |
| ``queries.jsonl`` | the queries that the run was to answer, where its dataset, or a bundle of it, was at hand |
| ``trajectories.jsonl`` | the last attempt of every trial |
| ``calls.jsonl`` | every tool call with its key, origin and observation |
| ``verdicts.jsonl`` | the verdict log, as it was written |

The same content is the same bytes: members are in this order and carry no time. Bundles of one run
merge: what a store already has stays, except for trials lost to infrastructure failures.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stb_core.errors import FormatError
from stb_core.store import Run
from stb_core.values import FINISH, KEY_SCHEME, SCHEMES_WITH_EQUAL_KEYS, Manifest, Query, Trajectory, Verdict
from stb_core.values.calls import readers_of_scheme

FORMAT = "stabletoolbench-bundle/1"
FORMAT_WITH_SCHEME = "stabletoolbench-bundle/2"
"""As ``FORMAT``, and the header has ``key_scheme``: for bundles whose keys are not of scheme 1."""
FORMAT_WITH_SOURCES = "stabletoolbench-bundle/3"
"""As ``FORMAT_WITH_SCHEME``, and some verdicts have ``source``: foreign ones, which do not belong to the run."""
_FORMATS = frozenset({FORMAT, FORMAT_WITH_SCHEME, FORMAT_WITH_SOURCES})
MEMBERS = ("queries.jsonl", "trajectories.jsonl", "calls.jsonl", "verdicts.jsonl")
HEADER = "bundle.json"
# Uncompressed; a bundle beyond it is refused before it is unpacked.
MAX_BYTES = 4 * 1024**3

# What reading a damaged zip file may raise.
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, struct.error)
_EPOCH = (1980, 1, 1, 0, 0, 0)


class BundleHeader(BaseModel):
    """``bundle.json``."""

    model_config = ConfigDict(frozen=True)

    format: str
    run: str
    name: str
    manifest: Manifest
    expected: dict[str, list[str]]
    lines: dict[str, int]
    sha256: dict[str, str]
    # Left out of bundles with the first scheme, so that they stay the same bytes.
    key_scheme: int = Field(default=1, exclude_if=lambda scheme: scheme == 1)


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds; calls are derived from the trajectories."""

    run: str
    name: str
    manifest: Manifest
    expected: dict[str, list[str]]
    queries: list[Query]
    trajectories: list[Trajectory]
    verdicts: list[Verdict]


def write_bundle(
    run: Run, queries: Sequence[Query], trajectories: Sequence[Trajectory], verdicts: Sequence[Verdict]
) -> bytes:
    """The bytes of a bundle."""
    members = {
        "queries.jsonl": _lines(query.model_dump(mode="json") for query in queries),
        "trajectories.jsonl": _lines(t.model_dump(mode="json") for t in trajectories),
        "calls.jsonl": _lines(call for t in trajectories for call in call_lines(t)),
        "verdicts.jsonl": _lines(map(_verdict_line, verdicts)),
    }
    scheme = _lowest_scheme(trajectories)
    plain = FORMAT if scheme == 1 else FORMAT_WITH_SCHEME
    header = BundleHeader(
        format=FORMAT_WITH_SOURCES if any(verdict.is_foreign for verdict in verdicts) else plain,
        key_scheme=scheme,
        run=run.run,
        name=run.name,
        manifest=run.manifest,
        expected=run.expected,
        lines={name: data.count(b"\n") for name, data in members.items()},
        sha256={name: hashlib.sha256(data).hexdigest() for name, data in members.items()},
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        first = orjson.dumps(header.model_dump(mode="json"), option=orjson.OPT_INDENT_2)
        for name, data in {HEADER: first, **members}.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def _lowest_scheme(trajectories: Iterable[Trajectory]) -> int:
    """The first scheme by which the keys of all calls are what they are: without a null, all agree."""
    texts = (step.arguments for trajectory in trajectories for step in trajectory.steps)
    return KEY_SCHEME if any("null" in text for text in texts) else min(SCHEMES_WITH_EQUAL_KEYS)


def _lines(values: Iterable[Any]) -> bytes:
    return b"".join(orjson.dumps(value) + b"\n" for value in values)


def _verdict_line(verdict: Verdict) -> dict[str, Any]:
    """A line of ``verdicts.jsonl``; it has ``source`` where the verdict is foreign.

    What brought the run's own verdicts is left out, as it is of its answers, so that a bundle that was
    imported is the same bytes when it is exported again.
    """
    left_out = {"is_foreign"} if verdict.is_foreign else {"is_foreign", "source"}
    return verdict.model_dump(mode="json", exclude=left_out)


def call_lines(trajectory: Trajectory) -> Iterable[dict[str, Any]]:
    """The lines of ``calls.jsonl`` that a trajectory makes."""
    place = {"group": trajectory.group, "query_id": trajectory.query_id, "trial": trajectory.trial}
    for number, step in enumerate(trajectory.steps):
        if step.function != FINISH:
            yield {**place, "step": number, **step.model_dump(mode="json")}


def is_bundle(path: Path) -> bool:
    """Whether a file looks like one."""
    return path.is_file() and path.suffix == ".zip"


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and check every hash.

    Raises:
        FormatError: the file is damaged, has another format, or is too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            if not {HEADER, *MEMBERS} <= sizes.keys():
                raise FormatError(f"{path} is not a bundle: {_first_missing(sizes)} is missing.")
            if sum(sizes.values()) > MAX_BYTES:
                raise FormatError(f"{path} holds more than {MAX_BYTES // 1024**3} GiB.")
            header = BundleHeader.model_validate_json(_unpacked(archive, HEADER, path))
            members = {name: _unpacked(archive, name, path) for name in MEMBERS}
    except ValidationError as problem:
        raise FormatError(f"{path} is not a bundle: {_first(problem)}.") from None
    except _DAMAGE as problem:
        raise FormatError(f"{path} cannot be unpacked: {problem}.", hint="Export it again.") from None
    if header.format not in _FORMATS:
        raise FormatError(
            f"{path} has the format {header.format}.",
            hint=f"This version reads {FORMAT_WITH_SOURCES} and older; upgrade.",
        )
    if header.key_scheme not in SCHEMES_WITH_EQUAL_KEYS:
        raise FormatError(
            f"{path} has keys of scheme {header.key_scheme}, and this version makes keys of scheme {KEY_SCHEME}.",
            hint=f"Read it with {readers_of_scheme(header.key_scheme)}.",
        )
    for name, data in members.items():
        if hashlib.sha256(data).hexdigest() != header.sha256.get(name):
            raise FormatError(f"{path} is damaged: {name} is not what was exported.", hint="Export it again.")
    try:
        return Bundle(
            header.run,
            header.name,
            header.manifest,
            header.expected,
            [Query.model_validate_json(line) for line in members["queries.jsonl"].splitlines()],
            [Trajectory.model_validate_json(line) for line in members["trajectories.jsonl"].splitlines()],
            [Verdict.model_validate_json(line) for line in members["verdicts.jsonl"].splitlines()],
        )
    except ValidationError as problem:
        raise FormatError(f"{path} is not a bundle: {_first(problem)}.") from None


def _unpacked(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        return archive.read(name)
    except _DAMAGE as problem:
        raise FormatError(
            f"{path} is damaged: {name} cannot be unpacked: {problem}.", hint="Export it again."
        ) from None


def _first_missing(sizes: dict[str, int]) -> str:
    return next(name for name in (HEADER, *MEMBERS) if name not in sizes)


def _first(problem: ValidationError) -> str:
    error = problem.errors()[0]
    place = ".".join(str(part) for part in error["loc"])
    return f"{place}: {error['msg']}" if place else str(error["msg"])
