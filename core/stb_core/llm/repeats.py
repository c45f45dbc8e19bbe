"""Asking a model again when its reply could not be used: how often, and what is different then.

A model that is told to be deterministic writes the same reply to the same request. So a repeat has
another seed and is not greedy. This holds for agents, simulators and judges alike.
"""

from __future__ import annotations

from stb_core.llm.protocol import Reply, Request

MOST_REQUESTS = 3
"""Most requests for one answer."""
MOST_CUT = 2
"""Most replies for one answer that reach the limit of tokens: these are the dearest, and the next is likely cut too."""
REPEAT_TEMPERATURE = 0.7
"""A repeat has at least this temperature, where the request sets one."""
SEED_STEP = 1_000_000
"""From one repeat to the next; large, so that no repeat meets a request whose seed only counts rounds."""


def repeated(request: Request, number: int) -> Request:
    """The ``number``-th repeat of a request; 0 is the request itself."""
    if not number:
        return request
    changes: dict[str, object] = {"seed": (request.seed or 0) + number * SEED_STEP}
    if request.temperature is not None:  # some endpoints take none
        changes["temperature"] = max(request.temperature, REPEAT_TEMPERATURE)
    return request.model_copy(update=changes)


class Repeats:
    """The requests for one answer, one after the other.

    Args:
        first: what is asked first.
    """

    def __init__(self, first: Request) -> None:
        self._first = first
        self._cut = 0
        self.made = 0
        """Replies so far that could not be used."""

    @property
    def request(self) -> Request | None:
        """What to ask next; None when it has been asked often enough."""
        enough = self.made >= MOST_REQUESTS or self._cut >= MOST_CUT
        return None if enough else repeated(self._first, self.made)

    def unusable(self, reply: Reply) -> None:
        """Count a reply, and those before it that ``reply.repeats`` tells of."""
        self.made += 1 + reply.repeats
        self._cut += reply.finish_reason == "length"
