"""Reads and writes dumps of recorded responses: self-describing files ``*.jsonl`` or ``*.jsonl.zst``.

The first line is a header: format, dataset, hash of the dataset's tools and queries, number of
responses, and their content hash, which is the snapshot hash in the manifests of runs. Then each line has
one response, sorted by key: names, arguments, provenance, optional details, body.

A dump has the responses in force, and nothing that depends on when or where it was written: no times,
no superseded versions, no pins. So the same responses always give the same bytes, from SQLite and from
PostgreSQL, before and after a load. Every line ends with a checksum of its bytes (16 hexadecimal
digits of SHA-256), so that damage is reported with its line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import orjson
import zstandard

from stb_core import json_text
from stb_core.errors import CallError, FormatError, NotFoundError, StoreError, UsageError
from stb_core.files import FileLimitError, LimitedLines, open_zstd
from stb_core.values import (
    KEY_SCHEME,
    SCHEMES_WITH_EQUAL_KEYS,
    Fingerprint,
    Provenance,
    Recording,
    call_key,
    canonical_json,
    response_element,
)
from stb_server.datasets.dataset_names import name_problem

FORMAT = "stabletoolbench-responses/1"
FORMAT_WITH_SCHEME = "stabletoolbench-responses/2"
"""As ``FORMAT``, and the header has ``key_scheme``: for dumps whose keys are not of scheme 1."""
SUFFIXES = (".jsonl", ".jsonl.zst")
_FAMILY = FORMAT.rsplit("/", maxsplit=1)[0]
_CHECK = b',"check":"'
_CHECK_DIGITS = 16
_NEVER_KEPT = frozenset({Provenance.FAULT, Provenance.MISS})


@dataclass(frozen=True)
class DumpHeader:
    """The first line of a dump."""

    dataset: str
    dataset_hash: str
    """Content hash of the tools and queries of the dataset."""
    count: int
    content_hash: str
    """Hash of all responses, see ``stb_core.values.fingerprint``."""
    key_scheme: int = 1
    """The first scheme by which its keys are made as they are, see ``stb_core.values.calls``."""

    @property
    def line(self) -> bytes:
        """The header as a line of the file."""
        fields = {"format": FORMAT_WITH_SCHEME, **asdict(self)}
        if self.key_scheme == 1:  # the same responses are the same bytes, whatever version writes them
            fields["format"] = FORMAT
            del fields["key_scheme"]
        return orjson.dumps(fields) + b"\n"


def response_line(response: Recording) -> bytes:
    """One response as a line of a dump.

    The body is written as JSON, or as text under ``body_text`` if JSON would change its bytes.

    Raises:
        StoreError: the body is not text.
    """
    names = {name: getattr(response, name) for name in ("key", "category", "tool", "api")}
    head = orjson.dumps(names)[:-1] + b',"arguments":' + response.arguments
    head += b',"provenance":"' + response.provenance.encode() + b'"'
    if response.details is not None:
        head += b',"details":' + canonical_json(json.loads(response.details))
    if _is_compact(response.body):
        line = head + b',"body":' + response.body
    else:
        try:
            text = response.body.decode()
        except UnicodeDecodeError:
            raise StoreError(
                f"The body of response {response.key} is not text.",
                hint=f"Delete it with: stb cache rm {response.key[:12]} --yes.",
            ) from None
        line = head + b',"body_text":' + orjson.dumps(text)
    return line + _CHECK + _check(line) + b'"}\n'


def parse_response_line(line: bytes, key_scheme: int = KEY_SCHEME) -> Recording:
    """Parse one line of a dump; the key is kept as it is.

    Raises:
        FormatError: the line is damaged or not a response; the message is only the reason.
    """
    bare = line.removesuffix(b"\n")
    cut = len(bare) - len(_CHECK) - _CHECK_DIGITS - 2
    if cut < 0 or bare[cut : cut + len(_CHECK)] != _CHECK or not bare.endswith(b'"}'):
        raise FormatError("is cut short or not a response")
    if bare[cut + len(_CHECK) : -2] != _check(bare[:cut]):
        raise FormatError("was changed: its checksum is wrong")
    value = json_text.parse(bare)
    try:
        names = (value["category"], value["tool"], value["api"])
        provenance = Provenance(value["provenance"])
        arguments = canonical_json(value["arguments"])
        details = value.get("details")
        body = value["body_text"].encode() if "body_text" in value else orjson.dumps(value["body"])
        key = str(value["key"])
    except (KeyError, TypeError, AttributeError, ValueError, CallError):
        raise FormatError("is not a response") from None
    if problem := name_problem(*names):
        raise FormatError(f"is not a response: {problem}")
    if provenance in _NEVER_KEPT or not isinstance(value["arguments"], dict):
        raise FormatError("is not a response that can be stored")
    if key_scheme in SCHEMES_WITH_EQUAL_KEYS and key != call_key(*names, arguments):
        raise FormatError("its key is not that of its call")
    return Recording(
        key, *names, arguments, body, provenance.value, None if details is None else json.dumps(details)
    )


def is_dump(path: Path) -> bool:
    """Whether a file starts like one of our dumps, of any version."""
    if not path.name.endswith(SUFFIXES) or not path.is_file():
        return False
    damage = OSError, zstandard.ZstdError, FormatError, orjson.JSONDecodeError
    with suppress(*damage), _opened(path) as file:
        value = orjson.loads(file.readline(64 * 1024))
        return isinstance(value, dict) and str(value.get("format")).startswith(f"{_FAMILY}/")
    return path.name.endswith(".zst")


class DumpReader:
    """Reads one dump from its first to its last line, and checks every line."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._lines = LimitedLines(file)
        self._number = 0
        self.header = self._header()

    def __iter__(self) -> Iterator[Recording]:
        """The responses in order, with keys of today's scheme.

        Raises:
            FormatError: a line is damaged, or at the end: the dump is not complete.
        """
        fingerprint, count, last = Fingerprint(), 0, ""
        while line := self._line():
            try:
                response = parse_response_line(line, self.header.key_scheme)
            except FormatError as problem:
                raise self._refuse(problem.message) from None
            if response.key <= last:
                raise self._refuse("is out of order")
            last, count = response.key, count + 1
            fingerprint.add(response_element(response.key, response.provenance, response.body))
            if self.header.key_scheme not in SCHEMES_WITH_EQUAL_KEYS:
                names = response.category, response.tool, response.api
                response = response._replace(key=call_key(*names, response.arguments))
            yield response
        if count != self.header.count:
            raise self._refuse(
                f"is the last, but the header promises {self.header.count} responses, not {count}"
            )
        if fingerprint.hash != self.header.content_hash:
            raise self._refuse("is the last, and the responses do not have the hash in the header")

    def _header(self) -> DumpHeader:
        try:
            value: Any = orjson.loads(self._line())
        except orjson.JSONDecodeError:
            value = None
        kind = value.get("format") if isinstance(value, dict) else None
        if not isinstance(kind, str) or not kind.startswith(f"{_FAMILY}/"):
            raise self._refuse("is not the header of a dump")
        if kind not in {FORMAT, FORMAT_WITH_SCHEME}:
            raise self._refuse(f"has the format {kind}, which this version does not know")
        try:
            header = DumpHeader(
                value["dataset"],
                value["dataset_hash"],
                value["count"],
                value["content_hash"],
                value["key_scheme"] if kind == FORMAT_WITH_SCHEME else 1,
            )
        except KeyError as problem:
            raise self._refuse(f"is a header without {problem.args[0]}") from None
        texts = (header.dataset, header.dataset_hash, header.content_hash)
        whole = type(header.count) is int and type(header.key_scheme) is int
        if not whole or not all(isinstance(text, str) for text in texts):
            raise self._refuse("is a header with fields of the wrong type")
        return header

    def _line(self) -> bytes:
        self._number += 1
        try:
            line = self._lines.next()
        except FileLimitError as problem:
            raise self._refuse(problem.message, "Nothing was loaded.") from None
        except zstandard.ZstdError:
            raise self._refuse("cannot be decompressed") from None
        except OSError as problem:
            raise self._refuse(f"cannot be read: {problem.strerror}") from None
        if not line:
            self._number = max(self._number - 1, 1)
        return line

    def _refuse(
        self, reason: str, hint: str = "Nothing was loaded. Get a new copy of the dump."
    ) -> FormatError:
        return FormatError(f"{self.path}, line {self._number} {reason}.", hint=hint)


@contextmanager
def opened_dump(path: Path) -> Generator[DumpReader]:
    """Open the dump at a path, and read its header.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it cannot be read.
        FormatError: it is not a dump; the message names the line.
    """
    try:
        if not path.is_file():
            raise NotFoundError(f"There is no dump {path}.", hint="Check the path.")
        file = _opened(path)
    except OSError as problem:
        raise UsageError(
            f"{path} cannot be read: {problem.strerror}.", hint="Check the path and its permissions."
        ) from None
    with file:
        yield DumpReader(path, file)


def _opened(path: Path) -> IO[bytes]:
    return open_zstd(path) if path.suffix == ".zst" else path.open("rb")


def _check(line: bytes) -> bytes:
    return hashlib.sha256(line).hexdigest()[:_CHECK_DIGITS].encode()


def _is_compact(body: bytes) -> bool:
    """Whether decoding and encoding a body gives the same bytes."""
    try:
        return orjson.dumps(orjson.loads(body)) == body
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return False
