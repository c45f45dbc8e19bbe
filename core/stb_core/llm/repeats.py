"""Asking a model again when its reply could not be used: how often, and how the new request differs.

A deterministic model gives the same reply to the same request. So a repeat has another seed and a
temperature above zero. This holds for agents, simulators and judges alike.
"""

from __future__ import annotations

from stb_core.llm.protocol import Reply, Request

MAX_REQUESTS = 3
"""Most requests for one answer."""
MAX_CUT_REPLIES = 2
"""Most replies for one answer that reach the token limit: they cost most, and the next is probably cut as well."""
REPEAT_TEMPERATURE = 0.7
"""The lowest temperature of a repeat, if the request sets a temperature."""
SEED_STEP = 1_000_000
"""Added to the seed per repeat; large, so that no repeat equals a request whose seed counts rounds."""


def repeat_request(request: Request, number: int) -> Request:
    """The ``number``-th repeat of a request; number 0 is the request itself."""
    if not number:
        return request
    changes: dict[str, object] = {"seed": (request.seed or 0) + number * SEED_STEP}
    if request.temperature is not None:  # some endpoints accept no temperature
        changes["temperature"] = max(request.temperature, REPEAT_TEMPERATURE)
    return request.model_copy(update=changes)


class Repeats:
    """The requests for one answer, one after the other.

    Args:
        first: the first request.
    """

    def __init__(self, first: Request) -> None:
        self._first = first
        self._cut = 0
        self.count = 0
        """Replies so far that could not be used."""

    @property
    def request(self) -> Request | None:
        """The next request; None after the last one."""
        enough = self.count >= MAX_REQUESTS or self._cut >= MAX_CUT_REPLIES
        return None if enough else repeat_request(self._first, self.count)

    def count_unusable(self, reply: Reply) -> None:
        """Count a reply that could not be used, and those before it that ``reply.repeats`` counts."""
        self.count += 1 + reply.repeats
        self._cut += reply.finish_reason == "length"
