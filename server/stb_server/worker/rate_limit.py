"""Limits the calls of one client: a token bucket per address."""

from __future__ import annotations

import math
from collections import OrderedDict

from stb_server.calls import BadRequestError

MAX_CLIENTS = 10_000
"""Addresses that are remembered; the one idle for longest is forgotten, so it starts with a full bucket."""


class RateLimit:
    """Lets each client make ``per_second`` calls a second, and as many at once after a pause."""

    def __init__(self, per_second: float, message: str = "Too many calls from this address.") -> None:
        self.per_second = per_second
        self._message = message
        self._burst = max(1.0, per_second)
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.refused = 0

    def wait_s(self, client: str, now: float) -> float:
        """How long the client must wait before this call, in seconds; 0 means that the call is allowed and counted."""
        tokens, seen = self._clients.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - seen) * self.per_second)
        allowed = tokens >= 1
        self._clients[client] = (tokens - allowed, now)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        if allowed:
            return 0.0
        self.refused += 1
        return math.ceil((1 - tokens) / self.per_second * 1000) / 1000

    def check(self, client: str, now: float) -> None:
        """Count a call of a client.

        Raises:
            BadRequestError: it comes too early; the answer says when to try again.
        """
        if wait_s := self.wait_s(client, now):
            raise BadRequestError(
                429,
                "rate_limited",
                self._message,
                headers=((b"retry-after", str(math.ceil(wait_s)).encode()),),
            )
