"""Who sends a request: whoever has the server's token, or a person or program with a token of its own in a file.

The file holds SHA-256 hashes, never tokens, so a copy of it opens nothing. Tokens are random and long, so a fast
hash is enough, and every request can afford it. Workers look at the file once a second: a token that is taken
out of it opens nothing more.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from stb_core.errors import FormatError, NotFoundError
from stb_core.telemetry import logs
from stb_server.calls import BadRequestError
from stb_server.worker.rate_limit import RateLimit

_log = logging.getLogger(__name__)

CLIENT = "stb_client"
"""The member of a request's scope that holds its ``Client``."""
MOST = 1_000
"""Tokens in one file; each name becomes a label of metrics."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,39}")
_EXAMPLE = 'Write: [NAME]  sha256 = "…"  rights = "read"'


class _Entry(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    rights: Literal["read", "write"] = "read"
    rate_limit: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    max_misses: int | None = Field(default=None, ge=0)


_ENTRIES = TypeAdapter(dict[str, _Entry])


@dataclass(frozen=True)
class Client:
    """Who sends a request, and what it may do."""

    name: str = ""
    """Its name in the file; "" for whoever has the server's token, or needs none."""
    writes: bool = True
    """Whether it may change or spend anything: record, simulate, open episodes, take snapshots."""
    limit: RateLimit | None = None
    """How many calls it may make; None where the limit of all clients counts."""
    max_misses: int | None = None
    """How many different calls of each dataset it may bring into the ledger of misses."""

    def in_logs(self) -> AbstractContextManager[None]:
        """Puts its name, if it has one, into every line that is logged within the block."""
        return logs.fields(client=self.name) if self.name else nullcontext()


ANYONE = Client()


class Clients:
    """Knows clients by their tokens.

    Args:
        token: the server's own token; "" for none.
        path: the file of named tokens; None for none.

    Raises:
        NotFoundError: there is no such file.
        FormatError: it cannot be used.
    """

    def __init__(self, token: str = "", path: Path | None = None) -> None:
        self.token = token
        self._path = path
        self._by_hash: dict[str, Client] = {}
        self._by_name: dict[str, Client] = {}
        self._seen: tuple[int, int, int] | None = None
        self.problem = ""
        """Why the file cannot be used now; those whom it named before are still known."""
        self.counts: Counter[tuple[str, str]] = Counter()
        """What became of calls, by the client's name and outcome; only of clients with names."""
        if path:
            self._take(read_tokens_file(path))
            self._seen = _state(path)

    @property
    def are_checked(self) -> bool:
        """Whether a request needs a token."""
        return bool(self.token or self._path)

    @property
    def names(self) -> list[str]:
        """The names in the file."""
        return sorted(self._by_name)

    @property
    def refused(self) -> int:
        """Calls refused because a client with a limit of its own made too many."""
        return sum(client.limit.refused for client in self._by_name.values() if client.limit)

    def quotas(self) -> dict[str, int]:
        """How many different calls of a dataset a client may bring into the ledger of misses, by its name."""
        bounded = {name: client.max_misses for name, client in self._by_name.items()}
        return {name: most for name, most in bounded.items() if most is not None}

    def of_header(self, authorization: bytes) -> Client | None:
        """The client with this ``Authorization`` header; None if it has no token that is known."""
        if not self.are_checked:
            return ANYONE
        scheme, _, token = authorization.partition(b" ")
        return self.of_token(token.strip()) if scheme.lower() == b"bearer" else None

    def of_token(self, token: bytes) -> Client | None:
        """The client with this token."""
        if not self.are_checked:
            return ANYONE
        if self.token and hmac.compare_digest(token, self.token.encode()):
            return ANYONE
        # How long the search takes depends on the hash, which tells nothing about the token.
        return self._by_hash.get(hashlib.sha256(token).hexdigest()) if self._by_hash else None

    def of_name(self, name: str) -> Client:
        """The client that began something under this name; ``ANYONE`` for an address.

        Raises:
            BadRequestError: its token is not in the file any more.
        """
        if self._path is None or not _NAME.fullmatch(name):
            return ANYONE
        if name not in self._by_name:
            raise BadRequestError(401, "revoked", f"The token of {name} is not valid any more.")
        return self._by_name[name]

    def refresh(self) -> None:
        """Read the file again if it changed. One that cannot be used changes nothing, and is logged."""
        if self._path is None or (state := _state(self._path)) == self._seen:
            return
        self._seen = state
        try:
            self._take(read_tokens_file(self._path))
        except (NotFoundError, FormatError) as problem:
            self.problem = problem.message
            _log.error("the file of tokens cannot be used", extra={"reason": problem.message})
        else:
            self.problem = ""
            _log.info("the file of tokens was read", extra={"names": len(self._by_name)})

    def _take(self, entries: Mapping[str, _Entry]) -> None:
        clients = {name: self._client(name, entry) for name, entry in entries.items()}
        self._by_name = clients
        self._by_hash = {entry.sha256: clients[name] for name, entry in entries.items()}

    def _client(self, name: str, entry: _Entry) -> Client:
        before = self._by_name.get(name)
        limit = before.limit if before else None
        if limit is None or limit.per_second != entry.rate_limit:
            limit = RateLimit(entry.rate_limit, f"Too many calls by {name}.") if entry.rate_limit else None
        return Client(name, entry.rights == "write", limit, entry.max_misses)


def read_tokens_file(path: Path) -> dict[str, _Entry]:
    """The entries of a file of tokens, by name.

    Raises:
        NotFoundError: there is no such file.
        FormatError: it is not in this form, or two names share a token; the message quotes no value.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"There is no file of tokens {path}.", hint="Check --tokens-file.") from None
    except (OSError, ValueError) as problem:
        reason = "it is not TOML" if isinstance(problem, ValueError) else problem.strerror or str(problem)
        raise _unusable(path, reason) from None
    try:
        entries = _ENTRIES.validate_python(document)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        raise _unusable(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if len(entries) > MOST:
        raise _unusable(path, f"it has {len(entries):,} tokens, and {MOST:,} are allowed")
    names: dict[str, str] = {}
    for name, entry in entries.items():
        if not _NAME.fullmatch(name):
            raise _unusable(path, f"{name[:60]!r} is not a name of letters, digits, '.', '_' and '-'")
        if (other := names.setdefault(entry.sha256, name)) != name:
            raise _unusable(path, f"{other} and {name} have the same token")
    return entries


def hash_of_token(token: str) -> str:
    """The hash under which a token stands in the file."""
    return hashlib.sha256(token.encode()).hexdigest()


def _unusable(path: Path, reason: str) -> FormatError:
    return FormatError(f"The file of tokens {path} cannot be used: {reason.rstrip('.')}.", hint=_EXAMPLE)


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
