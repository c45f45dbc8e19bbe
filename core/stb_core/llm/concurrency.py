"""How many requests to an endpoint are in flight at once: a limit that follows its refusals and time-outs.

After each window of answers the limit is halved if a third or more of them said "too many requests". It is
doubled, up to its starting value, if at most a tenth did. A few refusals change nothing: each request waits
and tries again on its own.

If as many requests as a third of the places time out in a window, the limit is halved at once and does not
recover: a refusal costs nothing, but for a reply that comes too late the endpoint has worked, and maybe been paid.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Self

_SMALLEST_WINDOW = 6
_MANY = 1 / 3
_FEW = 1 / 10


class AdaptiveLimit:
    """``async with limit`` waits for a free place; ``count_answer`` adapts the number of places.

    Args:
        maximum: most requests in flight, and the number at the start.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.allowed = maximum
        """Most requests in flight at the moment."""
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._answers = 0
        self._refusals = 0
        self._timeouts = 0
        self._in_flight_before = 0
        """Requests that began before the limit was last halved; their time-outs say nothing about the new limit."""

    async def __aenter__(self) -> Self:
        if self._in_flight < self.allowed and not self._waiting:
            self._in_flight += 1
            return self
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # its turn had come: pass it on
                self._leave()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def count_answer(self, *, refused: bool) -> None:
        """Count an answer; ``refused`` if it said that there were too many requests."""
        self._in_flight_before = max(0, self._in_flight_before - 1)
        self._answers += 1
        self._refusals += refused
        if self._answers < max(_SMALLEST_WINDOW, 2 * self.allowed):
            return
        share = self._refusals / self._answers
        self._answers = self._refusals = self._timeouts = 0
        if share >= _MANY:
            self.allowed = max(1, self.allowed // 2)
        elif share <= _FEW:
            self.allowed = min(self.maximum, self.allowed * 2)
        self._admit()

    def count_timeout(self) -> None:
        """Count a request that got no answer in time."""
        if self._in_flight_before:
            self._in_flight_before -= 1
            return
        self._timeouts += 1
        if self._timeouts < _MANY * self.allowed:
            return
        self.allowed = self.maximum = max(1, self.allowed // 2)
        self._answers = self._refusals = self._timeouts = 0
        self._in_flight_before = self._in_flight

    def _leave(self) -> None:
        self._in_flight -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._in_flight < self.allowed:
            turn = self._waiting.popleft()
            if not turn.done():
                self._in_flight += 1
                turn.set_result(None)
