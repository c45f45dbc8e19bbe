"""One gate per host: limits concurrency and rate, and stops calls while the host is broken or asks to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from stb_server.upstream.values import UpstreamError

MAX_PAUSE_S = 600.0
"""Longest pause that a host may ask for, in seconds."""


@dataclass(frozen=True, slots=True)
class HostLimits:
    """Limits of the calls to one host."""

    concurrency: int = 4
    """Most concurrent calls."""
    per_second: float = 0.0
    """Most calls started per second; 0 for no limit."""
    breaker_failures: int = 5
    """Failures in a row after which the host counts as broken."""
    breaker_reset_s: float = 30.0
    """How long a broken host gets no calls before one call tries it again, in seconds."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """A circuit breaker's state: closed, open until a time, or open with one trial call under way."""

    failures: int = 0
    open_until: float | None = None
    on_trial: bool = False

    def admit(self, now: float) -> Breaker | None:
        """The state after letting a call through; None if it is not let through."""
        if self.open_until is None:
            return self
        if self.on_trial or now < self.open_until:
            return None
        return replace(self, on_trial=True)

    def after(self, *, failed: bool, now: float, limits: HostLimits) -> Breaker:
        """The state after a call that was let through has ended."""
        if not failed:
            return Breaker()
        failures = self.failures + 1
        if self.on_trial or failures >= limits.breaker_failures:
            return Breaker(failures, now + limits.breaker_reset_s)
        return Breaker(failures, self.open_until)

    def withdrawn(self) -> Breaker:
        """The state after a call that was cancelled, which says nothing about the host."""
        return replace(self, on_trial=False)


class HostGate:
    """The gate of one host. Times are those of ``clock``, in seconds."""

    def __init__(self, limits: HostLimits, clock: Callable[[], float]) -> None:
        self.limits = limits
        self.breaker = Breaker()
        self._clock = clock
        self._places = asyncio.Semaphore(limits.concurrency)
        self._next_start = 0.0
        self._paused_until = 0.0

    def pause(self, seconds: float) -> None:
        """Start no call for this time, at most ``MAX_PAUSE_S``, because the host asked for it."""
        self._paused_until = max(self._paused_until, self._clock() + min(seconds, MAX_PAUSE_S))

    @asynccontextmanager
    async def admitted(self, deadline: float) -> AsyncGenerator[None]:
        """Wait for a free place and for the rate limit, then hold the place; errors in the block count by kind.

        Raises:
            UpstreamError: ``circuit_open`` if the host is broken, ``busy`` if the call's turn would
                come after the deadline (by the loop's clock).
        """
        self._admit()
        try:
            async with asyncio.timeout_at(deadline):
                await self._places.acquire()
        except TimeoutError:
            raise UpstreamError("busy", "The host has its maximum of concurrent calls.") from None
        try:
            await self._wait_for_turn(deadline)
            self.breaker = self._admit()
            is_trial = self.breaker.on_trial
            failed: bool | None = None
            try:
                yield
                failed = False
            except UpstreamError as problem:
                failed = problem.is_hosts_failure
                raise
            finally:
                if failed is not None:
                    self.breaker = self.breaker.after(failed=failed, now=self._clock(), limits=self.limits)
                elif is_trial:
                    self.breaker = self.breaker.withdrawn()
        finally:
            self._places.release()

    def _admit(self) -> Breaker:
        admitted = self.breaker.admit(self._clock())
        if admitted is None:
            raise UpstreamError("circuit_open", "The host failed repeatedly and gets no calls for a while.")
        return admitted

    async def _wait_for_turn(self, deadline: float) -> None:
        waiting = True
        while waiting:
            now = self._clock()
            start = max(now, self._next_start, self._paused_until)
            if start > now and start >= deadline:
                raise UpstreamError("busy", "The host's rate limit leaves no time for this call.")
            if self.limits.per_second > 0:
                self._next_start = start + 1 / self.limits.per_second
            if start > now:
                await asyncio.sleep(start - now)
            waiting = self._clock() < self._paused_until  # a pause may have begun meanwhile
