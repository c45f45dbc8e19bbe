"""Where an answer came from. Every answer carries this; a simulated one is never called recorded."""

from __future__ import annotations

from enum import StrEnum


class Provenance(StrEnum):
    """The origin of one response."""

    RECORDED = "recorded"
    """Imported, or captured earlier from the real API."""
    LIVE = "live"
    """From the real API, now."""
    SIMULATED = "simulated"
    """Made by a language model, now."""
    RECORDED_SIMULATED = "recorded-simulated"
    """Made by a language model earlier and served again from the cache."""
    TEMPLATE = "template"
    """Made by rule from the API's document."""
    FAULT = "fault"
    """Injected on purpose."""
    MISS = "miss"
    """Nothing could answer."""


class CacheMode(StrEnum):
    """What may answer a call."""

    REPLAY = "replay"
    """The cache only; a miss is a typed error and enters the miss ledger."""
    AUTO = "auto"
    """Cache, then the real API, then a simulator; and record."""
    SIMULATE = "simulate"
    """Cache, then a simulator; never the network."""
    RECORD = "record"
    """The real API only, and record."""
    LIVE = "live"
    """The real API; the cache is not read."""
    REFRESH = "refresh"
    """Answer afresh and keep the old answer as a superseded version."""
