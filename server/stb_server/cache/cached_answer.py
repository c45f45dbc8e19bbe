"""One recorded answer, as every tier of the cache holds it."""

from __future__ import annotations

from typing import NamedTuple

from stb_core.values import Provenance

# How an answer that was made or fetched earlier is called when it is served again.
_SERVED_AS = {Provenance.SIMULATED: Provenance.RECORDED_SIMULATED, Provenance.LIVE: Provenance.RECORDED}


class CachedAnswer(NamedTuple):
    """A recorded answer: its exact bytes, and what is needed to serve it.

    The headers are ready to be sent, because an answer in memory is sent many times.
    """

    body: bytes
    recorded_as: Provenance
    provenance: Provenance
    """Where the answer came from, as served."""
    length_header: bytes
    provenance_header: bytes
    created_at: str = ""
    """When it was recorded; "" where that is not known."""
    id: int = 0
    """Its number in the store; 0 where that is not known."""

    @classmethod
    def create(
        cls, body: bytes, recorded_as: Provenance, created_at: str = "", number: int = 0
    ) -> CachedAnswer:
        """The answer with this body, recorded with this provenance."""
        served_as = _SERVED_AS.get(recorded_as, recorded_as)
        return cls(
            body, recorded_as, served_as, str(len(body)).encode(), served_as.encode(), created_at, number
        )
