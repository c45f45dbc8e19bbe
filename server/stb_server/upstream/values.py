"""What goes to a real API and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field

# Errors that count against the host; the others are about one call or one answer.
_HOSTS_FAILURES = frozenset({"unreachable", "timeout", "malformed", "server_error"})


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
