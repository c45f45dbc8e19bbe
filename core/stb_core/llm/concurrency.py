"""A limit on requests in flight that yields to an endpoint's refusals and recovers by itself.

After each window of answers the limit is halved when a third or more of them said "too many", and
doubled, up to where it began, when hardly any did. A few refusals now and then change nothing: each
request waits and tries again on its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Self

_SMALLEST_WINDOW = 6
_MANY = 1 / 3
_FEW = 1 / 10


class Gate:
    """``async with gate`` lets so many through at a time; ``note`` says how the endpoint answered."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.allowed = limit
        """How many are let through at the moment."""
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._answers = 0
        self._refusals = 0

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

    def note(self, *, refused: bool) -> None:
        """Count an answer; ``refused`` when it said that there were too many requests."""
        self._answers += 1
        self._refusals += refused
        if self._answers < max(_SMALLEST_WINDOW, 2 * self.allowed):
            return
        share = self._refusals / self._answers
        self._answers = self._refusals = 0
        if share >= _MANY:
            self.allowed = max(1, self.allowed // 2)
        elif share <= _FEW:
            self.allowed = min(self.limit, self.allowed * 2)
        self._admit()

    def _leave(self) -> None:
        self._in_flight -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._in_flight < self.allowed:
            turn = self._waiting.popleft()
            if not turn.done():
                self._in_flight += 1
                turn.set_result(None)
