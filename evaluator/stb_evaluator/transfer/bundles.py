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
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stb_core.errors import FormatError
from stb_core.files import MIB, Archive, FileLimitError, LimitedLines, file_limits, in_words, too_much
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
Line = TypeVar("Line")
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
    """What a bundle holds; what may be long is read from the file each time that it is gone through.

    ``calls`` are the lines of ``calls.jsonl``, ``sha256`` is by member, ``members`` are all names in the archive.
    """

    run: str
    name: str
    manifest: Manifest
    expected: dict[str, list[str]]
    queries: list[Query]
    trajectories: Iterable[Trajectory]
    verdicts: Iterable[Verdict]
    calls: Iterable[dict[str, Any]]
    sha256: Mapping[str, str]
    members: Sequence[str]


def write_bundle(
    run: Run, queries: Iterable[Query], trajectories: Iterable[Trajectory], verdicts: Iterable[Verdict]
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


def read_bundle(source: Path | bytes, name: str = "") -> Bundle:
    """Read a bundle, from a file or from its bytes, and check every hash and every line.

    Its trajectories and verdicts are read again each time they are gone through: one line is in memory at a time.

    Raises:
        FormatError: the file is damaged, has another format, or is too large; the message begins with ``name``, the
            file's by default.
    """
    name = name or (str(source) if isinstance(source, Path) else "The bundle")
    archive = Archive(source)
    try:
        sizes = archive.sizes()
        if not {HEADER, *MEMBERS} <= sizes.keys():
            raise FormatError(f"is not a bundle: {_first_missing(sizes)} is missing")  # noqa: TRY301 - as all that follow
        header = _read_header(archive)
        limits = file_limits()
        parse = Query.model_validate
        queries = _Lines(archive, "queries.jsonl", header, parse, most=limits.records, is_kept=True)
        parse_trajectory = Trajectory.model_validate
        trajectories = _Lines(archive, "trajectories.jsonl", header, parse_trajectory, most=limits.records)
        verdicts = _Lines(archive, "verdicts.jsonl", header, Verdict.model_validate)
        calls = _Lines(archive, "calls.jsonl", header, dict)
        for lines in (queries, trajectories, calls, verdicts):
            lines.check()
        found = Bundle(
            header.run,
            header.name,
            header.manifest,
            header.expected,
            list(queries),
            trajectories,
            verdicts,
            calls,
            {HEADER: hashlib.sha256(archive.read(HEADER)).hexdigest(), **header.sha256},
            archive.names(),
        )
        for lines in (trajectories, verdicts, calls):
            for _ in lines:  # each is checked while it is read
                pass
    except FormatError as problem:
        hint = "" if isinstance(problem, FileLimitError) else problem.hint or "Export it again."
        raise FormatError(f"{name} {problem.message}.", hint=hint) from None
    return found


def _read_header(archive: Archive) -> BundleHeader:
    try:
        header = BundleHeader.model_validate_json(archive.read(HEADER))
    except ValidationError as problem:
        raise FormatError(f"is not a bundle: {_first(problem)}") from None
    if header.format not in _FORMATS:
        raise FormatError(
            f"has the format {header.format}",
            hint=f"This version reads {FORMAT_WITH_SOURCES} and older; upgrade.",
        )
    if header.key_scheme not in SCHEMES_WITH_EQUAL_KEYS:
        raise FormatError(
            f"has keys of scheme {header.key_scheme}, and this version makes keys of scheme {KEY_SCHEME}",
            hint=f"Read it with {readers_of_scheme(header.key_scheme)}.",
        )
    return header


class _Lines(Generic[Line]):
    """The lines of a member, read and checked anew by each iteration.

    Args:
        archive: the bundle.
        name: of the member.
        header: with its hash.
        parse: makes a line of its JSON object.
        most: how many lines there may be; None for any number.
        is_kept: whether they are all kept, so that all of them may take no more than one line.
    """

    def __init__(
        self,
        archive: Archive,
        name: str,
        header: BundleHeader,
        parse: Callable[[dict[str, Any]], Line],
        *,
        most: int | None = None,
        is_kept: bool = False,
    ) -> None:
        self._archive, self._name, self._parse = archive, name, parse
        self._most, self._is_kept = most, is_kept
        self._sha256 = header.sha256.get(name)

    def __iter__(self) -> Iterator[Line]:
        """The lines in order.

        Raises:
            FormatError: one is not valid, or at the end: they do not have the hash of the header.
        """
        for line in self._raw():
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError as problem:
                raise FormatError(f"is not a bundle: a line of {self._name} is not JSON: {problem}") from None
            if not isinstance(value, dict):
                raise FormatError(f"is not a bundle: a line of {self._name} is not a JSON object")
            try:
                parsed = self._parse(value)
            except ValidationError as problem:
                raise FormatError(f"is not a bundle: {_first(problem)}") from None
            yield parsed

    def check(self) -> None:
        """Compare the hash with the header's, without a look at the lines.

        Raises:
            FormatError: they differ.
        """
        found = hashlib.sha256()
        with self._archive.member(self._name) as member:
            while data := member.read(MIB):
                found.update(data)
        self._compare(found.hexdigest())

    def _raw(self) -> Iterator[bytes]:
        found, size, number, limit = hashlib.sha256(), 0, 0, file_limits().record_bytes
        with self._archive.member(self._name) as member:
            for line in LimitedLines(member, f"cannot be read: a line of {self._name} ", validated=True):
                number, size = number + 1, size + len(line)
                if self._most is not None and number > self._most:
                    raise too_much(f"cannot be read: {self._name} has more than {self._most:,} lines")
                if self._is_kept and size > limit:
                    raise too_much(f"cannot be read: {self._name} is larger than {in_words(limit)}")
                found.update(line)
                yield line
        self._compare(found.hexdigest())

    def _compare(self, sha256: str) -> None:
        if sha256 != self._sha256:
            raise FormatError(f"is damaged: {self._name} is not what was exported")


def _first_missing(sizes: Collection[str]) -> str:
    return next(name for name in (HEADER, *MEMBERS) if name not in sizes)


def _first(problem: ValidationError) -> str:
    error = problem.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in error["loc"])
    return f"{place}: {error['msg']}" if place else str(error["msg"])
