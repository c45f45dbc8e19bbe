"""What goes to a real API and what comes back; secrets are masked wherever these are shown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

# Errors that count against the host; the others are about one call or one answer.
_HOSTS_FAILURES = frozenset({"unreachable", "timeout", "malformed", "server_error"})
_SHORTEST_SECRET = 8


class UpstreamError(Exception):
    """A real API gave no answer; ``kind`` and ``message`` become those of the refusal.

    The message holds only our own words, nothing that was sent or received.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message

    @property
    def is_hosts_failure(self) -> bool:
        """Whether it counts against the host."""
        return self.kind in _HOSTS_FAILURES


@dataclass(frozen=True)
class UpstreamRequest:
    """One HTTP request; ``headers`` and ``content`` go to the origin of ``url`` and nowhere else."""

    method: str
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class UpstreamReply:
    """One HTTP response with its complete, decompressed body."""

    status: int
    content_type: str
    body: bytes = field(repr=False)
    retry_after: str = ""


def mask_secrets(text: str, secrets: Iterable[str]) -> str:
    """``text`` without the secrets that were sent, should the API have sent them back.

    A secret is replaced as it is, and as JSON and URLs write it. A secret of fewer than eight characters is
    taken for a placeholder and left.
    """
    for secret in secrets:
        if len(secret) < _SHORTEST_SECRET:
            continue
        in_json = json.dumps(secret)[1:-1]
        forms = {secret, in_json, in_json.replace("/", "\\/"), json.dumps(secret, ensure_ascii=False)[1:-1]}
        forms |= {quote(secret), quote(secret, safe=""), quote_plus(secret)}
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, "***")
    return text
