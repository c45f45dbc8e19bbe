"""Notices that an endpoint is slow: tells the user what to turn, and estimates what late replies cost."""

from __future__ import annotations

from collections.abc import Callable

from stb_core.usage import Price, Usage, usage_of_call

_SAID_AT = frozenset({1, 3, 10, 30, 100, 300, 1000})
"""Numbers of late requests at which the user is told."""


class Slowness:
    """What is known of the requests to one endpoint that got no reply in time.

    Args:
        name: of the model.
        timeout_s: that a reply may take.
        price: of the model's tokens, as far as it is known.
        say: tells the user.
    """

    def __init__(self, name: str, timeout_s: float, price: Price | None, say: Callable[[str], None]) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._price = price
        self._say = say
        self._fewest_per_byte: float | None = None
        self.count_late = 0
        """Requests that got no reply in time."""

    def learn(self, n_bytes: int, prompt_tokens: int) -> None:
        """Note how many tokens the prompt of an answered request had."""
        if n_bytes and prompt_tokens:
            share = prompt_tokens / n_bytes
            known = self._fewest_per_byte
            self._fewest_per_byte = share if known is None else min(known, share)

    def count(self, n_bytes: int) -> Usage:
        """Count a late request; what it has cost at least.

        Its prompt is taken to have as few tokens per byte as any so far; before the first reply nothing is known.
        """
        self.count_late += 1
        if self.count_late in _SAID_AT:
            self._say(self._describe())
        prompt_tokens = int(n_bytes * (self._fewest_per_byte or 0.0))
        usage = usage_of_call(prompt_tokens, 0, 0, self._price)
        return usage.model_copy(update={"model_calls": 0, "timed_out": 1})

    def _describe(self) -> str:
        n = self.count_late
        requests = "1 request" if n == 1 else f"{n} requests"
        return (
            f"{self._name} is slow: {requests} took longer than {self._timeout_s:g} s, and such requests are sent"
            " again. Lower --max-connections or limit the length of replies, or raise --model-timeout."
            " Tokens of late replies are counted as far as they are known."
        )
