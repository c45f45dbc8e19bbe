"""What a server is told when it starts: one frozen value, passed in."""

from __future__ import annotations

from dataclasses import dataclass, field

from stb_core.provenance import CacheMode

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class ServerOptions:
    """The settings of one server; every worker process gets the same."""

    database_url: str = field(repr=False)
    """Database URL of the store; may hold a password."""
    dataset: str
    """Name of the dataset that answers requests which name none."""
    mode: CacheMode = CacheMode.REPLAY
    """What may answer a call."""
    token: str = field(default="", repr=False)
    """When not empty, every request must carry it: ``Authorization: Bearer <token>``."""
    memory_bytes: int = 128 * MEBIBYTE
    """Most bytes of answers that one worker keeps in memory."""
    max_body_bytes: int = MEBIBYTE
    """Largest request body that is read; a larger one gets 413."""
    flush_interval_s: float = 0.5
    """How long a miss may wait before it is written to the ledger."""
    watch_interval_s: float = 1.0
    """How often a worker looks whether others changed a dataset."""
